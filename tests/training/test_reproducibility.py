"""T9: what a run was made with comes back from its checkpoint as it was, and a difference has to be named."""

from pathlib import Path

import pytest
import torch

from diptych.data.checks.manifest import Manifest
from diptych.errors import ConfigError
from diptych.methods import METHODS
from diptych.networks.image_pool import ImagePool
from diptych.runs import checkpoint
from diptych.settings import recipe
from diptych.training.reproducibility import check_unchanged, defaults, provenance_of

NOTHING = Manifest(Path())


@pytest.mark.parametrize("method", METHODS)
def test_it_comes_back_from_a_file_as_it_was(method, tmp_path):
    chosen = recipe.load_recipe(method, ["root=x", "folders=[a,b]", "lr=1e-4", "precision=fp32"])
    made = provenance_of(chosen, NOTHING, 1)
    meta = {"place": 0, "stage": "train", "step": 1, "total": 1, "ledger": {}, "best": None, "made": made}
    checkpoint.save(tmp_path / "0-00000001.safetensors", ({}, meta))
    assert checkpoint.load(tmp_path / "0-00000001.safetensors")[1]["made"] == made
    assert check_unchanged(made, provenance_of(chosen, NOTHING, 1), (), "diptych resume x", lambda field: "") == {}


def test_the_way_out_is_the_whole_command():
    before = {"lr": 1e-4, "steps": 40, "torch": "2.11", "processes": 1}
    now = {"lr": 1e-3, "steps": 60, "torch": "2.11", "processes": 2}
    with pytest.raises(ConfigError) as caught:
        check_unchanged(before, now, ["lr"], "diptych resume runs/x steps=60", lambda field: "")
    assert "  lr: 0.0001 -> 0.001\n  steps: 40 -> 60\n  processes: 1 -> 2\n" in str(caught.value)
    assert str(caught.value).endswith("diptych resume runs/x steps=60 --allow lr --allow steps --allow processes")
    everything = check_unchanged(before, now, ["lr", "steps", "processes"], "", lambda field: "")
    assert everything == {"lr": (1e-4, 1e-3), "steps": (40, 60), "processes": (1, 2)}


def test_what_is_no_longer_there_can_be_allowed():
    """A `load` or `sides` that was set and is not any more is in the checkpoint alone."""
    assert check_unchanged({"load": 40}, {}, ["load"], "", lambda field: "") == {"load": (40, None)}


def test_a_setting_that_is_newer_than_the_checkpoint_had_its_default():
    chosen = recipe.load_recipe("pix2pix", ["root=glyphs", "precision=fp32", "compile=false"])
    now = provenance_of(chosen, NOTHING, 1)
    old = {field: value for field, value in now.items() if field not in ("gain", "bad")}
    assert check_unchanged({**defaults(chosen, now), **old}, now, (), "", lambda field: "") == {}
    other = provenance_of(
        recipe.load_recipe("pix2pix", ["root=glyphs", "precision=fp32", "compile=false", "init_gain=0.1"]), NOTHING, 1
    )
    with pytest.raises(ConfigError, match=r"gain: 0\.02 -> 0\.1"):
        check_unchanged({**defaults(chosen, other), **old}, other, (), "", lambda field: "")


def test_a_pool_of_another_size_or_of_other_images_begins_anew():
    """A run may go on with another `pool` or `crop`, where that is allowed."""
    full = ImagePool(3)
    for _ in range(4):
        full(torch.ones(1, 1, 8, 8))
    other = ImagePool(5)
    other.load_state_dict(full.state_dict())
    assert other.seen.item() == 0
    assert torch.equal(other(torch.zeros(1, 1, 8, 8)), torch.zeros(1, 1, 8, 8)), "nothing is left of the old ones"
    same = ImagePool(3)
    same.load_state_dict(full.state_dict())
    assert torch.equal(same(torch.zeros(1, 1, 4, 4)), torch.zeros(1, 1, 4, 4))
    assert same.seen.item() == 1
