"""The answers of a study as votes, and the participants that its rules exclude."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diptych.studies.design import Design
from diptych.studies.opinion_scores import screened
from diptych.studies.staircase import next_exposure
from diptych.studies.store import Answer
from diptych.studies.study_folder import StudyFolder
from diptych.studies.trials import OBVIOUS, Shown

MIN_VOTES_FOR_SAME = 10  # of main trials, before the share of the most frequent answer says anything


@dataclass(frozen=True)
class Vote:
    """An answer with the trial that it is about. `off` says that an exposure was off by more than a frame."""

    rater: int
    trial: int
    phase: str
    question: str
    shown: tuple[Shown, ...]
    answer: int
    correct: int | None
    response_ms: int
    exposure_ms: int | None  # of the design
    off: bool
    repeats: int | None  # number of the trial that it repeats


def votes_of(study: StudyFolder, answers: Sequence[Answer]) -> list[Vote]:
    """Return the votes of all answers but those to practice trials. The answers of a participant are in order."""
    trials = {number: study.trials(number) for number in {answer.participant for answer in answers}}
    votes = []
    correct: dict[int, list[bool]] = {number: [] for number in trials}
    for answer in answers:
        trial = trials[answer.participant][answer.trial]
        exposure = next_exposure(study.design, correct[answer.participant])
        correct[answer.participant].append(answer.answer == trial.correct)
        if trial.phase != "practice":
            votes.append(
                Vote(
                    answer.participant,
                    answer.trial,
                    trial.phase,
                    answer.question,
                    trial.shown,
                    answer.answer,
                    trial.correct,
                    answer.response_ms,
                    exposure,
                    _is_off(study.design, exposure, answer, len(trial.shown)),
                    trial.repeats,
                )
            )
    return votes


def _is_off(design: Design, exposure: int | None, answer: Answer, images: int) -> bool:
    """Return whether an image was not shown for `exposure` ms, by more than one frame, or was not measured."""
    if exposure is None:
        return False
    frame = 1000 / (float(answer.measured.get("refresh_hz") or 0) or 60)
    times = [measured for _, measured, _ in answer.measured["exposures"]]
    expected = images if design.presentation == "sequential" else 1
    return len(times) != expected or any(abs(time - exposure) > 1.01 * frame for time in times)


def excluded(design: Design, votes: Sequence[Vote], due: int) -> dict[int, str]:
    """Return the reason for each participant that the rules of the design exclude; `due` is the number of answers.

    The rules were fixed with the design, before the answers.
    """
    own: dict[int, list[Vote]] = {}
    for vote in votes:
        own.setdefault(vote.rater, []).append(vote)
    found = {rater: reason for rater, each in own.items() if (reason := _reason(design, each, due))}
    if design.exclude.bt500:
        main = [vote for vote in votes if vote.phase == "main" and vote.rater not in found]
        stimuli = np.array([f"{vote.shown[0].arm}/{vote.shown[0].image}" for vote in main])
        raters, scores = np.array([vote.rater for vote in main]), np.array([vote.answer for vote in main])
        found |= {int(rater): "ITU-R BT.500" for rater in screened(scores, stimuli, raters)}
    return found


def _reason(design: Design, votes: Sequence[Vote], due: int) -> str:
    """Return the rule by which a participant is excluded; `` if there is none."""
    rules = design.exclude
    if len(votes) < due:
        return f"answered {len(votes)} of {due}"
    checks = [passed(design, vote) for vote in votes if vote.phase == "attention"]
    if checks.count(False) > rules.failures_allowed(len(checks)):
        return f"{sum(checks)} of {len(checks)} attention checks"
    middle = float(np.median([vote.response_ms for vote in votes]))
    if middle < rules.min_response_ms:
        return f"median response of {middle:.0f} ms"
    main = [vote.answer for vote in votes if vote.phase == "main"]
    if len(main) >= MIN_VOTES_FOR_SAME:
        same = Counter(main).most_common(1)[0][1] / len(main)
        if same > rules.max_same_answer:
            return f"the same answer in {same:.0%} of trials"
    return ""


def passed(design: Design, vote: Vote) -> bool:
    """Return whether an attention check was answered correctly; an opinion score may be off by one."""
    if design.kind == "opinion_score" and vote.shown[0].arm == OBVIOUS:
        return vote.answer <= design.scores[0] + 1
    return vote.answer == vote.correct
