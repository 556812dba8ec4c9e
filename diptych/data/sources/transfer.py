"""A labelled set to learn from, and another one without labels to draw like: what domain transfer begins with."""

from dataclasses import replace

import numpy as np

from diptych.data.config import DataConfig
from diptych.data.dataset import Data, Split, select
from diptych.errors import DataError

COLUMNS = ("source", "label", "target")


def combine_for_transfer(source: Data, target: Data, twins: bool) -> Data:
    """`image` and `label` of one set as `source` and `label`, `image` of the other as `target`, drawn apart.

    With `twins`, held-out files of one name are one scene, so the truth is known.
    """
    labels = source.labels[0]
    found = Data(
        replace(_apart(source.train, target.train), labels=labels),
        replace(_apart(source.held_out, target.held_out), labels=labels),
        f"{source.summary}\nto draw like: {target.summary}",
        (*source.notes, *target.notes),
        test=replace(_apart(source.test, target.test or target.held_out), labels=labels) if source.test else None,
        labels=source.labels,
        by_name=source.by_name and target.by_name,
    )
    return found.with_matched_names() if twins else found


def split_by_attribute(data: Data, config: DataConfig) -> Data:
    """The images of a table of attributes as two heaps: those without the one that is chosen, then those with it.

    `direction=b2a` begins with the latter. DataError if several are chosen.
    """
    if len(config.attributes) != 1:
        raise DataError(
            f"attributes={list(config.attributes)}: this method goes from images without one to those with it"
        )

    def parted(split: Split) -> Split:
        on = np.asarray(split.columns["label"])[:, 0]
        heaps = [select(split.columns["image"], np.flatnonzero(on == value).tolist()) for value in (0, 1)]
        heaps = heaps if config.direction == "a2b" else heaps[::-1]
        return Split(dict(zip("ab", heaps, strict=True)), aligned=False)

    domains = [f"{how} {config.attributes[0]}" for how in ("without", "with")]
    domains = domains if config.direction == "a2b" else domains[::-1]
    found = replace(data, train=parted(data.train), held_out=parted(data.held_out), labels=())
    found = replace(found, domains=dict(zip("ab", domains, strict=True)))
    return replace(found, test=data.test and parted(data.test))


def _apart(source: Split, target: Split) -> Split:
    columns = (source.columns["image"], source.columns["label"], target.columns["image"])
    return Split(dict(zip(COLUMNS, columns, strict=True)), aligned=False, groups=(COLUMNS[:2], COLUMNS[2:]))
