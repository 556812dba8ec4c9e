"""Published data sets that torchvision knows: fetched, checked by their digests, and laid out as methods take them.

    diptych data get mnist -o data      leaves data/mnist.npz

Files that lie in the folder already, fetched elsewhere, are taken in place of a download.
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
    """A published set: how it is made ready in a folder, and what to fetch elsewhere where that cannot be."""

    title: str
    download: Callable[[Any, Path], Path]  # of torchvision.datasets and the folder; returns what `--data` takes
    files: str  # below the folder, for who fetches them elsewhere
    url: str


def download(name: str, folder: Path) -> Path:
    """What `--data` takes. DataError says what to fetch and where to put it."""
    if name not in DATASETS:
        raise DataError(f"no data set is called {name!r}{nearest(name, DATASETS)}; there are {', '.join(DATASETS)}")
    dataset = DATASETS[name]
    try:
        from torchvision import datasets

        make_folder(folder)
        with download_timeout():
            return dataset.download(datasets, folder)
    except (OSError, RuntimeError, HTTPException, ImportError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{name}: could not be had ({why}); fetch it elsewhere from {dataset.url}, put {dataset.files} into {folder}, "
            f"and give this command again"
        ) from error


def _mnist(datasets: Any, folder: Path) -> Path:
    parts = {part: datasets.MNIST(folder, train=part == "train", download=True) for part in ("train", "test")}
    return _as_arrays(
        folder / "mnist.npz", {part: (each.data.numpy(), each.targets.numpy()) for part, each in parts.items()}
    )


def _svhn(datasets: Any, folder: Path) -> Path:
    """Its label 10 is the digit 0, which torchvision mends."""
    try:
        parts = {part: datasets.SVHN(folder, split=part, download=True) for part in ("train", "test")}
    except ImportError as error:
        raise ImportError(f"its .mat files are read by scipy: {EXTRA}") from error
    return _as_arrays(
        folder / "svhn.npz",
        {part: (np.ascontiguousarray(each.data.transpose(0, 2, 3, 1)), each.labels) for part, each in parts.items()},
    )


def _celeba(datasets: Any, folder: Path) -> Path:
    datasets.CelebA(folder, split="all", download=True)
    return folder / "celeba"


def _cityscapes(datasets: Any, folder: Path) -> Path:
    """Photographs as A, colours of labels as B, under one name: hard links to what the published zips hold."""
    for split in ("train", "val"):
        there = datasets.Cityscapes(folder, split=split, mode="fine", target_type="color")
        for photograph, (colours,) in zip(there.images, there.targets, strict=True):
            name = Path(photograph).name.replace("_leftImg8bit", "")
            for side, file in (("A", photograph), ("B", colours)):
                linked = folder / "cityscapes" / f"{split}{side}" / name
                linked.parent.mkdir(parents=True, exist_ok=True)
                if not linked.exists():
                    os.link(file, linked)
    return folder / "cityscapes"


def _as_arrays(file: Path, parts: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Path:
    """One file of arrays, as Keras publishes MNIST: x_train, y_train, x_test, y_test of uint8."""
    arrays: dict[str, np.ndarray] = {}
    for part, (images, labels) in parts.items():
        arrays |= {f"x_{part}": images, f"y_{part}": labels.astype(np.uint8)}
    with atomic_write(file) as beside, beside.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # it takes arrays by name
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
