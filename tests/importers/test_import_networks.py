"""Generators that settings of the public code make: imported, they compute what the original does."""

import published
import pytest
import torch
from published import munit, noisy_unet, resnet, unet

from diptych.errors import ImportRefused
from diptych.importers import import_model as importers
from diptych.importers import pix2pix_family
from diptych.importers.import_model import import_model
from diptych.importers.sandbox import read_in_process

NEAR = 1e-5


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """Files of our own are read in this process, which takes no time; a child for each takes seconds."""
    monkeypatch.setattr(importers, "read", read_in_process)
    torch.manual_seed(0)


def brought(state, tmp_path, **over):
    torch.save(state, tmp_path / "latest_net_G.pth")
    return import_model(tmp_path / "latest_net_G.pth", **over)


def computes(translator, net, size=32, channels=3):
    x = torch.rand(2, channels, size, size) * 2 - 1
    with torch.no_grad():
        return float((translator.tensor(x) - net(x)).abs().max()) < NEAR


@pytest.mark.parametrize("blocks", [4, 9])
@pytest.mark.parametrize("norm", ["instance", "none"])
def test_cut_of_any_number_of_blocks_with_and_without_norm(blocks, norm, tmp_path):
    net = resnet(blocks, norm=norm, filtered=True)
    translator = brought(net.state_dict(), tmp_path)
    config = translator.method.config
    assert (translator.name, config.n_blocks, config.norm) == ("cut", blocks, norm)
    assert computes(translator, net)


def test_cut_with_batchnorm_is_refused_by_name(tmp_path):
    with pytest.raises(ImportRefused, match="a generator of CUT with BatchNorm; Diptych's has InstanceNorm or none"):
        brought(resnet(4, norm="batch", filtered=True).state_dict(), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state["model.7.filt"].fill_(1 / 9), r"model\.7\.filt is not the filter \[1\.0, 2\.0, 1\.0\]"),
        (
            lambda state: state["model.20.filt"].mul_(0.5),
            r"model\.20\.filt is not the filter \[1\.0, 3\.0, 3\.0, 1\.0\]",
        ),
        (
            lambda state: state.update({"model.7.filt": torch.ones(8, 1, 5, 5)}),
            r"model\.7\.filt is not .*\(8, 1, 5, 5\)",
        ),
        (lambda state: state.pop("model.20.filt"), r"without model\.20\.filt.*--no_antialias"),
        (lambda state: state.update({"model.99.filt": torch.ones(1)}), r"with model\.99\.filt"),
    ],
    ids=["box", "gain", "longer", "missing", "extra"],
)
def test_cut_with_another_filter_is_refused_by_name(change, message, tmp_path):
    state = resnet(4, filtered=True).state_dict()
    change(state)
    with pytest.raises(ImportRefused, match=message):
        brought(state, tmp_path)


@pytest.mark.parametrize("blocks", [1, 7, 12])
def test_a_resnet_may_have_any_number_of_blocks(blocks, tmp_path):
    net = resnet(blocks)
    translator = brought(net.state_dict(), tmp_path)
    assert translator.method.config.generator == f"resnet_{blocks}"
    assert computes(translator, net)


@pytest.mark.parametrize("bias", [False, True])
def test_a_resnet_with_batchnorm_may_have_biases(bias, tmp_path):
    net = resnet(2, norm="batch", bias=bias)
    translator = brought(net.state_dict(), tmp_path)
    assert translator.method.config.norm == "batch"
    assert computes(translator, net)


@pytest.mark.parametrize(("norm", "bias"), [("batch", False), ("batch", True), ("instance", True), ("none", False)])
def test_a_unet_of_each_norm_with_and_without_biases(norm, bias, tmp_path):
    net = unet(5, norm=norm, bias=bias)
    translator = brought(net.state_dict(), tmp_path)
    config = translator.method.config
    assert (config.norm, config.use_bias) == (norm, norm == "batch" and bias)
    assert computes(translator, net)


def test_unet_512(tmp_path):
    net = unet(9, width=1)
    translator = brought(net.state_dict(), tmp_path)
    assert translator.method.config.generator == "unet_512"
    assert computes(translator, net, 512)


@pytest.mark.parametrize("key", ["model.1.bias", "model.4.bias", "model.11.conv_block.5.bias"])
@pytest.mark.parametrize("filtered", [False, True])
def test_a_bias_without_effect_may_be_missing(key, filtered, tmp_path):
    """The first of them told InstanceNorm from no norm, so that the others became live biases."""
    net = resnet(3, filtered=filtered)
    state = net.state_dict()
    key = key.replace("11", "13") if filtered else key
    del state[key]
    translator = brought(state, tmp_path)
    assert translator.method.config.norm == "instance"
    assert computes(translator, net)


@pytest.mark.parametrize("norm", ["instance", "none", "batch"])
def test_a_bias_with_effect_may_not_be_missing(norm, tmp_path):
    state = resnet(2, norm=norm).state_dict()
    del state["model.19.bias"]
    with pytest.raises(ImportRefused, match=r"head\.1\.bias is missing"):
        brought(state, tmp_path)


def test_old_networks_that_may_be_of_either_norm_are_refused(tmp_path):
    state = {
        key: value for key, value in resnet(2, norm="batch", bias=True).state_dict().items() if "tracked" not in key
    }
    with pytest.raises(ImportRefused, match=r"or BatchNorm with biases from torch before 0\.4\.1"):
        brought(state, tmp_path)


def test_msgan_may_double_by_interpolation(tmp_path):
    net = noisy_unet()
    translator = brought(net.state_dict(), tmp_path)
    config = translator.method.config
    assert (translator.name, config.upsample, config.latent_dim, config.image_size) == ("msgan", "resize_conv", 3, 32)
    x, z = torch.rand(2, 2, 32, 32) * 2 - 1, torch.randn(2, 3)
    with torch.no_grad():
        assert (translator.method.G(x, z) - net(x, z)).abs().max() < NEAR


def test_msgan_with_other_padding_is_refused_by_name(tmp_path):
    state = {
        key.replace("down.1.", "down.2.").replace("down.0.", "down.1."): value
        for key, value in noisy_unet().state_dict().items()
    }
    with pytest.raises(ImportRefused, match="padding_type reflect or replicate; only zero is read"):
        brought(state, tmp_path)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_munit_may_halve_its_content_any_number_of_times(n, tmp_path):
    nets = munit(n)
    torch.save({name: net.state_dict() for name, net in nets.items()}, tmp_path / "gen_00010000.pt")
    translator = import_model(tmp_path / "gen_00010000.pt")
    method = translator.method
    assert (method.config.n_downsample, method.traits.size_multiple) == (n, 2**n)
    x, reference = (torch.rand(1, 3, 32, 32) * 2 - 1 for _ in range(2))
    with torch.no_grad():
        wanted = nets["b"].decode(nets["a"].content(x), nets["b"].style(reference))
        assert (translator.tensor(x, reference=reference) - wanted).abs().max() < NEAR


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {f"model.{at}.weight": torch.zeros(8, 8, 3, 3) for at in range(0, 14, 2)}
            | {"model.14.scale": torch.ones(3)},
            r"nearest is .* but 'model\.14\.scale' \(3,\) is not of it",
        ),
        (
            resnet(2).state_dict() | {"model.4.weight": torch.zeros(9, 4, 3, 3)},
            r"recognised as resnet resnet_2 of width 4, but down\.0\.0\.weight is \(9, 4, 3, 3\), not \(8, 4, 3, 3\)",
        ),
        (
            {"features.0.weight": torch.zeros(4, 3, 3, 3)},
            r"no family is near; its first keys are 'features\.0\.weight'",
        ),
    ],
    ids=["sequential", "shape", "far"],
)
def test_what_is_of_no_family_is_told_the_nearest_and_the_first_tensor(state, message, tmp_path):
    """It was "recognised as patchgan 142", as any Sequential of seven convolutions."""
    with pytest.raises(ImportRefused, match=message) as refused:
        brought(state, tmp_path)
    assert "patchgan 142" not in str(refused.value)


def test_the_networks_here_are_not_blind():
    """Each has biases and statistics that change what it makes."""
    for net in (resnet(2, norm="batch", bias=True), unet(5, bias=True)):
        x = torch.rand(1, 3, 32, 32)
        before = net(x)
        for key, value in net.state_dict().items():
            if key.endswith(("bias", "running_mean")) and "model.0.bias" not in key:
                value.zero_()
        assert (net(x) - before).abs().max() > 1e-2
    assert isinstance(pix2pix_family.recognise(resnet(1).state_dict(), "x"), pix2pix_family.Pix2PixNetwork)
    assert published.Filtered(1, [1.0, 2.0, 1.0], False).filt.sum() == 1
