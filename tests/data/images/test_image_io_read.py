"""`diptych.data.images.image_io`: every kind of file against pixels known beforehand."""

import io
import struct
from functools import partial

import numpy as np
import pytest
from pictures import DEEP, GREY, RGB, RNG, chunk, hold, over_white, png, refused, same, saved, tiff
from PIL import Image

from diptych.data.images.image_io import probe, read
from diptych.errors import ImageError


@pytest.fixture
def held(tmp_path):
    return partial(hold, tmp_path)


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
def test_other_colour_spaces_become_rgb_as_in_pillow(held, mode, tmp_path):
    from PIL import ImageCms

    picture = Image.fromarray(RGB)
    if mode == "LAB":
        change = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        picture = ImageCms.applyTransform(picture, change)
    else:
        picture = picture.convert(mode)
    same(held(saved(picture, "TIFF")), np.asarray(picture.convert("RGB")))
    (tmp_path / "b.tif").write_bytes(saved(picture, "TIFF"))
    assert not probe(tmp_path / "b.tif").alpha


def test_cmyk_jpeg(held):
    data = saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    red = held(data, "a.jpg")
    assert red.shape == (8, 8, 3)
    assert (abs(red.astype(int) - [255, 0, 0]) < 4).all()


def test_of_a_stereo_jpeg_the_first_picture_counts(held):
    first, second = Image.fromarray(RGB), Image.fromarray(RGB[::-1].copy())
    data = saved(first, "MPO", save_all=True, append_images=[second])
    same(held(data, "a.jpg"), np.asarray(Image.open(io.BytesIO(saved(first, "JPEG")))))


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
    if (order, dtype) == (">", "i4"):  # not by Pillow
        refused(path, "range=auto")
    else:
        same(read(path), values)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.001, 1.001])
def test_floats_outside_the_unit_range_are_refused(tmp_path, bad):
    values = np.full((3, 4, 1), 0.5, np.float32)
    values[1, 2] = bad
    (tmp_path / "a.tif").write_bytes(tiff(values, 1, 3))
    np.save(tmp_path / "a.npy", values.astype(float))
    for name in ("a.tif", "a.npy"):
        refused(tmp_path / name, "rescale" if np.isfinite(bad) else "replace them")


def test_tiffs_that_pillow_reads_wrongly_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    for data in (
        tiff(DEEP[..., :1], 0),  # white is 0
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
