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
    ],
)
def test_shipped_experiments_hold(name):
    assert name in shipped_experiments()
    assert plan_recipes(read_experiment(name), [])
