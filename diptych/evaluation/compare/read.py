"""Runs as a comparison takes them: what was measured of each, what to call it, and the pictures that were measured."""

import os
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.errors import EvaluationError, printable
from diptych.evaluation.metrics.intervals import Score
from diptych.evaluation.protocols import PROTOCOLS, find_protocol
from diptych.evaluation.results import Result, check_comparable, read_result
from diptych.evaluation.samples import MANIFEST, Samples, open_samples

# what a run was and cost, by its name in a result, and in words
FACTS = {
    "method": "method",
    "parameters": "parameters",
    "steps": "steps",
    "training_hours": "training time",
    "seconds_per_image": "time per image",
}


@dataclass(frozen=True)
class Entry:
    """One run: its name, like no other's here, its result, and its samples or why they are lacking."""

    name: str
    folder: Path
    result: Result
    samples: Samples | None
    lacking: str = ""

    def score(self, name: str) -> Score | None:
        return next((score for score in self.result.scores if score.name == name), None)

    def fact(self, key: str) -> str:
        """In words: `54.4 M`, `1.8 h`, `12 ms`; a dash where it is not known."""
        value = self.result.about.get(key)
        if isinstance(value, bool) or value is None:
            return "–"
        if not isinstance(value, int | float):
            return short(str(value))
        if key == "training_hours":
            return in_time(3600 * value)
        if key == "seconds_per_image":
            return in_time(value)
        return f"{value / 1e6:.3g} M" if key == "parameters" and value >= 1e6 else f"{value:,}"


def read_runs(runs: Sequence[Path], protocol: str | None = None) -> list[Entry]:
    """Every run with its result of one protocol. EvaluationError as `compare` says."""
    if not runs:
        raise EvaluationError("there is nothing to compare: give one or more run folders")
    folders = [Path(os.path.abspath(run)) for run in runs]
    for folder, times in Counter(folders).items():
        if times > 1:
            raise EvaluationError(f"{folder} is given {times} times: give each run once")
    for run in runs:
        if not run.is_dir():
            raise EvaluationError(f"{run}: there is no such folder")
    name = protocol or _shared(runs)
    results = [_result(run, name, runs) for run in runs]
    _check_alike(results, called(folders))
    return [
        Entry(label, run, result, *_samples(run, result))
        for label, run, result in zip(called(folders), runs, results, strict=True)
    ]


def measures(entries: Sequence[Entry]) -> list[str]:
    """The names of all scores of all runs, in the order of the protocol."""
    return list(dict.fromkeys(score.name for each in entries for score in each.result.scores))


def split_route(name: str) -> tuple[str, str]:
    """`a-b/l1` as its route and its measure; with one route, scores name none: `colour/L` has the route ``."""
    route, slash, measure = name.partition("/")
    return (route, measure) if slash and "-" in route else ("", name)


def short(text: str, limit: int = 48) -> str:
    """On one line, and of at most so many characters: a stranger may have named it."""
    text = printable(text[: 2 * limit] + text[-limit:] if len(text) > 3 * limit else text)
    half = (limit - 1) // 2
    return text if len(text) <= limit else f"{text[:half]}…{text[-half:]}"


def in_time(seconds: float) -> str:
    """Three figures at most, in the unit that suits."""
    for unit, size in (("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{1000 * seconds:.3g} ms"


def called(folders: Sequence[Path]) -> list[str]:
    """By the last part of each absolute path, or as many of the last parts as tell them apart."""
    parts = [[printable(part) for part in folder.parts] for folder in folders]
    taken = [1] * len(parts)
    while True:
        names = ["/".join(each[-count:]) for each, count in zip(parts, taken, strict=True)]
        times = Counter(names)
        if max(times.values()) == 1 or max(taken) > max(map(len, parts)):
            return names
        taken = [count + (times[name] > 1) for name, count in zip(names, taken, strict=True)]


def _shared(runs: Sequence[Path]) -> str:
    """The protocol that every run has results of. EvaluationError if there is none, or more than one."""
    had = [{path.stem for path in (run / "results").glob("*.json")} for run in runs]
    shared = sorted(set.intersection(*had))
    if len(shared) == 1:
        return shared[0]
    if shared:
        raise EvaluationError(f"the runs have results of {', '.join(shared)}: choose one with --protocol")
    times = Counter(name for names in had for name in sorted(names))
    if not times:
        raise EvaluationError(f"{runs[0]} has no results: make them with `{_command(runs[0])}`")
    name = times.most_common(1)[0][0]
    without = next(run for run, names in zip(runs, had, strict=True) if name not in names)
    raise EvaluationError(
        f"there is no protocol that all runs have results of. {times[name]} of {len(runs)} have those of {name}, "
        f"{without} has not: make them with `{_command(without, name)}`"
    )


def _result(run: Path, protocol: str, runs: Sequence[Path]) -> Result:
    path = run / "results" / f"{protocol}.json"
    if not path.is_file():
        if protocol not in PROTOCOLS and not any((each / "results" / path.name).is_file() for each in runs):
            find_protocol(protocol)  # raises, with the nearest name
        raise EvaluationError(f"{run} has no results of {protocol}: make them with `{_command(run, protocol)}`")
    result = read_result(path)
    named = result.protocol.partition("/")[0]
    if protocol != named and not protocol.startswith(f"{named}-"):  # of other images their name follows
        raise EvaluationError(
            f"{path} holds results of {result.protocol}, not of {protocol}: make those with `{_command(run, protocol)}`"
        )
    if not result.scores:
        raise EvaluationError(f"{path} holds no scores: make them anew with `{_command(run, protocol)}`")
    return result


def _command(run: Path, called: str | None = None) -> str:
    """What makes such results; those of other images are called `PROTOCOL-IMAGES`."""
    words = ["diptych", "evaluate", str(run)]
    if called:
        known = [name for name in PROTOCOLS if called == name or called.startswith(f"{name}-")]
        protocol = max(known, key=len, default=called)
        words += [
            "--protocol",
            protocol,
            *(["--data", f"PATH/TO/{called.removeprefix(f'{protocol}-')}"] * (called != protocol)),
        ]
    return shlex.join(words)


def _check_alike(results: Sequence[Result], names: Sequence[str]) -> None:
    """EvaluationError, with the names that tell runs apart, if they were judged differently."""
    check_comparable([result.model_copy(update={"name": name}) for result, name in zip(results, names, strict=True)])


def _samples(run: Path, result: Result) -> tuple[Samples | None, str]:
    """The pictures that were measured; else why there are none, in a few words."""
    why = "its samples are gone"
    for name in (result.protocol.partition("/")[0], "default"):
        folder = run / "samples" / name
        if not (folder / MANIFEST).is_file():
            continue
        try:
            found = open_samples(folder)
        except EvaluationError:
            why = f"samples/{name} cannot be read"
            continue
        if _made(found.about) == _made(result.about):
            return found, ""
        why = f"samples/{name} is not what was judged"
    return None, why


def _made(about: Any) -> dict[str, Any]:
    """What samples were made of and by; how long it took says nothing of what is in them."""
    return {key: value for key, value in about.items() if key != "seconds_per_image"}
