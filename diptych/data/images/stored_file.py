"""Image files, and image files in other files, opened with errors that name the file; the bound of their pixels."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from diptych.data.images.stored_values import InvalidImageError
from diptych.errors import ImageError

MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class StoredFile:
    """An image file that is part of another file, such as a member of a tar file. `label` names both in errors."""

    label: str
    data: bytes

    def __fspath__(self) -> str:
        return self.label

    def __str__(self) -> str:
        return self.label


@contextmanager
def image_errors(path: Path | str | StoredFile, problem: str, remedy: str) -> Iterator[None]:
    """Convert any exception in the block to an `ImageError` that names `path`."""
    try:
        yield
    except InvalidImageError as error:
        raise ImageError(f"{path}: {error}") from error
    except MemoryError as error:
        raise ImageError(f"{path}: does not fit into memory; scale it down or cut it into pieces") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, zlib.error, KeyError and more
        raise ImageError(f"{path}: {problem} ({error or type(error).__name__}); {remedy}") from error


@contextmanager
def open_file(path: Path | str | StoredFile) -> Iterator[BinaryIO]:
    """Open a file for reading. Any exception in the block is raised as an ImageError that names the file."""
    with image_errors(
        path, "is damaged, cut short, too large or of unknown kind", "export it again as PNG, or remove it"
    ):
        if isinstance(path, StoredFile):
            yield BytesIO(path.data)
            return
        if not os.path.isfile(path):
            problem = "is a folder, not an image" if os.path.isdir(path) else "there is no such file"
            raise InvalidImageError(f"{problem}; check the path")
        with open(path, "rb") as file:
            yield file


class TooManyPixelsError(InvalidImageError):
    """An image with more pixels than are read."""


def check_size(count: int, limit: int) -> None:
    """Raise TooManyPixelsError for more than `limit` pixels."""
    if count > limit:
        raise TooManyPixelsError(
            f"is too large ({count:,}, the limit is {limit:,}); scale it down or cut it into pieces"
        )


def is_npy(path: Path | str | StoredFile) -> bool:
    """Return whether a file is a NumPy array, by its name."""
    return os.fspath(path)[-4:].lower() == ".npy"


def remaining_bytes(file: BinaryIO) -> int:
    """Return the number of bytes from the position of `file` to its end."""
    position = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(position)
    return end - position


def read_values(file: BinaryIO, dtype: np.dtype[Any], count: int) -> np.ndarray:
    """Return an array (count,) of the next values of `file`, which has them."""
    values = np.empty(count, dtype)
    file.readinto(values.view(np.uint8))  # type: ignore[attr-defined]  # `BinaryIO` lacks it, no file that is read does
    return values
