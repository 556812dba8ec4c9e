"""OpenCV, which some tasks need: of the extra `tasks`, imported when the first image is computed."""

from types import ModuleType

from diptych.errors import DataError


def open_cv(task: str) -> ModuleType:
    """Return OpenCV with one thread, as images are computed in processes. Raises DataError if it is not installed."""
    try:
        import cv2
    except ImportError as error:
        raise DataError(f"task={task} needs OpenCV: pip install 'diptych[tasks]'") from error
    cv2.setNumThreads(1)
    return cv2
