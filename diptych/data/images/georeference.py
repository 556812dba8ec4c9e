"""The georeference in the tags of a GeoTIFF: CRS and affine transform, without a library of projections."""

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from diptych.data.images.stored_file import open_file
from diptych.data.images.tiff_planes import SIGNATURES, tiff_tags
from diptych.errors import printable

PIXEL_SCALE, TIE_POINT, TRANSFORMATION, KEYS, PARAMETERS = 33550, 33922, 34264, 34735, 34737
PROJECTED, GEOGRAPHIC, RASTER_TYPE = 3072, 2048, 1025  # GeoKeys: two with an EPSG code, and what a tie point refers to
USER_DEFINED = 32767
PIXEL_IS_POINT = 2
TOLERANCE = 1e-6  # relative difference of equal pixel sizes
Transform = tuple[float, float, float, float, float, float]


class Georeference(NamedTuple):
    """`crs` is an EPSG code or the name in the file, empty if there is none.

    `transform` (a, b, c, d, e, f) gives the upper left corner of a pixel in units of the CRS:
    (x, y) = (a * column + b * row + c, d * column + e * row + f).
    """

    crs: str
    transform: Transform

    @property
    def pixel_size(self) -> tuple[float, float]:
        """The width and height of a pixel in units of the CRS."""
        a, b, _, d, e, _ = self.transform
        return math.hypot(a, d), math.hypot(b, e)

    def difference(self, other: "Georeference") -> str:
        """Return in what the grid of another image differs; empty if pixels of equal row and column are one place.

        Origins may differ by half a pixel: then the nearest pixel is still that of the same row and column.
        """
        if self.crs != other.crs:
            return "CRS"
        pixel = max(self.pixel_size)
        if any(abs(mine - theirs) > TOLERANCE * pixel for mine, theirs in zip(self._axes, other._axes, strict=True)):
            same_size = all(map(math.isclose, self.pixel_size, other.pixel_size))
            return "orientation" if same_size else "pixel size"
        shift = math.dist(self._origin, other._origin)
        return "origin" if shift > min(self.pixel_size) / 2 else ""

    @property
    def _axes(self) -> tuple[float, ...]:
        a, b, _, d, e, _ = self.transform
        return a, b, d, e

    @property
    def _origin(self) -> tuple[float, float]:
        return self.transform[2], self.transform[5]

    def __str__(self) -> str:
        """Return a description such as `EPSG:32631, pixels of 10 x 10, origin 500000, 5400000`."""
        a, b, _, d, e, _ = self.transform
        turned = f" with axes ({a:g}, {d:g}) and ({b:g}, {e:g})" if (b, d) != (0, 0) or a < 0 or e > 0 else ""
        size = " x ".join(f"{side:g}" for side in self.pixel_size)
        return (
            f"{self.crs or 'no CRS'}, pixels of {size}{turned}, origin {self._origin[0]:.10g}, {self._origin[1]:.10g}"
        )


def georeference_of(path: Path) -> Georeference | None:
    """Return the georeference of a TIFF; None for other files, without one, and if it is damaged."""
    with suppress(Exception), open_file(path) as file:  # Pillow raises errors of many types
        if file.read(4) in SIGNATURES:
            return _georeference(tiff_tags(file))
    return None


def _georeference(tags: Mapping[int, Any]) -> Georeference | None:
    if KEYS not in tags and PIXEL_SCALE not in tags and TRANSFORMATION not in tags:
        return None
    values = tuple(tags.get(KEYS, ()))
    keys = {values[start]: values[start + 3] for start in range(4, len(values) - 3, 4)}
    code = keys.get(PROJECTED, keys.get(GEOGRAPHIC, 0))
    name = printable(str(tags.get(PARAMETERS, "")))[:100] if code in (0, USER_DEFINED) else f"EPSG:{code}"
    a, b, c, d, e, f = _transform(tags)
    if keys.get(RASTER_TYPE) == PIXEL_IS_POINT:  # the tie point is the center of a pixel
        c, f = c - (a + b) / 2, f - (d + e) / 2
    return Georeference(name, (a, b, c, d, e, f))


def _transform(tags: Mapping[int, Any]) -> Transform:
    """Return the affine transform; that of pixels alone if there is none."""
    if TRANSFORMATION in tags:
        a, b, _, c, d, e, _, f, *_ = map(float, tags[TRANSFORMATION])
        return a, b, c, d, e, f
    width, height = (float(size) for size in tags.get(PIXEL_SCALE, (1.0, 1.0))[:2])
    column, row, _, x, y, *_ = map(float, tags.get(TIE_POINT, (0.0,) * 6))
    return width, 0.0, x - column * width, 0.0, -height, y + row * height
