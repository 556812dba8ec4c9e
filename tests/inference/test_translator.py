"""The translator: any size, any kind of picture, the same weights from run, model folder and hub."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from translators import broken, edited, made

import diptych
from diptych.data.images import image_io
from diptych.errors import CheckpointError, ConfigError, ImageError
from diptych.inference.load import build_translator
from diptych.methods import find
from diptych.networks.layers import pad_to_multiple, remove_padding
from diptych.testing import MethodUnderTest


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 4, 32]))
def test_padding_reflects_and_comes_back(height, width, multiple):
    x = torch.arange(float(height * width)).reshape(1, 1, height, width)
    padded = pad_to_multiple(x, multiple)
    assert padded.shape[-2] % multiple == padded.shape[-1] % multiple == 0
    top, left = (padded.shape[-2] - height) // 2, (padded.shape[-1] - width) // 2
    assert torch.equal(padded[..., top : top + height, left : left + width], x)
    assert torch.equal(remove_padding(padded, height, width), x)
    doubled = padded.repeat_interleave(2, -2).repeat_interleave(2, -1)
    assert torch.equal(remove_padding(doubled, height, width, 2)[..., ::2, ::2], x)
    if height > 1 and width > 1:
        expected = np.pad(
            x[0, 0].numpy(),
            ((top, padded.shape[-2] - height - top), (left, padded.shape[-1] - width - left)),
            "reflect",
        )
        assert np.array_equal(padded[0, 0].numpy(), expected)


@pytest.mark.parametrize("size", [(32, 32), (1, 1), (33, 57), (5, 200)])
@pytest.mark.parametrize("name", ["pix2pix", "cyclegan"])
def test_any_size_is_kept(name, size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert made(name).array(pixels).shape == (*size, 3)


def test_a_size_that_fits_is_not_padded():
    translator = made()
    x = torch.rand(3, 64, 32) * 2 - 1
    assert torch.equal(translator.tensor(x), translator.method.translate(x[None])[0])


def test_what_goes_in_comes_out_in_kind(tmp_path):
    translator = made()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    image_io.write(tmp_path / "x.png", pixels)
    expected = translator(pixels)
    assert isinstance(expected, np.ndarray)
    for picture in (tmp_path / "x.png", str(tmp_path / "x.png"), Image.fromarray(pixels)):
        out = translator(picture)
        assert isinstance(out, Image.Image)
        assert np.array_equal(np.asarray(out), expected)
    x = torch.from_numpy(image_io.to_unit(pixels)).permute(2, 0, 1)
    out = translator(torch.stack([x, x]))
    assert out.shape == (2, 3, 40, 30)
    assert np.array_equal(image_io.from_unit(out[1].permute(1, 2, 0).numpy(), np.uint8), expected)
    assert [type(each) for each in translator([pixels, Image.fromarray(pixels)])] == [np.ndarray, Image.Image]
    assert translator(pixels / np.float64(255)).dtype == np.float32


def test_sixteen_bits_stay_sixteen_bits(tmp_path):
    translator = made(in_channels=1, out_channels=1)
    deep = (np.arange(32 * 32, dtype=np.uint16) * 64).reshape(32, 32, 1)
    out = translator(deep)
    assert out.dtype == np.uint16
    assert (out % 257 != 0).mean() > 0.9, "8 bits made 16 are multiples of 257"
    image_io.write(tmp_path / "d.png", deep)
    assert np.array_equal(translator(tmp_path / "d.png"), out)


def test_colour_of_sixteen_bits_is_written_as_it_was_made(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (32, 32, 3), np.uint16)
    out = made(in_channels=3, out_channels=3)(deep)
    image_io.write(tmp_path / "d.png", out)
    assert np.array_equal(image_io.read(tmp_path / "d.png"), out)


def test_controls_of_another_kind_are_refused():
    translator = made("munit", image_size=32, d_layers=2, num_scales=1, ngf=4, mlp_dim=8, ndf=4, n_blocks=1)
    picture = np.zeros((32, 32, 3), np.uint8)
    for seed in ("x", 1.5, None):
        with pytest.raises(ConfigError, match=r"seed=.*: expected int"):
            translator(picture, seed=seed)
    assert np.array_equal(translator(picture, seed=np.int64(3)), translator(picture, seed=3))
    with pytest.raises(ConfigError, match="seed='x': expected int"):
        translator.styles(picture, 2, seed="x")
    with pytest.raises(ConfigError, match="0 styles: expected at least 1"):
        translator.styles(picture, 0)


def test_channels_are_fitted_or_refused():
    translator = made(in_channels=1, out_channels=3)
    grey = np.full((32, 32, 1), 90, np.uint8)
    assert np.array_equal(translator(np.repeat(grey, 3, 2)), translator(grey))
    with pytest.raises(ImageError, match="expected 1 channels, got 5"):
        translator(np.zeros((32, 32, 5), np.uint8))


def test_each_direction_takes_its_own_channels():
    translator = made("cyclegan", in_channels=1, out_channels=3, lambda_identity=0)
    colour, grey = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 1), np.uint8)
    assert translator(grey).shape[-1] == 3
    assert translator(colour, direction="b2a").shape[-1] == 1


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        ({"directoin": "b2a"}, "no control 'directoin'; did you mean 'direction'"),
        ({"direction": "up"}, "choose one of a2b, b2a"),
    ],
)
def test_controls_are_checked(controls, message):
    with pytest.raises(ConfigError, match=message):
        made("cyclegan")(np.zeros((8, 8, 3), np.uint8), **controls)


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4, 3), np.int64), np.full((4, 4), 2.0), np.zeros(5), np.zeros((0, 4, 3), np.uint8)]
)
def test_odd_arrays_are_refused(bad):
    with pytest.raises(ImageError, match="array"):
        made()(bad)


def test_a_model_folder_gives_the_same_translations(tmp_path, monkeypatch):
    translator = made("cyclegan")
    folder = translator.save(tmp_path / "model")
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    x = torch.rand(3, 20, 20)
    again = diptych.load(folder, device="cpu")
    assert all(
        torch.equal(again.tensor(x, direction=way), translator.tensor(x, direction=way)) for way in ("a2b", "b2a")
    )
    assert np.array_equal(
        diptych.translate(folder, np.zeros((8, 8, 3), np.uint8)), translator(np.zeros((8, 8, 3), np.uint8))
    )
    monkeypatch.setattr("diptych.inference.hub.download", lambda source: {"me/mine": folder}[source.repo])
    assert torch.equal(diptych.load("me/mine", device="cpu").tensor(x), translator.tensor(x))


class Shared(find("cyclegan")):
    """Both generators begin with the same layer."""

    def __init__(self, config):
        super().__init__(config)
        shared = torch.nn.Conv2d(1, 1, 1)
        self.to_a, self.to_b = (torch.nn.Sequential(shared, net) for net in (self.to_a, self.to_b))


def test_layers_that_networks_share_are_saved_and_loaded(tmp_path):
    method = Shared(MethodUnderTest(Shared).config())
    networks = Shared.inference_networks
    weights = {key: value for key, value in method.state_dict().items() if key.partition(".")[0] in networks}
    config = method.config.model_dump()
    before = build_translator(Shared, "own:Shared", config, weights, networks, {}, "test")
    after = diptych.load(before.save(tmp_path), method=Shared, device="cpu")
    x = torch.rand(1, 1, 32, 32)
    assert torch.equal(before.tensor(x), after.tensor(x))
    assert after.method.to_a[0] is after.method.to_b[0]


def test_the_repr_of_a_translator_is_short():
    assert repr(made()).startswith("Translator(name='pix2pix', networks=('G',)")
    assert len(repr(made())) < 500


def test_only_what_translates_is_shipped(tmp_path):
    keys = made().method.state_dict().keys()
    assert {key.partition(".")[0] for key in keys} == {"G"}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda f: (f / "model.safetensors").write_bytes(b"x"),
            CheckpointError,
            "not the file that config.json describes",
        ),
        (lambda f: (f / "model.safetensors").unlink(), CheckpointError, "not a whole model folder"),
        (lambda f: (f / "config.json").write_text("{"), CheckpointError, "not the description of a model folder"),
        (lambda f: (f / "config.json").write_text("[]"), CheckpointError, "expected a mapping, got list"),
        (edited(format=99), CheckpointError, "model format 99"),
        (edited(method="pix2pxi"), ConfigError, "did you mean 'pix2pix'"),
        (edited(config={"dropuot": 4}), ConfigError, "did you mean 'dropout'"),
        (edited(config={"ngf": 10**9}), ConfigError, "less than or equal to 1024"),
        (edited(config={"generator": "unet_32"}), CheckpointError, "do not fit the config"),
        (edited(networks=["config"]), CheckpointError, "translates with G"),
        (edited(networks=[]), CheckpointError, "networks"),
        (edited(config=[1]), CheckpointError, "config"),
        (edited(method=5), CheckpointError, "method"),
        (edited(method="this:x"), ConfigError, "allow it by --method this:x"),
        (edited(notes={"images": [1]}), CheckpointError, "images"),
        (
            edited(notes={"images": {"crop": 0, "load": 9, "fit": "short_side", "entries": {}}}),
            CheckpointError,
            "crop=0",
        ),
    ],
)
def test_a_damaged_model_folder_is_refused(change, error, message, tmp_path):
    with pytest.raises(error, match=message):
        diptych.load(broken(tmp_path / "model", change))


def test_what_is_no_model_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="neither a run folder"):
        diptych.load(tmp_path)


def test_averaged_weights_translate(tmp_path):
    """A run folder gives the averages of `ema`, not the weights of the moment."""
    from diptych.data.config import DataConfig
    from diptych.runs import checkpoint
    from diptych.runs.folder import Run
    from diptych.settings.recipe import Recipe
    from diptych.settings.train_config import TrainConfig

    subject = MethodUnderTest(find("pix2pix"))
    engine = subject.engine()
    engine.train_step(next(subject.batches().stream(0, 1)))
    recipe = Recipe("pix2pix", engine.method.config, DataConfig(root="glyphs"), TrainConfig())
    run = Run(tmp_path / "run")
    run.create()
    run.save_settings(recipe.settings())
    tensors, meta = engine.state()
    checkpoint.save(run.checkpoints / checkpoint.file_name(0, 1), (tensors, {**meta, "best": None}))
    x = torch.rand(1, 1, 32, 32)
    with engine.ema_weights.applied_to(engine.method):
        expected = engine.method.translate(x)
    assert torch.equal(diptych.load(run.folder, device="cpu").tensor(x), expected)
    assert not torch.equal(engine.method.translate(x), expected)
    with pytest.raises(CheckpointError, match="has no best checkpoint"):
        diptych.load(run.folder, which="best")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "holds torch.uint8; expected floats in"),
        (torch.full((3, 8, 8), 200.0), "holds values from 200 to 200; expected -1 to 1"),
        (torch.full((3, 8, 8), torch.nan), "expected -1 to 1"),
        (torch.zeros(8, 8), r"has the shape \(8, 8\)"),
        (torch.zeros(4, 8, 8), r"tensor: has 4 channels; .* takes \d"),
        (torch.zeros(3, 0, 8), "none of them zero"),
        (b"a.png", "bytes: expected a path, PIL image, array or tensor"),
        ({"a": 1}, "dict: expected a path"),
        (None, "NoneType: expected a path"),
    ],
)
def test_what_is_no_image_is_refused(run, wrong, message):
    with pytest.raises(ImageError, match=message):
        diptych.load(run, device="cpu")(wrong)


def test_arrays_of_other_byte_order_and_with_alpha_are_taken(run):
    translator = diptych.load(run, device="cpu")
    deep = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32, 1) * 64
    assert np.array_equal(translator(deep.astype(">u2")), translator(deep))
    grey = np.full((32, 32, 3), 100, np.uint8)
    rgba = np.concatenate([grey, np.full((32, 32, 1), 255, np.uint8)], 2)
    assert np.array_equal(translator(rgba), translator(grey))
