"""Clips: their frames with timestamps, and the choice of reader and writer by the name of the file.

Video files are read and written by PyAV (`video_reader`, `video_writer`), GIF and animated WebP by Pillow
(`video_animations`). PyAV is the extra `video`.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from diptych.errors import ConfigError, ImageError

Item = Any  # a Frame, or a packet of PyAV (`av.Packet`) of another stream, which is copied
VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
ANIMATIONS = (".gif", ".webp")
MAX_DAMAGED = 20  # frames listed in an error


@dataclass(frozen=True)
class Frame:
    """A frame: pixels uint8 (H, W, 3), and its presentation timestamp and duration in units of the time base."""

    pixels: np.ndarray
    pts: int
    duration: int


@dataclass(frozen=True)
class Colours:
    """How a video file stores colours, by the numbers of ITU-T H.273. `range` is 1: limited, 2: full, 0: unknown."""

    matrix: int = 2  # unknown
    range: int = 0
    transfer: int = 2
    primaries: int = 2


@dataclass(frozen=True)
class ClipFormat:
    """The format of a clip. `frames` is the number of frames, None if the file does not say it."""

    time_base: Fraction  # seconds
    rate: Fraction | None = None  # mean number of frames a second
    frames: int | None = None
    pixel_aspect: Fraction = Fraction(1)  # width by height of a pixel
    colours: Colours = Colours()
    loop: int = 0  # repetitions of an animation; 0: without end


class ClipReader(Protocol):
    """Reads a clip. `copied` are its audio and subtitle streams, whose packets `items` yields between the frames."""

    format: ClipFormat
    copied: tuple[Any, ...]

    def items(self) -> Iterator[Item]:
        """Yield the frames in the order of presentation. Raises ImageError."""

    def damaged(self) -> list[float]:
        """Return the times, in seconds, of frames that could not be decoded. They are not in `items`."""


class ClipWriter(Protocol):
    """Writes a clip. The size of the first frame is that of the clip."""

    def write(self, item: Item) -> None:
        """Write a frame, or copy a packet. Raises ImageError."""

    def close(self) -> None:
        """Complete the file. Raises ImageError."""

    def abort(self) -> None:
        """Release the file, which is not complete."""


@dataclass(frozen=True)
class ClipOptions:
    """How clips are read and written. `start` and `end` are seconds; the clip begins at 0 if there is a `start`.

    `codec` is the name of an encoder of FFmpeg, `crf` its constant rate factor: lower is better and larger.
    """

    start: float | None = None
    end: float | None = None
    codec: str | None = None
    crf: int | None = None

    def __post_init__(self) -> None:
        if self.start is not None and self.start < 0:
            raise ConfigError(f"from={self.start:g}: expected a time of at least 0 seconds")
        if self.end is not None and self.end <= (self.start or 0):
            raise ConfigError(f"to={self.end:g}: expected a time after the start, {self.start or 0:g} seconds")
        if self.crf is not None and not 0 <= self.crf <= 63:
            raise ConfigError(f"crf={self.crf}: expected 0 (lossless or best) to 63; 18 is nearly without visible loss")


WHOLE_CLIP = ClipOptions()


def is_clip(path: Path) -> bool:
    """Return whether a file is a clip: by its name, or of a .webp file by whether it has several frames."""
    suffix = path.suffix.lower()
    if suffix != ".webp":
        return suffix in VIDEOS or suffix in ANIMATIONS
    try:
        with Image.open(path) as image:
            return getattr(image, "n_frames", 1) > 1
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        return False  # reading it as an image raises the error


def open_clip(path: Path, options: ClipOptions = WHOLE_CLIP) -> AbstractContextManager[ClipReader]:
    """Return a context with the reader of a clip. Raises ImageError for a file that is no clip, or lacks the extra."""
    if path.suffix.lower() in ANIMATIONS:
        from diptych.inference.video_animations import open_animation

        return open_animation(path, options)
    from diptych.inference.video_reader import open_video

    return open_video(path, options)


def create_clip(path: Path, name: Path, reader: ClipReader, options: ClipOptions) -> ClipWriter:
    """Return a writer to `path`; `name` is the file in errors. Raises ImageError or ConfigError."""
    if name.suffix.lower() in ANIMATIONS:
        from diptych.inference.video_animations import AnimationWriter

        return AnimationWriter(path, name, reader, options)
    from diptych.inference.video_writer import VideoWriter

    return VideoWriter(path, name, reader, options)


@contextmanager
def video_extra(path: Path) -> Iterator[None]:
    """Convert a failed import in the block to an ImageError with the command that installs the extra."""
    try:
        yield
    except ImportError as error:
        library = (error.name or "PyAV").partition(".")[0]
        raise ImageError(f"{path}: videos need {library}: pip install 'diptych[video]'") from error


def seconds_of(text: str) -> float:
    """Return a time such as 90, 1:30 or 0:01:30.5 in seconds. Raises ConfigError."""
    parts = text.strip().split(":")
    try:
        numbers = [float(part) for part in parts]
        is_valid = len(parts) <= 3 and all(0 <= number < 60 for number in numbers[1:]) and 0 <= numbers[0] < 1e7
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ConfigError(f"{text!r} is not a time: give seconds, such as 90, or hh:mm:ss, such as 0:01:30")
    return sum(number * 60**power for power, number in enumerate(reversed(numbers)))


def time_text(seconds: float) -> str:
    """Return seconds as h:mm:ss.mmm."""
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60}:{minutes % 60:02}:{milliseconds / 1000:06.3f}"
