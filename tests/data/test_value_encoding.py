"""`range`, `label_map` and `alpha`: from the settings and the images to what networks see."""

import numpy as np
import pytest
from PIL import Image
from sets import cache  # noqa: F401

from diptych.data.checks.unreadable import check_images
from diptych.data.image_format import TrainingImages, describe_images
from diptych.data.images import image_io
from diptych.data.images.encoding import PLAIN, Encoding
from diptych.data.open import open_data
from diptych.data.value_encoding import notes_on_encodings
from diptych.errors import ConfigError, DataError, ImageError
from diptych.settings import recipe

RNG = np.random.default_rng(0)


def fill(folder, arrays):
    for number, array in enumerate(arrays):
        image_io.write(folder / f"{number}.png", array)


def deep(most, count=3, least=0):
    """16-bit images of which the first holds the lowest and highest value."""
    arrays = [RNG.integers(least, most + 1, (16, 16, 1)).astype(np.uint16) for _ in range(count)]
    arrays[0][0, 0], arrays[0][0, 1] = least, most
    return arrays


def ids(values, count=3):
    return [RNG.choice(values, (16, 16, 1)).astype(np.uint8) for _ in range(count)]


def colours(count=3):
    return [RNG.integers(0, 256, (16, 16, 3)).astype(np.uint8) for _ in range(count)]


def sprites(count=3, opaque=False):
    return [np.concatenate([each, np.full((16, 16, 1), 255 if opaque else 7, np.uint8)], 2) for each in colours(count)]


def folder_of(root, source, target):
    for split, places in (("train", slice(0, 2)), ("val", slice(2, 3))):
        fill(root / f"{split}A", source[places])
        fill(root / f"{split}B", target[places])
    return root


def opened(root, *settings, method="pix2pix"):
    """The recipe and the data, as training has them before its first step."""
    chosen = recipe.load_recipe(method, [f"root={root}", "crop_size=64", *settings])
    data, _ = check_images(open_data(chosen.data, chosen.cls.data), chosen.data)
    fitted = chosen.with_data_defaults(data)
    return fitted, fitted.encode_data(data)


def encodings(data):
    return [column.encoding for column in data.train.columns.values()]


def test_by_default_nothing_is_encoded(tmp_path):
    chosen, data = opened(folder_of(tmp_path, deep(4095), colours()))
    assert encodings(data) == [PLAIN, PLAIN]
    assert (chosen.data.range, chosen.data.label_map, chosen.data.alpha) == ("full", "none", "white")
    assert not notes_on_encodings(data.train)


@pytest.mark.parametrize("method", ["pix2pix", "cyclegan", "munit"])
def test_the_range_is_found_for_each_domain_by_itself(tmp_path, method):
    settings = [] if method != "munit" else ["resize_mode=short_side"]
    chosen, data = opened(
        folder_of(tmp_path, deep(4095), deep(1400, least=200)), "range=auto", *settings, method=method
    )
    assert chosen.data.range == ((0, 4095), (200, 1400))
    assert encodings(data) == [Encoding((0, 4095), "uint16"), Encoding((200, 1400), "uint16")]
    unit = image_io.to_unit(data.train.columns[next(iter(data.train.columns))][0])
    assert (unit.min(), unit.max()) == (-1, 1)
    assert [column.encoding for column in data.held_out.columns.values()] == encodings(data)


def test_only_training_images_count_and_the_full_range_stays_full(tmp_path):
    arrays = [*deep(4095, 2), np.full((16, 16, 1), 9000, np.uint16)]
    root = folder_of(tmp_path, arrays, [*colours(2), np.zeros((16, 16, 3), np.uint8)])
    for array in (root / "trainB").iterdir():
        image_io.write(array, np.arange(768).reshape(16, 16, 3).astype(np.uint8))
    chosen, data = opened(root, "range=auto")
    assert chosen.data.range == ((0, 4095), "full")
    assert encodings(data) == [Encoding((0, 4095), "uint16"), PLAIN]


def test_a_resume_uses_the_same_numbers_though_the_images_changed(tmp_path):
    root = folder_of(tmp_path, deep(4095), deep(4095))
    chosen, _ = opened(root, "range=auto")
    fill(root / "trainA", deep(60000, 1))
    again = recipe.from_settings(chosen.settings())
    assert again.data == chosen.data
    data, _ = check_images(open_data(again.data, again.cls.data), again.data)
    assert again.with_data_defaults(data).data.range == ((0, 4095), (0, 4095))
    assert encodings(again.with_data_defaults(data).encode_data(data))[0].value_range == (0, 4095)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("[0,4095]", [(0, 4095), (0, 4095)]),
        ("[[0,4095],[10,1400]]", [(0, 4095), (10, 1400)]),
        ("[[0,4095],full]", [(0, 4095), None]),
        ("[full,auto]", [None, (0, 1000)]),
    ],
)
def test_a_range_is_given_for_both_domains_or_for_each(tmp_path, given, found):
    _, data = opened(folder_of(tmp_path, deep(4095), deep(1000)), f"range={given}")
    assert [each.value_range for each in encodings(data)] == found


@pytest.mark.parametrize("given", ["[1,2,3]", "[5,5]", "[5,-5]", "[0,1e31]", "12", "'auto,full'", "[true,5]", "wide"])
def test_a_range_that_is_none_is_refused_with_what_may_be_given(tmp_path, given):
    with pytest.raises(ConfigError, match=r"range=.*full, auto, \[LOW,HIGH\]"):
        recipe.load_recipe("pix2pix", [f"root={tmp_path}", f"range={given}"])


def test_ranges_that_the_images_cannot_have_are_refused(tmp_path):
    root = folder_of(tmp_path, deep(4095), colours())
    with pytest.raises(DataError, match=r"range=\[0,4095\]: expected 0 to 255, as the images of target are uint8"):
        opened(root, "range=[0,4095]")
    image_io.write(root / "trainA" / "0.png", np.zeros((16, 16, 1), np.uint8))
    with pytest.raises(DataError, match=r"source have several dtypes: uint8 \(.*0.png\), uint16"):
        opened(root, "range=[auto,full]")
    with pytest.raises(DataError, match="for image files only"):
        opened("glyphs", "range=auto")


def heights(count=3, low=-12.5, high=850.25):
    arrays = [RNG.uniform(low, high, (16, 16, 1)).astype(np.float32) for _ in range(count)]
    arrays[0][0, 0], arrays[0][0, 1] = low, high
    return arrays


def test_values_without_black_and_white_need_a_range(tmp_path):
    root = folder_of(tmp_path, colours(), colours())
    for split, places in (("train", slice(0, 2)), ("val", slice(2, 3))):
        for number, array in enumerate(heights()[places]):
            (root / f"{split}B/{number}.png").unlink()
            image_io.write(root / f"{split}B/{number}.tif", array)
    with pytest.raises(DataError, match=r"(?s)outside 0..1: trainB/0.tif.*range=auto, or range=\[LOW,HIGH\]"):
        opened(root)
    with pytest.raises(DataError, match=r"B/\d.tif: has values outside 0..1; train with range="):
        opened(root, "range=[auto,full]")
    chosen, data = opened(root, "range=[full,auto]")
    assert chosen.data.range == ("full", (-12.5, 850.25))
    assert encodings(data) == [PLAIN, Encoding((-12.5, 850.25), "float32")]
    assert data.train.columns["target"][0].min() == 0
    stored = describe_images(data, chosen.data)
    assert TrainingImages.model_validate_json(stored.model_dump_json()).entries["target"].encoding == encodings(data)[1]
    for array in (root / "trainB").iterdir():
        image_io.write(array, np.full((16, 16, 1), -3, np.float32))
    with pytest.raises(DataError, match="range=auto: all training images of target hold the value -3"):
        opened(root, "range=[full,auto]")


def test_the_halves_of_a_file_have_a_range_each(tmp_path):
    for split in ("train", "val"):
        fill(tmp_path / split, [np.concatenate([a, b], 1) for a, b in zip(deep(4095), deep(900), strict=True)])
    chosen, _ = opened(tmp_path, "range=auto", "layout=side_by_side")
    assert chosen.data.range == ((0, 4095), (0, 900))


def test_class_ids_become_a_channel_each(tmp_path):
    chosen, data = opened(folder_of(tmp_path, ids([0, 3, 8, 255]), colours()), "label_map=source")
    assert (chosen.model.in_channels, chosen.model.out_channels) == (9, 3)
    assert encodings(data) == [Encoding(num_classes=9), PLAIN]
    assert notes_on_encodings(data.train) == ["source: class ids of 9 classes, one channel per class"]
    array = data.train.columns["source"][0]
    stored = image_io.read(tmp_path / "trainA" / "0.png")
    planes = image_io.with_channels(array, 9, "a.png")
    assert np.array_equal(planes.argmax(-1)[stored[..., 0] < 255], stored[stored < 255])
    assert not planes[stored[..., 0] == 255].any()


def test_label_maps_follow_the_direction_and_methods_without_pairs(tmp_path):
    root = folder_of(tmp_path, ids([0, 1, 2]), colours())
    chosen, _ = opened(root, "label_map=target", "direction=b2a")
    assert (chosen.model.in_channels, chosen.model.out_channels) == (3, 3)
    chosen, data = opened(root, "label_map=source", method="cyclegan")
    assert encodings(data)[0].num_classes == chosen.model.in_channels == 3
    both, _ = opened(folder_of(tmp_path / "maps", ids([0, 1]), ids([0, 6])), "label_map=both", method="cut")
    assert both.model.channels == 7
    with pytest.raises(DataError, match="label_map=source: channels is the number of channels of both domains"):
        opened(root, "label_map=source", method="cut")
    with pytest.raises(DataError, match="this method has no source and target domain"):
        opened(root, "label_map=source", method="srgan")


def test_the_indices_of_a_palette_are_class_ids(tmp_path):
    root = folder_of(tmp_path, ids([0]), colours())
    for file in (root / "trainA").iterdir():
        palette = Image.fromarray(RNG.choice(np.array([0, 5, 20, 255], np.uint8), (16, 16))).convert("P")
        palette.putpalette(bytes(range(256)) * 3)
        picture = Image.new("P", (16, 16))
        picture.putdata(RNG.choice([0, 5, 20, 255], 256).tolist())
        picture.putpalette([7, 9, 200] * 128 + [1, 2, 3] * 128)
        picture.save(file)
    chosen, data = opened(root, "label_map=source")
    assert chosen.model.in_channels == 21
    assert set(np.unique(data.train.columns["source"][0])) <= {0, 5, 20, 255}


def test_more_classes_may_be_given_and_fewer_are_refused(tmp_path):
    root = folder_of(tmp_path, ids([0, 8]), colours())
    assert opened(root, "label_map=source", "in_channels=35")[0].model.in_channels == 35
    with pytest.raises(DataError, match="in_channels=5: the label maps of source have 9 classes, 0 to 8"):
        opened(root, "label_map=source", "in_channels=5")
    with pytest.raises(ImageError, match=r"0.png: is a colour image"):
        opened(root, "label_map=target")
    with pytest.raises(DataError, match="label maps of class ids have no range"):
        opened(folder_of(tmp_path / "two", ids([0, 8]), ids([0, 8])), "label_map=both", "range=auto")
    many = folder_of(tmp_path / "many", deep(26001), colours())
    with pytest.raises(DataError, match="images of source have class id 26001: at most 256 classes"):
        opened(many, "label_map=source")


def test_label_maps_beside_their_pictures_in_one_file(tmp_path):
    """Few values in both halves of a grey file, which the scan lists."""
    for split in ("train", "val"):
        pairs = zip(ids([0, 4]), ids([0, 200]), strict=True)
        fill(tmp_path / split, [np.concatenate(pair, 1) for pair in pairs])
    chosen, data = opened(tmp_path, "layout=side_by_side", "label_map=source")
    assert (chosen.model.in_channels, chosen.model.out_channels) == (5, 1)
    assert data.train.columns["target"][0].dtype == np.uint8
    assert opened(tmp_path, "layout=side_by_side")[1].train.columns["source"][0].shape == (16, 16, 1)


def test_alpha_is_kept_as_a_fourth_channel_of_the_domains_that_have_it(tmp_path):
    root = folder_of(tmp_path, colours(), [*sprites(1), *colours(1), *sprites(1)])
    chosen, data = opened(root, "alpha=keep")
    assert (chosen.model.in_channels, chosen.model.out_channels) == (3, 4)
    target = data.train.columns["target"]
    assert np.array_equal(target[0], image_io.read(root / "trainB" / "0.png", "rgba"))
    assert target[0][..., 3].max() == 7
    assert (target[1][..., 3] == 255).all()
    assert notes_on_encodings(data.train) == ["target: four channels, the last one is alpha"]


def test_alpha_that_is_nowhere_is_refused_and_alpha_that_is_lost_is_said(tmp_path):
    with pytest.raises(DataError, match="alpha=keep: no image has transparency"):
        opened(folder_of(tmp_path / "a", colours(), sprites(opaque=True)), "alpha=keep")
    _, data = opened(folder_of(tmp_path / "b", colours(), sprites()))
    assert "3 images have transparency: composited over white; alpha=keep trains on it as a channel" in data.notes
    _, data = opened(tmp_path / "b", "alpha=keep")
    assert not [note for note in data.notes if "composited" in note]
    with pytest.raises(ImageError, match="alpha=keep reads a fourth channel"):
        image_io.with_channels(colours()[0], 4, "a.png")


def test_what_was_resolved_is_kept_beside_the_run_and_becomes_settings_again(tmp_path):
    chosen, data = opened(folder_of(tmp_path, ids([0, 2]), deep(4095)), "range=auto", "label_map=source")
    kept = TrainingImages.model_validate_json(describe_images(data, chosen.data).model_dump_json())
    assert kept.entries["source"].encoding.num_classes == 3
    assert kept.entries["target"].encoding == Encoding((0, 4095), "uint16")
    assert kept.value_settings() == {"range": ("full", (0, 4095)), "label_map": "source", "alpha": "white"}
    broken = kept.entries["target"].model_dump() | {"value_range": (5, 5)}
    with pytest.raises(ValueError, match="not a range of uint16"):
        type(kept.entries["target"]).model_validate(broken)
