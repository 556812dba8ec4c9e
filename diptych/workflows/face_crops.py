"""The largest face of each frame as a square, found by a YuNet detector (Wu et al. 2023), whose file the user gives.

OpenCV ships no detector since version 5. The file is `face_detection_yunet_2026may.onnx` of OpenCV's model zoo (MIT
licence, 233 kB).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from diptych.errors import ConfigError, ImageError

SEARCH_SIDE = 640  # pixels of the longer side in which faces are searched; YuNet finds faces of 10 to 300 pixels
MIN_SCORE = 0.8
MARGIN = 1.5  # side of the square, in longer sides of the face's box
MAX_BYTES = 64 * 2**20  # of a detector
DETECTOR = "face_detection_yunet_2026may.onnx from huggingface.co/opencv/face_detection_yunet"


class FaceCrop:
    """Cuts the square around the largest face of a frame. `detector` is the ONNX file of a YuNet."""

    def __init__(self, detector: Path) -> None:
        """Raises ConfigError for a file that is no detector, and if the extra `video` is missing."""
        cv2 = _opencv()
        if not detector.is_file():
            raise ConfigError(f"--crop-face {detector}: no such file; give {DETECTOR}")
        if detector.stat().st_size > MAX_BYTES:
            raise ConfigError(f"--crop-face {detector}: more than {MAX_BYTES >> 20} MiB; give {DETECTOR}")
        self.file = detector
        try:
            self.network: Any = cv2.FaceDetectorYN.create(str(detector), "", (32, 32), MIN_SCORE)
        except cv2.error as error:
            raise ConfigError(f"--crop-face {detector}: not a YuNet detector; give {DETECTOR}") from error

    def cut(self, pixels: np.ndarray, clip: Path) -> np.ndarray | None:
        """Return the square (S, S, 3) around the largest face of a frame (H, W, 3); None without one. ImageError."""
        height, width = pixels.shape[:2]
        scale = min(1.0, SEARCH_SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        found = self._detect(np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)), clip)
        faces = [face[:4] / scale for face in found if np.isfinite(face[:4]).all()]
        if not faces:
            return None
        top, left, side = face_square(max(faces, key=lambda face: face[2] * face[3]), height, width)
        return pixels[top : top + side, left : left + side]

    def _detect(self, pixels: np.ndarray, clip: Path) -> np.ndarray:
        """Return faces as rows of x, y, width, height, landmarks and score."""
        cv2 = _opencv()
        self.network.setInputSize(pixels.shape[1::-1])
        try:
            _, faces = self.network.detect(np.ascontiguousarray(pixels[..., ::-1]))
        except cv2.error as error:
            raise ImageError(
                f"{clip}: {self.file} does not take frames of {pixels.shape[1]}x{pixels.shape[0]} pixels, or is not a "
                f"YuNet detector; give {DETECTOR}"
            ) from error
        return np.empty((0, 15)) if faces is None else np.asarray(faces)


def face_square(box: Sequence[float], height: int, width: int) -> tuple[int, int, int]:
    """Return top, left and side of a square around a box (x, y, width, height) with a margin, inside of the frame."""
    x, y, across, down = (float(value) for value in box)
    side = max(1, min(round(MARGIN * max(across, down)), height, width))
    top, left = (round(start + length / 2 - side / 2) for start, length in ((y, down), (x, across)))
    return min(max(top, 0), height - side), min(max(left, 0), width - side), side


def _opencv() -> Any:
    """Return OpenCV. Raises ConfigError with the command that installs it."""
    try:
        import cv2
    except ImportError as error:
        raise ConfigError("--crop-face needs OpenCV: pip install 'diptych[video]'") from error
    return cv2
