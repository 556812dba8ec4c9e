"""Files are written and read as independent libraries read and write them."""

import json
from pathlib import Path

import numpy as np
import openslide
import pytest
import rasterio
import tifffile
import tiffslide
import zarr
from large_files import HEIGHT, WIDTH, image, smooth, svs, write
from PIL import Image

from diptych.data.images import image_io
from diptych.data.images.alpha import over_white
from diptych.data.images.metadata import channel_names
from diptych.errors import ImageError
from diptych.inference.formats import tiff_writer
from diptych.inference.formats.opening import create_sink, is_large_format, open_source
from diptych.inference.formats.overviews import halve
from diptych.inference.formats.slide_source import SlideSource
from diptych.inference.large_images import ArraySource

KINDS = [(1, np.uint8), (3, np.uint8), (4, np.uint8), (1, np.uint16), (3, np.uint16), (3, np.float32)]
KINDS += [(2, np.float32), (7, np.uint16)]


def by_tifffile(path):
    return tifffile.imread(path).reshape(HEIGHT, WIDTH, -1)


def by_rasterio(path):
    with rasterio.open(path) as dataset:
        return np.moveaxis(dataset.read(), 0, 2)


def by_openslide(path):
    with openslide.OpenSlide(path) as slide:
        return np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))


def window_of(source, top=5, left=9, height=80, width=100):
    return source.read(top, left, height, width)


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
@pytest.mark.parametrize(("channels", "dtype"), KINDS)
@pytest.mark.parametrize("compression", ["deflate", "none"])
def test_tiffs_are_what_other_readers_read(channels, dtype, compression, tmp_path):
    pixels = image(channels, dtype)
    path = write(tmp_path / "out.tif", pixels, compression=compression, overviews=True)
    np.testing.assert_array_equal(by_tifffile(path), pixels)
    np.testing.assert_array_equal(by_rasterio(path), pixels)
    np.testing.assert_array_equal(window_of(open_source(path)), pixels[5:85, 9:109])
    with rasterio.open(path) as dataset:
        assert dataset.overviews(1) == [2, 4, 8]
        assert dataset.block_shapes[0] == (32, 32)
    if (channels, dtype) == (3, np.uint8):
        np.testing.assert_array_equal(by_openslide(path), pixels)
        with openslide.OpenSlide(path) as slide:
            assert slide.level_count == 4


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
@pytest.mark.parametrize("compression", ["lzw", "zstd", "jpeg"])
def test_other_compressions(compression, tmp_path):
    pixels = smooth()
    path = write(tmp_path / "out.tif", pixels, compression=compression)
    differences = [np.abs(read(path).astype(int) - pixels) for read in (by_tifffile, by_rasterio, by_openslide)]
    assert max(difference.mean() for difference in differences) < (1.5 if compression == "jpeg" else 1e-9)


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
def test_files_above_4_gb_are_big_tiffs(name, tmp_path, monkeypatch):
    assert write(tmp_path / f"small.{name}", image()).read_bytes()[:4] == b"II*\0"
    monkeypatch.setattr(tiff_writer, "CLASSIC_BYTES", image().nbytes)
    path = write(tmp_path / name, image(), overviews=True)
    assert path.read_bytes()[:4] == b"II+\0"
    for read in (by_tifffile, by_rasterio, by_openslide):
        np.testing.assert_array_equal(read(path), image())


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr", "a.zarr", "a.npy", "a.png", "a.btf"])
def test_each_output_format_is_read_again(name, tmp_path):
    pixels = image()
    path = write(tmp_path / name, pixels)
    source = open_source(path)
    assert (source.height, source.width, source.channels, source.dtype) == (HEIGHT, WIDTH, 3, np.uint8)
    np.testing.assert_array_equal(window_of(source), pixels[5:85, 9:109])
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_arrays_and_ordinary_images_by_their_libraries(tmp_path):
    pixels = image(dtype=np.uint16)
    np.testing.assert_array_equal(np.load(write(tmp_path / "a.npy", pixels)), pixels)
    array = zarr.open_array(write(tmp_path / "a.zarr", pixels), mode="r")
    np.testing.assert_array_equal(array[:], pixels)
    assert array.chunks == (32, 32, 3)
    with Image.open(write(tmp_path / "a.png", image())) as opened:
        np.testing.assert_array_equal(np.asarray(opened), image())


def test_an_ome_zarr_has_levels_and_scales(tmp_path):
    path = write(tmp_path / "a.ome.zarr", image(), overviews=True, block=96)
    described = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]
    assert described["version"] == "0.5"
    (scales,) = described["multiscales"]
    assert [axis["name"] for axis in scales["axes"]] == ["c", "y", "x"]
    group = zarr.open_group(path, mode="r")
    assert [group[each["path"]].shape for each in scales["datasets"]] == [(3, 101, 133), (3, 51, 67)]
    np.testing.assert_array_equal(np.moveaxis(group["0"][:], 0, 2), image())


TIFFS = {
    "tiles": {"tile": (32, 48), "compression": "zlib", "predictor": True},
    "strips": {"rowsperstrip": 7, "compression": "lzw"},
    "one strip": {"rowsperstrip": HEIGHT},
    "uncompressed": {},
    "uncompressed tiles": {"tile": (64, 32)},
}


@pytest.mark.parametrize("layout", TIFFS)
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_tiffs_of_other_writers(layout, byteorder, big, tmp_path):
    for channels, dtype in ((1, np.uint16), (3, np.uint8), (4, np.uint16)):
        pixels, path = image(channels, dtype), tmp_path / f"{channels}.tif"
        photometric = "minisblack" if channels == 1 else "rgb"
        extra = {"extrasamples": ["unspecified"]} if channels == 4 else {}
        with tifffile.TiffWriter(path, byteorder=byteorder, bigtiff=big) as file:
            stored = pixels[..., 0] if channels == 1 else pixels
            file.write(stored, photometric=photometric, **extra, **TIFFS[layout])
        np.testing.assert_array_equal(window_of(open_source(path)), pixels[5:85, 9:109])


STACKS = {
    "planes of samples": {"planarconfig": "separate", "metadata": None},
    "planes of samples in tiles": {
        "planarconfig": "separate",
        "metadata": None,
        "tile": (32, 48),
        "compression": "lzw",
    },
    "pages": {"metadata": None},
    "pages in strips": {"metadata": None, "rowsperstrip": 7, "compression": "zlib"},
    "OME-TIFF": {"ome": True, "metadata": {"axes": "CYX"}, "tile": (32, 48)},
    "ImageJ": {"imagej": True, "metadata": {"axes": "CYX"}},
}


@pytest.mark.parametrize("name", STACKS)
def test_planes_and_pages_are_channels_as_in_small_files(name, tmp_path):
    pixels = image(6, np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(pixels, 2, 0), photometric="minisblack", **STACKS[name])
    source = open_source(tmp_path / "a.tif")
    assert source.channels == 6
    np.testing.assert_array_equal(image_io.read(tmp_path / "a.tif"), pixels)
    np.testing.assert_array_equal(window_of(source), pixels[5:85, 9:109])
    with pytest.raises(ImageError, match="has 6 channels; with alpha=keep, 1, 3 or 4"):
        open_source(tmp_path / "a.tif", "rgba")


@pytest.mark.parametrize(("channels", "names"), [(6, ()), (2, ("phase", "DIC")), (3, "RGB")])
def test_channels_of_an_ome_tiff_are_planes_with_names(channels, names, tmp_path):
    pixels = image(channels, np.uint16)
    path = write(tmp_path / "a.ome.tif", pixels, overviews=True, channel_names=names)
    with tifffile.TiffFile(path) as file:
        assert (file.series[0].axes, file.series[0].shape) == ("CYX", (channels, HEIGHT, WIDTH))
        levels = [level.asarray() for level in file.series[0].levels]
    assert [level.shape[1:] for level in levels] == [(101, 133), (51, 67), (26, 34), (13, 17)]
    np.testing.assert_array_equal(levels[0], np.moveaxis(pixels, 2, 0))
    np.testing.assert_array_equal(levels[1], np.moveaxis(halve(pixels), 2, 0))
    assert channel_names(path) == tuple(names)
    np.testing.assert_array_equal(window_of(open_source(path)), pixels[5:85, 9:109])


def test_alpha_is_composited_over_white_or_kept(tmp_path):
    pixels = image(4)
    Image.fromarray(pixels).save(tmp_path / "a.tif", compression="tiff_deflate")
    colours = open_source(tmp_path / "a.tif")
    assert colours.channels == 3
    np.testing.assert_array_equal(window_of(colours), over_white(pixels)[5:85, 9:109])
    np.testing.assert_array_equal(window_of(open_source(tmp_path / "a.tif", "rgba")), pixels[5:85, 9:109])


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("layout", ["hw", "hwc", "chw"])
def test_zarr_arrays_of_both_versions(version, layout, tmp_path):
    pixels = image(1 if layout == "hw" else 3, np.uint16)
    stored = {"hw": pixels[..., 0], "hwc": pixels, "chw": np.moveaxis(pixels, 2, 0)}[layout]
    chunks = tuple(min(40, length) for length in stored.shape)
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=stored.shape, dtype="uint16", chunks=chunks, zarr_format=version
    )
    array[...] = stored
    np.testing.assert_array_equal(window_of(open_source(tmp_path / "a.zarr")), pixels[5:85, 9:109])


def test_ome_zarr_of_version_0_4_is_read_at_level_0(tmp_path):
    pixels = image()
    group = zarr.create_group(tmp_path / "a.ome.zarr", zarr_format=2)
    for name, step in (("full", 1), ("half", 2)):
        stored = np.moveaxis(pixels, 2, 0)[None, :, None, ::step, ::step]
        group.create_array(name, shape=stored.shape, dtype="uint8", chunks=(1, 1, 1, 50, 50))[...] = stored
    axes = [{"name": name} for name in "tczyx"]
    for axis in axes[3:]:
        axis["unit"] = "micrometer"
    scale = [{"type": "scale", "scale": [1, 1, 1, 0.5, 0.25]}]
    datasets = [{"path": "full", "coordinateTransformations": scale}, {"path": "half"}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    source = open_source(tmp_path / "a.ome.zarr")
    np.testing.assert_array_equal(window_of(source), pixels[5:85, 9:109])
    assert source.details.resolution == (40_000, 20_000)  # pixels per centimetre


@pytest.mark.parametrize("reader", ["openslide", "tiffslide"])
def test_slides(reader, tmp_path, monkeypatch):
    path = svs(tmp_path / "slide.svs", smooth())
    if reader == "tiffslide":
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    source = open_source(path)
    assert isinstance(source, SlideSource)
    assert isinstance(source._slide, tiffslide.TiffSlide if reader == "tiffslide" else openslide.OpenSlide)
    assert source.details.resolution == (40_000, 40_000)
    difference = np.abs(window_of(source).astype(int) - tifffile.imread(path, key=0)[5:85, 9:109])
    assert difference.max() <= 2  # decoders of JPEG differ in rounding


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif", "a.ome.zarr", "a.png"])
def test_resolution_follows_the_scale(name, tmp_path):
    """A slide of 0.25 micrometres a pixel, enlarged twice, has 0.125."""
    like = open_source(svs(tmp_path / "slide.svs", smooth()))
    large = np.repeat(np.repeat(smooth(), 2, axis=0), 2, axis=1)
    source = open_source(write(tmp_path / name, large, like, block=128))
    np.testing.assert_allclose(source.details.resolution, (80_000, 80_000), rtol=1e-3)
    if name == "a.tif":
        with openslide.OpenSlide(tmp_path / name) as slide:
            assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.125)


def test_ome_xml_is_kept_and_adapted(tmp_path):
    pixels = image(3, np.uint16)
    metadata = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "Name": "biopsy", "Description": "<&>"}
    tifffile.imwrite(tmp_path / "in.ome.tif", pixels, photometric="rgb", metadata=metadata)
    path = write(tmp_path / "out.ome.tif", image(1, np.uint8), open_source(tmp_path / "in.ome.tif"), overviews=True)
    with tifffile.TiffFile(path) as file:
        assert file.is_ome
        assert [level.shape for level in file.series[0].levels] == [(101, 133), (51, 67), (26, 34), (13, 17)]
        described = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
    assert (described["Name"], described["Description"]) == ("biopsy", "<&>")
    assert described["Pixels"]["Type"] == "uint8"
    assert (described["Pixels"]["SizeC"], described["Pixels"]["PhysicalSizeX"]) == (1, 0.5)


@pytest.mark.parametrize("text", ["<OME", "<!DOCTYPE a [<!ENTITY b 'c'>]><OME>&b;</OME>", "<a/>", None])
def test_damaged_ome_xml_is_replaced(text, tmp_path):
    like = ArraySource(image())
    like.details = open_source(write(tmp_path / "a.npy", image())).details
    object.__setattr__(like, "details", type(like.details)(ome_xml=text))
    with tifffile.TiffFile(write(tmp_path / "a.ome.tif", image(), like)) as file:
        assert file.series[0].shape == (101, 133, 3)
        assert file.is_ome


def test_colour_profiles_are_kept(tmp_path):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(image()).save(tmp_path / "in.tif", icc_profile=profile)
    source = open_source(tmp_path / "in.tif")
    for name, channels in (("out.tif", 3), ("out.png", 3), ("grey.tif", 1)):
        with Image.open(write(tmp_path / name, image(channels), source)) as opened:
            assert opened.info.get("icc_profile") == (profile if channels == 3 else None)


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif", "a.ome.zarr", "a.npy"])
def test_the_bytes_are_reproducible(name, tmp_path):
    options = {} if name == "a.npy" else {"overviews": True}
    paths = [write(tmp_path / folder / name, image(), block=64, **options) for folder in "xy"]

    def contents(path):
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        return [(str(Path(file).relative_to(path)), file.read_bytes()) for file in files if file.is_file()]

    assert contents(paths[0]) == contents(paths[1])


def test_which_formats_are_large(tmp_path):
    small, big = tmp_path / "small.tif", tmp_path / "big.tif"
    Image.fromarray(image()).save(small)
    tifffile.imwrite(big, image(), bigtiff=True, photometric="rgb")
    tifffile.imwrite(tmp_path / "huge.tif", shape=(20_000, 20_000), dtype="uint8", photometric="minisblack")
    large = [big, tmp_path / "huge.tif", "a.svs", "a.ome.tif", "b.zarr", "c.ome.zarr", "a.btf", "a.jp2"]
    assert all(is_large_format(path) for path in large)
    assert not any(is_large_format(path) for path in (small, "a.tif", "a.png", "a.npy", "a.txt"))
    assert open_source(tmp_path / "huge.tif").read(19_000, 0, 2, 3).tolist() == [[[0], [0], [0]]] * 2


def test_an_existing_output_is_replaced(tmp_path):
    for name in ("a.tif", "a.zarr"):
        write(tmp_path / name, image(seed=1), block=64)
        sink = create_sink(tmp_path / name, None, HEIGHT, WIDTH, 3, np.uint8, block=32)
        sink.abort()
        np.testing.assert_array_equal(window_of(open_source(tmp_path / name)), image(seed=1)[5:85, 9:109])
        write(tmp_path / name, image(seed=2), block=64)
        np.testing.assert_array_equal(window_of(open_source(tmp_path / name)), image(seed=2)[5:85, 9:109])
