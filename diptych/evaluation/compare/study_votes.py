"""The votes of a human study as further metrics of the runs that it is about.

`diptych study analyze` writes a result for each method into the folder of the study: scores with intervals over
participants, with the hashes of the images that they are about. Here they are added to the results of runs.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from diptych.errors import EvaluationError
from diptych.evaluation.compare.read import Entry
from diptych.evaluation.metrics.table import VOTES
from diptych.evaluation.results import Result, differences, read_result

VOTES_FOLDER = Path("report", "votes")  # in the folder of a study
NOT_COMPARED = ("seconds_per_image", "protocol")  # facts about samples on which the translations do not depend


def read_votes(study: Path) -> list[Result]:
    """Return the results of a study's methods. EvaluationError if it has none."""
    files = sorted((study / VOTES_FOLDER).glob("*.json"))
    if not files:
        raise EvaluationError(f"{study}: no votes in it: analyse the study with `diptych study analyze {study}`")
    return [read_result(file) for file in files]


def with_votes(entries: Sequence[Entry], votes: Sequence[Result]) -> list[Entry]:
    """Return the runs with the votes on each, found by its name, among their scores.

    EvaluationError if a run has no votes, or if they are about other images or other translations.
    """
    by_name = {result.name: result for result in votes}
    return [_with(entry, _votes_on(entry, by_name)) for entry in entries]


def is_vote(name: str) -> bool:
    """Return whether a score is of votes: `rate-fooled`, or `QUESTION/chosen` of a study with several questions."""
    return name.rpartition("/")[2] in VOTES


def _votes_on(entry: Entry, votes: dict[str, Result]) -> Result:
    found = votes.get(entry.name)
    if found is None:
        raise EvaluationError(
            f"{entry.name}: the study has no votes on it, its methods are {', '.join(votes)}. A run is found by its "
            f"name: `diptych study new {entry.name}=FOLDER ...` gives a method that name"
        )
    aligned = found.model_copy(update={"protocol": entry.result.protocol, "tools": entry.result.tools})
    problems = differences(entry.result, aligned)
    ours, theirs = entry.result.about, found.about
    if "sources" in ours and "sources" in theirs:  # both were translated by Diptych
        facts = [key for key in {**ours, **theirs} if key not in NOT_COMPARED and ours.get(key) != theirs.get(key)]
        problems += [f"{key}: {ours.get(key)} and {theirs.get(key)}" for key in facts]
    if problems:
        raise EvaluationError(
            f"{entry.name}: its scores and the votes of the study are about different images: {'; '.join(problems)}"
        )
    return found


def _with(entry: Entry, votes: Result) -> Entry:
    result = entry.result
    added = {
        "scores": (*result.scores, *votes.scores),
        "tools": {**result.tools, **votes.tools},
        "said": (*votes.said, *result.said),
    }
    return replace(entry, result=result.model_copy(update=added))
