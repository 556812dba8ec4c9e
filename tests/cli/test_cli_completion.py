"""Shell completion of methods, recipes, experiments, protocols and settings."""

import os
import subprocess
import sys

import pytest
import typer

from diptych.cli import completion
from diptych.cli.completion import (
    complete_experiment,
    complete_method,
    complete_protocol,
    complete_recipe,
    complete_setting,
)
from diptych.evaluation.protocols import PROTOCOLS
from diptych.methods import METHODS
from diptych.settings.recipe import load_recipe, shipped


class Context(typer.Context):
    def __init__(self, **params):
        self.params = params


def test_methods_recipes_experiments_and_protocols():
    assert complete_method("cycle") == ["cyclegan"]
    assert "segmenter" in complete_method("")
    assert complete_recipe("pix2pix-ed") == ["pix2pix-edges", "pix2pix-edges2handbags", "pix2pix-edges2shoes"]
    assert set(complete_recipe("")) == {*METHODS, *shipped()}
    assert "pix2pix-losses" in complete_experiment("pix2pix")
    assert complete_protocol("") == sorted(path.rpartition(".")[2].replace("_", "-") for path in PROTOCOLS.values())
    assert complete_protocol("paired") == ["paired-default"]


@pytest.mark.parametrize(
    "params",
    [{"recipe": "pix2pix"}, {"recipe": "facades"}, {"experiment": "pix2pix-losses"}, {"method": "pix2pix"}],
)
def test_settings_are_those_of_the_method(params):
    names = complete_setting(Context(**params), "")
    assert {"lambda_l1=", "crop_size=", "batch_size=", "eval_every="} <= set(names)
    assert "lambda_cycle_a=" not in names
    assert complete_setting(Context(**params), "lambda_") == [name for name in names if name.startswith("lambda_")]


def test_settings_of_a_run_and_of_an_evaluator(run):
    assert complete_setting(Context(run=str(run)), "lambda_l1") == ["lambda_l1="]
    assert complete_setting(Context(kind="segmenter"), "palette") == ["palette="]


def test_values_of_a_setting():
    context = Context(recipe="pix2pix")
    assert complete_setting(context, "direction=") == ["direction=a2b", "direction=b2a"]
    assert complete_setting(context, "flip=t") == ["flip=true"]
    assert "precision=bf16" in complete_setting(context, "precision=")
    assert complete_setting(context, "batch_size=") == []
    assert complete_setting(context, "nonsense=") == []


def test_a_recipe_that_cannot_be_read_completes_what_all_methods_have(tmp_path):
    (tmp_path / "broken.yaml").write_text("method: [")
    for recipe in (tmp_path / "broken.yaml", tmp_path / "missing.yaml", "no-such-method"):
        assert "batch_size=" in complete_setting(Context(recipe=str(recipe)), "")
    assert complete_setting(Context(recipe="no.such:Class"), "") == []


def test_a_run_folder_does_not_choose_which_module_is_imported(tmp_path):
    (tmp_path / "config.yaml").write_text("method: this:Zen\n")
    assert completion._method_name({"run": str(tmp_path)}) == ""


def test_a_shell_gets_them():
    """As bash calls it, in a process of its own."""
    environment = {
        **os.environ,
        "_DIPTYCH_COMPLETE": "complete_bash",
        "COMP_WORDS": "diptych train pix2pix lambda_",
        "COMP_CWORD": "3",
    }
    code = "import sys; sys.argv[0] = 'diptych'; from diptych.cli import app; app(prog_name='diptych')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    lines = done.stdout.splitlines()
    assert "lambda_l1=" in lines, done.stderr
    assert set(lines) == {
        f"{key}=" for key in load_recipe("pix2pix", ["root=x"]).model.model_dump() if "lambda_" in key
    }
