"""`diptych.data.images.fast_decode`: common files by imagecodecs give the pixels and refusals of Pillow."""

import io
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import FUZZ, RGB, chunk, png
from PIL import Image

from diptych.data.images import fast_decode, image_io
from diptych.data.images.fast_decode import decode_common
from diptych.data.images.stored_file import MAX_PIXELS, StoredFile
from diptych.errors import ImageError

pytest.importorskip("imagecodecs")


def saved(mode, format, **options):
    file = io.BytesIO()
    Image.fromarray(RGB).convert(mode).save(file, format, **options)
    return file.getvalue()


COMMON = {
    "jpeg": saved("RGB", "JPEG", quality=90),
    "jpeg-444": saved("RGB", "JPEG", subsampling=0, optimize=True, icc_profile=b"profile", comment=b"words"),
    "jpeg-restarts": saved("RGB", "JPEG", restart_marker_blocks=1),
    "jpeg-grey": saved("L", "JPEG"),
    "png": saved("RGB", "PNG", dpi=(300, 300)),
    "png-grey": saved("L", "PNG"),
    "png-alpha": saved("RGBA", "PNG"),
    "png-grey-alpha": saved("LA", "PNG"),
}
ORIENTED = Image.Exif()
ORIENTED[274] = 6
OTHERS = {
    "jpeg-progressive": saved("RGB", "JPEG", progressive=True),
    "jpeg-cmyk": saved("CMYK", "JPEG"),
    "jpeg-oriented": saved("RGB", "JPEG", exif=ORIENTED),
    "jpeg-trailing": COMMON["jpeg"] + b"more",
    "png-oriented": saved("RGB", "PNG", exif=ORIENTED),
    "png-palette": saved("P", "PNG"),
    "png-transparent": saved("L", "PNG", transparency=7),
    "png-interlaced": png(RGB, 2, interlaced=True),
    "png-1-bit": saved("1", "PNG"),
    "png-trailing": COMMON["png"] + b"more",
    "png-text": COMMON["png"][:33] + chunk(b"tEXt", b"Software\0words") + COMMON["png"][33:],
    "webp": saved("RGB", "WEBP", lossless=True),
}


def outcome(data, kind):
    try:
        return image_io.read(StoredFile("a.img", data), kind)
    except ImageError as error:
        return str(error)


def assert_as_pillow(data, kind):
    """Reading gives the same pixels, or the same words, with and without imagecodecs."""
    fast = outcome(data, kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_decode, "_imagecodecs", lambda: None)
        slow = outcome(data, kind)
    if isinstance(slow, str):
        assert fast == slow
    else:
        np.testing.assert_array_equal(fast, slow, strict=True)


@pytest.mark.parametrize("kind", ["colour", "rgba", "ids", "values"])
@pytest.mark.parametrize("name", [*COMMON, *OTHERS])
def test_the_pixels_are_those_of_pillow(name, kind):
    data = COMMON.get(name) or OTHERS[name]
    assert_as_pillow(data, kind)
    assert (decode_common(io.BytesIO(data), MAX_PIXELS) is not None) == (name in COMMON)
    assert outcome(data, kind).flags.writeable  # torch warns about read-only arrays


def test_files_that_pillow_has_to_decode_are_at_their_start():
    for data in OTHERS.values():
        file = io.BytesIO(data)
        assert decode_common(file, MAX_PIXELS) is None
        assert file.tell() == 0


def test_large_files_are_not_read_at_once(monkeypatch):
    monkeypatch.setattr(fast_decode, "MAX_BYTES", len(COMMON["png"]) - 9)
    file = io.BytesIO(COMMON["png"])
    assert decode_common(file, MAX_PIXELS) is None
    assert file.tell() == 0


@pytest.mark.parametrize("name", ["jpeg", "png"])
def test_too_many_pixels_are_not_decoded(name):
    height, width = RGB.shape[:2]
    assert decode_common(io.BytesIO(COMMON[name]), height * width - 1) is None
    assert decode_common(io.BytesIO(COMMON[name]), height * width).shape == RGB.shape


def test_without_imagecodecs_pillow_decodes(monkeypatch):
    fast_decode._imagecodecs.cache_clear()
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    assert decode_common(io.BytesIO(COMMON["jpeg"]), MAX_PIXELS) is None
    assert outcome(COMMON["jpeg"], "colour").shape == RGB.shape
    fast_decode._imagecodecs.cache_clear()


@FUZZ
@given(st.sampled_from([*COMMON.values(), OTHERS["jpeg-progressive"]]), st.data())
def test_damage_is_found_as_by_pillow(data, draw):
    """Also if the file has its end."""
    place = draw.draw(st.integers(0, len(data) - 1))
    end = data[-12:] if data.startswith(b"\x89PNG") else data[-2:]
    flipped = bytes([data[place] ^ 1 << draw.draw(st.integers(0, 7))])
    inserted = bytes([draw.draw(st.integers(0, 255))])
    for damaged in (
        data[:place],
        data[:place] + end,
        data[:place] + flipped + data[place + 1 :],
        data[:place] + inserted + data[place:],
        data[:place] + data[place + 1 :],
    ):
        assert_as_pillow(damaged, "colour")
