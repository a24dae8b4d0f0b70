"""A method that has something to prepare: slices of raw volumes, in a random order."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vemctl.errors import InputError
from vemctl.plugin import Method, TrainingData, option


@dataclass(frozen=True)
class LarderOptions:
    """What is taken, and what goes wrong."""

    count: int = option(10, min=1, max=1000, help="How many slices; a [bracket] stays.")
    invert: bool = option(False, help="Turn them dark.")
    spice: tuple[Path, ...] = option((), help="A file; may be repeated.")
    mishap: Literal["none", "error", "bug", "signal", "death"] = option("none", help="What fails.")


class Store:
    """Takes slices."""

    def __init__(self, options, request):
        self._options, self._request = options, request
        if options.spice:
            request.warn(f"{len(options.spice)} spices")

    def plan(self):
        """Return how many there will be."""
        return {"slices": self._options.count, "uncompressed_bytes": 2048}

    def run(self, place):
        """Write them; half way something may go wrong."""
        import numpy as np

        patches, count = self._request.patches, self._options.count
        depth, height, width = patches.facts("raw")[0].shape
        volume = place.make_volume("taken", (count, height, width), "uint8")
        rng = np.random.default_rng(self._request.seed)
        for number in range(count):
            place.advance("taking", number, count)
            if number == count // 2:
                self._fail()
            corner = (int(rng.integers(depth)), 0, 0)
            image = patches.read("raw", 0, corner, (1, height, width))
            volume.append(255 - image if self._options.invert else image)
        volume.close()
        place.advance("taking", count, count)
        return {"slices": count}

    def _fail(self):
        mishap = self._options.mishap
        if mishap == "error":
            raise InputError("the raw volume is rotten; take another")
        if mishap == "bug":
            raise KeyError("mould")
        if mishap == "signal":
            os.kill(os.getpid(), signal.SIGTERM)
        if mishap == "death":
            os._exit(137)


class Larder(Method):
    """A method for tests of `vemctl prepare`."""

    name = "larder"
    summary = "Keep slices for later."
    prepare_options = LarderOptions

    def restorer(self, weights, options, request):
        """Is never called."""
        raise NotImplementedError

    def preparation_data(self, options, inputs):
        """Take all inputs."""
        return TrainingData({"raw": tuple(inputs)})

    def preparation(self, options, request):
        """Return what takes slices."""
        return Store(options, request)


METHOD = Larder()
