"""The translator's options: the scale of training, the half of side-by-side images, the depth of translations."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from translators import made

from diptych.data.image_format import ImageFormat, TrainingImages
from diptych.data.images import image_io
from diptych.errors import ConfigError, ImageError
from diptych.inference.load import load
from diptych.inference.translator import resize_unit


def stored(fit="squash", side=32, half=None, dtype="uint8", entries=("source", "target")):
    """Training images of `side` x `side` pixels, resized to 32, whose target has `dtype`."""
    source, target = (
        ImageFormat(domain=name, height=side, width=side, half=at, dtype=kind)
        for name, at, kind in zip(entries, (half, None if half is None else 1 - half), ("uint8", dtype), strict=True)
    )
    return TrainingImages(crop=32, load=36, fit=fit, entries=dict(zip(entries, (source, target), strict=True)))


def trained(images, name="pix2pix", **over):
    translator = made(name, **over)
    translator.images = images
    return translator


def noise(height, width, dtype=np.uint8, channels=3):
    most = 1 if dtype == np.float32 else np.iinfo(dtype).max
    return (np.random.default_rng(0).random((height, width, channels)) * most).astype(dtype)


@pytest.mark.parametrize(("side", "said"), [(128, "4.0 times"), (16, "0.50 times")])
def test_images_at_another_scale_than_in_training_are_warned_about_once(side, said):
    translator = trained(stored())
    with pytest.warns(UserWarning, match=f"{said} the scale of training.*--scale training") as found:
        translator([noise(32, 40), noise(side, side), noise(side, side)])
    assert len(found) == 1


@pytest.mark.parametrize("images", [None, stored(), stored("none"), stored(entries=("other", "target"))])
def test_images_near_the_scale_of_training_are_not_warned_about(images):
    for size in ((32, 32), (24, 60), (44, 44)):
        trained(images)(noise(*size))


def test_the_scale_of_training_is_resized_translated_and_resized_back():
    translator, big = trained(stored(side=128)), noise(128, 128)
    found = translator.with_options(scale="training")(big)
    small = torch.from_numpy(image_io.to_unit(image_io.resize(big, 32, 32)).transpose(2, 0, 1).copy())
    expected = resize_unit(translator.tensor(small), 128, 128).numpy().transpose(1, 2, 0)
    assert np.array_equal(found, image_io.from_unit(expected, np.uint8))
    at_scale = noise(32, 32)
    assert np.array_equal(translator.with_options(scale="training")(at_scale), translator(at_scale))


@pytest.mark.parametrize("size", [(128, 128), (100, 333), (7, 9)])
@pytest.mark.parametrize("fit", ["squash", "short_side", "center_square", "none"])
def test_the_scale_of_training_gives_the_size_of_the_image(fit, size):
    assert trained(stored(fit, 128)).with_options(scale="training")(noise(*size)).shape == (*size, 3)


def test_each_style_and_domain_is_made_at_the_scale_of_training():
    translator = trained(stored(side=64), "msgan", image_size=32).with_options(scale="training")
    styles = translator.styles(noise(64, 64), 2)
    assert [each.shape for each in styles] == [(64, 64, 3)] * 2


def test_the_scale_of_training_must_be_known():
    for translator in (trained(None), trained(stored(entries=("image", "target")))):
        with pytest.raises(ConfigError, match="does not say how its source images were resized"):
            translator.with_options(scale="training")(noise(32, 32))


def test_an_endless_strip_is_refused_at_the_scale_of_training(monkeypatch):
    monkeypatch.setattr(image_io, "MAX_PIXELS", 10_000)
    with pytest.raises(ImageError, match="16000x32 pixels at the scale of training"):
        trained(stored("short_side")).with_options(scale="training")(noise(1, 500))


@pytest.mark.parametrize("half", [0, 1])
def test_the_source_half_of_side_by_side_images_is_translated(half):
    translator, pixels = trained(stored(half=half)), noise(32, 64)
    halves = pixels[:, :32], pixels[:, 32:]
    with pytest.warns(UserWarning, match=f"the {('left', 'right')[half]} half is translated.*--half none") as found:
        made = translator([pixels, Image.fromarray(pixels)])
    assert len(found) == 1
    assert all(np.array_equal(each, translator(halves[half])) for each in made)
    assert np.array_equal(translator.with_options(half="left")(pixels), translator(halves[0]))
    assert np.array_equal(translator.with_options(half="right")(pixels), translator(halves[1]))
    assert translator.with_options(half="none")(pixels).shape == (32, 64, 3)


def test_only_images_of_two_halves_as_in_training_are_cut():
    assert trained(stored(half=0))(noise(32, 63)).shape == (32, 63, 3)
    assert trained(stored())(noise(32, 64)).shape == (32, 64, 3)
    wide = stored(half=0)
    wide.entries["source"] = wide.entries["source"].model_copy(update={"width": 64})
    assert trained(wide)(noise(32, 64)).shape == (32, 64, 3), "one image, as wide as the halves were"
    with pytest.warns(UserWarning, match="left half"):
        assert trained(wide)(noise(32, 128)).shape == (32, 64, 3)


def test_the_direction_chooses_the_half():
    translator = trained(stored(half=0, entries=("a", "b")), "cyclegan")
    pixels = noise(32, 64)
    with pytest.warns(UserWarning, match="right half"):
        made = translator(pixels, direction="b2a")
    assert np.array_equal(made, translator(pixels[:, 32:], direction="b2a"))


def test_files_come_out_in_the_depth_of_the_target_domain_and_arrays_in_their_own(tmp_path):
    pixels = noise(32, 32)
    image_io.write(tmp_path / "x.png", pixels)
    translator = trained(stored(dtype="uint16"), out_channels=1)
    for source in (tmp_path / "x.png", Image.fromarray(pixels)):
        found = translator(source)
        assert found.dtype == np.uint16
        assert (found % 257 != 0).mean() > 0.9, "8 bits made 16 are multiples of 257"
    assert translator(pixels).dtype == np.uint8
    image_io.write(tmp_path / "deep.png", noise(32, 32, np.uint16, 1))
    assert isinstance(trained(stored(dtype="uint8"))(tmp_path / "deep.png"), Image.Image)
    assert trained(None)(tmp_path / "deep.png").dtype == np.uint16, "as before where the depth is not known"


@pytest.mark.parametrize(("depth", "dtype"), [(8, np.uint8), (16, np.uint16), ("float", np.float32)])
def test_a_depth_that_is_chosen_holds_for_files_and_arrays(depth, dtype, tmp_path):
    image_io.write(tmp_path / "x.png", noise(32, 32))
    translator = trained(stored(dtype="uint16")).with_options(depth=depth)
    assert np.asarray(translator(tmp_path / "x.png")).dtype == dtype
    assert translator(noise(32, 32)).dtype == dtype


def test_options_that_do_not_exist_are_refused():
    for options, message in (
        ({"scale": "trainig"}, "scale='trainig'"),
        ({"half": "top"}, "half='top'"),
        ({"depth": 12}, "depth=12"),
        ({"dept": 8}, "did you mean 'depth'"),
    ):
        with pytest.raises(ConfigError, match=message):
            made().with_options(**options)


def test_what_is_known_of_the_training_images_goes_into_the_model_folder(tmp_path):
    translator = trained(stored(half=0, dtype="uint16"))
    again = load(translator.save(tmp_path / "model"), device="cpu")
    assert again.images == translator.images
    assert again.notes == translator.notes


def test_a_single_size_is_no_wrong_scale():
    """A method that takes one size alone resizes all images itself."""
    translator = trained(stored(), "dtn")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        translator(noise(128, 128))


@pytest.mark.parametrize(("former", "present"), [("short", "short_side"), ("centre", "center_square")])
def test_a_model_folder_with_a_former_name_of_the_resize_mode_opens(former, present, tmp_path):
    folder = trained(stored(present)).save(tmp_path / "model")
    config = folder / "config.json"
    config.write_text(config.read_text().replace(f'"fit": "{present}"', f'"fit": "{former}"'))
    assert f'"fit": "{former}"' in config.read_text()
    assert load(folder, device="cpu").images.fit == present
