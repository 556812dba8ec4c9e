"""The report of a run."""

import json
from types import SimpleNamespace

from diptych.runs.report import plots

EVENTS = [
    {"event": "step", "step": 1, "terms": {"G/l1": 1.0, r"$\frac{a$": 2.0}},
    {"event": "preview", "step": 1, "error": {"source->target": 0.5}},
    {"event": "evaluation", "step": 1, "scores": {"psnr": 20.0, "$x_": 0.5}},
]
CAPTIONS = ["Held-out error", "Loss terms", "Score psnr of held-out images", "Score $x_ of held-out images"]


def test_plots_are_of_what_was_logged_and_each_score_has_its_own(tmp_path, drawn_plots):
    log = tmp_path / "events.jsonl"
    for count, captions in ((0, []), (1, CAPTIONS[1:2]), (3, CAPTIONS)):
        log.write_text("".join(json.dumps(event) + "\n" for event in EVENTS[:count]))
        pictures = list(plots(SimpleNamespace(events=log)))
        assert [picture.alt for picture in pictures] == [f"{caption} by step." for caption in captions]
        assert len({picture.source for picture in pictures}) == len(captions)
