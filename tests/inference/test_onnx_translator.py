"""Exported models are used as runs are, by onnxruntime and without torch."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from onnx_files import IMAGE, INVERTED, digest, metadata, write_onnx
from PIL import Image

import diptych
from diptych.contract import Labels
from diptych.data.images import image_io
from diptych.data.images.metadata import read_metadata
from diptych.errors import CheckpointError, ConfigError, ImageError
from diptych.inference.onnx_inputs import OnnxInputs
from diptych.inference.onnx_metadata import OnnxInput
from diptych.methods.stargan import StarGAN
from diptych.networks.latents import latent_codes

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (24, 20, 3), np.uint8)
STYLE = OnnxInput(name="style", dtype="float32", shape=(2,))
LATENT = OnnxInput(name="latent", dtype="float32", shape=(2,))
DOMAIN = OnnxInput(name="domain", dtype="int64", shape=())
REFERENCE = OnnxInput(name="reference", dtype="float32", shape=(3, 16, 16))
LATENTS = {"dim": 2, "prior": "uniform", "generator": "numpy"}
STYLE_CONTROLS = (
    {"name": "domain", "help": "", "kind": "choice", "default": "cat", "choices": ("cat", "dog")},
    {"name": "seed", "help": "", "kind": "int", "default": 0},
    {"name": "reference", "help": "", "kind": "image", "entry": "target"},
    {"name": "mix", "help": "", "kind": "float", "default": 0.0},
    {"name": "toward", "help": "", "kind": "int", "default": -1},
)


def entry(**values):
    return {"domain": "a", "height": 24, "width": 20, **values}


def stored(source, target=None, side=12):
    """Return how training images were stored."""
    entries = {"source": entry(**source), "target": entry(**(source if target is None else target))}
    return {"crop": side, "load": side, "fit": "squash", "entries": entries}


def model(folder, name="model", nodes=INVERTED, weights=(), **values):
    return write_onnx(folder / f"{name}.onnx", metadata(**values), nodes, weights)


def styled(folder):
    """A model whose output is the mean of its style, with a mapping network and a style encoder.

    The mapping network adds the domain to the latent code. The style of an image is the mean of each of its first two
    channels.
    """
    node = helper.make_node
    axes = numpy_helper.from_array(np.array([2, 3]), "axes")
    one, spatial = (numpy_helper.from_array(np.array(value), name) for value, name in (([1], "one"), ([1, 2], "both")))
    mapping = write_onnx(
        folder / "mapping.onnx", None,
        (node("Cast", ["domain"], ["number"], to=onnx.TensorProto.FLOAT), node("Unsqueeze", ["number", "one"], ["n"]),
         node("Add", ["latent", "n"], ["translation"])), [one], (LATENT, DOMAIN),
    )  # fmt: skip
    ends = [numpy_helper.from_array(np.array([value]), name) for value, name in ((0, "first"), (2, "last"))]
    encoder = write_onnx(
        folder / "encoder.onnx", None,
        (node("Slice", ["reference", "first", "last", "one"], ["two"]),
         node("ReduceMean", ["two", "axes"], ["translation"], keepdims=0)), [axes, one, *ends], (REFERENCE,),
    )  # fmt: skip
    networks = (("mapping_network", mapping, (LATENT, DOMAIN)), ("style_encoder", encoder, (REFERENCE,)))
    companions = [
        {"role": role, "file": file.name, "sha256": digest(file), "inputs": inputs, "output": "style"}
        for role, file, inputs in networks
    ]
    nodes = (
        node("ReduceMean", ["style", "one"], ["mean"], keepdims=1),
        node("Unsqueeze", ["mean", "both"], ["plane"]),
        node("Mul", ["image", "zero"], ["black"]),
        node("Add", ["black", "plane"], ["translation"]),
    )
    zero = numpy_helper.from_array(np.float32([0]), "zero")
    labels = ({"names": ("cat", "dog"), "kind": "class"},)
    return model(
        folder, "styled", nodes, [one, spatial, zero], inputs=(IMAGE, STYLE), companions=companions, latent=LATENTS,
        labels=labels, controls=STYLE_CONTROLS, image_size=16, fixed={"direction": "a2b"},
    )  # fmt: skip


def test_each_kind_of_image_gives_its_kind(tmp_path):
    translator = diptych.load(model(tmp_path))
    image_io.write(tmp_path / "a.png", RGB)
    assert np.array_equal(translator(RGB), 255 - RGB)
    assert np.array_equal(np.asarray(translator(str(tmp_path / "a.png"))), 255 - RGB)
    assert np.array_equal(np.asarray(translator(Image.fromarray(RGB))), 255 - RGB)
    assert translator.array(RGB.astype(np.uint16) * 257).dtype == np.uint16
    one, two = translator([RGB, Image.fromarray(RGB)])
    assert np.array_equal(one, np.asarray(two))
    assert translator.with_options(depth=16)(RGB).dtype == np.uint16
    assert repr(translator).startswith("OnnxTranslator(path=")
    assert (translator.name, translator.controls, translator.metadata.method) == ("inverted", (), "pix2pix")
    for wrong in (torch.zeros(3, 8, 8), [torch.zeros(3, 8, 8)]):
        with pytest.raises(ImageError, match="Tensor: expected a path, PIL image or array"):
            translator(wrong)


def test_controls_choose_style_domain_and_reference(tmp_path):
    translator = diptych.load(styled(tmp_path))

    def shown(**controls):
        return float(translator.array(np.zeros((5, 7, 3), np.float32), **controls)[0, 0, 0] * 2 - 1)

    codes = {seed: float(latent_codes("uniform", range(seed, seed + 1), 2, 0).mean()) for seed in (0, 1, 5)}
    assert shown() == pytest.approx(max(-1, codes[0]), abs=1e-5)
    assert shown(seed=5) == pytest.approx(codes[5], abs=1e-5)
    assert shown(seed=5, toward=1, mix=0.25) == pytest.approx(0.75 * codes[5] + 0.25 * codes[1], abs=1e-5)
    assert shown(domain="dog", seed=5) == pytest.approx(min(1, codes[5] + 1), abs=1e-5)
    reference = np.full((40, 30, 3), 51, np.uint8)  # -0.6 in [-1, 1]
    prepared = translator.prepare_controls({"reference": Image.fromarray(reference)})
    assert prepared["reference"].shape == (1, 3, 16, 16)
    assert shown(**prepared) == pytest.approx(-0.6, abs=1e-5)
    assert np.array_equal(translator(RGB, reference=reference)[0, 0], [51, 51, 51])
    assert list(translator.all_domains(RGB)) == ["cat", "dog"]
    assert len({image.tobytes() for image in translator.styles(RGB, 3)}) == 3


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        ({"direction": "b2a"}, "styled.onnx was exported with direction='a2b'; for another value use the run"),
        ({"sed": 1}, "inverted has no control 'sed'; did you mean 'seed'.; it has domain, seed"),
        ({"domain": "cow"}, "domain='cow': choose one of cat, dog"),
        ({"seed": "a"}, "seed='a': expected int"),
        ({"mix": 0.5}, "mix must be between 0 and 1, and needs toward"),
        ({"reference": np.zeros((1, 3, 8, 8), np.float32)}, r"reference: expected an array \(1, C, 16, 16\)"),
    ],
)
def test_controls_that_the_model_does_not_have_are_refused(tmp_path, controls, message):
    translator = diptych.load(styled(tmp_path))
    assert translator(RGB, direction="a2b").shape == RGB.shape
    with pytest.raises(ConfigError, match=message):
        translator(RGB, **controls)


def test_a_companion_of_another_export_is_refused(tmp_path):
    translator = diptych.load(styled(tmp_path))
    (tmp_path / "encoder.onnx").write_bytes((tmp_path / "mapping.onnx").read_bytes())
    assert translator(RGB).shape == RGB.shape
    with pytest.raises(CheckpointError, match=r"encoder.onnx: is not the file that was exported with .*styled.onnx"):
        translator(RGB, reference=RGB)


SETS = (
    Labels(names=("young", "smiling", "blond", "dark"), kind="attributes", exclusive=(("blond", "dark"),)),
    Labels(names=("angry", "happy"), kind="class"),
    Labels(names=("glasses", "tall"), kind="attributes"),
)


@pytest.mark.parametrize(
    "controls", [{"flip": "smiling"}, {"has": "young,blond", "flip": "dark"}, {"domain": "happy"}, {"has": "young"}, {}]
)
def test_labels_are_those_of_the_method(controls):
    config = StarGAN.Config(**{**StarGAN.checks.tiny, "labels": SETS})
    expected = StarGAN(config).encode_controls(torch.zeros(1, 3, 8, 8), **controls)["labels"]
    labels = OnnxInput(name="labels", dtype="float32", shape=(expected.shape[1],))
    inputs = (IMAGE, labels)
    described = metadata(inputs=inputs, labels=[each.model_dump() for each in SETS])
    (made,) = OnnxInputs(described, lambda companion, given: np.empty(0)).encode(inputs, controls).values()
    assert np.array_equal(made, expected.numpy())


def test_generated_images_are_those_of_number_and_seed(tmp_path):
    node = helper.make_node
    axes = numpy_helper.from_array(np.array([2, 3]), "axes")
    path = model(
        tmp_path, nodes=(node("Unsqueeze", ["latent", "axes"], ["translation"]),), weights=[axes], inputs=(LATENT,),
        channels={"image": 2}, routes=(), latent=LATENTS,
    )  # fmt: skip
    generator = diptych.load(path)
    codes = latent_codes("uniform", range(3, 5), 2, 7).numpy()
    made = np.stack(generator.sample(2, seed=7, first=3))
    assert np.abs(made[:, 0, 0] - (codes + 1) * 127.5).max() <= 0.5
    with pytest.raises(ConfigError, match="translates no images: use `diptych generate`"):
        generator(RGB)


def test_a_model_of_fixed_size_resizes_as_pytorch_does(tmp_path):
    """To rounding: by Pillow's bicubic filter instead of torch's, and label maps to the nearest pixel."""
    x = RANDOM.uniform(-1, 1, (3, 37, 23)).astype(np.float32)
    for mode, is_map in (("bicubic", False), ("nearest-exact", True)):
        options = {} if is_map else {"antialias": True, "align_corners": False}
        expected = torch.nn.functional.interpolate(torch.from_numpy(x)[None], (16, 16), mode=mode, **options)[0]
        assert np.abs(image_io.resize_unit(x, 16, 16, is_map) - expected.clamp(-1, 1).numpy()).max() < 2e-6
    translator = diptych.load(model(tmp_path, fixed_size=True, image_size=16))
    assert translator(RGB).shape == (16, 16, 3)


def commands(folder):
    """Return commands that use files of every kind, with the pixels that each writes."""
    deep = (RGB.astype(np.uint16) * 16)[:, :10]
    rgba = RANDOM.integers(0, 256, (24, 20, 4), np.uint8)
    ids = RANDOM.integers(0, 3, (24, 20, 1), np.uint8)
    for name, pixels in (("rgb", RGB), ("deep", deep), ("rgba", rgba), ("ids", ids), ("pair", np.hstack([RGB, RGB]))):
        image_io.write(folder / f"{name}.png", pixels)
    Image.fromarray(RGB).save(folder / "dpi.png", dpi=(300, 300))
    whole = {"dtype": "uint16", "value_range": (0, 4095)}
    model(folder)
    model(folder, "deep", images=stored(whole))
    model(folder, "rgba", channels={"source": 4, "target": 4}, images=stored({"alpha": True}),
          inputs=(OnnxInput(name="image", dtype="float32", shape=(4, 0, 0)),))  # fmt: skip
    model(folder, "ids", images=stored({"num_classes": 3}, {}))
    model(folder, "to_ids", images=stored({}, {"num_classes": 3}))
    model(folder, "half", images=stored({"half": 0}))
    styled(folder)
    planes = np.where(ids == np.arange(3), 0, 255).astype(np.uint8)
    return [
        ("model", "rgb", (), 255 - RGB),
        ("model", "dpi", ("--depth", "16"), (255 - RGB.astype(np.uint16)) * 257),
        ("model", "rgba", ("--alpha", "keep"), np.dstack([255 - image_io.over_white(rgba), rgba[..., 3:]])),
        ("deep", "deep", (), 4095 - deep),
        ("rgba", "rgba", (), 255 - rgba),
        ("ids", "ids", (), planes),
        ("to_ids", "rgb", (), RGB.argmin(2)[..., None].astype(np.uint8)),
        ("half", "pair", (), 255 - RGB),
        ("ids", "ids", ("--scale", "training"), None),
        ("half", "rgb", ("--scale", "training"), None),
        ("styled", "rgb", ("--reference", folder / "rgb.png", "-c", "direction=a2b"), None),
        ("styled", "rgb", ("--all-domains", "--styles", "2"), None),
    ]


def test_nothing_imports_torch(tmp_path):
    """`diptych translate` and `diptych.load`, for images of every kind, options and controls."""
    planned = commands(tmp_path)
    lines = ["import sys, diptych, numpy as np", "from diptych.cli import app"]
    for number, (name, image, options, _) in enumerate(planned):
        paths = [tmp_path / f"{name}.onnx", tmp_path / f"{image}.png", "-o", tmp_path / f"out{number}", *options]
        lines.append(f"app({['translate', *map(str, paths)]!r}, standalone_mode=False)")
    lines += [
        f"translator = diptych.load({str(tmp_path / 'styled.onnx')!r})",
        f"image = {str(tmp_path / 'rgb.png')!r}",
        "translator(image, reference=image), translator.styles(image, 2), translator.all_domains(image)",
        "translator.with_options(scale='image')(np.zeros((9, 8, 3), np.uint8))",
        "print([name for name in ('torch', 'onnx') if name in sys.modules])",
    ]
    code = "\n".join(lines)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    for number, (_, image, _, expected) in enumerate(planned):
        kind = "rgba" if image == "rgba" else "colour"
        made = image_io.read(tmp_path / f"out{number}" / f"{image}.png", kind)
        assert expected is None or np.array_equal(made, expected), image
    assert read_metadata(tmp_path / "out1" / "dpi.png").dpi == pytest.approx((300, 300), abs=0.1)
