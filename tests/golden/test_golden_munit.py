"""MUNIT of the published code: importer, engine and `Method.updates` give its outputs, losses and next weights."""

import goldens
import pytest
import torch

from diptych.engine.step import Engine
from diptych.importers import munit
from diptych.methods.munit import MUNIT

PIXELS = 1e-4
AFTER = 2e-3
TERMS = {
    "dis": "D/{}", "recon_x": "G/image_{}", "recon_s": "G/style_{}", "recon_c": "G/content_{}",
    "cyc_x": "G/cycle_{}", "adv": "G/gan_{}",
}  # fmt: skip
WEIGHTS = {"gan": "gan", "recon_x": "image", "recon_s": "style", "recon_c": "content", "recon_x_cyc": "cycle"}


def paths(kind):
    return [path for path in goldens.files("munit_") if kind in path.stem]


def method_of(golden, where, **over):
    """The file as it would be published, read by the importer."""
    state = {
        f"{domain}.{key}": value
        for part in ("gen", "dis")
        for domain in "ab"
        for key, value in golden.state(f"{part}_{domain}").items()
    }
    config, found = munit.recognise(state, where)
    said = golden.notes["config"]
    assert (config["width"], config["blocks"]) == (said["gen"]["dim"], said["gen"]["n_res"])
    assert (config["scales"], config["depth"]) == (said["dis"]["num_scales"], said["dis"]["n_layer"])
    method = MUNIT(MUNIT.Config(**config, **over))
    method.load_state_dict(found)
    return method


def off(ours, theirs):
    return float((ours - theirs).detach().abs().max())


def flat(golden, name):
    return golden.tensors[name].flatten(1)


@pytest.mark.parametrize("path", paths("nets"), ids=lambda path: path.stem)
@torch.no_grad()
def test_networks(path):
    golden = goldens.load(path)
    method, t = method_of(golden, path.name), golden.tensors
    contents = method.contents(t["x_a"], t["x_b"])
    assert off(contents[0], t["content_a"]) < PIXELS
    assert off(method.G_a.style(t["x_a"]), flat(golden, "style_a")) < PIXELS
    x_ba, x_ab = method.translated(contents, (flat(golden, "s_a"), flat(golden, "s_b")))
    assert off(x_ba, t["x_ba"]) < PIXELS
    assert off(x_ab, t["x_ab"]) < PIXELS
    for scale, logits in enumerate(method.D_a(t["x_a"])):
        assert off(logits, t[f"dis_a_{scale}"]) < PIXELS


@pytest.mark.parametrize("saving", ["plain", "passes"])
@pytest.mark.parametrize("path", paths("steps"), ids=lambda path: path.stem)
def test_steps(path, saving, monkeypatch):
    golden = goldens.load(path)
    settings, t = golden.notes["config"], golden.tensors
    weights = {WEIGHTS[name]: value for name, value in settings["weights"].items()}
    method = method_of(
        golden, path.name, **weights, steps=1000, size=64, saving=saving,
        lr=settings["lr"], weight_decay=settings["weight_decay"],
    )  # fmt: skip
    assert all(player.betas == tuple(settings["betas"]) for player in method.stages()[0].players.values())
    engine = Engine(method)
    for row in t["losses"].tolist():
        drawn = iter([tuple(flat(golden, f"s_{domain}_{player}") for domain in "ab") for player in ("dis", "gen")])
        monkeypatch.setattr(MUNIT, "draw", lambda self, x, drawn=drawn: next(drawn))
        engine.take({"a": t["x_a"], "b": t["x_b"]})
        made = engine.ledger.close().means()
        for column, expected in zip(golden.notes["loss_columns"], row, strict=True):
            name, _, domain = column.rpartition("_")
            term = TERMS[name].format(domain)
            weight = weights["gan"] if name in ("dis", "adv") else weights[term.partition("/")[2][:-2]]
            assert made[term] / weight == pytest.approx(expected, rel=1e-4), column
    with torch.no_grad():
        contents = method.contents(t["x_a"], t["x_b"])
        after = method.G_b.decode(contents[0], flat(golden, "s_b_dis"))  # their x_ab_after
    assert off(after, t["x_ab_after"]) < AFTER
