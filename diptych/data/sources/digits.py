"""Digits in a file of arrays, such as `mnist.npz` of Keras, and MNIST-M, which is computed from them on access.

MNIST-M (Ganin and Lempitsky 2015, arXiv 1409.7495, section 4) is the absolute difference of a digit and a patch of a
colour photograph. It is not stored: each digit always gets the same patch of a photograph in `background_root`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diptych.contract import Labels
from diptych.data.config import DataConfig
from diptych.data.dataset import Column, Data, Split, select
from diptych.data.image_columns import ImageColumn
from diptych.data.images import image_io
from diptych.data.sources.folders import images_in_and_below
from diptych.data.sources.tables import arrays_in
from diptych.errors import DataError
from diptych.seeds import reused_state

PARTS = ("train", "test")
HELD_OUT_EVERY = 20  # every twentieth training digit is held out


@dataclass(frozen=True)
class BlendedDigits(ImageColumn):
    """Digits (N, H, W, 1 or 3) blended with patches of photographs; each (H, W, 3) uint8."""

    digits: np.ndarray
    numbers: np.ndarray  # numbers of the digits in the file, which determine their patches
    photographs: tuple[np.ndarray, ...]
    salt: str

    def __len__(self) -> int:
        return len(self.digits)

    def channels(self) -> int:
        return 3

    def take(self, indices: Sequence[int]) -> "BlendedDigits":
        return replace(self, digits=self.digits[indices], numbers=self.numbers[indices])

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
        digit = self.digits[index]
        random = reused_state("mnist-m", self.salt, int(self.numbers[index]))
        photograph = self.photographs[random.randint(len(self.photographs))]
        height, width = digit.shape[:2]
        top = random.randint(photograph.shape[0] - height + 1)
        left = random.randint(photograph.shape[1] - width + 1)
        patch = photograph[top : top + height, left : left + width]
        return np.abs(digit.astype(np.int16) - patch).astype(np.uint8)


def is_digits(root: str) -> bool:
    """Return whether `root` is a file of digits."""
    return root.endswith(".npz")


def open_digits(config: DataConfig, half: int | None = None) -> Data:
    """Return columns `image` and `label` of a file. `half` 0 or 1 uses only that half of the training digits.

    Every twentieth training digit is held out. Raises DataError for a damaged file, other arrays, or photographs that
    are too small.
    """
    file = Path(config.root).expanduser()
    arrays = _read(file)
    photographs = _photographs(config, arrays["x_train"].shape[1:3])
    splits = {}
    for part in PARTS:
        digits, classes = arrays[f"x_{part}"], arrays[f"y_{part}"].astype(int)
        numbers = np.arange(len(digits))
        images: Column = BlendedDigits(digits, numbers, photographs, part) if photographs else digits
        splits[part] = Split({"image": images, "label": classes.tolist()}, aligned=True)
    count = len(splits["train"])
    indices = np.arange(count) if half is None else np.split(np.arange(count), [count // 2])[half]
    is_held_out = indices % HELD_OUT_EVERY == 0
    train, held_out = _select(splits["train"], indices[~is_held_out]), _select(splits["train"], indices[is_held_out])
    num_classes = int(max(arrays["y_train"].max(), arrays["y_test"].max())) + 1
    labels = Labels(names=tuple(str(digit) for digit in range(num_classes)))
    kind = f"digits blended with {len(photographs)} photographs" if photographs else "digits"
    part = "" if half is None else (", the first half", ", the second half")[half]
    summary = f"{file}: {len(train)} {kind}{part}; {len(held_out)} held out, {len(splits['test'])} in test"
    return Data(train, held_out, summary, test=splits["test"], labels=(labels,))


def without_labels(data: Data) -> Data:
    """Return the images without their labels."""

    def images(split: Split) -> Split:
        return replace(split, columns={"image": split.columns["image"]})

    test = images(data.test) if data.test else None
    return replace(data, train=images(data.train), held_out=images(data.held_out), test=test, labels=())


def _select(split: Split, indices: np.ndarray) -> Split:
    """Return the samples at the given indices."""
    return replace(split, columns={name: select(column, indices.tolist()) for name, column in split.columns.items()})


def _read(file: Path) -> dict[str, np.ndarray]:
    """Return the arrays by name: digits (N, H, W, 1 or 3), stored without the 1, and labels (N,), all of uint8."""
    headers = {array.name: array for array in arrays_in(file)}
    if damaged := [array for array in headers.values() if array.problem]:
        raise DataError(f"{file}: {damaged[0].name} {damaged[0].problem}")
    for part in PARTS:
        x, y = headers.get(f"x_{part}"), headers.get(f"y_{part}")
        if x is None or y is None:
            raise DataError(f"{file}: has no arrays x_{part} and y_{part}; there are {', '.join(headers) or 'none'}")
        is_images = len(x.shape[:3]) == 3 and x.shape[3:] in ((), (3,)) and x.shape[0] > 0
        if not is_images or x.shape[:1] != y.shape or {x.dtype, y.dtype} != {"uint8"}:
            raise DataError(
                f"{file}: expected x_{part} to be digits (N, H, W) or (N, H, W, 3) and y_{part} labels (N,), of uint8; "
                f"got {x.shape} of {x.dtype} and {y.shape} of {y.dtype}"
            )
    with np.load(file, allow_pickle=False) as stored:
        arrays = {f"{kind}_{part}": stored[f"{kind}_{part}"] for part in PARTS for kind in "xy"}
    return {name: array[..., None] if array.ndim == 3 else array for name, array in arrays.items()}


def _photographs(config: DataConfig, min_size: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Return the photographs in `background_root`, RGB; empty without that setting."""
    if config.background_root is None:
        return ()
    folder = Path(config.background_root).expanduser()
    files = images_in_and_below(folder)
    if not files:
        raise DataError(f"background_root={folder}: no photographs in it")
    photographs = tuple(image_io.with_channels(image_io.read(file), 3, file) for file in files)
    for file, pixels in zip(files, photographs, strict=True):
        height, width = pixels.shape[:2]
        if pixels.dtype != np.uint8 or height < min_size[0] or width < min_size[1]:
            raise DataError(f"{file}: photographs must have 8 bits, and be at least as large as the digits")
    return photographs
