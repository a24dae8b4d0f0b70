"""What the author of a method imports: the contract between a method and vemctl.

A method is a distribution with an entry point in the group ``vemctl.methods`` that names a
`Method` object. Its module must not import torch: the command line loads it to show help.
The `Restorer` that it makes may import what it likes. Authors may also use `vemctl.errors`,
`vemctl.events`, `vemctl.tiles` and `vemctl.nn`. `docs/writing-a-method.md` is the tutorial.

At run time this module needs nothing but the standard library.
"""

from vemctl.folders import volumes_at, volumes_by_suffix
from vemctl.geometry import (
    Footprint,
    PaddingName,
    Place,
    Tiling,
    Triple,
    WindowName,
)
from vemctl.learning import (
    Batch,
    Best,
    Gradients,
    Trainer,
    TrainingRequest,
    Validation,
)
from vemctl.method import FileSet, Method
from vemctl.option_field import NoOptions, option
from vemctl.preparing import (
    Preparation,
    PreparationRequest,
    Progress,
    Workplace,
    prepared_names,
)
from vemctl.published import PublishedFile, Weights, packaged
from vemctl.restoring import (
    Output,
    Request,
    Restorer,
    TimeWindow,
    VolumeFacts,
    Warn,
    bound,
    by_series,
    by_slice,
    mean_above,
    percentile,
)
from vemctl.sampling import (
    Orientation,
    Patches,
    Peek,
    Sample,
    Sampler,
    TrainingData,
    draw_place,
)

__all__ = [
    "Batch",
    "Best",
    "FileSet",
    "Footprint",
    "Gradients",
    "Method",
    "NoOptions",
    "Orientation",
    "Output",
    "PaddingName",
    "Patches",
    "Peek",
    "Place",
    "Preparation",
    "PreparationRequest",
    "Progress",
    "PublishedFile",
    "Request",
    "Restorer",
    "Sample",
    "Sampler",
    "Tiling",
    "TimeWindow",
    "Trainer",
    "TrainingData",
    "TrainingRequest",
    "Triple",
    "Validation",
    "VolumeFacts",
    "Warn",
    "Weights",
    "WindowName",
    "Workplace",
    "bound",
    "by_series",
    "by_slice",
    "draw_place",
    "mean_above",
    "option",
    "packaged",
    "percentile",
    "prepared_names",
    "volumes_at",
    "volumes_by_suffix",
]
