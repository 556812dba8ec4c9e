"""msgan-diversity: ten answers to each source, how far they are apart, and what else is said of them."""

import numpy as np
import pytest
from judged import offline, stand_in, trained  # noqa: F401

from diptych.data.images import image_io
from diptych.errors import EvaluationError
from diptych.evaluation.metrics import distribution
from diptych.evaluation.metrics.image_sets import image_set
from diptych.evaluation.protocols import find_protocol
from diptych.evaluation.protocols.msgan_diversity import COPIES
from diptych.evaluation.runner import SampleRequest, evaluate_samples, samples_of
from diptych.evaluation.samples import open_samples
from diptych.evaluation.tools import Tools

SMALL = ["root=glyphs", "crop_size=32", "ngf=4", "ndf=4", "batch_size=2", "steps=1"]
ASKED = SampleRequest("msgan-diversity", count=4)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    run = trained(tmp_path_factory.mktemp("run") / "letters", "msgan", *SMALL, "receptive_field=16", "latent_dim=3")
    samples = samples_of(run, ASKED)
    return samples, evaluate_samples(samples, find_protocol("msgan-diversity"), Tools(), "letters")


def test_each_source_has_ten_answers_of_seeds_of_its_own(judged):
    samples, _ = judged
    assert len(samples.rows) == 4 * COPIES
    assert [row.controls["seed"] for row in samples.rows] == list(range(4 * COPIES))
    assert len({row.source for row in samples.rows}) == len({row.truth for row in samples.rows}) == 4
    assert len(samples.real_files()) == 4, "a truth counts once"
    assert open_samples(samples.folder) == samples


def test_the_spread_is_the_mean_over_all_pairs(judged):
    samples, result = judged
    pictures = np.stack([image_io.read(file) for file in samples.files("fake")]).astype(float) / 127.5
    answers = pictures.reshape(4, COPIES, -1)
    apart = [
        np.mean([np.abs(one - other).mean() for at, one in enumerate(each) for other in each[at + 1 :]])
        for each in answers
    ]
    score = result.score("l1-diversity")
    assert score.value == pytest.approx(np.mean(apart), rel=1e-5)
    assert score.each == pytest.approx(apart, rel=1e-5)
    assert result.score("l1").count == 4 * COPIES
    assert "10 translations of each of 4 sources, all pairs compared" in result.said


def test_bins_are_of_the_extractor_s_features_and_few_pictures_are_told(judged, monkeypatch):
    samples, _ = judged
    found = evaluate_samples(samples, find_protocol("msgan-diversity"), Tools(extractor=stand_in()), "letters")
    assert "no NDB and JSD: 4 real images are too few for 20 bins; at least 40 are needed" in found.said
    monkeypatch.setattr("diptych.evaluation.protocols.msgan_diversity.BINS", 2)
    tools = Tools(extractor=stand_in())
    found = {
        score.name: score for score in evaluate_samples(samples, find_protocol("msgan-diversity"), tools, "l").scores
    }
    real, fake = (tools.features(image_set(files)) for files in (samples.real_files(), samples.files("fake")))
    assert found["ndb"].value == distribution.ndb(real, fake, 2).value
    assert found["jsd"].value == distribution.jsd(real, fake, 2).value


def test_both_ways_of_a_method_that_has_two(tmp_path):
    settings = ["mlp_dim=8", "n_blocks=1", "d_layers=2", "num_scales=2"]
    run = trained(tmp_path / "letters", "munit", *SMALL, *settings)
    samples = samples_of(run, ASKED)
    assert {(row.route, row.controls["direction"]) for row in samples.rows} == {("a-b", "a2b"), ("b-a", "b2a")}
    assert len(samples.rows) == 2 * 4 * COPIES


def test_a_method_of_one_answer_is_refused(tmp_path):
    run = trained(
        tmp_path / "letters", "cut", *SMALL, "n_blocks=5", "receptive_field=16", "num_patches=16", "nce_dim=8"
    )
    with pytest.raises(EvaluationError, match="methods with a latent code: this one has no control `seed`"):
        samples_of(run, ASKED)
