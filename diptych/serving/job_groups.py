"""Dynamic batches: jobs of equal shape and controls are translated together where that leaves every bit as it is."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from diptych.errors import DiptychError
from diptych.serving.jobs import Job

MAX_KNOWN = 1000  # shapes whose check is remembered


class JobGroups:
    """Jobs that wait, by group: until it is full, or until its first job has waited `seconds`."""

    def __init__(self, max_batch: int, seconds: float) -> None:
        self.max_batch, self.seconds = max_batch, seconds
        self._waiting: OrderedDict[tuple[Any, ...], tuple[float, list[Job]]] = OrderedDict()

    def add(self, job: Job) -> None:
        """Add a job to its group. One without a group is alone."""
        key = job.group or (job.number,)
        if key not in self._waiting:
            self._waiting[key] = (time.monotonic(), [])
        self._waiting[key][1].append(job)

    def remove(self, number: int) -> None:
        """Remove the job of this number, if it waits."""
        for key, (_, jobs) in list(self._waiting.items()):
            jobs[:] = [job for job in jobs if job.number != number]
            if not jobs:
                del self._waiting[key]

    def wait_seconds(self) -> float | None:
        """Return how long to wait for further jobs for the oldest group; None if no job waits."""
        if not self._waiting:
            return None
        since, _ = next(iter(self._waiting.values()))
        return max(0.0, since + self.seconds - time.monotonic())

    def pop(self) -> list[Job]:
        """Return the jobs of a group, `max_batch` at most: of the oldest if it is due, else of a full one."""
        is_due = self.wait_seconds() == 0
        key = (None if is_due else self.full()) or next(iter(self._waiting))
        since, jobs = self._waiting.pop(key)
        if len(jobs) > self.max_batch:
            self._waiting[key] = (since, jobs[self.max_batch :])  # after all other groups
        return jobs[: self.max_batch]

    def full(self) -> tuple[Any, ...] | None:
        """Return the key of a group to which no job can be added; None if there is none."""
        full = (key for key, (_, jobs) in self._waiting.items() if len(jobs) >= self.max_batch or not jobs[0].group)
        return next(full, None)


class BatchCheck:
    """Whether a network gives the same bits for images in a batch as for each alone: tried on noise of that shape.

    Kernels of some networks sum in another order in batches; their images are translated one by one.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Any, ...], bool] = OrderedDict()

    def is_exact(self, job: Job, count: int) -> bool:
        """Return whether `count` inputs like that of the job may be translated together."""
        assert job.x is not None
        kinds = tuple(sorted((name, value) for name, value in job.controls.items() if isinstance(value, str)))
        key = (job.model, job.x.shape, count, kinds)
        if key not in self._known:
            self._known[key] = _gives_same_bits(job, job.x.shape, count)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        return self._known[key]


def _gives_same_bits(job: Job, shape: Sequence[int], count: int) -> bool:
    """Return whether a batch of noise gives the bits of single images; not if it does not fit into memory."""
    noise = np.random.default_rng(0).uniform(-1, 1, (count, *shape)).astype(np.float32)
    try:
        together = job.translator.translate_batch(noise, "check", **job.controls)
    except DiptychError:
        return False
    return all(
        np.array_equal(job.translator.translate_batch(noise[index : index + 1], "check", **job.controls)[0], each)
        for index, each in enumerate(together)
    )


def translations(jobs: Sequence[Job], check: BatchCheck) -> list[np.ndarray]:
    """Return the translations (C, H, W) of the jobs of one group, in batches whose sizes are powers of two."""
    results: list[np.ndarray] = []
    while len(results) < len(jobs):
        rest = jobs[len(results) :]
        count = 1 << (len(rest).bit_length() - 1)
        if count > 1 and not check.is_exact(rest[0], count):
            count = 1
        x = np.stack([job.x for job in rest[:count] if job.x is not None])
        results += list(rest[0].translator.translate_batch(x, "image", **rest[0].controls))
    return results
