"""Each file that cannot be read, and each output that cannot be written, is one error that names it and the remedy."""

import json
import re
import struct

import numpy as np
import pytest
import tifffile
import zarr
from large_files import geotiff, image, smooth, svs, write

from diptych.data.images import tiff_planes
from diptych.errors import ImageError
from diptych.inference.formats.opening import create_sink, open_source


def read_all(path):
    source = open_source(path)
    for top in range(0, source.height, 32):
        for left in range(0, source.width, 32):
            source.read(top, left, min(32, source.height - top), min(32, source.width - left))


def refused(path, message, do=read_all):
    with pytest.raises(ImageError, match=message) as caught:
        do(path)
    assert str(caught.value).startswith(str(path)), caught.value
    assert "\n" not in str(caught.value)
    assert re.search(r"copy|save|export|give|check|use|install|free", str(caught.value)), "no remedy"


def damage_tile(path, index, page=0):
    """Overwrite the bytes of one tile or strip."""
    with tifffile.TiffFile(path) as file:
        offset, count = file.pages[page].dataoffsets[index], file.pages[page].databytecounts[index]
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * count)


@pytest.mark.parametrize("layout", [{"tile": (32, 32)}, {"rowsperstrip": 32}])
def test_a_damaged_tile_is_named_and_all_others_are_read(layout, tmp_path):
    path, pixels = tmp_path / "a.tif", image()
    tifffile.imwrite(path, pixels, photometric="rgb", compression="zlib", **layout)
    damage_tile(path, 6 if "tile" in layout else 1)  # rows 32 to 63
    source = open_source(path)
    for top, left in ((0, 32), (32, 32), (64, 32)):
        if top == 32:
            with pytest.raises(ImageError, match=r"a.tif: page 0 cannot be read at rows 32 to 63, columns 32 to 63 "):
                source.read(top, left, 32, 32)
        else:
            expected = pixels[top : top + 32, left : left + 32]
            np.testing.assert_array_equal(source.read(top, left, 32, 32), expected)


def test_a_damaged_tile_of_a_georeferenced_image(tmp_path):
    damage_tile(geotiff(tmp_path / "a.tif", image()), 6)
    refused(tmp_path / "a.tif", r"page 0 cannot be read at rows 32 to 63, columns 32 to 63 \(.*\); copy or export")


@pytest.mark.parametrize("reader", ["openslide", "tiffslide"])
def test_a_damaged_tile_of_a_slide(reader, tmp_path, monkeypatch):
    damage_tile(svs(tmp_path / "a.svs", smooth()), 6)
    if reader == "tiffslide":
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused(tmp_path / "a.svs", r"level 0 cannot be read at rows 32 to 63, columns 32 to 63 \(.*\); copy or export")


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif", "geo.tif", "a.npy", "a.svs", "uncompressed.tif"])
def test_files_that_are_cut_short(name, tmp_path):
    path = tmp_path / name
    if name == "geo.tif":
        geotiff(path, image())
    elif name == "a.svs":
        svs(path, smooth())
    elif name == "uncompressed.tif":
        tifffile.imwrite(path, image(), photometric="rgb")
    else:
        write(path, image())
    content = path.read_bytes()
    for share in (0, 0.001, 0.3, 0.6, *(() if name == "a.svs" else (0.9, 0.999))):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(ImageError, match=re.escape(str(path))):
            read_all(path)


def tiff(path, pixels, **options):
    tifffile.imwrite(path, pixels, **options)
    return path


LAYOUTS = {
    "palette": (image(1)[..., 0], {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)}),
    "colour space MINISWHITE": (image(1)[..., 0], {"photometric": "miniswhite"}),
    "colour space SEPARATED": (image(4), {"photometric": "separated"}),
    "int16": (image(1, np.uint16)[..., 0].astype(np.int16), {"photometric": "minisblack"}),
    "4 pages of 3 channels": (image()[None].repeat(4, 0), {"photometric": "rgb"}),
    "GeoTIFF of 3 pages": (
        image(1)[None, ..., 0].repeat(3, 0),
        {"photometric": "minisblack", "extratags": [(42113, 2, 0, "0", True)]},
    ),
    "Orientation": (image(), {"photometric": "rgb", "extratags": [(274, 3, 1, 6, True)]}),
    "values outside 0..1": (image(1, np.float32)[..., 0] * 2, {"photometric": "minisblack"}),
}


@pytest.mark.parametrize("problem", LAYOUTS)
def test_sample_layouts_that_are_not_supported(problem, tmp_path):
    pixels, options = LAYOUTS[problem]
    refused(tiff(tmp_path / "a.tif", pixels, metadata=None, **options), problem)


def test_georeferenced_layouts_that_are_not_supported(tmp_path):
    path = geotiff(tmp_path / "a.tif", image(5))
    refused(path, "has 5 channels; with alpha=keep, 1, 3 or 4", lambda path: open_source(path, "rgba"))
    refused(geotiff(tmp_path / "b.tif", image(1, np.uint16).astype(np.int16)), "has dtype int16")


def with_tags(path, **tags):
    """Overwrite tags of a classic little-endian TIFF by other 32-bit values."""
    with tifffile.TiffFile(path) as file:
        positions = {name: file.pages[0].tags[name].valueoffset for name in tags}
        types = {name: file.pages[0].tags[name].dtype for name in tags}
    with open(path, "r+b") as file:
        for name, value in tags.items():
            file.seek(positions[name])
            file.write(struct.pack("<H" if types[name] == 3 else "<I", value))
    return path


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"ImageWidth": 60_000, "ImageLength": 60_000}, "cut short"),
        ({"TileWidth": 65_520, "TileLength": 65_520}, "has tiles of 12,282 MiB, the limit is 512 MiB"),
        ({"ImageLength": 0}, "0 pixels|x0 pixels"),
    ],
)
def test_absurd_sizes_in_headers_allocate_nothing(tags, message, tmp_path):
    refused(with_tags(tiff(tmp_path / "a.tif", image(), tile=(32, 32), photometric="rgb"), **tags), message)


def test_a_large_strip_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_planes, "MAX_SEGMENT", 10_000)
    tiff(tmp_path / "a.tif", image(), photometric="rgb", compression="zlib", rowsperstrip=101)
    refused(tmp_path / "a.tif", "has strips of .* save it with smaller")
    tiff(tmp_path / "b.tif", image(), photometric="rgb", rowsperstrip=101)
    read_all(tmp_path / "b.tif")  # uncompressed strips are read in place


def test_an_absurd_array(tmp_path):
    path = tmp_path / "a.npy"
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (2**30, 2**30, 3)})
    refused(path, "is cut short")
    np.save(path, np.zeros((4, 5, 3), object), allow_pickle=True)
    refused(path, "has dtype object")
    np.save(path, np.asfortranarray(image()))
    refused(path, "Fortran order")


def test_zarr_folders_that_are_not_supported(tmp_path):
    zarr.create_group(tmp_path / "empty.zarr")
    refused(tmp_path / "empty.zarr", "a zarr group without an OME-Zarr image; save an array in it")
    zarr.create_group(tmp_path / "b.zarr").create_array("x", shape=(4, 4), dtype="uint8")
    refused(tmp_path / "b.zarr", "give the path of one of its arrays: x")
    read_all(tmp_path / "b.zarr" / "x")
    zarr.create_array(tmp_path / "c.zarr", shape=(2, 4, 4, 3), dtype="uint8")
    refused(tmp_path / "c.zarr", r"has the shape \(2, 4, 4, 3\)")
    zarr.create_array(tmp_path / "d.zarr", shape=(10**6, 10**6, 3), chunks=(10**5, 10**5, 3), dtype="uint8")
    refused(tmp_path / "d.zarr", "has chunks of 28,610 MiB, the limit is 512 MiB")
    refused(tmp_path / "missing.zarr", "there is no such zarr folder")
    group = zarr.create_group(tmp_path / "e.zarr")
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": [], "datasets": [{"path": "../b.zarr/x"}]}]}
    refused(tmp_path / "e.zarr", "e.zarr: is damaged or not a zarr array")


def test_codecs_that_are_no_compression_are_refused_before_a_chunk_is_read(tmp_path):
    path = write(tmp_path / "a.zarr", image(1), block=128)
    (path / "zarr.json").unlink()
    layout = {
        "zarr_format": 2,
        "shape": [101, 133],
        "chunks": [101, 133],
        "dtype": "|u1",
        "fill_value": 0,
        "order": "C",
    }
    for codec, message in (("pickle", "damaged|'pickle', which is not"), ("base64", "codec 'base64', which is not")):
        (path / ".zarray").write_text(json.dumps({**layout, "compressor": None, "filters": [{"id": codec}]}))
        refused(path, message, open_source)


def test_a_damaged_chunk_is_named(tmp_path):
    path = write(tmp_path / "a.zarr", image(), block=64)
    (path / "c" / "0" / "1" / "0").write_bytes(b"\xff" * 100)
    source = open_source(path)
    source.read(64, 64, 30, 64)
    with pytest.raises(ImageError, match=r"a.zarr: array '/' cannot be read at rows 0 to 31, columns 64 to 95 "):
        source.read(0, 64, 32, 32)


@pytest.mark.parametrize("name", ["a.tif", "a.svs", "a.npy", "a.png", "a.jp2"])
def test_missing_and_foreign_files(name, tmp_path):
    refused(tmp_path / name, "there is no such file")
    (tmp_path / name).write_bytes(b"GIF89a" * 100)
    with pytest.raises(ImageError, match=re.escape(str(tmp_path / name))):
        open_source(tmp_path / name)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    refused(tmp_path / name, "is a folder")


def test_unknown_suffixes(tmp_path):
    refused(tmp_path / "a.xyz", "the suffix is that of no image format; use one of .bif")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.svs", {}, "this format is only read; use .ome.tif or .tif"),
        ("a.tif", {"channels": 1025}, "TIFF is written with at most 1024 channels, not 1025; use .zarr"),
        ("a.tif", {"compression": "lzma"}, "compression 'lzma' is not supported; use deflate, lzw, zstd, jpeg, none"),
        ("a.tif", {"compression": "jpeg", "dtype": np.uint16}, "JPEG compression needs uint8"),
        ("a.zarr", {"compression": "jpeg"}, "zarr is not written with compression 'jpeg'; use deflate, zstd, none"),
        ("a.zarr", {"overviews": True}, "this format has no overviews; use .tif, .ome.tif or .ome.zarr"),
        ("a.jpg", {"dtype": np.uint16}, "this suffix does not support uint16 with 3 channels; use .png"),
        ("a.png", {"height": 10**5, "width": 10**5}, "100000x100000 pixels are too many for this format; use .tif"),
        ("a.tif", {"dtype": np.complex64}, "has dtype complex64"),
        ("a.tif", {"block": 100}, "tiles of 100 pixels are not supported; use a multiple of 16"),
        ("a.tif", {"height": 2**31 - 1, "width": 2**31 - 1}, r"needs [\d,.]+ GB for its pixels .* are free; free some"),
    ],
)
def test_outputs_that_are_not_supported(name, options, message, tmp_path):
    arguments = {"height": 64, "width": 64, "channels": 3, "dtype": np.uint8, **options}
    refused(tmp_path / name, message, lambda path: create_sink(path, None, **arguments))
    assert not list(tmp_path.glob("*"))
    assert not list(tmp_path.rglob("pixels.npy*"))


@pytest.mark.parametrize(("name", "library"), [("a.tif", "tifffile"), ("a.ome.zarr", "zarr"), ("geo.tif", "rasterio")])
def test_a_missing_library_is_one_line_with_the_extra(name, library, tmp_path, monkeypatch):
    path = geotiff(tmp_path / name, image()) if name == "geo.tif" else write(tmp_path / name, image(), block=64)
    monkeypatch.setitem(__import__("sys").modules, library, None)
    refused(path, rf"need {library}: pip install 'diptych\[large\]'$")
    if name != "geo.tif":
        sink = {"height": 64, "width": 64, "channels": 3, "dtype": np.uint8}
        refused(path, rf"need {library}: pip install 'diptych\[large\]'$", lambda path: create_sink(path, None, **sink))


def test_a_missing_slide_library(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "tiffslide", None)
    refused(svs(tmp_path / "a.svs", smooth()), r"whole-slide files need tiffslide: pip install 'diptych\[large\]'$")
