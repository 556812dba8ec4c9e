"""The design of a study: what raters see, for how long, what they are asked, and whose answers count."""

import hashlib
import json
import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from diptych.errors import ConfigError, nearest, shown
from diptych.settings.validate import checked
from diptych.studies.presets import PRESETS
from diptych.studies.texts import Text, Words

Kind = Literal["real_or_fake", "a_b", "best_of_n", "opinion_score"]
Presentation = Literal["sequential", "side_by_side", "single"]
Obvious = Literal["scrambled", "random_colours"]
REAL = "real"  # the arm of real images


class Question(BaseModel):
    """A question about each trial's images, in the words that raters read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: Annotated[str, Field(pattern=r"^[a-z_]{1,30}$")]
    text: Words
    show_input: bool = False
    show_reference: bool = False


class Exclusion(BaseModel):
    """The rules by which raters are excluded from the analysis; they are part of the design, fixed before the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_attention: Annotated[float, Field(ge=0, le=1)] = 0.8  # share of attention checks answered correctly
    min_response_ms: Annotated[int, Field(ge=0, le=10_000)] = 200  # median time from the question to the answer
    max_same_answer: Annotated[float, Field(gt=0, le=1)] = 0.95  # share of the most frequent position or score
    bt500: bool = False  # opinion scores: the screening of ITU-R BT.500

    def failures_allowed(self, checks: int) -> int:
        """Return how many attention checks a rater may fail: always one, since anyone slips once."""
        return max(1, math.floor(round((1 - self.min_attention) * checks, 6)))


class Staircase(BaseModel):
    """How the exposure of a trial follows from the answer before; each block begins at the design's exposure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    blocks: Annotated[int, Field(ge=1, le=100)]  # of equally many trials
    up_ms: Annotated[int, Field(ge=1, le=1000)]  # after a wrong answer
    down_ms: Annotated[int, Field(ge=1, le=1000)]  # after a right one
    min_ms: Annotated[int, Field(ge=50, le=60_000)]
    max_ms: Annotated[int, Field(ge=50, le=60_000)]


class Design(BaseModel):
    """A validated design. `preset` gives the values of a published study; others replace them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: Text = "Study"
    consent: Words | None = None  # what participants agree to; default: a text on privacy
    preset: str = ""
    kind: Kind
    presentation: Presentation
    questions: Annotated[tuple[Question, ...], Field(min_length=1, max_length=5)]
    ask_for: Literal["fake", "real", "better"]  # what is the correct answer, if there is one
    exposure_ms: Annotated[int, Field(ge=50, le=60_000)] | None  # of each image; None: until the answer
    fixation_ms: Annotated[int, Field(ge=0, le=5000)] = 500
    interval_ms: Annotated[int, Field(ge=0, le=5000)] = 300  # between images and before the next trial
    mask: Literal["blank", "noise"] = "blank"  # after an image of limited exposure
    practice: Annotated[int, Field(ge=0, le=100)] = 10  # trials with feedback, which are not analysed
    trials: Annotated[int, Field(ge=1, le=5000)]
    staircase: Staircase | None = None  # exposures by the answers before, instead of one for all trials
    attention_checks: Annotated[int, Field(ge=0, le=500)] = 0  # further trials whose answer is obvious
    obvious: Obvious = "scrambled"  # what attention checks show: inverted blocks, or the colours of another image
    repeats: Annotated[int, Field(ge=0, le=500)] = 0  # trials shown a second time
    break_every: Annotated[int, Field(ge=5, le=5000)] = 50
    one_method_each: bool = False  # each rater sees one method; else all of them
    other_input: bool = False  # the real image is of another input than the generated one
    ties: bool = False
    scores: tuple[int, int] = (1, 5)  # lowest and highest opinion score
    raters: Annotated[int, Field(ge=1, le=100_000)]  # for each method if each rater sees one
    exclude: Exclusion = Exclusion()

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not (name := values.get("preset")):
            return values
        if name not in PRESETS:
            raise ValueError(f"unknown preset {shown(str(name))}{nearest(str(name), PRESETS)}")
        return {**PRESETS[name], **values}

    @model_validator(mode="after")
    def _fits_together(self) -> "Design":
        if self.kind == "real_or_fake" and self.ask_for == "better":
            raise ValueError("ask_for=better: a real-or-fake study asks for the fake or the real image")
        if self.kind != "real_or_fake" and self.ask_for != "better":
            raise ValueError(f"ask_for={self.ask_for}: only a real-or-fake study asks for it; use better")
        if self.presentation == "single" and self.kind not in ("real_or_fake", "opinion_score"):
            raise ValueError(f"presentation=single: {self.kind} compares images; use side_by_side or sequential")
        if self.presentation != "single" and self.kind == "opinion_score":
            raise ValueError("opinion scores are of single images: use presentation=single")
        if self.ties and self.kind != "a_b":
            raise ValueError("ties: only an A/B study has them")
        if self.staircase:
            self._check_staircase(self.staircase)
        if self.repeats > self.trials:
            raise ValueError(f"repeats={self.repeats}: there are only {self.trials} trials to repeat")
        if self.scores[0] >= self.scores[1]:
            raise ValueError(f"scores={list(self.scores)}: expected the lowest and a higher score")
        if len({question.key for question in self.questions}) < len(self.questions):
            raise ValueError("questions: two have the same key")
        return self

    def _check_staircase(self, staircase: Staircase) -> None:
        if self.kind != "real_or_fake" or self.presentation != "single" or not self.one_method_each:
            raise ValueError("staircase: only for single real or fake images of one method each")
        if len(self.questions) > 1 or self.practice or self.attention_checks or self.repeats:
            raise ValueError(
                "staircase: it has one question and tells after each trial whether the answer was right; set practice, "
                "attention_checks and repeats to 0"
            )
        if self.exposure_ms is None or not staircase.min_ms <= self.exposure_ms <= staircase.max_ms:
            raise ValueError(
                f"exposure_ms={self.exposure_ms}: the staircase begins there, and goes from {staircase.min_ms} to "
                f"{staircase.max_ms} ms"
            )
        if self.trials % staircase.blocks:
            raise ValueError(f"trials={self.trials}: not a multiple of the {staircase.blocks} blocks of the staircase")

    def digest(self) -> str:
        """Return the SHA-256 of the design, which its results carry: another design is another study.

        Settings that came later are left out at their default, so that older studies keep their hash.
        """
        values = self.model_dump(mode="json")
        later = {name for name in ("staircase", "obvious") if values[name] == type(self).model_fields[name].default}
        text = json.dumps({name: values[name] for name in values.keys() - later}, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def design_of(preset: str = "", **values: Any) -> Design:
    """Return the design of a preset with other values. Raises ConfigError."""
    given = {"preset": preset, **values} if preset else values
    try:
        return checked(Design, given, "study")
    except ConfigError as error:
        raise ConfigError(f"{error} (presets: {', '.join(PRESETS)})") from error
