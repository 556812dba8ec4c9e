"""Simulated participants of known ability, to test a study and its analysis before people take part.

Their answers go into a database of their own (`simulated.sqlite`), so that they never mix with those of people.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.errors import ConfigError
from diptych.seeds import random_state
from diptych.studies.power import ATTENTIVE
from diptych.studies.staircase import next_exposure
from diptych.studies.store import Answer, Store
from diptych.studies.study_folder import StudyFolder
from diptych.studies.trials import OBVIOUS, Trial

RESPONSE_MS = (900, 0.4)  # median and spread of the log-normal response times of honest participants
CLICKER_MS = (350, 0.3)
STEEPNESS = 4.0  # of the logistic function by which errors fall with the logarithm of the exposure
FALSE_ALARMS = 0.2  # probability that an honest participant calls a real image fake, if it is shown alone


@dataclass(frozen=True)
class Population:
    """Who takes part. `truth` is by method: the rate fooled, the strength, the mean opinion score, or for a staircase
    the median over participants of the exposure in ms at which 75 % of answers are right.

    icc: how alike the answers of a participant are (rates fooled). spread: standard deviation between participants of
    strengths, opinion scores and logarithms of exposures. clickers: participants who answer at random.
    """

    truth: Mapping[str, float]
    raters: int = 25
    clickers: int = 0
    icc: float = 0.05
    spread: float = 0.3
    position: float = 0.0  # preference for the second position over the first, as a strength
    seed: int = 0


def simulate(study: StudyFolder, store: Store, population: Population) -> None:
    """Store the answers of simulated participants. ConfigError if a method has no truth or an impossible one."""
    methods = study.table.methods
    if missing := [name for name in methods if name not in population.truth]:
        raise ConfigError(f"simulated participants need the true value of {', '.join(missing)}: give NAME=VALUE")
    if study.design.kind == "real_or_fake":
        steps = study.design.staircase
        low, high = (steps.min_ms, steps.max_ms) if steps else (0, 1)
        if not all(low < population.truth[name] < high for name in methods):
            what = "a threshold in ms" if steps else "a rate fooled"
            raise ConfigError(f"{what} is between {low} and {high}, without them")
    for number in range(population.raters + population.clickers):
        participant = store.join("en").number
        trials = study.trials(participant)
        rater = _Rater(study, population, number, trials, clicks=number >= population.raters)
        answers: list[Answer] = []
        correct: list[bool] = []
        for trial in trials:
            exposure = next_exposure(study.design, correct)
            for question in study.design.questions:
                given = rater.answer(trial, exposure)
                answers.append(Answer(participant, trial.number, question.key, *given, rater.measured(trial, exposure)))
                correct.append(given[0] == trial.correct)
        store.add(answers)
        store.finish(participant)


class _Rater:
    """One simulated participant."""

    def __init__(
        self, study: StudyFolder, population: Population, number: int, trials: Sequence[Trial], clicks: bool
    ) -> None:
        self.design, self.clicks = study.design, clicks
        self.random = random_state(population.seed, "simulated", number)
        self.position = population.position
        self.own = {name: self._own(population, population.truth[name]) for name in study.table.methods}
        self.method = next((each.arm for trial in trials for each in trial.shown if each.arm in self.own), "")

    def _own(self, population: Population, truth: float) -> float:
        """Return the value of a method for this participant."""
        if self.design.staircase:
            return float(truth * np.exp(self.random.normal(0, population.spread)))
        if self.design.kind != "real_or_fake":
            return float(truth + self.random.normal(0, population.spread))
        if not population.icc:
            return truth
        size = 1 / population.icc - 1
        return float(self.random.beta(truth * size, (1 - truth) * size))

    def answer(self, trial: Trial, exposure: int | None) -> tuple[int, int]:
        """Return the answer to a trial of an exposure in ms, and the response time in ms."""
        median, spread = CLICKER_MS if self.clicks else RESPONSE_MS
        milliseconds = int(median * np.exp(self.random.normal(0, spread)))
        return self._choice(trial, exposure), milliseconds

    def measured(self, trial: Trial, exposure: int | None) -> dict[str, list[tuple[float, float, float]]]:
        """Return exposures as they were requested."""
        count = len(trial.shown) if self.design.presentation == "sequential" else 1
        return {"exposures": [(exposure, exposure, 0.0)] * count if exposure else []}

    def _choice(self, trial: Trial, exposure: int | None) -> int:
        low, high = self._answers(trial)
        guess = int(self.random.randint(low, high + 1))
        if self.clicks:
            return guess
        arms = [each.arm for each in trial.shown]
        if OBVIOUS in arms and trial.correct is not None:
            return trial.correct if self.random.random() < ATTENTIVE else guess
        if self.design.kind == "real_or_fake":
            assert trial.correct is not None
            method = next((arm for arm in arms if arm in self.own), None)
            if exposure and self.design.staircase:
                rate = 0.5 / (1 + (exposure / self.own[self.method]) ** STEEPNESS)
            else:
                rate = self.own[method] if method else FALSE_ALARMS
            return 1 - trial.correct if self.random.random() < rate else trial.correct
        if self.design.kind == "opinion_score":
            score = self.own.get(arms[0], high) + self.random.normal(0, 0.5)
            return int(np.clip(np.rint(score), low, high))
        strengths = [self.own.get(arm, 0.0) + self.position * (at > 0) for at, arm in enumerate(arms)]
        return int(np.argmax(np.array(strengths) + self.random.gumbel(size=len(arms))))

    def _answers(self, trial: Trial) -> tuple[int, int]:
        if self.design.kind == "opinion_score":
            return self.design.scores
        return 0, max(2, len(trial.shown)) - 1
