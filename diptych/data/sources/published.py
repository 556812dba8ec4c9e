"""What is known of a published data set: its licence, where it is, and how it is prepared for training."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Progress = Callable[[int, int], None]  # bytes done, bytes in total


@dataclass(frozen=True)
class PublishedDataset(ABC):
    """A published data set. `licence` are the terms of its publisher.

    is_free: the terms allow commercial use. False also if no terms are stated.
    files: what to put into the folder if the download fails, fetched from `url`.
    """

    title: str
    licence: str
    files: str
    url: str
    is_free: bool = False

    @abstractmethod
    def prepare(self, name: str, folder: Path, archive: Path | None, progress: Progress | None) -> Path:
        """Download what is missing in `folder`, and return the path for `--data`.

        `archive` is used instead of a download. Raises OSError, RuntimeError, HTTPException, ImportError, DataError.
        """

    def facts(self) -> dict[str, str]:
        """Return what to show before the download, by title."""
        return {"licence": self.licence, "from": self.url}
