"""`diptych translate --tile`: large images as files."""

import numpy as np
import pytest
import tifffile
import zarr
from commands import diptych, files
from large_files import geotiff, svs
from translators import made

from diptych.data.images import image_io
from diptych.errors import ConfigError, DataError
from diptych.inference import large_files
from diptych.inference.formats.opening import open_source


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return made("cyclegan", generator="resnet_1", ngf=4).save(tmp_path_factory.mktemp("model"))


@pytest.fixture
def slide(tmp_path):
    """The file of an image of 90x70 pixels."""
    image_io.write(tmp_path / "slide.tif", np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8))
    return tmp_path / "slide.tif"


def test_bytes_are_the_same_for_every_tile(model, slide, tmp_path):
    pytest.importorskip("tifffile")
    diptych("translate", model, slide, "-o", tmp_path / "a.tif", "--tile", "auto")
    stored = tmp_path / "a.tif.statistics.safetensors"
    diptych("translate", model, slide, "-o", tmp_path / "out", "--tile", "32", "--statistics", stored)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "out" / "slide.tif").read_bytes()
    assert image_io.read(tmp_path / "a.tif").shape == (70, 90, 3)
    with pytest.raises(DataError, match=r"a\.tif already exists; give --overwrite"):
        diptych("translate", model, slide, "-o", tmp_path / "a.tif", "--tile", "auto")


def test_options_of_tiles_translate_in_tiles(model, slide, tmp_path):
    diptych("translate", model, slide, "-o", tmp_path / "a.tif", "--statistics", "whole")
    diptych("translate", model, slide, "-o", tmp_path / "b.tif", "--statistics", "whole", "--tile", "32")
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    assert (tmp_path / "a.tif.statistics.safetensors").exists()


def test_images_of_many_channels(tmp_path):
    """An OME-TIFF, a GeoTIFF and a zarr array of the same pixels have the same translation."""
    model = made("pix2pix", in_channels=6, out_channels=5).save(tmp_path / "model")
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 6), np.uint8)
    geotiff(tmp_path / "a.tif", pixels)
    tifffile.imwrite(tmp_path / "a.ome.tif", np.moveaxis(pixels, 2, 0), ome=True, metadata={"axes": "CYX"})
    zarr.create_array(tmp_path / "a.zarr", data=pixels)
    read = {}
    for name in ("a.tif", "a.ome.tif", "a.zarr"):
        said = diptych("translate", model, tmp_path / name, "-o", tmp_path / "out" / name, "--tile", "32")
        assert said.exit_code == 0
        read[name] = open_source(tmp_path / "out" / name).read(0, 0, 70, 90)
        assert read[name].shape == (70, 90, 5)
        np.testing.assert_array_equal(read[name], read["a.tif"])
    assert read["a.tif"].std() > 0
    with tifffile.TiffFile(tmp_path / "out/a.ome.tif") as file:
        assert file.series[0].axes == "CYX"


def test_an_image_that_does_not_fit_is_tiled_with_a_message(model, slide, tmp_path, monkeypatch):
    diptych("translate", model, slide, "-o", tmp_path / "plain")
    monkeypatch.setattr(large_files, "SMALL", 0)
    monkeypatch.setattr(large_files, "memory_for_images", lambda: 0)
    said = diptych("translate", model, slide, "-o", tmp_path / "out").stdout
    assert "does not fit into memory, so it is translated in tiles" in said
    plain, tiled = (image_io.read(tmp_path / name / "slide.tif") for name in ("plain", "out"))
    assert np.abs(plain.astype(int) - tiled).max() <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tile", "0"), "expected a number of pixels"),
        (("--tile", "big"), "--tile big: expected auto, or the height and width"),
        (("--tile", "auto", "--styles", "2"), "sample grids, which have no tiles"),
        (("--tile", "auto", "--alpha", "keep"), "not supported with tiles"),
        (("--tile", "auto", "--scale", "training"), "resizes the entire image"),
        (("--tile", "auto", "--statistics", "whole", "--foreground", "auto"), "takes none: leave it out"),
    ],
)
def test_options_without_tiles_are_refused(model, slide, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        diptych("translate", model, slide, "-o", tmp_path / "out.tif", *options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slide.tif"]


def test_slides_of_a_folder_are_found(model, slide, tmp_path):
    """Beside other images only with --tile; the names of translations have a suffix of a format that is written."""
    for name in ("a.svs", "b/c.svs"):
        (tmp_path / "slides" / name).parent.mkdir(exist_ok=True, parents=True)
        svs(tmp_path / "slides" / name, image_io.read(slide))
    out = tmp_path / "slides" / "out"
    diptych("translate", model, tmp_path / "slides", "-o", out)
    assert {file for file in files(out) if file.endswith(".tif")} == {"a.ome.tif", "b/c.ome.tif"}
    slide.rename(tmp_path / "slides" / "d.tif")
    with pytest.raises(DataError, match=r"is translated in tiles, images of .*slides are not: give --tile auto"):
        diptych("translate", model, tmp_path / "slides", "-o", out, "--overwrite")
    diptych("translate", model, tmp_path / "slides", "-o", out, "--skip-existing", "--tile", "auto")
    assert image_io.read(out / "d.tif").shape == (70, 90, 3)
