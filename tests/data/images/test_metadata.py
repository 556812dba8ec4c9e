"""`diptych.data.images.metadata`: what is copied to a translation, and that damage never gets in the way of pixels."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import DEEP, FUZZ, GREY, RGB, chunk, png, same
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from diptych.data.checks.inspect_file import FileInfo, inspect_file
from diptych.data.images.image_io import read, write
from diptych.data.images.metadata import (
    MAX_PROFILE,
    NO_METADATA,
    Metadata,
    metadata_of_image,
    profile_name,
    read_metadata,
)

RGBA = np.concatenate([RGB, GREY], axis=2)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
TAGS = {33550: (10.0, 10.0, 0.0), 33922: (0.0, 0.0, 0.0, 5e5, 4.5e6, 0.0), 34735: (1, 1, 0, 1, 1024, 0, 1, 1)}
GEOTIFF = TAGS | {34736: (6378137.0,), 34737: "WGS 84|"}


def profile(name=b"Adobe RGB (1998)", space=b"RGB ", mluc=False, size=0):
    """An ICC profile of nothing but a header and its name."""
    text = name.decode().encode("utf-16-be")
    element = b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name + b"\0"
    if mluc:
        element = b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(text), 28) + text
    table = struct.pack(">I4sII", 1, b"desc", 144, len(element))
    return (b"\0" * 16 + space).ljust(128, b"\0") + table + element + b"\0" * size


def tagged(path, array=RGB, tags=GEOTIFF, **options):
    directory = ImageFileDirectory_v2()
    for tag, value in tags.items():
        directory.tagtype[tag] = 3 if tag == 34735 else 2 if tag == 34737 else 12
        directory[tag] = value
    Image.fromarray(array if array.shape[2] > 1 else array[..., 0]).save(path, tiffinfo=directory, **options)


KEPT = [(suffix, array) for suffix in (".png", ".tif") for array in (GREY, RGB, RGBA)] + [(".jpg", GREY), (".jpg", RGB)]
KEPT += [(".png", DEEP), (".png", np.concatenate([DEEP, DEEP[..., :1]], 2)), (".png", DEEP[..., :1])]


@pytest.mark.parametrize(("suffix", "array"), KEPT)
def test_profile_and_resolution_are_written_and_read_back(tmp_path, suffix, array):
    given = Metadata(profile(space=b"GRAY" if array.shape[2] == 1 else b"RGB "), (300, 150))
    write(tmp_path / f"a{suffix}", array, given)
    found = read_metadata(tmp_path / f"a{suffix}")
    assert found.profile == given.profile
    assert np.allclose(found.dpi, given.dpi, atol=0.1)
    write(tmp_path / f"b{suffix}", array)
    same(read(tmp_path / f"a{suffix}"), read(tmp_path / f"b{suffix}"))


def test_formats_without_room_for_them_are_written_all_the_same(tmp_path):
    for suffix in (".webp", ".bmp", ".npy"):
        write(tmp_path / f"a{suffix}", RGB, Metadata(profile(), (300, 150), GEOTIFF, (7, 6)))
        same(read(tmp_path / f"a{suffix}"), RGB)
    assert read_metadata(tmp_path / "a.webp").profile == profile()
    assert read_metadata(tmp_path / "a.npy") == NO_METADATA


@pytest.mark.parametrize(("suffix", "array"), [(".png", RGB), (".jpg", GREY), (".tif", RGB), (".png", DEEP)])
def test_a_profile_of_another_colour_space_is_left_out(tmp_path, suffix, array):
    for space in (b"CMYK", b"GRAY" if array.shape[2] == 3 else b"RGB "):
        write(tmp_path / f"a{suffix}", array, Metadata(profile(space=space)))
        assert read_metadata(tmp_path / f"a{suffix}").profile is None


def test_the_georeference_goes_into_a_tiff_of_the_same_size_only(tmp_path):
    tagged(tmp_path / "a.tif")
    found = read_metadata(tmp_path / "a.tif")
    write(tmp_path / "b.tif", GREY, found)
    with Image.open(tmp_path / "b.tif") as picture:
        written = {tag: picture.tag_v2[tag] for tag in GEOTIFF}
    assert written == GEOTIFF | {34736: GEOTIFF[34736][0]}
    write(tmp_path / "c.tif", np.repeat(RGB, 4, 0), found)
    write(tmp_path / "d.png", RGB, found)
    assert not read_metadata(tmp_path / "c.tif").geotiff
    assert not read_metadata(tmp_path / "d.png").geotiff


def test_a_turned_picture_has_its_resolutions_turned_and_no_georeference(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=exif, dpi=(300, 150))
    assert read_metadata(tmp_path / "a.jpg").dpi == (150, 300)
    tagged(tmp_path / "a.tif", tags=GEOTIFF)
    with Image.open(tmp_path / "a.tif") as picture:
        assert metadata_of_image(picture, 3).geotiff == {}


def test_an_enormous_profile_is_not_copied(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.tif", icc_profile=profile(size=MAX_PROFILE))
    Image.fromarray(RGB).save(tmp_path / "a.webp", icc_profile=profile(size=MAX_PROFILE), lossless=True)
    for name in ("a.tif", "a.webp"):
        assert read_metadata(tmp_path / name).profile is None
        same(read(tmp_path / name), RGB)


BOMB = zlib.compress(profile(size=50_000_000))
BROKEN = {
    "a bomb": chunk(b"iCCP", b"x\0\0" + BOMB),
    "another compression": chunk(b"iCCP", b"x\0\7" + zlib.compress(SRGB)),
    "no zlib": chunk(b"iCCP", b"x\0\0" + b"nothing of the kind"),
    "empty": chunk(b"iCCP", b""),
    "short resolution": chunk(b"pHYs", b"\0\1"),
    "a bomb of text": chunk(b"zTXt", b"x\0\0" + BOMB),
}


@pytest.mark.parametrize("before", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize(("pixels", "colour", "depth"), [(RGB, 2, 8), (DEEP, 2, 16), (np.zeros_like(GREY), 0, 8)])
def test_damaged_metadata_of_a_png_does_not_keep_its_pixels(tmp_path, before, pixels, colour, depth):
    (tmp_path / "a.png").write_bytes(png(pixels, colour, depth, before=before))
    same(read(tmp_path / "a.png"), pixels)
    assert read_metadata(tmp_path / "a.png").profile is None
    assert inspect_file(tmp_path / "a.png").problem is None


@FUZZ
@given(st.binary(max_size=400), st.integers(0, 128), st.booleans())
def test_no_profile_whatever_is_in_it_raises(data, kept, mluc):
    broken = profile(mluc=mluc)[: 128 + kept] + data
    assert isinstance(profile_name(broken), str | None)
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "PNG", icc_profile=broken)
    with Image.open(buffer) as picture:
        assert metadata_of_image(picture).profile == broken


@pytest.mark.parametrize("dpi", [(0, 0), (-1, 2), (float("nan"), 1), (1e9, 1e9), (1,), "72", None])
def test_a_resolution_that_is_none_is_left_out(dpi):
    picture = Image.fromarray(RGB)
    picture.info["dpi"] = dpi
    assert metadata_of_image(picture).dpi is None


def test_profiles_are_called_by_their_names_and_srgb_is_none():
    assert profile_name(None) is None
    assert profile_name(SRGB) is None
    assert profile_name(profile(b"sRGB IEC61966-2.1")) is None
    assert profile_name(profile()) == profile_name(profile(mluc=True)) == "Adobe RGB (1998)"
    assert profile_name(profile(b"x" * 500)) == "x" * 60
    assert profile_name(b"\0" * 200) == "unnamed"


def test_the_scan_notes_transparency_profiles_and_palettes(tmp_path):
    write(tmp_path / "rgba.png", RGBA)
    write(tmp_path / "opaque.png", np.concatenate([RGB, np.full_like(GREY, 255)], 2))
    write(tmp_path / "adobe.jpg", RGB, Metadata(profile()))
    (tmp_path / "key.png").write_bytes(png(GREY, 0, before=chunk(b"tRNS", struct.pack(">H", GREY[0, 0, 0]))))
    picture = Image.fromarray(GREY[..., 0] % 3)
    picture.putpalette([7, 8, 9] * 256)
    picture.save(tmp_path / "palette.png")
    found = {path.stem: inspect_file(path) for path in tmp_path.iterdir()}
    assert {name for name, each in found.items() if each.transparent} == {"rgba", "key"}
    assert {name: each.profile for name, each in found.items() if each.profile} == {"adobe": "Adobe RGB (1998)"}
    assert found["palette"].indices == [0, 1, 2]
    for path in tmp_path.iterdir():
        array, finding = read(path), found[path.stem]
        assert (finding.height, finding.width, finding.channels, finding.dtype) == (*array.shape, array.dtype.name)
        assert (finding.low, finding.high) == (array.min(), array.max())
        assert FileInfo(**json.loads(json.dumps(finding._asdict()))) == finding
