"""`diptych.data.images.image_io`: what is written is read back, and what a format cannot hold is refused."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pictures import DEEP, FUZZ, GREY, RGB, same, shaped
from PIL import Image

from diptych.data.images.image_io import Header, probe, read, write
from diptych.errors import ImageError

KEPT = [(suffix, "uint8", n) for suffix in (".png", ".bmp", ".tif", ".TIFF", ".npy") for n in (1, 3)]
KEPT += [(suffix, "uint16", 1) for suffix in (".png", ".tif", ".tiff")] + [(".png", "uint16", 3), (".webp", "uint8", 3)]
KEPT += [
    (suffix, d, n) for d in ("uint8", "uint16") for suffix, n in ((".pgm", 1), (".ppm", 1), (".ppm", 3), (".PNM", 3))
]
KEPT += [(".tif", "float32", 1)] + [(".npy", dtype, n) for dtype in ("uint8", "uint16", "float32") for n in (2, 5)]


@pytest.mark.parametrize(("suffix", "dtype", "channels"), KEPT)
def test_what_is_written_is_read_back(tmp_path, suffix, dtype, channels):
    array = shaped(channels, dtype)
    path = tmp_path / "new" / "folders" / f"a{suffix}"
    write(path, array[::-1, ::-1])
    same(read(path), array[::-1, ::-1])
    assert probe(path) == Header(*array.shape, dtype)
    write(str(path), array.astype(array.dtype.newbyteorder(">")))
    same(read(path), array)
    if channels == 1:
        write(path, array[..., 0])
        same(read(path), array)
    assert os.listdir(path.parent) == [path.name]


def test_lossy_writing_is_close(tmp_path):
    smooth = np.linspace(0, 255, 64 * 64).reshape(64, 64, 1).astype(np.uint8)
    for name in ("a.jpg", "a.jfif"):
        write(tmp_path / name, smooth)
        assert abs(read(tmp_path / name).astype(int) - smooth).max() <= 3
    write(tmp_path / "a.webp", smooth)
    same(read(tmp_path / "a.webp"), np.repeat(smooth, 3, axis=2))


def test_a_deep_png_is_what_other_readers_see(tmp_path):
    write(tmp_path / "a.png", DEEP)
    same(np.asarray(Image.open(tmp_path / "a.png")), (DEEP >> 8).astype(np.uint8))


def test_a_deep_png_of_pixels_that_lie_otherwise_in_memory(tmp_path):
    """As those of a translation do: channels first."""
    write(tmp_path / "a.png", np.ascontiguousarray(DEEP.transpose(2, 0, 1)).transpose(1, 2, 0))
    same(read(tmp_path / "a.png"), DEEP)


REFUSED = [(".png", "uint8", 2), (".png", "uint16", 5), (".jpg", "uint16", 1), (".webp", "uint16", 3)]
REFUSED += [(".bmp", "uint16", 1), (".png", "float32", 1)]
REFUSED += [(".gif", "uint8", 3), ("", "uint8", 3), (".pgm", "uint8", 3), (".pgm", "uint16", 3), (".pnm", "float32", 1)]


@pytest.mark.parametrize(("suffix", "dtype", "channels"), REFUSED)
def test_what_a_format_cannot_hold_is_refused(tmp_path, suffix, dtype, channels):
    path = tmp_path / "new" / f"a{suffix}"
    with pytest.raises(ImageError, match=r"; use .*\.npy") as caught:
        write(path, shaped(channels, dtype))
    assert str(path) in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "array",
    [
        *(np.zeros((2, 2), dtype) for dtype in (int, bool, "f8", "O")),
        *(np.zeros(shape, "u1") for shape in (3, (0, 2, 3), (2, 2, 2, 2))),
        *(np.full((2, 2), value, "f4") for value in (np.inf, np.nan)),
    ],
    ids=repr,
)
def test_what_is_no_image_is_not_written(tmp_path, array):
    with pytest.raises(ImageError):
        write(tmp_path / "a.npy", array)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write(path, RGB)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ImageError, match="disk full"):
        write(path, GREY)
    assert os.listdir(tmp_path) == ["a.png"]
    same(read(path), RGB)
    monkeypatch.undo()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    for taken in (tmp_path / "folder.png", tmp_path / "file" / "a.png", tmp_path / "a\0.png"):
        with pytest.raises(ImageError):
            write(taken, RGB)
    assert sorted(os.listdir(tmp_path)) == ["a.png", "file", "folder.png"]
    with pytest.raises(ImageError):
        write(tmp_path / "a.webp", np.zeros((1, 20_000), np.uint8))  # wider than WebP can be


IMAGES = hnp.arrays(
    st.sampled_from([np.uint8, np.uint16]), st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))
)


@FUZZ
@given(array=IMAGES)
def test_png_and_npy_hold_any_image(tmp_path, array):
    for name in ("a.png", "a.npy"):
        write(tmp_path / name, array)
        same(read(tmp_path / name), array)
        assert probe(tmp_path / name) == Header(*array.shape, array.dtype.name)
