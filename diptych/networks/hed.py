"""HED, holistically-nested edge detection (Xie and Tu 2015, arXiv 1504.06375): VGG-16 with an output of each block.

It is frozen: only published weights are used. Their names are those of the public PyTorch port, pytorch-hed.
"""

import re
from collections.abc import Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCKS = {  # channels of the input, then of each convolution, by the name of the block in the port
    "One": (3, 64, 64),
    "Two": (64, 128, 128),
    "Thr": (128, 256, 256, 256),
    "Fou": (256, 512, 512, 512),
    "Fiv": (512, 512, 512, 512),
}
SIZE_MULTIPLE = 16  # at other sizes the side outputs are not aligned to the pixel
MEAN = (104.00698793, 116.66876762, 122.67891434)  # of blue, green and red, of 255, as in the public code
_NAME = re.compile(rf"(?:net|module)(?:(Vgg|Score)({'|'.join(BLOCKS)})|Combine)((?:\.\d+)?\.(?:weight|bias))")


class Hed(nn.Module):
    """RGB images (N, 3, H, W) in [0, 1] to probabilities of edges (N, 1, H, W): the fused output."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_block(channels, pools=name != "One") for name, channels in BLOCKS.items())
        self.scores = nn.ModuleList(nn.Conv2d(channels[-1], 1, 1) for channels in BLOCKS.values())
        self.fuse = nn.Sequential(nn.Conv2d(len(BLOCKS), 1, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        h, sides = x.flip(1) * 255 - x.new_tensor(MEAN)[:, None, None], []
        for block, score in zip(self.blocks, self.scores, strict=True):
            h = block(h)
            sides.append(F.interpolate(score(h), x.shape[2:], mode="bilinear", align_corners=False))
        return self.fuse(torch.cat(sides, 1))


def _block(channels: tuple[int, ...], pools: bool) -> nn.Sequential:
    """Return a block of VGG-16, with the pooling before it."""
    layers: list[nn.Module] = [nn.MaxPool2d(2)] if pools else []
    for before, after in pairwise(channels):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def is_hed(state: Mapping[str, Tensor]) -> bool:
    """Return whether the state dict has the names of the port, of any version (`netVggOne` or `moduleVggOne`)."""
    return any(re.match(r"(net|module)(VggOne|ScoreOne|Combine)\.", key) for key in state)


def from_port(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights by the names of `Hed`, in float32; unknown names are kept."""
    return {_own_name(key): value.float() if value.is_floating_point() else value for key, value in state.items()}


def _own_name(key: str) -> str:
    if not (match := _NAME.fullmatch(key)):
        return key
    kind, block, rest = match.groups()
    if kind is None:
        return f"fuse{rest}"
    return f"{'blocks' if kind == 'Vgg' else 'scores'}.{list(BLOCKS).index(block)}{rest}"
