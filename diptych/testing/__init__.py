"""Checks that every method passes, for the methods of Diptych and for your own.

    from diptych import check_method
    check_method(MyMethod)              # raises AssertionError with what is wrong, where, and what to change

Or one test for each check:

    @pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
    def test_my_method(check):
        check(MethodUnderTest(MyMethod))

The config `checks.tiny` of the method is trained on the embedded letters at 32 pixels. The class must be importable by
name, because some checks train in new processes; a script calls `check_method` under `if __name__ == "__main__":`.
Tests of Diptych itself are in `tests/`, not here. Start with `checks.py`.
"""

from diptych.contract import Method
from diptych.testing.checks import CHECKS
from diptych.testing.harness import MethodUnderTest

__all__ = ["CHECKS", "MethodUnderTest", "check_method"]


def check_method(cls: type[Method]) -> None:
    """Run every check on a method class. Raises AssertionError at the first check that fails."""
    for check in CHECKS.values():
        check(MethodUnderTest(cls))
