"""Recorded steps: on a GPU a whole step becomes one CUDA graph, launched at once instead of kernel by kernel.

At batch 1, as the first papers train, launching a thousand kernels costs more than their arithmetic. A recording holds
what the device did, not what Python did: so all that changes from step to step must lie on the device. That is the
batch (copied to where it was recorded from), step sizes, the number of the step, and what the clock gives: a
`DeviceClock` gives tensors that are set anew before each replay. Random numbers follow the generator's seed, also in a
replay.
"""

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diptych.contract import Batch, Clock

WARM = 3  # steps of each turn taken as they are first: libraries choose their kernels, Adam makes its moments


class CannotCapture(Exception):
    """The rule does something that no recording can hold: it waits for the device, say, or memory is short."""


Step = Callable[[Batch, Clock], None]
Capture = Callable[[Callable[[], None]], Callable[[], None]]  # records what the first does; the second does it again


@dataclass(frozen=True)
class DeviceClock(Clock):
    """A clock whose `decay` is a scalar on the device: the same tensor for the same call, in every step."""

    tensors: dict[tuple[float, float], Tensor] = field(default_factory=dict)
    device: torch.device = torch.device("cpu")

    def decay(self, start: float = 0.0, end: float = 1.0) -> Tensor:  # type: ignore[override]
        if (start, end) not in self.tensors:
            self.tensors[start, end] = torch.tensor(super().decay(start, end), device=self.device)
        return self.tensors[start, end]

    def update_tensors(self) -> None:
        """Bring every dial to this step."""
        for place, dial in self.tensors.items():
            dial.fill_(Clock.decay(self, *place))


class GraphRunner:
    """Takes the steps of one stage: the first few of each turn as they are, then from a recording.

    `schedule_key` names the order in which players move; each has a recording of its own, and a batch that it reads.
    """

    def __init__(self, step: Step, device: torch.device, capture: Capture) -> None:
        self.step, self.device, self.capture = step, device, capture
        self.inputs: dict[Hashable, Batch] = {}
        self.tensors: dict[tuple[float, float], Tensor] = {}
        self.taken: Counter[Hashable] = Counter()
        self.replays: dict[Hashable, Callable[[], None]] = {}

    def train_step(self, batch: Batch, clock: Clock, turn: Hashable) -> None:
        """One step. Raises CannotRecord, with nothing moved, if there is to be a recording and it fails."""
        ticking = DeviceClock(clock.stage, clock.step, clock.steps, self.tensors, self.device)
        ticking.update_tensors()
        inputs = self._filled(batch, turn)
        if turn not in self.replays and self.taken[turn] < WARM:
            self.step(inputs, ticking)
        else:
            if turn not in self.replays:
                try:
                    self.replays[turn] = self.capture(lambda: self.step(inputs, ticking))
                except RuntimeError as error:
                    cause = error.__context__ or error  # what ended the capture, not that it was ended
                    raise CannotCapture(str(cause).partition("\n")[0]) from error
            self.replays[turn]()
        self.taken[turn] += 1

    def _filled(self, batch: Batch, turn: Hashable) -> Batch:
        """The batch where the recording of this turn reads it. Of another shape, it makes that out of date."""
        there = self.inputs.get(turn, {})
        if {name: value.shape for name, value in batch.items()} != {n: v.shape for n, v in there.items()}:
            there = self.inputs[turn] = {name: torch.empty_like(value) for name, value in batch.items()}
            self.taken.pop(turn, None)
            self.replays.pop(turn, None)
        for name, value in batch.items():
            there[name].copy_(value, non_blocking=True)
        return there


class CudaCapture:
    """CUDA graphs that share one pool of memory."""

    def __init__(self) -> None:
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):  # others load images
            work()
        replay: Callable[[], None] = graph.replay
        return replay
