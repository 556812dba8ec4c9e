"""Temporal consistency of translated frames: warping error of Lai et al. 2018 (arXiv 1808.00449).

The second of two successive frames is warped to the first along the optical flow between the source frames. The error
is the mean squared difference of values in [0, 1], over pixels that are visible in both frames. The flow is that of
OpenCV's DIS (Kroeger et al. 2016); a pixel is occluded where forward and backward flow do not agree (Ruder et al. 2016,
equation 5). Source and translation use the same flow and the same pixels.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.images import image_io
from diptych.errors import EvaluationError
from diptych.evaluation.metrics.intervals import Score, score_per_image
from diptych.evaluation.samples import Samples
from diptych.evaluation.tools import Tools

FRAME_NAME = re.compile(r"(.*?)(\d+)$")


def warping_scores(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield the warping error of translations and of their sources, over all pairs of successive frames.

    Raises EvaluationError without successive frames, sources or the extra `video`.
    """
    sources, fakes = samples.files("source"), samples.files("fake")
    frames = [row.of or Path(row.source or "").name for row in samples.rows]
    pairs = successive(frames)
    if not pairs:
        raise EvaluationError(
            f"{samples.folder}: no two images are successive frames, with names such as clip_000012.png and "
            f"clip_000013.png: extract them with `diptych data frames CLIP -o FOLDER --all-frames`"
        )
    errors = np.array([_errors(sources[a], sources[b], fakes[a], fakes[b]) for a, b in pairs])
    for name in names:
        yield score_per_image(name, errors[:, 0 if name == "warping-error" else 1])
    tools.note(f"{len(pairs)} pairs of successive frames; optical flow of the source by OpenCV DIS")


def successive(names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the indices of names that end with successive numbers and are equal before them."""
    index_of: dict[tuple[str, int], int] = {}
    for index, name in enumerate(names):
        if match := FRAME_NAME.match(Path(name).with_suffix("").as_posix()):
            index_of.setdefault((match[1], int(match[2])), index)
    following = ((index, index_of.get((clip, number + 1))) for (clip, number), index in index_of.items())
    return [(index, other) for index, other in following if other is not None]


def _errors(source: Path, next_source: Path, fake: Path, next_fake: Path) -> tuple[float, float]:
    """Return the warping errors of the translations and of the sources of two successive frames."""
    fakes = [image_io.read(file) for file in (fake, next_fake)]
    height, width = fakes[0].shape[:2]
    if fakes[1].shape != fakes[0].shape:
        raise EvaluationError(f"{fake} and {next_fake} differ in size: frames of a clip have one size")
    frames = [_source(file, height, width) for file in (source, next_source)]
    motion, is_visible = visible_flow(*map(_bytes, frames))
    of_fakes, of_sources = (warping_error(first, second, motion, is_visible) for first, second in (fakes, frames))
    return of_fakes, of_sources


def _source(file: Path, height: int, width: int) -> np.ndarray:
    """Return a source frame (height, width, 3), resized to the size of the translation."""
    return image_io.resize(image_io.with_channels(image_io.read(file), 3, str(file)), height, width)


def visible_flow(frame: np.ndarray, following: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the optical flow (H, W, 2), x before y, between frames uint8 (H, W, 3), and which pixels stay visible."""
    cv2 = _opencv()
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (frame, following)]
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    forward, backward = dis.calc(grey[0], grey[1], None), dis.calc(grey[1], grey[0], None)
    back = _sampled(backward, forward)
    distance = np.square(forward + back).sum(2)
    length = np.square(forward).sum(2) + np.square(back).sum(2)
    rows, columns = np.indices(frame.shape[:2], np.float32)
    x, y = columns + forward[..., 0], rows + forward[..., 1]
    is_inside = (x >= 0) & (x <= frame.shape[1] - 1) & (y >= 0) & (y <= frame.shape[0] - 1)
    return forward, is_inside & (distance <= 0.01 * length + 0.5)


def warping_error(frame: np.ndarray, following: np.ndarray, flow: np.ndarray, is_visible: np.ndarray) -> float:
    """Return the mean squared difference, in [0, 1], of a frame and the following one, warped; 0 if none is visible."""
    if not is_visible.any():
        return 0.0
    first, second = (image_io.to_unit(image) / 2 for image in (frame, following))
    return float(np.square(first - _sampled(second, flow))[is_visible].mean())


def _sampled(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return the image (H, W, C) at the places that the flow leads to, by linear interpolation."""
    cv2 = _opencv()
    rows, columns = np.indices(image.shape[:2], np.float32)
    values = np.ascontiguousarray(image, np.float32)
    moved = cv2.remap(values, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR)
    return np.asarray(moved).reshape(image.shape)


def _bytes(image: np.ndarray) -> np.ndarray:
    return image_io.from_unit(image_io.to_unit(image), np.dtype(np.uint8))


def _opencv() -> Any:
    """Return OpenCV. Raises EvaluationError with the command that installs it."""
    try:
        import cv2
    except ImportError as error:
        raise EvaluationError("protocol video needs OpenCV: pip install 'diptych[video]'") from error
    return cv2
