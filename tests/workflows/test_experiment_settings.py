"""What an experiment refuses of the settings that it is given, before the first run is made."""

import pytest
from experiments import LOSSES, NAMED, plan

from diptych.errors import ConfigError
from diptych.workflows.experiment import plan_recipes, read_experiment, shipped_experiments


def test_an_experiment_refuses_what_has_no_effect_in_any_of_its_runs(tmp_path):
    losses = {"matrix": {"loss": ["l1", "l1+cgan"]}}
    assert len(plan(tmp_path, LOSSES, "d_norm=instance", **losses)) == 2  # of use in one of them
    assert len(plan(tmp_path, LOSSES, "loss=[l1]")) == 1  # the recipe has a d_width
    with pytest.raises(ConfigError, match="run l1: d_norm has no effect without gan or cgan in loss"):
        plan(tmp_path, LOSSES, "d_norm=instance", "loss=[l1]")
    with pytest.raises(ConfigError, match="run weak: lambda_gp has no effect without gan_loss=wgan-gp"):
        plan(tmp_path, NAMED, runs={"plain": {}, "weak": {"lambda_gp": 1}})


def test_runs_of_different_methods(tmp_path):
    recipe = {"data": {"root": "glyphs", "crop_size": 64}}
    runs = {"unet": {"method": "pix2pix", "ngf": 4}, "styles": {"method": "munit", "style_dim": 3}}
    recipes = plan(tmp_path, NAMED, "batch_size=3", recipe=recipe, runs=runs)
    assert [each.method for each in recipes.values()] == ["pix2pix", "munit"]
    assert (recipes["unet"].model.ngf, recipes["styles"].model.style_dim) == (4, 3)
    assert all(each.train.batch_size == 3 and each.data.crop_size == 64 for each in recipes.values())
    with pytest.raises(ConfigError, match="no setting is called 'lambda_l1'"):
        plan(tmp_path, NAMED, "lambda_l1=3", recipe=recipe, runs=runs)
    with pytest.raises(ConfigError, match="run plain: the method is missing"):
        plan(tmp_path, NAMED, recipe=recipe, runs={"plain": {}})
    with pytest.raises(ConfigError, match="run foreign: the method 'this:that' is not part of Diptych"):
        plan(tmp_path, NAMED, recipe=recipe, runs={"foreign": {"method": "this:that"}})


@pytest.mark.parametrize(
    "name",
    [
        "cyclegan-losses",
        "dtn-ablation",
        "dtn-adaptation",
        "dtn-left-out",
        "mode-seeking",
        "retina",
        "starganv2-ablation",
        "starganv2-comparison",
    ],
)
def test_shipped_experiments_hold(name):
    assert name in shipped_experiments()
    assert plan_recipes(read_experiment(name), [])
