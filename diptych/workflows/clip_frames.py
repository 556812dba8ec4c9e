"""Frames of clips as image files: a domain folder for training."""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from diptych.data.images import image_io
from diptych.errors import ConfigError, DataError, ImageError
from diptych.inference.video_clips import ClipOptions, Frame, open_clip
from diptych.inference.video_translation import Progress
from diptych.workflows.face_crops import FaceCrop

THUMBNAIL = 16  # rows and columns of the grey images that are compared
NEAR_IDENTICAL = 2.0  # mean difference of two of them, in levels of 0 to 255, below which frames are alike


class FrameCounts(NamedTuple):
    """Numbers of frames: written, left out as near-identical to the one before, and left out without a face."""

    written: int
    dropped: int
    faceless: int = 0


class Crop(NamedTuple):
    """A rectangle in pixels of the upright frame."""

    left: int
    top: int
    width: int
    height: int

    def cut(self, pixels: np.ndarray, clip: Path) -> np.ndarray:
        """Return the part of a frame (H, W, C). Raises ImageError if it is not inside."""
        if self.left + self.width > pixels.shape[1] or self.top + self.height > pixels.shape[0]:
            x, y, width, height = self
            raise ImageError(
                f"{clip}: --crop {x},{y},{width},{height} is not inside its frames of "
                f"{pixels.shape[1]}x{pixels.shape[0]} pixels"
            )
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]


def parse_crop(text: str) -> Crop:
    """Return `x,y,width,height` as a rectangle. Raises ConfigError."""
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() for part in parts) or not int(parts[2]) * int(parts[3]):
        raise ConfigError(f"--crop {text}: expected x,y,width,height in pixels, such as 320,40,256,256")
    return Crop(*map(int, parts))


def extract_frames(
    clips: Sequence[Path],
    out: Path,
    fps: float | None = 2.0,
    crop: Crop | FaceCrop | None = None,
    options: ClipOptions | None = None,
    progress: Progress | None = None,
) -> FrameCounts:
    """Write frames of clips to a folder as CLIP_000123.png, by the number of the frame in its clip.

    `fps` frames a second are taken, and of these the ones that are near-identical to the last written one are left
    out; without `fps` all frames are written. `crop` is a part of all frames, or the face of each; frames without one
    are left out. Raises ImageError; DataError for names that are used already.
    """
    _check_names(clips, out)
    written = dropped = faceless = 0
    for clip in clips:
        last: np.ndarray | None = None
        due = None
        with open_clip(clip, options or ClipOptions()) as reader:
            frames = (item for item in reader.items() if isinstance(item, Frame))
            for number, frame in enumerate(frames):
                if progress:
                    progress(number + 1, max(number + 1, reader.format.frames or 0))
                time = float(frame.pts * reader.format.time_base)
                due = time if due is None else due
                if fps and time < due - 1e-6:
                    continue
                if fps:
                    due += max(1, np.ceil((time - due + 1e-6) * fps)) / fps
                pixels = crop.cut(frame.pixels, clip) if crop else frame.pixels
                if pixels is None:
                    faceless += 1
                    continue
                small = thumbnail(pixels)
                if fps and last is not None and abs(small - last).mean() < NEAR_IDENTICAL:
                    dropped += 1
                    continue
                last = small
                image_io.write(out / f"{clip.stem}_{number:06}.png", np.ascontiguousarray(pixels))
                written += 1
            if damaged := reader.damaged():
                raise ImageError(f"{clip}: {len(damaged)} frames cannot be decoded; the others are in {out}")
    return FrameCounts(written, dropped, faceless)


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Return a grey image float64 (THUMBNAIL, THUMBNAIL) of a frame, in levels of 0 to 255."""
    image = Image.fromarray(pixels).convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return np.asarray(image, np.float64)


def _check_names(clips: Sequence[Path], out: Path) -> None:
    """Raise DataError for two clips of one name, or frames of such a clip that are in the folder already."""
    stems = [clip.stem for clip in clips]
    for clip in clips:
        if stems.count(clip.stem) > 1:
            raise DataError(f"two clips have the name {clip.stem}: write their frames to two folders, or rename one")
        if next(out.glob(f"{glob.escape(clip.stem)}_[0-9]*.png"), None):
            raise DataError(f"{out} has frames of {clip.stem} already: remove them, or choose another folder")
