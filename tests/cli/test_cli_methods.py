"""`diptych methods`: the list, and the settings of one method with default, symbol and description."""

import subprocess
import sys
from typing import Annotated

import pytest
from commands import diptych
from pydantic import BaseModel, Field

from diptych.cli.json_output import symbol_of
from diptych.contract import Setting
from diptych.methods import METHODS, find


def test_methods_are_listed_without_torch():
    code = (
        "import sys; from diptych.cli.methods import methods; methods(); "
        "print([m for m in ('torch',) if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in (*METHODS, "facades", "glyphs"))
    assert done.stdout.rstrip().endswith("[]")


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_explained(name):
    out = diptych("methods", name, env={"COLUMNS": "160"}).stdout
    assert all(word in out for word in ("arXiv", "presets", "lr", "crop_size", "batch_size", "control", "description"))


def test_a_setting_is_shown_with_default_symbol_and_description():
    cls = find("pix2pix")
    symbol = symbol_of(cls.Config.model_fields["lambda_l1"])
    lines = diptych("methods", "pix2pix", env={"COLUMNS": "200"}).stdout.splitlines()
    lines = [line.strip() for line in lines]
    header = next(line for line in lines if line.startswith("model setting"))
    row = next(line for line in lines if line.startswith("lambda_l1"))
    assert symbol
    assert "paper" in header
    assert all(word in row for word in ("100", symbol)), row


def test_a_symbol_is_read_from_the_metadata_of_a_field():
    class Config(BaseModel):
        weight: Annotated[float, Setting(symbol="λ")] = 1.0
        other: Annotated[int, Field(ge=0)] = 2

    assert [symbol_of(field) for field in Config.model_fields.values()] == ["λ", ""]
