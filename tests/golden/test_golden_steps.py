"""Whole training steps of the published code: importer, engine and `Method.updates` give its losses and output."""

import re

import goldens
import pytest
import torch

from diptych.contract import Method
from diptych.engine.step import Engine
from diptych.importers import junyanz
from diptych.methods.cyclegan import CycleGAN
from diptych.methods.pix2pix import Pix2Pix

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


def losses(engine: Engine, batch: dict, steps: int) -> list[dict[str, float]]:
    logged = []
    for _ in range(steps):
        engine.take(batch)
        logged.append(engine.ledger.close().means())
    return logged


def fill(method: Method, golden: goldens.Golden, nets: dict[str, str]) -> None:
    for theirs, ours in nets.items():
        method.get_submodule(ours).load_state_dict(junyanz.recognise(golden.state(theirs), theirs).state)


def widths(golden: goldens.Golden, G: str, D: str) -> dict[str, int]:
    settings = golden.notes["config"]
    return {
        "width": int(re.search(r"ngf=(\d+)", settings[G])[1]),
        "d_width": int(re.search(r"ndf=(\d+)", settings[D])[1]),
    }


@pytest.mark.parametrize("path", goldens.files("pix2pix_"), ids=lambda path: path.stem)
def test_pix2pix(path):
    golden = goldens.load(path)
    settings, expected = golden.notes["config"], golden.tensors["losses"]
    method = Pix2Pix(
        Pix2Pix.Config(
            steps=1000,
            adversarial=settings["gan_mode"],
            l1=settings["lambda_L1"],
            lr=settings["lr"],
            dropout="none",
            generator=settings["G"].split()[0],
            norm=settings["G"].split()[2],
            d_norm=settings["D"].split()[3],
            **widths(golden, "G", "D"),
        )
    )
    fill(method, golden, {"G": "G", "D": "D"})
    batch = {"source": golden.tensors["A"], "target": golden.tensors["B"]}
    for row, made in zip(expected, losses(Engine(method), batch, len(expected)), strict=True):
        ours = [2 * made["D/real"], 2 * made["D/fake"], made["G/gan"], made["G/l1"]]  # theirs are logged before halving
        assert ours == pytest.approx(row.tolist(), rel=1e-4)
    with torch.no_grad():
        after = method.train().G(batch["source"])
    assert (after - golden.tensors["fake_B_after_train_mode"]).abs().max() < 2e-3


@pytest.mark.parametrize("path", goldens.files("cyclegan_"), ids=lambda path: path.stem)
def test_cyclegan(path):
    golden = goldens.load(path)
    settings, expected = golden.notes["config"], golden.tensors["losses"]
    assert settings["gan_mode"] == "lsgan"
    method = CycleGAN(
        CycleGAN.Config(
            steps=1000,
            cycle_a=settings["lambda_A"],
            cycle_b=settings["lambda_B"],
            identity=settings["lambda_identity"],
            lr=settings["lr"],
            generator=re.sub("blocks", "", settings["G"].split()[0]),
            norm=settings["G"].split()[2],
            **widths(golden, "G", "D"),
        )
    )
    fill(method, golden, CYCLEGAN_NETS)
    batch = {"a": golden.tensors["A"], "b": golden.tensors["B"]}
    names = [CYCLEGAN_TERMS[column.split()[0]] for column in golden.notes["loss_columns"]]
    for row, made in zip(expected, losses(Engine(method), batch, len(expected)), strict=True):
        assert [made.get(name, 0.0) for name in names] == pytest.approx(row.tolist(), rel=1e-4)
    with torch.no_grad():
        for image, net, after in ((batch["a"], method.to_b, "fake_B_after"), (batch["b"], method.to_a, "fake_A_after")):
            assert (net(image) - golden.tensors[after]).abs().max() < 2e-3
