"""Every promise of the contract, for every method."""

import pytest

from diptych.methods import EVALUATORS, METHODS, find
from diptych.testing import CHECKS, MethodUnderTest


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("name", [*METHODS, *EVALUATORS])
def test_contract(name, check):
    """T1 is `resume_is_exact`, T2 `same_seed_same_bytes`, T10 `micro_batches_add_up` and `ranks_add_up`."""
    check(MethodUnderTest(find(name)))
