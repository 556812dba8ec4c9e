"""Small files in the formats of large images, written by libraries that Diptych does not read them with."""

import numpy as np
import rasterio
import tifffile
from PIL import Image

from diptych.inference.formats.opening import create_sink
from diptych.inference.large_images import ArraySource, blocks

HEIGHT, WIDTH = 101, 133
TRANSFORM = rasterio.Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 5_400_000.0)


def image(channels=3, dtype=np.uint8, seed=0, height=HEIGHT, width=WIDTH):
    """Return pixels (height, width, channels) of noise: uint8, uint16, or float32 in [0, 1]."""
    noise = np.random.default_rng(seed).random((height, width, channels), np.float32)
    return noise if dtype == np.float32 else (noise * np.iinfo(dtype).max).astype(dtype)


def smooth(channels=3):
    """Return uint8 pixels without noise, which JPEG changes little."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    planes = [np.sin((x + shift * y) / 40) * 100 + 128 for shift in range(channels)]
    return np.stack(planes, axis=2).astype(np.uint8)


def write(path, pixels, like=None, block=32, **options):
    """Write all pixels by `create_sink`, and return the path."""
    sink = create_sink(path, like or ArraySource(pixels), *pixels.shape, pixels.dtype, block=block, **options)
    for window in blocks(*pixels.shape[:2], block):
        sink.write(window.top, window.left, pixels[window.top : window.bottom, window.left : window.right])
    sink.close()
    return path


def geotiff(path, pixels, nodata=None, crs="EPSG:32632", **options):
    """Write a GeoTIFF by rasterio, with tiles of 32 pixels, and return the path."""
    height, width, count = pixels.shape
    profile = {
        "driver": "JP2OpenJPEG" if path.suffix == ".jp2" else "GTiff",
        "height": height,
        "width": width,
        "count": count,
        "dtype": pixels.dtype,
    }
    tiles = {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate"}
    georeference = {"crs": crs, "transform": TRANSFORM, "nodata": nodata}
    with rasterio.open(path, "w", **profile, **georeference, **{**tiles, **options}) as dataset:
        dataset.write(np.moveaxis(pixels, 2, 0))
    return path


def svs(path, pixels):
    """Write an Aperio slide (tiled JPEG and a thumbnail) with 0.25 micrometres a pixel, and return the path."""
    height, width, _ = pixels.shape
    text = f"Aperio Image Library v11.2.1\r\n{width}x{height} [0,0 {width}x{height}] (32x32) JPEG/RGB Q=95"
    jpeg = {"compression": "jpeg", "compressionargs": {"level": 95}, "metadata": None}
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, tile=(32, 32), photometric="rgb", description=f"{text}|AppMag = 40|MPP = 0.25", **jpeg)
        thumbnail = np.asarray(Image.fromarray(pixels).resize((width // 4, height // 4)))
        file.write(thumbnail, photometric="rgb", description=text, rowsperstrip=16, **jpeg)
    return path
