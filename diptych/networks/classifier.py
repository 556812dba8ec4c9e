"""A small network that reads a whole image: convolutions that halve it, a mean over what is left, a linear layer."""

from torch import Tensor, nn

from diptych.networks.layers import Norm, bias_before, norm_layers


class ClassifierNet(nn.Module):
    """(N, in, H, W) to (N, classes); H and W of at least 16 pixels.

    `depth` halvings, each two 3x3 convolutions with norm and ReLU, of `width` times 1, 2, 4, 8, 8, ... channels.
    """

    def __init__(self, in_channels: int, classes: int, width: int = 32, depth: int = 4, norm: Norm = "batch") -> None:
        super().__init__()
        widths = channels_of(width, depth)
        pairs = zip([in_channels, *widths], widths, strict=False)
        self.body = nn.Sequential(*(_halved(narrow, wide, norm) for narrow, wide in pairs))
        self.head = nn.Linear(widths[-1], classes)

    def maps(self, x: Tensor) -> list[Tensor]:
        """What is left of (N, in, H, W) after each halving."""
        return [x := part(x) for part in self.body]

    def features(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to (N, D)."""
        return self.body(x).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def channels_of(width: int, depth: int) -> list[int]:
    """After each halving; the last is how many numbers an image is coded in."""
    return [width * min(2**level, 8) for level in range(depth)]


def _halved(narrow: int, wide: int, norm: Norm) -> nn.Sequential:
    first, second = (
        [nn.Conv2d(channels, wide, 3, stride, 1, bias=bias_before(norm)), *norm_layers(norm, wide), nn.ReLU()]
        for channels, stride in ((narrow, 1), (wide, 2))
    )
    return nn.Sequential(*first, *second)
