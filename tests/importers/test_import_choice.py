"""Which network `diptych import` takes from a checkpoint of several, and what it asks for."""

import pytest
import torch
from published import resnet as published_resnet
from torch_files import resnet

from diptych.errors import ImportRefused
from diptych.importers import pix2pix_family
from diptych.importers.sandbox import read_in_process

FIRST, SECOND = resnet(2, 2), resnet(2, 2)
CRITIC = {"model.0.weight": torch.ones(2, 3, 4, 4), "model.0.bias": torch.ones(2)}


def brought(content, tmp_path, which=None):
    torch.save(content, tmp_path / "w.pth")
    return read_in_process(tmp_path / "w.pth", which)


def are_same(found, wanted):
    return found.keys() == wanted.keys() and all(torch.equal(found[key], wanted[key]) for key in wanted)


def under(prefix, state):
    return {f"{prefix}{key}": value for key, value in state.items()}


@pytest.mark.parametrize(
    ("content", "first", "second"),
    [
        ({**FIRST, "best": SECOND}, ".", "best"),
        ({**FIRST, "G": SECOND}, ".", "G"),
        ({"G": FIRST, "netG": SECOND}, "G", "netG"),
        ({"G": FIRST, "G_A": SECOND}, "G", "G_A"),
        ({"ema": FIRST, "params_ema": SECOND}, "ema", "params_ema"),
        ({"state_dict": FIRST, "model": SECOND}, "state_dict", "model"),
        ({"a": FIRST, "b": SECOND}, "a", "b"),
        ({"state_dict": {**under("gen_AB.", FIRST), **under("gen_BA.", SECOND)}}, "gen_AB", "gen_BA"),
    ],
)
def test_of_networks_with_different_weights_none_is_taken_silently(content, first, second, tmp_path):
    with pytest.raises(ImportRefused, match="several networks") as refused:
        brought(content, tmp_path)
    assert f"'{first}'" in str(refused.value)
    assert f"'{second}'" in str(refused.value)
    assert "choose one, as by --which" in str(refused.value)
    assert are_same(brought(content, tmp_path, first), FIRST)
    assert are_same(brought(content, tmp_path, second), SECOND)


@pytest.mark.parametrize(
    "content",
    [
        {**FIRST, "netD": CRITIC},
        {**FIRST, "discriminator": CRITIC, "epoch": torch.tensor(3)},
        {**FIRST, "best": {key: value.clone() for key, value in FIRST.items()}},
        {"G": FIRST, "netG": {key: value.clone() for key, value in FIRST.items()}},
        {"G": FIRST, "weights": {"l1": torch.ones(2)}},
    ],
    ids=["netD", "discriminator", "best", "twice", "losses"],
)
def test_the_only_generator_is_taken(content, tmp_path):
    assert are_same(brought(content, tmp_path), FIRST)


@pytest.mark.parametrize(
    "content",
    [
        {**under("model.netG.", FIRST), **under("model.netD.", CRITIC)},
        under("net.", FIRST),
        under("model.", FIRST),
        under("model.module.", FIRST),
        under("trainer.net.module.", FIRST),
        {**under("online_model.", SECOND), **under("ema_model.", FIRST), "initted": torch.tensor(True)},
        {**under("module.", FIRST), "n_averaged": torch.tensor(7)},
        {"checkpoint": {"trainer": {"state": {"model": {"net": FIRST}}}}},
    ],
    ids=["lightning", "net", "model", "module", "three", "ema", "swa", "deep"],
)
def test_a_network_is_found_behind_prefixes(content, tmp_path):
    assert are_same(brought(content, tmp_path), FIRST)


def test_an_average_without_running_statistics_is_named_with_the_network_to_take(tmp_path):
    whole = published_resnet(2, norm="batch").state_dict()
    parameters = {key: value for key, value in whole.items() if "running" not in key and "num_batches" not in key}
    with pytest.raises(ImportRefused, match=r"average 'ema' has no running statistics of BatchNorm.*--which model"):
        brought({"model": whole, "ema": parameters}, tmp_path)
    with pytest.raises(ImportRefused, match=r"without running statistics.*InstanceNorm with weights.*--which"):
        pix2pix_family.recognise(parameters, "x")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("x", torch.empty(0, 3), r"entry 'x' is empty: its shape is \(0, 3\)"),
        ("x", None, r"'x' is quantised \(qint8\): dequantise"),
        ("x", torch.ones(2, dtype=torch.complex64), "'x' holds complex numbers"),
        ("__metadata__", torch.ones(2), "'__metadata__' has a name that the tensors of no network have"),
        ("\udc80", torch.ones(2), r"'\\udc80' has a name that the tensors of no network have"),
    ],
    ids=["empty", "quantised", "complex", "metadata", "surrogate"],
)
@pytest.mark.filterwarnings("ignore:.*quantized", "ignore:TypedStorage")
def test_an_entry_that_is_no_plain_tensor_is_named_as_what_it_is(key, value, message, tmp_path):
    value = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8) if value is None else value
    torch.save({**FIRST, key: value}, tmp_path / "w.pth", pickle_protocol=2)
    with pytest.raises(ImportRefused, match=message):
        read_in_process(tmp_path / "w.pth")


def test_float8_weights_are_read(tmp_path):
    state = {key: value.to(torch.float8_e4m3fn) for key, value in FIRST.items()}
    assert brought(state, tmp_path).keys() == FIRST.keys()
