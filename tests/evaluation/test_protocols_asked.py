"""Protocols of controlled methods: pairs of domains, sampled and reference styles, changed attributes."""

from itertools import combinations

import numpy as np
import pytest
import torch
from judged import fill, judge, shades, stand_in
from torch import nn
from torch.nn import functional as F

from diptych.contract import Labels
from diptych.data.images import image_io
from diptych.data.open import open_data
from diptych.data.sources import glyphs
from diptych.errors import EvaluationError
from diptych.evaluation.metrics.lpips import Lpips
from diptych.evaluation.metrics.on_controls import as_requested
from diptych.evaluation.protocols import find_protocol
from diptych.evaluation.runner import evaluate_samples, first_samples, sample_split
from diptych.evaluation.samples import open_samples
from diptych.evaluation.tools import Tools
from diptych.evaluators.classifier import Classifier
from diptych.inference.translator import Translator
from diptych.methods.label_controls import flipped, split_names
from diptych.methods.stargan import StarGAN
from diptych.methods.starganv2 import StarGANv2
from diptych.settings.recipe import load_recipe

FACES = ("sans", "serif", "mono")
SMALL = {
    "stargan": ["ngf=4", "ndf=4", "n_blocks=1", "d_layers=3"],
    "starganv2": ["ngf=4", "max_channels=8", "style_dim=4", "latent_dim=4", "mapping_dim=8"],
}


def opened(method, *settings, small=()):
    """A recipe, its data, and a translator that has not learned."""
    chosen = load_recipe(method, [*(small or SMALL[method]), "batch_size=4", *settings])
    data = open_data(chosen.data, chosen.cls.data, tuple(chosen.cls.batch))
    fitted = chosen.with_data_defaults(data)
    torch.manual_seed(0)
    made = fitted.cls(fitted.model).eval().requires_grad_(False)
    return fitted, data, Translator(made, method, made.inference_networks, {})


def sampled(folder, protocol, fitted, data, translator, split=None):
    return sample_split(translator, fitted, split or data.held_out, data.train, find_protocol(protocol), folder, {})


@pytest.fixture(scope="module")
def animals(tmp_path_factory):
    root = tmp_path_factory.mktemp("animals")
    for number, (name, light) in enumerate((("cat", False), ("dog", True), ("wild", True))):
        for split, count in (("train", 9), ("val", 3)):
            make = lambda seed, light=light: np.tile(shades(seed, light), (2, 2, 1))  # noqa: E731
            fill(root / split / name, count, 100 * number + (50 if split == "val" else 0), make=make)
    return root


def test_the_starganv2_protocol_is_its_plain_transcription(animals, tmp_path):
    """Each source anew for each style, LPIPS pair by pair, statistics of real images anew for each pair of domains."""
    fitted, data, translator = opened("starganv2", f"root={animals}", "crop_size=64")
    translator.method.G.head[-1].weight.mul_(8)  # outputs outside [-1, 1]
    protocol, tools = find_protocol("starganv2"), Tools(extractor=stand_in(), lpips=small_lpips())
    samples = sampled(tmp_path / "s", "starganv2", fitted, data, translator)
    found = {score.name: score for score in evaluate_samples(samples, protocol, tools, "x").scores}
    assert len(samples.rows) == 6 * 2 * 3 * 10
    assert len({row.fake for row in samples.rows}) == len(samples.rows)

    names, method = ("cat", "dog", "wild"), translator.method
    unit = {
        (split, name): torch.stack([eight_bits(image_io.read(f)) for f in sorted((animals / split / name).iterdir())])
        for split in ("train", "val")
        for name in names
    }
    for mode in ("latent", "reference"):
        fids, lpips, apart, angles = [], [], [], []
        for source in names:
            for target in (name for name in names if name != source):
                made = []
                method.clamp_outputs = False
                for number, x in enumerate(unit["val", source]):
                    for copy in range(10):
                        order = np.random.RandomState(copy).permutation(3)
                        way = {"seed": 10 * number + copy}
                        if mode == "reference":
                            way = {"reference": unit["val", target][[order[number % 3]]]}
                        made.append(method.translate(x[None], domain=target, **way)[0])
                made = torch.stack(made).half().float()
                assert made.abs().max() > 1
                for number in range(3):
                    ten = made[10 * number : 10 * number + 10]
                    pairs = [tools.lpips.pair(a[None], b[None]).item() for a, b in combinations(ten, 2)]
                    lpips.append(np.mean(pairs))
                    features = stand_in().run(((rounded(ten) + 1) * 127.5).round().to(torch.uint8)).double()
                    cosines = [1 - F.cosine_similarity(a, b, 0).item() for a, b in combinations(features, 2)]
                    angles.append(np.mean(cosines))
                    apart.append(np.mean([float((a - b).abs().mean()) for a, b in combinations(ten, 2)]))
                fids.append(plain_fid(unit["train", target], rounded(made)))
        assert found[f"{mode}/lpips-diversity"].value == pytest.approx(np.mean(lpips), rel=1e-4)
        assert found[f"{mode}/l1-diversity"].value == pytest.approx(np.mean(apart), rel=1e-4)
        assert found[f"{mode}/feature-diversity"].value == pytest.approx(np.mean(angles), rel=1e-2)
        assert found[f"{mode}/fid"].value == pytest.approx(np.mean(fids), rel=1e-6)
        assert found[f"{mode}/fid"].low <= found[f"{mode}/fid"].value <= found[f"{mode}/fid"].high


def small_lpips():
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 8, 3, 2), nn.ReLU())
    return Lpips(features.requires_grad_(False), (torch.rand(4), torch.rand(8)), (1, 3))


def eight_bits(pixels):
    return torch.from_numpy(image_io.to_unit(np.ascontiguousarray(pixels.transpose(2, 0, 1))))


def rounded(x):
    return (((x + 1) * 127.5).round().clamp(0, 255)) / 127.5 - 1


def plain_fid(real, fake):
    features = [stand_in().run(((each + 1) * 127.5).round().to(torch.uint8)).double().numpy() for each in (real, fake)]
    (a, b), (s, t) = [each.mean(0) for each in features], [np.cov(each, rowvar=False) for each in features]
    return float(((a - b) ** 2).sum() + np.trace(s + t) - 2 * np.sqrt(np.linalg.eigvals(s @ t).real.clip(0)).sum())


def test_references_are_files_of_the_sample_folder(animals, tmp_path):
    fitted, data, translator = opened("starganv2", f"root={animals}", "crop_size=64")
    sampled(tmp_path / "s", "starganv2", fitted, data, translator)
    samples = open_samples(tmp_path / "s")
    shown = [row for row in samples.rows if row.route == "cat-dog-reference"]
    assert {row.controls["domain"] for row in shown} == {"dog"}
    assert all((tmp_path / "s" / row.controls["reference"]).is_file() for row in shown)
    assert len({row.controls["reference"] for row in shown}) == 3
    assert len(list((tmp_path / "s" / "reference" / "cat-dog-reference").iterdir())) == 3
    assert len(samples.reals["cat-dog-latent"]) == 9
    assert samples.reals["cat-dog-latent"] == samples.reals["wild-dog-reference"], "written once"


def test_with_a_judge_drawn_and_shown_styles_are_seen_as_the_domain_or_not(animals, tmp_path):
    fitted, data, translator = opened("starganv2", f"root={animals}", "crop_size=64")
    level = {"cat": 0, "dog": 1, "wild": 2}

    def shown(x, domain="", seed=0, reference=None, content=None):
        return torch.full_like(x, level[domain if reference is None else "cat"] / 127.5 - 1)

    translator.method.translate_each = lambda x, choices: [shown(x, **each) for each in choices]
    samples = sampled(tmp_path / "s", "starganv2", fitted, data, translator)
    knows = judge(Knows, labels=fitted.model.labels, base_channels=2, n_downsample=1)
    result = evaluate_samples(samples, find_protocol("starganv2"), Tools(evaluator=knows), "x")
    assert result.score("latent/as-asked").value == 1
    assert result.score("reference/as-asked").value == pytest.approx(1 / 3), "all became cats"
    assert result.score("latent/l1-diversity").value == 0


@pytest.fixture(scope="module")
def evaluated_images():
    """Hashes of the images of the results so far."""
    return set()


@pytest.mark.parametrize("preset", ["a", "b", "c", "d", "e", "f"])
def test_all_rows_of_table_1_are_evaluated_and_those_with_latent_codes_have_a_diversity(
    animals, tmp_path, preset, evaluated_images
):
    fitted, data, translator = opened(
        "starganv2", f"root={animals}", "crop_size=32", f"preset={preset}", small=["ngf=4", "max_channels=8"]
    )
    samples = sampled(tmp_path / "s", "starganv2", fitted, data, translator)
    tools = Tools(
        extractor=stand_in(), evaluator=judge(Knows, labels=fitted.model.labels, base_channels=2, n_downsample=1)
    )
    result = evaluate_samples(samples, find_protocol("starganv2"), tools, "x")
    modes = {
        score.name for score in result.scores if score.name.count("/") == 1 and "-" not in score.name.split("/")[0]
    }
    evaluated_images.add(tuple(result.images.values()))
    assert len(evaluated_images) == 1, "all rows can be compared"
    if preset in "abc":
        assert modes == {"latent/as-asked"}, "3 images are too few for an FID"
        assert len(samples.rows) == 6 * 3
        assert "no diversity: a source has one translation, as the method has no latent codes" in result.said
    else:
        metrics = ("fid", "l1-diversity", "feature-diversity", "as-asked")
        assert modes == {f"{mode}/{metric}" for mode in ("latent", "reference") for metric in metrics}
        assert len(samples.rows) == 2 * 6 * 3 * 10


def test_outputs_that_cannot_be_read_are_named(animals, tmp_path):
    fitted, data, translator = opened("starganv2", f"root={animals}", "crop_size=32")
    samples = sampled(tmp_path / "s", "starganv2", fitted, data, translator)
    (tmp_path / "s" / samples.rows[0].floats).write_bytes(b"damaged")
    with pytest.raises(EvaluationError, match="the outputs in floats/ cannot be read"):
        evaluate_samples(samples, find_protocol("starganv2"), Tools(), "x")
    assert translator.method.clamp_outputs


def test_every_pair_of_domains_is_held_against_the_truth_where_it_is_known(tmp_path):
    fitted, data, translator = opened("stargan", f"root=glyphs:{'/'.join(FACES)}", "crop_size=32")
    few = first_samples(data.held_out, 20)
    samples = sampled(tmp_path / "s", "domains", fitted, data, translator, few)
    assert {row.route for row in samples.rows} == {f"{a}-{b}" for a in FACES for b in FACES if a != b}
    letters = glyphs.split_indices()["val"]
    for row in samples.rows[:20:5]:
        source, target = row.route.split("-")
        at = int(row.of.removeprefix("image "))
        assert np.array_equal(
            image_io.read(tmp_path / "s" / row.source), glyphs.render_letters(source, 32)[letters[at]]
        )
        assert np.array_equal(image_io.read(tmp_path / "s" / row.truth), glyphs.render_letters(target, 32)[letters[at]])
    result = evaluate_samples(samples, find_protocol("domains"), Tools(), "x")
    ways = [score.value for score in result.scores if score.name.endswith("/l1") and not score.name.startswith("mean")]
    assert result.score("mean/l1").value == pytest.approx(np.mean(ways))
    assert result.score("mean/l1").low < np.mean(ways) < result.score("mean/l1").high


class Knows(Classifier):
    """A judge that sees the truth: the first pixel is the class, or one pixel for each attribute."""

    def logits(self, x):
        count = len(self.config.labels[0])
        if self.config.labels[0].kind == "class":
            level = ((x[:, 0, 0, 0] + 1) * 127.5).round().long()
            return torch.nn.functional.one_hot(level.clamp(max=count - 1), count).float()
        return x[:, 0, 0, :count]


def test_a_judge_says_whether_translations_are_of_the_domain_asked_for(animals, tmp_path):
    knows = judge(Knows, labels=(Labels(names=("cat", "dog", "wild")),), base_channels=2, n_downsample=1)
    for name, value in {"cat": (0, 0), "dog": (1, 2)}.items():
        for at, level in enumerate(value):
            picture = np.full((64, 64, 3), 9, np.uint8)
            picture[0, 0] = level
            for split in ("train", "val"):
                image_io.write(tmp_path / "data" / split / name / f"{at}.png", picture)
    fitted, data, translator = opened("starganv2", f"root={tmp_path / 'data'}", "crop_size=64")
    translator.method.decode = lambda content, style: data_of(0)  # always what the judge calls cat
    samples = sampled(tmp_path / "s", "domains", fitted, data, translator)
    result = evaluate_samples(samples, find_protocol("domains"), Tools(evaluator=knows), "x")
    assert result.score("dog-cat/as-asked").value == 1
    assert result.score("cat-dog/as-asked").value == 0
    assert (result.score("dog-cat/as-asked").ceiling, result.score("cat-dog/as-asked").ceiling) == (1, 0.5)
    assert result.score("mean/as-asked").value == 0.5
    error = evaluate_samples(
        sampled(tmp_path / "e", "stargan-expressions", fitted, data, translator),
        find_protocol("stargan-expressions"),
        Tools(evaluator=knows),
        "x",
    ).score("expression-error")
    assert (error.value, error.ceiling, error.count) == (0.5, 0.25, 8)
    other = judge(Knows, labels=(Labels(names=("horse", "zebra")),), base_channels=2, n_downsample=1)
    with pytest.raises(EvaluationError, match="the evaluator knows horse, zebra, and not"):
        list(as_requested(next(iter(samples.by_route().values())), Tools(evaluator=other), ("as-asked",)))


def data_of(level, count=2):
    picture = torch.full((count, 3, 64, 64), 9 / 127.5 - 1)
    picture[:, :, 0, 0] = level / 127.5 - 1
    return picture


def test_attributes_are_changed_one_by_one_and_of_a_group_only_what_is_not_there(tmp_path):
    setting = ["root=glyphs", "crop_size=32", "attributes=[sans,serif,bold]", "exclusive=[[sans,serif]]"]
    fitted, data, translator = opened("stargan", *setting)
    few = first_samples(data.held_out, 12)
    samples = sampled(tmp_path / "s", "domains", fitted, data, translator, few)
    ways = samples.by_route()
    assert set(ways) == {"flip-sans", "flip-serif", "flip-bold"}
    assert not [row for row in ways["flip-sans"].rows if "sans" in row.controls["has"].split(",")]
    assert len(ways["flip-bold"].rows) == len(few)
    assert isinstance(translator.method, StarGAN)


@pytest.mark.parametrize(("obeys", "share"), [(True, 1), (False, 0)])
def test_a_judge_says_whether_attributes_were_changed(tmp_path, obeys, share):
    """Of translations that show in their first pixels which attributes they have."""
    setting = ["root=glyphs", "crop_size=32", "attributes=[sans,serif,bold]", "exclusive=[[sans,serif]]"]
    fitted, data, translator = opened("stargan", *setting)
    few = first_samples(data.held_out, 12)
    names = fitted.model.labels[0].names

    def shown(x, has="", flip=""):
        wants = flipped(fitted.model.labels[0], split_names(has), split_names(flip) if obeys else [])
        made = torch.full_like(x, -1)
        for at, name in enumerate(names):
            made[:, 0, 0, at] = 1 if name in wants else -1
        return made

    translator.method.translate = shown
    samples = sampled(tmp_path / "s", "domains", fitted, data, translator, few)
    knows = judge(Knows, labels=fitted.model.labels, in_channels=1, base_channels=2, n_downsample=1)
    result = evaluate_samples(samples, find_protocol("domains"), Tools(evaluator=knows), "x")
    assert result.score("flip-bold/as-asked").value == share
    assert result.score("mean/as-asked").value == share
    had = [set(row.controls["has"].split(",")) for row in samples.by_route()["flip-bold"].rows]
    kept = np.mean([len(each & {"sans", "serif"}) / 2 for each in had])  # in letters, with white corners, it sees all
    assert result.score("flip-bold/others-kept").value == pytest.approx(kept)


def test_a_judge_of_another_kind_is_refused(tmp_path):
    fitted, data, translator = opened("stargan", "root=glyphs", "crop_size=32", "attributes=[sans,serif,bold]")
    few = first_samples(data.held_out, 12)
    samples = sampled(tmp_path / "s", "domains", fitted, data, translator, few)
    classes = judge(
        Knows, labels=(Labels(names=("sans", "serif", "bold")),), in_channels=1, base_channels=2, n_downsample=1
    )
    with pytest.raises(
        EvaluationError, match="the evaluator classifies classes, and the translations are to attributes"
    ):
        evaluate_samples(samples, find_protocol("domains"), Tools(evaluator=classes), "x")


def test_what_many_styles_share_is_done_once(animals):
    _, _, translator = opened("starganv2", f"root={animals}", "crop_size=64")
    method = translator.method
    assert isinstance(method, StarGANv2)
    x, calls, encode = torch.rand(2, 3, 64, 64) * 2 - 1, [], method.encode
    method.encode = lambda given: calls.append(1) or encode(given)
    choices = [{"domain": "dog", "seed": seed} for seed in range(5)] + [{"domain": "cat", "reference": x[:1]}]
    made = translator.tensors(x, choices)
    assert len(calls) == 1
    for each, choice in zip(made, choices, strict=True):
        assert torch.allclose(each, method.translate(x, **choice), atol=1e-6)
