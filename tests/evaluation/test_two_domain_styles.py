"""Protocol starganv2 for methods of two domains, and interpolation between the styles of two references."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from judged import fill, judge, shades, stand_in

from diptych.contract import Labels
from diptych.data.images import image_io
from diptych.data.open import open_data
from diptych.errors import ConfigError, EvaluationError
from diptych.evaluation.protocols import find_protocol
from diptych.evaluation.runner import evaluate_samples, sample_split
from diptych.evaluation.tools import Tools
from diptych.evaluators.classifier import Classifier
from diptych.inference.translator import Translator
from diptych.methods import find
from diptych.settings.recipe import load_recipe


@pytest.fixture(scope="module")
def domains(tmp_path_factory):
    root = tmp_path_factory.mktemp("domains")
    for split, count, start in (("train", 9, 0), ("val", 3, 50)):
        fill(root / f"{split}A", count, start, make=lambda seed: shades(seed, False))
        fill(root / f"{split}B", count, start + 100, make=lambda seed: shades(seed, True))
    return root


def built(name, **config):
    torch.manual_seed(0)
    cls = find(name)
    method = cls(cls.Config(**{**cls.checks.tiny, **config})).eval().requires_grad_(False)
    return Translator(method, name, method.inference_networks, {})


@pytest.mark.parametrize(
    ("name", "routes"),
    [
        ("munit", {"a-b-latent", "a-b-reference", "b-a-latent", "b-a-reference"}),
        ("drit", {"a-b-latent", "a-b-reference", "b-a-latent", "b-a-reference"}),
        ("msgan", {"source-target-latent"}),
    ],
)
def test_methods_of_two_domains_have_scores_of_each_mode(domains, tmp_path, name, routes):
    tiny = [f"{key}={value}" for key, value in find(name).checks.tiny.items() if key != "image_size"]
    recipe = load_recipe(name, [f"root={domains}", "crop_size=32", *tiny])
    data = open_data(recipe.data, recipe.cls.data, tuple(recipe.cls.batch))
    translator, protocol = built(name), find_protocol("starganv2")
    samples = sample_split(translator, recipe, data.held_out, data.train, protocol, tmp_path, {})
    assert set(samples.by_route()) == routes
    assert len(samples.rows) == 3 * 10 * len(routes)
    for route, part in samples.by_route().items():
        assert len(part.real_files()) == 9, "all training images of the target"
        controls = [row.controls for row in part.rows[:10]]
        varied = {str(each.get("reference", each.get("seed"))) for each in controls}
        assert len(varied) == (3 if "reference" in route else 10)
    evaluator = judge(Classifier, labels=(Labels(names=("A", "B")),), base_channels=4, n_downsample=2)
    result = evaluate_samples(samples, protocol, Tools(extractor=stand_in(), evaluator=evaluator), name)
    values = {score.name: score.value for score in result.scores}
    modes = {route.rpartition("-")[2] for route in routes}
    if name == "msgan":
        assert {"fid", "l1-diversity", "as-asked"} <= values.keys()
    for mode in modes if len(routes) > 1 else ():
        for metric in ("fid", "l1-diversity", "as-asked"):
            of_routes = [values[f"{route}/{metric}"] for route in routes if route.endswith(mode)]
            assert values[f"{mode}/{metric}"] == pytest.approx(np.mean(of_routes))


def test_a_method_without_latent_codes_has_one_translation_of_each_source(domains):
    recipe = load_recipe("cyclegan", [f"root={domains}", "crop_size=32"])
    data = open_data(recipe.data, recipe.cls.data, tuple(recipe.cls.batch))
    jobs = find_protocol("starganv2").jobs(built("cyclegan").method, data.held_out, data.train)
    assert [(job.name, job.choices(1)) for job in jobs] == [
        ("a-b-latent", [{"direction": "a2b"}]),
        ("b-a-latent", [{"direction": "b2a"}]),
    ]


def test_a_method_without_a_source_domain_is_refused():
    with pytest.raises(EvaluationError, match="this method has no source domain"):
        find_protocol("starganv2").jobs(built("srgan").method, SimpleNamespace(columns={"high": ()}), None)


@pytest.mark.parametrize("name", ["munit", "drit", "starganv2"])
def test_styles_of_two_references_are_interpolated(tmp_path, name):
    translator = built(name, **({"image_size": 32} if name == "starganv2" else {}))
    size = translator.method.image_size()
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file, light in zip(files, (False, True), strict=True):
        image_io.write(file, np.tile(shades(3, light), (2, 2, 1))[:size, :size])
    x = torch.rand(1, 3, size, size) * 2 - 1
    ends = [translator(x, reference=file) for file in files]
    between = {mix: translator(x, reference=files[0], toward_reference=files[1], mix=mix) for mix in (0.0, 0.5, 1.0)}
    assert torch.equal(between[0.0], ends[0])
    torch.testing.assert_close(between[1.0], ends[1], rtol=1e-4, atol=1e-5)
    assert not any(torch.equal(between[0.5], end) for end in ends)
    assert not torch.equal(*ends)
    to_seed = translator(x, reference=files[0], toward=4, mix=1.0)
    torch.testing.assert_close(to_seed, translator(x, seed=4), rtol=1e-4, atol=1e-5)
    for wrong in ({"mix": 0.5}, {"mix": 1.5, "toward": 1}):
        with pytest.raises(ConfigError, match="mix must be between 0 and 1, and needs toward=SEED or toward_ref"):
            translator(x, **wrong)
