"""What `vemctl prepare vsisr` does: raw files to volumes, or cells to training pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vemctl.errors import OptionError
from vemctl.plugin import Preparation, PreparationRequest, TrainingData
from vemctl_vsisr.prepare_options import (
    RAW_NAMES,
    TRUTH_NAMES,
    PrepareOptions,
    check_options,
    listed,
)
from vemctl_vsisr.prepare_tasks import tasks_of
from vemctl_vsisr.raw_files import find_cells, raw_files

RAW, TRUTH = "raw", "truth"


def preparation_data(options: PrepareOptions, inputs: Sequence[Path]) -> TrainingData:
    """Return the raw files, and the reconstructions where pairs are made.

    Parameters
    ----------
    options : PrepareOptions
    inputs : sequence of Path
        Raw files and folders of some; with `pairs` one folder STRUCTURE/CELL/*.

    Raises
    ------
    OptionError
        Options contradict each other, or there are no such files.
    InputError
        A cell lacks a file.
    """
    check_options(options)
    if options.pairs is None:
        # A dark time point of a series becomes a black volume, with a warning.
        return TrainingData({RAW: raw_files(inputs, options.raw_pattern)}, may_be_constant=True)
    if len(inputs) != 1:
        raise OptionError(
            f"--pairs: {len(inputs)} inputs; expected one folder with folders STRUCTURE/CELL in it"
        )
    wanted, flag = listed(options.structures), "--structures"
    if options.structure is not None:
        wanted, flag = (options.structure,), "--structure"
    cells = find_cells(
        inputs[0],
        options.raw_pattern or RAW_NAMES,
        options.truth_pattern or TRUTH_NAMES,
        wanted,
        flag,
    )
    chosen = [(task, cell) for task in tasks_of(options, cells) for cell in task.cells]
    used = {cell.truth for _, cell in chosen}
    return TrainingData(
        {
            RAW: tuple(dict.fromkeys(cell.raw[task.snr] for task, cell in chosen)),
            TRUTH: tuple(cell.truth for cell in cells if cell.truth in used),
        }
    )


def preparation(options: PrepareOptions, request: PreparationRequest) -> Preparation:
    """Return what makes volumes, or pairs.

    Parameters
    ----------
    options : PrepareOptions
    request : PreparationRequest

    Raises
    ------
    OptionError, InputError
        The options do not fit the files, or these each other.
    """
    if options.pairs is None:
        from vemctl_vsisr.prepare_raw import RawPreparation

        return RawPreparation(options, request)
    from vemctl_vsisr.prepare_pairs import PairPreparation

    return PairPreparation(options, request)
