"""Tiles of an image, the windows around them that the networks see, and reading beyond the border by reflection."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from diptych.inference.large_images import Source, Window, blocks
from diptych.networks.layers import SMALLEST


def round_up(length: int, multiple: int) -> int:
    """Return the smallest multiple that is not below `length`."""
    return -(-length // multiple) * multiple


@dataclass(frozen=True)
class TileGrid:
    """Tiles of a padded image. All windows are in its coordinates, and start and end at multiples of `multiple`.

    The image is padded by reflection to a multiple, as `layers.pad_to_multiple` does with an image in memory. `halo`
    is the number of pixels around a tile that the networks see with it. At the border of the padded image there are
    none, so that the networks pad there as they do for the image.
    """

    height: int  # of the image
    width: int
    multiple: int
    reach: int
    tile: int  # height and width of a tile

    @property
    def halo(self) -> int:
        return round_up(max(self.reach, SMALLEST), self.multiple)

    @property
    def padded_height(self) -> int:
        return round_up(max(self.height, SMALLEST), self.multiple)

    @property
    def padded_width(self) -> int:
        return round_up(max(self.width, SMALLEST), self.multiple)

    @property
    def padding(self) -> tuple[int, int]:
        """The number of rows above the image, and of columns to its left."""
        return (self.padded_height - self.height) // 2, (self.padded_width - self.width) // 2

    def tiles(self) -> list[Window]:
        """Return the tiles with pixels of the image, in row-major order."""
        return [tile for tile in self.tiles_of(self.tile) if min(self.inside_image(tile)[2:]) > 0]

    def tiles_of(self, side: int) -> list[Window]:
        """Return tiles of another size, also those of padding alone, in row-major order."""
        return list(blocks(self.padded_height, self.padded_width, round_up(side, self.multiple)))

    def with_tile(self, tile: int) -> "TileGrid":
        """Return the grid with tiles of this size, rounded up to a multiple."""
        return replace(self, tile=round_up(tile, self.multiple))

    def with_halo(self, tile: Window) -> Window:
        """Return what the networks see for a tile."""
        top, left = max(tile.top - self.halo, 0), max(tile.left - self.halo, 0)
        bottom = min(tile.bottom + self.halo, self.padded_height)
        right = min(tile.right + self.halo, self.padded_width)
        return Window(top, left, bottom - top, right - left)

    def inside_image(self, tile: Window) -> Window:
        """Return the part of a tile that is not padding, in coordinates of the image."""
        rows, columns = self.padding
        top, left = max(tile.top - rows, 0), max(tile.left - columns, 0)
        bottom, right = min(tile.bottom - rows, self.height), min(tile.right - columns, self.width)
        return Window(top, left, bottom - top, right - left)

    def read(self, source: Source, window: Window) -> np.ndarray:
        """Return the pixels (height, width, channels) of a window of the padded image. Raises ImageError."""
        rows = _reflected(window.top - self.padding[0], window.height, self.height)
        columns = _reflected(window.left - self.padding[1], window.width, self.width)
        top, left = int(rows.min()), int(columns.min())
        pixels = source.read(top, left, int(rows.max()) + 1 - top, int(columns.max()) + 1 - left)
        return pixels[rows - top][:, columns - left]


def _reflected(start: int, count: int, length: int) -> np.ndarray:
    """Return the positions within `length` of those from `start` on, reflected at both ends."""
    period = max(1, 2 * (length - 1))
    index = np.arange(start, start + count) % period
    return np.where(index < length, index, period - index)


def spread(grid: TileGrid, side: int, count: int) -> Iterator[Window]:
    """Yield `count` windows of `side` pixels that cover an image evenly; the first ones do so too.

    They depend on the image and `side` alone: multiples of two irrational numbers, modulo 1 (Roberts 2018).
    """
    height, width = (min(round_up(side, grid.multiple), full) for full in (grid.padded_height, grid.padded_width))
    rows, columns = (
        (full - part) // grid.multiple
        for full, part in zip((grid.padded_height, grid.padded_width), (height, width), strict=True)
    )
    for number in range(1, count + 1):
        row, column = (0.7548776662466927 * number) % 1, (0.5698402909980532 * number) % 1
        top, left = (round(share * last) * grid.multiple for share, last in ((row, rows), (column, columns)))
        yield Window(top, left, height, width)
