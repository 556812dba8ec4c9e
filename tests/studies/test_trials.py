"""Designs, presets and the trials that they give each rater."""

import re
from collections import Counter

import pytest

from diptych.errors import ConfigError
from diptych.studies.design import REAL, design_of
from diptych.studies.presets import PRESETS
from diptych.studies.texts import LANGUAGES, texts
from diptych.studies.trials import OBVIOUS, Stimuli, inputs_each, trials_for

STUDY = "5" * 64


def stimuli(methods=3, images=400, has_real=True):
    return Stimuli(tuple(f"m{n}" for n in range(methods)), tuple(f"{n:03d}.png" for n in range(images)), has_real)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_shows_what_it_counts_and_no_image_twice(preset):
    design = design_of(preset)
    for rater in range(5):
        trials = trials_for(design, stimuli(images=500), STUDY, rater)
        phases = Counter(trial.phase for trial in trials)
        assert phases == Counter(
            practice=design.practice, main=design.trials, attention=design.attention_checks, repeat=design.repeats
        )
        assert [trial.number for trial in trials] == list(range(len(trials)))
        assert [trial.phase for trial in trials[: design.practice]] == ["practice"] * design.practice
        seen = Counter(image for trial in trials if trial.phase == "main" for image in trial.shown)
        assert max(seen.values()) == 1
        if design.kind != "opinion_score":
            inputs = Counter(image.image for trial in trials for image in set(trial.shown[:1]))
            assert max(inputs.values()) == 1


@pytest.mark.parametrize(
    ("preset", "counts"),
    [
        ("pix2pix-2017", (10, 40, 0, 50)),
        ("cyclegan-2017", (10, 40, 0, 25)),
        ("colorization-2016", (10, 36, 4, 40)),
        ("starganv2-2020", (0, 100, 5, 10)),
        ("srgan-mos-2017", (20, 1128, 0, 26)),
        ("hype-infinity", (10, 100, 0, 30)),
        ("hype-time", (0, 450, 0, 30)),
    ],
)
def test_counts_are_those_of_the_papers(preset, counts):
    design = design_of(preset)
    assert (design.practice, design.trials, design.attention_checks, design.raters) == counts


def test_a_design_of_an_earlier_version_keeps_its_hash():
    hashed = "580810d18b2b93dad56a4b68050e1418ab3210306171014d1b0374e43d312834"  # before `staircase` and `obvious`
    assert design_of("pix2pix-2017").digest() == hashed
    assert design_of("pix2pix-2017", obvious="random_colours").digest() != hashed


def test_trials_follow_from_the_study_and_the_rater_alone():
    design = design_of("pix2pix-2017")
    assert trials_for(design, stimuli(), STUDY, 3) == trials_for(design, stimuli(), STUDY, 3)
    assert trials_for(design, stimuli(), STUDY, 3) != trials_for(design, stimuli(), STUDY, 4)
    assert trials_for(design, stimuli(), STUDY, 3) != trials_for(design, stimuli(), "6" * 64, 3)


@pytest.mark.parametrize("preset", ["pix2pix-2017", "cyclegan-2017", "hype-infinity"])
def test_sides_are_balanced_for_each_rater_and_the_correct_answer_is_right(preset):
    design = design_of(preset)
    for rater in range(4):
        main = [trial for trial in trials_for(design, stimuli(), STUDY, rater) if trial.phase == "main"]
        first = sum(trial.shown[0].arm == REAL for trial in main)
        assert abs(2 * first - len(main)) <= 1
        for trial in main:
            if len(trial.shown) == 1:
                assert trial.correct == int(trial.shown[0].arm != REAL)
            else:
                assert (trial.shown[trial.correct].arm == REAL) == (design.ask_for == "real")
        assert len({image.arm for trial in main for image in trial.shown} - {REAL}) == 1, "one method for each rater"


def test_each_block_of_a_staircase_is_half_real():
    design = design_of("hype-time")
    for rater in range(3):
        trials = trials_for(design, stimuli(images=450), STUDY, rater)
        for start in range(0, 450, 150):
            assert sum(trial.shown[0].arm == REAL for trial in trials[start : start + 150]) == 75


def test_methods_are_at_each_position_equally_often_and_images_in_turn():
    design = design_of("stargan-2018", trials=30)
    positions, images = Counter(), Counter()
    for rater in range(20):
        for trial in trials_for(design, stimuli(images=360), STUDY, rater):
            if trial.phase == "main":
                positions.update((image.arm, at) for at, image in enumerate(trial.shown))
                images[trial.shown[0].image] += 1
    assert set(positions.values()) == {200}
    assert max(images.values()) - min(images.values()) <= 1


def test_pairs_of_methods_and_their_sides_are_balanced():
    design = design_of(
        kind="a_b",
        presentation="side_by_side",
        questions=[{"key": "better", "text": "Which?"}],
        ask_for="better",
        exposure_ms=None,
        practice=0,
        trials=30,
        raters=20,
    )
    pairs = Counter()
    for rater in range(40):
        pairs.update(tuple(image.arm for image in trial.shown) for trial in trials_for(design, stimuli(), STUDY, rater))
    assert len(pairs) == 6
    for one, other in {tuple(sorted(pair)) for pair in pairs}:
        assert pairs[one, other] + pairs[other, one] == 400
        assert abs(pairs[one, other] - pairs[other, one]) < 60


def test_repeats_exchange_the_sides_and_attention_checks_are_obvious():
    design = design_of("pix2pix-2017", repeats=4, attention_checks=6, ask_for="fake")
    trials = trials_for(design, stimuli(), STUDY, 0)
    for trial in trials:
        if trial.phase == "repeat":
            first = trials[trial.repeats]
            assert trial.shown == first.shown[::-1]
            assert trial.shown[trial.correct] == first.shown[first.correct]
        if trial.phase == "attention":
            assert trial.shown[trial.correct].arm == OBVIOUS


def test_a_real_image_of_another_input():
    design = design_of("pix2pix-2017", other_input=True)
    assert inputs_each(design, stimuli()) == 80
    for trial in trials_for(design, stimuli(), STUDY, 1):
        if trial.phase == "main":
            assert len({image.image for image in trial.shown}) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"preset": "pix2pix"}, "unknown preset 'pix2pix'.*pix2pix-2017"),
        ({"preset": "pix2pix-2017", "ask_for": "better"}, "asks for the fake or the real"),
        ({"preset": "stargan-2018", "presentation": "single"}, "compares images"),
        ({"preset": "pix2pix-2017", "repeats": 41}, "only 40 trials"),
        ({"preset": "pix2pix-2017", "trails": 41}, "trails"),
        ({"preset": "pix2pix-2017", "exposure_ms": 5}, "exposure_ms"),
        ({"preset": "hype-time", "trials": 400}, "not a multiple of the 3 blocks"),
        ({"preset": "hype-time", "practice": 10}, "set practice, attention_checks and repeats to 0"),
        ({"preset": "hype-time", "exposure_ms": 50}, "the staircase begins there"),
        ({"preset": "hype-time", "one_method_each": False}, "single real or fake images of one method each"),
    ],
)
def test_a_design_that_does_not_fit_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        design_of(**given)


@pytest.mark.parametrize(
    ("preset", "given", "message"),
    [
        ("pix2pix-2017", {"images": 49}, "a rater sees 50 inputs; the methods have 49 in common"),
        ("pix2pix-2017", {"has_real": False}, "real-or-fake study compares with real images"),
        ("stargan-2018", {"methods": 1}, "got 1 methods, expected at least 2"),
    ],
)
def test_stimuli_that_do_not_suffice_are_refused(preset, given, message):
    with pytest.raises(ConfigError, match=message):
        trials_for(design_of(preset), stimuli(**given), STUDY, 0)


def test_questions_of_presets_are_in_every_language_of_the_page():
    for preset in PRESETS:
        for question in design_of(preset).questions:
            assert set(question.text) == set(LANGUAGES), preset


@pytest.mark.parametrize(
    "words", [{"en": "Which?"}, {"en": "Which?", "zh": "哪张？", "xx": "?"}, {"en": "Which?", "zh": ""}, ""]
)
def test_words_are_one_text_or_one_for_each_language(words):
    question = {"key": "best", "text": words, "show_input": True}
    with pytest.raises(ConfigError, match=r"questions.*text"):
        design_of("stargan-2018", questions=[question])
    assert design_of("stargan-2018", questions=[{**question, "text": "Which?"}]).questions[0].text == "Which?"


def test_the_page_has_the_same_texts_in_every_language():
    english, *others = [texts(language) for language in LANGUAGES]
    for other in others:
        assert list(other) == list(english)
        for key, text in english.items():
            assert set(re.findall(r"{\w+}", other[key])) == set(re.findall(r"{\w+}", text)), key
