"""`--json`: one valid document alone on stdout, with the keys of docs/json.md, and the usual exit codes."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from commands import diptych

from diptych.cli import json_output
from diptych.cli.json_output import to_json_values
from diptych.data.images import image_io
from diptych.evaluation.metrics.intervals import Score
from diptych.evaluation.results import Result
from diptych.methods import EVALUATORS, METHODS
from diptych.settings.train_config import TrainConfig
from diptych.workflows import doctor

DOCS = Path(__file__).parents[2] / "docs" / "json.md"


def refused(word):
    raise AssertionError(f"{word} is not JSON")


def document(*words, code=0):
    """The document that a command prints."""
    done = diptych(*words, "--json")
    assert done.exit_code == code
    assert done.stdout.isascii()
    return json.loads(done.stdout, parse_constant=refused)


def pictures(folder, names=("a.png", "b.png", "c.png", "d.png")):
    dice = np.random.default_rng(list(folder.name.encode()))
    for name in names:
        image_io.write(folder / name, dice.integers(0, 256, (32, 32, 3), np.uint8))
    return folder


def keys(value, name=""):
    """Every key of a document, below its first level with the keys above."""
    if isinstance(value, list):
        return {key for each in value for key in keys(each, name)}
    if not isinstance(value, dict):
        return set()
    found = set()
    for key, each in value.items():
        found |= {key} if name in ("about", "images", "tools", "presets", "unused") else {key} | keys(each, key)
    return found if name not in ("about", "images", "tools", "presets", "unused") else set()


def check_documented(value):
    missing = {key for key in keys(value) if f"`{key}`" not in DOCS.read_text()}
    assert not missing


def test_values_are_plain_and_numbers_finite():
    found = to_json_values({"a": (math.nan, -math.inf, 1.5, 2), Path("b"): None, "c": {"d": True, "e": Path("é")}})
    assert found == {"a": [None, None, 1.5, 2], "b": None, "c": {"d": True, "e": "é"}}
    assert to_json_values(np.float64(math.inf)) is None
    assert to_json_values(np.float64(2.0)) == 2.0


def test_the_documents_are_listed_and_every_key_is_known():
    for command in ("data check", "doctor", "evaluate", "compare", "methods"):
        assert f"## `{command} --json`" in DOCS.read_text()


@pytest.mark.parametrize("broken", [False, True])
def test_data_check(broken, tmp_path):
    for folder in ("trainA", "trainB"):
        pictures(tmp_path / "☃" / folder)
    if broken:
        (tmp_path / "☃" / "trainA" / "e.png").write_bytes(b"no image")
    found = document("data", "check", tmp_path / "☃", code=int(broken))
    check_documented(found)
    assert found["folder"] == str(tmp_path / "☃")
    assert found["ok"] is not broken
    assert [(part["domain"], part["images"]) for part in found["parts"]] == [("A", 4 + broken), ("B", 4)]
    assert found["parts"][1]["width"] == [32, 32]
    assert found["parts"][1]["types"] == ["uint8"]
    named = [name for problem in found["problems"] if problem["error"] for name in problem["files"]]
    assert any("e.png" in name for name in named) == broken
    fitting = {each["name"]: each for each in found["methods"]}
    assert fitting["cyclegan"]["command"].startswith("diptych train cyclegan --data ")


def test_doctor(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "BENCHMARK", {"generator": "unet_256", "ngf": 1, "ndf": 1})
    found = document("doctor", tmp_path, "--device", "cpu", "--seconds", "0")
    check_documented(found)
    assert found["ok"] is True
    assert {"machine", "device", "run folder", "speed"} <= {each["name"] for each in found["findings"]}
    assert document("doctor", tmp_path, "--device", "cuda:99", code=1)["ok"] is False


def test_evaluate_and_compare(tmp_path):
    real, fake = pictures(tmp_path / "real"), pictures(tmp_path / "fake")
    done = diptych("evaluate", "--real", real, "--fake", fake, "--extractor", "none", "--json")
    found = json.loads(done.stdout, parse_constant=refused)
    check_documented(found)
    assert found["file"] == str(fake / "results" / "paired-default.json")
    assert {score["name"] for score in found["scores"]} >= {"l1", "ssim"}
    assert all(score["low"] is None or score["low"] <= score["value"] <= score["high"] for score in found["scores"])
    assert done.stderr == "" or "{" not in done.stderr
    compared = document("compare", fake, "-o", tmp_path / "compared")
    check_documented(compared)
    assert compared["page"] == str(tmp_path / "compared" / "index.html")
    assert compared["runs"][0]["scores"][0]["name"] == found["scores"][0]["name"]


def test_differences_are_to_the_first_run():
    draws = tuple(float(number) for number in range(1000))
    one, other = (
        Score("l1", value, value - 1, value + 1, "lower", 9, "bootstrap", tuple(draw + value for draw in draws))
        for value in (1.0, 3.0)
    )
    assert json_output._difference(one, one) is None
    found = json_output._difference(other, one)
    assert (found["value"], found["low"], found["high"], found["significant"]) == (2, 2, 2, True)


def test_a_measure_that_is_not_finite_is_null(capsys):
    score = Score("psnr", math.inf, math.nan, math.inf, "higher", 4, "bootstrap", ())
    result = Result(protocol="p/1", name="n", about={}, tools={}, said=(), scores=(score,))
    json_output.print_json(json_output.result_json(result))
    (found,) = json.loads(capsys.readouterr().out, parse_constant=refused)["scores"]
    assert (found["value"], found["low"], found["high"]) == (None, None, None)


def test_methods():
    found = document("methods")
    check_documented(found)
    assert [each["name"] for each in found["methods"]] == list(METHODS)
    assert [each["name"] for each in found["evaluators"]] == list(EVALUATORS)
    assert "facades" in found["recipes"]
    assert "pix2pix-losses" in found["experiments"]
    for method in found["methods"]:
        settings = {setting["name"]: setting for setting in method["settings"]}
        assert settings["batch_size"] == {
            "name": "batch_size",
            "section": "train",
            "type": "int",
            "required": False,
            "default": 1,
            "symbol": "",
            "description": TrainConfig.model_fields["batch_size"].description,
        }
        assert settings["root"]["required"]
        assert settings["resize_mode"]["type"] == "Literal['squash', 'short_side', 'center_square', 'none']"
        assert settings["workers"]["type"] == "Literal['auto'] | int"
        assert settings["folders"]["type"] == "tuple[str, ...] | None"
        assert all(each["description"] for each in method["settings"] if each["section"] != "model")
    alone = document("methods", "cyclegan")
    assert alone in found["methods"]
    assert [(each["name"], each["choices"]) for each in alone["controls"]] == [("direction", ["a2b", "b2a"])]
