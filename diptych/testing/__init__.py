"""`check_method`: what every method must hold, for the methods here and for yours.

    from diptych import check_method
    check_method(MyMethod)              # raises AssertionError that says which promise is broken, and where

or one test for each promise: `@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)`. The method's `tiny`
config is trained on the embedded letters at 32 pixels; the class must be importable by name, for fresh processes.
"""

from diptych.contract import Method
from diptych.testing.checks import CHECKS
from diptych.testing.harness import MethodUnderTest

__all__ = ["CHECKS", "MethodUnderTest", "check_method"]


def check_method(cls: type[Method]) -> None:
    """Run every check on one method class. Raises AssertionError at the first broken promise."""
    for check in CHECKS.values():
        check(MethodUnderTest(cls))
