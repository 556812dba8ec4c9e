"""The base class of evaluator networks."""

from typing import Literal

from torch import Tensor

from diptych.contract.method import Method
from diptych.errors import ConfigError


class Evaluator(Method):
    """A classifier or segmenter, trained on real images to score translations.

    FID, KID and perceptual losses may use its features, if it has some.
    """

    has_features: bool = True

    def classes(self) -> tuple[str, ...]:
        """Return the names of its classes or attributes, in the order of its logits."""
        raise NotImplementedError

    def ignored_classes(self) -> tuple[str, ...]:
        """Return the names of the colours of label maps that it was not trained on and is not scored on."""
        return ()

    def kind(self) -> Literal["class", "attributes"]:
        """Return whether an image (or pixel) has exactly one of the classes, or any number of attributes."""
        return "class"

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of images (N, C, H, W) in [-1, 1]: (N, K), or (N, K, H, W) per pixel; without gradient."""
        raise NotImplementedError

    def features(self, x: Tensor) -> Tensor:
        """Return the features (N, D) before the last layer, of images (N, C, H, W) in [-1, 1]; without gradient."""
        raise NotImplementedError

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return feature maps (N, C', H', W'), finest first, of images (N, C, H, W) in [-1, 1]; with gradient."""
        raise ConfigError(f"{type(self).__name__} has no feature maps to compute a perceptual loss from")
