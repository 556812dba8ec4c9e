"""CUDA graphs: on a GPU a training step is captured once and then replayed with a single launch.

At batch size 1, as the first papers train, launching a thousand kernels takes longer than their arithmetic. A graph
replays the work of the device and runs no Python. Everything that changes between steps must therefore be in tensors
on the device: the batch (copied into fixed input tensors), learning rates, the step number, and schedules of losses (a
`DeviceClock` returns tensors that are updated before each replay). Random numbers follow the generator's seed, also in
a replay.
"""

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diptych.contract import Batch, Clock

WARMUP_STEPS = 3  # eager steps per schedule key before capture: libraries choose kernels, Adam creates its moments


class CannotCapture(Exception):
    """A step cannot be captured, because it waits for the device, for example, or memory ran out."""


Step = Callable[[Batch, Clock], None]
Capture = Callable[[Callable[[], None]], Callable[[], None]]  # captures a function; returns one that replays it


@dataclass(frozen=True)
class DeviceClock(Clock):
    """A clock whose `decay` returns a scalar tensor on the device, the same one for equal arguments in every step."""

    tensors: dict[tuple[float, float], Tensor] = field(default_factory=dict)
    device: torch.device = torch.device("cpu")

    def decay(self, start: float = 0.0, end: float = 1.0) -> Tensor:  # type: ignore[override]
        """Return `Clock.decay` as a scalar tensor."""
        if (start, end) not in self.tensors:
            self.tensors[start, end] = torch.tensor(super().decay(start, end), device=self.device)
        return self.tensors[start, end]

    def update_tensors(self) -> None:
        """Set all tensors that `decay` has returned to the values of this step."""
        for (start, end), tensor in self.tensors.items():
            tensor.fill_(Clock.decay(self, start, end))


class GraphRunner:
    """Takes the steps of one stage: the first few eagerly, the others by replaying a graph.

    Steps with equal `Stage.schedule_key` update the same players in the same order and share one graph and its input
    tensors.
    """

    def __init__(self, step: Step, device: torch.device, capture: Capture) -> None:
        self.step, self.device, self.capture = step, device, capture
        self.inputs: dict[Hashable, Batch] = {}
        self.tensors: dict[tuple[float, float], Tensor] = {}
        self.eager_steps: Counter[Hashable] = Counter()
        self.replays: dict[Hashable, Callable[[], None]] = {}

    def train_step(self, batch: Batch, clock: Clock, schedule_key: Hashable) -> None:
        """Take one step. CannotCapture if the step had to be captured and that failed; no weight changes then."""
        device_clock = DeviceClock(clock.stage, clock.step, clock.steps, self.tensors, self.device)
        device_clock.update_tensors()
        inputs = self._copy_inputs(batch, schedule_key)
        if schedule_key not in self.replays and self.eager_steps[schedule_key] < WARMUP_STEPS:
            self.step(inputs, device_clock)
            self.eager_steps[schedule_key] += 1
            return
        if schedule_key not in self.replays:
            try:
                self.replays[schedule_key] = self.capture(lambda: self.step(inputs, device_clock))
            except RuntimeError as error:
                cause = error.__context__ or error  # the operation that ended the capture
                raise CannotCapture(str(cause).partition("\n")[0]) from error
        self.replays[schedule_key]()

    def _copy_inputs(self, batch: Batch, schedule_key: Hashable) -> Batch:
        """Copy the batch into the graph's input tensors and return these. A batch of another shape drops the graph."""
        inputs = self.inputs.get(schedule_key, {})
        if _shapes(batch) != _shapes(inputs):
            inputs = self.inputs[schedule_key] = {name: torch.empty_like(value) for name, value in batch.items()}
            self.eager_steps.pop(schedule_key, None)
            self.replays.pop(schedule_key, None)
        for name, value in batch.items():
            inputs[name].copy_(value, non_blocking=True)
        return inputs


def _shapes(batch: Batch) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in batch.items()}


class CudaCapture:
    """Captures functions as CUDA graphs that share one memory pool."""

    def __init__(self) -> None:
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        """Capture `work` and return a function that replays it."""
        graph = torch.cuda.CUDAGraph()
        # "thread_local": other threads pin memory for the next batches meanwhile
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            work()
        replay: Callable[[], None] = graph.replay
        return replay
