"""Data for domain transfer (Taigman et al. 2017): a labelled source domain and an unlabelled target domain."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from diptych.data.config import DataConfig
from diptych.data.dataset import Column, Data, Split, select
from diptych.errors import DataError, nearest, shown

COLUMNS = ("source", "label", "target")


def combine_for_transfer(source: Data, target: Data, matched_names: bool) -> Data:
    """Return columns `source` and `label` from the source domain, and `target` from the other, sampled independently.

    With `matched_names`, held-out files with the same name show the same scene, so the ground truth is known.
    """
    labels = source.labels[0]
    data = Data(
        replace(_independent(source.train, target.train), labels=labels),
        replace(_independent(source.held_out, target.held_out), labels=labels),
        f"{source.summary}\ntarget domain: {target.summary}",
        (*source.notes, *target.notes),
        test=replace(_independent(source.test, target.test or target.held_out), labels=labels) if source.test else None,
        labels=source.labels,
        by_name=source.by_name and target.by_name,
        group_of={**source.group_of, **target.group_of},
    )
    return data.with_matched_names() if matched_names else data


def split_by_attribute(data: Data, config: DataConfig) -> Data:
    """Return the images of a table as two domains: without, then with the attribute in `attributes`.

    `direction=b2a` reverses them. Raises DataError for any other number of attributes.
    """
    if len(config.attributes) != 1:
        raise DataError(
            f"attributes={list(config.attributes)}: this method needs one attribute, and translates from "
            f"images without it to images with it"
        )

    def divide(split: Split) -> Split:
        values = np.asarray(split.columns["label"])[:, 0]
        columns = [select(split.columns["image"], np.flatnonzero(values == value).tolist()) for value in (0, 1)]
        columns = columns if config.direction == "a2b" else columns[::-1]
        return Split(dict(zip("ab", columns, strict=True)), aligned=False)

    names = [f"{how} {config.attributes[0]}" for how in ("without", "with")]
    names = names if config.direction == "a2b" else names[::-1]
    return replace(
        data,
        train=divide(data.train),
        held_out=divide(data.held_out),
        test=data.test and divide(data.test),
        labels=(),
        domains=dict(zip("ab", names, strict=True)),
    )


def without_classes(data: Data, names: Sequence[str], setting: str) -> Data:
    """Return labelled data whose training images have none of these classes; other splits and the labels keep them.

    DataError, which names the setting, for unknown classes and for attributes.
    """
    if not names:
        return data
    (labels,) = data.labels
    if labels.kind != "class":
        raise DataError(f"{setting}={list(names)}: the images have attributes, not classes: leave {setting}= out")
    if unknown := [name for name in names if name not in labels.names]:
        raise DataError(f"{setting}: no class is called {shown(unknown[0])}{nearest(unknown[0], labels.names)}")
    left_out = [labels.names.index(name) for name in names]
    kept = np.flatnonzero(~np.isin(np.asarray(data.train.columns["label"]), left_out)).tolist()
    if not kept:
        raise DataError(f"{setting}={list(names)}: no training image is left")
    columns: dict[str, Column] = {name: select(column, kept) for name, column in data.train.columns.items()}
    scene_ids = [data.train.scene_ids[index] for index in kept] if data.train.scene_ids else ()
    summary = f"{data.summary}; {len(kept)} training images without {', '.join(names)}"
    return replace(data, train=replace(data.train, columns=columns, scene_ids=scene_ids), summary=summary)


def _independent(source: Split, target: Split) -> Split:
    """Return the columns of both splits, sampled independently."""
    columns = (source.columns["image"], source.columns["label"], target.columns["image"])
    return Split(dict(zip(COLUMNS, columns, strict=True)), aligned=False, groups=(COLUMNS[:2], COLUMNS[2:]))
