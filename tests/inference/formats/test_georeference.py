"""Coordinate reference system, transform and nodata pixels go from a raster to its translation."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from large_files import TRANSFORM, geotiff, image, write

from diptych.data.images.nodata import avoid_nodata, nodata_for
from diptych.inference.formats import geotiff as geotiff_module
from diptych.inference.formats.geotiff import RasterSource
from diptych.inference.formats.opening import open_source
from diptych.inference.formats.overviews import halve
from diptych.inference.large_images import Window

HOLE = (slice(40, 70), slice(20, 90))


def with_hole(pixels, value):
    """Return pixels with a rectangle of `value`, and one more pixel that has it in its first channel alone."""
    pixels = np.maximum(pixels, pixels.dtype.type(1e-3 if pixels.dtype.kind == "f" else 1))
    pixels[HOLE] = value
    pixels[0, 0, 0] = value
    return pixels


@pytest.mark.parametrize(
    ("dtype", "nodata"), [(np.uint8, 0), (np.uint16, 65535), (np.float32, -9999), (np.float32, np.nan)]
)
@pytest.mark.parametrize(("interleave", "bands"), [("pixel", 3), ("band", 3), ("pixel", 2), ("band", 7)])
def test_a_raster_is_read_with_its_nodata_as_0(dtype, nodata, interleave, bands, tmp_path):
    pixels = with_hole(image(bands, dtype), nodata)
    pixels[0, 0, 0] = 0
    source = open_source(geotiff(tmp_path / "in.tif", pixels, nodata, interleave=interleave))
    assert isinstance(source, RasterSource)
    assert source.channels == bands
    expected = pixels.copy()
    expected[HOLE] = 0
    np.testing.assert_array_equal(source.read(5, 9, 80, 100), expected[5:85, 9:109])
    valid = source.valid(Window(0, 0, 101, 133))
    assert valid.sum() == valid.size - 30 * 70
    assert not valid[HOLE].any()


@pytest.mark.parametrize(("scale", "bands"), [(1, 1), (2, 1), (1, 6)])
@pytest.mark.parametrize(
    ("nodata", "dtype", "expected"), [(0, np.uint8, 0), (65535, np.uint8, 255), (7, np.uint16, 7), (0, np.float32, 0)]
)
def test_translations_keep_crs_transform_and_nodata(scale, bands, nodata, dtype, expected, tmp_path):
    source = open_source(geotiff(tmp_path / "in.tif", with_hole(image(3, np.uint16), nodata), nodata))
    translation = image(bands, dtype, height=101 * scale, width=133 * scale)
    translation[3, 4] = expected  # a valid pixel of the nodata value
    path = write(tmp_path / "out.tif", translation, source, overviews=True)
    with rasterio.open(path) as result, rasterio.open(tmp_path / "in.tif") as before:
        assert result.crs == before.crs
        assert result.bounds == before.bounds
        assert result.transform[:6] == (10 / scale, 0, 500_000, 0, -10 / scale, 5_400_000)
        assert result.nodata == expected
        mask, values = result.dataset_mask() > 0, result.read(1)
        assert result.overviews(1) == [2, 4, 8, 16][: 3 + (scale > 1)]
    with rasterio.open(path, overview_level=0) as half:
        assert half.read(1)[22 * scale, 20 * scale] == expected  # in the hole
    hole = np.zeros((101, 133), bool)
    hole[HOLE] = True
    hole = hole.repeat(scale, 0).repeat(scale, 1)
    np.testing.assert_array_equal(mask, ~hole)
    changed = (values != translation[..., 0]) & ~hole
    assert changed[3, 4]
    assert np.abs(values - translation[..., 0].astype(float))[~hole].max() <= 1


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_a_raster_without_crs(tmp_path):
    source = open_source(geotiff(tmp_path / "in.tif", image(), nodata=0, crs=None))
    with rasterio.open(write(tmp_path / "out.tif", image(), source)) as result:
        assert (result.crs, result.nodata, result.transform) == (None, 0, TRANSFORM)


def test_a_mask_and_alpha_mark_invalid_pixels(tmp_path):
    pixels = np.maximum(image(4), 1)
    pixels[HOLE][..., 3] = 0
    alpha = open_source(geotiff(tmp_path / "alpha.tif", pixels, photometric="rgb", alpha="non-premultiplied"))
    assert (alpha.channels, alpha.valid(Window(40, 20, 30, 70)).any()) == (3, False)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        path = geotiff(tmp_path / "mask.tif", image(1))
        with rasterio.open(path, "r+") as dataset:
            dataset.write_mask(pixels[..., 3] > 0)
    masked = open_source(path)
    assert masked.channels == 1
    np.testing.assert_array_equal(masked.valid(Window(0, 0, 101, 133)), pixels[..., 3] > 0)
    assert not masked.read(40, 20, 30, 70).any()
    for source in (alpha, masked):
        with rasterio.open(write(tmp_path / "out.tif", image(1), source)) as result:
            assert result.nodata == 0
            np.testing.assert_array_equal(result.dataset_mask() > 0, pixels[..., 3] > 0)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of the process from Linux")
def test_memory_is_bounded(tmp_path, monkeypatch):
    """GDAL keeps decoded blocks until a limit, which is a share of the machine's memory by default."""
    monkeypatch.setattr(geotiff_module, "CACHE_BYTES", 2**23)
    options = {"driver": "GTiff", "height": 5000, "width": 5000, "count": 3, "dtype": "uint8", "compress": "deflate"}
    with rasterio.open(tmp_path / "a.tif", "w", tiled=True, crs="EPSG:32632", transform=TRANSFORM, **options):
        pass  # tiles that are not stored are 0
    source = open_source(tmp_path / "a.tif")

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    before = resident()
    for top in range(0, 5000, 500):
        assert not source.read(top, 0, 500, 5000).any()
    assert resident() - before < 40e6  # of 75e6


def test_jpeg_2000(tmp_path):
    path = tmp_path / "a.jp2"
    geotiff(path, image(3, np.uint16), quality=100, reversible=True, compress=None, tiled=None)
    source = open_source(path)
    np.testing.assert_array_equal(source.read(5, 9, 80, 100), image(3, np.uint16)[5:85, 9:109])
    with rasterio.open(write(tmp_path / "out.tif", image(), source)) as result:
        assert result.crs == rasterio.CRS.from_epsg(32632)


def test_nodata_values_of_other_types():
    expected = {-9999: 0, 70000: 255, 12.4: 12, np.nan: 0}
    assert {value: nodata_for(value, np.dtype("uint8")) for value in expected} == expected
    assert nodata_for(-9999, np.dtype("float32")) == -9999
    assert np.isnan(nodata_for(np.nan, np.dtype("float32")))
    assert nodata_for(None, np.dtype("uint8")) is None


def test_reduced_pixels_are_means_without_nodata():
    pixels = np.array([[[10], [20], [5]], [[0], [40], [7]], [[0], [0], [9]]], np.uint8)
    assert halve(pixels)[..., 0].tolist() == [[18, 6], [0, 9]]  # 17.5 is rounded to the even number
    assert halve(pixels, 0)[..., 0].tolist() == [[23, 6], [0, 9]]
    floats = np.array([[[np.nan], [0.5]], [[0.25], [np.nan]]], np.float32)
    assert halve(floats, np.nan).item() == 0.375
    assert avoid_nodata(np.array([[0, 0], [0, 1]], np.uint8), 0).tolist() == [[1, 1], [0, 1]]
    assert avoid_nodata(np.array([[255]], np.uint8), 255).item() == 254
