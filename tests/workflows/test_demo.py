"""The demo chooses a number of steps that fits into two minutes, and says so before it trains."""

import re

import pytest
from commands import diptych

from diptych.settings import recipe
from diptych.training.engine import Engine
from diptych.workflows import demo

FULL = recipe.load_recipe("glyphs").model.steps


@pytest.mark.parametrize(
    ("each", "steps"),
    [
        (0.01, FULL),
        (0.9 * 120 / FULL, FULL),  # all of them just fit
        (0.0901, FULL - 100),
        (0.2, 500),  # 540 fit
        (0.27, 400),
        (0.3, demo.FEWEST_STEPS),  # only 360 fit
        (30.0, demo.FEWEST_STEPS),
    ],
)
def test_as_many_steps_as_two_minutes_allow(each, steps):
    assert demo.affordable_steps(each, FULL) == steps
    assert steps * each <= demo.TRAINING_SECONDS or steps == demo.FEWEST_STEPS


def test_a_recipe_shorter_than_the_floor_keeps_its_steps():
    assert demo.affordable_steps(30.0, 3) == 3


@pytest.mark.parametrize(
    ("each", "says"),
    [
        (0.05, "20.0 steps/s on this machine: 1200 steps, about 1.0 minutes of training."),
        (
            0.2,
            "5.0 steps/s on this machine: 500 steps, about 1.7 minutes of training instead of 4.0 for the recipe's "
            "1200 steps; for these use --steps 1200.",
        ),
        (
            0.6,
            "1.7 steps/s on this machine: 400 steps, about 4.0 minutes of training instead of 12.0 for the recipe's "
            "1200 steps; for these use --steps 1200. That is more than 2 minutes, but fewer steps give poor letters.",
        ),
    ],
)
def test_the_expected_time_is_said(each, says):
    assert demo.describe_estimate(each, demo.affordable_steps(each, 1200), 1200) == says


def test_it_is_said_before_training_starts(tmp_path, monkeypatch):
    class Started(Exception):
        pass

    def start(chosen, folder):
        raise Started(chosen.model.steps)

    monkeypatch.setattr(demo, "seconds_per_step", lambda chosen: 0.2)
    monkeypatch.setattr(demo.train, "train", start)
    with pytest.raises(Started, match=r"^500$"):
        demo.run_demo(tmp_path / "demo", None)


def test_steps_are_timed_with_their_batches(monkeypatch):
    taken = []
    monkeypatch.setattr(demo, "TIMED_SECONDS", 0.0)
    monkeypatch.setattr(Engine, "train_step", lambda self, batch: taken.append(batch["source"].shape))
    assert 0 < demo.seconds_per_step(recipe.load_recipe("glyphs")) < 60
    assert taken == [(32, 1, 32, 32)] * (demo.WARMUP_STEPS + 1)


def test_the_chosen_number_of_steps_gives_what_it_gives_by_name(tmp_path, monkeypatch):
    """Timing leaves no trace in the numbers."""
    monkeypatch.setattr(demo, "TIMED_SECONDS", 0.0)
    monkeypatch.setattr(demo, "affordable_steps", lambda each, full: 2)
    said = [
        diptych("demo", "-o", tmp_path / f"{len(options)}", *options, env={"COLUMNS": "200"}).stdout
        for options in ([], ["--steps", "2"])
    ]
    assert "steps/s on this machine: 2 steps" in said[0]
    assert said[0].index("on this machine") < said[0].index("stage train from step 0 of 2")
    assert "on this machine" not in said[1]
    errors = [re.search(r"unseen letters is (0\.\d+)", each)[1] for each in said]
    assert errors[0] == errors[1]
