"""Results: the scores of one protocol on one set of samples, with everything they depend on, in one JSON file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from diptych.errors import ConfigError, EvaluationError
from diptych.evaluation.metrics.intervals import Score
from diptych.settings import renamed
from diptych.settings.validate import checked
from diptych.system.atomic_files import write_text
from diptych.system.safe_parse import parse_json, read_text

FORMAT = 1
MAX_BYTES = 2**27  # of a result file


class Result(BaseModel):
    """The result of a protocol for one run, model or folder.

    about: model, data and settings that the samples were generated with.
    images: hashes of the real images (`real`) and of the sources (`source`).
    tools: networks by name and hash, and settings that scores depend on.
    said: log lines of the evaluation.
    asked: hash of the request of an experiment, to skip an evaluation whose result exists.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: int = FORMAT
    protocol: str  # name/version
    name: str  # of the evaluated run or folder
    about: dict[str, Any]
    images: dict[str, str] = {}
    tools: dict[str, str]
    said: tuple[str, ...]
    scores: tuple[Score, ...]
    asked: str = ""

    def __str__(self) -> str:
        return "\n".join([f"{self.name}: {self.protocol}", *(f"  {score}" for score in self.scores)])

    def save(self, path: Path) -> Path:
        write_text(path, self.model_dump_json(indent=1) + "\n")
        return path

    def score(self, name: str) -> Score:
        """Return the score of that name. EvaluationError lists the scores of this result."""
        for score in self.scores:
            if score.name == name:
                return score
        raise EvaluationError(
            f"{self.name}: no score {name!r}; {self.protocol} gave {', '.join(s.name for s in self.scores)}"
        )


def read_result(path: Path) -> Result:
    """Return the result in a file; former names in it are replaced by the present ones. Raises EvaluationError."""
    try:
        values = parse_json(read_text(path, MAX_BYTES))
        if not isinstance(values, dict):
            raise ValueError("expected a JSON object")
        result = checked(Result, _with_present_names(values), path.name)
    except (OSError, ValueError, ConfigError, EvaluationError) as error:
        raise EvaluationError(f"{path}: not a result written by `diptych evaluate` ({error})") from error
    if result.format != FORMAT:
        raise EvaluationError(f"{path}: format {result.format}; this version of Diptych reads format {FORMAT}")
    return result


def present_protocol(protocol: str) -> str:
    """Return a protocol's `name` or `name/version` with its present name."""
    name, slash, version = protocol.partition("/")
    return f"{renamed.value_of('protocol', name)}{slash}{version}"


def protocol_names(name: str) -> tuple[str, ...]:
    """Return the present name of a protocol, then its former names: files of results may have any of them."""
    present = present_protocol(name)
    former = [old for old, new in renamed.VALUES["protocol"].items() if new == present]
    return (present, *former)


def present_about(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of samples with the present name of the protocol."""
    if not isinstance(about.get("protocol"), str):
        return dict(about)
    return {**about, "protocol": present_protocol(about["protocol"])}


def _with_present_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the former names of protocols and of the evaluator (`judge`), so that old results are comparable."""
    present = dict(values)
    if isinstance(present.get("protocol"), str):
        present["protocol"] = present_protocol(present["protocol"])
    if isinstance(present.get("about"), dict):
        present["about"] = present_about(present["about"])
    if isinstance(present.get("tools"), dict):
        present["tools"] = {
            "evaluator" if tool == "judge" else tool: _present_tool(identity)
            for tool, identity in present["tools"].items()
        }
    return present


def _present_tool(identity: Any) -> Any:
    """Return the identity of a network; an extractor by an evaluator was `judge:NAME HASH`."""
    if isinstance(identity, str) and identity.startswith("judge:"):
        return f"evaluator:{identity.removeprefix('judge:')}"
    return identity


def check_replaces(path: Path, result: Result) -> None:
    """EvaluationError if the file at `path` is not a former result of the same evaluation as `result`."""
    if not path.exists():
        return
    former = read_result(path)
    problems = differences(former, result)
    for fact in ("which", "controls"):
        if (one := former.about.get(fact)) != (other := result.about.get(fact)):
            problems.append(f"{fact}: {one} and {other}")
    if problems:
        raise EvaluationError(
            f"{path}: not replaced, as it was evaluated differently ({'; '.join(problems)}): "
            f"remove it, or choose another file with -o"
        )


def check_comparable(results: Sequence[Result]) -> None:
    """EvaluationError lists every difference if the scores of these results are not comparable."""
    first = results[0]
    for other in results[1:]:
        if problems := differences(first, other):
            raise EvaluationError(
                f"{first.name} and {other.name} were evaluated differently and cannot be compared: "
                + "; ".join(problems)
            )


def differences(one: Result, other: Result) -> list[str]:
    """Return the differences in protocol, tools and images. Images without a hash differ from all others."""
    ours = {"protocol": one.protocol, **one.tools}
    theirs = {"protocol": other.protocol, **other.tools}
    values = {key: (ours.get(key, "none"), theirs.get(key, "none")) for key in {**ours, **theirs}}
    problems = [f"{key}: {a} and {b}" for key, (a, b) in values.items() if a != b]
    kinds = one.images.keys() & other.images.keys()  # the sources of other tools' translations are unknown
    if "real" not in kinds or any(one.images[kind] != other.images[kind] for kind in kinds):
        problems.append(f"images: {_describe_images(one)} and {_describe_images(other)}")
    return problems


def _describe_images(result: Result) -> str:
    facts = [str(result.about[key]) for key in ("split", "pixels") if key in result.about]
    hashes = [f"{kind} {digest[:16]}" for kind, digest in result.images.items()]
    return " ".join([*facts, *(hashes or ["of unknown hash"])])
