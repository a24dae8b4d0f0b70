"""What a training reads: `open_data`, then `split`, then patches of what `split` returns."""

from vemctl.training.data import DataDescription, Part, open_data
from vemctl.training.decoded import DecodedPatches, decode_all, decoded_bytes
from vemctl.training.split import split
from vemctl.training.volume_patches import VolumePatches, VolumeSource

__all__ = [
    "DataDescription",
    "DecodedPatches",
    "Part",
    "VolumePatches",
    "VolumeSource",
    "decode_all",
    "decoded_bytes",
    "open_data",
    "split",
]
