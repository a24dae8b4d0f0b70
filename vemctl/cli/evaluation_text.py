"""An evaluation for people, on standard output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from vemctl.cli.render import print_table

SCORES = {
    "psnr": ("PSNR", "dB"),
    "ssim_2d": ("SSIM, 2-D", ""),
    "ssim_3d": ("SSIM, 3-D", ""),
    "nrmse": ("NRMSE", ""),
    "pearson": ("Pearson correlation", ""),
    "psnr_scaled": ("scaled PSNR", "dB"),
    "ssim_scaled": ("scaled SSIM", ""),
}
CURVES = {
    "frc": "FRC resolution",
    "fsc": "FSC resolution",
    "single_image_frc": "single-image FRC",
}
TOO_SMALL = {
    "frc": "not judged: planes are too small",
    "fsc": "not judged: too few planes, or too small ones",
    "single_image_frc": "not judged: planes are too small",
}


def print_evaluation(facts: Mapping[str, Any]) -> None:
    """Print what an evaluation found.

    Parameters
    ----------
    facts : mapping
        What `vemctl.workflows.evaluate.evaluate` returned.
    """
    rows = [
        [name, str(facts[name])] for name in ("prediction", "truth", "input", "mask") if facts[name]
    ]
    if facts["roi"]:
        rows.append(["region", facts["roi"]])
    rows.append(["looked at", facts["looked_at"]["text"]])
    if facts["data_range"]:
        rows.append(["data range", "{value:g} ({from})".format(**facts["data_range"])])
    print_table(rows)
    if facts["overall"]:
        typer.echo()
        _print_scores(facts)
    for channel in facts["channels"]:
        typer.echo()
        if len(facts["channels"]) > 1:
            typer.echo(typer.style(f"channel {channel['channel']}", bold=True))
        print_table(_alone(channel, facts))
    for warning in facts["warnings"]:
        typer.echo(f"note: {warning}")


def _print_scores(facts: Mapping[str, Any]) -> None:
    channels: Sequence[Mapping[str, Any]] = facts["channels"]
    several = len(channels) > 1
    rows = []
    if several:
        rows.append(["", "overall", *(f"channel {each['channel']}" for each in channels)])
    for name, (label, unit) in SCORES.items():
        values = [facts["overall"][name]]
        values += [each["scores"][name] for each in channels] if several else []
        rows.append([label, *(_score(value, unit) for value in values)])
    print_table(rows)


def _score(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{value:.2f} {unit}" if unit else f"{value:.4f}"


def _alone(channel: Mapping[str, Any], facts: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for name, label in CURVES.items():
        curve = channel["curves"].get(name)
        if curve or facts["truth"] or name == "single_image_frc":
            rows.append([label, curve["verdict"] if curve else TOO_SMALL[name]])
    missing = {
        "residual": "not judged: what was restored is not known; --input names it"
        if not any(text.startswith("what was removed") for text in facts["warnings"])
        else "not judged, see the note",
        "seams": "not judged: no border of tiles lies where it can be compared"
        if facts["tile_borders"]
        else "not judged: where tiles meet is not known",
    }
    for name, reason in missing.items():
        rows.append([name, channel[name]["verdict"] if channel[name] else reason])
    rows += [[f"values of the {name}", _values(each)] for name, each in channel["values"].items()]
    return rows


def _values(values: Mapping[str, Any]) -> str:
    low, high, mean = (_plain(values[name]) for name in ("minimum", "maximum", "mean"))
    text = f"{values['dtype']}, {low} to {high}, mean {mean}"
    for end in ("smallest", "largest"):
        if values[f"share_at_{end}"]:
            text += f", {100 * values[f'share_at_{end}']:.3g} % at the type's {end}"
    return text


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"
