"""TIFF files of any number of channels: as samples, planes and pages, and as OME-TIFF; read and written."""

import numpy as np
import pytest

from diptych.data.images import encode, image_io, metadata
from diptych.data.images.metadata import Metadata
from diptych.errors import ImageError

tifffile = pytest.importorskip("tifffile")
RNG = np.random.default_rng(0)
PLANES = RNG.integers(0, 65536, (5, 12, 14), np.uint16)
NAMES = ("DAPI", "GFP", "µ", "Cy5", "e")
OME = {"ome": True, "metadata": {"axes": "CYX", "Channel": {"Name": list(NAMES)}}}


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    "layout",
    [
        {"photometric": "minisblack"},  # pages
        {"photometric": "minisblack", "metadata": None},
        {"photometric": "minisblack", "planarconfig": "separate"},
        {"photometric": "minisblack", "planarconfig": "contig"},
        {"imagej": True, "metadata": {"axes": "CYX"}},
        OME,
    ],
    ids=["shaped", "pages", "planes", "samples", "imagej", "ome"],
)
def test_channels_are_read_from_pages_planes_and_samples(tmp_path, layout, compression):
    if layout.get("imagej"):
        compression = None
    data = PLANES.transpose(1, 2, 0) if layout.get("planarconfig") == "contig" else PLANES
    tifffile.imwrite(tmp_path / "a.tif", data, compression=compression, **layout)
    read = image_io.read(tmp_path / "a.tif")
    assert image_io.probe(tmp_path / "a.tif") == image_io.Header(12, 14, 5, "uint16")
    assert np.array_equal(read, PLANES.transpose(1, 2, 0))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
def test_what_is_written_is_read_back(tmp_path, dtype, channels, name):
    values = (RNG.integers(0, 200, (9, 11, channels)) - (100 if dtype[0] in "if" else 0)).astype(dtype)
    kept = Metadata(dpi=(254.0, 508.0), channel_names=NAMES[: channels - 1], alpha=False)
    image_io.write(tmp_path / name, values, kept)
    read = image_io.read(tmp_path / name, "values")
    assert read.dtype == dtype
    assert np.array_equal(read, values)
    with tifffile.TiffFile(tmp_path / name) as file:
        axes = "YX" if channels == 1 else "CYX" if name == "a.ome.tif" else "YXS"
        assert file.series[0].axes == axes
        stored = file.asarray()
    assert np.array_equal(np.moveaxis(stored, 0, 2) if axes == "CYX" else stored, values.squeeze())
    assert image_io.encoded(name, values, kept) == (tmp_path / name).read_bytes()


def test_names_and_pixel_size_of_an_ome_tiff_are_kept(tmp_path):
    kept = Metadata(dpi=(254.0, 508.0), channel_names=NAMES)
    image_io.write(tmp_path / "a.ome.tif", PLANES.transpose(1, 2, 0), kept)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    assert tuple(channel["Name"] for channel in pixels["Channel"]) == NAMES
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeY"]) == (100, 50)
    assert metadata.channel_names(tmp_path / "a.ome.tif") == NAMES


def test_a_fourth_channel_without_alpha_is_a_channel(tmp_path):
    """Pillow would leave it out of a TIFF, and take it for alpha in a PNG."""
    values = RNG.integers(0, 256, (6, 7, 4), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["unspecified"])
    assert np.array_equal(image_io.read(tmp_path / "a.tif"), values)
    assert image_io.suffixes_for(values.dtype, 4, alpha=False) == (".tif", ".tiff", ".npy")


def test_alpha_of_separate_planes_is_composited_over_white(tmp_path):
    rgba = RNG.integers(0, 65536, (4, 6, 7), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", planarconfig="separate", extrasamples=["unassalpha"])
    samples = rgba.transpose(1, 2, 0)
    assert image_io.probe(tmp_path / "a.tif").alpha
    assert np.array_equal(image_io.read(tmp_path / "a.tif"), image_io.over_white(samples))
    assert np.array_equal(image_io.read(tmp_path / "a.tif", "rgba"), samples)


def missing_planes(path):
    tifffile.imwrite(path, PLANES, **OME)
    text = tifffile.tiffcomment(path)
    with tifffile.TiffWriter(path) as writer:
        for number in range(3):
            description = None if number else text.encode()
            writer.write(PLANES[number], photometric="minisblack", metadata=None, description=description)


def cut_short(path):
    tifffile.imwrite(path, PLANES, photometric="minisblack", compression="zlib", tile=(16, 16))
    path.write_bytes(path.read_bytes()[:-700])


BAD = {
    "2 of 5 planes are missing": missing_planes,
    "is cut short: page": cut_short,
    "has 5 slices; save each in a file": lambda path: tifffile.imwrite(
        path, PLANES, ome=True, metadata={"axes": "ZYX"}
    ),
    "has 5 time points": lambda path: tifffile.imwrite(path, PLANES, ome=True, metadata={"axes": "TYX"}),
    "has 5 pages of 3 channels": lambda path: tifffile.imwrite(
        path, np.repeat(PLANES[..., None], 3, 3), photometric="rgb", metadata=None
    ),
    "has 2 pages of several sizes": lambda path: [
        tifffile.imwrite(path, PLANES[0, :side], append=side < 12, metadata=None) for side in (12, 8)
    ],
    "has 128 bits a sample": lambda path: tifffile.imwrite(path, PLANES * 1j, photometric="minisblack"),
    "at most 1024 are supported": lambda path: tifffile.imwrite(
        path, np.zeros((2, 2, 1025), np.uint8), photometric="minisblack", planarconfig="contig"
    ),
}


@pytest.mark.parametrize("problem", BAD)
def test_bad_files_are_refused_with_one_clear_error(tmp_path, problem):
    BAD[problem](tmp_path / "a.tif")
    for function in (image_io.read, image_io.probe):
        with pytest.raises(ImageError, match=rf"a\.tif: .*{problem}"):
            function(tmp_path / "a.tif")


def test_without_tifffile_the_error_names_the_extra(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", PLANES, photometric="minisblack")
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(ImageError, match=r"tifffile is missing: pip install 'diptych\[science\]'"):
        image_io.read(tmp_path / "a.tif")
    monkeypatch.setattr(encode, "writes_tiff", lambda: False)
    with pytest.raises(ImageError, match=r"does not support uint16 with 5 channels; use \.npy"):
        image_io.write(tmp_path / "b.tif", PLANES.transpose(1, 2, 0))
