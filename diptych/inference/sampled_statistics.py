"""Statistics of normalisation layers over a large image: pooled over sample windows, or exact.

`sampled` takes windows that are spread over the image, `whole` all of it. If that fits into memory, the networks run
once; else layer by layer, as the input of a layer depends on the statistics of those before it: for each layer the
networks run over all windows, up to that layer.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from diptych.data.images import image_io
from diptych.errors import ConfigError, ImageError
from diptych.inference.large_images import Source, Window
from diptych.inference.tile_grid import TileGrid, round_up, spread
from diptych.networks.normalisation_statistics import Moments, Statistics, layer_moments, pooled_statistics

SAMPLE_SIDE = 256  # pixels of a sample window
SAMPLE_HALO = 64  # pixels around it, at most, that the networks see with it, so that their padding does not count
CANDIDATES = 16  # windows looked at for each sample, if only the foreground is sampled
LEAST_FOREGROUND = 0.5  # share of foreground pixels in a sample
WHOLE_TILE = 512  # pixels of the tiles of exact statistics: a constant, so that their bits do not depend on the machine

Progress = Callable[[str, int, int], None]  # what is done, steps done, steps in total
Read = Callable[[Window], Tensor]  # a window of the padded image as network input (C, H, W) in [-1, 1]
Foreground = Path | Literal["auto"] | None


@dataclass(frozen=True)
class Networks:
    """The networks for a large image: `run` maps (N, C, H, W) to translations; `read` returns network input."""

    run: Callable[[Tensor], Tensor]
    read: Read
    grid: TileGrid
    source: Source
    label: str


def silent(what: str, done: int, total: int) -> None:
    """Show no progress."""


def sampled(
    networks: Networks, samples: int, foreground: Foreground, at_once: bool = True, progress: Progress = silent
) -> list[Statistics]:
    """Return statistics pooled over `samples` windows, by default anywhere in the image. ImageError, ConfigError.

    `foreground` is an image file of any size that covers the image, not 0 where to sample, or "auto". The windows are
    one batch if `at_once`, else they are taken layer by layer.
    """
    windows = _samples(networks, samples, foreground)
    tiles = [(_without_halo(networks.grid, window), window) for window in windows]
    if not at_once:
        return _by_layer(networks, tiles, progress)

    def parts(features: Tensor) -> Iterator[Tensor]:
        for number, (tile, window) in enumerate(tiles):
            yield _part(features[number : number + 1], tile, window)

    with pooled_statistics(parts) as statistics:
        networks.run(torch.stack([networks.read(window) for window in windows]))
    return statistics


def sample_pixels(grid: TileGrid) -> int:
    """Return the number of pixels of a sample window with its halo."""
    return min(_side(grid), grid.padded_height) * min(_side(grid), grid.padded_width)


def _side(grid: TileGrid) -> int:
    return round_up(SAMPLE_SIDE, grid.multiple) + 2 * _halo(grid)


def _halo(grid: TileGrid) -> int:
    return min(grid.halo, round_up(SAMPLE_HALO, grid.multiple))


def _without_halo(grid: TileGrid, window: Window) -> Window:
    """Return the part of a sample window that counts: without a halo on the sides that are not at the border."""
    halo = _halo(grid)
    top, left = (start + halo * (start > 0) for start in (window.top, window.left))
    bottom = window.bottom - halo * (window.bottom < grid.padded_height)
    right = window.right - halo * (window.right < grid.padded_width)
    return Window(top, left, bottom - top, right - left)


def exact(networks: Networks, at_once: bool, progress: Progress = silent) -> list[Statistics]:
    """Return the statistics of the whole image, in one pass if `at_once`, else layer by layer. Raises ImageError."""
    grid = networks.grid
    if at_once:
        with pooled_statistics() as statistics:
            networks.run(networks.read(Window(0, 0, grid.padded_height, grid.padded_width))[None])
        return statistics
    return _by_layer(networks, [(tile, grid.with_halo(tile)) for tile in grid.tiles_of(WHOLE_TILE)], progress)


def _by_layer(networks: Networks, tiles: list[tuple[Window, Window]], progress: Progress) -> list[Statistics]:
    """Return the statistics over all tiles, each given with the window that the networks see for it."""
    found: list[Statistics] = []
    for layer in count(1):
        moments = Moments()
        for number, (tile, window) in enumerate(tiles):
            progress(f"statistics of layer {layer}", number, len(tiles))
            new = _layer_moments(networks, tile, window, found)
            if new is None:
                return found
            moments.merge(new)
        found.append(moments.statistics())
    raise AssertionError("unreachable")


def _layer_moments(networks: Networks, tile: Window, window: Window, found: list[Statistics]) -> Moments | None:
    """Return the moments of the first layer without statistics within a tile; None if there is no such layer."""
    x = networks.read(window)[None]

    return layer_moments(lambda: networks.run(x), found, lambda features: _part(features, tile, window))


def _part(features: Tensor, tile: Window, window: Window) -> Tensor:
    """Return the part for a tile of feature maps (N, C, H, W) for a window. Raises ConfigError."""
    rows = _scaled(tile.top - window.top, tile.height, window.height, features.shape[2])
    columns = _scaled(tile.left - window.left, tile.width, window.width, features.shape[3])
    return features[:, :, rows, columns]


def _scaled(start: int, length: int, image: int, features: int) -> slice:
    """Return the part of a feature map for a part of an image. Raises ConfigError if it is not whole pixels."""
    if start * features % image or length * features % image:
        raise ConfigError(
            f"a feature map of {features} pixels for an image of {image} has no tiles: choose --statistics sampled"
        )
    return slice(start * features // image, (start + length) * features // image)


def _samples(networks: Networks, samples: int, foreground: Foreground) -> list[Window]:
    """Return the windows to sample: spread over the image, or those of them with the most foreground."""
    if foreground is None:
        return list(dict.fromkeys(spread(networks.grid, _side(networks.grid), samples)))
    windows = list(dict.fromkeys(spread(networks.grid, _side(networks.grid), CANDIDATES * samples)))
    if foreground == "auto":
        shares = _shares_by_threshold(networks, windows)
    else:
        shares = _shares_of_mask(foreground, networks.grid, windows)
    if not max(shares):
        raise ImageError(f"{networks.label}: none of {len(windows)} windows has foreground: check the mask")
    enough = [window for window, share in zip(windows, shares, strict=True) if share >= LEAST_FOREGROUND]
    most = sorted(zip(shares, range(len(windows)), strict=True), key=lambda pair: (-pair[0], pair[1]))
    others = [windows[number] for share, number in most if share and windows[number] not in enough]
    return [*enough, *others][:samples]


def _shares_of_mask(path: Path, grid: TileGrid, windows: list[Window]) -> list[float]:
    """Return the share of foreground of each window, by a mask that covers the image."""
    mask = image_io.read(path, "ids" if path.suffix.lower() == ".png" else "colour").max(2) > 0
    shares = []
    for window in windows:
        part = grid.inside_image(window)
        top, left = part.top * mask.shape[0] // grid.height, part.left * mask.shape[1] // grid.width
        bottom, right = -(-part.bottom * mask.shape[0] // grid.height), -(-part.right * mask.shape[1] // grid.width)
        shares.append(float(mask[top:bottom, left:right].mean()))
    return shares


def _shares_by_threshold(networks: Networks, windows: list[Window]) -> list[float]:
    """Return the share of foreground of each window, by Otsu's threshold of brightness over all of them.

    Of the two classes of pixels, the foreground is the one that varies more: tissue and not glass, land and not nodata.
    """
    bright = [networks.read(window)[:, ::4, ::4].mean(0).numpy() for window in windows]
    pixels = np.concatenate([values.ravel() for values in bright])
    threshold = otsu_threshold(pixels)
    above, below = pixels[pixels > threshold], pixels[pixels <= threshold]
    if not len(above) or not len(below):
        return [1.0] * len(windows)
    is_bright = above.std() > below.std()
    return [float(((values > threshold) == is_bright).mean()) for values in bright]


def otsu_threshold(values: np.ndarray) -> float:
    """Return the threshold that splits values into two classes of least variance (Otsu 1979), of 256 levels."""
    counts, edges = np.histogram(values, 256)
    centres = (edges[:-1] + edges[1:]) / 2
    low = np.cumsum(counts)
    high = low[-1] - low
    sums = np.cumsum(counts * centres)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = np.nan_to_num(low * high * (sums / low - (sums[-1] - sums) / high) ** 2)
    return float(edges[1:][between == between.max()].mean())  # the middle of a gap, where all are equal
