"""LPIPS v0.1 (Zhang et al. 2018, arXiv 1801.03924): how far apart two images look, by what a network sees in them.

The distance is a sum, over layers, places and channels, of weighted squared differences, and the weights are not
negative. So each image has a place in a space where the distance is the plain squared one: it goes through the
network once, however many others it is compared with.

    alex = load("alex")
    alex.pair(a, b)               # (N,)
    alex.diversity(styles_of_one) # mean over all pairs, one pass an image
"""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from diptych.errors import EvaluationError, nearest, shown
from diptych.evaluation.metrics.extractors import exactly, finite
from diptych.importers import pretrained
from diptych.importers.sandbox import read_in_process

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet's mean and deviation, for pixels in [-1, 1]
EPSILON = 1e-10  # beside the length of a feature vector, as in the authors' code
HEADS = "functional/image/lpips_models"  # in the package torchmetrics, which ships what people's answers taught


@dataclass(frozen=True)
class Backbone:
    """A network of torchvision, and after which of its layers LPIPS looks."""

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
    """LPIPS by one network. `heads` are the weights of the channels after each of its `taps`, (C,) and not negative."""

    net: nn.Sequential
    heads: tuple[Tensor, ...]
    taps: tuple[int, ...]
    digest: str = ""  # SHA-256 of the network's weights, in hex

    def __post_init__(self) -> None:
        if len(self.heads) != len(self.taps) or any(bool((head < 0).any()) for head in self.heads):
            raise EvaluationError("LPIPS needs as many heads as it looks at layers, none with a negative weight")

    def features(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) or (N, 1, H, W) in [-1, 1] to (N, D); D depends on H and W (640,000 at 256, alex).

        That is 2.5 MB an image, so many are better compared in parts.
        EvaluationError for what is no such image, or too small for the network.
        """
        if not x.is_floating_point() or x.dim() != 4 or x.shape[1] not in (1, 3) or not len(x):
            raise EvaluationError(f"LPIPS: takes (N, 3, H, W) in [-1, 1], and was given {x.dtype} {tuple(x.shape)}")
        x = x.to(self.heads[0].device, torch.float32)
        shift, scale = (torch.tensor(each, device=x.device)[:, None, None] for each in (SHIFT, SCALE))
        with exactly("LPIPS", x):
            found = self._places((x - shift) / scale)
        return finite(found, "LPIPS")

    def _places(self, y: Tensor) -> Tensor:
        parts = []
        heads = dict(zip(self.taps, self.heads, strict=True))
        for at, layer in enumerate(self.net[: self.taps[-1] + 1]):
            y = layer(y)
            if at in heads:
                length = y.square().sum(1, keepdim=True).sqrt()
                weight = (heads[at] / (y.shape[2] * y.shape[3])).sqrt()  # the mean over places
                parts.append((y / (length + EPSILON) * weight[:, None, None]).flatten(1))
        return torch.cat(parts, 1)

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """LPIPS (N,) of images whose features are `a` and `b`, both (N, D), or one of them (1, D). 0 is the same."""
        if a.shape[1:] != b.shape[1:]:
            raise EvaluationError(f"LPIPS: features of {a.shape[1]} and {b.shape[1]} numbers are not of one image size")
        return (a - b).square().sum(1)

    def pair(self, a: Tensor, b: Tensor) -> Tensor:
        """LPIPS (N,) of images (N, C, H, W) in [-1, 1] with those at the same place."""
        if a.shape[2:] != b.shape[2:]:  # on end, an image has as many features as lying down
            raise EvaluationError("LPIPS: only images of one size can be compared; resize one of them")
        return self.distance(self.features(a), self.features(b))

    def diversity(self, images: Tensor) -> float:
        """The mean LPIPS over all pairs of images (N, C, H, W) in [-1, 1]: how different the answers to one source are.

        As Choi et al. 2020 (arXiv 1912.01865) measure it, where N is 10. EvaluationError for fewer than 2.
        """
        if len(images) < 2:
            raise EvaluationError(f"LPIPS: the diversity of {len(images)} image(s) is no number; give 2 at least")
        places = self.features(images)
        # Squared distances over all pairs add up to N times those to the mean, so no pair is formed.
        return float((places - places.mean(0)).square().sum(1).sum() * 2 / (len(images) - 1))


def load(name: str = "alex", weights: Path | None = None, device: torch.device = torch.device("cpu")) -> Lpips:
    """LPIPS by `alex`, which papers report, or `vgg`; `weights` is the network's file, else it is looked for.

    EvaluationError for another name, for missing or foreign weights.
    """
    if name not in BACKBONES:
        raise EvaluationError(
            f"LPIPS: no network is called {shown(name)}{nearest(name, BACKBONES)}; there are {', '.join(BACKBONES)}"
        )
    backbone = BACKBONES[name]
    with torch.device("meta"):
        net = backbone.build(pretrained.models())
    state, digest, path = pretrained.load(backbone.weights, weights)
    kept = {key.removeprefix("features."): value for key, value in state.items() if key.startswith("features.")}
    pretrained.fill(net, kept, str(path))
    return Lpips(net.to(device), tuple(head.to(device) for head in heads(name)), backbone.taps, digest)


def heads(name: str) -> tuple[Tensor, ...]:
    """The weights of channels (C,) that the authors fitted to people's answers, version 0.1, one tensor a layer."""
    found = importlib.util.find_spec("torchmetrics")
    if found is None or not found.submodule_search_locations:
        raise EvaluationError("torchmetrics brings the weights of LPIPS: pip install torchmetrics")
    state = read_in_process(Path(found.submodule_search_locations[0]) / HEADS / f"{name}.pth")
    return tuple(state[f"lin{layer}.model.1.weight"].flatten() for layer in range(len(BACKBONES[name].taps)))
