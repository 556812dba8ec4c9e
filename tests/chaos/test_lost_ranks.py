"""T6, T10: two processes train one run; one of them dies or hangs, or there was only one of them before."""

import signal
import sys

import pytest
import torch
from commands import TINY, diptych, numbers
from faults import before_step, newest_step
from forks import ranks

from diptych.runs import checkpoint
from diptych.runs.events import read_events
from diptych.system import distributed

APART = [word for word in TINY if word != "batch_size=2"]
APART += ["batch_size=4", "precision=fp32", "norm=instance", "d_norm=instance", "dropout=none"]


def impatient():
    """Who does not answer for half a second is lost."""
    distributed.ROLL_CALL_SECONDS = 0.5


@pytest.mark.parametrize(("number", "lost"), [(signal.SIGKILL, 1), (signal.SIGSTOP, 0)])
def test_the_other_one_names_the_lost_rank_and_ends(number, lost, child, tmp_path):
    """T6: dead or hanging; its stack is told, nothing is left running, and the run goes on.

    Rank 0 keeps what all processes meet at: with it that is gone, too. `benchmarks/chaos.py` has torchrun between them.
    """
    run = tmp_path / "run"
    words = [*APART, "steps=100000", "log_every=1", "checkpoint_minutes=0.001", "rank_timeout_minutes=0.02"]
    both = ranks(child, "train", "pix2pix", *words, "-o", run, fault=impatient)
    both[0].until(lambda: len(list((run / "checkpoints").glob("0-*[1-9]*.safetensors"))) > 0)
    both[lost].kill(number)
    other = both[1 - lost]
    assert other.ended(20) == 3, other.error
    said = other.error.splitlines()[-1]
    assert f"rank {lost} of 2 died or hangs. Nothing of this step is saved" in said
    assert "diptych resume" in said
    assert 'system/distributed.py", line' in other.error, "no stack is told"
    if number == signal.SIGSTOP:
        both[lost].kill(signal.SIGKILL)
    assert both[lost].ended() == -signal.SIGKILL
    at = newest_step(run)
    allowed = ["--allow", "steps", "--allow", "processes"]
    assert diptych("resume", run, f"steps={at + 2}", *allowed).exit_code == 0
    assert newest_step(run) == at + 2


def test_a_rank_lost_before_the_first_step_is_named(child, tmp_path):
    """T6: while the other one waits for it."""
    both = ranks(
        child, "train", "pix2pix", *APART, "steps=2", "rank_timeout_minutes=0.02", "-o", tmp_path / "run", fault=late
    )
    assert both[1].ended(30) == 3, both[1].error
    assert "error: before the first step: rank 0 of 2 died or hangs" in both[1].error


def late():
    """The first rank never comes to where the second waits for it."""
    from diptych.workflows import train

    impatient()
    if distributed.os.environ["RANK"] == "0":
        train.check_images = lambda *words: sys.exit(9)


def test_a_run_of_one_process_goes_on_with_two(child, tmp_path):
    """T10: never silently; the same samples, so the same weights up to the order of additions; the log tells it."""
    words = [*APART, "steps=6", "log_every=2", "preview_every=6", "lr=1e-4"]
    assert diptych("train", "pix2pix", *words, "-o", tmp_path / "whole").exit_code == 0
    run = tmp_path / "run"
    assert child("train", "pix2pix", *words, "-o", run, fault=stopped_at_three).ended() == 143
    assert newest_step(run) == 3
    first, second = ranks(child, "resume", run, fault=impatient)
    assert (first.ended(), second.ended()) in ((2, 2), (2, 3)), "the second may find the first gone already"
    assert "\n  processes: 1 -> 2\n" in first.error
    for each in ranks(child, "resume", run, "--allow", "processes"):
        assert each.ended() == 0, each.error
    (told,) = (event for event in read_events(run / "events.jsonl") if event["event"] == "resume")
    assert (told["step"], told["changed"]) == (3, {"processes": [1, 2]})
    assert [line[:2] for line in numbers(run)] == [line[:2] for line in numbers(tmp_path / "whole")]
    ours, theirs = (checkpoint.load_newest(folder / "checkpoints")[0] for folder in (run, tmp_path / "whole"))
    names = [name for name in ours if name.startswith("method.")]
    worst = max(float((ours[name] - theirs[name]).abs().max()) for name in names)
    print("worst", worst)
    assert worst < 1e-6
    assert any(not torch.equal(ours[name], theirs[name]) for name in names), "nothing was added up"


def stopped_at_three():
    before_step(2, lambda: signal.raise_signal(signal.SIGTERM))
