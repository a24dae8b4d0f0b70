"""`vemctl status OUT`: how far an output is, who writes it, and what failed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vemctl.cli.render import print_json
from vemctl.cli.switches import PlainJsonFlag
from vemctl.pages.words import duration_text

LISTED = 10
"""Failures that are shown; JSON has them all."""


def command(
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="An output of vemctl predict, finished or not.")
    ],
    json: PlainJsonFlag = False,
) -> None:
    """Show how far an output is, who is writing it, and what failed."""
    from vemctl.workflows.standing import status

    found = status(output)
    if json:
        print_json(found)
        return
    for line in lines(found):
        print(line)


def lines(found: dict[str, Any]) -> list[str]:
    """Return what is shown of how an output stands.

    Parameters
    ----------
    found : dict
        As `vemctl.workflows.standing.status` returns it.
    """
    method = found["method"] or "a method that is not recorded"
    if found["state"] == "finished":
        return [f"{found['output']}: finished, by {method}"]
    blocks, units = found["blocks"], found["units"]
    text = [
        f"{found['output']}: {found['state']}, by {method}",
        f"blocks: {blocks['done']} of {blocks['total']} done, {blocks['missing']} missing, "
        f"{blocks['failed']} failed",
        f"units: {units['done']} of {units['total']} written{_speed(found)}",
    ]
    if found["shards"]:
        behind = [each for each in found["shards"] if each["done"] < each["total"]]
        named = ", ".join(f"{e['shard']} ({e['done']}/{e['total']})" for e in behind[:LISTED])
        more = f" and {len(behind) - LISTED} more" if len(behind) > LISTED else ""
        done = len(found["shards"]) - len(behind)
        text.append(
            f"shards: {done} of {len(found['shards'])} done"
            + (f"; not yet: {named}{more}" if behind else "")
        )
    running = {each["name"] for each in found["holders"] if each["alive"]}
    for each in found["writers"]:
        state = "at work" if each["name"] in running else "ended"
        text.append(
            f"{each['name']} on {each['host']} (process {each['pid']}, {each['device']}): {state}, "
            f"{each['units']} units in {duration_text(each['seconds'])}"
        )
        text += [f"  {worker}: {count} units" for worker, count in each["workers"].items()]
    for failure in found["failures"][:LISTED]:
        region = ", ".join(
            f"{axis} {start}:{stop}"
            for axis, start, stop in zip("zyx", failure["start"], failure["stop"], strict=True)
        )
        text.append(
            f"failed: {region}, channel {failure['channel']}, time point {failure['timepoint']}: "
            f"{failure['reason']}"
        )
    if units["missing"] == 0 and found["state"] == "stopped":
        text.append(f"all is there: vemctl finish {found['output']}")
    return text


def _speed(found: dict[str, Any]) -> str:
    if not found["units_per_second"]:
        return ""
    left = duration_text(found["seconds_left"])
    return f", {found['units_per_second']:.3g} a second, {left} left"
