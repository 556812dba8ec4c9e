"""Work in new processes, as the checks of methods use it: results by rank, and failures that are named."""

import os

import pytest

from diptych.testing.processes import run_in_new_processes


def test_results_are_in_the_order_of_ranks():
    assert run_in_new_processes(os.getenv, "RANK", ranks=2) == ["0", "1"]


@pytest.mark.parametrize(
    ("work", "argument", "message"),
    [(int, "x", "ValueError: invalid literal for int"), (os._exit, 3, "it ended without a result")],
)
def test_a_process_that_fails_is_an_error(work, argument, message):
    with pytest.raises(AssertionError, match=message):
        run_in_new_processes(work, argument)
