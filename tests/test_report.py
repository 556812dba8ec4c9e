"""The report of a run."""

import numpy as np

from diptych.report import curves


def test_names_of_terms_are_drawn_as_they_are():
    plain, hostile = (
        np.asarray(curves([{"step": step, "terms": {name: 1.0}} for step in range(3)]))
        for name in ("G/l1", r"$\frac{a$")
    )
    assert plain.shape == hostile.shape
    assert (plain != hostile).any()
