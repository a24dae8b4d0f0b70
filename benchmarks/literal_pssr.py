"""PSSR's inference word by word, as it was published; `pssr.py` compares ours with it.

Tiles go one by one through a network that makes every kernel anew from its direction and length,
as weight normalisation does; the layers are those of `vemctl_pssr.network`, but attention holds its
whole matrix. The enlarged frames and a canvas in double precision lie in memory as a whole. What
is not word by word: in float32 on CUDA, convolutions of more than 256 channels go past cuDNN in
both, for its own choice may be 200 times slower.

Source: the specification of the published inference, sections 2, 6.2 and 6.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter, zoom
from torch import Tensor, nn
from torch.nn import functional
from vemctl_pssr.architecture import Architecture, recognise
from vemctl_pssr.layers import SelfAttention
from vemctl_pssr.network import build

from vemctl.nn.own_weights import read_own_weights, write_weights

Floats = npt.NDArray[np.float32]
SCALE = 4
OVERLAP_PERCENT = 5.0
STATISTICS = {
    "wnresnet": ((0.5,), (0.2,)),
    "resnet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Mean and standard deviation of the images that a model was trained on, by its encoder."""
GAINS = {"wnresnet": 1.3, "resnet": 1.25}
"""Of random weights, so that results lie in [0, 1] for the most part."""

# -------------------------------------------------------------------------------- as published


class LiteralAttention(nn.Module):
    """Self-attention with all weights at once: for each pixel of a tile one for each."""

    def __init__(self, layer: SelfAttention) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        layer, flat = self.layer, x.flatten(2)
        query, key, value = layer.query(flat), layer.key(flat), layer.value(flat)
        weights = functional.softmax(torch.bmm(query.transpose(1, 2), key), dim=1)
        return (layer.gamma * torch.bmm(value, weights) + flat).view_as(x)


def literal_network(network: nn.Module) -> nn.Module:
    """Give a network of `build` the published attention, in place; in evaluation mode."""
    for child in network.modules():
        if isinstance(child, nn.Sequential):
            for index, layer in enumerate(child):
                if isinstance(layer, SelfAttention):
                    child[index] = LiteralAttention(layer)
    return network.eval()


@dataclass(frozen=True)
class Model:
    """What the published programs load: a network, its statistics, and the sizes of its tiles."""

    network: nn.Module
    mean: Tensor
    std: Tensor
    x_size: int
    size: int
    dtype: torch.dtype
    device: str
    notebook: bool  # of electron microscopy

    def predict(self, tile: Floats) -> Floats:
        """Return what is made of one tile, (frames, s, s) -> (s, s)."""
        x = fastai_resize(torch.from_numpy(tile), self.x_size).to(self.device)
        x = (x - self.mean[:, None, None]) / self.std[:, None, None]  # grey becomes three channels
        with torch.no_grad():
            y = self.network(x[None].to(self.dtype))[0].float()
        y = y * self.std[:, None, None] + self.mean[:, None, None]
        if self.notebook:
            y = y.clamp(0, 1)
        made: Floats = y[0].cpu().numpy()
        return made


def fastai_resize(image: Tensor, t: int) -> Tensor:
    """Resize (c, h, w) so that the shorter edge is `t`, and cut out the middle."""
    h, w = image.shape[1:]
    r = min(h / t, w / t)
    height, width = round(h / r), round(w / r)
    if (height, width) != (h, w):
        d = min(h / height, w / width) / 2
        if d > 1:
            smaller = (math.floor(h / d), math.floor(w / d))
            image = functional.adaptive_avg_pool2d(image, smaller)
        rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
        grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
        image = functional.grid_sample(
            image[None], grid[None], "bilinear", "reflection", align_corners=True
        )[0]
    top, left = int((height - t + 1) * 0.5), int((width - t + 1) * 0.5)
    return image[:, top : top + t, left : left + t]


def unet_image_from_tiles_blend(
    predict: Callable[[Floats], Floats], frames: Floats, size: int
) -> Floats:
    """Return an enlarged frame, (frames, y, x) in [0, 1] -> (4 y, 4 x), neither limited."""
    large = np.stack([zoom(frame, SCALE, order=1) for frame in frames]).astype(np.float32)
    count, height, width = large.shape
    overlap = int(size * (OVERLAP_PERCENT / 100) // 2 * 2)
    step, half = size - overlap, overlap // 2
    canvas = np.zeros((height, width), np.float64)
    x_seams, y_seams = set(), set()
    for x in range(math.ceil(width / step)):
        for y in range(math.ceil(height / step)):
            left, top = x * step, y * step
            cut = large[:, top : top + size, left : left + size]
            bottom, right = top + cut.shape[1], left + cut.shape[2]
            tile = np.zeros((count, size, size), np.float32)
            tile[:, : cut.shape[1], : cut.shape[2]] = cut
            made = predict(tile)
            x0, x1 = left + (half if left else 0), right - (half if right < width else 0)
            y0, y1 = top + (half if top else 0), bottom - (half if bottom < height else 0)
            canvas[y0:y1, x0:x1] = made[y0 - top : y1 - top, x0 - left : x1 - left]
            x_seams.add(x0)
            y_seams.add(y0)
    for seam in sorted(x_seams - {0}):
        strip = canvas[:, max(0, seam - 5) : seam + 5]
        if strip.size:
            strip[...] = gaussian_filter(strip, 1, mode="nearest", truncate=4)
    for seam in sorted(y_seams - {0}):
        strip = canvas[max(0, seam - 5) : seam + 5]
        if strip.size:
            strip[...] = gaussian_filter(strip, 1, mode="nearest", truncate=4)
    return canvas.astype(np.float32)


def image_gen(stack: npt.NDArray[Any], model: Model) -> npt.NDArray[np.uint8]:
    """Enlarge a stack as the script does; as many frames as a window takes are lost at the ends."""
    values = stack.astype(np.float32)
    values /= values.max()
    architecture: Any = model.network.architecture
    half = architecture.frames // 2
    made = []
    for t in range(half, len(values) - half):
        window = values[t - half : t + half + 1]
        enlarged = unet_image_from_tiles_blend(model.predict, window, model.size)
        made.append((enlarged.clip(0, 1) * 255).astype(np.uint8))
    return np.stack(made)


def em_notebook(stack: npt.NDArray[Any], model: Model) -> npt.NDArray[np.uint16]:
    """Enlarge a stack as the notebook for electron microscopy does."""
    values = stack.astype(np.float32)
    values /= values[0].max()
    made = []
    for image in values:
        enlarged = unet_image_from_tiles_blend(model.predict, image[None], model.size)
        if enlarged.min() < 0:
            enlarged -= enlarged.min()
        made.append((enlarged * 65535).astype(np.uint16))
    return np.stack(made)


def literal_program(stack: npt.NDArray[Any], model: Model) -> npt.NDArray[Any]:
    """Enlarge a stack (z, y, x) by the program that is for a model."""
    return em_notebook(stack, model) if model.notebook else image_gen(stack, model)


# ---------------------------------------------------------------------------------- its weights


def seeded(architecture: Architecture) -> nn.Module:
    """Return a network of random weights, also where they begin as 0 and 1; on the CPU.

    They are drawn as those of the fixtures are (`tests/parity.py`), but from one generator.
    """
    network, random = build(architecture).eval(), torch.Generator().manual_seed(0)
    gain = GAINS[architecture.encoder]
    for name, tensor in network.state_dict().items():
        noise = torch.randn(tensor.shape, generator=random)
        kind = name.rpartition(".")[2]
        if tensor.ndim > 1:
            noise *= gain / math.sqrt(math.prod(tensor.shape[1:]))
        elif kind == "running_var":
            noise = 1 + 0.1 * noise.abs()
        else:
            noise = 0.1 * noise + (1 if kind.startswith("weight") else 0)
        tensor.copy_(noise)
    return network


def export(path: Path, network: nn.Module, size: int) -> None:
    """Write a network and what an export tells of it: statistics, and the edge of its tiles."""
    architecture: Any = network.architecture
    mean, std = STATISTICS[architecture.encoder]
    scale = SCALE if architecture.wrapped else 1
    facts = {
        "normalisation": {"mean": list(mean), "std": list(std), "input": True, "target": True},
        "tile": {"input": size // scale, "target": size},
        "classes": {"input": "fastai.vision.image.ImageImageList", "target": ""},
    }
    write_weights(path, network.state_dict(), facts)


def load_learner(path: Path, device: str, *, half: bool = False) -> Model:
    """Load what `export` wrote.

    Parameters
    ----------
    path : Path
    device : str
    half : bool
        Float16 but for the batch normalisations, as the published program has it on a GPU.
    """
    tensors, facts = read_own_weights(path)
    architecture = recognise(tensors, path)
    network = build(architecture)
    network.load_state_dict(tensors)
    network = literal_network(network).to(device)
    if half:
        network.half()
        for child in network.modules():
            if isinstance(child, nn.BatchNorm2d):
                child.float()
    told, tile = facts["normalisation"], facts["tile"]
    return Model(
        network,
        torch.tensor(told["mean"], device=device),
        torch.tensor(told["std"], device=device),
        tile["input"],
        tile["target"],
        torch.float16 if half else torch.float32,
        device,
        notebook=architecture.encoder == "resnet" and not architecture.wrapped,
    )
