"""`diptych check`: a line a check, the failing check with its remedy, and the exit code."""

import pytest
from commands import diptych

from diptych.errors import ConfigError
from diptych.methods.pix2pix import Pix2Pix
from diptych.testing import CHECKS

QUICK = ("batch_entries_match_data_kind", "player_order_depends_on_clock", "saved_files_round_trip")


class Amplified(Pix2Pix):
    """Pix2pix whose translations leave [-1, 1]."""

    def translate(self, x, **controls):
        return super().translate(x, **controls) * 3


class Broken(Pix2Pix):
    def stages(self):
        raise KeyError("no such network")


def options(*names):
    return [word for name in names for word in ("--only", name)]


def test_a_passed_check_is_a_line():
    done = diptych("check", "pix2pix", *options(*QUICK))
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    for number, (name, line) in enumerate(zip([name for name in CHECKS if name in QUICK], lines, strict=False), 1):
        assert line.startswith(f" {number}/3 {name}: passed (")
    assert lines[-1] == "all 3 checks passed"


def test_a_failed_check_is_named_with_what_to_change():
    done = diptych("check", f"{__name__}:Amplified", *options("translate_is_pure", "batch_entries_match_data_kind"))
    assert done.exit_code == 1
    assert "1/2 batch_entries_match_data_kind: passed" in done.stdout
    assert "2/2 translate_is_pure: FAILED" in done.stdout
    assert "found: " in done.stdout
    assert "leaves [-1, 1]" in done.stdout
    assert "end with tanh, or clamp it" in done.stdout
    assert done.stdout.splitlines()[-1] == "1 of 2 checks failed: translate_is_pure"


def test_an_error_in_the_method_is_shown_with_its_line():
    done = diptych("check", f"{__name__}:Broken", *options("player_order_depends_on_clock"))
    assert done.exit_code == 1
    assert "found: KeyError: 'no such network' (" in done.stdout
    assert f"{__name__}.py:" in done.stdout


def test_an_unknown_method_or_check_is_refused():
    with pytest.raises(ConfigError, match="there is no Missing to import from diptych"):
        diptych("check", "diptych.methods.pix2pix:Missing")
    with pytest.raises(ConfigError, match="--only resume_is_exakt: no such check; did you mean 'resume_is_exact'"):
        diptych("check", "pix2pix", "--only", "resume_is_exakt")
