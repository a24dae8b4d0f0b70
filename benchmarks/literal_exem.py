"""ExEM word by word, as it was published; and our generator beside it, on one tile.

The literal network is written in plain modules of torch. The literal loop holds the whole region of
interest and two accumulators of its size in memory. `exem.py` runs what is here.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import zarr
from torch import Tensor, nn
from vemctl_exem.network import Generator

from vemctl.samples import light_and_em
from vemctl.volumes.open import open_volume

Triple = tuple[int, int, int]
Floats = npt.NDArray[np.float32]

GROUPS = {1: 1, 2: 1, 4: 1, 8: 1, 16: 4, 32: 8, 64: 8, 128: 16, 256: 32, 512: 32}
BATCH = 8  # tiles per call of the published script

# -------------------------------------------------------------------------------- as published


def in_plane(channels_in: int, channels_out: int, width: int, *, bias: bool) -> nn.Conv3d:
    pad = (0, width // 2, width // 2)
    return nn.Conv3d(channels_in, channels_out, (1, width, width), padding=pad, bias=bias)


class LiteralTriple(nn.Module):
    """a1 + a3, the activations of the first and the last of three normalised convolutions."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        groups = GROUPS[channels_out]
        self.conv1 = in_plane(channels_in, channels_out, 3, bias=False)
        self.groupnorm1 = nn.GroupNorm(groups, channels_out)
        self.conv2 = nn.Conv3d(channels_out, channels_out, 3, padding=1, bias=False)
        self.groupnorm2 = nn.GroupNorm(groups, channels_out)
        self.conv3 = nn.Conv3d(channels_out, channels_out, 3, padding=1, bias=False)
        self.groupnorm3 = nn.GroupNorm(groups, channels_out)
        self.elu = nn.ELU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        a1 = self.elu(self.groupnorm1(self.conv1(x)))
        a2 = self.elu(self.groupnorm2(self.conv2(a1)))
        a3 = self.elu(self.groupnorm3(self.conv3(a2)))
        return a1 + a3


class LiteralGenerator(nn.Module):
    """The published generator as it is described, with its keys; (n, 1, z, y, x) to the same."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        c0, c1, c2, c3, c4 = channels
        self.first_conv = in_plane(1, c0, 5, bias=True)
        self.tripleconv1 = LiteralTriple(c0, c0)
        self.tripleconv2 = LiteralTriple(c0, c1)
        self.tripleconv3 = LiteralTriple(c1, c2)
        self.tripleconv4 = LiteralTriple(c2, c3)
        self.tripleconv5 = LiteralTriple(c3, c4)
        self.tripleconv_up1 = LiteralTriple(c4 + c3, c3)
        self.tripleconv_up2 = LiteralTriple(c3 + c2, c2)
        self.tripleconv_up3 = LiteralTriple(c2 + c1, c1)
        self.tripleconv_up4 = LiteralTriple(c1 + c0, c0)
        self.final_conv = in_plane(c0, c0, 5, bias=True)
        self.one_by_one_conv = in_plane(c0, 1, 1, bias=True)
        self.elu = nn.ELU(inplace=True)
        self.down = nn.MaxPool3d(kernel_size=(1, 2, 2), stride=(1, 2, 2))
        self.up = nn.Upsample(scale_factor=(1, 2, 2), mode="trilinear", align_corners=True)

    def forward(self, x: Tensor) -> Tensor:
        e0 = self.elu(self.first_conv(x))
        s1 = self.tripleconv1(e0)
        s2 = self.tripleconv2(self.down(s1))
        s3 = self.tripleconv3(self.down(s2))
        s4 = self.tripleconv4(self.down(s3))
        b = self.tripleconv5(self.down(s4))
        u1 = self.tripleconv_up1(torch.cat([self.up(b), s4], dim=1))
        u2 = self.tripleconv_up2(torch.cat([self.up(u1), s3], dim=1))
        u3 = self.tripleconv_up3(torch.cat([self.up(u2), s2], dim=1))
        u4 = self.tripleconv_up4(torch.cat([self.up(u3), s1], dim=1))
        return self.one_by_one_conv(self.elu(self.final_conv(u4)))


def starts_along(length: int, patch: int, overlap: int) -> list[int]:
    """Return 0, p - o, 2(p - o), ... as long as these are below n - p, then n - p."""
    starts, start = [], 0
    while start < length - patch:
        starts.append(start)
        start += patch - overlap
    return [*starts, length - patch]


def literal_bump(patch: Triple, sigma: float = 0.5) -> Floats:
    """Return exp(-(z**2 + y**2 + x**2) / (2 sigma**2)), each coordinate from -1 to 1; float32."""
    coordinates = [np.linspace(-1, 1, length, dtype=np.float32) for length in patch]
    z, y, x = np.meshgrid(*coordinates, indexing="ij")
    return np.exp(-(z**2 + y**2 + x**2) / np.float32(2 * sigma**2)).astype(np.float32)


@torch.no_grad()
def literal_loop(
    array: Path,
    weights: Path,
    channels: Sequence[int],
    patch: Triple,
    overlap: Triple,
    batch: int = BATCH,
    device: str = "cpu",
    *,
    roi: Sequence[int] | None = None,
) -> Floats:
    """Translate a region of a Zarr array of 8 bits, of all of it by default; it is not written.

    Parameters
    ----------
    array : Path
        Of the store, at whose root the array lies.
    weights : Path
        A bare state dict.
    channels : sequence of five int
    patch, overlap : (z, y, x)
    batch : int
        Tiles per call; the last call may have fewer.
    device : str
    roi : z0, z1, y0, y1, x0, x1, optional

    Returns
    -------
    ndarray, (z, y, x) float32
        The network's values, neither scaled nor clipped.
    """
    network = LiteralGenerator(channels)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    network.to(device).eval()
    stored = zarr.open(array, mode="r")
    z0, z1, y0, y1, x0, x1 = roi or [end for length in stored.shape for end in (0, length)]
    volume = np.asarray(stored[z0:z1, y0:y1, x0:x1])  # the whole region in memory
    result = np.zeros(volume.shape, np.float32)
    weight = np.zeros(volume.shape, np.float32)
    bump = literal_bump(patch)
    corners = list(itertools.product(*map(starts_along, volume.shape, patch, overlap)))
    for number in range(0, len(corners), batch):
        places = [
            tuple(slice(first, first + size) for first, size in zip(corner, patch, strict=True))
            for corner in corners[number : number + batch]
        ]
        tiles = np.stack([volume[place].astype(np.float32)[None] for place in places])
        outputs = network(torch.from_numpy(tiles).to(device) / 255).cpu().numpy()[:, 0]
        for place, output in zip(places, outputs, strict=True):
            result[place] += output * bump
            weight[place] += bump
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(result / weight, nan=0.0)


# ------------------------------------------------------------------------------- ours beside it


def say(*columns: object) -> None:
    """Print a row of a table."""
    print("| " + " | ".join(map(str, columns)) + " |", flush=True)


def by(sizes: Sequence[int]) -> str:
    """Return 8x64x64."""
    return "x".join(map(str, sizes))


def read(path: Path) -> npt.NDArray[np.generic]:
    """Return a whole volume."""
    volume = open_volume(path)
    z, y, x = (slice(0, length) for length in volume.header.shape)
    return volume.read((z, y, x))


def shared(share: float, tile: Triple) -> Triple:
    """Return a share of a tile along each axis, in whole voxels."""
    z, y, x = (int(share * length) for length in tile)
    return z, y, x


def now(device: str) -> float:
    """Return seconds: of the processor or, once CUDA is done, on the clock."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def in_turn(rounds: int, device: str, **what: Callable[[], object]) -> dict[str, list[float]]:
    """Time each in turn, every other round backwards."""
    seconds: dict[str, list[float]] = {name: [] for name in what}
    for number in range(rounds):
        for name in list(what)[:: 1 if number % 2 == 0 else -1]:
            began = now(device)
            what[name]()
            seconds[name].append(now(device) - began)
    return seconds


def ratio(numerator: list[float], denominator: list[float]) -> str:
    """Return the ratio of medians and that of minima for people."""
    above, below = statistics.median(numerator), statistics.median(denominator)
    most, least = min(numerator), min(denominator)
    return (
        f"{above / below:.3f} ({above:.2f} s over {below:.2f} s; "
        f"minima {most / least:.3f}, {most:.2f} s over {least:.2f} s)"
    )


def fresh(channels: Sequence[int]) -> Generator:
    """Return a generator of random weights, also where they begin as 0 and 1."""
    torch.manual_seed(0)
    network = Generator(channels).eval()
    for name, weights in network.state_dict().items():
        if "groupnorm" in name:
            weights.add_(torch.empty_like(weights).uniform_(-0.3, 0.3))
    return network


def has_bf16(device: str) -> str:
    """Say whether there are instructions for bfloat16."""
    if device != "cpu":
        return "with bf16" if torch.cuda.is_bf16_supported() else "without bf16"
    tests = {"AVX512-BF16": "_is_avx512_bf16_supported", "AMX": "_is_amx_tile_supported"}
    there = [name for name, test in tests.items() if getattr(torch.cpu, test, lambda: False)()]
    return f"with {' and '.join(there)}" if there else "without bf16 (no AVX512-BF16, no AMX)"


def one_tile(
    channels: Sequence[int], tile: Triple, rounds: int, device: str, *, bf16: bool
) -> None:
    """Print the time of the literal network over that of ours, and how far they differ.

    A call of each goes before, in which libraries settle; it gives what is compared.
    """
    literal, ours = LiteralGenerator(channels).eval(), fresh(channels)
    literal.load_state_dict(ours.state_dict())  # strictly: the keys are the same
    literal.to(device)
    ours = ours.for_calls(device)  # as predictions do
    ours.for_calls(device)
    x = torch.from_numpy(light_and_em(tile).lm)[None, None].to(device) / 255

    def caller(network: nn.Module, *, cast: bool) -> Callable[[], Tensor]:
        def call() -> Tensor:
            autocast = torch.autocast(x.device.type, torch.bfloat16) if cast else nullcontext()
            with torch.inference_mode(), autocast:
                y: Tensor = network(x)
            return y

        return call

    calls = {"literal": caller(literal, cast=False), "ours": caller(ours, cast=bf16)}
    wanted, found = (call().float() for call in calls.values())
    seconds = in_turn(rounds, device, **calls)
    times = ratio(seconds["literal"], seconds["ours"])
    if bf16:
        what = f"literal generator over ours in bf16, {by(tile)}, {device} {has_bf16(device)}"
        say(f"{what}: time", times, "at least 1.5, but only where the hardware has bf16")
        error = float((found - wanted).norm() / wanted.norm())
        say(f"{what}: norm of the difference over the norm", f"{error:.1e}", "below 1e-2")
    else:
        what = f"literal generator over ours, {by(tile)}, {device}"
        say(f"{what}: time", times, "at least 1.1")
        error = float((found - wanted).abs().max())
        say(f"{what}: largest difference", f"{error:.1e}", "below 1e-4")
