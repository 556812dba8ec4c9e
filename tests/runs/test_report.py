"""The report of a run."""

import json
from types import SimpleNamespace

import pytest

from diptych.runs.report import plots

TERMS = {"event": "step", "step": 1, "terms": {"G/l1": 1.0, r"$\frac{a$": 2.0}}
ERROR = {"event": "preview", "step": 1, "error": {"source->target": 0.5}}
SCORES = {"event": "evaluation", "step": 1, "scores": {"psnr": 20.0, "$x_": 0.5}}


@pytest.mark.parametrize(
    ("events", "captions"),
    [
        ([], []),
        ([TERMS], ["Loss terms by step."]),
        (
            [TERMS, ERROR, SCORES],
            [
                "Held-out error by step.",
                "Loss terms by step.",
                "Score psnr of held-out images by step.",
                "Score $x_ of held-out images by step.",
            ],
        ),
    ],
)
def test_plots_are_of_what_was_logged_and_each_score_has_its_own(tmp_path, events, captions):
    log = tmp_path / "events.jsonl"
    log.write_text("".join(json.dumps(event) + "\n" for event in events))
    pictures = list(plots(SimpleNamespace(events=log)))
    assert [picture.alt for picture in pictures] == captions
    assert len({picture.source for picture in pictures}) == len(captions)
