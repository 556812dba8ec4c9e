"""Published data sets that torchvision downloads and verifies, converted to a supported layout."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from diptych.data.sources.published import Progress, PublishedDataset
from diptych.errors import DataError
from diptych.system.atomic_files import atomic_write, download_timeout

EXTRA = "pip install 'diptych[data]'"


@dataclass(frozen=True, kw_only=True)
class TorchvisionDataset(PublishedDataset):
    """A data set of several files. Files that are already in the folder are used instead of a download."""

    download: Callable[[Any, Path], Path]  # (torchvision.datasets, folder) to the path for `--data`

    def prepare(self, name: str, folder: Path, archive: Path | None, progress: Progress | None) -> Path:
        if archive:
            raise DataError(f"{name} is not one archive: put {self.files} into {folder} instead of --archive")
        from torchvision import datasets

        with download_timeout():
            return self.download(datasets, folder)


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


TORCHVISION_SETS: Mapping[str, PublishedDataset] = MappingProxyType(
    {
        "mnist": TorchvisionDataset(
            title="70,000 digits, 28 pixels, grey",
            licence="CC BY-SA 3.0, LeCun, Cortes and Burges",
            files="the four .gz files as MNIST/raw/",
            url="https://ossci-datasets.s3.amazonaws.com/mnist/",
            is_free=True,
            download=_mnist,
        ),
        "svhn": TorchvisionDataset(
            title="99,289 digits of house numbers, 32 pixels, colour",
            licence="non-commercial use only, Netzer et al. 2011",
            files="train_32x32.mat and test_32x32.mat",
            url="http://ufldl.stanford.edu/housenumbers/",
            download=_svhn,
        ),
        "celeba": TorchvisionDataset(
            title="202,599 faces, 178 x 218 pixels, 40 attributes",
            licence="non-commercial research only, no redistribution, Liu et al. 2015",
            files="img_align_celeba.zip and the five .txt files as celeba/",
            url="http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
            download=_celeba,
        ),
        "cityscapes": TorchvisionDataset(
            title="3,475 streets with label maps, 2048 x 1024 pixels; behind a registration",
            licence="non-commercial research only, no redistribution, Cordts et al. 2016",
            files="leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip",
            url="https://www.cityscapes-dataset.com/downloads/",
            download=_cityscapes,
        ),
    }
)
