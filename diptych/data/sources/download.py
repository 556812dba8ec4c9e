"""Download published data sets, verify them, and arrange them for training.

    diptych data get facades -o data      creates data/facades

Files that are already in the folder are used instead of a download.
"""

from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path

from diptych.data.sources.published import Progress, PublishedDataset
from diptych.data.sources.published_archives import ARCHIVES
from diptych.data.sources.torchvision_sets import TORCHVISION_SETS
from diptych.errors import DataError, nearest
from diptych.system.atomic_files import make_folder

DATASETS: Mapping[str, PublishedDataset] = {**TORCHVISION_SETS, **ARCHIVES}


def find_dataset(name: str) -> PublishedDataset:
    """Return a data set by name. Raises DataError with the nearest name."""
    if name not in DATASETS:
        raise DataError(f"no data set is called {name!r}{nearest(name, DATASETS)}; there are {', '.join(DATASETS)}")
    return DATASETS[name]


def download(name: str, folder: Path, archive: Path | None = None, progress: Progress | None = None) -> Path:
    """Prepare a data set and return its path for `--data`. Raises DataError with instructions.

    `archive` is a file fetched by hand, which is used instead of a download.
    """
    dataset = find_dataset(name)
    try:
        make_folder(folder)
        return dataset.prepare(name, folder, archive, progress)
    except (OSError, RuntimeError, HTTPException, ImportError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{name}: the download failed ({reason}); download it from {dataset.url}, put {dataset.files} into "
            f"{folder}, and repeat this command"
        ) from error
