"""A labelled set to learn from, and another one without labels to draw like: what domain transfer begins with."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from diptych.data.columns import Column, Data, Pictures, Split, taken
from diptych.data.config import DataConfig
from diptych.errors import DataError

TRANSFER = ("source", "label", "target")  # a method that asks for these names


def transfer(source: Data, target: Data, twins: bool) -> Data:
    """`image` and `label` of one set as `source` and `label`, `image` of the other as `target`, drawn apart.

    With `twins`, held-out files of one name are one scene, so the truth is known: those of both sets are kept.
    """
    join, labels = _matched if twins else _apart, source.labels[0]
    test = replace(join(source.test, target.test or target.held_out), labels=labels) if source.test else None
    return Data(
        replace(_apart(source.train, target.train), labels=labels),
        replace(join(source.held_out, target.held_out), labels=labels),
        f"{source.summary}\nto draw like: {target.summary}",
        (*source.notes, *target.notes),
        test=test,
        labels=source.labels,
        by_name=source.by_name and target.by_name,
    )


def with_and_without(data: Data, config: DataConfig, names: Sequence[str]) -> Data:
    """The images of a table of attributes as two heaps: those without the one that is chosen, then those with it.

    `direction=b2a` begins with the latter. DataError if several are chosen.
    """
    if len(config.attributes) != 1:
        raise DataError(
            f"attributes={list(config.attributes)}: this method goes from images without one to those with it"
        )

    def parted(split: Split) -> Split:
        on = np.asarray(split.columns["label"])[:, 0]
        heaps = [taken(split.columns["image"], np.flatnonzero(on == value).tolist()) for value in (0, 1)]
        heaps = heaps if config.direction == "a2b" else heaps[::-1]
        return Split(dict(zip(names, heaps, strict=True)), aligned=False)

    found = replace(data, train=parted(data.train), held_out=parted(data.held_out), labels=())
    return replace(found, test=data.test and parted(data.test))


def _apart(source: Split, target: Split) -> Split:
    return Split(_columns(source, target), aligned=False, groups=(TRANSFER[:2], TRANSFER[2:]))


def _matched(source: Split, target: Split) -> Split:
    """Those of one name. DataError if there are none."""
    ours, theirs = (
        {Path(file).stem: place for place, file in enumerate(column.files)} if isinstance(column, Pictures) else {}
        for column in (source.columns["image"], target.columns["image"])
    )
    both = [stem for stem in ours if stem in theirs]
    if not both:
        raise DataError("twins=true: no held-out file of one set has the name of one of the other")
    columns: dict[str, Column] = {}
    for name, column in _columns(source, target).items():
        places = theirs if name == "target" else ours
        columns[name] = taken(column, [places[stem] for stem in both])
    return Split(columns, aligned=True)


def _columns(source: Split, target: Split) -> dict[str, Column]:
    return dict(zip(TRANSFER, (source.columns["image"], source.columns["label"], target.columns["image"]), strict=True))
