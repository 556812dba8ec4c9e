"""Read runs for a comparison: the result of each run, its name, and the images that were evaluated."""

import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.errors import EvaluationError, printable
from diptych.evaluation.metrics.intervals import Score
from diptych.evaluation.protocols import PROTOCOLS, find_protocol
from diptych.evaluation.results import Result, check_comparable, protocol_names, read_result
from diptych.evaluation.samples import MANIFEST, Samples, open_samples

# facts about a run, by key in a result, with the title of their column
FACTS = {
    "method": "method",
    "parameters": "parameters",
    "steps": "steps",
    "training_hours": "training time",
    "seconds_per_image": "time per image",
    "controls": "controls",
}


@dataclass(frozen=True)
class Entry:
    """A run of a comparison: its unique name, its result, and its samples or the reason why they are missing."""

    name: str
    folder: Path
    result: Result
    samples: Samples | None
    missing: str = ""

    def score(self, name: str) -> Score | None:
        return next((score for score in self.result.scores if score.name == name), None)

    def fact(self, key: str) -> str:
        """Return a fact as text, such as `54.4 M`, `1.8 h` or `12 ms`; a dash if it is unknown."""
        value = self.result.about.get(key)
        if isinstance(value, bool) or value is None:
            return "–"
        if not isinstance(value, int | float):
            return short(str(value))
        if key == "training_hours":
            return format_seconds(3600 * value)
        if key == "seconds_per_image":
            return format_seconds(value)
        return f"{value / 1e6:.3g} M" if key == "parameters" and value >= 1e6 else f"{value:,}"


def read_runs(runs: Sequence[Path], protocol: str | None = None) -> list[Entry]:
    """Return every run with its result of one protocol. EvaluationError as in `compare`."""
    if not runs:
        raise EvaluationError("there is nothing to compare: give one or more run folders")
    folders = [Path(os.path.abspath(run)) for run in runs]
    for folder, count in Counter(folders).items():
        if count > 1:
            raise EvaluationError(f"{folder} is given {count} times: give each run once")
    for run in runs:
        if not run.is_dir():
            raise EvaluationError(f"{run}: there is no such folder")
    name = protocol or _common_protocol(runs)
    results = [_result(run, name, runs) for run in runs]
    labels = run_labels(folders)
    _check_comparable(results, labels)
    return [
        Entry(label, run, result, *_samples(run, result))
        for label, run, result in zip(labels, runs, results, strict=True)
    ]


def facts_of(entries: Sequence[Entry]) -> dict[str, str]:
    """Return FACTS, without the controls if no run was evaluated with any."""
    has_controls = any(entry.result.about.get("controls") for entry in entries)
    return {key: title for key, title in FACTS.items() if key != "controls" or has_controls}


def score_names(entries: Sequence[Entry]) -> list[str]:
    """Return the names of all scores of all runs, in the order of the protocol."""
    return list(dict.fromkeys(score.name for entry in entries for score in entry.result.scores))


def split_route(name: str) -> tuple[str, str]:
    """Return the route and metric of a score such as `a-b/l1`; `colour/L` has no route, so its route is ``."""
    route, slash, metric = name.partition("/")
    return (route, metric) if slash and "-" in route else ("", name)


def short(text: str, limit: int = 48) -> str:
    """Return text on one line, shortened in the middle to at most `limit` characters, without control characters."""
    text = printable(text[: 2 * limit] + text[-limit:] if len(text) > 3 * limit else text)
    half = (limit - 1) // 2
    return text if len(text) <= limit else f"{text[:half]}…{text[-half:]}"


def format_seconds(seconds: float) -> str:
    """Return a duration with at most three digits, in a suitable unit."""
    for unit, size in (("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{1000 * seconds:.3g} ms"


def run_labels(folders: Sequence[Path]) -> list[str]:
    """Return unique names of absolute paths: the last part of each, or as many parts as are needed."""
    parts = [[printable(part) for part in folder.parts] for folder in folders]
    lengths = [1] * len(parts)
    while True:
        names = ["/".join(path[-length:]) for path, length in zip(parts, lengths, strict=True)]
        counts = Counter(names)
        if max(counts.values()) == 1 or max(lengths) > max(map(len, parts)):
            return names
        lengths = [length + 1 if counts[name] > 1 else length for name, length in zip(names, lengths, strict=True)]


def _common_protocol(runs: Sequence[Path]) -> str:
    """Return the protocol that every run has results of. EvaluationError if there is none, or more than one."""
    available = [{_present_name(path.stem) for path in (run / "results").glob("*.json")} for run in runs]
    common = sorted(set.intersection(*available))
    if len(common) == 1:
        return common[0]
    if common:
        raise EvaluationError(f"the runs have results of {', '.join(common)}: choose one with --protocol")
    counts = Counter(name for names in available for name in sorted(names))
    if not counts:
        raise EvaluationError(f"{runs[0]} has no results: compute them with `{_command(runs[0])}`")
    name = counts.most_common(1)[0][0]
    without = next(run for run, names in zip(runs, available, strict=True) if name not in names)
    raise EvaluationError(
        f"there is no protocol that all runs have results of. {counts[name]} of {len(runs)} have results of {name}, "
        f"{without} has none: compute them with `{_command(without, name)}`"
    )


def _present_name(stem: str) -> str:
    """Return the name of a result file with the present name of its protocol, which a data set may follow."""
    for name in PROTOCOLS:
        for former in protocol_names(name)[1:]:
            if stem == former or stem.startswith(f"{former}-"):
                return f"{name}{stem.removeprefix(former)}"
    return stem


def _result_file(run: Path, protocol: str) -> Path:
    """Return the result file of a run, which may have a former name of the protocol."""
    path = run / "results" / f"{protocol}.json"
    if path.is_file():
        return path
    files = (run / "results").glob("*.json")
    return next((file for file in files if _present_name(file.stem) == protocol), path)


def _result(run: Path, protocol: str, runs: Sequence[Path]) -> Result:
    path = _result_file(run, protocol)
    if not path.is_file():
        if protocol not in PROTOCOLS and not any(_result_file(other, protocol).is_file() for other in runs):
            find_protocol(protocol)  # raises, with the nearest name
        raise EvaluationError(f"{run} has no results of {protocol}: compute them with `{_command(run, protocol)}`")
    result = read_result(path)
    name = result.protocol.partition("/")[0]
    if protocol != name and not protocol.startswith(f"{name}-"):  # PROTOCOL-IMAGES for another data set
        raise EvaluationError(
            f"{path} holds results of {result.protocol}, not of {protocol}: "
            f"compute those with `{_command(run, protocol)}`"
        )
    if not result.scores:
        raise EvaluationError(f"{path} holds no scores: compute them again with `{_command(run, protocol)}`")
    return result


def _command(run: Path, results: str | None = None) -> str:
    """Return the command that computes results; those of another data set are named `PROTOCOL-IMAGES`."""
    words = ["diptych", "evaluate", str(run)]
    if results:
        matching = [name for name in PROTOCOLS if results == name or results.startswith(f"{name}-")]
        protocol = max(matching, key=len, default=results)
        words += ["--protocol", protocol]
        if results != protocol:
            words += ["--data", f"PATH/TO/{results.removeprefix(f'{protocol}-')}"]
    return shlex.join(words)


def _check_comparable(results: Sequence[Result], names: Sequence[str]) -> None:
    """EvaluationError, with the unique names of the runs, if they were evaluated differently."""
    check_comparable([result.model_copy(update={"name": name}) for result, name in zip(results, names, strict=True)])


def _samples(run: Path, result: Result) -> tuple[Samples | None, str]:
    """Return the evaluated images, or None and the reason why they are missing."""
    reason = "its samples were removed"
    for name in (*protocol_names(result.protocol.partition("/")[0]), "default"):
        folder = run / "samples" / name
        if not (folder / MANIFEST).is_file():
            continue
        try:
            samples = open_samples(folder)
        except EvaluationError:
            reason = f"samples/{name} cannot be read"
            continue
        if _without_timing(samples.about) == _without_timing(result.about):
            return samples, ""
        reason = f"samples/{name} is not what was evaluated"
    return None, reason


def _without_timing(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what samples depend on, without the time that they took."""
    return {key: value for key, value in about.items() if key != "seconds_per_image"}
