"""MUNIT of the published code: importer, engine and `Method.updates` give its outputs, losses and next weights."""

import functools

import goldens
import pytest
import torch
from goldens import Golden, Trained

from diptych.importers import munit
from diptych.methods.munit import MUNIT
from diptych.training.engine import Engine

PIXELS = 1e-4
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
    assert (config["ngf"], config["n_blocks"]) == (said["gen"]["dim"], said["gen"]["n_res"])
    assert (config["num_scales"], config["d_layers"]) == (said["dis"]["num_scales"], said["dis"]["n_layer"])
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
    x_ba, x_ab = method.translate_pair(contents, (flat(golden, "s_a"), flat(golden, "s_b")))
    assert off(x_ba, t["x_ba"]) < PIXELS
    assert off(x_ab, t["x_ab"]) < PIXELS
    for scale, logits in enumerate(method.D_a(t["x_a"])):
        assert off(logits, t[f"dis_a_{scale}"]) < PIXELS


def train(golden: Golden, dtype: torch.dtype, reuse: str = "none", slower: float = 1.0) -> Trained:
    settings, t = golden.notes["config"], golden.tensors
    weights = {WEIGHTS[name]: value for name, value in settings["weights"].items()}
    method = method_of(
        golden, "munit", **{f"lambda_{name}": value for name, value in weights.items()}, steps=1000,
        image_size=t["x_a"].shape[-1], reuse=reuse,
        lr=settings["lr"] / slower, weight_decay=settings["weight_decay"],
    ).to(dtype)  # fmt: skip
    assert all(player.betas == tuple(settings["betas"]) for player in method.stages()[0].players.values())
    engine, rows = Engine(method), []
    batch = {"a": t["x_a"].to(dtype), "b": t["x_b"].to(dtype)}
    styles = {key: flat(golden, key).to(dtype) for key in ("s_a_dis", "s_b_dis", "s_a_gen", "s_b_gen")}
    for _ in t["losses"]:
        drawn = iter([(styles["s_a_dis"], styles["s_b_dis"]), (styles["s_a_gen"], styles["s_b_gen"])])
        method.sample_styles = lambda x, drawn=drawn: next(drawn)
        engine.train_step(batch)
        made = engine.loss_tracker.close().means()
        rows.append([unweighted(column, made, weights) for column in golden.notes["loss_columns"]])
    with torch.no_grad():
        contents = method.contents(batch["a"], batch["b"])
        after = method.G_b.decode(contents[0], styles["s_b_dis"])
    return Trained(torch.tensor(rows).double(), {"x_ab_after": after})


def unweighted(column: str, made: dict[str, float], weights: dict[str, float]) -> float:
    name, _, domain = column.rpartition("_")
    term = TERMS[name].format(domain)
    return made[term] / (weights["gan"] if name in ("dis", "adv") else weights[term.partition("/")[2][:-2]])


def before(golden: Golden) -> list[str]:
    """All but what D, which has moved by then, says of what G makes."""
    return [column for column in golden.notes["loss_columns"] if not column.startswith("adv_")]


@pytest.mark.parametrize("reuse", ["none", "exact"])
@pytest.mark.parametrize("path", paths("steps"), ids=lambda path: path.stem)
def test_steps(path, reuse):
    golden = goldens.load(path)
    goldens.assert_steps_equal(golden, functools.partial(train, reuse=reuse), before(golden))


def test_another_learning_rate_fails_the_bar():
    golden = goldens.load(paths("steps")[0])
    with pytest.raises(AssertionError, match="steps differ"):
        goldens.assert_steps_equal(golden, functools.partial(train, slower=1.1), before(golden))
