"""`diptych translate`: names, sizes and formats kept, and nothing lost."""

import numpy as np
import pytest
from commands import TINY, diptych, files
from translators import made

from diptych.data.image_format import ImageFormat, TrainingImages
from diptych.data.images import image_io
from diptych.errors import CheckpointError, ConfigError, DataError, ImageError


@pytest.fixture
def pictures(tmp_path):
    """A folder with a folder in it, files of several kinds, and one that is no image."""
    for name, shape in (("a.png", (40, 30, 3)), ("deep/b.jpg", (33, 64, 3)), ("deep/c.png", (24, 24, 1))):
        image_io.write(tmp_path / "in" / name, np.random.default_rng(1).integers(0, 256, shape, np.uint8))
    image_io.write(tmp_path / "in" / "deep.tif", np.full((9, 70, 1), 40_000, np.uint16))
    (tmp_path / "in" / "notes.txt").write_text("no image")
    return tmp_path / "in"


def test_a_folder_keeps_names_and_sizes(run, pictures, tmp_path):
    """In 8 bits, as the images that the run was trained on."""
    assert "4 images" in diptych("translate", run, pictures, "-o", tmp_path / "out").stdout
    assert files(tmp_path / "out") == ["a.png", "deep.tif", "deep/b.jpg", "deep/c.png"]
    for name in files(tmp_path / "out"):
        before, after = image_io.read(pictures / name), image_io.read(tmp_path / "out" / name)
        assert (before.shape[:2], np.uint8) == (after.shape[:2], after.dtype)


def test_a_pattern_and_a_model_folder(run, pictures, tmp_path):
    diptych("translate", run / "model", pictures / "**" / "*.png", pictures / "deep.tif", "-o", tmp_path / "out")
    assert files(tmp_path / "out") == ["a.png", "deep.tif", "deep/c.png"]
    diptych("translate", run, pictures / "a.png", "-o", tmp_path / "run-out")
    diptych("translate", run, pictures / "a.png", "-o", tmp_path / "best-out", "--which", "best")
    assert (tmp_path / "run-out" / "a.png").read_bytes() == (tmp_path / "out" / "a.png").read_bytes()


def test_what_is_not_translated_is_listed(run, pictures, tmp_path):
    image_io.write(pictures / "more.ppm", np.zeros((20, 20, 3), np.uint8))
    image_io.write(pictures / "more.jfif", np.zeros((20, 20, 3), np.uint8))
    (pictures / "moving.gif").touch()
    (pictures / "@eaDir" / "a.png").mkdir(parents=True)
    image_io.write(pictures / "@eaDir" / "a.png" / "thumb.jpg", np.zeros((8, 8, 3), np.uint8))
    (pictures / "link").symlink_to("deep")
    said = diptych("translate", run, pictures, "-o", tmp_path / "out").stdout
    assert "6 images in" in said
    assert "not translated: 1 .gif, 1 .txt" in said
    assert files(tmp_path / "out") == ["a.png", "deep.tif", "deep/b.jpg", "deep/c.png", "more.jfif", "more.ppm"]
    (tmp_path / "out" / "a.png").unlink()
    said = diptych("translate", run, pictures, "-o", tmp_path / "out", "--skip-existing").stdout
    assert "1 image in" in said
    assert "5 images already there, skipped" in said


def test_controls_reach_the_method(run, pictures, tmp_path):
    for seed in (0, 0, 1):
        diptych(
            "translate",
            run,
            pictures / "a.png",
            "-o",
            tmp_path / "out",
            "-c",
            "inference=paper",
            "-c",
            f"seed={seed}",
            "--overwrite",
        )
        (tmp_path / "out" / "a.png").rename(tmp_path / f"{seed}-{(tmp_path / '0-False.png').exists()}.png")
    one, again, other = ((tmp_path / name).read_bytes() for name in ("0-False.png", "0-True.png", "1-True.png"))
    assert one == again != other
    for given, message in (
        ("seed=x", "expected int"),
        ("seed", "expected key=value"),
        ("sede=1", "did you mean 'seed'"),
    ):
        with pytest.raises(ConfigError, match=message):
            diptych("translate", run, pictures / "a.png", "-o", tmp_path / "never", "-c", given)


def test_nothing_is_overwritten_unless_told(run, pictures, tmp_path):
    diptych("translate", run, pictures, "-o", tmp_path / "out")
    (tmp_path / "out" / "deep" / "c.png").unlink()
    with pytest.raises(DataError, match="give --overwrite"):
        diptych("translate", run, pictures, "-o", tmp_path / "out")
    assert not (tmp_path / "out" / "deep" / "c.png").exists(), "refused before anything is translated"
    assert diptych("translate", run, pictures, "-o", tmp_path / "out", "--overwrite").exit_code == 0


def test_sources_are_never_the_target(run, pictures):
    for words in ((pictures,), (pictures / "a.png",)):
        with pytest.raises(DataError, match="replaced by its translation"):
            diptych("translate", run, *words, "-o", pictures, "--overwrite")


def test_two_sources_of_one_name_are_refused(run, pictures, tmp_path):
    image_io.write(tmp_path / "other" / "a.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="would both become"):
        diptych("translate", run, pictures / "a.png", tmp_path / "other" / "a.png", "-o", tmp_path / "out")


def test_a_broken_image_does_not_stop_the_others(run, pictures, tmp_path):
    (pictures / "a.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"(?s)1 of 4 images could not be translated.*a\.png"):
        diptych("translate", run, pictures, "-o", tmp_path / "out")
    assert files(tmp_path / "out") == ["deep.tif", "deep/b.jpg", "deep/c.png"]
    image_io.write(pictures / "a.png", np.zeros((32, 32, 3), np.uint8))
    assert "1 image in" in diptych("translate", run, pictures, "-o", tmp_path / "out", "--skip-existing").stdout


def test_an_output_may_be_the_file_of_one_image(run, pictures, tmp_path):
    diptych("translate", run, pictures / "a.png", "-o", tmp_path / "folder")
    expected = (tmp_path / "folder" / "a.png").read_bytes()
    assert f"1 image in {tmp_path / 'one.png'}" in diptych(
        "translate", run, pictures / "a.png", "-o", tmp_path / "one.png"
    ).stdout.replace("\n", "")
    assert (tmp_path / "one.png").read_bytes() == expected
    diptych("translate", run, pictures / "a.png", "-o", tmp_path / "new" / "one.jpg")
    assert (tmp_path / "new" / "one.jpg").read_bytes().startswith(b"\xff\xd8")
    (tmp_path / "notes.txt").write_text("mine")
    for source, out, message in (
        ("a.png", "one.png", "already exists; give --overwrite"),
        (".", "other.png", "is the name of one image, and there are 4: give a folder"),
        ("a.png", "notes.txt", "is a file, and no image by its name"),
        ("a.png", "notes.txt/out", "cannot be made, as .*notes.txt is no folder"),
    ):
        with pytest.raises(DataError, match=message):
            diptych("translate", run, pictures / source, "-o", tmp_path / out)
    with pytest.raises(ConfigError, match=r"--suffix \.jpg: .* names the file"):
        diptych("translate", run, pictures / "a.png", "-o", tmp_path / "other.png", "--suffix", ".jpg")
    assert not (tmp_path / "other.png").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_styles_without_effect_are_warned_about(run, pictures, tmp_path):
    with pytest.warns(UserWarning, match="all styles are equal: the seed has no effect"):
        diptych("translate", run, pictures / "a.png", "-o", tmp_path / "equal", "--styles", 2)
    diptych("translate", run, pictures / "a.png", "-o", tmp_path / "out", "--styles", 2, "-c", "inference=paper")
    assert files(tmp_path / "out") == ["a.png"]


def test_translations_are_no_sources_of_the_next_call(run, pictures):
    diptych("translate", run, pictures, "-o", pictures / "out")
    diptych("translate", run, pictures, "-o", pictures / "out", "--overwrite")
    assert files(pictures / "out") == ["a.png", "deep.tif", "deep/b.jpg", "deep/c.png"]


def test_a_format_that_cannot_hold_the_output_is_found_first(tmp_path, pictures):
    words = [*TINY, "out_channels=5", "steps=1"]
    data = tmp_path / "data"
    for number in range(3):
        image_io.write(data / "trainA" / f"{number}.png", np.zeros((32, 32, 3), np.uint8))
        image_io.write(data / "trainB" / f"{number}.npy", np.zeros((32, 32, 5), np.uint8))
    diptych("train", "pix2pix", *words[1:], "-d", data, "-o", tmp_path / "run")
    with pytest.raises(ConfigError, match=r"\.png cannot hold uint8 with 5 channels.*--suffix \.tif"):
        diptych("translate", tmp_path / "run", pictures, "-o", tmp_path / "out", "--suffix", ".png")
    assert not (tmp_path / "out").exists()
    diptych("translate", tmp_path / "run", pictures, "-o", tmp_path / "out")
    assert image_io.read(tmp_path / "out" / "deep" / "b.tif").shape == (33, 64, 5)


def test_a_path_is_not_taken_for_a_hub_id(run, monkeypatch):
    monkeypatch.setattr("diptych.inference.hub.download", lambda source: 1 / 0)
    with pytest.raises(CheckpointError, match="neither a run folder"):
        diptych("translate", run.parent / "lettres", run / "previews", "-o", run.parent / "never")


def noise(seed, width, height):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def model(folder, **formats):
    """A model folder of an untrained pix2pix, whose training images were 32 x 32 pixels, or as `formats` says."""
    size = {"height": 32, "width": 32}
    entries = {
        name: ImageFormat.model_validate({"domain": name, **size, **formats.get(name, {})})
        for name in ("source", "target")
    }
    translator = made()
    translator.images = TrainingImages(crop=32, load=36, fit="squash", entries=entries)
    return translator.save(folder)


def test_images_larger_than_in_training_are_named_once_and_can_be_translated_at_its_scale(tmp_path):
    for number in range(3):
        image_io.write(tmp_path / "in" / f"{number}.png", noise(number, 128, 128))
    image_io.write(tmp_path / "in" / "small.png", noise(9, 32, 32))
    words = ["translate", model(tmp_path / "model", source={"height": 128, "width": 128}), tmp_path / "in"]
    with pytest.warns(UserWarning, match="images are 4.0 times the scale of training.*--scale training") as found:
        diptych(*words, "-o", tmp_path / "plain")
    assert len(found) == 1
    diptych(*words, "-o", tmp_path / "scaled", "--scale", "training")
    for name in files(tmp_path / "in"):
        plain, scaled = (image_io.read(tmp_path / folder / name) for folder in ("plain", "scaled"))
        assert plain.shape == scaled.shape == image_io.read(tmp_path / "in" / name).shape
        assert (name == "small.png") == np.array_equal(plain, scaled)
    refused = diptych(*words, "-o", tmp_path / "never", "--scale", "trainig")
    assert refused.exit_code == 2
    assert "'trainig'" in refused.stderr
    assert not (tmp_path / "never").exists()


def test_one_image_of_another_scale_among_many_is_not_warned_about(tmp_path):
    for number, size in enumerate((128, 32, 32)):
        image_io.write(tmp_path / "in" / f"{number}.png", noise(number, size, size))
    diptych("translate", model(tmp_path / "model"), tmp_path / "in", "-o", tmp_path / "out")


def test_the_source_half_of_side_by_side_files_is_translated(tmp_path):
    pair = noise(1, 64, 32)
    image_io.write(tmp_path / "in" / "pair.png", pair)
    image_io.write(tmp_path / "in" / "single.png", pair[:, 32:])
    words = ["translate", model(tmp_path / "model", source={"half": 1}), tmp_path / "in"]
    with pytest.warns(UserWarning, match="the right half is translated.*--half none") as found:
        diptych(*words, "-o", tmp_path / "auto")
    assert len(found) == 1
    auto = {name: image_io.read(tmp_path / "auto" / name) for name in files(tmp_path / "auto")}
    assert auto["pair.png"].shape == (32, 32, 3)
    assert np.array_equal(auto["pair.png"], auto["single.png"])
    for half, width in (("left", 32), ("none", 64)):
        diptych(*words[:2], tmp_path / "in" / "pair.png", "-o", tmp_path / half, "--half", half)
        assert image_io.read(tmp_path / half / "pair.png").shape == (32, width, 3)
    assert not np.array_equal(image_io.read(tmp_path / "left" / "pair.png"), auto["pair.png"])


def test_translations_have_the_depth_of_the_target_domain_and_a_format_that_holds_it(tmp_path):
    for name in ("a.png", "b.jpg"):
        image_io.write(tmp_path / "in" / name, noise(1, 32, 32))
    words = ["translate", model(tmp_path / "model", target={"dtype": "uint16"}), tmp_path / "in"]
    said = diptych(*words, "-o", tmp_path / "deep").stdout
    assert said.count(".jpg cannot hold uint16 with 3 channels: written as .png") == 1
    assert files(tmp_path / "deep") == ["a.png", "b.png"]
    assert all(image_io.read(tmp_path / "deep" / name).dtype == np.uint16 for name in ("a.png", "b.png"))
    for depth, dtype, names in (("8", np.uint8, ["a.png", "b.jpg"]), ("float", np.float32, ["a.tif", "b.tif"])):
        diptych(*words, "-o", tmp_path / depth, "--depth", depth)
        assert files(tmp_path / depth) == names
        assert image_io.read(tmp_path / depth / names[0]).dtype == dtype
    with pytest.raises(ConfigError, match=r"\.jpg cannot hold uint16.*--suffix \.png or .*\.npy or --depth 8"):
        diptych(*words, "-o", tmp_path / "never", "--suffix", ".jpg")
    with pytest.raises(ConfigError, match="sample grids have 8 bits"):
        diptych(*words, "-o", tmp_path / "never", "--styles", "2", "--depth", "16")
    refused = diptych(*words, "-o", tmp_path / "never", "--depth", "12")
    assert refused.exit_code == 2
    assert "'12'" in refused.stderr


def test_deep_sources_of_a_domain_of_eight_bits_become_eight_bits(tmp_path):
    image_io.write(tmp_path / "in" / "x.tif", np.full((32, 32, 1), 40_000, np.uint16))
    words = ["translate", model(tmp_path / "model"), tmp_path / "in", "-o", tmp_path / "out"]
    diptych(*words, "--suffix", ".jpg")
    diptych(*words)
    assert [image_io.read(tmp_path / "out" / name).dtype for name in ("x.jpg", "x.tif")] == [np.uint8] * 2


def test_names_that_clash_by_a_new_ending_are_found_first(tmp_path):
    for name in ("a.png", "a.jpg"):
        image_io.write(tmp_path / "in" / name, noise(1, 32, 32))
    words = ["translate", model(tmp_path / "model", target={"dtype": "uint16"}), tmp_path / "in"]
    with pytest.raises(DataError, match="would both become"):
        diptych(*words, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_links_that_loop_stop_no_other_image(run, pictures, tmp_path):
    (pictures / "loop.png").symlink_to("loop.png")
    with pytest.raises(ImageError, match=r"loop.png: there is no such file"):
        diptych("translate", run, pictures, "-o", tmp_path / "out")
    assert "a.png" in files(tmp_path / "out")
