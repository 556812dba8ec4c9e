"""Scientific images from end to end: channels of OME-TIFF files, and label maps in the formats that have class ids."""

import numpy as np
import pytest
from commands import diptych
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from sets import cache  # noqa: F401

from diptych.data.images import image_io
from diptych.data.images.class_maps import IDS
from diptych.data.images.metadata import Metadata, palette_of
from diptych.errors import DataError, ImageError

tifffile = pytest.importorskip("tifffile")
RNG = np.random.default_rng(0)
TINY = ["crop_size=32", "generator=unet_32", "ngf=4", "ndf=4", "receptive_field=16", "workers=0", "device=cpu"]
NAMES = ("DAPI", "membrane", "mito", "actin")


def done(*command):
    made = diptych(*command)
    assert made.exit_code == 0, made.output
    return made.output


def cells(channels):
    """Spots on a background, each channel brighter than the one before: (channels, 32, 32) uint16."""
    y, x = np.mgrid[:32, :32]
    centres = RNG.integers(4, 28, (channels, 2))
    spots = [np.exp(-((y - row) ** 2 + (x - column) ** 2) / 20) for row, column in centres]
    return (np.stack(spots) * np.arange(1, channels + 1)[:, None, None] * 900 + 200).astype(np.uint16)


def ome_tiff(path, planes, names):
    path.parent.mkdir(parents=True, exist_ok=True)
    details = {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(path, planes, ome=True, metadata={"axes": "CYX", "Channel": {"Name": list(names)}, **details})


def test_channels_of_ome_tiff_files_are_trained_resumed_evaluated_and_translated(tmp_path):
    data, run = tmp_path / "data", tmp_path / "run"
    for split in ("train", "val"):
        for number in range(3):
            ome_tiff(data / f"{split}A/{number}.ome.tif", cells(2), ("phase", "DIC"))
            ome_tiff(data / f"{split}B/{number}.ome.tif", cells(4), NAMES)
    done("train", "pix2pix", "--data", data, *TINY, "range=[[0,2000],[0,4000]]", "steps=2", "-o", run)
    done("resume", run, "steps=3", "--allow", "steps")
    assert "psnr" in done("evaluate", run).lower()
    done("translate", run / "model", data / "valA", "-o", tmp_path / "out")
    with tifffile.TiffFile(tmp_path / "out/0.ome.tif") as file:
        assert (file.series[0].axes, file.series[0].shape, file.series[0].dtype) == ("CYX", (4, 32, 32), np.uint16)
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    assert tuple(channel["Name"] for channel in pixels["Channel"]) == NAMES
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (0.5, "µm")
    ome_tiff(tmp_path / "new/a.ome.tif", cells(3), "abc")
    with pytest.raises(ImageError, match=r"a.ome.tif: expected 2 channels, got 3"):
        done("translate", run, tmp_path / "new", "-o", tmp_path / "out")
    ome_tiff(data / "trainB/1.ome.tif", cells(3), NAMES[:3])
    with pytest.raises(DataError, match=r"different channel counts: 3 in .*1.ome.tif, 4 in "):
        done("train", "pix2pix", "--data", data, *TINY, "range=auto", "steps=1", "-o", tmp_path / "other")


@settings(deadline=None)
@given(
    arrays.arrays(IDS, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(1)), elements=st.integers(0, 70_000)),
    st.integers(1, 20),
    st.integers(1, 20),
)
def test_resizing_never_makes_another_class_id(ids, height, width):
    resized = image_io.resize(ids, height, width)
    assert resized.shape == (height, width, 1)
    assert set(resized.ravel().tolist()) <= set(ids.ravel().tolist())


def grey(dtype):
    return lambda path, ids: tifffile.imwrite(path, ids[..., 0].astype(dtype))


def with_palette(path, ids):
    image_io.write(path, ids, Metadata(palette=COLOURS))


COLOURS = bytes(range(30))
WRITERS = {
    "8 bits.png": image_io.write,
    "16 bits.png": lambda path, ids: image_io.write(path, ids.astype(np.uint16)),
    "palette.png": with_palette,
    "8 bits.tif": grey(np.uint8),
    "16 bits.tif": grey(np.uint16),
    "32 bits.tif": grey(np.int32),
    "unsigned 32 bits.tif": grey(np.uint32),
    "signed.npy": lambda path, ids: np.save(path, ids[..., 0].astype(np.int64)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_class_ids_are_read_from_files_of_any_depth(tmp_path, name):
    ids = RNG.integers(0, 10, (6, 7, 1), np.uint8)
    WRITERS[name](tmp_path / name, ids)
    assert np.array_equal(image_io.read(tmp_path / name, "ids"), ids)


def test_label_maps_are_written_with_the_palette_of_the_training_masks(tmp_path):
    data, run = tmp_path / "data", tmp_path / "run"
    for split in ("train", "val"):
        for number in range(2):
            image_io.write(data / f"{split}A/{number}.tif", RNG.integers(0, 9, (32, 32, 1)).astype(np.int32))
            with_palette(data / f"{split}B/{number}.png", RNG.integers(0, 9, (32, 32, 1), np.uint8))
    done("train", "pix2pix", "--data", data, *TINY, "label_map=both", "steps=1", "-o", run)
    done("translate", run / "model", data / "valA", "-o", tmp_path / "out", "--suffix", ".png")
    with Image.open(tmp_path / "out/0.png") as made:
        assert made.mode == "P"
        assert np.asarray(made).max() < 9
    assert palette_of(tmp_path / "out/0.png") == COLOURS
