"""`diptych.data.image`: every kind of file against pixels known beforehand, and what it refuses."""

import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from diptych.data import decode
from diptych.data.image import SUFFIXES, Header, from_unit, is_image, probe, read, resize, to_unit, with_channels, write
from diptych.errors import ImageError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 7, 3), np.uint8)
GREY = RGB[..., :1]
DEEP = RNG.integers(0, 65536, (6, 7, 3), np.uint16)
FUZZ = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(pixels, colour, depth=8, interlaced=False, before=b"", after=b"", rows=None, size=None) -> bytes:
    """A PNG by hand, of samples (H, W, C), with filter 0; `rows` keeps only so many of the stored rows."""
    height, width = size or pixels.shape[:2]
    parts = [pixels[y::dy, x::dx] for x, y, dx, dy in PASSES] if interlaced else [pixels]
    stored = [row for part in parts if part.size for row in part]
    packed = [np.unpackbits(r.astype(np.uint8)[..., None], axis=-1)[..., -depth:].ravel() for r in stored if depth < 8]
    lines = [np.packbits(r).tobytes() for r in packed] or [r.astype(f">u{depth // 8}").tobytes() for r in stored]
    body = zlib.compress(b"".join(b"\0" + line for line in lines[:rows]))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    data = chunk(b"IHDR", header) + before + chunk(b"IDAT", body) + after + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def tiff(pixels, photometric, kind=1, deflate=False, extra=None, rows=None, planar=1) -> bytes:
    """A TIFF by hand in the byte order of `pixels` (H, W, C), one row to a strip unless compressed; kind 3 is float."""
    order = ">" if pixels.dtype.byteorder == ">" else "<"
    height, width, channels = pixels.shape
    whole = deflate or planar == 2
    strips = [*np.moveaxis(pixels, 2, 0)] if planar == 2 else [pixels] if deflate else [*pixels][:rows]
    strips = [zlib.compress(strip.tobytes()) if deflate else strip.tobytes() for strip in strips]
    data = b"".join(strips)
    offsets = [8 + sum(map(len, strips[:n])) for n in range(len(strips))]
    tags = {256: [width], 257: [height], 258: [8 * pixels.itemsize] * channels, 259: [8 if deflate else 1]}
    tags |= {262: [photometric], 273: offsets, 277: [channels], 278: [height if whole else 1]}
    tags |= {279: [*map(len, strips)], 284: [planar]}
    tags |= ({338: [extra]} if extra is not None else {}) | {339: [kind] * channels}
    at, more = 8 + len(data), b""
    body = struct.pack(order + "H", len(tags))
    for tag, values in sorted(tags.items()):
        packed = struct.pack(order + "I" * len(values), *values) if tag in (273, 279) else b""
        packed = packed or struct.pack(order + "H" * len(values), *values)
        where = struct.pack(order + "I", at + 6 + 12 * len(tags) + len(more))
        more += packed if len(packed) > 4 else b""
        field = where if len(packed) > 4 else packed.ljust(4, b"\0")
        body += struct.pack(order + "HHI", tag, 4 if tag in (273, 279) else 3, len(values)) + field
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(order + "I", at) + data + body + b"\0\0\0\0" + more


def saved(picture: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def over_white(samples):
    top = np.iinfo(samples.dtype).max
    colour, alpha = samples[..., :-1].astype(float), samples[..., -1:] / top
    return np.floor(colour * alpha + top * (1 - alpha) + 0.5).astype(samples.dtype)


@pytest.fixture
def held(tmp_path):
    """A function that writes bytes to a file and checks that `probe` agrees with `read` on it."""

    def hold(data: bytes, name: str = "a.png"):
        path = tmp_path / name
        path.write_bytes(data)
        pixels = read(path)
        assert probe(path) == Header(*pixels.shape, pixels.dtype.name)
        assert pixels.flags.writeable
        assert pixels.flags.c_contiguous
        assert pixels.dtype.isnative
        return pixels

    return hold


def refused(path: Path, *words: str) -> None:
    with pytest.raises(ImageError) as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message
    assert ";" in message, "no way out"
    assert all(word in message for word in words), message


def same(left, right) -> None:
    assert left.dtype == right.dtype
    np.testing.assert_array_equal(left, right)


# ------------------------------------------------------------------------------------------------- 8 bits, every mode


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP", "TIFF"])
def test_rgb_is_exact(held, format):
    same(held(saved(Image.fromarray(RGB), format, **({"lossless": True} if format == "WEBP" else {}))), RGB)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_grey_has_one_channel(held, format):
    same(held(saved(Image.fromarray(GREY[..., 0]), format)), GREY)


def test_jpeg_is_what_pillow_decodes_whatever_its_name(held):
    data = saved(Image.fromarray(RGB), "JPEG")
    same(held(data, "really_a_jpeg.png"), np.asarray(Image.open(io.BytesIO(data))))
    assert held(saved(Image.fromarray(GREY[..., 0]), "JPEG")).shape == (6, 7, 1)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_one_bit_is_black_and_white(held, format):
    same(held(saved(Image.fromarray(GREY[..., 0] > 127), format)), np.where(GREY > 127, 255, 0).astype(np.uint8))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("interlaced", [False, True])
def test_grey_png_of_every_depth_with_and_without_a_transparent_value(held, depth, interlaced):
    most = 2**depth - 1
    samples = GREY & most
    scaled = (samples * (255 // most)).astype(np.uint8)
    same(held(png(samples, 0, depth, interlaced)), scaled)
    for key in (0, int(samples[samples > 0].min())):
        before = chunk(b"tRNS", struct.pack(">H", key))
        same(held(png(samples, 0, depth, interlaced, before)), np.where(samples == key, np.uint8(255), scaled))


def test_rgb_png_with_a_transparent_colour(held):
    expected = RGB.copy()
    expected[2, 3] = 255
    same(held(png(RGB, 2, before=chunk(b"tRNS", struct.pack(">HHH", *map(int, RGB[2, 3]))))), expected)


@pytest.mark.parametrize("alphas", [b"", b"\xff\x00", bytes([10, 200, 128, 255])])
def test_palette_becomes_rgb_over_white(held, alphas):
    palette = RNG.integers(0, 256, (4, 3), np.uint8)
    index = GREY & 3
    before = chunk(b"PLTE", palette.tobytes()) + (chunk(b"tRNS", alphas) if alphas else b"")
    alpha = np.frombuffer(alphas.ljust(4, b"\xff"), np.uint8)
    colours = over_white(np.concatenate([palette, alpha[:, None]], axis=1)[None])[0]
    for depth in (2, 8):
        same(held(png(index, 3, depth, before=before)), colours[index[..., 0]])


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_rgba_lies_over_white(held, format):
    samples = RNG.integers(0, 256, (6, 7, 4), np.uint8)
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    same(held(saved(Image.fromarray(samples), format, **options)), over_white(samples))


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_grey_with_alpha_lies_over_white(held, format):
    samples = RNG.integers(0, 256, (6, 7, 2), np.uint8)
    same(held(saved(Image.fromarray(samples), format)), over_white(samples))


def test_palette_with_alpha_plane(held):
    picture = Image.fromarray(RGB).quantize(4)
    alpha = Image.new("L", picture.size, 0)
    rgba = picture.convert("RGBA")
    rgba.putalpha(alpha)
    assert (held(saved(rgba.convert("PA"), "TIFF")) == 255).all()


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
def test_other_colour_spaces_become_rgb_as_in_pillow(held, mode):
    from PIL import ImageCms

    picture = Image.fromarray(RGB)
    if mode == "LAB":
        change = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        picture = ImageCms.applyTransform(picture, change)
    else:
        picture = picture.convert(mode)
    same(held(saved(picture, "TIFF")), np.asarray(picture.convert("RGB")))


def test_cmyk_jpeg(held):
    data = saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    red = held(data, "a.jpg")
    assert red.shape == (8, 8, 3)
    assert (abs(red.astype(int) - [255, 0, 0]) < 4).all()


# --------------------------------------------------------------------------------------------------------- orientation


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_orientation(held, orientation, format):
    exif = Image.Exif()
    exif[274] = orientation
    data = saved(Image.fromarray(RGB), format, exif=exif, **({"lossless": True} if format == "WEBP" else {}))
    turn = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
    turn |= {6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}
    upright = Image.open(io.BytesIO(saved(Image.fromarray(RGB), "JPEG"))) if format == "JPEG" else Image.fromarray(RGB)
    if orientation in turn:
        upright = upright.transpose(Image.Transpose[turn[orientation]])
    same(held(data), np.asarray(upright))


@pytest.mark.parametrize("place", ["before", "after"])
def test_orientation_of_a_png_may_follow_its_pixels(held, place):
    exif = Image.Exif()
    exif[274] = 6
    where = {place: chunk(b"eXIf", exif.tobytes()[6:])}
    same(held(png(RGB, 2, **where)), np.rot90(RGB, -1))
    same(held(png(DEEP, 2, 16, **where)), np.rot90(DEEP, -1))


def test_a_damaged_exif_is_no_orientation(held):
    same(held(png(RGB, 2, before=chunk(b"eXIf", b"nonsense"))), RGB)


def test_orientation_in_the_xmp_of_a_tiff(held):
    xmp = b'<x tiff:Orientation="6"/>'
    tags = {700: xmp}
    same(held(saved(Image.fromarray(RGB), "TIFF", tiffinfo=tags)), np.rot90(RGB, -1))


# ------------------------------------------------------------------------------------------------- 16 bits and floats


@pytest.mark.parametrize("interlaced", [False, True])
def test_deep_png(held, interlaced):
    same(held(png(DEEP, 2, 16, interlaced)), DEEP)
    same(held(png(DEEP[..., :1], 0, 16, interlaced)), DEEP[..., :1])
    rgba = RNG.integers(0, 65536, (6, 7, 4), np.uint16)
    same(held(png(rgba, 6, 16, interlaced)), over_white(rgba))
    same(held(png(rgba[..., :2], 4, 16, interlaced)), over_white(rgba[..., :2]))


def test_deep_png_with_a_transparent_colour(held):
    for colour, channels in ((0, 1), (2, 3)):
        samples = DEEP[..., :channels]
        key = chunk(b"tRNS", samples[1, 1].astype(">u2").tobytes())
        expected = samples.copy()
        expected[1, 1] = 65535
        same(held(png(samples, colour, 16, before=key)), expected)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("deflate", [False, True])
def test_deep_tiff(held, order, deflate):
    stored = DEEP.astype(order + "u2")
    for planar in (1, 2) if deflate else (1,):
        same(held(tiff(stored[..., :1], 1, deflate=deflate, planar=planar)), DEEP[..., :1])
    same(held(tiff(stored, 2, deflate=deflate)), DEEP)
    rgba = RNG.integers(0, 65536, (6, 7, 4), np.uint16)
    same(held(tiff(rgba.astype(order + "u2"), 2, deflate=deflate, extra=2)), over_white(rgba))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["i4", "f4"])
def test_32_bit_tiff(held, tmp_path, order, dtype):
    values = DEEP[..., :1] if dtype == "i4" else (DEEP[..., :1] / 65535).astype(np.float32)
    kind = 2 if dtype == "i4" else 3
    same(held(tiff(values.astype(order + dtype), 1, kind)), values)
    path = tmp_path / "b.tif"
    path.write_bytes(tiff((values.astype(float) + 65536).astype(order + dtype), 1, kind))
    refused(path, "outside")
    path.write_bytes(tiff(values.astype(order + dtype), 1, kind, deflate=True))
    if order == "<":
        same(read(path), values)
    else:
        refused(path, "save it as PNG")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.001, 1.001])
def test_floats_outside_the_unit_range_are_refused(tmp_path, bad):
    values = np.full((3, 4, 1), 0.5, np.float32)
    values[1, 2] = bad
    (tmp_path / "a.tif").write_bytes(tiff(values, 1, 3))
    np.save(tmp_path / "a.npy", values.astype(float))
    for name in ("a.tif", "a.npy"):
        refused(tmp_path / name, "rescale")


def test_tiffs_that_pillow_reads_wrongly_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    for data in (
        tiff(DEEP[..., :1], 0),  # white is 0
        tiff(DEEP, 2, planar=2),
        tiff(DEEP, 2, planar=2, deflate=True),
        tiff(GREY, 1, kind=2),  # signed bytes
        tiff(np.concatenate([DEEP, DEEP[..., :1]], axis=2), 2, extra=1),  # premultiplied
        tiff(np.concatenate([DEEP, DEEP[..., :1]], axis=2), 5),  # CMYK
    ):
        path.write_bytes(data)
        refused(path, "TIFF", "PNG")
        with pytest.raises(ImageError):
            probe(path)


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "?", "f2", "<f4", ">f8"])
@pytest.mark.parametrize("by_columns", [False, True])
def test_npy(held, dtype, by_columns):
    values = RNG.random((4, 5, 6)) * (0.999 if "f" in dtype else 65535)
    array = (values > 30000 if dtype == "?" else values % 256 if dtype == "u1" else values).astype(dtype)
    buffer = io.BytesIO()
    np.save(buffer, np.asfortranarray(array) if by_columns else array)
    wanted = np.where(array, 255, 0).astype(np.uint8) if dtype == "?" else array.astype("f4" if "f" in dtype else dtype)
    same(held(buffer.getvalue(), "a.NPY"), wanted.astype(wanted.dtype.newbyteorder("=")))


def test_a_short_npy_is_refused_by_its_header(tmp_path):
    np.save(tmp_path / "a.npy", RGB)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    with pytest.raises(ImageError, match="cut short"):
        probe(tmp_path / "a.npy")


def test_flat_npy_has_one_channel(held):
    buffer = io.BytesIO()
    np.save(buffer, GREY[..., 0])
    same(held(buffer.getvalue(), "a.npy"), GREY)


@pytest.mark.parametrize(
    "array",
    [
        *(np.zeros(shape, "u1") for shape in (3, (2, 2, 2, 2), (0, 2))),
        *(np.zeros((2, 2), dtype) for dtype in ("i4", "c8", "U1", "O", [("a", "u1")])),
    ],
    ids=repr,
)
def test_npy_of_another_kind_is_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    refused(tmp_path / "a.npy", "save it as")
    with pytest.raises(ImageError):
        probe(tmp_path / "a.npy")


# ------------------------------------------------------------------------------------------------------------ refusals


def test_names(tmp_path):
    for suffix in SUFFIXES:
        path = tmp_path / f"a{suffix.upper()}"
        assert not is_image(path)
        path.touch()
        assert is_image(path)
        assert is_image(str(path))
    (tmp_path / ".a.png").touch()
    (tmp_path / "a.gif").touch()
    (tmp_path / "folder.png").mkdir()
    assert not any(is_image(tmp_path / name) for name in (".a.png", "a.gif", "folder.png"))


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
    refused(tmp_path / "a.png", "split it into frames")
    with pytest.raises(ImageError, match="frames"):
        probe(tmp_path / "a.png")


def test_of_a_stereo_jpeg_the_first_picture_counts(held):
    first, second = Image.fromarray(RGB), Image.fromarray(RGB[::-1].copy())
    data = saved(first, "MPO", save_all=True, append_images=[second])
    same(held(data, "a.jpg"), np.asarray(Image.open(io.BytesIO(saved(first, "JPEG")))))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("fill", [0, 1, 255])
def test_a_png_with_too_few_rows_is_refused(tmp_path, held, interlaced, fill):
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
    (tmp_path / "a.tif").write_bytes(tiff(np.full((8, 8, 3), fill, np.uint8), 2, rows=5))
    refused(tmp_path / "a.tif", "cut short")


def examples() -> dict[str, bytes]:
    npy = io.BytesIO()
    np.save(npy, RGB)
    picture = Image.fromarray(RGB)
    made = {f"{format}.png": saved(picture, format) for format in ("PNG", "JPEG", "WEBP", "BMP", "TIFF")}
    made |= {"grey.png": saved(Image.fromarray(DEEP[..., 0]), "PNG"), "deep.png": png(DEEP, 2, 16)}
    made |= {f"{c}.tif": saved(picture, "TIFF", compression=c) for c in ("packbits", "tiff_lzw", "tiff_adobe_deflate")}
    made |= {"lossless.webp": saved(picture, "WEBP", lossless=True), "deep.tif": tiff(DEEP, 2)}
    return made | {"a.npy": npy.getvalue()}


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
        assert name.endswith(("JPEG.png", ".tif", "TIFF.png", "BMP.png")), f"{length} of {len(data)} bytes were enough"
        same(pixels, whole)


def test_damaged_data_in_a_png_is_refused(tmp_path):
    data, path = png(RGB, 2), tmp_path / "a.png"
    start = data.index(b"IDAT")
    for place in range(start + 4, len(data) - 12):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        refused(path)


@FUZZ
@given(data=st.binary(max_size=200), start=st.sampled_from([*decode._OPENERS, b"\x93NUMPY\x01\x00", b""]))
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
import resource, sys
from diptych.data.image import read, probe
from diptych.errors import ImageError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    for reader in (read, probe):
        try:
            reader(path)
        except ImageError as error:
            assert "too large" in str(error), error
        else:
            raise SystemExit(f"{path} was read")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_bomb_is_refused_before_it_takes_memory(tmp_path):
    side = 12_000
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(3 * side + 1)) for _ in range(side)) + packer.flush()
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


# ------------------------------------------------------------------------------------------------------------- writing


def shaped(channels, dtype):
    samples = RNG.random((5, 8, channels))
    return samples.astype(np.float32) if dtype == "float32" else (samples * np.iinfo(dtype).max).astype(dtype)


KEPT = [(suffix, "uint8", n) for suffix in (".png", ".bmp", ".tif", ".TIFF", ".npy") for n in (1, 3)]
KEPT += [(suffix, "uint16", 1) for suffix in (".png", ".tif", ".tiff")] + [(".png", "uint16", 3), (".webp", "uint8", 3)]
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
    write(tmp_path / "a.jpg", smooth)
    assert abs(read(tmp_path / "a.jpg").astype(int) - smooth).max() <= 3
    write(tmp_path / "a.webp", smooth)
    same(read(tmp_path / "a.webp"), np.repeat(smooth, 3, axis=2))


def test_a_deep_png_is_what_other_readers_see(tmp_path):
    write(tmp_path / "a.png", DEEP)
    same(np.asarray(Image.open(tmp_path / "a.png")), (DEEP >> 8).astype(np.uint8))


REFUSED = [(".png", "uint8", 2), (".png", "uint16", 5), (".jpg", "uint16", 1), (".webp", "uint16", 3)]
REFUSED += [(".bmp", "uint16", 1), (".tif", "uint16", 3), (".png", "float32", 1), (".tif", "float32", 3)]
REFUSED += [(".gif", "uint8", 3), ("", "uint8", 3)]


@pytest.mark.parametrize(("suffix", "dtype", "channels"), REFUSED)
def test_what_a_format_cannot_hold_is_refused(tmp_path, suffix, dtype, channels):
    path = tmp_path / "new" / f"a{suffix}"
    with pytest.raises(ImageError, match=r"write it to .*\.npy") as caught:
        write(path, shaped(channels, dtype))
    assert str(path) in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "array",
    [
        *(np.zeros((2, 2), dtype) for dtype in (int, bool, "f8", "O")),
        *(np.zeros(shape, "u1") for shape in (3, (0, 2, 3), (2, 2, 2, 2))),
        *(np.full((2, 2), value, "f4") for value in (1.5, np.nan)),
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


# ---------------------------------------------------------------------------------------------------------- properties


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


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_value_survives_the_unit_range(dtype):
    top = np.iinfo(dtype).max
    values = np.arange(top + 1, dtype=dtype).reshape(-1, 16, 1)
    unit = to_unit(values)
    assert unit.dtype == np.float32
    assert unit.shape == values.shape
    np.testing.assert_allclose(unit, values / (top / 2) - 1, atol=1e-7)
    assert (unit.min(), unit.max()) == (-1, 1)
    same(from_unit(unit, dtype), values)
    same(from_unit(unit + np.float32(0.8 / top), dtype), values)  # less than half a step away
    same(from_unit(unit.astype(np.float64), values.dtype), values)


def test_unit_range_of_floats_and_the_clamp():
    same(to_unit(np.array([0, 0.25, 1], np.float32)), np.array([-1, -0.5, 1], np.float32))
    same(from_unit(np.array([-9, -1, -0.5, 9], np.float32), "float32"), np.array([0, 0, 0.25, 1], np.float32))
    same(from_unit(np.array([-9, 9.0, 1.0000001]), np.uint8), np.array([0, 255, 255], np.uint8))
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="finite"):
            from_unit(np.array([0, bad]), np.uint8)
    for call in (lambda: to_unit(np.zeros(2, np.int32)), lambda: from_unit(np.zeros(2), np.int32)):
        with pytest.raises(ValueError, match="int32"):
            call()


@FUZZ
@given(array=hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_luminance_is_that_of_pillow(array):
    expected = np.asarray(Image.fromarray(array).convert("L"))[..., None]
    same(with_channels(array, 1, "a.png"), expected)
    deep = with_channels(array.astype(np.uint16) * 257, 1, "a.png")
    assert deep.dtype == np.uint16
    np.testing.assert_allclose(deep[..., 0] / 257, array @ [0.299, 0.587, 0.114], atol=0.02)
    floats = with_channels((array / 255).astype(np.float32), 1, "a.png")
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats[..., 0] * 255, array @ [0.299, 0.587, 0.114], atol=0.01)


def test_channels():
    same(with_channels(GREY, 3, "a.png"), np.concatenate([GREY] * 3, axis=2))
    assert with_channels(RGB, 3, "a.png") is RGB
    same(with_channels(np.full((1, 1, 3), 65535, np.uint16), 1, "a.png"), np.full((1, 1, 1), 65535, np.uint16))
    assert with_channels(np.ones((1, 1, 3), np.float32), 1, "a.png").max() <= 1
    for array, wanted in ((RGB, 2), (RGB, 4), (np.zeros((2, 2, 2)), 1), (np.zeros((2, 2, 4)), 3)):
        with pytest.raises(ImageError, match=rf"a\.png.* {array.shape[2]} channels .* {wanted} "):
            with_channels(array, wanted, "a.png")


@FUZZ
@given(
    array=hnp.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3]))),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
)
def test_resize_is_that_of_pillow(array, height, width):
    plain = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    expected = np.asarray(plain.resize((width, height), Image.Resampling.BICUBIC)).reshape(height, width, -1)
    same(resize(array, height, width), expected)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_resize_of_every_kind(dtype, channels):
    array = shaped(channels, dtype)
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    small, large = resize(array, 3, 4), resize(array, 11, 9)
    assert (small.shape, large.shape) == ((3, 4, channels), (11, 9, channels))
    assert small.dtype == large.dtype == array.dtype
    bytes_of_it = (array / top * 100 + 80).round().astype(np.uint8)  # far from black and white: Pillow clips twice
    middling = (bytes_of_it / 255 * top).astype(dtype)
    for plane in range(channels):
        pillow = np.asarray(Image.fromarray(bytes_of_it[..., plane]).resize((9, 11), Image.Resampling.BICUBIC))
        assert abs(resize(middling, 11, 9)[..., plane] / top * 255 - pillow).max() <= 2
    edge = np.zeros((8, 8, channels), dtype)
    edge[:, 4:] = top
    swung = resize(edge, 16, 16)
    assert (swung.min(), swung.max()) == (0, top), "the overshoot of bicubic must be clamped, not wrapped"
    assert resize(array, *array.shape[:2]) is array
