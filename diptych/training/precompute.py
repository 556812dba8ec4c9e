"""What a stage computes of each image once, where images are always cut alike: columns beside those of the data."""

from dataclasses import replace
from typing import Any

import torch

from diptych.contract import Stage
from diptych.data.batches import Batches, image_name, to_tensor

AT_ONCE = 128


def with_precomputed(batches: Batches, stage: Stage, device: torch.device, precision: str) -> Batches:
    """The same batches with `code of NAME` for each image that the stage has one of, if each step would find the same.

    It would not where images are cut by chance, or where one that has become unreadable gives way to another.
    """
    split, augment = batches.split, batches.augment
    if not stage.precomputed or not augment.is_still or batches.bad == "skip" or batches.also:
        return batches
    columns, groups = dict(split.columns), split.drawn
    for name, code in stage.precomputed.items():
        column: Any = split.columns[name]
        found = []
        for first in range(0, len(column), AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, len(column)))
            images = [
                to_tensor(column[i], augment.still, batches.channels[name], image_name(column, i)) for i in numbers
            ]
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                found.append(code(torch.stack(images).to(device)).float().cpu())
        columns[f"code of {name}"] = torch.cat(found).numpy()
        groups = tuple((*group, f"code of {name}") if name in group else group for group in groups)
    return replace(batches, split=replace(split, columns=columns, groups=groups))
