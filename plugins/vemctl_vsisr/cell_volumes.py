"""The volumes of one cell, and pairs cut of them; nothing larger than a few slices is kept."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.errors import InputError
from vemctl.plugin import PreparationRequest, Triple
from vemctl_vsisr.data import GT, INPUT
from vemctl_vsisr.deskewed_volume import CountedVolume, DeskewedVolume
from vemctl_vsisr.foreground import Candidates, ForegroundSearch
from vemctl_vsisr.patch_places import DEPTH, PatchPlaces, Window, middle_patch, pair_of, whole_cell
from vemctl_vsisr.prepare_options import PrepareOptions
from vemctl_vsisr.proportions import COUNTS, ENLARGED, FRAMES, PLANES
from vemctl_vsisr.raw_files import Cell

Counts = npt.NDArray[np.uint16]
Advance = Callable[[], None]
TOLERANCE = 3
"""Pixels by which the sizes of an input and its truth may differ from their ratio after a shear."""
SHARE, FEWEST = 5, 9
"""Which part of an only cell is kept to validate on, and of how many slices at least."""


class CellVolumes:
    """What is cut of a cell.

    Parameters
    ----------
    options : PrepareOptions
    request : PreparationRequest
    cell : Cell
    raw : mapping of int to int
        Indices of the raw volumes by signal-to-noise level.
    truth : int
        Index of the reconstruction.

    Raises
    ------
    InputError
        The volumes do not correspond to each other.
    """

    def __init__(
        self,
        options: PrepareOptions,
        request: PreparationRequest,
        cell: Cell,
        raw: dict[int, int],
        truth: int,
    ) -> None:
        self.cell = cell
        self._seed = request.seed
        self._threshold = options.mask_threshold
        self.places = PatchPlaces((DEPTH, options.patch_size, options.patch_size))
        self.raw = {
            snr: DeskewedVolume(options, request, "raw", index) for snr, index in raw.items()
        }
        self.truth = DeskewedVolume(options, request, "truth", truth, is_truth=True)
        self._num_kept = 0
        for volume in self.raw.values():
            _check_correspondence(volume, self.truth)

    def keep_end(self) -> int:
        """Keep the last fifth of the slices from what is cut, for `whole`; return how many.

        None are kept where they would be too few to validate on.
        """
        kept = self.truth.shape[0] // SHARE
        self._num_kept = kept if kept >= FEWEST else 0
        return self._num_kept

    def check_size(self) -> None:
        """Refuse a cell that is smaller than what is cut of it.

        Raises
        ------
        InputError
            It is.
        """
        z, y, x = self.places.margins
        depth, height, width = self.truth.shape
        if depth <= 2 * z:
            raise InputError(
                f"{self.truth.name}: has {depth} slices; expected at least {2 * z + 1} to cut "
                "pairs of, fewer than which no network is trained with"
            )
        if height <= 2 * y or width <= 2 * x:
            raise InputError(
                f"{self.truth.name}: {height} x {width} pixels (y, x) after deskewing are no more "
                f"than the {2 * y} x {2 * x} of a patch; expected a smaller --patch-size"
            )

    def whole(self) -> tuple[Window, Window]:
        """Return the middle of the cell, all slices of it, or those that `keep_end` kept.

        Raises
        ------
        InputError
            There are too few slices, or nothing is left of a slice.
        """
        depth, height, width = self._size_with_middle()
        count = self._num_kept or depth
        seen, true = (
            Window((depth - count, *w.corner[1:]), (count, *w.size[1:]))
            for w in whole_cell((height, width), self.truth.shape[1:])
        )
        return seen, true

    def middle(self) -> tuple[Window, Window]:
        """Return a large patch in the middle of the cell.

        Raises
        ------
        InputError
            There are too few slices, or nothing is left of a slice.
        """
        return middle_patch(self._size_with_middle(), self.truth.shape)

    def _size_with_middle(self) -> Triple:
        given = next(iter(self.raw.values())).shape
        if given[0] < FRAMES or min(given[1:]) < 8:
            raise InputError(
                f"{self.truth.name}: too small to validate on: expected at least {FRAMES} slices, "
                "of 8 pixels in y and x"
            )
        return given

    def memory(self, *, is_cut: bool) -> int:
        """Return about how many bytes the work on the cell takes."""
        depth, height, width = self.truth.shape
        found = max(v.memory() for v in (*self.raw.values(), self.truth))
        # Blurs in double precision, and a bit per voxel for what is foreground.
        return found + (height * width * (48 - (-depth // 8)) if is_cut else 0)

    def opened(self, volume: DeskewedVolume, advance: Advance) -> CountedVolume:
        """Return a volume in counts; it is read once for its range.

        Raises
        ------
        InputError
            It is of one value.
        """
        extremes = volume.measured(advance)
        if not extremes.high > extremes.low:
            raise InputError(
                f"{volume.name}: nothing in it is above the background, or all of it is one value; "
                "expected another file, or another --background"
            )
        return CountedVolume(volume, extremes)

    def candidates(self, truth: CountedVolume, advance: Advance) -> Candidates:
        """Return the voxels of the truth that pairs may lie around.

        Raises
        ------
        InputError
            There are none.
        """
        heights, widths = (
            [self.places.last_middle(v.shape[axis], axis) for v in self.raw.values()]
            for axis in (1, 2)
        )
        search = ForegroundSearch(
            lambda z: truth.plane(z).astype(np.float32) / np.float32(COUNTS),
            (self.truth.shape[0] - self._num_kept, *self.truth.shape[1:]),
            (0.0, 1.0),
            self.places.margins,
            (min(heights), min(widths)),
            advance,
        )
        found = search.find(self._threshold)
        if not len(found):
            raise InputError(
                f"{self.truth.name}: nothing in it stands out from its surroundings, so that there "
                "is no place to cut pairs from; expected another reconstruction, a smaller "
                "--patch-size, or to leave the cell out"
            )
        return found

    def drawn(
        self, candidates: Candidates, snr: int, count: int
    ) -> Iterator[tuple[Window, Window]]:
        """Draw places of pairs: they depend on the seed and on the names of the cell alone."""
        name = f"{self.cell.structure}/{self.cell.name}/{snr}"
        rng = np.random.default_rng([self._seed, zlib.crc32(name.encode())])
        for number in rng.integers(len(candidates), size=count):
            yield pair_of(self.places, candidates.place(int(number)))


def cut(volume: CountedVolume, window: Window) -> Counts:
    """Return what is in a window, (z, y, x)."""
    z, y, x = window.corner
    depth, height, width = window.size
    return volume.part(range(z, z + depth), (y, x), (height, width))


def pair_shapes(options: PrepareOptions) -> dict[str, Triple]:
    """Return the shapes (z, y, x) of a patch of the input and of the truth."""
    size = options.patch_size
    return {INPUT: (FRAMES, size, size), GT: (PLANES, int(size * ENLARGED), int(size * ENLARGED))}


def volumes_by_file(request: PreparationRequest, role: str) -> dict[str, int]:
    """Return the index of the volume in each file, of which it must have one.

    Raises
    ------
    InputError
        A file has several channels or time points.
    """
    found: dict[str, int] = {}
    for index, facts in enumerate(request.patches.facts(role)):
        name = request.names[role][facts.file_index]
        if name in found:
            raise InputError(
                f"{name}: has several channels or time points; expected one of each: choose with "
                "--channel and --timepoint"
            )
        found[name] = index
    return found


def _check_correspondence(raw: DeskewedVolume, truth: DeskewedVolume) -> None:
    if raw.shape[0] != truth.shape[0]:
        raise InputError(
            f"{truth.name}: has {truth.shape[0]} slices, {raw.name} {raw.shape[0]} of its phases; "
            "expected as many: check --phases"
        )
    expected = [ENLARGED * length for length in raw.shape[1:]]
    differences = [abs(n - e) for n, e in zip(truth.shape[1:], expected, strict=True)]
    if max(differences) > TOLERANCE:
        raise InputError(
            f"{truth.name}: {_text(truth.shape[1:])} pixels (y, x) after deskewing; expected 1.5 "
            f"times the {_text(raw.shape[1:])} of {raw.name}: check their voxel sizes, or give "
            "--dy and --dz"
        )


def _text(sizes: Any) -> str:
    return " x ".join(map(str, sizes))
