"""Which transfer functions a prediction takes: published ones, files, or built ones. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vemctl.errors import OptionError
from vemctl.plugin import Warn
from vemctl_vsisr.optics import PUBLISHED_PIXEL, Optics, load_beads, load_optics
from vemctl_vsisr.predict_options import PredictOptions
from vemctl_vsisr.published import TRANSFER_FUNCTIONS
from vemctl_vsisr.transfer_functions import build_optics, otf_of_beads

EXCITATION_APERTURE = 0.4
"""Of the authors' lattice."""
SAME_PIXEL = 0.01
"""Part by which a pixel may differ from that for which files are made."""
BEADS = "beads"
SOURCES = "--wavelength, --otf FOLDER, or --na with --emission and --excitation"


@dataclass(frozen=True)
class Pixel:
    """The pixel of an input.

    Attributes
    ----------
    size : float, optional
        Nanometres; None where it is not known.
    """

    size: float | None

    @classmethod
    def of(cls, voxel_size: tuple[float, float, float] | None, options: PredictOptions) -> Pixel:
        """Return that of an input, or what the user says it is."""
        if options.pixel_size is not None:
            return cls(options.pixel_size)
        return cls(None if voxel_size is None else voxel_size[2 if options.sr_axis == "x" else 1])


def files_of(options: PredictOptions) -> dict[str, str]:
    """Return the files that are needed, by ``otf-`` and the number of the channel.

    Raises
    ------
    OptionError
        The options name no transfer functions, or contradict each other.
    """
    _check_source(options)
    if options.beads is not None:
        return {BEADS: str(options.beads)}
    if options.otf:
        return {f"otf-{number}": str(path) for number, path in enumerate(options.otf)}
    names = []
    for wavelength in per_channel(options.wavelength, "--wavelength"):
        if wavelength not in TRANSFER_FUNCTIONS:
            known = ", ".join(map(str, TRANSFER_FUNCTIONS))
            raise OptionError(
                f"--wavelength {wavelength:g}: expected {known} nanometres, for which the authors' "
                f"transfer functions are; else give --otf FOLDER, or --na with --emission and "
                f"--excitation"
            )
        names.append(f"vsisr/otf-{wavelength:g}")
    return {f"otf-{number}": name for number, name in enumerate(names)}


def optics_of(
    options: PredictOptions,
    files: Mapping[str, Path],
    pixel: Pixel,
    num_channels: int,
    warn: Warn,
) -> list[Optics]:
    """Return the transfer functions of each channel.

    Raises
    ------
    OptionError
        There are not as many as channels.
    WeightsError
        A file is no transfer function.
    """
    if options.na is not None:
        return _for_channels(_built(options, files, pixel), num_channels, "--emission")
    if options.otf:
        size = pixel.size or PUBLISHED_PIXEL
        found = [load_optics(files[key], pixel=size) for key in sorted(files, key=_number)]
        return _for_channels(found, num_channels, "--otf")
    if pixel.size is not None and abs(pixel.size / PUBLISHED_PIXEL - 1) > SAME_PIXEL:
        warn(
            f"the published transfer functions are for pixels of {PUBLISHED_PIXEL:g} nm, those of "
            f"this volume have {pixel.size:g} nm: give --otf or --na for its microscope"
        )
    found = [load_optics(files[key]) for key in sorted(files, key=_number)]
    return _for_channels(found, num_channels, "--wavelength")


def per_channel(text: str | None, flag: str) -> list[float]:
    """Return the numbers of an option that has one for all channels, or one for each.

    Raises
    ------
    OptionError
        They are no numbers.
    """
    if text is None:
        return []
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(
            f"{flag} {text}: expected nanometres, one number or one for each channel, such as 488 "
            f"or 488,560"
        ) from None


def _built(options: PredictOptions, files: Mapping[str, Path], pixel: Pixel) -> list[Optics]:
    assert options.na is not None, "the caller saw to that"
    emissions = per_channel(options.emission, "--emission")
    excitations = per_channel(options.excitation, "--excitation")
    if len(emissions) != len(excitations):
        raise OptionError(
            f"--emission {options.emission} with --excitation {options.excitation}: expected as "
            f"many of one as of the other"
        )
    if pixel.size is None:
        raise OptionError(
            "--na: the volume does not tell its voxel size; expected --pixel-size in nanometres"
        )
    measured = None
    if BEADS in files:
        bead_pixel = options.bead_pixel or pixel.size
        measured = otf_of_beads(load_beads(files[BEADS]), bead_pixel=bead_pixel, pixel=pixel.size)
    return [
        build_optics(
            numerical_aperture=options.na,
            emission=emission,
            excitation_aperture=options.na_excitation or EXCITATION_APERTURE,
            excitation=excitation,
            pixel=pixel.size,
            otf0=measured,
        )
        for emission, excitation in zip(emissions, excitations, strict=True)
    ]


def _check_source(options: PredictOptions) -> None:
    """See to it that one source is named, and named completely."""
    built = {
        "--na": options.na,
        "--emission": options.emission,
        "--excitation": options.excitation,
        "--na-excitation": options.na_excitation,
    }
    given = [flag for flag, value in built.items() if value is not None]
    named = [
        *(["--wavelength"] if options.wavelength is not None else []),
        *(["--otf"] if options.otf else []),
        *given[:1],
    ]
    if not named:
        raise OptionError(f"vsisr needs the transfer functions of a microscope: expected {SOURCES}")
    if len(named) > 1:
        raise OptionError(f"{' with '.join(named)}: expected one of {SOURCES}")
    others = {"--beads": options.beads, "--bead-pixel": options.bead_pixel}
    extra = [flag for flag, value in others.items() if value is not None]
    if extra and not given:
        raise OptionError(f"{extra[0]}: no effect without --na, --emission and --excitation")
    if options.bead_pixel is not None and options.beads is None:
        raise OptionError("--bead-pixel: no effect without --beads; leave it out")
    if options.pixel_size is not None and not given and options.otf_grid == "original":
        raise OptionError(f"--pixel-size: no effect with {named[0]}; leave it out")
    if given and None in (options.na, options.emission, options.excitation):
        raise OptionError(
            f"{given[0]}: expected --na, --emission and --excitation together, to build transfer "
            f"functions"
        )


def _for_channels(found: Sequence[Optics], num_channels: int, flag: str) -> list[Optics]:
    if len(found) == 1:
        return [*found] * num_channels
    if len(found) != num_channels:
        raise OptionError(
            f"{flag}: {len(found)} for {num_channels} channels; expected one for all, or one for "
            f"each"
        )
    return list(found)


def _number(key: str) -> int:
    return int(key.rpartition("-")[2])
