"""Super-resolution as people use it: trained on a heap of images, enlarging pictures, judged on whole ones."""

import numpy as np
import pytest
from commands import diptych
from judged import noise, offline, trained  # noqa: F401

import diptych as package
from diptych.contract import DataKind
from diptych.data.config import DataConfig
from diptych.data.dataset import files_of
from diptych.data.images import image_io
from diptych.data.images.transforms import CropToMultiple
from diptych.data.open import open_data
from diptych.errors import DataError, EvaluationError
from diptych.evaluation.metrics import paired
from diptych.evaluation.metrics.image_sets import image_set as files_read
from diptych.evaluation.results import read_result
from diptych.runs.events import read_events

SMALL = ["feature_network=none", "ngf=4", "n_blocks=1", "ndf=2", "scale=2", "batch_size=2", "d_head=pooled"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    settings = [*SMALL, "pretrain_steps=2", "steps=2", "eval_every=2", "root=glyphs:sans"]
    return trained(tmp_path_factory.mktemp("srgan") / "run", "srgan", *settings).folder


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Pictures of odd and of different sizes, one of them grey."""
    root = tmp_path_factory.mktemp("odd")
    for number, shape in enumerate([(41, 57, 3), (64, 48, 3), (39, 40, 1), (50, 50, 3)]):
        image_io.write(root / f"{number}.png", noise(number, shape))
    return root


def test_pictures_of_any_size_become_larger(run, odd, tmp_path):
    diptych("translate", run, odd / "0.png", "-o", tmp_path / "out")
    assert image_io.read(tmp_path / "out" / "0.png").shape == (82, 114, 1)
    translator = package.load(run, device="cpu")
    assert translator(np.zeros((5, 7, 1), np.uint8)).shape == (10, 14, 1)
    assert translator(np.zeros((33, 20, 1), np.uint16)).dtype == np.uint16


def test_previews_and_judgements_while_training(run):
    events = list(read_events(run / "events.jsonl"))
    previews = [event for event in events if event["event"] == "preview"]
    assert all(set(event["error"]) == {"low->image"} for event in previews)
    sheet = image_io.read(run / "previews" / previews[-1]["file"])
    assert sheet.shape[1] == 3 * 32 + 2 * 4, "low resolution, made, truth: each of one width"
    judged = [event for event in events if event["event"] == "evaluation"]
    assert [event["stage"] for event in judged] == ["mse", "mse", "gan"]
    assert set(judged[0]["scores"]) == {"psnr-y", "ssim-y"}
    assert judged[0]["chosen"] == "psnr-y"


def test_a_folder_without_splits_is_judged_whole_and_beside_bicubic(run, odd, tmp_path):
    diptych("predict", run, "-o", tmp_path / "s", "--data", odd)
    diptych("evaluate", tmp_path / "s", "--extractor", "none", "-o", tmp_path / "r.json")
    shapes = [image_io.read(file).shape for file in sorted((tmp_path / "s" / "truth").rglob("*.png"))]
    assert shapes == [(40, 56, 1), (64, 48, 1), (38, 40, 1), (50, 50, 1)]
    found = read_result(tmp_path / "r.json")
    assert found.protocol == "srgan-y/2"
    assert found.about["split"] == "all"
    assert found.tools["border"] == "2 pixels"
    assert [score.count for score in found.scores] == [4, 4]
    values = []
    for truth in sorted((tmp_path / "s" / "truth").rglob("*.png")):
        high = image_io.read(truth)
        low = image_io.read(str(truth).replace("/truth/", "/source/"))
        image_io.write(tmp_path / "b.png", image_io.resize(low, *high.shape[:2]))
        pair = [files_read([file]).all() for file in (tmp_path / "b.png", truth)]
        values += paired.psnr_y(*pair, 2).tolist()
    assert found.scores[0].chance == pytest.approx(np.mean(values))


def test_splits_are_asked_for_by_name(run, odd, tmp_path):
    diptych("predict", run, "-o", tmp_path / "s", "--data", odd, "--count", "2")
    assert len(list((tmp_path / "s" / "fake").rglob("*.png"))) == 2
    with pytest.raises(EvaluationError, match="--split all is for a folder without splits"):
        diptych("predict", run, "-o", tmp_path / "t", "--split", "all")
    diptych("predict", run, "-o", tmp_path / "own")
    assert len(list((tmp_path / "own" / "fake").rglob("*.png"))) > 2, "its own images are still divided"


def test_everything_of_a_set_that_names_divide_is_each_file_once(tmp_path):
    for number in range(60):
        image_io.write(tmp_path / f"{number}.png", np.zeros((16, 16, 1), np.uint8))
    data = open_data(DataConfig(root=str(tmp_path), crop_size=16), DataKind.IMAGES)
    assert data.by_name
    assert 0 < len(data.held_out) < 60
    assert sorted(files_of(data.all_images)) == sorted(tmp_path.iterdir())


def test_a_model_folder_is_judged_on_images_that_are_named(run, odd, tmp_path):
    model = run / "model"
    with pytest.raises(EvaluationError, match="a model folder does not name a data set; give one with --data FOLDER"):
        diptych("predict", model, "-o", tmp_path / "s")
    for what in (run, model):
        diptych("predict", what, "-o", tmp_path / what.name, "--data", odd)
    one, other = (sorted((tmp_path / what.name / "fake").rglob("*.png")) for what in (run, model))
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in other]


def test_images_that_no_crop_fits_into_are_found_before_the_first_step(tmp_path):
    for number in range(3):
        image_io.write(tmp_path / "heap" / f"{number}.png", noise(number, (40, 40 - 20 * (number == 1), 3)))
    words = [
        "train",
        "srgan",
        *SMALL,
        "steps=1",
        "pretrain_steps=1",
        "crop_size=32",
        "resize_mode=none",
        "workers=0",
        "device=cpu",
    ]
    words += [f"root={tmp_path / 'heap'}", "-o", tmp_path / "run"]
    with pytest.raises(
        DataError, match=r"1 of 3 images are smaller than crop_size=32.*1.png: 20x40. Use a smaller crop"
    ):
        diptych(*words)
    with pytest.raises(DataError, match="1 of 3 images are smaller"):
        diptych(*words, "on_bad_image=skip")  # more than 1 %
    for number in range(3, 103):
        image_io.write(tmp_path / "heap" / f"{number}.png", np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(DataError, match="1 of 103"):
        diptych(*words)
    done = diptych(*words, "on_bad_image=skip")
    assert (
        "1 of 103 images are smaller than crop_size=32, and resize_mode=none does not enlarge them: left out: "
        in done.stdout
    )
    assert not (tmp_path / "run" / "skipped").exists()


def test_whole_pictures_lose_what_the_scale_leaves():
    array = np.arange(7 * 9).reshape(7, 9, 1)
    assert CropToMultiple(4).without_randomness(array).shape == (4, 8, 1)
    assert CropToMultiple().without_randomness(array) is not None
    assert np.array_equal(CropToMultiple(4).without_randomness(array), array[:4, :8])
    with pytest.raises(DataError, match="9x7 pixels is smaller than 8"):
        CropToMultiple(8).without_randomness(array)
