"""Whole training steps of the published code: importer, engine and `Method.updates` give its losses and output.

Goldens are of one step or more; what the bar must catch is tried on steps of our own, and on theirs.
"""

import functools
import re
from dataclasses import replace

import goldens
import pytest
import torch
from goldens import Golden, Trained

from diptych.contract import Method
from diptych.importers import pix2pix_family
from diptych.methods.cyclegan import CycleGAN
from diptych.methods.pix2pix import Pix2Pix
from diptych.networks.patchgan import N_LAYERS
from diptych.training.engine import Engine

PIX2PIX_BEFORE = ("D_real", "D_fake", "G_L1 (x100)")  # G moves once D has
CYCLEGAN_NETS = {"G_A": "to_b", "G_B": "to_a", "D_A": "D_b", "D_B": "D_a"}  # their D_A judges images of B
CYCLEGAN_TERMS = {
    "G_A": "G/gan_b",
    "G_B": "G/gan_a",
    "cycle_A": "G/cycle_a",
    "cycle_B": "G/cycle_b",
    "idt_A": "G/identity_b",
    "idt_B": "G/identity_a",
    "D_A": "D/b",
    "D_B": "D/a",
}


def losses(method: Method, batch: dict, steps: int, betas: tuple[float, float] | None = None) -> list[dict[str, float]]:
    engine, logged = Engine(method), []
    for mover in engine.optimizers.values():
        mover.adam.param_groups[0]["betas"] = betas or mover.player.betas
    for _ in range(steps):
        engine.train_step(batch)
        logged.append(engine.loss_tracker.close().means())
    return logged


def fill(method: Method, golden: Golden, nets: dict[str, str]) -> None:
    for theirs, ours in nets.items():
        method.get_submodule(ours).load_state_dict(pix2pix_family.recognise(golden.state(theirs), theirs).state)
    betas = {player.betas for player in method.stages()[0].players.values()}
    assert betas == {tuple(golden.notes["config"]["betas"])}, f"steps differ: betas {betas}"


def networks(settings: dict, G: str, D: str) -> dict[str, object]:
    """Such as `unet_128 ngf=8 batch no dropout` and `n_layers 3 ndf=8 batch`."""
    kind, width, norm = re.match(r"(\w+?)(?:blocks)? ngf=(\d+) (\w+)", settings[G]).groups()
    depth, d_width, d_norm = re.match(r"n_layers (\d) ndf=(\d+) (\w+)", settings[D]).groups()
    fields = {halvings: field for field, halvings in N_LAYERS.items()}
    return {
        "generator": kind, "ngf": int(width), "norm": norm,
        "receptive_field": fields[int(depth)], "ndf": int(d_width), "d_norm": d_norm,
    }  # fmt: skip


def pix2pix(golden: Golden, dtype: torch.dtype, kind=Pix2Pix, betas=None, **change) -> Trained:
    settings = golden.notes["config"]
    config = {
        "steps": 1000,
        "gan_loss": settings["gan_mode"],
        "lambda_l1": settings["lambda_L1"],
        "lr": settings["lr"],
        "dropout": "none",
        **networks(settings, "G", "D"),
    }
    method = kind(Pix2Pix.Config(**config | change))
    fill(method, golden, {"G": "G", "D": "D"})
    method.to(dtype)
    batch = {"source": golden.tensors["A"].to(dtype), "target": golden.tensors["B"].to(dtype)}
    made = losses(method, batch, len(golden.tensors["losses"]), betas)
    with torch.no_grad():
        after = method.train().G(batch["source"])
    rows = [[2 * m["D/real"], 2 * m["D/fake"], m["G/gan"], m["G/l1"]] for m in made]  # theirs: before halving
    return Trained(torch.tensor(rows).double(), {"fake_B_after_train_mode": after})


def cyclegan(golden: Golden, dtype: torch.dtype, kind=CycleGAN, betas=None, **change) -> Trained:
    settings, found = golden.notes["config"], networks(golden.notes["config"], "G", "D")
    assert settings["gan_mode"] == "lsgan"
    assert found.pop("d_norm") == found["norm"]
    config = {
        "steps": 1000,
        "lambda_cycle_a": settings["lambda_A"],
        "lambda_cycle_b": settings["lambda_B"],
        "lambda_identity": settings["lambda_identity"],
        "lr": settings["lr"],
        **found,
    }
    method = kind(CycleGAN.Config(**config | change))
    fill(method, golden, CYCLEGAN_NETS)
    method.to(dtype)
    batch = {"a": golden.tensors["A"].to(dtype), "b": golden.tensors["B"].to(dtype)}
    names = [CYCLEGAN_TERMS[column.split()[0]] for column in golden.notes["loss_columns"]]
    made = losses(method, batch, len(golden.tensors["losses"]), betas)
    with torch.no_grad():
        after = {"fake_B_after": method.to_b(batch["a"]), "fake_A_after": method.to_a(batch["b"])}
    return Trained(torch.tensor([[m.get(name, 0.0) for name in names] for m in made]).double(), after)


@pytest.mark.parametrize("path", goldens.files("pix2pix_"), ids=lambda path: path.stem)
def test_pix2pix(path):
    goldens.assert_steps_equal(goldens.load(path), pix2pix, PIX2PIX_BEFORE)


@pytest.mark.parametrize("path", goldens.files("cyclegan_"), ids=lambda path: path.stem)
def test_cyclegan(path):
    golden = goldens.load(path)
    goldens.assert_steps_equal(golden, cyclegan, golden.notes["loss_columns"])


class GeneratorFirst(Pix2Pix):
    def updates(self, batch, clock):
        x, y = batch["source"], batch["target"]
        fake = self.G(x)
        yield "G", self.generator_terms(x, y, fake)
        yield "D", {name: term / 2 for name, term in self.discriminator_terms(x, y, fake.detach()).items()}


class DiscriminatorsFirst(CycleGAN):
    def updates(self, batch, clock):
        a, b = batch["a"], batch["b"]
        (fake_b, same_b), (fake_a, same_a) = (
            self.translate_with_identity(self.to_b, a, b),
            self.translate_with_identity(self.to_a, b, a),
        )
        yield (
            "D",
            {"a": self.discriminator_loss(self.D_a, a, fake_a), "b": self.discriminator_loss(self.D_b, b, fake_b)},
        )
        terms = (
            self.adversarial_terms(fake_a, fake_b)
            | self.cycle_terms(a, b, fake_a, fake_b)
            | self.identity_terms(a, b, same_a, same_b)
        )
        yield "G", terms


METHODS = {"pix2pix": (pix2pix, PIX2PIX_BEFORE, GeneratorFirst), "cyclegan": (cyclegan, None, DiscriminatorsFirst)}
MUTATIONS = ["learning rate", "loss weight", "order", "beta"]


def mutated(name: str, golden: Golden, mutation: str):
    """The training of a method with a slip in it."""
    train, _, swapped = METHODS[name]
    settings = golden.notes["config"]
    weight, theirs = {"pix2pix": ("lambda_l1", "lambda_L1"), "cyclegan": ("lambda_cycle_b", "lambda_B")}[name]
    slip = {
        "learning rate": {"lr": 1.1 * settings["lr"]},
        "loss weight": {weight: 1.1 * settings[theirs]},
        "order": {"kind": swapped},
        "beta": {"betas": (0.9, settings["betas"][1])},
    }
    return functools.partial(train, **slip[mutation])


def columns_before(name: str, golden: Golden) -> list[str]:
    return METHODS[name][1] or golden.notes["loss_columns"]


@pytest.mark.parametrize("mutation", MUTATIONS[:3])  # Adam's first step does not depend on its betas
@pytest.mark.parametrize("name", METHODS)
def test_a_slip_fails_the_bar_in_the_reference_steps(name, mutation):
    golden = goldens.load(goldens.files(f"{name}_")[0])
    with pytest.raises(AssertionError, match="steps differ"):
        goldens.assert_steps_equal(golden, mutated(name, golden, mutation), columns_before(name, golden))


@pytest.fixture(scope="module", params=METHODS)
def three_steps(request):
    """Name of a method, and a golden of its first three steps as another CPU would round them."""
    name, golden = request.param, goldens.load(goldens.files(f"{request.param}_")[0])
    return name, goldens.rounded(golden, METHODS[name][0], steps=3)


def test_other_rounding_passes_the_bar_after_three_steps(three_steps):
    name, golden = three_steps
    goldens.assert_steps_equal(golden, METHODS[name][0], columns_before(name, golden))


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_slip_fails_the_bar_after_three_steps(three_steps, mutation):
    name, golden = three_steps
    with pytest.raises(AssertionError, match="steps differ"):
        goldens.assert_steps_equal(golden, mutated(name, golden, mutation), columns_before(name, golden))


@pytest.mark.parametrize("name", METHODS)
def test_other_betas_of_a_player_are_seen(name):
    """The first step shows nothing of them, and three steps little of the second: so they are compared, too."""
    train, _, swapped = METHODS[name]

    class OtherBetas(swapped.__base__):
        def stages(self):
            (stage,) = super().stages()
            players = {key: replace(player, betas=(0.5, 0.99)) for key, player in stage.players.items()}
            return [replace(stage, players=players)]

    with pytest.raises(AssertionError, match="steps differ: betas"):
        train(goldens.load(goldens.files(f"{name}_")[0]), torch.float32, kind=OtherBetas)
