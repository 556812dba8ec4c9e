"""LPIPS v0.1 (Zhang et al. 2018, arXiv 1801.03924): the perceptual distance of two images by network features.

The distance is a weighted sum of squared feature differences over layers, positions and channels, with non-negative
weights. So it is the squared Euclidean distance of rescaled features, and each image passes through the network once,
however many images it is compared with.

    alex = load_lpips("alex")
    alex.pair(a, b)            # (N,)
    alex.diversity(images)     # mean over all pairs, one pass per image
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from diptych.errors import EvaluationError, nearest, shown
from diptych.evaluation.metrics.extractors import check_finite, deterministic
from diptych.importers import pretrained

SHIFT, SCALE = (
    (-0.030, -0.088, -0.188),
    (0.458, 0.448, 0.450),
)  # ImageNet's mean and standard deviation for pixels in [-1, 1]
EPSILON = 1e-10  # added to the norm of a feature vector, as in the authors' code
# `alex.0` to `vgg.4`: the authors' weights, version 0.1, in a safetensors file; `lpips_heads.LICENSE` is their licence.
HEADS = Path(__file__).with_name("lpips_heads.safetensors")


@dataclass(frozen=True)
class Backbone:
    """A network of torchvision, and the layers whose features LPIPS uses."""

    weights: pretrained.Weights
    build: Callable[[Any], nn.Sequential]  # given torchvision.models
    taps: tuple[int, ...]


BACKBONES: Mapping[str, Backbone] = MappingProxyType(
    {
        "alex": Backbone(pretrained.ALEXNET, lambda models: models.alexnet().features, (1, 4, 7, 9, 11)),
        "vgg": Backbone(pretrained.VGG16, lambda models: models.vgg16().features, (3, 8, 15, 22, 29)),
    }
)


@dataclass(frozen=True, eq=False)
class Lpips:
    """LPIPS by one network. `heads` are the non-negative weights (C,) of the channels of each layer in `taps`."""

    net: nn.Sequential
    heads: tuple[Tensor, ...]
    taps: tuple[int, ...]
    digest: str = ""  # SHA-256 of the network's weights, in hex

    def __post_init__(self) -> None:
        if len(self.heads) != len(self.taps) or any(bool((head < 0).any()) for head in self.heads):
            raise EvaluationError("LPIPS needs one head per layer, with non-negative weights")

    def features(self, x: Tensor) -> Tensor:
        """Return features (N, D) of images (N, 3, H, W) or (N, 1, H, W) in [-1, 1].

        D depends on H and W: 640,000 for alex at 256 x 256, which is 2.5 MB per image. EvaluationError for other
        inputs, or images that are too small for the network.
        """
        if not x.is_floating_point() or x.dim() != 4 or x.shape[1] not in (1, 3) or not len(x):
            raise EvaluationError(f"LPIPS: expected images (N, 3, H, W) in [-1, 1], got {x.dtype} {tuple(x.shape)}")
        x = x.to(self.heads[0].device, torch.float32)
        shift = torch.tensor(SHIFT, device=x.device)[:, None, None]
        scale = torch.tensor(SCALE, device=x.device)[:, None, None]
        with deterministic("LPIPS", x):
            features = self._weighted_features((x - shift) / scale)
        return check_finite(features, "LPIPS")

    def _weighted_features(self, y: Tensor) -> Tensor:
        parts = []
        heads = dict(zip(self.taps, self.heads, strict=True))
        for index, layer in enumerate(self.net[: self.taps[-1] + 1]):
            y = layer(y)
            if index in heads:
                length = y.square().sum(1, keepdim=True).sqrt()
                weight = (heads[index] / (y.shape[2] * y.shape[3])).sqrt()  # the mean over positions
                parts.append((y / (length + EPSILON) * weight[:, None, None]).flatten(1))
        return torch.cat(parts, 1)

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Return LPIPS (N,) of images with features `a` and `b`, both (N, D) or one of them (1, D)."""
        if a.shape[1:] != b.shape[1:]:
            raise EvaluationError(
                f"LPIPS: features of {a.shape[1]} and {b.shape[1]} dimensions belong to different image sizes"
            )
        return (a - b).square().sum(1)

    def pair(self, a: Tensor, b: Tensor) -> Tensor:
        """Return LPIPS (N,) of pairs of images, both (N, C, H, W) in [-1, 1]."""
        if a.shape[2:] != b.shape[2:]:  # a transposed size has the same number of features
            raise EvaluationError("LPIPS: the images have different sizes; resize one of them")
        return self.distance(self.features(a), self.features(b))

    def diversity(self, images: Tensor) -> float:
        """Return the mean LPIPS over all pairs of images (N, C, H, W) in [-1, 1]: the diversity of N translations.

        Choi et al. 2020 (arXiv 1912.01865) use N = 10. EvaluationError for fewer than 2.
        """
        if len(images) < 2:
            raise EvaluationError(f"LPIPS: diversity needs at least 2 images, got {len(images)}")
        features = self.features(images)
        # The squared distances of all pairs sum to N times those to the mean, so no pairs are formed.
        return float((features - features.mean(0)).square().sum(1).sum() * 2 / (len(images) - 1))


def load_lpips(name: str = "alex", weights: Path | None = None, device: torch.device = torch.device("cpu")) -> Lpips:
    """Return LPIPS by `alex`, which papers report, or `vgg`.

    `weights` is the file of the network's weights; by default it is looked up in the cache. EvaluationError for another
    name, and for missing or wrong weights.
    """
    if name not in BACKBONES:
        raise EvaluationError(
            f"LPIPS: unknown network {shown(name)}{nearest(name, BACKBONES)}; choose one of {', '.join(BACKBONES)}"
        )
    backbone = BACKBONES[name]
    with torch.device("meta"):
        net = backbone.build(pretrained.models())
    state, digest, path = pretrained.load(backbone.weights, weights)
    prefix = "features."
    backbone_state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    pretrained.fill(net, backbone_state, str(path))
    return Lpips(net.to(device), tuple(head.to(device) for head in heads(name)), backbone.taps, digest)


def heads(name: str) -> tuple[Tensor, ...]:
    """Return the authors' channel weights of version 0.1, one tensor (C,) per layer, fitted to human judgements."""
    with safe_open(HEADS, "pt") as file:
        return tuple(file.get_tensor(f"{name}.{layer}") for layer in range(len(BACKBONES[name].taps)))
