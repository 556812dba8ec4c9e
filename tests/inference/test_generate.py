"""Methods that take no image: trained on heaps of images, sampled by people, judged by protocol."""

import numpy as np
import pytest
from commands import diptych, files
from judged import fill, trained
from PIL import Image

import diptych as package
from diptych.contract import DataKind
from diptych.data.config import DataConfig
from diptych.data.images import image_io
from diptych.data.open import open_data
from diptych.errors import ConfigError, DataError, EvaluationError
from diptych.evaluation.results import read_result
from diptych.runs.folder import Run

SMALL = ["latent_dim=4", "g_hidden=16", "d_hidden=4", "maxout_pieces=2", "batch_size=4", "steps=4"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gan") / "run"
    return trained(folder, "gan", "root=glyphs:sans/serif", *SMALL, "preview_every=2").folder


def test_images_out_of_noise_are_written_and_found_again(run, tmp_path):
    done = diptych("generate", run, "-o", tmp_path / "a", "-n", 70, "--seed", 5)
    assert "70 images in" in done.stdout
    assert [file.name for file in sorted((tmp_path / "a").iterdir())][:2] == ["000000.png", "000001.png"]
    translator = package.load(run, device="cpu")
    assert translator.name == "gan"
    (last,) = translator.sample(1, seed=5, first=69)
    assert isinstance(last, Image.Image)
    assert np.array_equal(image_io.from_pil(last), image_io.read(tmp_path / "a" / "000069.png"))
    assert not np.array_equal(np.asarray(last), np.asarray(translator.sample(1, seed=6, first=69)[0]))


def test_what_cannot_be_sampled_or_translated_is_told(run, tmp_path):
    pixels = tmp_path / "x.png"
    image_io.write(pixels, np.zeros((32, 32, 1), np.uint8))
    with pytest.raises(ConfigError, match="gan translates no images: use `diptych generate`"):
        diptych("translate", run, pixels, "-o", tmp_path / "out")
    with pytest.raises(ConfigError, match="gan has no control 'domain'"):
        diptych("generate", run, "-o", tmp_path / "out", "-c", "domain=a")
    refused = diptych("generate", run, "-o", tmp_path / "out", "--which", "first")
    assert refused.exit_code == 2
    assert all(word in refused.stderr for word in ("--which", "first", "last", "best"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept.txt").write_text("mine")
    with pytest.raises(DataError, match="full already exists"):
        diptych("generate", run, "-o", tmp_path / "full")
    pairs = trained(tmp_path / "pairs", "pix2pix", "root=glyphs", "steps=1")
    with pytest.raises(ConfigError, match="pix2pix does not generate images from noise: give it images"):
        diptych("generate", pairs.folder, "-o", tmp_path / "out")
    with pytest.raises(EvaluationError, match="methods that generate images from noise alone"):
        diptych("predict", pairs.folder, "-o", tmp_path / "out", "--protocol", "unconditional")
    assert not (tmp_path / "out").exists()


def test_samples_are_judged_as_a_set(run, tmp_path):
    judge = trained(
        tmp_path / "judge", "classifier", "root=glyphs:sans/serif", "steps=2", "base_channels=4", "batch_size=4"
    )
    done = diptych("evaluate", run, "--extractor", judge.folder)
    assert "unconditional/1 of run" in done.stdout
    result = read_result(run / "results" / "unconditional.json")
    assert {"fid", "kid"} <= {score.name for score in result.scores}
    assert set(result.images) == {"real"}
    made = [file for file in files(run / "samples" / "default") if "fake/" in str(file)]
    real = [file for file in files(run / "samples" / "default") if "real/" in str(file)]
    assert len(made) == len(real) > 100


def test_previews_show_what_came_out_of_noise(run):
    preview = Run.open(run).folder / "previews" / "0-00000004.png"
    with Image.open(preview) as sheet:
        assert sheet.size == (8 * 36 - 4, 8 * 36 - 4)


def test_a_heap_is_all_images_of_a_folder(tmp_path):
    def found(**settings):
        return open_data(DataConfig(root=str(tmp_path), crop_size=32, **settings), DataKind.IMAGES)

    with pytest.raises(DataError, match="no images to train on"):
        found()
    fill(tmp_path / "a", 30)
    fill(tmp_path / "b", 30, 30)
    data = found()
    assert len(data.train) + len(data.held_out) == 60
    assert len(data.held_out) >= 2
    assert "held out" in data.notes[0]
    for name, count in (("train/x", 5), ("train/y", 3), ("test", 2), ("val", 1)):
        fill(tmp_path / name, count, 100 * count)
    data = found()
    assert [len(split) for split in (data.train, data.held_out, data.test)] == [8, 1, 2]
    for layout in ("sides/{}{}", "turned/{1}/{0}"):
        for split, count in (("train", 4), ("val", 2)):
            for number, side in enumerate("AB"):
                fill(tmp_path / layout.format(split, side), count, 10 * number)
        root = str(tmp_path / layout.partition("/")[0])
        data = open_data(DataConfig(root=root, crop_size=32), DataKind.IMAGES)
        assert (len(data.train), len(data.held_out)) == (8, 4), "both sides, and what is for validation is held out"
    fill(tmp_path / "few", 1)
    few = open_data(DataConfig(root=str(tmp_path / "few"), crop_size=32), DataKind.IMAGES)
    assert len(few.train) == len(few.held_out) == 1
    assert "seen in training" in few.notes[0]
