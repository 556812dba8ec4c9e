"""`diptych.data.images.pnm`: binary .pgm and .ppm of 8 and 16 bits are read exactly, and what is damaged is refused."""

import io
from functools import partial

import numpy as np
import pytest
from pictures import DEEP, GREY, RGB, hold, pnm, refused, same, saved
from PIL import Image

from diptych.data.checks.inspect_file import inspect_file
from diptych.data.images.image_io import write


@pytest.fixture
def held(tmp_path):
    return partial(hold, tmp_path)


@pytest.mark.parametrize("pixels", [GREY, RGB, DEEP[..., :1], DEEP], ids=["grey 8", "colour 8", "grey 16", "colour 16"])
@pytest.mark.parametrize("name", ["a.pgm", "a.ppm", "a.pnm", "a.PPM", "a.png"])
def test_pixels_are_exact_whatever_the_name(held, pixels, name):
    same(held(pnm(pixels), name), pixels)


def test_what_other_programs_write_is_read(held):
    same(held(saved(Image.fromarray(RGB), "PPM"), "a.ppm"), RGB)
    same(held(saved(Image.fromarray(GREY[..., 0]), "PPM"), "a.ppm"), GREY)
    same(held(saved(Image.fromarray(DEEP[..., 0]), "PPM"), "a.pgm"), DEEP[..., :1])


def test_what_is_written_is_what_other_programs_read(tmp_path):
    write(tmp_path / "a.ppm", RGB)
    write(tmp_path / "a.pgm", DEEP[..., :1])
    same(np.asarray(Image.open(tmp_path / "a.ppm")), RGB)
    same(np.asarray(Image.open(tmp_path / "a.pgm")).astype(np.uint16), DEEP[..., 0])


def test_a_jfif_file_is_a_jpeg(held):
    data = saved(Image.fromarray(RGB), "JPEG")
    same(held(data, "a.jfif"), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("white", [1, 15, 100, 255, 256, 1023, 4095, 65535])
def test_the_maxval_of_the_header_is_white(held, white):
    depth = 255 if white < 256 else 65535
    values = np.linspace(0, white, 42).round().astype(np.uint64).reshape(6, 7, 1)
    nearest = (2 * values * depth + white) // (2 * white)
    same(held(pnm(values, white)), nearest.astype(np.uint8 if white < 256 else np.uint16))


@pytest.mark.parametrize(
    "header",
    [
        "{kind}\n# by hand\n{width} {height}\n#\n{white}\n",
        "{kind} {width}\t\n\r{height} {white} ",
        "{kind}#\r{width} # P5 1 1\n{height}\n{white}\r",
    ],
)
def test_comments_and_gaps_in_the_header(held, header):
    same(held(pnm(DEEP, header=header)), DEEP)


DAMAGED = {
    "cut in the samples": (pnm(RGB)[:-1], "cut short"),
    "cut in the header": (b"P6\n7 6", "damaged PNM header"),
    "no size": (b"P6\n0 6\n255\n", "0x6"),
    "no white": (b"P5\n7 6\n0\n" + bytes(42), "maxval 0"),
    "more than 16 bits": (b"P5\n7 6\n65536\n" + bytes(99), "maxval 65536"),
    "negative": (b"P5\n-7 6\n255\n" + bytes(42), "damaged PNM header"),
    "a long number": (b"P5\n" + b"9" * 5000 + b" 6\n255\n", "damaged PNM header"),
    "an endless comment": (b"P5\n#" + b"x" * 10_000 + b"\n7 6\n255\n" + bytes(42), "damaged PNM header"),
    "too large": (b"P6\n100000 100000\n255\n" + bytes(99), "too large"),
    "above the maxval": (pnm(GREY | 128, 127), "above the maxval"),
    "two images": (pnm(GREY) + pnm(GREY), "more than one image"),
    "text": (b"P2\n1 1\n255\n7\n", "binary PNM"),
    "a bitmap": (b"P4\n8 1\n\xff", "binary PNM"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_damaged_is_refused_with_the_way_out(tmp_path, name):
    data, words = DAMAGED[name]
    (tmp_path / "a.pgm").write_bytes(data)
    refused(tmp_path / "a.pgm", words, "PNG" if name not in ("too large", "cut in the samples") else "")


def test_a_line_end_after_the_last_pixel_is_no_second_image(held):
    same(held(pnm(RGB) + b"\n"), RGB)


def test_names_that_promise_another_format_are_noted(tmp_path):
    for name, data, note in (
        ("a.pgm", pnm(GREY), None),
        ("a.ppm", pnm(GREY), None),
        ("a.pnm", pnm(RGB), None),
        ("a.png", pnm(RGB), "is a PPM file by its content"),
        ("a.jfif", saved(Image.fromarray(RGB), "JPEG"), None),
        ("b.jfif", pnm(GREY), "is a PGM file by its content"),
    ):
        (tmp_path / name).write_bytes(data)
        assert inspect_file(tmp_path / name).note == note
