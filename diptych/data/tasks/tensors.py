"""Tasks on batches of network tensors (N, C, H, W) in [-1, 1], on the CPU."""

import torch
from torch import Tensor

from diptych.data.tasks.task import Task, finished


def finished_batch(task: Task | None, translations: Tensor, sources: Tensor) -> Tensor:
    """Return the finished images of a network's outputs and inputs; the outputs if there is no task."""
    if task is None:
        return translations
    pairs = zip(translations.float().numpy(), sources.numpy(), strict=True)
    return torch.stack([torch.from_numpy(finished(task, y, x)) for y, x in pairs])


def shown_sources(task: Task | None, sources: Tensor) -> Tensor:
    """Return the channels of sources that are shown to people; all if there is no task."""
    return sources if task is None else sources[:, : task.shown_channels(sources.shape[1])]


def missing_pixels(task: Task | None, source: Tensor) -> Tensor | None:
    """Return the pixels that a source (C, H, W) lacks, as (1, H, W) of -1 and 1; None for tasks without such pixels."""
    missing = task.missing((source.permute(1, 2, 0).numpy() + 1) / 2) if task else None
    return None if missing is None else torch.from_numpy(missing).float()[None] * 2 - 1
