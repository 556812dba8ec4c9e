"""StarGAN v2 of the published code: importer, engine and `Method.updates` give its outputs, losses and next weights."""

import fnmatch

import goldens
import pytest
import torch
import torch.nn.functional as F
from goldens import Golden, Trained

from diptych.importers import starganv2
from diptych.methods.starganv2 import StarGANv2
from diptych.training.engine import Engine

PARTS = ("generator", "mapping_network", "style_encoder", "discriminator")
TERMS = {"real": "real", "fake": "fake", "r1": "r1", "adv": "gan", "sty": "style", "ds": "diversity", "cyc": "cycle"}
LAMBDAS = {"r1": "lambda_r1", "style": "lambda_sty", "diversity": "lambda_ds", "cycle": "lambda_cyc"}
PIXELS = 1e-4


def paths(*patterns):
    return [path for path in goldens.files("starganv2_") if any(fnmatch.fnmatch(path.stem, p) for p in patterns)]


def recognised(golden, where, without=()):
    """The file as it would be published, with what it says of itself held against what its keys gave away."""
    state = {
        f"{part}.{key}": value
        for part in PARTS
        if f"keys_{part}" in golden.notes
        for key, value in golden.state(part).items()
    }
    if "generator.hpf.filter" in state:  # as the notes say, it is not filled
        kernel = -torch.ones(3, 3)
        kernel[1, 1] = 8
        state["generator.hpf.filter"] = kernel / golden.notes["config"]["w_hpf"]
    state = {key: value for key, value in state.items() if key not in without}
    (config, weights), said = starganv2.recognise(state, where), golden.notes["config"]
    assert len(config["labels"][0]["names"]) == said.get("num_domains", len(config["labels"][0]["names"]))
    for ours, theirs in (("image_size", "img_size"), ("max_channels", "max_conv_dim"), ("w_hpf", "w_hpf")):
        assert config[ours] == said.get(theirs, config[ours]), ours
    return config, weights


def method_of(recognised, **over):
    config, weights = recognised
    torch.manual_seed(0)
    method = StarGANv2(StarGANv2.Config(**config, **over))
    missing, unknown = method.load_state_dict(weights, strict=False)
    assert not unknown
    assert {key.partition(".")[0] for key in missing}.isdisjoint({key.partition(".")[0] for key in weights})
    return method


def image(golden, name, method):
    shape = (len(golden.tensors["y_trg"]), method.config.channels, method.config.image_size, method.config.image_size)
    return goldens.filler().image(name, shape, golden.notes["salt"])


def pooled(x):
    return F.avg_pool2d(x, 4)


def off(ours, theirs):
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max())


@pytest.mark.parametrize("path", paths("*_nets*"), ids=lambda path: path.stem)
def test_networks(path):
    golden = goldens.load(path)
    method, t = method_of(recognised(golden, path.name)), golden.tensors
    x = image(golden, "x", method)
    with torch.no_grad():
        drawn, shown = method.F(t["z"], t["y_trg"]), method.E(image(golden, "ref", method), t["y_trg"])
        assert off(drawn, t["style_latent"]) < PIXELS
        assert off(shown, t["style_reference"]) < PIXELS
        assert off(method.realness(method.D(x), t["y_org"])[:, 0], t["d_org"]) < PIXELS
        content = method.G.encode(x)
        assert off(pooled(method.G.decode(content, drawn)), t["fake_latent_pooled4"]) < PIXELS
        assert off(pooled(method.G.decode(content, shown)), t["fake_reference_pooled4"]) < PIXELS


@pytest.mark.parametrize("without", [(), ("generator.hpf.filter",)], ids=["filter", "no filter"])
@pytest.mark.parametrize("path", paths("*_highpass*"), ids=lambda path: path.stem)
def test_highpass(path, without):
    golden = goldens.load(path)
    if without and golden.notes["config"]["w_hpf"] != 1:
        pytest.skip("without the filter, w_hpf is taken for 1")
    if without:  # only then does the size come from the style encoder, which a released file has
        golden.notes["keys_style_encoder"] = encoder_keys(golden)
        golden.notes["prefixes"]["style_encoder"] = "style_encoder."
    method, t = method_of(recognised(golden, path.name, without)), golden.tensors
    x, masks = image(golden, "x", method), (t["mask32"], t["mask64"])
    with torch.no_grad():
        style = method.F(t["z"], t["y_trg"])
        assert off(pooled(method.G(x, style, masks)), t["fake_pooled4"]) < PIXELS
        assert off(pooled(method.G(x, style)), t["fake_pooled4"]) > 100 * PIXELS, "the skips would not be seen"


def encoder_keys(golden):
    """The keys that a style encoder of this file would have, in the names of the public code."""
    settings = golden.notes["config"]
    width = golden.notes["keys_generator"]["from_rgb.weight"][0]
    config = {"image_size": settings["img_size"], "ngf": width, "max_channels": settings["max_conv_dim"]}
    labels = ({"names": [f"{n}" for n in range(settings["num_domains"])]},)
    with torch.device("meta"):
        net = StarGANv2(StarGANv2.Config(**config, labels=labels)).E
    return {
        key.replace("heads.", "unshared.").replace("shortcut", "conv1x1"): list(value.shape)
        for key, value in net.state_dict().items()
    }


def train(golden: Golden, dtype: torch.dtype) -> Trained:
    settings, t = golden.notes["config"], golden.tensors
    weights = {
        "r1": settings["lambda_reg"],
        "style": settings["lambda_sty"],
        "diversity": settings["lambda_ds"],
        "cycle": settings["lambda_cyc"],
    }
    method = method_of(
        recognised(golden, "starganv2"),
        **{LAMBDAS[name]: value for name, value in weights.items()},
        steps=100_000,
        lr=settings["lr"],
        f_lr=settings["f_lr"],
        weight_decay=settings["weight_decay"],
    ).to(dtype)
    players = method.stages()[0].players
    assert {player.betas for player in players.values()} == {tuple(map(float, settings["betas"]))}
    method.sample_latents = lambda x: torch.stack([t["z1"], t["z2"]]).to(x)
    names = {"image": "x", "reference": "ref", "other": "ref2"}
    batch = {ours: image(golden, theirs, method).to(dtype) for ours, theirs in names.items()}
    batch |= {"label": t["y_org"], "target": t["y_trg"]}
    engine, rows = Engine(method), []
    for _ in t["losses"]:
        engine.train_step(batch)
        made = unweighted(engine.loss_tracker.close().means(), weights)
        rows.append([made[column_of(column)] for column in golden.notes["loss_columns"]])
    with torch.no_grad():
        style = method.E(batch["reference"], batch["target"])
        fake = method.G(batch["image"], method.F(t["z1"].to(dtype), batch["target"]))
    return Trained(torch.tensor(rows).double(), {"style_reference_after": style, "fake_after_pooled4": pooled(fake)})


@pytest.mark.parametrize("path", paths("*_steps*"), ids=lambda path: path.stem)
def test_steps(path):
    """Before any update are D's terms of drawn styles, and of G's those that D has no part in; R1 is of derivatives."""
    before = ["D latent real", "D latent fake", "G latent sty", "G latent ds", "G latent cyc"]
    goldens.assert_steps_equal(goldens.load(path), train, before, nudges=2)  # each meets many signs near 0, and is slow


def column_of(column):
    """`G latent sty` is logged as `G+F+E/latent_style`."""
    player, way, term = column.replace("ref", "reference").split()
    player = "G+F+E" if (player, way) == ("G", "latent") else player
    return f"{player}/{way}_{TERMS[term]}"


def unweighted(terms, weights):
    """Theirs are logged before weighting; the diversity is subtracted. Decay of its weight: one step in 100,000."""
    scales = {**weights, "diversity": -weights["diversity"]}
    return {name: value / scales.get(name.rpartition("_")[2], 1) for name, value in terms.items()}
