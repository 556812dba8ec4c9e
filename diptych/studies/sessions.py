"""What a participant's browser is told, and what the server keeps of it."""

import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diptych.studies.design import Design
from diptych.studies.staircase import next_exposure
from diptych.studies.stimuli import INPUT, REFERENCE
from diptych.studies.study_folder import StudyFolder
from diptych.studies.trials import Trial

TIE = -1


@dataclass(frozen=True)
class Session:
    """The trials of a participant, the addresses of their images, and the answers that are due, in order.

    steps: (trial, question) of each answer. files: file of each image by its name in the session.
    """

    design: Design
    trials: Sequence[Trial]
    steps: Sequence[tuple[int, str]]
    files: Mapping[str, str]
    pages: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, study: StudyFolder, secret: bytes, number: int) -> "Session":
        """Return the session of participant `number`; image names are made with the study's secret."""
        design, table, trials = study.design, study.table.files, study.trials(number)
        files: dict[str, str] = {}

        def address(trial: Trial, place: str, arm: str, image: str) -> str | None:
            if arm not in table:
                return None
            name = image_name(secret, number, f"{trial.number}:{place}")
            files[name] = table[arm][image]
            return f"/i/{name}.png"

        has_input = any(question.show_input for question in design.questions)
        has_reference = any(question.show_reference for question in design.questions)
        pages = []
        for trial in trials:
            image = trial.shown[0].image
            pages.append(
                {
                    "number": trial.number,
                    "practice": trial.phase == "practice",
                    "images": [address(trial, str(at), each.arm, each.image) for at, each in enumerate(trial.shown)],
                    "input": address(trial, INPUT, INPUT, image) if has_input else None,
                    "reference": address(trial, REFERENCE, REFERENCE, image) if has_reference else None,
                }
            )
        steps = [(trial.number, question.key) for trial in trials for question in design.questions]
        return cls(design, trials, steps, files, pages)

    def description(self) -> dict[str, Any]:
        """Return what the page needs, which tells nothing of methods, sides, attention checks or repeats."""
        shown = {"presentation", "fixation_ms", "interval_ms", "mask", "break_every", "ties", "kind"}
        shown |= {"scores", "questions"}
        return {**self.design.model_dump(mode="json", include=shown), "trials": self.pages}

    def invalid(self, trial: int, question: str, answer: int) -> tuple[str, str] | None:
        """Return what is wrong with an answer and the field; None if it is a possible answer."""
        if not 0 <= trial < len(self.trials):
            return f"the study has the trials 0 to {len(self.trials) - 1}", "trial"
        if question not in [each.key for each in self.design.questions]:
            return f"the study has the questions {', '.join(each.key for each in self.design.questions)}", "question"
        if answer == TIE and self.design.ties:
            return None
        if self.design.kind == "opinion_score":
            low, high = self.design.scores
        else:
            low, high = 0, max(2, len(self.trials[trial].shown)) - 1
        return None if low <= answer <= high else (f"expected {low} to {high}", "answer")

    def takes(self, step: tuple[int, str], answers: Collection[tuple[int, str]]) -> bool:
        """Return whether `step` is due after these answers."""
        return len(answers) < len(self.steps) and self.steps[len(answers)] == step

    def feedback(self, trial: int, answer: int) -> bool | None:
        """Return whether an answer is correct, for practice trials and a staircase; None for other trials."""
        of = self.trials[trial]
        is_told = of.phase == "practice" or self.design.staircase is not None
        return answer == of.correct if is_told and of.correct is not None else None

    def exposure_ms(self, answers: Mapping[tuple[int, str], int]) -> int | None:
        """Return the exposure of the next trial after these answers, in order of trials."""
        if self.design.staircase is None:
            return self.design.exposure_ms
        return next_exposure(
            self.design, [given == self.trials[trial].correct for (trial, _), given in answers.items()]
        )


def image_name(secret: bytes, number: int, place: str) -> str:
    """Return the name of an image in a session, which says nothing of the image."""
    return hmac.new(secret, f"{number}:{place}".encode(), hashlib.sha256).hexdigest()[:32]
