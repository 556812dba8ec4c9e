"""Exposures that follow from answers, and the threshold that they give."""

import pytest

from diptych.studies.design import design_of
from diptych.studies.staircase import next_exposure, threshold

STEPS = {"blocks": 2, "up_ms": 30, "down_ms": 10, "min_ms": 480, "max_ms": 540}


@pytest.mark.parametrize(
    ("answers", "exposure"),
    [
        ("", 500),
        ("r", 490),
        ("rrr", 480),
        ("rw", 520),
        ("www", 540),
        ("wwwr", 530),
        ("wwwww", 500),
        ("wwwwwr", 490),
    ],
)
def test_exposures_follow_from_the_answers_of_the_block(answers, exposure):
    design = design_of("hype-time", trials=10, staircase=STEPS)
    assert next_exposure(design, [each == "r" for each in answers]) == exposure


def test_the_steps_of_the_preset_hold_75_percent_of_right_answers():
    steps = design_of("hype-time").staircase
    assert 0.75 * steps.down_ms == 0.25 * steps.up_ms


def test_without_a_staircase_the_exposure_is_that_of_the_design():
    assert next_exposure(design_of("pix2pix-2017"), [True, False]) == 1000


def test_the_threshold_is_the_mean_of_the_most_frequent_exposures_of_blocks():
    design = design_of("hype-time", trials=10, staircase=STEPS)
    exposures = [500, 490, 490, 480, 510, 500, 530, 530, 520, 520]
    assert threshold(design, range(10), exposures) == pytest.approx((490 + 525) / 2)
    assert threshold(design, [0, 1, 2, 7], [500, 490, 490, 520]) == pytest.approx((490 + 520) / 2), "some do not count"
