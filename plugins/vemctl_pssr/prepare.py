"""Make a training set of good images: draw places, make poor images of them, write both.

Source: the specification, 7. A set is four volumes of samples, ``train`` and ``valid`` with ``hr``
and ``lr`` each, and two tables of what they were made of.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.plugin import PreparationRequest, VolumeFacts, Workplace, percentile
from vemctl_pssr.architecture import SCALE
from vemctl_pssr.data import PARTS
from vemctl_pssr.making_poor import PoorMaker
from vemctl_pssr.prepare_options import PrepareOptions
from vemctl_pssr.prepare_sources import Source, SourceFinder
from vemctl_pssr.ranges import (
    RangeRule,
    range_of_training,
    rule_for,
    scaled,
    statistics_of_training,
)
from vemctl_pssr.selecting import Selection, selection_statistics

Images = npt.NDArray[Any]
FLAG = "--hr-range"
OVERVIEW = ("min", "max", "mean", "std", percentile(2), percentile(99.99))


def preparation_statistics(options: PrepareOptions) -> tuple[str, ...]:
    """Return what must be measured of every file."""
    wanted = statistics_of_training(options.hr_range, FLAG)
    return tuple(dict.fromkeys((*OVERVIEW, *wanted, *selection_statistics())))


class PssrPreparation:
    """Draws good images and makes poor ones of them.

    Parameters
    ----------
    options : PrepareOptions
    request : PreparationRequest

    Raises
    ------
    OptionError, InputError
        The options do not fit the images.
    """

    def __init__(self, options: PrepareOptions, request: PreparationRequest) -> None:
        self._options = options
        self._request = request
        self._selection = Selection() if options.select else None
        self._finder = SourceFinder(options, request)
        self._frames = self._finder.frames
        self._sources = self._finder.find()
        self._voxel_size = self._finder.voxel_size()
        for part in request.names:  # what does not fit is told before anything is made
            for facts in request.patches.facts(part):
                self._rule_for(facts).ranges_of(facts, self._finder.name(part, facts))
        self._poor = PoorMaker.of(
            options, request.peek, _paths(request.names[PARTS[0]]), request.warn
        )

    def plan(self) -> Mapping[str, Any]:
        """Return how many samples of which size will be made of how many files."""
        options = self._options
        counts = self._counts()
        pixels = options.size**2 * (1 + options.frames / SCALE**2)
        itemsize = np.dtype(options.dtype).itemsize
        return {
            "files": {part: len(names) for part, names in self._request.names.items()},
            "samples": counts,
            "hr_shape": [options.size, options.size],
            "lr_shape": [options.frames, options.size // SCALE, options.size // SCALE],
            "crappifier": self._poor.name,
            "crappifier_parameters": self._poor.to_json(),
            "uncompressed_bytes": int(sum(counts.values()) * pixels * itemsize),
        }

    def run(self, place: Workplace) -> Mapping[str, Any]:
        """Write the set, and tables of its files and samples."""
        options, counts = self._options, self._counts()
        with (place.folder / "samples.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(
                file,
                ["part", "id", "file", "channel", "timepoint", "z", "y", "x", "size", "mean",
                 "sd", "min", "max"],
            )  # fmt: skip
            table.writeheader()
            for part, count in counts.items():
                if count:
                    self._write_part(part, count, place, table)
        self._write_overview(place.folder)
        return {
            "size": options.size,
            "frames": options.frames,
            "counts": counts,
            "voxel_size": None if self._voxel_size is None else list(self._voxel_size),
            "range": range_of_training(
                options.hr_range,
                [
                    f.dtype
                    for role in self._request.names
                    for f in self._request.patches.facts(role)
                ],
            ),
            "crappifier": self._poor.name,
            "crappifier_parameters": self._poor.to_json(),
        }

    def _counts(self) -> dict[str, int]:
        wanted = (self._options.num_train, self._options.num_valid)
        return {
            part: count if self._sources[part] else 0
            for part, count in zip(PARTS, wanted, strict=True)
        }

    def _write_part(self, part: str, count: int, place: Workplace, table: Any) -> None:
        options = self._options
        edge, dtype = options.size, options.dtype
        small = edge // SCALE
        size = self._voxel_size
        poor_size = None if size is None else (size[0], SCALE * size[1], SCALE * size[2])
        good = place.make_volume(f"{part}/hr", (count, edge, edge), dtype, size)
        poor = place.make_volume(
            f"{part}/lr", (count * options.frames, small, small), dtype, poor_size
        )
        for number in range(count):
            place.advance(f"drawing {part}", number, count)
            rng = np.random.default_rng([self._request.seed, PARTS.index(part), number])
            image, frames, row = self._sample(part, rng)
            good.append(image[None])
            poor.append(frames)
            table.writerow({"part": part, "id": number, **row})
        good.close()
        poor.close()
        place.advance(f"drawing {part}", count, count)

    def _sample(self, part: str, rng: np.random.Generator) -> tuple[Images, Images, dict[str, Any]]:
        """Return a good image, its poor frames, and where it is from."""
        edge = self._options.size
        source = self._draw_source(part, rng)
        facts = self._request.patches.facts(source.role)[source.index]
        half = self._frames.slices // 2
        z = int(rng.integers(source.first, source.end))
        if self._selection is not None:
            y, x = self._selection.draw(
                self._request.patches, source.role, source.index, z, (edge, edge), rng
            )
        else:
            y, x = (int(rng.integers(n - edge + 1)) for n in facts.shape[1:])
        corner = (z - half, y, x)
        values = self._frames.read(
            self._request.patches, source.role, source.index, corner, (edge, edge)
        )
        ranges = self._rule_for(facts).ranges_of(facts, self._finder.name(source.role, facts))
        inside = scaled(values.astype(np.float32), ranges.of(0, 0)).clip(0, 1)
        poor = np.stack([self._poor(frame, rng) for frame in inside])
        image = self._stored(inside[len(inside) // 2])
        row = {
            "file": self._finder.name(source.role, facts),
            "channel": facts.channel,
            "timepoint": facts.timepoint,
            "z": z, "y": y, "x": x, "size": edge,
            "mean": f"{image.mean():.4f}", "sd": f"{image.std():.4f}",
            "min": int(image.min()), "max": int(image.max()),
        }  # fmt: skip
        return image, self._stored(poor), row

    def _draw_source(self, part: str, rng: np.random.Generator) -> Source:
        """Draw a category, a file in it, and a channel and time point of that, each alike."""
        by_category: dict[str, dict[int, list[Source]]] = {}
        for source in self._sources[part]:
            facts = self._request.patches.facts(source.role)[source.index]
            category = self._finder.category(source.role, facts)
            files = by_category.setdefault(category, {})
            files.setdefault(facts.file_index, []).append(source)
        files = by_category[_drawn(sorted(by_category), rng)]
        drawn: Source = _drawn(files[_drawn(sorted(files), rng)], rng)
        return drawn

    def _stored(self, image: npt.NDArray[np.float32]) -> Images:
        """Return an image in [0, 1] as it is stored; truncated, as published."""
        dtype = np.dtype(self._options.dtype)
        top = np.float32(np.iinfo(dtype).max)
        # A value that was an integer of this type comes back as it was.
        stored: Images = np.floor(image * top + np.float32(2.0**-10)).clip(0, top).astype(dtype)
        return stored

    def _rule_for(self, facts: VolumeFacts) -> RangeRule:
        return rule_for(self._options.hr_range, FLAG, facts.dtype)

    def _write_overview(self, folder: Path) -> None:
        """Write a table of the files with their statistics, as the published one has them."""
        with (folder / "files.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(
                ["category", "part", "file", "dtype", "channels", "timepoints", "z", "y", "x",
                 "voxel_size_nm", "min", "max", "mean", "sd", "p2", "p99.99"]
            )  # fmt: skip
            for part in self._request.names:
                everything = self._request.patches.facts(part)
                for number in sorted({facts.file_index for facts in everything}):
                    mine = [facts for facts in everything if facts.file_index == number]
                    table.writerow(self._row_of_file(part, mine))

    def _row_of_file(self, part: str, volumes: Sequence[VolumeFacts]) -> list[Any]:
        first = volumes[0]
        size = first.voxel_size
        return [
            self._finder.category(part, first),
            part,
            self._finder.name(part, first),
            first.dtype,
            1 + max(facts.channel for facts in volumes),
            1 + max(facts.timepoint for facts in volumes),
            *first.shape,
            "" if size is None else " ".join(f"{n:g}" for n in size),
            *(f"{first.statistics[name]:.6g}" for name in OVERVIEW),
        ]


def _drawn(choices: Sequence[Any], rng: np.random.Generator) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _paths(names: Sequence[str]) -> tuple[Path, ...]:
    return tuple(map(Path, names))
