"""Digits as one file of arrays, as Keras publishes `mnist.npz`, and MNIST-M, which is made out of them on the fly.

MNIST-M (Ganin and Lempitsky 2015, arXiv 1409.7495, section 4): the absolute difference of a digit and a patch of a
colour photograph. There are no files of it: a digit always gets the same patch of the folder that `patches` names.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diptych.contract import Labels
from diptych.data.config import DataConfig
from diptych.data.dataset import Column, Data, Split, select
from diptych.data.images import image_io
from diptych.data.sources.folders import images_in_and_below
from diptych.data.sources.tables import arrays_in
from diptych.errors import DataError
from diptych.seeds import passing_state

PARTS = ("train", "test")
HELD_OUT_EVERY = 20  # of the training digits


@dataclass(frozen=True)
class Blended(Sequence[np.ndarray]):
    """Digits (N, H, W, 1 or 3) over patches of photographs, (H, W, 3) uint8 each."""

    digits: np.ndarray
    numbers: np.ndarray  # of each digit in its set, which choose its patch
    photographs: tuple[np.ndarray, ...]
    salt: str

    def __len__(self) -> int:
        return len(self.digits)

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.digits.shape[:3], 3)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
        digit = self.digits[index]
        random = passing_state("mnist-m", self.salt, int(self.numbers[index]))
        photograph = self.photographs[random.randint(len(self.photographs))]
        top, left = (
            random.randint(big - small + 1) for big, small in zip(photograph.shape, digit.shape[:2], strict=False)
        )
        patch = photograph[top : top + digit.shape[0], left : left + digit.shape[1]]
        return np.abs(digit.astype(np.int16) - patch).astype(np.uint8)


def is_digits(root: str) -> bool:
    return root.endswith(".npz")


def open_digits(config: DataConfig, half: int | None = None) -> Data:
    """Columns `image` and `label` of a file; every twentieth is held out. `half` 0 or 1 takes that half of training.

    DataError for a file that is damaged or holds other arrays, and for photographs that are too small.
    """
    file = Path(config.root).expanduser()
    arrays = _read(file)
    photographs = _photographs(config, arrays["x_train"].shape[1:3])
    splits = {}
    for part in PARTS:
        digits, labels = arrays[f"x_{part}"], arrays[f"y_{part}"].astype(int)
        numbers = np.arange(len(digits))
        images: Column = Blended(digits, numbers, photographs, part) if photographs else digits
        splits[part] = Split({"image": images, "label": labels.tolist()}, aligned=True)
    count = len(splits["train"])
    chosen = np.arange(count) if half is None else np.split(np.arange(count), [count // 2])[half]
    kept = chosen[chosen % HELD_OUT_EVERY != 0]
    train, held_out = (_only(splits["train"], each) for each in (kept, chosen[chosen % HELD_OUT_EVERY == 0]))
    names = Labels(names=tuple(map(str, range(int(max(arrays["y_train"].max(), arrays["y_test"].max())) + 1))))
    kind = f"digits over {len(photographs)} photographs" if photographs else "digits"
    part = "" if half is None else f", the {('first', 'second')[half]} half"
    summary = f"{file}: {len(train)} {kind}{part}; {len(held_out)} held out, {len(splits['test'])} in test"
    return Data(train, held_out, summary, test=splits["test"], labels=(names,))


def without_labels(data: Data) -> Data:
    """The images alone."""
    train, held_out, test = (
        each and replace(each, columns={"image": each.columns["image"]})
        for each in (data.train, data.held_out, data.test)
    )
    assert train is not None
    assert held_out is not None
    return replace(data, train=train, held_out=held_out, test=test, labels=())


def _only(split: Split, places: np.ndarray) -> Split:
    columns = dict(split.columns)
    for name, column in columns.items():
        if isinstance(column, Blended):
            columns[name] = replace(column, digits=column.digits[places], numbers=column.numbers[places])
        else:
            columns[name] = select(column, places.tolist())
    return replace(split, columns=columns)


def _read(file: Path) -> dict[str, np.ndarray]:
    """The arrays by name: digits (N, H, W, 1 or 3), stored without that 1; labels (N,); all of uint8."""
    found = {array.name: array for array in arrays_in(file)}
    for part in PARTS:
        x, y = (found.get(f"{kind}_{part}") for kind in "xy")
        problem = next((f"{each.name} {each.problem}" for each in found.values() if each.problem), None)
        if problem is None and (x is None or y is None):
            problem = f"holds no arrays x_{part} and y_{part}; there are {', '.join(found) or 'none'}"
        elif x is not None and y is not None and problem is None:
            fits = (
                len(x.shape[:3]) == 3
                and x.shape[3:] in ((), (3,))
                and x.shape[:1] == y.shape
                and x.dtype == "uint8"
                and y.dtype == "uint8"
            )
            problem = (
                None
                if fits and x.shape[0]
                else f"x_{part} and y_{part} are no digits (N, H, W), or (N, H, W, 3), and labels (N,) of uint8"
            )
        if problem:
            raise DataError(f"{file}: {problem}")
    with np.load(file, allow_pickle=False) as stored:
        arrays = {f"{kind}_{part}": stored[f"{kind}_{part}"] for part in PARTS for kind in "xy"}
    return {name: array[..., None] if array.ndim == 3 else array for name, array in arrays.items()}


def _photographs(config: DataConfig, least: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    if config.background_root is None:
        return ()
    folder = Path(config.background_root).expanduser()
    files = images_in_and_below(folder)
    if not files:
        raise DataError(f"background_root={folder}: no photographs in it")
    found = tuple(image_io.with_channels(image_io.read(file), 3, file) for file in files)
    for file, pixels in zip(files, found, strict=True):
        if pixels.dtype != np.uint8 or any(big < small for big, small in zip(pixels.shape, least, strict=False)):
            raise DataError(f"{file}: photographs are of 8 bits, and larger than the digits")
    return found
