"""The face landmark network of StarGAN v2's high-pass skip connections, and the masks that follow from its heatmaps.

One hourglass of FAN (Bulat and Tzimiropoulos 2017, arXiv 1703.07332) with the coordinate channels of Adaptive Wing Loss
(Wang et al. 2019, arXiv 1904.07399), for the 98 landmarks of WFLW. It is frozen: only published weights are used.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INPUT_SIZE = 256  # pixels on a side of the images that the network was trained on
NUM_LANDMARKS = 98
THRESHOLD = 0.1  # lower values of a heatmap are noise
WIDTH = 256  # channels of the hourglass


@dataclass(frozen=True)
class Region:
    """Landmarks `first` to `last` - 1 of WFLW, whose heatmaps become a part of the masks.

    terms: (rows, exponent): the heatmaps to this power, moved up by so many rows, are added.
    in_fine: whether the mask of the finer feature maps has it too.
    """

    first: int
    last: int
    terms: tuple[tuple[int, int], ...]
    in_fine: bool = True


# Of the public code. The ends of the jaw line, of the eyebrows and of the mouth are in no mask.
REGIONS = (
    Region(8, 25, ((0, 3),), in_fine=False),  # chin
    Region(34, 46, ((-7, 2),), in_fine=False),  # eyebrows
    Region(47, 51, ((-7, 2),), in_fine=False),
    Region(51, 52, ((0, 1),)),  # bridge of the nose
    Region(52, 55, ((4, 1),)),
    Region(55, 60, ((8, 4),)),  # nostrils
    Region(60, 76, ((-8, 3), (-24, 1))),  # eyes
    Region(77, 82, ((-8, 4),), in_fine=False),  # upper lip
    Region(83, 88, ((8, 4),), in_fine=False),  # lower lip
    Region(88, 96, ((-2, 3),), in_fine=False),  # inner lips
    Region(96, 98, ((0, 1),)),  # pupils
)


class FaceLandmarks(nn.Module):
    """Images (N, 3 or 1, H, W) in [-1, 1] to two masks (N, 1, 256, 256) in [0, 1], the coarse and the fine one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = CoordConv(3, 64, 7, stride=2)
        self.stem_norm = nn.BatchNorm2d(64)
        self.blocks = nn.ModuleList([MultiScaleBlock(64, 128), MultiScaleBlock(128, 128), MultiScaleBlock(128, WIDTH)])
        self.entry = CoordConv(WIDTH, WIDTH, 1)
        self.hourglass = Hourglass(4)
        self.exit = MultiScaleBlock(WIDTH, WIDTH)
        self.last = nn.Conv2d(WIDTH, WIDTH, 1)
        self.last_norm = nn.BatchNorm2d(WIDTH)
        self.head = nn.Conv2d(WIDTH, NUM_LANDMARKS + 1, 1)

    def heatmaps(self, x: Tensor) -> Tensor:
        """Return the heatmaps (N, 98, 64, 64) of images in [-1, 1]. The last map, of the outline, is left out."""
        x = F.interpolate(x.expand(-1, 3, -1, -1), (INPUT_SIZE, INPUT_SIZE), mode="bilinear")
        h = F.relu(self.stem_norm(self.stem((x + 1) / 2)))
        h = F.avg_pool2d(self.blocks[0](h), 2)
        h = self.blocks[2](self.blocks[1](h))
        h = self.exit(self.hourglass(self.entry(h)))
        return self.head(F.relu(self.last_norm(self.last(h))))[:, :NUM_LANDMARKS]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        heatmaps = self.heatmaps(x)
        size = (INPUT_SIZE, INPUT_SIZE)
        return masks_of(F.interpolate(heatmaps, size, mode="bilinear", align_corners=True))


def masks_of(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the coarse and the fine mask (N, 1, 256, 256) in [0, 1] of heatmaps (N, 98, 256, 256).

    Values that are not finite become 0.
    """
    h = torch.where(heatmaps < THRESHOLD, 0, heatmaps)
    low, high = h.amin((2, 3), keepdim=True), h.amax((2, 3), keepdim=True)
    h = (h - low) / (high - low + 1e-6)
    parts = [_part(h[:, region.first : region.last], region) for region in REGIONS]
    fine = torch.stack([part for part, region in zip(parts, REGIONS, strict=True) if region.in_fine]).sum(0)
    coarse = torch.stack(parts).sum(0)
    return coarse.nan_to_num(0).clamp(0, 1), fine.nan_to_num(0).clamp(0, 1)


def _part(heatmaps: Tensor, region: Region) -> Tensor:
    """Return the contribution (N, 1, H, W) of a region; rows that leave the image at one edge enter at the other."""
    total = torch.zeros_like(heatmaps[:, :1])
    for rows, exponent in region.terms:
        total = total + (heatmaps**exponent).sum(1, keepdim=True).roll(-rows, 2)
    return total


class CoordConv(nn.Module):
    """A convolution with three more input channels (Liu et al. 2018): the position in the image.

    Row and column are in [-1, 1], the distance to the centre in [0, 1].
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels + 3, out_channels, kernel, stride, kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows = torch.linspace(-1, 1, height, dtype=x.dtype, device=x.device)[:, None].expand(height, width)
        columns = torch.linspace(-1, 1, width, dtype=x.dtype, device=x.device)[None].expand(height, width)
        distance = (rows**2 + columns**2).sqrt() / 2**0.5
        coordinates = torch.stack([rows, columns, distance]).expand(len(x), -1, -1, -1)
        return self.conv(torch.cat([x, coordinates], 1))


class MultiScaleBlock(nn.Module):
    """(N, in, H, W) to (N, out, H, W): the outputs of three convolutions in a row, concatenated, plus the input.

    They have out / 2, out / 4 and out / 4 channels, with BatchNorm and ReLU before each.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        inputs = (in_channels, out_channels // 2, out_channels // 4)
        outputs = (out_channels // 2, out_channels // 4, out_channels // 4)
        self.norms = nn.ModuleList(nn.BatchNorm2d(count) for count in inputs)
        self.convs = nn.ModuleList(
            nn.Conv2d(ins, outs, 3, padding=1, bias=False) for ins, outs in zip(inputs, outputs, strict=True)
        )
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.BatchNorm2d(in_channels), nn.ReLU(), nn.Conv2d(in_channels, out_channels, 1, bias=False)
            )

    def forward(self, x: Tensor) -> Tensor:
        h = x
        maps: list[Tensor] = []
        for norm, conv in zip(self.norms, self.convs, strict=True):
            h = conv(F.relu(norm(h)))
            maps.append(h)
        return torch.cat(maps, 1) + self.shortcut(x)


class Hourglass(nn.Module):
    """(N, 256, H, W) to the same shape, through `depth` halvings of the size with a skip connection at each."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.skip, self.down = MultiScaleBlock(WIDTH, WIDTH), MultiScaleBlock(WIDTH, WIDTH)
        self.inner = Hourglass(depth - 1) if depth > 1 else MultiScaleBlock(WIDTH, WIDTH)
        self.up = MultiScaleBlock(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        h = self.up(self.inner(self.down(F.avg_pool2d(x, 2))))
        return self.skip(x) + F.interpolate(h, scale_factor=2.0, mode="nearest")
