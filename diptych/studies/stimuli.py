"""Images of a study, encoded so that nothing but their pixels tells methods apart.

All images are 8-bit RGB PNG without metadata, by one encoder, padded to one length in bytes; their names on disk
are hashes. The browser gets them under names of the session.
"""

import hashlib
import io
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from diptych.data.images import image_io
from diptych.data.images.lab import lab_of, rgb_of
from diptych.errors import ConfigError, listed
from diptych.studies.design import REAL, Obvious
from diptych.studies.trials import OBVIOUS, Stimuli

MAX_IMAGES = 100_000
MAX_SIDE = 4096
MIN_CHANGE = 2  # levels of 255, in the mean, by which random colours change an image
INPUT, REFERENCE = "input", "reference"  # arms that are shown beside a trial, never chosen
RESERVED = (REAL, OBVIOUS, INPUT, REFERENCE)
END = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
PAD = b"paDd"  # an ancillary, private chunk that may be copied: decoders ignore it


class StimulusTable(BaseModel):
    """`stimuli.json`: the file of each image by arm and name, and the order of arms in the design."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    methods: tuple[str, ...] = Field(max_length=100)
    images: tuple[str, ...] = Field(max_length=MAX_IMAGES)
    files: dict[str, dict[str, str]]  # arm -> name of the image -> file name

    def stimuli(self) -> Stimuli:
        return Stimuli(self.methods, self.images, REAL in self.files)


def encode_stimuli(
    arms: Mapping[str, Mapping[str, Path]], folder: Path, obvious: Obvious = "scrambled"
) -> StimulusTable:
    """Write the images that all arms have into `folder`, and return their table.

    arms: path of each image by arm and name: methods, and `real`, `input`, `reference` where the study has them.
    Images of a name are of one size, except inputs and references. obvious: how the images of attention checks are made
    from real ones, or from those of the first method. ConfigError, ImageError.
    """
    methods = tuple(name for name in arms if name not in RESERVED)
    if not methods:
        raise ConfigError("a study needs the images of at least one method")
    names = sorted(set.intersection(*(set(files) for files in arms.values())))
    if not names:
        counts = ", ".join(f"{name} {len(files)}" for name, files in arms.items())
        raise ConfigError(f"no image name is in all folders of the study ({counts}): images are matched by name")
    if len(names) > MAX_IMAGES:
        raise ConfigError(f"{len(names)} images: a study has at most {MAX_IMAGES}")
    encoded: dict[str, dict[str, bytes]] = {name: {} for name in [*arms, OBVIOUS]}
    good = REAL if REAL in arms else methods[0]
    for at, name in enumerate(names):
        pixels = {arm: _pixels(files[name]) for arm, files in arms.items()}
        _check_sizes(name, {arm: image for arm, image in pixels.items() if arm not in (INPUT, REFERENCE)})
        if obvious == "random_colours":
            other = names[(at + len(names) // 2) % len(names)]
            pixels[OBVIOUS] = _with_colours_of(_pixels(arms[good][other]), pixels[good], name)
        else:
            pixels[OBVIOUS] = _scrambled(pixels[good])
        for arm, image in pixels.items():
            encoded[arm][name] = _png(image)
    length = max(len(data) for files in encoded.values() for data in files.values()) + 12
    table: dict[str, dict[str, str]] = {}
    for arm, files in encoded.items():
        table[arm] = {}
        for name, data in files.items():
            content = padded(data, length)
            table[arm][name] = f"{hashlib.sha256(content).hexdigest()[:32]}.png"
            (folder / table[arm][name]).write_bytes(content)
    return StimulusTable(methods=methods, images=tuple(names), files=table)


def _pixels(path: Path) -> np.ndarray:
    """Return the pixels (H, W, 3) of a file as 8-bit RGB. Raises ImageError or ConfigError."""
    pixels = image_io.read(path)
    height, width = pixels.shape[:2]
    if max(height, width) > MAX_SIDE:
        raise ConfigError(f"{path}: {width}x{height} pixels; a study shows images of at most {MAX_SIDE} pixels")
    unit = image_io.to_unit(image_io.with_channels(pixels, 3, str(path)))
    return np.rint((unit + 1) * 127.5).clip(0, 255).astype(np.uint8)


def _check_sizes(name: str, images: Mapping[str, np.ndarray]) -> None:
    sizes = {arm: f"{image.shape[1]}x{image.shape[0]}" for arm, image in images.items()}
    if len(set(sizes.values())) > 1:
        text = listed([f"{arm} {size}" for arm, size in sizes.items()], 5)
        raise ConfigError(f"{name}: its images differ in size ({text}), which would tell methods apart: resize them")


def _with_colours_of(other: np.ndarray, pixels: np.ndarray, name: str) -> np.ndarray:
    """Return an image with the colours of another. ConfigError if nobody could tell it from the image."""
    resized = Image.fromarray(other).resize((pixels.shape[1], pixels.shape[0]), Image.Resampling.BILINEAR)
    lightness, colours = (lab_of(np.asarray(image) / 255) for image in (pixels, resized))
    result = np.rint(255 * rgb_of(np.concatenate([lightness[..., :1], colours[..., 1:]], -1))).astype(np.uint8)
    if np.abs(result.astype(int) - pixels).mean() < MIN_CHANGE:
        raise ConfigError(f"{name}: with the colours of another image it looks the same; use obvious=scrambled")
    return result


def _scrambled(pixels: np.ndarray) -> np.ndarray:
    """Return an image that anyone sees to be wrong: its 8 x 8 blocks in random order, with colours inverted."""
    height, width = pixels.shape[:2]
    side = max(1, min(height, width) // 8)
    rows, columns = height // side, width // side
    whole = 255 - pixels[: rows * side, : columns * side]
    blocks = whole.reshape(rows, side, columns, side, 3).transpose(0, 2, 1, 3, 4).reshape(-1, side, side, 3)
    blocks = blocks[np.random.RandomState(len(blocks)).permutation(len(blocks))]
    result = pixels.copy()
    result[: rows * side, : columns * side] = (
        blocks.reshape(rows, columns, side, side, 3).transpose(0, 2, 1, 3, 4).reshape(whole.shape)
    )
    return result


def _png(pixels: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def padded(data: bytes, length: int) -> bytes:
    """Return a PNG file of `length` bytes with the same pixels: a chunk that decoders ignore fills it up.

    The file must be at least 12 bytes shorter.
    """
    content = bytes(length - len(data) - 12)
    chunk = struct.pack(">I", len(content)) + PAD + content + struct.pack(">I", zlib.crc32(PAD + content))
    return data.removesuffix(END) + chunk + END
