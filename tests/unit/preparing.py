"""A method that prepares, for tests: it cuts squares out of raw volumes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vemctl.plugin import (
    Method,
    PreparationRequest,
    TrainingData,
    Workplace,
    by_slice,
    option,
)
from vemctl.volumes.open import open_volume
from vemctl.workflows.prepare_options import (
    PrepareInputOptions,
    PrepareRequest,
    PrepareRunOptions,
)

RAW = np.random.default_rng(0).integers(0, 60000, (2, 5, 24, 20)).astype(np.uint16)
Run = Callable[[Workplace], Mapping[str, Any]]


@dataclass(frozen=True)
class CutOptions:
    """Options of a fake method."""

    count: int = option(150, help="Samples.")
    edge: int = option(8, help="Of a sample.")
    mode: Literal["middle", "random"] = option("random", help="Where.")
    window: tuple[int, int, int] = option((1, 2, 3), help="Nothing.")
    reference: tuple[Path, ...] = option((), help="Further files.")
    mask: Path | None = option(None, help="A file.")


def samples(seed: int, count: int, edge: int) -> np.ndarray:
    """Return what `Cut` makes of the first channel of `RAW`."""
    cut = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        free = (5, 25 - edge, 21 - edge)
        z, y, x = (int(rng.integers(n)) for n in free)
        cut.append(RAW[0, z, y : y + edge, x : x + edge])
    return np.stack(cut)


class Cutting:
    """Cuts squares out of raw volumes."""

    def __init__(self, options: CutOptions, request: PreparationRequest) -> None:
        self.options, self.request = options, request

    def plan(self) -> Mapping[str, Any]:
        return {"samples": self.options.count}

    def run(self, place: Workplace) -> Mapping[str, Any]:
        count, edge = self.options.count, self.options.edge
        good = place.make_volume("train/good", (count, edge, edge), "uint16", (40.0, 8.0, 4.0))
        poor = place.make_volume("train/poor", (2 * count, edge // 2, edge // 2), "uint8")
        for number in range(count):
            place.advance("cutting", number, count)
            rng = np.random.default_rng([self.request.seed, number])
            shape = self.request.patches.facts("raw")[0].shape
            z, y, x = (
                int(rng.integers(n - s + 1)) for n, s in zip(shape, (1, edge, edge), strict=True)
            )
            image = self.request.patches.read("raw", 0, (z, y, x), (1, edge, edge))
            good.append(image)
            poor.append((image[:, ::2, ::2] // 256).astype(np.uint8).repeat(2, axis=0))
        good.close()
        poor.close()
        place.advance("cutting", count, count)
        (place.folder / "table.csv").write_text("id\n", encoding="utf-8")
        return {"samples": count, "edge": edge}


class Cut(Method):
    """A method that prepares; what its run does may be changed."""

    name = "cut"
    summary = "For tests."
    prepare_options = CutOptions

    def __init__(self) -> None:
        self.requests: list[tuple[CutOptions, PreparationRequest]] = []
        self.made: list[Path] = []
        self.runs: Run | None = None
        self.when_made: Callable[[], None] = lambda: None

    def restorer(self, *_: Any) -> Any:
        raise NotImplementedError

    def preparation_data(self, options: CutOptions, inputs: Sequence[Path]) -> TrainingData:
        return TrainingData({"raw": (*inputs, *options.reference)})

    def preparation_statistics(self, options: CutOptions, role: str, index: int) -> Sequence[str]:
        return ["max", by_slice("min")] if index == 0 else []

    def preparation(self, options: CutOptions, request: PreparationRequest) -> Any:
        self.requests.append((options, request))
        self.when_made()
        made = Cutting(options, request)
        if self.runs is not None:
            made.run = self.runs  # type: ignore[method-assign]
        return made


def write_raw(folder: Path) -> Path:
    """Write the raw volume into a folder of its own."""
    (folder / "raw").mkdir()
    np.save(folder / "raw" / "v.npy", RAW)
    return folder / "raw" / "v.npy"


def asked(raw: Path, output: str = "set", *, overwrite: bool = False, **options: Any) -> Any:
    """Ask for a set beside the folder of the raw volume."""
    return PrepareRequest(
        "cut", (raw,), raw.parents[1] / output, CutOptions(**options),
        PrepareInputOptions(axes="czyx"), PrepareRunOptions(seed=3, overwrite=overwrite),
    )  # fmt: skip


def listing(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of all files, hidden ones too, and empty folders."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else ""
        for path in sorted(folder.rglob("*"))
    }


def whole(path: Path) -> np.ndarray:
    """Read a volume."""
    volume = open_volume(path)
    z, y, x = (slice(0, n) for n in volume.header.shape)
    return volume.read((z, y, x))
