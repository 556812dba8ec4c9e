"""Every promise of the contract, for every method."""

import pytest

from diptych.check import CHECKS, Subject
from diptych.methods import METHODS, find


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("name", METHODS)
def test_contract(name, check):
    check(Subject(find(name)))
