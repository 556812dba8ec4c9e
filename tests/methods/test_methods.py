"""Every promise of the contract, for every method."""

import pytest

from diptych.methods import EVALUATORS, METHODS, find
from diptych.testing import CHECKS, MethodUnderTest


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("name", [*METHODS, *EVALUATORS])
def test_contract(name, check):
    """T1: `resume_is_exact`, T2: `training_is_deterministic`, T10: `gradient_accumulation_is_exact` and ranks."""
    check(MethodUnderTest(find(name)))
