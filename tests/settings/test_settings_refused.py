"""A setting that follows from another one, or has no effect beside the others, is refused by name with the way out."""

import re

import pytest
import yaml
from commands import diptych

from diptych.contract import DataKind
from diptych.errors import ConfigError
from diptych.methods import METHODS, find
from diptych.runs.folder import Run
from diptych.settings.recipe import from_file, from_settings, named

SQUARE = [name for name in METHODS if find(name).square]


def data_of(name):
    return ["root=glyphs", *(["target=glyphs:serif"] if find(name).data == DataKind.TRANSFER else [])]


def refused(name, overrides, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        named(name, [*data_of(name), *overrides])


@pytest.mark.parametrize("name", SQUARE)
def test_a_size_that_follows_from_the_crop_is_refused(name, tmp_path):
    refused(name, ["size=64"], "size follows from crop: give crop=64 instead")
    refused(name, ["size=64", "crop=64"], "size follows from crop")
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({"method": name, "model": {"size": 64}, "data": {"root": "x"}}))
    with pytest.raises(ConfigError, match="size follows from crop: give crop=64 instead"):
        from_file(tmp_path / "r.yaml")
    assert named(name, [*data_of(name), "crop=64"]).model.size == 64


def test_the_list_of_settings_says_that_the_size_is_the_crop():
    (line,) = [line for line in diptych("methods", "munit").stdout.splitlines() if line.split()[:1] == ["size"]]
    assert line.split()[1:3] == ["as", "crop"]


def test_labels_are_read_from_the_data_and_refused():
    refused("stargan", ["labels=[{names: [a, b]}]"], "labels are read from the data: choose some by sides= or")


UNUSED = [
    ("pix2pix", ["loss=l1", "d_width=32"], "d_width has no effect without gan or cgan in loss: leave d_width= out"),
    ("pix2pix", ["loss=l1", "adversarial=lsgan"], "adversarial has no effect without gan or cgan in loss"),
    ("pix2pix", ["loss=cgan", "l1=10"], "l1 has no effect without l1 in loss"),
    ("pix2pix", ["penalty=3"], "penalty has no effect without adversarial=wgan-gp"),
    ("pix2pix", ["init=kaiming", "norm=instance", "d_norm=instance", "gain=1"], "gain has no effect without init="),
    ("cyclegan", ["gan=0", "pool=3"], "pool has no effect without gan above 0"),
    ("cyclegan", ["cycle_a=0", "cycle_b=0", "identity=1"], "identity has no effect without cycle_a or cycle_b above 0"),
    ("msgan", ["seek=0", "clamp=1"], "clamp has no effect without seek above 0"),
    ("msgan", ["preset=plain", "clamp=1"], "clamp has no effect without seek above 0"),
    ("cut", ["mirror=true", "saving=plain"], "saving has no effect without mirror=false"),
    ("munit", ["features=vgg16"], "features has no effect without perceptual above 0"),
    ("drit", ["content=0", "clip=1"], "clip has no effect without content above 0"),
    ("starganv2", ["penalty=3"], "penalty has no effect without objective=wgan-gp"),
    ("starganv2", ["objective=wgan-gp", "r1=3"], "r1 has no effect without objective=r1"),
    ("starganv2", ["classify=3"], "classify has no effect without critic=classes"),
    ("starganv2", ["preset=d", "mapping_lr=1"], "mapping_lr has no effect without condition=style"),
    ("starganv2", ["preset=c", "style=2"], "style has no effect without condition=style or latent"),
    ("starganv2", ["preset=e", "diversity_until=0.5"], "diversity_until has no effect without diversity above 0"),
    ("dtn", ["pretrain=0", "f_lr=1"], "f_lr has no effect without pretrain above 0"),
    ("dtn", ["tv_power=2"], "tv_power has no effect without tv above 0"),
    ("dtn", ["adversarial=false", "critic=binary"], "critic has no effect without adversarial=true"),
    ("dtn", ["judge_depth=2"], "judge_depth has no effect without reader=judge"),
    ("diat", ["enhance=7"], "enhance has no effect without enhancement=local or global"),
    ("diat", ["enhancement=global", "inside=[1,2,3]"], "inside has no effect without enhancement=local"),
    ("diat", ["preset=adaptive", "smooth=1"], "smooth has no effect without identity=network"),
    ("diat", ["smooth=0", "denoise=7"], "denoise has no effect without identity=network and smooth above 0"),
    (
        "diat",
        ["identity=adaptive", "features=vgg19"],
        "features has no effect without identity=network",
    ),
    ("diat", ["smooth=0", "keep=0", "layers=[1]"], "layers has no effect without keep above 0"),
    ("srgan", ["preset=mse", "layer=2"], "layer has no effect without a network in features"),
    ("srgan", ["gan=0", "head=pooled"], "head has no effect without gan above 0"),
    ("pix2pix", ["fit=none", "load=300"], "load has no effect without cut=crop and a fit other than none"),
    ("pix2pix", ["cut=zoom", "load_until=0.5"], "load_until has no effect without cut=crop"),
    ("pix2pix", ["load=256", "load_until=0.5"], "load_until has no effect without load above crop"),
    ("stargan", ["sides=[a,b]"], "sides has no effect without a folder of images as root: leave sides= out"),
    ("cyclegan", ["layout=folders"], "layout has no effect without a folder of images as root"),
    ("cyclegan", ["root=x", "attributes=[Young]", "layout=folders"], "layout has no effect without two folders"),
    ("pix2pix", ["images=9"], "images has no effect without every=STEPS"),
    ("pix2pix", ["extractor=vgg16"], "extractor has no effect without every=STEPS"),
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
        from_file(tmp_path / "r.yaml", ["loss=l1", "d_width=8"])


def test_all_settings_without_effect_are_named_at_once():
    refused(
        "pix2pix",
        ["loss=l1", "d_width=3", "field=16"],
        "field has no effect without gan or cgan in loss: leave field= out; d_width",
    )


def test_what_is_off_and_what_is_usual_may_be_said():
    named("diat", ["root=glyphs", "identity=adaptive", "features=none", "smooth=0", "layers=[4,5]"])
    named("pix2pix", ["root=glyphs", "penalty=10", "loss=l1+gan", "images=200", "twins=true"])  # pairs are known


def test_an_old_run_with_settings_without_effect_opens_and_goes_on(tmp_path):
    settings = named("munit", ["root=glyphs", "crop=32", "depth=2", "scales=2"]).settings()
    settings["model"] |= {"size": 256, "features": "vgg16"}
    settings["data"] |= {"fit": "none", "load": 300}
    del settings["model"]["hidden"]  # as of a version that did not have it
    run = Run(tmp_path)
    run.config.write_text(yaml.safe_dump(settings))
    recipe = from_settings(run.settings(), ["steps=7"], saved=True)
    assert (recipe.model.size, recipe.data.load, recipe.model.steps) == (32, 300, 7)
    with pytest.raises(ConfigError, match="load has no effect"):
        from_settings(run.settings(), ["load=200"], saved=True)
    with pytest.raises(ConfigError, match="size follows from crop"):
        from_settings(run.settings(), ["size=64"], saved=True)


def test_the_whole_settings_of_a_run_are_a_recipe(tmp_path):
    recipe = named("pix2pix", ["root=glyphs", "crop=32", "generator=unet_32"])
    settings = recipe.settings()
    settings["model"] |= {"loss": "l1", "d_width": 8}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    assert from_file(tmp_path / "config.yaml").model.d_width == 8
