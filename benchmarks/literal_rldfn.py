"""RL-DFN's inference word by word, as it was published; `rldfn.py` compares ours with it.

The Richardson-Lucy step takes complex transforms of whole tiles, the network is written in plain
modules of torch, and what it computed stays until a tile is done. As published, the degradation of
each tile is computed, which nothing uses, and each tile's views are read from their files anew.

Source: the specification of the published test class and of the script that tiles, sections 3 and
6.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
import torch
from torch import Tensor, nn
from torch.nn import functional

Floats = npt.NDArray[np.float32]
Triple = tuple[int, int, int]
EPSILON = 10e-6
KERNEL = 19  # edge of a degradation's kernel
MARGIN = 8

# -------------------------------------------------------------------------------- as published


def align(psf: Floats, shape: Triple) -> Floats:
    """Place a point spread function in the middle of zeros, or take its middle; its sum is 1."""
    result = np.zeros(shape, np.float32)
    source, target = [], []
    for size, wanted in zip(psf.shape, shape, strict=True):
        if wanted >= size:
            start = round((wanted - size) / 2)
            source.append(slice(0, size))
            target.append(slice(start, start + size))
        else:
            start = round((size - wanted) / 2)
            source.append(slice(start, start + wanted))
            target.append(slice(0, wanted))
    result[tuple(target)] = psf[tuple(source)]
    return result / result.sum()


def ifftshift(volume: Tensor) -> Tensor:
    shifts = tuple(-(size // 2) for size in volume.shape)
    return torch.roll(volume, shifts, tuple(range(volume.ndim)))


class LiteralDeconvolution:
    """One Richardson-Lucy step on tiles of a shape, (1, 1, z, y, x)."""

    def __init__(self, psf_a: Floats, psf_b: Floats, shape: Triple, device: str = "cpu") -> None:
        self.otf_a, self.otf_b = (
            torch.fft.fftn(torch.from_numpy(align(psf, shape)).to(device)) for psf in (psf_a, psf_b)
        )
        self.kernel_a, self.kernel_b = (
            torch.from_numpy(align(psf, (KERNEL,) * 3)).to(device)[None, None]
            for psf in (psf_a, psf_b)
        )

    def convolve(self, volume: Tensor, otf: Tensor) -> Tensor:
        return ifftshift(torch.real(torch.fft.ifftn(torch.fft.fftn(volume) * otf)))

    def __call__(
        self, view_a: Tensor, view_b: Tensor, estimate: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if estimate is None:
            estimate = (view_a + view_b) / 2
        least = torch.tensor(EPSILON, device=view_a.device)
        blur_a = self.convolve(estimate, self.otf_a)
        blur_b = self.convolve(estimate, self.otf_b)
        ratio_a = torch.maximum(view_a / (blur_a + EPSILON), least)
        ratio_b = torch.maximum(view_b / (blur_b + EPSILON), least)
        cur_a = self.convolve(ratio_a, self.otf_a)
        cur_b = self.convolve(ratio_b, self.otf_b)
        return cur_a.detach(), cur_b.detach()

    def degradation(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        a = functional.conv3d(volume, self.kernel_a, padding="same")
        b = functional.conv3d(volume, self.kernel_b, padding="same")
        return a, b


class LiteralBlock(nn.Module):
    """Convolutions of 3 x 3 x 3, each with a batch norm and a ReLU."""

    def __init__(self, *channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            convolution = nn.Conv3d(before, after, 3, padding=1)
            layers += [convolution, nn.BatchNorm3d(after), nn.ReLU()]
        self.convolution = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convolution(x)
        return y


class LiteralFeatureNet(nn.Module):
    """The published feature net, (n, 1, z, y, x) to 64 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first_conv = nn.Conv3d(1, 64, 1)
        self.mid_conv = LiteralBlock(64, 64, 64)
        self.last_conv = nn.Conv3d(64, 64, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first_conv(x)
        x = self.mid_conv(x)
        x = self.last_conv(x)
        return torch.sigmoid(x)


class LiteralUnet(nn.Module):
    """The published U-Net, 64 channels to one; edges are multiples of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.double_conv1 = LiteralBlock(64, 64, 64)
        self.double_conv2 = LiteralBlock(64, 128, 128)
        self.bottom_layer = LiteralBlock(128, 256, 256, 256)
        self.t_conv2 = nn.ConvTranspose3d(256, 128, 2, stride=2)
        self.ex_double_conv2 = LiteralBlock(256, 128, 128)
        self.t_conv1 = nn.ConvTranspose3d(128, 64, 2, stride=2)
        self.ex_conv1_1 = LiteralBlock(128, 64)
        self.one_by_one = nn.Conv3d(64, 1, 1)
        self.one_by_one_2 = nn.Conv3d(1, 1, 1)
        self.maxpool = nn.MaxPool3d(2)

    def forward(self, x: Tensor) -> Tensor:
        conv1 = self.double_conv1(x)
        pooled1 = self.maxpool(conv1)
        conv2 = self.double_conv2(pooled1)
        pooled2 = self.maxpool(conv2)
        bottom = self.bottom_layer(pooled2)
        up2 = self.t_conv2(bottom)
        cat2 = torch.cat([conv2, up2], 1)
        ex2 = self.ex_double_conv2(cat2)
        up1 = self.t_conv1(ex2)
        cat1 = torch.cat([conv1, up1], 1)
        ex1 = self.ex_conv1_1(cat1)
        one = self.one_by_one(ex1)
        return functional.softplus(self.one_by_one_2(one))


class LiteralFusion(nn.Module):
    """The generator with the published keys: features of both views, their product, the U-Net."""

    def __init__(self) -> None:
        super().__init__()
        self.net_FA = LiteralFeatureNet()
        self.net_G = LiteralUnet()

    def forward(self, cur_a: Tensor, cur_b: Tensor) -> Tensor:
        features_a = self.net_FA(cur_a)
        features_b = self.net_FA(cur_b)
        product = features_a * features_b
        fused: Tensor = self.net_G(product)
        return fused


class LiteralModel:
    """What the published test class does with a tile."""

    def __init__(
        self, network: nn.Module, deconvolution: LiteralDeconvolution, *, degrade: bool = True
    ) -> None:
        self.network, self.deconvolution, self.degrade = network, deconvolution, degrade

    @torch.no_grad()
    def __call__(self, view_a: Tensor, view_b: Tensor) -> Tensor:
        cur_a, cur_b = self.deconvolution(view_a, view_b)
        self.fused: Tensor = self.network(cur_a, cur_b)
        if self.degrade:  # nothing uses it
            self.degraded = self.deconvolution.degradation(self.fused)
        return self.fused


def literal_restored(
    view_a: Tensor, view_b: Tensor, deconvolution: LiteralDeconvolution, iterations: int = 3
) -> Tensor:
    """Return plain dual-view Richardson-Lucy deconvolution, as the published demonstration."""
    view_a, view_b = view_a / view_a.max(), view_b / view_b.max()
    least = torch.tensor(EPSILON, device=view_a.device)
    estimate = (view_a + view_b) / 2
    for _ in range(iterations):
        cur_a, cur_b = deconvolution(view_a, view_b, estimate)
        estimate = torch.maximum(cur_a, least) * torch.maximum(cur_b, least) * estimate
        estimate = estimate / estimate.max()
    return estimate


def literal_program(
    paths: tuple[Path, Path],
    psfs: tuple[Floats, Floats],
    network: nn.Module,
    patch: Triple = (108, 256, 256),
    device: str = "cpu",
    *,
    by_tile: bool = True,
    degrade: bool = True,
    reread: bool = True,
) -> Floats:
    """Fuse two views; nothing is written.

    Parameters
    ----------
    paths : tuple of Path
        TIFF files of view A and view B, (z, y, x).
    psfs : tuple of ndarray, (z, y, x)
    network : nn.Module
        On the device, in evaluation mode.
    patch : (z, y, x)
        Of a tile without its margin.
    device : str
    by_tile : bool
        Divide each view of each tile by its maximum, as the workflow's script does, and not as the
        test script.
    degrade, reread : bool
        Do also what is of no use.

    Returns
    -------
    ndarray
        (z of the patch, floor(y / patch) patches, floor(x / patch) patches).
    """
    depth, height, width = patch
    views = [read_padded(path, depth) for path in paths]
    rows, columns = (
        (size - 2 * MARGIN) // edge
        for size, edge in zip(views[0].shape[1:], patch[1:], strict=True)
    )
    result = np.zeros((depth, rows * height, columns * width), np.float32)
    model: LiteralModel | None = None
    for i in range(columns):
        for j in range(rows):
            y, x = j * height, i * width
            tiles = []
            for number, path in enumerate(paths):
                if reread:
                    views[number] = read_padded(path, depth)
                tile = views[number][:, y : y + height + 2 * MARGIN, x : x + width + 2 * MARGIN]
                with np.errstate(invalid="ignore"):
                    tiles.append(tile / tile.max() if by_tile else tile)
            if model is None:
                model = LiteralModel(
                    network,
                    LiteralDeconvolution(*psfs, tiles[0].shape, device),
                    degrade=degrade,
                )
            a, b = (torch.from_numpy(tile)[None, None].to(device) for tile in tiles)
            fused = model(a, b)[0, 0, :, MARGIN:-MARGIN, MARGIN:-MARGIN].cpu().numpy()
            result[:, y : y + height, x : x + width] = np.nan_to_num(fused, nan=0.0)
    return result


def read_padded(path: Path, depth: int) -> Floats:
    """Return a view with zeros around it, of as many planes as a tile."""
    view = tifffile.imread(path).astype(np.float32)[:depth]
    missing = depth - len(view)
    return np.pad(view, ((0, missing), (MARGIN, MARGIN), (MARGIN, MARGIN)))


# ----------------------------------------------------------------------------------- its weights


def seeded() -> dict[str, Tensor]:
    """Return random weights, of values that neither vanish nor grow from layer to layer."""
    random, tensors = torch.Generator().manual_seed(0), {}
    for name, tensor in LiteralFusion().state_dict().items():
        noise = torch.randn(tensor.shape, generator=random)
        if tensor.ndim > 1:
            tensors[name] = 1.4 * noise / math.sqrt(math.prod(tensor.shape[1:]))
        elif "running_mean" in name or "bias" in name:
            tensors[name] = 0.1 * noise
        elif "num_batches" in name:
            tensors[name] = tensor
        else:
            tensors[name] = 1 + 0.1 * noise.abs()
    return tensors


def loaded(tensors: Mapping[str, Any], device: str = "cpu") -> LiteralFusion:
    """Return the network of these weights, in evaluation mode."""
    network = LiteralFusion()
    network.load_state_dict(tensors)
    return network.to(device).eval()
