"""Mistakes on the command line: one clear error, exit code 2, and nothing left behind."""

import pytest
from commands import TINY, diptych, process

from diptych.errors import ConfigError, DataError, DiptychError, RunError
from diptych.workflows import train


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["train", "pix2pixx"], ConfigError, "did you mean 'pix2pix'"),
        (["train", "pix2pix", "bacth=3"], ConfigError, "did you mean 'batch_size'"),
        (["train", "pix2pix", *TINY, "crop_size=48"], ConfigError, "not a multiple of 32"),
        (["train", "pix2pix", *TINY, "grad_accum_steps=4"], ConfigError, "not a multiple of grad_accum_steps=4"),
        (["train", "pix2pix", *TINY, "receptive_field=142"], ConfigError, "with crop_size=32 the networks do not fit"),
        (["train", "pix2pix", *TINY, "steps=5", "epochs=2"], ConfigError, "give one"),
        (["train", "pix2pix", *TINY, "device=cuda:77"], ConfigError, "none is number 77"),
        (["train", "pix2pix", "-d", "/no/such/folder"], DataError, "/no/such/folder is not a folder"),
        (["train", "pix2pix", "-d", "glyphs:sans/comic", "crop_size=32"], DataError, "two or more of sans"),
        (["resume", "/no/such/run"], RunError, "not a run folder"),
        (["translate", "/no/such", "x.png", "-o", "/tmp/never"], DataError, "x.png: no such image"),
    ],
)
def test_mistakes_are_one_clear_error(words, error, message, tmp_path):
    out = ["-o", str(tmp_path / "run")] if words[0] == "train" else []
    with pytest.raises(error, match=message):
        diptych(*words, *out)
    assert not (tmp_path / "run").exists(), "a run that could not begin leaves a folder behind"


def test_an_error_is_a_line_and_a_code():
    child = process("train", "pix2pixx")
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (2, "")
    assert err.strip() == "error: 'pix2pixx' is not a method, a shipped recipe or a .yaml file; did you mean 'pix2pix'?"


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("pix2pix", ["crop_size=48"], "not a multiple of 32"),
        ("pix2pix", ["bacth=3"], "no setting is called 'bacth'"),
        ("pix2pix", ["lambda_l1=much"], "lambda_l1='much'"),
        ("pix2pix", ["receptive_field=142"], "with crop_size=32 the networks do not fit"),
        ("pix2pix", ["grad_accum_steps=4"], "not a multiple of grad_accum_steps=4"),
        ("pix2pix", ["eval_every=1", "protocol=paird-default"], "did you mean 'paired-default'"),
        ("stargan", ["grad_accum_steps=3"], "not a multiple of grad_accum_steps=3"),
    ],
)
def test_settings_are_checked_before_images_are_scanned(method, settings, message, tmp_path, monkeypatch):
    def scan(*_):
        raise AssertionError("images are scanned before the settings are checked")

    monkeypatch.setattr(train, "check_images", scan)
    own = TINY if method == "pix2pix" else ["root=glyphs:sans/serif", "crop_size=32", "batch_size=4", "device=cpu"]
    with pytest.raises(DiptychError, match=message):
        diptych("train", method, *own, *settings, "-o", tmp_path / "run")
    with pytest.raises(AssertionError, match="images are scanned"):
        diptych("train", method, *own, "-o", tmp_path / "run")
    assert not (tmp_path / "run").exists()
