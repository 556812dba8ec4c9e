"""The coordinate reference system and the pixel size in the tags of a GeoTIFF, without a library of projections."""

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from diptych.data.images.decode import open_file
from diptych.data.images.tiff_planes import SIGNATURES, tiff_tags
from diptych.errors import printable

PIXEL_SCALE, TRANSFORMATION, KEYS, PARAMETERS = 33550, 34264, 34735, 34737
PROJECTED, GEOGRAPHIC = 3072, 2048  # GeoKeys with an EPSG code
USER_DEFINED = 32767
TOLERANCE = 1e-6  # relative difference of equal pixel sizes


class Georeference(NamedTuple):
    """`crs` is an EPSG code or the name in the file. `pixel_size` is the width and height in its units."""

    crs: str
    pixel_size: tuple[float, float]

    def agrees(self, other: "Georeference") -> bool:
        """Return whether two images have one coordinate reference system and one pixel size."""
        pairs = zip(self.pixel_size, other.pixel_size, strict=True)
        return self.crs == other.crs and all(math.isclose(a, b, rel_tol=TOLERANCE) for a, b in pairs)

    def __str__(self) -> str:
        """Return a description such as `EPSG:32631, 10 x 10`."""
        return f"{self.crs or 'no CRS'}, {self.pixel_size[0]:g} x {self.pixel_size[1]:g}"


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
    if TRANSFORMATION in tags:
        a, b, _, _, d, e, *_ = map(float, tags[TRANSFORMATION])
        return Georeference(name, (math.hypot(a, d), math.hypot(b, e)))
    width, height = (float(size) for size in tags.get(PIXEL_SCALE, (1.0, 1.0))[:2])
    return Georeference(name, (width, height))
