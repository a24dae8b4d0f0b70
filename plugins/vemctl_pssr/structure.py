"""What a network of pssr is made of. Imports no torch.

Source: Fang et al., "Deep learning-based point-scanning super-resolution imaging", Nature Methods
18, 406-416 (2021), and the dynamic U-Net of fastai 1.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

Encoder = Literal["wnresnet", "resnet", "rrdb"]

SCALE = 4  # pixels per axis out for one in, of networks that up-sample by themselves
STAGES = (4, 5, 6, 7)  # where the encoder's stages are among its children
FIRST_UP_BLOCK = 4  # where the way up begins among the layers
ATTENTION_FROM_END = 3  # the block on the way up that may have it, counted from the last
BLOCK_COUNTS = {
    "wnresnet18": (2, 2, 2, 2),
    "wnresnet34": (3, 4, 6, 3),
    "wnresnet50": (3, 4, 6, 3),
    "wnresnet101": (3, 4, 23, 3),
    "wnresnet152": (3, 8, 36, 3),
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
}
"""Residual blocks of the four stages, of every published encoder by its name."""
DEEP = ("wnresnet50", "wnresnet101", "wnresnet152")  # their blocks have three convolutions
WIDTH = 64  # channels of the first stage
FILTERS = BLOCKS = GROWTH = 32  # of the published RRDB


@dataclass(frozen=True)
class UpBlock:
    """The channels of a block on the way up.

    Attributes
    ----------
    up, skip : int
        What comes from below and from the encoder.
    joined : int
        Half of what comes from below, and the skip.
    out : int
    """

    up: int
    skip: int
    joined: int
    out: int


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build a network.

    Attributes
    ----------
    encoder : {"wnresnet", "resnet", "rrdb"}
        Weight-normalised residual network with a global average at its end, torchvision's, or no
        U-Net at all but residual dense blocks.
    in_channels, out_channels : int
        Frames, or red, green and blue.
    stem : tuple of int
        Channels of the convolutions before the stages: three of wnresnet, one of resnet.
    widths : tuple of int
        Channels within the blocks of the four stages.
    counts : tuple of int
        Blocks of the four stages.
    expansion : int
        Channels between blocks for one within: 1, or 4 where blocks have three convolutions.
    attention : bool
        Whether the third block from the end of the way up attends to the whole tile.
    bottle : bool
        Whether the last residual block halves its channels within.
    wrapped : bool
        Whether the input is enlarged four times first.
    filters, blocks, growth : int
        Of an RRDB: channels, blocks, and channels that each dense convolution adds. Else 0.
    """

    encoder: Encoder
    in_channels: int
    out_channels: int
    stem: tuple[int, ...] = ()
    widths: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()
    expansion: int = 1
    attention: bool = False
    bottle: bool = False
    wrapped: bool = False
    filters: int = 0
    blocks: int = 0
    growth: int = 0

    @property
    def is_rgb(self) -> bool:
        """Whether it takes grey as red, green and blue alike; channel 0 of the output counts."""
        return self.encoder == "resnet" and self.in_channels == 3

    @property
    def frames(self) -> int:
        """How many neighbouring frames it takes."""
        return 1 if self.is_rgb else self.in_channels

    @property
    def upsamples(self) -> bool:
        """Whether it gives `SCALE` pixels per axis for each that it takes."""
        return self.wrapped or self.encoder == "rrdb"

    @property
    def stage_outputs(self) -> tuple[int, ...]:
        """Channels behind each of the four stages."""
        return tuple(width * self.expansion for width in self.widths)

    @property
    def up_blocks(self) -> tuple[UpBlock, ...]:
        """The channels of the blocks on the way up, the deepest first."""
        outputs = self.stage_outputs
        # The published program takes a skip wherever the size changes: also before the global
        # average that only wnresnet has.
        deepest = len(STAGES) if self.encoder == "wnresnet" else len(STAGES) - 1
        skips = (*reversed(outputs[:deepest]), self.stem[-1])
        blocks: list[UpBlock] = []
        up = outputs[-1]
        for skip in skips:
            joined = up // 2 + skip
            out = joined if len(blocks) + 1 < len(skips) else joined // 2
            blocks.append(UpBlock(up, skip, joined, out))
            up = out
        return tuple(blocks)

    @property
    def attention_index(self) -> int | None:
        """Which of `up_blocks` has attention, if any."""
        return len(self.up_blocks) - ATTENTION_FROM_END if self.attention else None

    @property
    def merged(self) -> int:
        """Channels of the last residual block: those of the last block, and the input's."""
        return self.up_blocks[-1].out + self.in_channels

    @property
    def name(self) -> str:
        """What people call it."""
        if self.encoder == "rrdb":
            usual = (self.filters, self.blocks, self.growth) == (FILTERS, BLOCKS, GROWTH)
            return "rrdb" if usual else f"rrdb ({self.blocks} blocks of {self.filters})"
        depth = next(
            (
                name
                for name, counts in BLOCK_COUNTS.items()
                if name.startswith(self.encoder)
                and counts == self.counts
                and (name in DEEP) == (self.expansion > 1)
            ),
            f"{self.encoder}-{'-'.join(map(str, self.counts))}",
        )
        usual = self.stem == stem_of(self.encoder, WIDTH) and self.widths == doubling(WIDTH)
        return depth if usual else f"{depth} (reduced)"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        fields = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}


def stem_of(encoder: Encoder, width: int) -> tuple[int, ...]:
    """Return the channels of the convolutions before a first stage of `width`."""
    return (width // 2, width // 2, width) if encoder == "wnresnet" else (width,)


def doubling(width: int) -> tuple[int, ...]:
    """Return the channels of the four stages from those of the first."""
    return tuple(width << stage for stage in range(len(STAGES)))
