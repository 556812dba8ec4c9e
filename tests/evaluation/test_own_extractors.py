"""Features of scripts and of judges."""

import hashlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from coarse import pictures
from torch import nn

from diptych.contract import Evaluator
from diptych.data.images import image_io
from diptych.errors import CheckpointError, EvaluationError
from diptych.evaluation.metrics import extractors
from diptych.evaluation.metrics.extractors import load_extractor
from diptych.evaluators.classifier import Classifier
from diptych.evaluators.segmenter import Segmenter
from diptych.inference.load import build_translator, load
from diptych.methods.pix2pix import Pix2Pix

# Scripts


class Means(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.double().mean((2, 3))


class Roots(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (100 - x.float().mean((2, 3))).sqrt()


class Maps(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.float()


class Growing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.float().mean(1).flatten(1)


class Large(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[2] == 299, "only large ones"
        return x.float().mean((2, 3))


@pytest.fixture
def script(tmp_path):
    def script(module):
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.script(module).save(str(tmp_path / "net.pt"))
        return f"script:{tmp_path / 'net.pt'}"

    return script


def test_a_script_gives_its_features_for_many_images(script, tmp_path):
    found = load_extractor(script(Means()))
    x = pictures(2 * extractors.BATCH_SIZE + 3, 16, 20)
    assert (found.name, found.size) == ("script:net.pt", 3)
    assert found.digest == hashlib.sha256((tmp_path / "net.pt").read_bytes()).hexdigest()
    torch.testing.assert_close(found.run(x), x.float().mean((2, 3)))


def test_a_script_may_see_images_one_by_one_or_together(script, monkeypatch):
    found, x = load_extractor(script(Means())), pictures(5, 16, 16)
    together = found.run(x)
    monkeypatch.setattr(extractors, "BATCH_SIZE", 2)
    assert torch.equal(found.run(x), together)


def test_features_that_are_not_finite_name_the_extractor_and_the_image(script):
    x = torch.zeros(40, 3, 8, 8, dtype=torch.uint8)
    x[36] = 200
    with pytest.raises(EvaluationError, match=r"script:net\.pt: the features of image 36 are not finite"):
        load_extractor(script(Roots())).run(x)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Maps(), r"script:net\.pt: expected features \(1, D\) for 1 images, got \(1, 3, 299, 299\)"),
        (Growing(), r"script:net\.pt: expected features \(2, 89401\) for 2 images, got \(2, 256\)"),
        (Large(), r"script:net\.pt: fails on images of 16x16 pixels \(RuntimeError: AssertionError: only large ones"),
    ],
    ids=["maps", "growing", "fails"],
)
def test_a_script_that_gives_no_features_is_refused(module, message, script):
    with pytest.raises(EvaluationError, match=message):
        load_extractor(script(module)).run(pictures(2, 16, 16))


def test_a_file_that_is_no_script_is_refused(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "net.pt")
    with pytest.raises(EvaluationError, match=r"net\.pt: not a TorchScript module"):
        load_extractor(f"script:{tmp_path / 'net.pt'}")


# Judges


@pytest.fixture
def judge(tmp_path):
    """The folder of an untrained judge, by its class and settings."""

    def judge(cls=Classifier, folder="judge", seed=0, **over):
        torch.manual_seed(seed)
        config = cls.Config(**{**cls.checks.tiny, **over})
        name = cls.__name__.lower()
        state = {
            key: value
            for key, value in cls(config).state_dict().items()
            if key.partition(".")[0] in cls.inference_networks
        }
        translator = build_translator(
            cls, name, config.model_dump(), state, cls.inference_networks, {"folder": folder}, "test"
        )
        return str(translator.save(tmp_path / folder))

    return judge


def lent(folder):
    """The judge itself, as `diptych.load` gives it."""
    method = load(folder, device="cpu").method
    assert isinstance(method, Evaluator)
    return method


def test_a_judge_lends_its_features(judge):
    folder, x = judge(), pictures(3, 32, 48)
    found = load_extractor(folder)
    expected = lent(folder).features(x / 127.5 - 1)
    assert (found.name, found.size) == ("evaluator:classifier", expected.shape[1])
    torch.testing.assert_close(found.run(x), expected)


def test_a_grey_judge_sees_luminance_as_it_did_in_training(judge):
    folder, x = judge(in_channels=1), pictures(2, 32, 32)
    grey = np.stack([image_io.with_channels(each.permute(1, 2, 0).numpy(), 1, "x") for each in x])
    expected = lent(folder).features(torch.from_numpy(grey).permute(0, 3, 1, 2) / 127.5 - 1)
    torch.testing.assert_close(load_extractor(folder).run(x), expected)


def test_pictures_are_padded_by_reflection_to_what_a_judge_needs(judge):
    folder = judge(Segmenter, n_downsample=5, out_channels=1)
    x = pictures(2, 40, 64)
    padded = F.pad(x / 127.5 - 1, (0, 0, 12, 12), mode="reflect")
    found = load_extractor(folder)
    assert found.name == "evaluator:segmenter"
    torch.testing.assert_close(found.run(x), lent(folder).features(padded))


def test_a_judge_is_known_by_its_weights_alone(judge):
    one, copy, other = judge(), judge(folder="copy"), judge(folder="other", seed=1)
    assert load_extractor(one).digest == load_extractor(copy).digest != load_extractor(other).digest


def test_what_is_no_judge_or_sees_no_pictures_is_refused(judge, tmp_path):
    with pytest.raises(EvaluationError, match="pix2pix is not an evaluator"):
        load_extractor(judge(Pix2Pix))
    with pytest.raises(EvaluationError, match="this evaluator takes 5 channels"):
        load_extractor(judge(folder="deep", in_channels=5))
    (tmp_path / "deep" / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="deep"):
        load_extractor(str(tmp_path / "deep"))


def test_published_weights_are_not_given_to_what_has_its_own(judge, tmp_path):
    with pytest.raises(EvaluationError, match="takes no weights file"):
        load_extractor(judge(), tmp_path / "weights.pth")


@pytest.mark.parametrize(
    "x",
    [torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.zeros(0, 3, 8, 8, dtype=torch.uint8)],
    ids=["float", "grey", "none"],
)
def test_what_is_no_picture_is_refused(x, judge):
    with pytest.raises(EvaluationError, match=r"evaluator:classifier: expected uint8 \(N, 3, H, W\), got"):
        load_extractor(judge()).run(x)
