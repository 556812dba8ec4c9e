"""Results: the numbers of one protocol on one set of samples, with all that they depend on, in one JSON file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from diptych.errors import EvaluationError
from diptych.evaluation.metrics.intervals import Score
from diptych.settings.validate import read_document
from diptych.system.atomic_files import write_text

FORMAT = 1
LARGEST = 2**27  # bytes of a file of results


class Result(BaseModel):
    """`about` is what the samples were made of and by; `images` what they were held against and made of, by hash;
    `tools` what looked at them, each network by name and hash, and how.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: int = FORMAT
    protocol: str  # name/version
    name: str  # of the run or folder that was judged
    about: dict[str, Any]
    images: dict[str, str] = {}
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
    found = read_document(
        path, Result, error=EvaluationError, what="a result that `diptych evaluate` wrote", largest=LARGEST
    )
    if found.format != FORMAT:
        raise EvaluationError(f"{path}: format {found.format}; this Diptych reads {FORMAT}")
    return found


def check_replaces(path: Path, result: Result) -> None:
    """EvaluationError if what lies at `path` is no older answer to the question that `result` answers."""
    if not path.exists():
        return
    old = read_result(path)
    different = differences(old, result)
    if (one := old.about.get("which")) != (other := result.about.get("which")):
        different.append(f"which: {one} and {other}")
    if different:
        raise EvaluationError(
            f"{path}: not replaced, as it was judged differently ({'; '.join(different)}): "
            f"remove it, or choose another file with -o"
        )


def check_comparable(results: Sequence[Result]) -> None:
    """EvaluationError if numbers of these must not stand in one column, with all that differs."""
    first = results[0]
    for other in results[1:]:
        if different := differences(first, other):
            raise EvaluationError(
                f"{first.name} and {other.name} were judged differently, and must not be held against each other: "
                + "; ".join(different)
            )


def differences(one: Result, other: Result) -> list[str]:
    """Of all that numbers depend on besides the model. Images without a hash are like no others."""
    ours, theirs = ({"protocol": each.protocol, **each.tools} for each in (one, other))
    pairs = {key: (ours.get(key, "none"), theirs.get(key, "none")) for key in {**ours, **theirs}}
    found = [f"{key}: {a} and {b}" for key, (a, b) in pairs.items() if a != b]
    known = one.images.keys() & other.images.keys()  # of other tools nobody knows what they translated
    if "real" not in known or any(one.images[kind] != other.images[kind] for kind in known):
        found.append(f"images: {_images(one)} and {_images(other)}")
    return found


def _images(result: Result) -> str:
    told = [str(result.about[key]) for key in ("split", "pixels") if key in result.about]
    hashes = [f"{kind} {digest[:16]}" for kind, digest in result.images.items()]
    return " ".join([*told, *(hashes or ["of unknown hash"])])
