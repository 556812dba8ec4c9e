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
    refused(name, ["image_size=64"], "size follows from crop: give crop_size=64 instead")
    refused(name, ["image_size=64", "crop_size=64"], "size follows from crop")
    (tmp_path / "r.yaml").write_text(
        yaml.safe_dump({"method": name, "model": {"image_size": 64}, "data": {"root": "x"}})
    )
    with pytest.raises(ConfigError, match="size follows from crop: give crop_size=64 instead"):
        from_file(tmp_path / "r.yaml")
    assert load_recipe(name, [*data_of(name), "crop_size=64"]).model.image_size == 64


def test_the_list_of_settings_says_that_the_size_is_the_crop():
    (line,) = [line for line in diptych("methods", "munit").stdout.splitlines() if line.split()[:1] == ["size"]]
    assert line.split()[1:3] == ["as", "crop"]


def test_labels_are_read_from_the_data_and_refused():
    refused("stargan", ["labels=[{names: [a, b]}]"], "labels are read from the data: choose some by folders= or")


UNUSED = [
    ("pix2pix", ["loss=l1", "ndf=32"], "d_width has no effect without gan or cgan in loss: leave ndf= out"),
    ("pix2pix", ["loss=l1", "gan_loss=lsgan"], "adversarial has no effect without gan or cgan in loss"),
    ("pix2pix", ["loss=cgan", "lambda_l1=10"], "l1 has no effect without l1 in loss"),
    ("pix2pix", ["lambda_gp=3"], "penalty has no effect without gan_loss=wgan-gp"),
    (
        "pix2pix",
        ["init=kaiming", "norm=instance", "d_norm=instance", "init_gain=1"],
        "gain has no effect without init=",
    ),
    ("cyclegan", ["lambda_gan=0", "pool_size=3"], "pool has no effect without gan above 0"),
    (
        "cyclegan",
        ["lambda_cycle_a=0", "lambda_cycle_b=0", "lambda_identity=1"],
        "identity has no effect without cycle_a or cycle_b above 0",
    ),
    ("msgan", ["lambda_ms=0", "ms_eps=1"], "clamp has no effect without seek above 0"),
    ("msgan", ["preset=plain", "ms_eps=1"], "clamp has no effect without seek above 0"),
    ("cut", ["flip_equivariance=true", "reuse=none"], "saving has no effect without flip_equivariance=false"),
    ("munit", ["feature_network=vgg16"], "features has no effect without perceptual above 0"),
    ("drit", ["lambda_content=0", "content_grad_clip=1"], "clip has no effect without content above 0"),
    ("starganv2", ["lambda_gp=3"], "penalty has no effect without gan_loss=wgan-gp"),
    ("starganv2", ["gan_loss=wgan-gp", "lambda_r1=3"], "r1 has no effect without gan_loss=nonsaturating"),
    ("starganv2", ["lambda_cls=3"], "classify has no effect without d_head=classes"),
    ("starganv2", ["preset=d", "f_lr=1"], "mapping_lr has no effect without condition=style"),
    ("starganv2", ["preset=c", "lambda_sty=2"], "style has no effect without condition=style or latent"),
    ("starganv2", ["preset=e", "ds_decay_end=0.5"], "diversity_until has no effect without diversity above 0"),
    ("dtn", ["pretrain_steps=0", "f_lr=1"], "f_lr has no effect without pretrain above 0"),
    ("dtn", ["tv_power=2"], "tv_power has no effect without tv above 0"),
    ("dtn", ["gan_loss=false", "d_head=binary"], "critic has no effect without gan_loss=true"),
    ("dtn", ["f_n_downsample=2"], "judge_depth has no effect without f_network=classifier"),
    ("diat", ["enhancement_steps=7"], "enhance has no effect without enhancement=local or global"),
    ("diat", ["enhancement=global", "lambda_inside=[1,2,3]"], "inside has no effect without enhancement=local"),
    ("diat", ["preset=adaptive", "one_by_one_convs=1"], "smooth has no effect without lambda_identity=network"),
    (
        "diat",
        ["one_by_one_convs=0", "denoiser_steps=7"],
        "denoise has no effect without lambda_identity=network and smooth above 0",
    ),
    (
        "diat",
        ["lambda_identity=adaptive", "feature_network=vgg19"],
        "features has no effect without lambda_identity=network",
    ),
    ("diat", ["one_by_one_convs=0", "lambda_id=0", "feature_layers=[1]"], "layers has no effect without keep above 0"),
    ("srgan", ["preset=mse", "feature_layer=2"], "layer has no effect without a network in features"),
    ("srgan", ["lambda_gan=0", "d_head=pooled"], "head has no effect without gan above 0"),
    (
        "pix2pix",
        ["resize_mode=none", "load_size=300"],
        "load has no effect without crop_mode=random and a fit other than none",
    ),
    (
        "pix2pix",
        ["crop_mode=random_resized", "random_crop_until=0.5"],
        "load_until has no effect without crop_mode=random",
    ),
    ("pix2pix", ["load_size=256", "random_crop_until=0.5"], "load_until has no effect without load above crop"),
    ("stargan", ["folders=[a,b]"], "sides has no effect without a folder of images as root: leave folders= out"),
    ("cyclegan", ["layout=folders"], "layout has no effect without a folder of images as root"),
    ("cyclegan", ["root=x", "attributes=[Young]", "layout=folders"], "layout has no effect without two folders"),
    ("pix2pix", ["eval_images=9"], "images has no effect without eval_every=STEPS"),
    ("pix2pix", ["extractor=vgg16"], "extractor has no effect without eval_every=STEPS"),
]


@pytest.mark.parametrize(
    ("name", "overrides", "message"), UNUSED, ids=lambda value: " ".join(value) if isinstance(value, list) else None
)
def test_a_setting_without_effect_is_refused(name, overrides, message):
    refused(name, overrides, message)


def test_an_override_may_switch_off_what_a_recipe_sets(tmp_path):
    model = {"d_width": 8, "penalty": 3}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({"method": "pix2pix", "model": model, "data": {"root": "x"}}))
    with pytest.raises(ConfigError, match="penalty has no effect") as caught:
        from_file(tmp_path / "r.yaml", ["loss=l1"])
    assert "d_width" not in str(caught.value)
    with pytest.raises(ConfigError, match="d_width has no effect"):
        from_file(tmp_path / "r.yaml", ["loss=l1", "ndf=8"])


def test_all_settings_without_effect_are_named_at_once():
    refused(
        "pix2pix",
        ["loss=l1", "ndf=3", "receptive_field=16"],
        "field has no effect without gan or cgan in loss: leave receptive_field= out; d_width",
    )


def test_what_is_off_and_what_is_usual_may_be_said():
    load_recipe(
        "diat",
        [
            "root=glyphs",
            "lambda_identity=adaptive",
            "feature_network=none",
            "one_by_one_convs=0",
            "feature_layers=[4,5]",
        ],
    )
    load_recipe(
        "pix2pix", ["root=glyphs", "lambda_gp=10", "loss=l1+gan", "eval_images=200", "matched_names=true"]
    )  # pairs are known


def test_an_old_run_with_settings_without_effect_opens_and_goes_on(tmp_path):
    settings = load_recipe("munit", ["root=glyphs", "crop_size=32", "d_layers=2", "num_scales=2"]).settings()
    settings["model"] |= {"size": 256, "features": "vgg16"}
    settings["data"] |= {"fit": "none", "load": 300}
    del settings["model"]["hidden"]  # as of a version that did not have it
    run = Run(tmp_path)
    run.config.write_text(yaml.safe_dump(settings))
    recipe = from_settings(run.settings(), ["steps=7"], saved=True)
    assert (recipe.model.image_size, recipe.data.load_size, recipe.model.steps) == (32, 300, 7)
    with pytest.raises(ConfigError, match="load has no effect"):
        from_settings(run.settings(), ["load_size=200"], saved=True)
    with pytest.raises(ConfigError, match="size follows from crop"):
        from_settings(run.settings(), ["image_size=64"], saved=True)


def test_the_whole_settings_of_a_run_are_a_recipe(tmp_path):
    recipe = load_recipe("pix2pix", ["root=glyphs", "crop_size=32", "generator=unet_32"])
    settings = recipe.settings()
    settings["model"] |= {"loss": "l1", "d_width": 8}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    assert from_file(tmp_path / "config.yaml").model.ndf == 8
