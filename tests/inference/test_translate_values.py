"""Models of value ranges, label maps and alpha: trained for two steps, translated with, evaluated."""

import json

import numpy as np
import pytest
import torch
from commands import diptych
from PIL import Image, ImageCms

from diptych import load
from diptych.data.images import image_io, metadata
from diptych.data.images.class_maps import class_colours
from diptych.errors import CheckpointError, ConfigError, DataError, ImageError
from diptych.workflows.train_evaluator import evaluator_recipe, ignored_pixels

TINY = [
    "crop_size=32",
    "generator=unet_32",
    "ngf=4",
    "ndf=4",
    "receptive_field=16",
    "workers=0",
    "device=cpu",
    "steps=2",
]
RNG = np.random.default_rng(0)


def fill(folder, arrays):
    for number, array in enumerate(arrays):
        image_io.write(folder / f"{number}.png", array)


def deep(count, most=4095):
    return [RNG.integers(0, most + 1, (32, 32, 1)).astype(np.uint16) for _ in range(count)]


def maps(count):
    return [RNG.choice([0, 3, 8, 255], (32, 32, 1)).astype(np.uint8) for _ in range(count)]


def colours(count, channels=3):
    return [RNG.integers(0, 256, (32, 32, channels)).astype(np.uint8) for _ in range(count)]


def trained(root, source, target, *settings):
    """A run on pairs of these two kinds of image."""
    for side, kind in (("A", source), ("B", target)):
        fill(root / f"data/train{side}", kind(3))
        fill(root / f"data/val{side}", kind(2))
    made = diptych("train", "pix2pix", "--data", root / "data", *TINY, *settings, "-o", root / "run")
    assert made.exit_code == 0, made.output
    return root


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("narrow"), deep, deep, "range=[[0,4095],[0,1400]]")


@pytest.fixture(scope="module")
def from_maps(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("maps"), maps, colours, "label_map=source")


@pytest.fixture(scope="module")
def to_maps(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("to_maps"), colours, maps, "label_map=target")


@pytest.fixture(scope="module")
def sprites(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("sprites"), colours, lambda count: colours(count, 4), "alpha=keep")


@pytest.fixture(scope="module")
def units(tmp_path_factory):
    """A run from floats (.tif) to signed integers (.npy), as from MR to CT."""
    root = tmp_path_factory.mktemp("units")
    for split, count in (("train", 3), ("val", 2)):
        for number in range(count):
            source, target = RNG.uniform(-0.5, 2.5, (32, 32, 1)), RNG.integers(-1024, 3000, (32, 32, 1))
            image_io.write(root / f"data/{split}A/{number}.tif", source.astype(np.float32))
            image_io.write(root / f"data/{split}B/{number}.npy", target.astype(np.int16))
    settings = [*TINY, "range=[[-0.5,2.5],[-1000,3000]]"]
    made = diptych("train", "pix2pix", "--data", root / "data", *settings, "-o", root / "run")
    assert made.exit_code == 0, made.output
    return root


def test_translations_have_units_dtype_and_scale_of_the_target(units, tmp_path):
    diptych("translate", units / "run/model", units / "data/valA", "-o", tmp_path / "out", "--suffix", ".npy")
    made = np.load(tmp_path / "out/0.npy")
    translator = load(units / "run/model", device="cpu")
    stored = image_io.read(units / "data/valA/0.tif", "values")
    x = torch.from_numpy(stored.astype(np.float32).transpose(2, 0, 1) + 0.5) / 3 * 2 - 1
    expected = (translator.tensor(x).numpy().transpose(1, 2, 0) + 1) / 2 * 4000 - 1000
    assert made.dtype == np.int16
    assert np.abs(made - expected).max() < 0.6
    assert np.array_equal(translator(stored), made)


def test_an_exported_model_has_the_range(units, tmp_path):
    pytest.importorskip("onnxruntime")
    diptych("export", units / "run", "-o", tmp_path / "m.onnx")
    pixels = image_io.read(units / "data/valA/0.tif", "values")
    made, expected = load(tmp_path / "m.onnx")(pixels), load(units / "run", device="cpu")(pixels)
    assert made.dtype == np.int16
    assert np.abs(made.astype(int) - expected).max() <= 1


def test_signed_values_are_translated_in_tiles(units, tmp_path):
    pytest.importorskip("tifffile")
    arguments = [units / "run", units / "data/valA/0.tif", "-o"]
    diptych("translate", *arguments, tmp_path / "tiles/0.tif", "--tile", "32")
    diptych("translate", *arguments, tmp_path / "whole", "--suffix", ".npy")
    made, whole = image_io.read(tmp_path / "tiles/0.tif", "values"), np.load(tmp_path / "whole/0.npy")
    assert made.dtype == np.int16
    assert made.shape == whole.shape


@pytest.mark.parametrize("model", ["run", "run/model"])
def test_a_range_is_applied_to_the_source_and_undone_on_the_translation(narrow, tmp_path, model):
    diptych("translate", narrow / model, narrow / "data/valA", "-o", tmp_path / "out")
    made = image_io.read(tmp_path / "out/0.png")
    translator = load(narrow / model, device="cpu")
    pixels = image_io.read(narrow / "data/valA/0.png")
    x = torch.from_numpy(pixels.astype(np.float32).transpose(2, 0, 1)) / 4095 * 2 - 1
    expected = (translator.tensor(x).numpy().transpose(1, 2, 0) + 1) / 2 * 1400
    assert made.dtype == np.uint16
    assert np.abs(made - expected).max() < 0.6
    assert np.array_equal(translator(pixels), made)
    assert np.array_equal(translator(narrow / "data/valA/0.png"), made)


def test_a_file_of_another_depth_is_an_error_that_names_it(narrow, tmp_path):
    image_io.write(tmp_path / "new/a.png", colours(1, 1)[0])
    with pytest.raises(ImageError, match=r"a.png: expected uint16 values for the range 0 to 4095, got uint8"):
        diptych("translate", narrow / "run", tmp_path / "new", "-o", tmp_path / "out")
    with pytest.raises(ConfigError, match="depth=8: the target domain of this model is stored as uint16"):
        diptych("translate", narrow / "run", narrow / "data/valA", "-o", tmp_path / "out", "--depth", "8")


def test_previews_and_measures_use_the_range(narrow):
    preview = np.asarray(Image.open(next((narrow / "run/previews").glob("*.png"))))
    assert np.ptp(preview[:32, :32]) > 240
    for model, data in (("run", []), ("run/model", ["--data", narrow / "data"])):
        said = diptych("evaluate", narrow / model, *data).output
        assert "target: pixel values 0 to 1400" in " ".join(said.split())
        results = next((narrow / model).glob("results/*.json")).read_text()
        assert "values 0 to 1400" in results


def test_class_ids_are_translated_by_the_number_of_classes_in_training(from_maps, tmp_path):
    translator = load(from_maps / "run/model", device="cpu")
    assert translator.images.entries["source"].num_classes == 9
    ids = maps(1)[0]
    ids[ids == 3] = 1  # not in training, where ids go to 8
    planes = torch.from_numpy(np.where(ids == np.arange(9), 1, -1).transpose(2, 0, 1)).float()
    image_io.write(tmp_path / "in/a.png", ids)
    diptych("translate", from_maps / "run", tmp_path / "in", "-o", tmp_path / "out")
    made = image_io.read(tmp_path / "out/a.png")
    assert np.abs((translator.tensor(planes).numpy().transpose(1, 2, 0) + 1) * 127.5 - made).max() < 0.6
    palette = Image.fromarray(ids[..., 0])
    palette.putpalette(bytes(range(256)) * 3)
    assert np.array_equal(np.asarray(translator(palette)), made)
    image_io.write(tmp_path / "in/b.png", np.full((32, 32, 1), 9, np.uint8))
    with pytest.raises(ImageError, match=r"b.png: holds class id 9, and there are 9 classes \(0 to 8"):
        diptych("translate", from_maps / "run", tmp_path / "in/b.png", "-o", tmp_path / "out")


def test_class_ids_are_not_mixed_at_the_scale_of_training(from_maps):
    """A map four times as large, of blocks, is at that scale the map itself."""
    translator = load(from_maps / "run", device="cpu").with_options(scale="training")
    ids = maps(1)[0]
    _, (small,) = translator.translate_pixels(ids, [{}])
    large = np.repeat(np.repeat(ids, 4, 0), 4, 1)
    seen, made = translator.translate_pixels(large, [{}])
    assert set(np.unique(seen).tolist()) == {-1, 1}
    means = made[0].reshape(-1, 32, 4, 32, 4).mean((2, 4))
    assert np.allclose(means, small, atol=0.1)


def test_previews_of_label_maps_have_a_colour_for_each_class(from_maps):
    preview = np.asarray(Image.open(next((from_maps / "run/previews").glob("*.png"))))
    ids = image_io.read(from_maps / "data/valA/0.png")[..., 0]
    expected = np.where(ids[..., None] == 255, 0, class_colours(9)[np.where(ids == 255, 0, ids)])
    assert np.array_equal(preview[:32, :32], expected)


def test_a_label_map_comes_out_as_class_ids_of_one_channel(to_maps, tmp_path):
    Image.fromarray(colours(1)[0]).save(tmp_path / "a.jpg", quality=95, dpi=(300, 300))
    said = diptych("translate", to_maps / "run", tmp_path / "a.jpg", "-o", tmp_path / "out").output
    assert ".jpg cannot hold class ids: written as .png" in said
    made = image_io.read(tmp_path / "out/a.png")
    translator = load(to_maps / "run", device="cpu")
    x = torch.from_numpy(image_io.to_unit(image_io.read(tmp_path / "a.jpg")).transpose(2, 0, 1))
    assert made.dtype == np.uint8
    assert np.array_equal(made[..., 0], translator.tensor(x).argmax(0).numpy())
    assert translator(tmp_path / "a.jpg").mode == "L"
    (tmp_path / "b.jfif").write_bytes((tmp_path / "a.jpg").read_bytes())
    diptych("translate", to_maps / "run", tmp_path / "b.jfif", "-o", tmp_path / "out")
    assert np.array_equal(image_io.read(tmp_path / "out/b.png"), made)
    with pytest.raises(ConfigError, match=r".jpg cannot hold class ids"):
        diptych("translate", to_maps / "run", tmp_path / "a.jpg", "-o", tmp_path / "o", "--suffix", ".jpg")
    with pytest.raises(ConfigError, match="the output is a label map, which cannot have transparency"):
        diptych("translate", to_maps / "run", tmp_path / "a.jpg", "-o", tmp_path / "o", "--alpha", "keep")
    assert diptych("evaluate", to_maps / "run").exit_code == 0


def test_alpha_is_learned_and_written(sprites, tmp_path):
    translator = load(sprites / "run/model", device="cpu")
    diptych("translate", sprites / "run", sprites / "data/valA", "-o", tmp_path / "out")
    made = Image.open(tmp_path / "out/0.png")
    assert made.mode == "RGBA"
    assert translator(sprites / "data/valA/0.png").mode == "RGBA"
    assert np.array_equal(np.asarray(made), np.asarray(translator(sprites / "data/valA/0.png")))
    rgb = colours(1)[0]
    opaque = np.concatenate([rgb, np.full_like(rgb[..., :1], 255)], 2)
    assert np.array_equal(translator(rgb), translator(opaque)), "an array without alpha is opaque"
    with pytest.raises(ConfigError, match=r"cannot hold uint8 with 4 channels"):
        diptych("translate", sprites / "run", sprites / "data/valA", "-o", tmp_path / "o", "--suffix", ".bmp")
    assert diptych("evaluate", sprites / "run").exit_code == 0


def test_the_alpha_of_a_source_is_put_back_where_that_is_asked_for(run, tmp_path):
    rgba = colours(1, 4)[0]
    image_io.write(tmp_path / "in/a.png", rgba)
    image_io.write(tmp_path / "in/b.png", colours(1)[0])
    said = diptych("translate", run, tmp_path / "in", "-o", tmp_path / "white").output
    assert "1 of 2 images have transparency: composited over white; --alpha keep copies it to the translations" in said
    said = diptych("translate", run, tmp_path / "in", "-o", tmp_path / "kept", "--alpha", "keep").output
    assert "transparency" not in said
    white, kept = (image_io.read(tmp_path / name / "a.png", "rgba") for name in ("white", "kept"))
    assert (white[..., 3] == 255).all()
    assert np.array_equal(kept[..., 3], rgba[..., 3])
    assert np.array_equal(kept[..., :3], white[..., :3])
    assert not image_io.probe(tmp_path / "kept/b.png").alpha
    refused = diptych("translate", run, tmp_path / "in", "-o", tmp_path / "o", "--alpha", "black")
    assert refused.exit_code == 2
    assert all(word in refused.stderr for word in ("--alpha", "'black'", "'white'", "'keep'"))


def test_profile_resolution_and_georeference_reach_the_translation(run, tmp_path):
    grey = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    grey = grey[:16] + b"GRAY" + grey[20:]
    for name in ("a.png", "a.jpg", "a.tif"):
        Image.fromarray(colours(1, 1)[0][..., 0]).save(tmp_path / name, icc_profile=grey, dpi=(300, 200))
    diptych("translate", run, *(tmp_path / name for name in ("a.png", "a.jpg", "a.tif")), "-o", tmp_path / "out")
    for name in ("a.png", "a.jpg", "a.tif"):
        made = metadata.read_metadata(tmp_path / "out" / name)
        assert made.profile == grey
        assert np.allclose(made.dpi, (300, 200), atol=0.1)
    translator = load(run, device="cpu")
    assert translator(tmp_path / "a.png").info["icc_profile"] == grey
    assert translator(Image.open(tmp_path / "a.png")).info["icc_profile"] == grey


def test_a_resume_goes_on_with_the_resolved_settings(narrow):
    said = diptych("resume", narrow / "run", "steps=3", "--allow", "steps").output
    assert "source: pixel values 0 to 4095 are mapped to -1 and 1" in said
    with pytest.raises(ConfigError, match="range: "):
        diptych("resume", narrow / "run", "range=full")


def test_a_model_folder_with_a_range_that_is_none_is_refused(narrow, tmp_path):
    model = narrow / "run/model"
    for file in ("model.safetensors", "config.json"):
        (tmp_path / file).write_bytes((model / file).read_bytes())
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["notes"]["images"]["entries"]["source"]["value_range"] = [5, 5]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises((CheckpointError, DataError), match="not a range of uint16"):
        load(tmp_path, device="cpu")


def test_a_segmenter_of_class_ids_paints_a_channel_for_each_class(tmp_path):
    """Pixels without a class, of value 255, are neither trained on nor scored."""
    ids = np.array([0, 2, 255, 255], np.uint8).repeat(256).reshape(32, 32, 1)
    for split, count in (("train", 2), ("val", 1)):
        fill(tmp_path / f"{split}A", colours(count))
        fill(tmp_path / f"{split}B", [ids] * count)
    planned = evaluator_recipe("segmenter", [f"root={tmp_path}", "crop_size=32", "label_map=target"])
    assert planned.model.palette == ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    assert planned.model.ignore == ((0, 0, 0),)
    assert planned.model.out_channels == 3
    assert ignored_pixels(planned).startswith("50 % of the pixels of the label maps are ignored")
