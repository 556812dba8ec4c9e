"""Settings: every wrong key is named with the nearest right one, and a recipe survives its own file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from diptych.data.checks.manifest import Manifest
from diptych.data.config import DataConfig
from diptych.data.images.image_io import write
from diptych.data.open import open_data
from diptych.errors import ConfigError, DataError
from diptych.methods import EVALUATORS, METHODS, find
from diptych.settings import renamed
from diptych.settings.recipe import _absolute, from_file, from_settings, load_recipe, shipped
from diptych.settings.train_config import TrainConfig
from diptych.training.reproducibility import changed, provenance_of, saved_provenance


@pytest.mark.parametrize("name", METHODS)
def test_no_two_sections_share_a_name(name):
    sections = [set(model.model_fields) for model in (find(name).Config, DataConfig, TrainConfig)]
    assert sum(map(len, sections)) == len(set.union(*sections))
    assert not {"method", "preset", "model", "data", "train", "title"} & set.union(*sections)


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_is_described(name):
    for model in (find(name).Config, DataConfig, TrainConfig):
        for key, field in model.model_fields.items():
            assert field.description, key


@pytest.mark.parametrize("name", shipped())
def test_shipped_recipes_hold(name):
    recipe = load_recipe(name)
    assert from_settings(recipe.settings()) == recipe
    assert yaml.safe_load(shipped()[name].read_text())["title"]


def test_a_method_has_defaults_of_data_settings():
    """They are those of new recipes: a setting wins, and a run of a version without them keeps what it had."""
    made = load_recipe("starganv2", ["root=afhq"])
    assert (made.data.crop_mode, made.data.interpolation) == ("random_resized", "bilinear")
    assert load_recipe("starganv2", ["root=afhq", "crop_mode=random", "load_size=300"]).data.crop_mode == "random"
    assert load_recipe("pix2pix", ["root=facades"]).data.interpolation == "bicubic"
    assert [load_recipe(name, ["root=x"]).data.interpolation for name in ("stargan", "munit")] == ["bilinear"] * 2
    former = made.settings()
    del former["data"]["interpolation"]
    assert from_settings(former).data.interpolation == "bicubic"


def test_a_run_of_a_version_without_a_resampler_keeps_that_of_pillow():
    settings = load_recipe("pix2pix", ["root=facades"]).settings()
    assert from_settings(renamed.document(settings)).data.resampler == "torch"
    del settings["data"]["resampler"]
    former = from_settings(renamed.document(settings))
    assert former.data.resampler == "pillow"
    now = provenance_of(former, Manifest(Path()), 1)
    saved = {key: value for key, value in now.items() if key != "resampler"}
    assert not changed(saved_provenance(saved, former, now), now)
    edited = replace(former, data=former.data.model_copy(update={"resampler": "torch"}))
    now = provenance_of(edited, Manifest(Path()), 1)
    assert changed(saved_provenance(saved, edited, now), now) == {"resampler": ("pillow", "torch")}


def test_the_facades_recipe_is_the_papers():
    recipe = load_recipe("facades")
    assert (
        recipe.train.batch_size,
        recipe.train.epochs,
        recipe.data.effective_load_size,
        recipe.data.crop_size,
        recipe.data.direction,
    ) == (
        1,
        200,
        286,
        256,
        "b2a",
    )
    assert recipe.model.model_dump() == find("pix2pix").Config().model_dump()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["bacth=4"], "no setting is called 'bacth'; did you mean 'batch_size'"),
        (["learning_rate=1e-3"], "no setting is called 'learning_rate'; here it is 'lr'; `diptych methods pix2pix`"),
        (["netG=unet_128"], "'netG'; here it is 'generator'"),
        (["lambda_l1=fifty", "batch_size=0"], "lambda_l1='fifty'.*valid number"),
        (["batch_size=0"], "batch_size=0: .*greater than or equal to 1"),
        (["batch"], "key=value"),
        (["lambda_l1=[1"], "not a valid YAML value"),
        (["loss=l2"], "loss='l2': .*'l1'"),
        (["load_size=100", "crop_size=128"], "load_size=100 is smaller than crop_size=128"),
        (["preset=fast"], "no preset 'fast'; expected one of paper, repo"),
        (["gan_loss=wgan-gp"], "d_norm=instance or d_norm=none"),
    ],
)
def test_wrong_settings_are_named(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe("pix2pix", ["root=glyphs", *overrides])


def test_all_wrong_keys_are_named_at_once():
    with pytest.raises(
        ConfigError, match=r"'nfg'; did you mean 'ngf'.*'nrom'; did you mean 'norm'.*'cropsize'; did you mean 'crop_s"
    ):
        from_settings({"method": "pix2pix", "model": {"nfg": 3, "nrom": "batch"}, "data": {"root": "x", "cropsize": 3}})


def test_a_setting_in_the_wrong_section_is_named_with_its_own():
    settings = {"method": "pix2pix", "data": {"root": "glyphs"}, "train": {"steps": 4}}
    with pytest.raises(ConfigError, match="steps is a setting of `model:`, not of `train:`: move it there"):
        from_settings(settings)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pix2pxi", "did you mean 'pix2pix'"),
        ("facade", "did you mean 'facades'"),
        ("/no/such.yaml", "not a recipe.*No such file"),
        ("nowhere:Class", "there is no Class"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(name)


@pytest.mark.parametrize(
    "text",
    [
        "- a list",
        "method: [",
        "method: 3",
        "method: pix2pix\n_target_: os.system",
        "{}",
        "modle: {}",
        "method: pix2pix\nmodel: [1]",
        "method: pix2pix\ndata: glyphs",
    ],
)
def test_a_recipe_is_data_of_known_keys(text, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"r\.yaml"):
        from_file(path)


def test_nothing_in_a_recipe_is_run(tmp_path):
    (tmp_path / "r.yaml").write_text(f"method: !!python/object/apply:os.system ['touch {tmp_path}/canary']")
    with pytest.raises(ConfigError):
        from_file(tmp_path / "r.yaml")
    assert not (tmp_path / "canary").exists()


def test_presets_lie_under_what_is_set():
    recipe = load_recipe("pix2pix", ["root=glyphs", "preset=repo", "lr_decay_start=0.25"])
    assert (recipe.model.dropout, recipe.model.lr_decay_start) == ("repo", 0.25)


def test_the_data_settle_channels_and_epochs():
    recipe = load_recipe("pix2pix", ["root=glyphs", "crop_size=32", "generator=unet_32", "epochs=2", "batch_size=100"])
    fitted = recipe.with_data_defaults(open_data(recipe.data, recipe.cls.data, tuple(recipe.cls.batch)))
    assert (fitted.model.in_channels, fitted.model.out_channels, fitted.model.steps) == (1, 1, 25)
    chosen = load_recipe("pix2pix", ["root=glyphs", "crop_size=32", "in_channels=3"])
    assert (
        chosen.with_data_defaults(open_data(chosen.data, chosen.cls.data, tuple(chosen.cls.batch))).model.in_channels
        == 3
    )


def test_steps_overrule_a_recipes_epochs():
    recipe = load_recipe("facades", ["steps=10", "root=glyphs", "crop_size=32"])
    assert recipe.train.epochs is None
    assert recipe.with_data_defaults(open_data(recipe.data, recipe.cls.data, tuple(recipe.cls.batch))).model.steps == 10


def test_a_recipes_epochs_overrule_a_presets_steps():
    recipe = load_recipe("fastcut-horse2zebra", [])
    assert recipe.train.epochs == 200
    assert load_recipe("cut", ["root=x", "preset=fast"]).model.steps == 240_000


def test_no_recipe_is_called_like_a_method():
    """It would take the place of the method, with other defaults than its page says."""
    assert not shipped().keys() & {*METHODS, *EVALUATORS}


def test_images_must_be_named():
    with pytest.raises(ConfigError, match="no data set given: use --data FOLDER, or --data glyphs"):
        load_recipe("pix2pix")


@pytest.mark.parametrize("folder", ["2024", "my data #2", "no", "[brackets]", "null"])
def test_a_folder_is_never_read_as_anything_else(folder):
    assert load_recipe("pix2pix", [f"root={folder}"]).data.root == folder


def test_colour_among_grey_makes_three_channels(tmp_path):
    for number, channels in enumerate((1, 3, 1)):
        for side in "AB":
            write(
                tmp_path / f"train{side}" / f"{number}.png", np.zeros((8, 8, channels if side == "A" else 1), np.uint8)
            )
    recipe = load_recipe("pix2pix", [f"root={tmp_path}"])
    fitted = recipe.with_data_defaults(open_data(recipe.data, recipe.cls.data, tuple(recipe.cls.batch)))
    assert (fitted.model.in_channels, fitted.model.out_channels) == (3, 1)
    write(tmp_path / "trainA" / "1.npy", np.zeros((8, 8, 5), np.uint8))
    (tmp_path / "trainA" / "1.png").unlink()
    with pytest.raises(DataError, match=r"1 in .*0\.png, 5 in .*1\.npy"):
        recipe.with_data_defaults(open_data(recipe.data, recipe.cls.data, tuple(recipe.cls.batch)))


def test_a_written_recipe_leaves_the_channels_to_the_data():
    """A recipe of an experiment is written before its data is opened."""
    recipe = load_recipe("pix2pix", ["root=glyphs", "out_channels=3"])
    written = recipe.settings()["model"]
    assert "in_channels" not in written
    assert written["out_channels"] == 3
    again = from_settings(recipe.settings(), saved=True)
    fitted = again.with_data_defaults(open_data(again.data, again.cls.data, tuple(again.cls.batch)))
    assert (fitted.model.in_channels, fitted.model.out_channels) == (1, 3)
    assert fitted.settings()["model"]["in_channels"] == 1


@pytest.mark.parametrize("value", ["data:1", "vgg19:data:1"])
def test_a_path_with_a_colon_becomes_absolute(value, tmp_path, monkeypatch):
    """As those of Windows, which begin with a drive."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data:1").mkdir()
    assert _absolute(value) == value.replace("data:1", str(tmp_path / "data:1"))
