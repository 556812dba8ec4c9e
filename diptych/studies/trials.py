"""The trials of a rater: a pure function of the study and the rater's number, so that a restart continues exactly.

Over the raters, each image of each method is shown equally often, each method at each position equally often (forced
balance for a rater, a Latin square over methods), and no rater sees an image twice except where a trial is repeated.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from diptych.errors import ConfigError
from diptych.seeds import random_state
from diptych.studies.design import REAL, Design

Phase = Literal["practice", "main", "attention", "repeat"]
OBVIOUS = "obvious"  # the arm of degraded images in attention checks


@dataclass(frozen=True)
class Shown:
    """One image at one position of a trial."""

    arm: str  # name of a method, REAL or OBVIOUS
    image: str


@dataclass(frozen=True)
class Trial:
    """What one page shows, by position, and the correct answer, if there is one."""

    number: int
    phase: Phase
    shown: tuple[Shown, ...]
    correct: int | None  # position; for single images 1 is fake and 0 real
    repeats: int | None = None  # number of the trial that it repeats


@dataclass(frozen=True)
class Stimuli:
    """Names of the images that all methods of a study have, and whether there are real ones."""

    methods: tuple[str, ...]
    images: tuple[str, ...]
    has_real: bool


Page = tuple[Phase, tuple[Shown, ...], int | None]  # a trial without its number


def trials_for(design: Design, stimuli: Stimuli, study: str, rater: int) -> list[Trial]:
    """Return the trials of rater number `rater` (from 0) of a study with this SHA-256. ConfigError for too few images.

    Practice comes first, then main trials and attention checks in random order, then repeats.
    """
    check_stimuli(design, stimuli)
    study_seed = int(study[:8], 16)
    random = random_state(study_seed, "rater", rater)
    order = random_state(study_seed, "images").permutation(len(stimuli.images))
    names = [stimuli.images[at] for at in order]
    plan = _Plan(design, stimuli, rater, random)
    pages = plan.practice(names[: design.practice]) + plan.main(names[design.practice :])
    trials = [Trial(number, *page) for number, page in enumerate(pages)]
    return trials + _repeats(design, trials, random)


def check_stimuli(design: Design, stimuli: Stimuli) -> None:
    """Raise ConfigError if a design needs other methods or more images."""
    methods = len(stimuli.methods)
    if design.kind == "real_or_fake" and not stimuli.has_real:
        raise ConfigError("a real-or-fake study compares with real images: give their folder (--real FOLDER)")
    if methods < (at_least := 2 if design.kind in ("a_b", "best_of_n") else 1):
        raise ConfigError(f"{design.kind}: got {methods} methods, expected at least {at_least}")
    if (count := len(stimuli.images)) < (needed := design.practice + inputs_each(design, stimuli)):
        raise ConfigError(
            f"a rater sees {needed} inputs; the methods have {count} in common: lower trials, practice or "
            f"attention_checks in a design file (--design FILE.yaml), or give more images"
        )


def inputs_each(design: Design, stimuli: Stimuli) -> int:
    """Return the number of inputs that a rater sees after practice. Opinion scores are of all arms of an input."""
    main = design.trials
    if design.kind == "opinion_score":
        main = -(-design.trials // len(_arms(stimuli)))
    return main * (1 + design.other_input) + design.attention_checks


def _arms(stimuli: Stimuli) -> tuple[str, ...]:
    return stimuli.methods + ((REAL,) if stimuli.has_real else ())


@dataclass
class _Plan:
    """The pages of one rater."""

    design: Design
    stimuli: Stimuli
    rater: int
    random: np.random.RandomState

    def practice(self, names: Sequence[str]) -> list[Page]:
        """Return pages whose answer is known, for feedback; with a correct answer only where real images exist."""
        arms = [self._arms_of(number) for number in range(len(names))]
        if self.design.kind != "real_or_fake":
            return [self._obvious(name, "practice", number) for number, name in enumerate(names)]
        return self._detection("practice", arms, [(name, name) for name in names])

    def main(self, names: Sequence[str]) -> list[Page]:
        """Return main trials and attention checks in random order, of the next inputs of the study."""
        design, count = self.design, inputs_each(self.design, self.stimuli)
        turn = self.rater // len(self.stimuli.methods) if design.one_method_each else self.rater
        own = [names[(turn * count + at) % len(names)] for at in range(count)]
        checks, own = own[: design.attention_checks], own[design.attention_checks :]
        if design.staircase:  # the halves of each block stay together
            return self._main([own[at] for at in self.random.permutation(len(own))])
        pages = self._main(own) + [self._obvious(name, "attention", at) for at, name in enumerate(checks)]
        return [pages[at] for at in self.random.permutation(len(pages))]

    def _main(self, names: Sequence[str]) -> list[Page]:
        trials = self.design.trials
        if self.design.kind == "opinion_score":
            grid = [(Shown(arm, name),) for name in names for arm in _arms(self.stimuli)]
            return [("main", shown, None) for shown in grid[:trials]]
        arms = [self._arms_of(number) for number in range(trials)]
        if self.design.kind == "real_or_fake":
            others = names[trials:] if self.design.other_input else names
            return self._detection("main", arms, list(zip(names[:trials], others, strict=True)))
        if self.design.kind == "a_b":
            arms = [pair[::-1] if flip else pair for pair, flip in zip(arms, self._half(trials), strict=True)]
        return [("main", tuple(Shown(arm, name) for arm in row), None) for row, name in zip(arms, names, strict=True)]

    def _arms_of(self, number: int) -> tuple[str, ...]:
        """Return the arms of main trial `number`; methods, pairs and orders of methods take turns over the raters."""
        methods, turn = self.stimuli.methods, number + self.rater
        if self.design.kind == "real_or_fake":
            return (methods[self.rater % len(methods) if self.design.one_method_each else turn % len(methods)], REAL)
        if self.design.kind == "a_b":
            pairs = list(itertools.combinations(methods, 2))
            return pairs[turn % len(pairs)]
        row = tuple(methods[(turn + at) % len(methods)] for at in range(len(methods)))  # of a cyclic Latin square
        return row[::-1] if turn // len(methods) % 2 else row

    def _detection(self, phase: Phase, arms: Sequence[tuple[str, ...]], names: Sequence[tuple[str, str]]) -> list[Page]:
        """Return pages with a generated image and a real one of names (generated, real), or with one of the two."""
        pages: list[Page] = []
        for (method, _), (name, real), fake_first in zip(arms, names, self._fake_first(len(arms)), strict=True):
            fake = Shown(method, name)
            if self.design.presentation == "single":
                pages.append((phase, (fake if fake_first else Shown(REAL, name),), int(fake_first)))
                continue
            shown = (fake, Shown(REAL, real)) if fake_first else (Shown(REAL, real), fake)
            pages.append((phase, shown, self._correct(shown)))
        return pages

    def _correct(self, shown: Sequence[Shown]) -> int:
        """Return the position of the image that a real-or-fake study asks for."""
        wants_real = self.design.ask_for == "real"
        return next(at for at, image in enumerate(shown) if (image.arm == REAL) == wants_real)

    def _obvious(self, name: str, phase: Phase, number: int) -> Page:
        """Return a page with a degraded image beside a good one, or many of them beside one; single ones alone."""
        good = Shown(REAL if self.stimuli.has_real else self.stimuli.methods[0], name)
        bad = Shown(OBVIOUS, name)
        if self.design.presentation == "single":
            if self.design.kind == "opinion_score":  # the lowest score, or for practice with real images the highest
                top = phase == "practice" and self.stimuli.has_real and number % 2
                return phase, (good if top else bad,), self.design.scores[1 if top else 0]
            return phase, (bad,), 1
        positions = 2 if self.design.kind != "best_of_n" else len(self.stimuli.methods)
        place = int(self.random.randint(positions))
        if self.design.kind == "real_or_fake" and self.design.ask_for == "fake":
            return phase, tuple(bad if at == place else good for at in range(positions)), place
        return phase, tuple(good if at == place else bad for at in range(positions)), place

    def _fake_first(self, count: int) -> list[bool]:
        """Return which trials show the generated image first, or show it at all: half of each block of a staircase."""
        blocks = self.design.staircase.blocks if self.design.staircase else 1
        return [value for _ in range(blocks) for value in self._half(count // blocks)]

    def _half(self, count: int) -> list[bool]:
        """Return a random order of as many true as false, or one more of either."""
        values = (np.arange(count) + self.random.randint(2)) % 2 == 0
        return [bool(value) for value in self.random.permutation(values)]


def _repeats(design: Design, trials: Sequence[Trial], random: np.random.RandomState) -> list[Trial]:
    """Return some main trials again, with the sides exchanged, from the first half of the study where it has enough."""
    main = [trial for trial in trials if trial.phase == "main"]
    early = main[: max(design.repeats, len(main) // 2)]
    chosen = [early[at] for at in random.permutation(len(early))[: design.repeats]]
    repeated = []
    for number, trial in enumerate(chosen, len(trials)):
        shown = trial.shown[::-1]
        correct = trial.correct
        if correct is not None and len(shown) > 1:
            correct = len(shown) - 1 - correct
        repeated.append(
            replace(trial, number=number, phase="repeat", shown=shown, correct=correct, repeats=trial.number)
        )
    return repeated
