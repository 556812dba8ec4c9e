"""`diptych.data.images.image_io`: what is not read: no images, and files cut short, damaged or too large."""

import io
import struct
import subprocess
import sys
import warnings
import zlib
from functools import partial

import numpy as np
import pytest
from fuzz import examples
from hypothesis import given
from hypothesis import strategies as st
from pictures import FUZZ, RGB, RNG, chunk, hold, png, refused, same, saved, tiff
from PIL import Image

from diptych.data.images import decode
from diptych.data.images.image_io import Header, probe, read
from diptych.errors import ImageError


@pytest.fixture
def held(tmp_path):
    return partial(hold, tmp_path)


def test_what_is_no_image(tmp_path):
    refused(tmp_path, "folder")
    refused(tmp_path / "none.png", "no such file")
    for data in (b"", b"text", b"GIF89a" + bytes(50), b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WAVEfmt ", b"%PDF-1.4"):
        (tmp_path / "a.png").write_bytes(data)
        (tmp_path / "a.npy").write_bytes(data)
        refused(tmp_path / "a.png")
        refused(tmp_path / "a.npy")
    (tmp_path / "a.png").write_bytes(png(RGB, 2, size=(0, 7)))
    refused(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(saved(Image.fromarray(RGB), "GIF"))
    refused(tmp_path / "a.png", "convert it to PNG")


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_frames_are_refused(tmp_path, format):
    pictures = [Image.fromarray(np.roll(RGB, n, axis=0)) for n in range(3)]
    pictures[0].save(tmp_path / "a.png", format, save_all=True, append_images=pictures[1:])
    words = "save each page" if format == "TIFF" else "split it into frames"
    refused(tmp_path / "a.png", words)
    with pytest.raises(ImageError, match="pages" if format == "TIFF" else "frames"):
        probe(tmp_path / "a.png")


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("fill", [0, 1, 255])
def test_a_png_with_too_few_rows_is_refused(tmp_path, held, interlaced, fill):
    """D3: Pillow decodes it in silence; also where the rows that are there are black."""
    path = tmp_path / "a.png"
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8)).copy()  # memory that is not all zero, to be reused
    for colour, depth, channels in ((2, 8, 3), (0, 1, 1), (0, 8, 1), (6, 8, 4), (2, 16, 3), (4, 16, 2), (0, 16, 1)):
        samples = np.full((64, 64, channels), fill & (2**depth - 1), np.uint16)
        held(png(samples, colour, depth, interlaced))
        for rows in (1, 63) + ((119,) if interlaced else ()):
            path.write_bytes(png(samples, colour, depth, interlaced, rows=rows))
            refused(path, "cut short")
        if interlaced and fill and depth <= 8:  # the last row, of an earlier pass, is there, and the one above is not
            path.write_bytes(png(samples[:63], colour, depth, interlaced, rows=118))
            assert np.asarray(Image.open(path))[-1].any()
            refused(path, "cut short")


@pytest.mark.parametrize("fill", [0, 255])
def test_a_tiff_with_too_few_strips_is_refused(tmp_path, fill):
    """D3, of the other format of which Pillow decodes a part in silence."""
    (tmp_path / "a.tif").write_bytes(tiff(np.full((8, 8, 3), fill, np.uint8), 2, rows=5))
    refused(tmp_path / "a.tif", "cut short")


@pytest.mark.parametrize("name", examples())
def test_a_file_cut_anywhere_is_refused_or_still_whole(tmp_path, name):
    data, path = examples()[name], tmp_path / name
    path.write_bytes(data)
    whole = read(path)
    for length in range(0, len(data), max(1, len(data) // 150)):
        path.write_bytes(data[:length])
        try:
            pixels = read(path)
        except ImageError:
            continue
        # JPEG may lack its end mark, TIFF its last tags, BMP its padding: what comes out is then still the picture.
        assert name.endswith(("JPEG.png", ".jpg", ".tif", "TIFF.png", "BMP.png", ".bmp")), (
            f"{length} of {len(data)} bytes were enough"
        )
        same(pixels, whole)


def test_damaged_data_in_a_png_is_refused(tmp_path):
    data, path = png(RGB, 2), tmp_path / "a.png"
    start = data.index(b"IDAT")
    for place in range(start + 4, len(data) - 12):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        refused(path)


@FUZZ
@given(
    data=st.binary(max_size=200),
    start=st.sampled_from([*decode._OPENERS, b"\x93NUMPY\x01\x00", b"P5\n", b"P6 9 ", b""]),
)
def test_arbitrary_bytes_are_refused_and_nothing_else(tmp_path, data, start):
    for name in ("a.png", "a.npy"):
        (tmp_path / name).write_bytes(start + data)
        for reader in (read, probe):
            with pytest.raises(ImageError):
                reader(tmp_path / name)


@FUZZ
@given(st.data())
def test_damage_anywhere_gives_pixels_or_an_image_error(tmp_path, data):
    name = data.draw(st.sampled_from(sorted(examples())))
    raw = bytearray(examples()[name])
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / name).write_bytes(raw)
    try:
        pixels = read(tmp_path / name)
    except ImageError:
        return
    assert pixels.dtype in (np.uint8, np.uint16, np.float32)
    assert probe(tmp_path / name) == Header(*pixels.shape, pixels.dtype.name)


BOMB = """
import sys
from diptych.data.images.image_io import read, probe
from diptych.errors import ImageError
from diptych.system.hardware import peak_gib
from torch import device
before = peak_gib(device("cpu"))
for path in sys.argv[1:]:
    for reader in (read, probe):
        try:
            reader(path)
        except ImageError as error:
            assert "too large" in str(error), error
        else:
            raise SystemExit(f"{path} was read")
print(int((peak_gib(device("cpu")) - before) * 2**20))
"""


def test_a_bomb_is_refused_before_it_takes_memory(tmp_path):
    side = 12_000
    packer = zlib.compressobj(9)
    start = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    row = packer.compress(bytes(3 * side + 1)) + packer.flush(zlib.Z_FULL_FLUSH)  # the same for each row
    rows = start + row * side + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, {"shape": (10**6, 10**6), "fortran_order": False, "descr": "|u1"})
    (tmp_path / "a.npy").write_bytes(array.getvalue())
    small = tiff(RGB, 2)
    wide = small.replace(struct.pack("<HHIHH", 256, 3, 1, 7, 0), struct.pack("<HHIHH", 256, 3, 1, 65000, 0))
    tall = wide.replace(struct.pack("<HHIHH", 257, 3, 1, 6, 0), struct.pack("<HHIHH", 257, 3, 1, 65000, 0))
    (tmp_path / "a.tif").write_bytes(tall)
    paths = [str(tmp_path / name) for name in ("a.png", "a.npy", "a.tif")]
    ran = subprocess.run([sys.executable, "-c", BOMB, *paths], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < 20_000  # KiB


def test_between_our_limit_and_that_of_pillow_nothing_warns(tmp_path):
    header = struct.pack(">IIBBBBB", 10_000, 9_990, 8, 0, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert probe(tmp_path / "a.png") == Header(9_990, 10_000, 1, "uint8")
