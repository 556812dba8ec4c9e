"""How the training images were stored: domain, depth and size of each batch entry, and how they were resized.

It is kept in the run folder (`data.json`) and in the model folder, so that a translation can do what training did.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import sqrt
from os.path import commonpath
from pathlib import Path
from statistics import median_low
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from diptych.data.columns import Column, Data, Pictures
from diptych.data.config import DataConfig
from diptych.data.folders import SPLITS

MAX_RATIO = 1.5  # of scales or aspect ratios, between training and use, that passes without a warning
HALVES = ("left", "right")

Depth = Literal["uint8", "uint16", "float32"]


class ImageFormat(BaseModel):
    """How the training images of one batch entry were stored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    domain: str = Field(max_length=300, description="name of their folder, or which half of the files in it")
    half: Literal[0, 1] | None = Field(None, description="0: left half of each file; 1: right half; None: whole file")
    dtype: Depth = Field("uint8", description="the most common one")
    height: int = Field(ge=1, le=2**20, description="median, in pixels")
    width: int = Field(ge=1, le=2**20, description="median, in pixels; of the half where there are two")
    value_range: tuple[float, float] | None = Field(
        None, description="pixel values mapped to -1 and 1; None: the whole range of the dtype"
    )
    num_classes: int | None = Field(None, ge=2, le=2**16, description="classes of a label map, one-hot; None: no map")
    alpha: bool = Field(False, description="whether the last channel is alpha")


class TrainingImages(BaseModel):
    """The training images of each batch entry, and the settings by which they were resized."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    crop: int = Field(ge=1, le=2**14, description="pixels of the square that the networks were trained on")
    load: int = Field(ge=1, le=2**14, description="pixels that images were resized to before the crop")
    fit: Literal["squash", "short", "centre", "none"]
    entries: dict[str, ImageFormat] = Field(max_length=100)


def describe(data: Data, config: DataConfig) -> TrainingImages:
    """Return the formats of the training images of `data`, which was opened with `config` and scanned."""
    root = Path(config.root).expanduser()
    found = {name: _format_of(column, root, data.domains.get(name, "")) for name, column in data.train.columns.items()}
    resized = config.cut == "crop" and config.load_until > 0
    return TrainingImages(
        crop=config.crop,
        load=config.loaded if resized else config.crop,
        fit=config.fit,
        entries={name: each for name, each in found.items() if each is not None},
    )


def _format_of(column: Column, root: Path, domain: str) -> ImageFormat | None:
    """The format of a column of images; None for labels."""
    if not isinstance(column, Pictures):
        first = np.asarray(column[0])
        if first.ndim != 3:
            return None
        return ImageFormat(domain=domain, dtype=first.dtype.name, height=first.shape[0], width=first.shape[1])  # type: ignore[arg-type]
    findings = [entry.finding for entry in column.entries]
    shapes = [(each.height, each.width) for each in findings] or [column[0].shape[:2]]
    width = median_low(width for _, width in shapes)
    return ImageFormat(
        domain=domain or domain_of(column, root),
        half=column.half,  # type: ignore[arg-type]
        dtype=Counter(each.dtype for each in findings).most_common(1)[0][0] if findings else column[0].dtype.name,  # type: ignore[arg-type]
        height=median_low(height for height, _ in shapes),
        width=width if column.half is None or not findings else max(1, width // 2),
    )


def domain_of(column: Pictures, root: Path) -> str:
    """Return the name of the folder that its files are in, without that of the split, or which half of the files."""
    folder = Path(commonpath([file.parent for file in column.files]))
    inside = folder.relative_to(root).parts if folder.is_relative_to(root) else folder.parts[-1:]
    named = "/".join(part for part in inside if part not in SPLITS)
    name = named or f"{'/'.join(inside) or root.name}/"
    return (name if column.half is None else f"{HALVES[column.half]} half of {name}")[-300:]
