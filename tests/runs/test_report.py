"""The report of a run."""

import numpy as np

from diptych.runs.report import curves, scores


def test_names_of_terms_are_drawn_as_they_are():
    plain, hostile = (
        np.asarray(curves([{"step": step, "terms": {name: 1.0}} for step in range(3)]))
        for name in ("G/l1", r"$\frac{a$")
    )
    assert plain.shape == hostile.shape
    assert (plain != hostile).any()


def test_each_score_has_a_panel_of_its_own():
    """Of PSNR and SSIM in one, the second would be a line at 0."""
    names = ("psnr", "ssim", "$\\frac{", "kid")
    one, two, four = (
        np.asarray(scores([{"step": step, "scores": dict.fromkeys(names[:count], step)} for step in range(4)]))
        for count in (1, 2, 4)
    )
    assert one.shape == two.shape
    assert (one != two).any()
    assert four.shape[0] == 2 * two.shape[0]
    assert scores([{"step": 1, "terms": {"G/l1": 1.0}}]) is None
