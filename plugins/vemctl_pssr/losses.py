"""What pssr minimises: a weighted sum of terms, given as text.

Source: the specification of the published training, section 4 (MSE, L1 and the feature loss; sums
and the structural similarity are ours).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from vemctl.errors import OptionError
from vemctl.nn.quality import ssim
from vemctl.nn.state_dict import load, read_weights

Term = Callable[[Tensor, Tensor], Tensor]

NAMES = ("MSE", "L1", "SSIM", "FEATURE")
SSIM_WINDOW = 11
FEATURE_LAYERS = (22, 32, 42)
"""Of VGG16 with batch normalisation: what goes into the last three of its poolings."""
FEATURE_WEIGHTS = (5.0, 15.0, 2.0)
GRAM_FACTOR = 5e3
VGG_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
VGG_PREFIX, VGG_UNUSED_PREFIX = "features.", "classifier."


@dataclass(frozen=True)
class WeightedLoss:
    """A sum of terms.

    Attributes
    ----------
    terms : mapping of str to callable
        By name, in the order in which the user gave them.
    weights : mapping of str to float
        By the same names.
    """

    terms: Mapping[str, Term]
    weights: Mapping[str, float]

    def __call__(self, prediction: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return ``loss``, the sum, and each term as it enters it (``loss_L1``), all ().

        Parameters
        ----------
        prediction, target : tensor, (n, c, h, w)
            Normalised as the network has them, as in the original; c is 1 or 3. Computed in
            single precision under any autocast.
        """
        prediction, target = prediction.float(), target.float()
        with torch.autocast(target.device.type, enabled=False):
            terms = {
                f"loss_{name}": weight * self.terms[name](prediction, target)
                for name, weight in self.weights.items()
            }
        return {"loss": sum(terms.values(), prediction.new_zeros(())), **terms}


def make_loss(
    text: str,
    feature_weights: Path | None = None,
    *,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    device: str = "cpu",
) -> WeightedLoss:
    """Return the loss that a text such as ``"MSE"`` or ``"1*L1+0.5*SSIM"`` means.

    Parameters
    ----------
    text : str
        See `parse_loss`.
    feature_weights : Path, optional
        Of VGG16 with batch normalisation, for FEATURE; see `read_vgg16`.
    mean, std : sequence of float
        How images in [0, 1] were normalised, for all channels or each. SSIM is of images, for
        brightness below 0 means nothing to it.
    device : str
        Where losses are computed.

    Raises
    ------
    OptionError
        It means none, or there are feature weights without FEATURE or the other way round.
    WeightsError
        The file holds no weights, or those of another network.
    """
    weights = parse_loss(text)
    if "FEATURE" in weights and feature_weights is None:
        raise OptionError(
            f"--loss {text}: FEATURE compares features of VGG16; expected --feature-weights with "
            "the file of weights that torchvision publishes for vgg16_bn"
        )
    if feature_weights is not None and "FEATURE" not in weights:
        raise OptionError(
            f"--feature-weights {feature_weights}: the loss {text} has no use for them; expected "
            "the term FEATURE in --loss, or no --feature-weights"
        )
    terms: dict[str, Term] = {
        "MSE": functional.mse_loss,
        "L1": functional.l1_loss,
        "SSIM": _Dissimilarity(_per_channel(mean, device), _per_channel(std, device)),
    }
    if feature_weights is not None:
        terms["FEATURE"] = FeatureLoss(read_vgg16(feature_weights).to(device))
    return WeightedLoss({name: terms[name] for name in weights}, weights)


def parse_loss(text: str) -> dict[str, float]:
    """Return the weights of the terms that a text names.

    Parameters
    ----------
    text : str
        ``WEIGHT*NAME``, or ``NAME`` for a weight of 1, joined by ``+``; names are MSE, L1, SSIM
        (1 less it) and FEATURE.

    Raises
    ------
    OptionError
        It names none.
    """
    weights: dict[str, float] = {}
    for part in text.split("+"):
        match = re.fullmatch(r"\s*(?:([0-9.eE-]+)\s*\*\s*)?(\w+)\s*", part)
        weight = _number(match[1] or "1") if match else math.nan
        if not match or match[2] not in NAMES or match[2] in weights or not 0 < weight < math.inf:
            raise OptionError(
                f"--loss {text}: {part.strip()!r} is no term; expected NAME or WEIGHT*NAME, "
                f"joined by +, each of {', '.join(NAMES)} at most once, such as MSE or L1+0.5*SSIM"
            )
        weights[match[2]] = weight
    return weights


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _per_channel(values: Sequence[float], device: str) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)


@dataclass(frozen=True)
class _Dissimilarity:
    """1 - SSIM of images, made of normalised ones; the prediction is not clamped."""

    mean: Tensor
    std: Tensor

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        images = (values * self.std + self.mean for values in (prediction, target))
        return 1 - ssim(*images, window=SSIM_WINDOW)


class FeatureLoss:
    """How far images are apart in a network's eyes: pixels, features, and their correlations.

    Parameters
    ----------
    network : Sequential
        Maps (n, 3, h, w) to features; it is frozen.
    layers : sequence of int
        Whose outputs are compared, ascending.
    weights : sequence of float
        Of these layers.
    """

    def __init__(
        self,
        network: nn.Sequential,
        layers: Sequence[int] = FEATURE_LAYERS,
        weights: Sequence[float] = FEATURE_WEIGHTS,
    ) -> None:
        self._network = network.eval().requires_grad_(False)
        self._weights = dict(zip(layers, weights, strict=True))

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the sum of `parts`, ()."""
        return torch.stack([*self.parts(prediction, target).values()]).sum()

    def parts(self, prediction: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return ``pixel``, and ``feat_N`` and ``gram_N`` per layer, as they enter the sum, ().

        Parameters
        ----------
        prediction, target : tensor, (n, c, h, w)
            One channel, which becomes three, or three; not normalised for the network. VGG16 needs
            at least 16 pixels along each edge.
        """
        with torch.no_grad():
            expected = self._features(target)
        features = self._features(prediction)
        parts = {"pixel": functional.l1_loss(prediction, target)}
        for number, (layer, weight) in enumerate(self._weights.items()):
            parts[f"feat_{number}"] = weight * functional.l1_loss(features[layer], expected[layer])
        for number, (layer, weight) in enumerate(self._weights.items()):
            grams = _gram(features[layer]), _gram(expected[layer])
            parts[f"gram_{number}"] = GRAM_FACTOR * weight**2 * functional.l1_loss(*grams)
        return parts

    def _features(self, images: Tensor) -> dict[int, Tensor]:
        features = images.expand(-1, 3, -1, -1)
        seen = {}
        for number, layer in enumerate(self._network):
            features = layer(features)
            if number in self._weights:
                seen[number] = features
            if len(seen) == len(self._weights):
                break
        return seen


def _gram(features: Tensor) -> Tensor:
    """Return how channels go together, (n, c, c)."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat[0].numel()


class VggFeatures(nn.Sequential):
    """The convolutions of VGG16 with batch normalisation, without the last pooling.

    Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition",
    2014; with the numbers of layers, and so the keys, that torchvision has.
    """

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for block in VGG_BLOCKS:
            if layers:
                layers.append(nn.MaxPool2d(2))
            for width in block:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width)]
                layers.append(nn.ReLU())
                channels = width
        super().__init__(*layers)


def read_vgg16(path: Path) -> VggFeatures:
    """Return the feature network with the weights of a file.

    Parameters
    ----------
    path : Path
        What torchvision publishes for ``vgg16_bn``, whole or the features alone.

    Raises
    ------
    WeightsError
        The file is missing, holds no weights, or those of another network.
    """
    tensors = read_weights(path).tensors
    if any(key.startswith(VGG_PREFIX) for key in tensors):
        tensors = {key: value for key, value in tensors.items() if key.startswith(VGG_PREFIX)}
    tensors = {
        key.removeprefix(VGG_PREFIX): value
        for key, value in tensors.items()
        if not key.startswith(VGG_UNUSED_PREFIX)
    }
    with torch.device("meta"):  # neither draws random numbers nor takes time
        network = VggFeatures()
    network.to_empty(device="cpu")
    counters = [key for key in network.state_dict() if key.endswith("num_batches_tracked")]
    load(network, tensors, path, unused=counters)  # older files have no counters
    return network
