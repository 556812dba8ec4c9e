"""Pictures of every kind, made by hand so that their pixels are known beforehand."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from diptych.data.images.image_io import Header, probe, read
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


def pnm(pixels, white=None, header="{kind}\n{width} {height}\n{white}\n") -> bytes:
    """A binary PNM by hand, of samples (H, W, 1) or (H, W, 3), of 16 bits where white is above 255."""
    height, width, channels = pixels.shape
    white = white or np.iinfo(pixels.dtype).max
    kind = "P5" if channels == 1 else "P6"
    samples = pixels.astype(">u2" if white > 255 else "u1").tobytes()
    return header.format(kind=kind, width=width, height=height, white=white).encode() + samples


def saved(picture: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def over_white(samples):
    top = np.iinfo(samples.dtype).max
    colour, alpha = samples[..., :-1].astype(float), samples[..., -1:] / top
    return np.floor(colour * alpha + top * (1 - alpha) + 0.5).astype(samples.dtype)


def hold(folder: Path, data: bytes, name: str = "a.png"):
    """The pixels of a file of `data` in `folder`, once `probe` agrees with `read` on it."""
    path = folder / name
    path.write_bytes(data)
    pixels = read(path)
    assert probe(path) == Header(*pixels.shape, pixels.dtype.name)
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous
    assert pixels.dtype.isnative
    return pixels


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


def shaped(channels, dtype):
    samples = RNG.random((5, 8, channels))
    return samples.astype(np.float32) if dtype == "float32" else (samples * np.iinfo(dtype).max).astype(dtype)
