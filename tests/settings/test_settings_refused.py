"""A setting that follows from another one, or has no effect beside the others, is refused by name with the way out."""

import re

import pytest
import yaml
from commands import diptych

from diptych.contract import DataKind
from diptych.errors import ConfigError
from diptych.methods import METHODS, find
from diptych.runs.folder import Run
from diptych.settings.recipe import from_file, from_settings, load_recipe

SQUARE = [name for name in METHODS if find(name).image_size_field()]


def data_of(name):
    return ["root=glyphs", *(["target_root=glyphs:serif"] if find(name).data == DataKind.TRANSFER else [])]


def refused(name, overrides, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_recipe(name, [*data_of(name), *overrides])


@pytest.mark.parametrize("name", SQUARE)
def test_a_size_that_follows_from_the_crop_is_refused(name, tmp_path):
    refused(name, ["image_size=64"], "image_size follows crop_size: give crop_size=64 instead")
    refused(name, ["image_size=64", "crop_size=64"], "image_size follows crop_size")
    (tmp_path / "r.yaml").write_text(
        yaml.safe_dump({"method": name, "model": {"image_size": 64}, "data": {"root": "x"}})
    )
    with pytest.raises(ConfigError, match="image_size follows crop_size: give crop_size=64 instead"):
        from_file(tmp_path / "r.yaml")
    assert load_recipe(name, [*data_of(name), "crop_size=64"]).model.image_size == 64


def test_the_list_of_settings_says_that_the_size_is_the_crop():
    (line,) = [line for line in diptych("methods", "munit").stdout.splitlines() if line.split()[:1] == ["image_size"]]
    assert "crop_size" in line


def test_labels_are_read_from_the_data_and_refused():
    refused("stargan", ["labels=[{names: [a, b]}]"], "labels are read from the data: choose some by folders= or")


UNUSED = [
    ("pix2pix", ["loss=l1", "ndf=32"], "ndf has no effect without gan or cgan in loss: leave out ndf="),
    ("pix2pix", ["loss=l1", "gan_loss=lsgan"], "gan_loss has no effect without gan or cgan in loss"),
    ("pix2pix", ["loss=cgan", "lambda_l1=10"], "lambda_l1 has no effect without l1 in loss"),
    ("pix2pix", ["lambda_gp=3"], "lambda_gp has no effect without gan_loss=wgan-gp"),
    (
        "pix2pix",
        ["init=kaiming", "norm=instance", "d_norm=instance", "init_gain=1"],
        "init_gain has no effect without init=",
    ),
    ("cyclegan", ["lambda_gan=0", "pool_size=3"], "pool_size has no effect without lambda_gan above 0"),
    (
        "cyclegan",
        ["lambda_cycle_a=0", "lambda_cycle_b=0", "lambda_identity=1"],
        "lambda_identity has no effect without lambda_cycle_a or lambda_cycle_b above 0",
    ),
    ("gan", ["prior=normal", "prior_limit=2"], "prior_limit has no effect without prior=uniform"),
    ("cyclegan", ["lambda_gan=0", "gan_loss=vanilla"], "gan_loss has no effect without lambda_gan above 0"),
    ("msgan", ["lambda_ms=0", "ms_eps=1"], "ms_eps has no effect without lambda_ms above 0"),
    ("msgan", ["preset=plain", "ms_eps=1"], "ms_eps has no effect without lambda_ms above 0"),
    ("munit", ["feature_network=vgg16"], "feature_network has no effect without lambda_perceptual above 0"),
    (
        "drit",
        ["lambda_content=0", "content_grad_clip=1"],
        "content_grad_clip has no effect without lambda_content above 0",
    ),
    ("starganv2", ["lambda_gp=3"], "lambda_gp has no effect without gan_loss=wgan-gp"),
    ("starganv2", ["gan_loss=wgan-gp", "lambda_r1=3"], "lambda_r1 has no effect without gan_loss=nonsaturating"),
    ("starganv2", ["lambda_cls=3"], "lambda_cls has no effect without d_head=classes"),
    ("starganv2", ["preset=d", "f_lr=1"], "f_lr has no effect without condition=style"),
    ("starganv2", ["preset=c", "lambda_sty=2"], "lambda_sty has no effect without condition=style or latent"),
    ("starganv2", ["preset=e", "ds_decay_end=0.5"], "ds_decay_end has no effect without lambda_ds above 0"),
    ("dtn", ["pretrain_steps=0", "f_lr=1"], "f_lr has no effect without pretrain_steps above 0"),
    ("dtn", ["tv_power=2"], "tv_power has no effect without lambda_tv above 0"),
    ("dtn", ["use_gan=false", "d_head=binary"], "d_head has no effect without use_gan=true"),
    ("dtn", ["f_n_downsample=2"], "f_n_downsample has no effect without f_network=classifier"),
    (
        "diat",
        ["enhancement=none", "enhancement_steps=7"],
        "enhancement_steps has no effect without enhancement=local or global",
    ),
    ("diat", ["enhancement=global", "lambda_inside=[1,2,3]"], "lambda_inside has no effect without enhancement=local"),
    ("diat", ["preset=adaptive", "lambda_smooth=1"], "lambda_smooth has no effect without identity_features=network"),
    (
        "diat",
        ["lambda_smooth=0", "denoiser_steps=7"],
        "denoiser_steps has no effect without identity_features=network and lambda_smooth above 0",
    ),
    (
        "diat",
        ["identity_features=adaptive", "feature_network=vgg19"],
        "feature_network has no effect without identity_features=network",
    ),
    (
        "diat",
        ["lambda_smooth=0", "lambda_id=0", "feature_layers=[1]"],
        "feature_layers has no effect without lambda_id above 0",
    ),
    ("srgan", ["preset=mse", "feature_layer=2"], "feature_layer has no effect without a feature_network"),
    ("srgan", ["lambda_gan=0", "d_head=pooled"], "d_head has no effect without lambda_gan above 0"),
    (
        "pix2pix",
        ["resize_mode=none", "load_size=300"],
        "load_size has no effect without crop_mode=random and a resize_mode other than none",
    ),
    (
        "pix2pix",
        ["crop_mode=random_resized", "random_crop_until=0.5"],
        "random_crop_until has no effect without crop_mode=random and a resize_mode other than none",
    ),
    (
        "pix2pix",
        ["load_size=256", "random_crop_until=0.5"],
        "random_crop_until has no effect without a load_size above crop_size",
    ),
    ("stargan", ["folders=[a,b]"], "folders has no effect without a folder of images as root: leave out folders="),
    ("cyclegan", ["layout=folders"], "layout has no effect without a folder of images as root"),
    ("cyclegan", ["root=x", "attributes=[Young]", "layout=folders"], "layout has no effect without two folders"),
    ("stargan", ["holdout_fraction=0.1"], "holdout_fraction has no effect without a folder of images for each class"),
    ("pix2pix", ["root=x", "holdout_fraction=0.1"], "holdout_fraction has no effect without a folder of images for"),
    ("pix2pix", ["eval_images=9"], "eval_images has no effect without eval_every=STEPS"),
    ("pix2pix", ["extractor=vgg16"], "extractor has no effect without eval_every=STEPS"),
]


@pytest.mark.parametrize(
    ("name", "overrides", "message"), UNUSED, ids=lambda value: " ".join(value) if isinstance(value, list) else None
)
def test_a_setting_without_effect_is_refused(name, overrides, message):
    refused(name, overrides, message)


def test_an_override_may_switch_off_what_a_recipe_sets(tmp_path):
    model = {"ndf": 8, "lambda_gp": 3}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({"method": "pix2pix", "model": model, "data": {"root": "x"}}))
    with pytest.raises(ConfigError, match="lambda_gp has no effect") as caught:
        from_file(tmp_path / "r.yaml", ["loss=l1"])
    assert "ndf" not in str(caught.value)
    with pytest.raises(ConfigError, match="ndf has no effect"):
        from_file(tmp_path / "r.yaml", ["loss=l1", "ndf=8"])


def test_all_settings_without_effect_are_named_at_once():
    refused(
        "pix2pix",
        ["loss=l1", "ndf=3", "receptive_field=16"],
        "receptive_field has no effect without gan or cgan in loss: leave out receptive_field=; ndf",
    )


def test_what_is_off_and_what_is_usual_may_be_said():
    load_recipe(
        "diat",
        [
            "root=glyphs",
            "identity_features=adaptive",
            "feature_network=none",
            "lambda_smooth=0",
            "feature_layers=[4,5]",
        ],
    )
    load_recipe("cut", ["root=glyphs", "flip_equivariance=true", "reuse=none"])
    load_recipe(
        "pix2pix", ["root=glyphs", "lambda_gp=10", "loss=l1+gan", "eval_images=200", "matched_names=true"]
    )  # pairs are known


def test_an_old_run_with_settings_without_effect_opens_and_goes_on(tmp_path):
    settings = load_recipe("munit", ["root=glyphs", "crop_size=32", "d_layers=2", "num_scales=2"]).settings()
    for section, former in (
        ("model", {"image_size": ("size", 256), "feature_network": ("features", "vgg16")}),
        ("data", {"resize_mode": ("fit", "none"), "load_size": ("load", 300)}),
    ):
        for present, (name, value) in former.items():
            settings[section].pop(present, None)
            settings[section][name] = value
    del settings["model"]["mlp_dim"]  # as of a version that did not have it
    run = Run(tmp_path)
    run.config.write_text(yaml.safe_dump(settings))
    recipe = from_settings(run.settings(), ["steps=7"], saved=True)
    assert (recipe.model.image_size, recipe.data.load_size, recipe.model.steps) == (32, 300, 7)
    with pytest.raises(ConfigError, match="load_size has no effect"):
        from_settings(run.settings(), ["load_size=200"], saved=True)
    with pytest.raises(ConfigError, match="image_size follows crop_size"):
        from_settings(run.settings(), ["image_size=64"], saved=True)


def test_the_whole_settings_of_a_run_are_a_recipe(tmp_path):
    recipe = load_recipe("pix2pix", ["root=glyphs", "crop_size=32", "generator=unet_32"])
    settings = recipe.settings()
    settings["model"] |= {"loss": "l1", "ndf": 8}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    assert from_file(tmp_path / "config.yaml").model.ndf == 8
