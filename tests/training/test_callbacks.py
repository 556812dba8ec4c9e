"""Callbacks: each hook is called in order, what they change nothing in, and what an exception in one does."""

import io

import pytest
import torch
from commands import TINY, diptych, numbers
from PIL import Image
from rich.console import Console

from diptych.errors import CallbackError
from diptych.runs import checkpoint
from diptych.runs.events import read_events
from diptych.settings.recipe import load_recipe
from diptych.training.callbacks import Callback
from diptych.workflows import train


def newest(folder):
    return checkpoint.find_newest(folder)[1]


SHORT = [*TINY, "steps=6", "log_every=2", "preview_every=3"]


class Record(Callback):
    def __init__(self):
        self.calls = []

    def on_start(self, context):
        self.calls.append(("start", context.step))

    def on_step(self, context):
        self.calls.append(("step", context.step))

    def on_log(self, context):
        self.calls.append(("log", context.event["event"]))

    def on_preview(self, context):
        assert isinstance(context.preview, Image.Image)
        assert context.errors.keys() == {"source->target"}
        self.calls.append(("preview", context.step))

    def on_evaluation(self, context):
        assert context.scores
        self.calls.append(("evaluation", context.step))

    def on_checkpoint(self, context):
        assert context.checkpoint.is_file()
        self.calls.append(("checkpoint", context.step))

    def on_end(self, context):
        assert context.losses.keys() >= {"G/l1", "G/gan"}
        self.calls.append(("end", context.step))


class Fail(Callback):
    def on_step(self, context):
        if context.step == 4:
            raise ValueError("no such thing")


class Stop(Callback):
    def on_step(self, context):
        if context.step == 4:
            context.stop()


def trained(folder, *callbacks, more=()):
    return train.train(load_recipe("pix2pix", [*SHORT, *more]), folder, Console(file=io.StringIO()), callbacks)


def test_each_hook_is_called_at_its_time(tmp_path):
    record = Record()
    trained(tmp_path / "run", record, more=["eval_every=6", "eval_images=4", "extractor=none"])
    assert record.calls[0] == ("start", 0)
    assert record.calls[-2:] == [("checkpoint", 6), ("end", 6)]
    assert [step for what, step in record.calls if what == "step"] == [1, 2, 3, 4, 5, 6]
    assert [step for what, step in record.calls if what == "preview"] == [3, 6]
    assert [step for what, step in record.calls if what == "evaluation"] == [0, 6]
    logged = [kind for what, kind in record.calls if what == "log"]
    assert logged == [event["event"] for event in read_events(tmp_path / "run" / "events.jsonl")]


def test_a_callback_changes_no_number(run, tmp_path):
    trained(tmp_path / "run", Record())
    assert numbers(tmp_path / "run") == numbers(run)
    ours, theirs = (newest(folder / "checkpoints")[0] for folder in (tmp_path / "run", run))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_an_exception_is_named_and_costs_no_step(run, tmp_path):
    with pytest.raises(CallbackError, match=r"step 4: callback Fail.on_step failed \(ValueError: no such thing\)"):
        trained(tmp_path / "run", Record(), Fail())
    assert newest(tmp_path / "run" / "checkpoints")[1]["step"] == 4
    assert diptych("resume", tmp_path / "run").exit_code == 0
    ours, theirs = (newest(folder / "checkpoints")[0] for folder in (tmp_path / "run", run))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("hook", ["on_start", "on_log", "on_preview", "on_checkpoint", "on_end"])
def test_every_hook_is_named_when_it_fails(hook, tmp_path):
    def fail(self, context):
        raise OSError("disk")

    with pytest.raises(CallbackError, match=rf"callback Broken.{hook} failed \(OSError: disk\)"):
        trained(tmp_path / "run", type("Broken", (Callback,), {hook: fail})())
    assert (
        newest(tmp_path / "run" / "checkpoints")[1]["step"]
        == {
            "on_start": 0,
            "on_log": 2,
            "on_preview": 3,
            "on_checkpoint": 3,
            "on_end": 6,
        }[hook]
    )


def test_a_callback_may_stop_the_training(tmp_path):
    trainer = trained(tmp_path / "run", Stop())
    assert trainer.stopped is None
    assert newest(tmp_path / "run" / "checkpoints")[1]["step"] == 4
