"""The model card: names from files are no markup, and its code loads the model."""

import ast
import re

import torch

from diptych.contract import Labels
from diptych.inference import model_card
from diptych.inference.load import build_translator
from diptych.methods.cyclegan import CycleGAN
from diptych.methods.pix2pix import Pix2Pix
from diptych.methods.stargan import StarGAN
from diptych.networks import user_code


class Own(Pix2Pix):
    """A method that is not part of Diptych."""


def test_names_of_labels_are_no_markdown():
    names = ("[win](http://evil.example)", "<img src=x>", "a\n# Heading", "`tick`")
    labels = (Labels(names=names, kind="attributes"),)
    with torch.device("meta"):
        method = StarGAN(StarGAN.Config(**{**StarGAN.checks.tiny, "labels": labels}))
    text = model_card.write(method, "stargan", {})
    assert "img src=x" in text
    bare = re.sub(r"`[^`\n]*`", "", text)
    assert not [bad for bad in ("[win]", "<img", "# Heading", "tick") if bad in bare]


def test_the_code_of_the_card_loads_a_method_and_a_network_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setattr(user_code, "_allowed", {})
    config = Own.Config(**{**Own.checks.tiny, "generator": user_code.allow("own_networks:Small")})
    method = Own(config)
    weights = {key: value for key, value in method.state_dict().items() if key.startswith("G.")}
    name = f"{Own.__module__}:Own"
    build_translator(Own, name, config.model_dump(), weights, ("G",), {}, "test").save(tmp_path)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1].replace("this folder, or its hub id", str(tmp_path))
    tree = ast.parse(code)
    tree.body.pop()  # it translates a file
    user_code._allowed.clear()
    names = {}
    exec(compile(tree, "card", "exec"), names)
    assert type(names["translator"].method) is Own


def test_the_card_lists_the_choices_of_a_control():
    with torch.device("meta"):
        method = CycleGAN(CycleGAN.Config(**CycleGAN.checks.tiny))
    assert "(`a2b`, `b2a`)" in model_card.write(method, "cyclegan", {})
