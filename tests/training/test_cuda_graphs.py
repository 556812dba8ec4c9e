"""Recorded steps: what a recording may not hold is on the device. Where there is no GPU, a stand-in does the work again
with the clock of the step that was recorded, as a CUDA graph would.
"""

import pytest
import torch
from torch import nn

from diptych.contract import Method, MethodConfig, Player, Stage
from diptych.errors import ConfigError
from diptych.methods.cyclegan import CycleGAN
from diptych.methods.pix2pix import Pix2Pix
from diptych.settings.train_config import TrainConfig
from diptych.system.distributed import Ranks
from diptych.training.cuda_graphs import WARMUP_STEPS, CudaCapture
from diptych.training.engine import Engine


class Critic(Method):
    """D moves in two steps of three; a weight and a step size fall; noise is drawn."""

    batch, routes, inference_networks = ("x",), (), ("G",)

    def __init__(self):
        super().__init__(MethodConfig(steps=20))
        self.G, self.D = nn.Linear(2, 2), nn.Linear(2, 1)

    def stages(self):
        players = {"G": Player((self.G,), lr=0.1, schedule=lambda clock: clock.decay()), "D": Player((self.D,), lr=0.1)}
        return [Stage("train", 20, self.updates, players, schedule_key=lambda clock: clock.step % 3 == 2)]

    def updates(self, batch, clock):
        made = self.G(batch["x"] + torch.randn_like(batch["x"]))
        yield "D", {"d": self.D(made.detach()).square().mean() * clock.decay(0.2)}
        if clock.step % 3 == 2:
            yield "G", {"g": self.D(made).mean() * clock.decay(0.5, 0.9)}


def engine(capture=None):
    torch.manual_seed(0)
    return Engine(Critic(), capture=capture)


def batches(count=20, rows=4):
    generator = torch.Generator().manual_seed(1)
    return [{"x": torch.randn(rows, 2, generator=generator)} for _ in range(count)]


def trained(made, given):
    lines = []
    for batch in given:
        made.train_step(batch)
        lines.append(made.loss_tracker.close().means())
    return made.state()[0], lines


def same(one, other):
    return one[1] == other[1] and all(torch.equal(value, other[0][name]) for name, value in one[0].items())


def test_a_recording_is_made_for_each_turn_and_does_the_steps():
    recorded = []

    def stand_in(work):
        recorded.append(work)
        return work

    assert same(trained(engine(), batches()), trained(engine(stand_in), batches()))
    assert len(recorded) == 2
    assert 20 - 2 * WARMUP_STEPS > 2, "and both are done again after that"


def test_a_batch_of_another_shape_is_recorded_anew():
    given = [*batches(), *batches(0)]
    given[12:] = batches(8, rows=3)
    assert same(trained(engine(), given), trained(engine(lambda work: work), given))


@pytest.mark.parametrize(
    "said", [RuntimeError("operation not permitted when stream is capturing"), torch.OutOfMemoryError("x")]
)
def test_what_cannot_be_recorded_is_taken_as_it_is(said):
    def refuse(work):
        made.method.G.weight.grad = torch.ones(2, 2)  # never computed: it was only recorded
        raise said

    made = engine(refuse)
    with pytest.warns(UserWarning, match=f"stage 'train': .* captured as a CUDA graph \\({said}\\)") as caught:
        end = trained(made, batches())
    assert len(caught) == 1
    assert same(end, trained(engine(), batches()))


@pytest.mark.parametrize(("record", "ranks"), [(True, Ranks()), (True, Ranks(0, 2, torch.device("cuda")))])
def test_where_steps_cannot_be_recorded_asking_for_it_is_an_error(record, ranks):
    with pytest.raises(ConfigError, match="cuda_graphs=true"):
        TrainConfig(cuda_graphs=record).uses_cuda_graphs(ranks)


def test_steps_are_recorded_on_one_gpu_unless_told_otherwise():
    gpu = Ranks(device=torch.device("cuda"))
    assert TrainConfig().uses_cuda_graphs(gpu)
    assert not TrainConfig(cuda_graphs=False).uses_cuda_graphs(gpu)
    assert not TrainConfig().uses_cuda_graphs(Ranks())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: CUDA graphs cannot be recorded")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("cls", [Pix2Pix, CycleGAN])
def test_cuda_graphs_do_the_steps(cls, precision):
    """Terms as in the plain order, to the precision in use; and no warning, so they were really recorded."""
    lines = []
    for record in (False, True):
        torch.manual_seed(0)
        gpu = Ranks(device=torch.device("cuda"))
        config = cls.Config(**{**cls.checks.tiny, "steps": 20})
        capture = CudaCapture() if record else None
        made = Engine(cls(config), TrainConfig(precision=precision), ranks=gpu, capture=capture)
        generator = torch.Generator().manual_seed(1)
        given = [{n: torch.rand(2, 3, 32, 32, generator=generator) * 2 - 1 for n in cls.batch} for _ in range(20)]
        lines.append(trained(made, given)[1])
        made.verify()
    tolerance = 1e-3 if precision == "fp32" else 5e-2
    for plain, recorded in zip(*lines, strict=True):
        assert recorded == pytest.approx(plain, rel=tolerance, abs=tolerance)
