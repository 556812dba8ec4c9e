"""Results: the numbers of one protocol on one set of samples, with all that they depend on, in one JSON file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from diptych.errors import ConfigError, EvaluationError
from diptych.evaluate.scores import Score
from diptych.files import write_text
from diptych.plain import plain_json, read_text
from diptych.recipe import checked

FORMAT = 1
LARGEST = 2**27  # bytes of a file of results


class Result(BaseModel):
    """`about` is what the samples were made of and by; `tools` what looked at them: extractor, judge, each by hash."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: int = FORMAT
    protocol: str  # name/version
    name: str  # of the run or folder that was judged
    about: dict[str, Any]
    tools: dict[str, str]
    said: tuple[str, ...]  # what the protocol did, line by line
    scores: tuple[Score, ...]
    asked: str = ""  # by an experiment: hash of what it asked for, to know whether this is the answer

    def save(self, path: Path) -> Path:
        write_text(path, self.model_dump_json(indent=1) + "\n")
        return path

    def score(self, name: str) -> Score:
        """EvaluationError names what there is."""
        for score in self.scores:
            if score.name == name:
                return score
        raise EvaluationError(
            f"{self.name}: no measure {name!r}; {self.protocol} gave {', '.join(s.name for s in self.scores)}"
        )


def read_result(path: Path) -> Result:
    """Raises EvaluationError for what is none."""
    try:
        values = plain_json(read_text(path, LARGEST))
        if not isinstance(values, dict):
            raise ValueError("it holds no settings by name")
        found = checked(Result, values, path.name)
    except (OSError, ValueError, ConfigError) as error:
        raise EvaluationError(f"{path}: no result that `diptych evaluate` wrote ({error})") from error
    if found.format != FORMAT:
        raise EvaluationError(f"{path}: format {found.format}; this Diptych reads {FORMAT}")
    return found


def check_comparable(results: Sequence[Result]) -> None:
    """EvaluationError if numbers of these must not stand in one column, with all that differs."""
    first = results[0]
    for other in results[1:]:
        ours, theirs = _decides(first), _decides(other)
        pairs = {key: (ours.get(key, "none"), theirs.get(key, "none")) for key in {**ours, **theirs}}
        different = [f"{key}: {one} and {another}" for key, (one, another) in pairs.items() if one != another]
        if different:
            raise EvaluationError(
                f"{first.name} and {other.name} were judged differently, and must not be held against each other: "
                + "; ".join(different)
            )


def _decides(result: Result) -> dict[str, str]:
    """What numbers depend on besides the model."""
    about = {key: str(result.about.get(key)) for key in ("sources", "pixels", "split")}
    return {"protocol": result.protocol, **about, **dict(sorted(result.tools.items()))}
