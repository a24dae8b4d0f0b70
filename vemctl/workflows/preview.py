"""Preview: a picture of a volume, or of two side by side, from what little it needs to read."""

from __future__ import annotations

import time
from typing import Any

from vemctl.durable import write_whole
from vemctl.errors import OutputError
from vemctl.events import Finished, Listener, Noted, ignore
from vemctl.workflows.preview_options import PreviewRequest, check_request
from vemctl.workflows.preview_planes import Content, Shown, read_content


def preview(request: PreviewRequest, listen: Listener = ignore) -> dict[str, Any]:
    """Make the preview of a volume and write it.

    Parameters
    ----------
    request : PreviewRequest
    listen : Listener

    Returns
    -------
    dict
        As of `rendered`.

    Raises
    ------
    VemctlError
        As `rendered`, or the output cannot be written.
    """
    began = time.monotonic()
    data, facts = rendered(request, listen)
    try:
        write_whole(request.output, data)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"{request.output}: cannot be written ({reason}); mend that, or choose another place"
        ) from error
    listen(Finished(request.output, time.monotonic() - began))
    return facts


def rendered(request: PreviewRequest, listen: Listener = ignore) -> tuple[bytes, dict[str, Any]]:
    """Make the preview of a volume.

    Parameters
    ----------
    request : PreviewRequest
    listen : Listener
        Is told how far reading has come, and which levels were read.

    Returns
    -------
    data : bytes
        Of the file.
    facts : dict
        JSON types: ``output``, ``kind``, ``mode``, ``pixel_size_nm``, ``scale_bar``, ``contrast``
        and ``volumes``, with their planes, positions, levels, and what is black and white.

    Raises
    ------
    OptionError
        An option has an unusable value, or does not fit the volume.
    OutputError
        The output exists, or its ending is unknown.
    InputError, MissingExtraError
        A volume is missing or unusable, or the two have no field of view in common.
    """
    from vemctl.pictures.encoding import encoded
    from vemctl.workflows.preview_rendering import as_page, as_picture

    check_request(request)
    content = read_content(request, listen)
    for volume in content.volumes:
        levels = sorted({plane.level for plane in volume.planes})
        named = " and ".join(map(str, levels))
        listen(Noted(f"read level {named} of {volume.header.num_levels} of {volume.header.path}"))
    if request.is_page:
        data = as_page(content).encode()
    else:
        data = encoded(as_picture(content, request.mode), request.kind)
    return data, _facts(request, content)


def _facts(request: PreviewRequest, content: Content) -> dict[str, Any]:
    from vemctl.workflows.preview_rendering import bar_of

    bar = bar_of(content)
    return {
        "output": str(request.output),
        "kind": "html" if request.is_page else request.kind,
        "mode": request.mode,
        "pixel_size_nm": content.pixel if content.is_nm else None,
        "scale_bar": bar and {"nm": bar.nanometres, "text": bar.text, "pixels": bar.pixels},
        "contrast": content.contrast,
        "volumes": [_volume_facts(volume) for volume in content.volumes],
    }


def _volume_facts(volume: Shown) -> dict[str, Any]:
    header = volume.header
    return {
        "path": str(header.path),
        "shape": list(header.shape),
        "dtype": header.dtype.name,
        "voxel_size_nm": None if header.voxel_size is None else list(header.voxel_size),
        "shown": [list(part) for part in volume.window],
        "channel": volume.channel,
        "timepoint": volume.timepoint,
        "black": volume.contrast[0],
        "white": volume.contrast[1],
        "planes": [
            {
                "axis": plane.axis,
                "position": plane.position,
                "level": plane.level,
                "rows": plane.values.shape[0],
                "columns": plane.values.shape[1],
                "rows_read": plane.rows_read,
            }
            for plane in volume.planes
        ],
    }
