"""GIF and animated WebP, by Pillow. Translated frames are kept in memory until the file is written."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from diptych.data.images.image_io import MAX_PIXELS
from diptych.errors import ConfigError, ImageError, printable
from diptych.inference.video_clips import ClipFormat, ClipOptions, ClipReader, Colours, Frame, Item

MILLISECOND = Fraction(1, 1000)
GIF_STEP = 10  # milliseconds, the unit of durations in GIF files
UNTIMED = 100  # milliseconds of a frame whose duration is 0, as browsers show it
MAX_ANIMATION_PIXELS = 2**30  # of all translated frames: 3 GiB
SRGB = Colours(matrix=1, range=1, transfer=1, primaries=1)  # a video of it is written as BT.709
READ_ERRORS = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)


@contextmanager
def open_animation(path: Path, options: ClipOptions) -> Iterator["AnimationReader"]:
    """Yield the reader of a GIF or WebP file. Raises ImageError for a file that is none."""
    try:
        image = Image.open(path)
    except (*READ_ERRORS, UnidentifiedImageError) as error:
        raise ImageError(f"{path}: not a GIF or WebP file that can be read ({printable(str(error))})") from error
    with image:
        yield AnimationReader(path, image, options)


class AnimationReader:
    """The frames of an animation within a range of time; transparent pixels are white."""

    copied: tuple[()] = ()

    def __init__(self, path: Path, image: Image.Image, options: ClipOptions) -> None:
        if not 0 < image.width * image.height <= MAX_PIXELS:
            raise ImageError(f"{path}: has frames of {image.width}x{image.height} pixels")
        self.path, self.image, self.options = path, image, options
        count = getattr(image, "n_frames", 1)
        rate = Fraction(1000, int(image.info.get("duration") or UNTIMED))
        loop = int(image.info.get("loop", 1))
        self.format = ClipFormat(MILLISECOND, rate, count, colours=SRGB, loop=loop)

    def items(self) -> Iterator[Item]:
        """Yield the frames. Raises ImageError."""
        time, first = 0, None
        start, end = self.options.start or 0, self.options.end
        for number in range(self.format.frames or 1):
            try:
                self.image.seek(number)
                picture = self.image.convert("RGBA")
            except READ_ERRORS as error:
                problem = f"frame {number + 1} of {self.format.frames} cannot be decoded ({printable(str(error))})"
                raise ImageError(f"{self.path}: {problem}; with --to the frames before it are translated") from error
            duration = int(self.image.info.get("duration") or UNTIMED)
            if time >= start * 1000 and (end is None or time < end * 1000):
                first = time if first is None else first
                white = Image.new("RGBA", picture.size, "white")
                yield Frame(np.asarray(Image.alpha_composite(white, picture).convert("RGB")), time - first, duration)
            time += duration
        if first is None:
            raise ImageError(f"{self.path}: has no frame in this range of time; it lasts {time / 1000:g} seconds")

    def damaged(self) -> list[float]:
        """Return no times: a frame that cannot be decoded is an error, as later frames depend on it."""
        return []


class AnimationWriter:
    """Writes a GIF or an animated WebP file. Raises ConfigError for options that it does not have."""

    def __init__(self, path: Path, name: Path, reader: ClipReader, options: ClipOptions) -> None:
        for option, value in (("codec", options.codec), ("crf", options.crf)):
            if value is not None:
                raise ConfigError(f"{option}: {name.suffix} files have none: leave it out")
        self.path, self.name, self.format = path, name, reader.format
        self.frames: list[Image.Image] = []
        self.times: list[Fraction] = []
        self.last = 0

    def write(self, item: Item) -> None:
        """Keep a frame; sound and subtitles are left out. Raises ImageError for too many frames."""
        if not isinstance(item, Frame):
            return
        self.frames.append(Image.fromarray(item.pixels))
        self.times.append(item.pts * self.format.time_base)
        self.last = item.duration
        if item.pixels.shape[0] * item.pixels.shape[1] * len(self.frames) > MAX_ANIMATION_PIXELS:
            raise ImageError(f"{self.name}: too large for an animation: write a video, such as -o OUT.mp4, or use --to")

    def close(self) -> None:
        """Write the file. Raises ImageError."""
        suffix = self.name.suffix.lower()
        step = GIF_STEP if suffix == ".gif" else 1
        end = self.times[-1] + (self.last * self.format.time_base or Fraction(UNTIMED, 1000))
        ticks = [round(time * 1000 / step) for time in [*self.times, end]]
        durations = [step * max(1, after - before) for before, after in pairwise(ticks)]
        loop = {} if self.format.loop == 1 and suffix == ".gif" else {"loop": self.format.loop}
        quality = {} if suffix == ".gif" else {"quality": 90}
        first, *others = self.frames
        try:
            first.save(
                self.path, suffix[1:], save_all=True, append_images=others, duration=durations, **loop, **quality
            )
        except (OSError, ValueError) as error:
            raise ImageError(f"{self.name}: cannot be written ({printable(str(error))})") from error

    def abort(self) -> None:
        """Forget the frames."""
        self.frames.clear()
