"""The votes on each method as a result, which `diptych compare` shows beside metrics of the same images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diptych.evaluation.compare.study_votes import VOTES_FOLDER
from diptych.evaluation.metrics.intervals import Score
from diptych.evaluation.metrics.table import metric_of
from diptych.evaluation.results import Result
from diptych.evaluation.samples import safe_part
from diptych.seeds import random_state
from diptych.studies.analysis import Analysis, Row
from diptych.studies.design import REAL
from diptych.studies.rater_bootstrap import widened_draws
from diptych.studies.study_folder import Translations

PROTOCOL = "votes/1"
METRICS = {  # by measure
    "threshold in ms": "threshold",
    "rate fooled": "rate-fooled",
    "chosen": "chosen",
    "strength": "strength",
    "MOS": "mos",
}
SIMULATED = "simulated participants: these are not votes of people"


def vote_results(analysis: Analysis, simulated: bool = False) -> list[Result]:
    """Return the result of each method: its votes without those of excluded participants.

    The names of scores of simulated participants say so wherever they are shown: `simulated/rate-fooled`.
    """
    study, part = analysis.study, analysis.included
    kind = study.design.preset or study.design.kind
    said = f"votes of {part.raters} participants in a study of {kind}; their intervals are over participants"
    results = []
    for method in study.table.methods:
        rows = [row for row in part.rows if row.method == method and row.measure in METRICS]
        known = study.translations.get(method, Translations())
        results.append(
            Result(
                protocol=PROTOCOL,
                name=method,
                about=known.about,
                images=known.images,
                tools={"study": f"{kind} {study.digest[:16]}{', simulated participants' if simulated else ''}"},
                said=(said, *([SIMULATED] if simulated else ())),
                scores=tuple(_score(analysis, row, "simulated/" if simulated else "") for row in rows),
            )
        )
    return results


def write_votes(results: Sequence[Result], study: Path) -> None:
    """Write a file for each method into the folder of a study, in place of former ones."""
    for former in (study / VOTES_FOLDER).glob("*.json"):
        former.unlink()
    for number, result in enumerate(results):
        result.save(study / VOTES_FOLDER / f"{number:03d}-{safe_part(result.name)}.json")


def _score(analysis: Analysis, row: Row, prefix: str) -> Score:
    design, metric = analysis.study.design, METRICS[row.measure]
    chance = None
    if metric == "chosen":
        chance = 1 / (2 if design.kind == "a_b" else len(analysis.study.table.methods))
    return Score(
        f"{prefix}{row.question}/{metric}" if len(design.questions) > 1 else f"{prefix}{metric}",
        row.estimate.value,
        row.estimate.low,
        row.estimate.high,
        metric_of(metric).better,
        len(analysis.study.table.images),
        "bootstrap",
        _draws(analysis, row),
        chance=chance,
        ceiling=_ceiling(analysis, row),
    )


def _ceiling(analysis: Analysis, row: Row) -> float | None:
    """Return the score of real images: unknown for preferences, which do not show them."""
    is_rate = row.measure == "rate fooled"
    if is_rate and analysis.study.design.presentation != "single":
        return 0.5
    of_real = (row.question, "called fake" if is_rate else row.measure, REAL)
    for each in analysis.included.rows:
        if (each.question, each.measure, each.method) == of_real:
            return 1 - each.estimate.value if is_rate else each.estimate.value
    return None


def _draws(analysis: Analysis, row: Row) -> tuple[float, ...]:
    """Return the resampled values, of which `compare` takes differences draw by draw.

    Methods that were judged by the same participants are resampled alike. Where each participant sees one method, the
    draws of each method are in an order of its own, as other participants are independent.
    """
    draws = widened_draws(row.estimate)
    if analysis.study.design.one_method_each:
        draws = random_state(0, "draws", row.method).permutation(draws)
    return tuple(map(float, np.nan_to_num(draws, nan=row.estimate.value)))
