"""Download published data sets by torchvision, verify their checksums, and convert them to a supported layout.

    diptych data get mnist -o data      creates data/mnist.npz

Files that are already in the folder are used instead of a download.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from diptych.errors import DataError, nearest
from diptych.system.atomic_files import atomic_write, download_timeout, make_folder

EXTRA = "pip install 'diptych[data]'"


@dataclass(frozen=True)
class PublishedDataset:
    """A published data set: how to prepare it in a folder, and where to download it manually."""

    title: str
    download: Callable[[Any, Path], Path]  # (torchvision.datasets, folder) to the path for `--data`
    files: str  # files to put into the folder manually
    url: str


def download(name: str, folder: Path) -> Path:
    """Prepare a data set and return its path for `--data`. Raises DataError with instructions."""
    if name not in DATASETS:
        raise DataError(f"no data set is called {name!r}{nearest(name, DATASETS)}; there are {', '.join(DATASETS)}")
    dataset = DATASETS[name]
    try:
        from torchvision import datasets

        make_folder(folder)
        with download_timeout():
            return dataset.download(datasets, folder)
    except (OSError, RuntimeError, HTTPException, ImportError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{name}: the download failed ({reason}); download it from {dataset.url}, put {dataset.files} into "
            f"{folder}, and repeat this command"
        ) from error


def _mnist(datasets: Any, folder: Path) -> Path:
    """Prepare MNIST as one file of arrays."""
    parts = {}
    for part in ("train", "test"):
        dataset = datasets.MNIST(folder, train=part == "train", download=True)
        parts[part] = dataset.data.numpy(), dataset.targets.numpy()
    return _save_arrays(folder / "mnist.npz", parts)


def _svhn(datasets: Any, folder: Path) -> Path:
    """Prepare SVHN as one file of arrays. The published label 10 is the digit 0, which torchvision corrects."""
    parts = {}
    for part in ("train", "test"):
        try:
            dataset = datasets.SVHN(folder, split=part, download=True)
        except ImportError as error:
            raise ImportError(f"reading its .mat files requires scipy: {EXTRA}") from error
        parts[part] = np.ascontiguousarray(dataset.data.transpose(0, 2, 3, 1)), dataset.labels
    return _save_arrays(folder / "svhn.npz", parts)


def _celeba(datasets: Any, folder: Path) -> Path:
    """Prepare CelebA as images with tables."""
    datasets.CelebA(folder, split="all", download=True)
    return folder / "celeba"


def _cityscapes(datasets: Any, folder: Path) -> Path:
    """Prepare Cityscapes as pairs, photographs in A and label colours in B: hard links to the published files."""
    for split in ("train", "val"):
        dataset = datasets.Cityscapes(folder, split=split, mode="fine", target_type="color")
        for photograph, (colours,) in zip(dataset.images, dataset.targets, strict=True):
            name = Path(photograph).name.replace("_leftImg8bit", "")
            for domain, file in (("A", photograph), ("B", colours)):
                link = folder / "cityscapes" / f"{split}{domain}" / name
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.exists():
                    os.link(file, link)
    return folder / "cityscapes"


def _save_arrays(file: Path, parts: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Path:
    """Save a file of arrays as that of MNIST by Keras: x_train, y_train, x_test, y_test of uint8."""
    arrays: dict[str, np.ndarray] = {}
    for part, (images, labels) in parts.items():
        arrays |= {f"x_{part}": images, f"y_{part}": labels.astype(np.uint8)}
    with atomic_write(file) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # arrays by name
    return file


DATASETS: Mapping[str, PublishedDataset] = MappingProxyType(
    {
        "mnist": PublishedDataset(
            "70,000 digits, 28 pixels, grey",
            _mnist,
            "the four .gz files as MNIST/raw/",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ),
        "svhn": PublishedDataset(
            "99,289 digits of house numbers, 32 pixels, colour",
            _svhn,
            "train_32x32.mat and test_32x32.mat",
            "http://ufldl.stanford.edu/housenumbers/",
        ),
        "celeba": PublishedDataset(
            "202,599 faces, 178 x 218 pixels, 40 attributes",
            _celeba,
            "img_align_celeba.zip and the five .txt files as celeba/",
            "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        ),
        "cityscapes": PublishedDataset(
            "3,475 streets with label maps, 2048 x 1024 pixels; behind a registration",
            _cityscapes,
            "leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip",
            "https://www.cityscapes-dataset.com/downloads/",
        ),
    }
)
