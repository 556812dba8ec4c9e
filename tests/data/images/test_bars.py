"""The bars D4, D6 and D7 of reading: odd pictures, bombs, and damaged files of every format. D3 is in test_damage."""

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from fuzz import fuzz
from pictures import DEEP, GREY, RGB, RNG, chunk, hold, over_white, png, refused, same, saved, tiff
from PIL import Image, ImageCms

from diptych.data.images.image_io import probe, read
from diptych.data.images.transforms import Augment
from diptych.errors import ImageError

# ---------------------------------------------------------------------------------------------------- D4, odd pictures

RGBA = RNG.integers(0, 256, (6, 7, 4), np.uint8)


def turned(format, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return saved(Image.fromarray(RGB), format, exif=exif)


def palette_with_alpha():
    colours = chunk(b"PLTE", bytes([10, 20, 30, 200, 100, 0]))
    return png(GREY & 1, 3, 8, before=colours + chunk(b"tRNS", b"\x80\x00"))


def cmyk(format, **options):
    return saved(Image.new("CMYK", (8, 8), (255, 255, 0, 0)), format, **options)


def icc(format, **options):
    """With a profile whose red is blue: it would show if it were applied."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    swapped = bytearray(profile)
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return saved(Image.fromarray(RGB), format, icc_profile=bytes(swapped), **options)


HALF = np.array([[132, 137, 142], [255, 255, 255]], np.uint8)  # the two colours above over white, alpha 128 and 0
UPRIGHT = {2: RGB[:, ::-1], 3: RGB[::-1, ::-1], 4: RGB[::-1], 5: RGB.swapaxes(0, 1), 6: np.rot90(RGB, -1)}
UPRIGHT |= {7: np.rot90(RGB, 2).swapaxes(0, 1), 8: np.rot90(RGB)}
ODD = {
    "palette and alpha": (palette_with_alpha(), HALF[GREY[..., 0] & 1]),
    "grey and alpha": (saved(Image.fromarray(RGBA[..., :2]), "PNG"), over_white(RGBA[..., :2])),
    "RGBA": (saved(Image.fromarray(RGBA), "PNG"), over_white(RGBA)),
    "16 bits, grey": (png(DEEP[..., :1], 0, 16), DEEP[..., :1]),
    "16 bits, RGB": (png(DEEP, 2, 16), DEEP),
    "16 bits, TIFF": (tiff(DEEP, 2), DEEP),
    "CMYK TIFF": (cmyk("TIFF"), np.full((8, 8, 3), (0, 0, 255), np.uint8)),
    "CMYK JPEG": (cmyk("JPEG"), np.full((8, 8, 3), (0, 0, 255), np.uint8)),
    "ICC PNG": (icc("PNG"), RGB),
    "ICC WebP": (icc("WEBP", lossless=True), RGB),
    "ICC TIFF": (icc("TIFF"), RGB),
    "1x1": (png(RGB[:1, :1], 2), RGB[:1, :1]),
    "1 wide, 9000 high": (png(np.resize(RGB, (9000, 1, 3)), 2), np.resize(RGB, (9000, 1, 3))),
    "9000 wide, 1 high": (png(np.resize(RGB, (1, 9000, 3)), 2), np.resize(RGB, (1, 9000, 3))),
    **{f"PNG turned, {n}": (turned("PNG", n), UPRIGHT[n]) for n in UPRIGHT},
    **{f"TIFF turned, {n}": (turned("TIFF", n), UPRIGHT[n]) for n in UPRIGHT},
}


@pytest.mark.parametrize("name", ODD)
def test_d4_an_odd_picture_has_one_defined_result(tmp_path, name):
    """D4: golden pixels, 16 bits kept, alpha over white, orientation applied, profiles not."""
    data, expected = ODD[name]
    same(hold(tmp_path, data), np.ascontiguousarray(expected))


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "GIF"])
def test_d4_an_animation_is_refused_by_name(tmp_path, format):
    frames = [Image.fromarray(np.roll(RGB, n, axis=0)) for n in range(3)]
    (tmp_path / "a.png").write_bytes(saved(frames[0], format, save_all=True, append_images=frames[1:]))
    words = {"GIF": "convert it to PNG", "TIFF": "has 3 pages of 3 channels; save each"}
    refused(tmp_path / "a.png", words.get(format, "has 3 frames; split it"))


@pytest.mark.parametrize("shape", [(1, 1), (9000, 1), (1, 9000)])
def test_d4_the_thinnest_pictures_can_be_trained_on(shape):
    """D4: 1x1 and 1x9000 go through resizing and cropping as well; `short` would make 286 x 2,574,000 of them."""
    made = Augment(286, 256)(np.full((*shape, 3), 77, np.uint8), np.random.RandomState(0))
    assert made.shape == (256, 256, 3)
    assert (made == 77).all()


# ----------------------------------------------------------------------------------------------------------- D6, bombs

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
            print(error)
        else:
            raise SystemExit(f"{path} was read")
print(int((peak_gib(device("cpu")) - before) * 2**20))
"""


def big_png(side):
    packer = zlib.compressobj(9)
    start = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    row = packer.compress(bytes(3 * side + 1)) + packer.flush(zlib.Z_FULL_FLUSH)  # the same for each row
    body = start + row * side + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def long_gif(frames):
    """So many frames of 4096 x 4096, each of a few bytes: whoever decodes them all works on 167 gigapixels."""
    start = b"GIF89a" + struct.pack("<HHBBB", 4096, 4096, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return start + frame * frames + b";"


def test_d6_bombs_are_refused_from_the_header(tmp_path):
    """D6: 12,000 and 20,000 squared, and a GIF of 10,000 frames under two names: memory rises by less than 50 MB."""
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png", "c.gif")]
    for path, data in zip(paths, (big_png(12_000), big_png(20_000), *[long_gif(10_000)] * 2), strict=True):
        path.write_bytes(data)
    with Image.open(paths[2]) as animation:
        assert animation.n_frames == 10_000
    ran = subprocess.run([sys.executable, "-c", BOMB, *map(str, paths)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    *refusals, rise = ran.stdout.splitlines()
    for path, word, found in zip(paths, ("too large", "too large", "convert", "convert"), refusals[::2], strict=True):
        assert found.startswith(f"{path}: ")
        assert word in found
    assert refusals[::2] == refusals[1::2]
    assert int(rise) < 50_000  # KiB


def test_d6_a_tiff_just_below_our_limit_is_read_without_a_warning(tmp_path):
    """D6: Pillow warns of a lower limit; warnings are errors here."""
    (tmp_path / "a.tif").write_bytes(saved(Image.new("1", (9990, 9990), 1), "TIFF", compression="group4"))
    assert probe(tmp_path / "a.tif").width == 9990
    pixels = read(tmp_path / "a.tif")
    assert pixels.shape == (9990, 9990, 1)
    assert (pixels[::999] == 255).all()


# ---------------------------------------------------------------------------------------------- D7, damage of any kind


@pytest.mark.filterwarnings("ignore")  # of damaged metadata; as errors they would hide what follows
def test_d7_damaged_files_of_every_format_give_pixels_or_an_image_error(tmp_path):
    """D7: a few seconds of what `python tests/helpers/fuzz.py` does for as long as it is told; no file may take 2 s."""
    tried, found = fuzz(4, 0, tmp_path)
    assert not found
    assert min(tried.values()) > 5


def test_d7_what_is_not_an_image_error_is_found(tmp_path, monkeypatch):
    """D7: the search itself, on a reader that lets an OSError through now and then."""

    def leaky(path):
        if path.stat().st_size % 7 == 0:
            raise OSError("broken data stream")
        raise ImageError(f"{path}: is damaged; remove it")

    monkeypatch.setattr("fuzz.read", leaky)
    _, found = fuzz(1, 0, tmp_path)
    assert set(found.values()) == {"raises OSError: broken data stream"}
