"""Codes of images that a stage computes once, if augmentation is deterministic: additional columns of the data."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from diptych.contract import Stage
from diptych.data.batches import Batches
from diptych.data.image_tensors import image_name, to_tensor

BATCH_SIZE = 128


def with_precomputed(batches: Batches, stage: Stage, device: torch.device, precision: str) -> Batches:
    """Return the batches with an entry `code of NAME` for each entry in `stage.precomputed`.

    The batches are returned unchanged where a step might compute another code: with random augmentation, or where
    an unreadable image is replaced by another one.
    """
    split, augment = batches.split, batches.augment
    if not stage.precomputed or not augment.is_deterministic or batches.transform or batches.on_bad_image == "skip":
        return batches
    if batches.extra_splits:
        return batches
    columns, groups = dict(split.columns), split.sample_groups
    transform = partial(augment, random=np.random.RandomState(0))  # which has no effect
    for name, encode in stage.precomputed.items():
        column: Any = split.columns[name]
        codes = []
        for first in range(0, len(column), BATCH_SIZE):
            indices = range(first, min(first + BATCH_SIZE, len(column)))
            images = [to_tensor(column[i], transform, batches.channels[name], image_name(column, i)) for i in indices]
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                codes.append(encode(torch.stack(images).to(device)).float().cpu())
        columns[f"code of {name}"] = torch.cat(codes).numpy()
        groups = tuple((*group, f"code of {name}") if name in group else group for group in groups)
    return replace(batches, split=replace(split, columns=columns, groups=groups))
