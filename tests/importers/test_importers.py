"""Published files: architecture from keys alone, what old versions left behind. What means harm is in attacks/."""

import pickle
from collections import OrderedDict

import pytest
import torch
from material import folder_of
from safetensors.torch import save_file
from torch_files import resnet

import diptych
from diptych.errors import ImportRefused
from diptych.importers import import_model as importers
from diptych.importers import pix2pix_family
from diptych.importers.import_model import import_model, read
from diptych.importers.sandbox import read_in_process


@pytest.fixture
def here(monkeypatch):
    """Files of our own are read in this process, which takes no time; a child for each takes seconds."""
    monkeypatch.setattr(importers, "read", read_in_process)


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("blocks", [6, 9])
def test_a_resnet_is_known_by_its_keys(norm, dropout, blocks, tmp_path, here):
    torch.save(resnet(blocks, 8, norm, dropout, into=1, out=4), tmp_path / "latest_net_G.pth")
    translator = import_model(tmp_path / "latest_net_G.pth")
    c = translator.method.config
    assert (translator.name, c.generator, c.ngf, c.norm, c.dropout) == (
        "cyclegan",
        f"resnet_{blocks}",
        8,
        norm,
        "repo" if dropout else "none",
    )
    assert (c.in_channels, c.out_channels) == (1, 4)
    assert translator.tensor(torch.zeros(1, 33, 18)).shape == (4, 33, 18)


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_wrappers_are_stripped(wrapper, tmp_path):
    torch.save(OrderedDict((wrapper + key, value) for key, value in resnet().items()), tmp_path / "w.pth")
    torch.save(resnet(), tmp_path / "plain.pth")
    assert read_in_process(tmp_path / "w.pth").keys() == read_in_process(tmp_path / "plain.pth").keys()


def test_statistics_of_old_instance_norms_are_dropped_and_dead_biases_too():
    """Files until mid-2018 track statistics that the network never used; the output is what it is without them."""
    state = resnet()
    old = OrderedDict(state)
    for key in state:
        if key.endswith("weight") and key not in ("model.23.weight",):
            layer, at = key.removesuffix(".weight").rpartition(".")[::2]
            channels = len(state[f"{layer}.{at}.bias"])
            old[f"{layer}.{int(at) + 1}.running_mean"] = torch.rand(channels)
            old[f"{layer}.{int(at) + 1}.running_var"] = torch.rand(channels)
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(
            pix2pix_family.recognise(old, "old").build()(x), pix2pix_family.recognise(state, "new").build()(x)
        )


def test_missing_batch_counts_are_filled():
    """Files of torch before 0.4.1."""
    state = OrderedDict(
        (key, value) for key, value in resnet(norm="batch").items() if not key.endswith("num_batches_tracked")
    )
    net = pix2pix_family.recognise(state, "old").build()
    assert all(value == 0 for key, value in net.state_dict().items() if key.endswith("num_batches_tracked"))


def test_two_directions_make_one_cyclegan(tmp_path, here):
    torch.save(resnet(), tmp_path / "G_A.pth")
    torch.save(resnet(), tmp_path / "G_B.pth")
    translator = import_model(tmp_path / "G_A.pth", tmp_path / "G_B.pth")
    x = torch.zeros(3, 16, 16)
    assert not torch.equal(translator.tensor(x), translator.tensor(x, direction="b2a"))
    translator.save(tmp_path / "model")
    alone = import_model(tmp_path / "G_A.pth")
    assert torch.equal(alone.tensor(x), translator.tensor(x))


def test_pix2pix_may_have_a_resnet(tmp_path, here):
    save_file(resnet(), tmp_path / "G.safetensors")
    assert import_model(tmp_path / "G.safetensors", method="pix2pix").networks == ("G",)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a.weight": torch.zeros(1)}, "no network of the pix2pix family.*a.weight"),
        ({"model.0.weight": torch.zeros(1), "model.2.filt": torch.zeros(1)}, "a discriminator of CUT"),
        ({**resnet(), "model.99.weight": torch.zeros(1)}, "model.99.weight is unknown"),
        (
            {**resnet(), "model.4.weight": torch.zeros(9, 4, 3, 3)},
            r"down.0.0.weight is \(9, 4, 3, 3\), not \(8, 4, 3, 3\)",
        ),
        (
            {key: value for key, value in resnet().items() if key != "model.12.conv_block.5.weight"},
            "blocks.2.body.5.weight is missing",
        ),
        ({**resnet(), "model.2.weight": torch.ones(4), "model.2.bias": torch.ones(4)}, "InstanceNorm with weights"),
    ],
    ids=["foreign", "cut", "extra", "shape", "missing", "affine"],
)
def test_what_does_not_fit_is_refused_by_name(state, message):
    with pytest.raises(ImportRefused, match=message):
        pix2pix_family.recognise(state, "file.pth")


@pytest.mark.parametrize(
    "content", [b"", b"not a checkpoint", b"PK\x03\x04 broken zip", pickle.dumps([1, 2]), pickle.dumps("text")]
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_files_are_refused(content, suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(ImportRefused, match=f"x{suffix}"):
        read_in_process(path)


def test_a_state_dict_holds_tensors_alone(tmp_path):
    """Whatever training kept beside it is left out."""
    adam = {"state": {0: {"exp_avg": torch.zeros(1)}}, "param_groups": [{"lr": 0.1}]}
    torch.save({"epoch": 3, "state_dict": resnet(), "optimizer": adam}, tmp_path / "trainer.pth")
    assert read_in_process(tmp_path / "trainer.pth").keys() == resnet().keys()
    beside = {
        "epoch": "three",
        "scheduler": {"last_epoch": 3, "_last_lr": [0.1]},
        "best": None,
        "losses": [1.0],
        "t": (1,),
    }
    torch.save({**beside, "optimizers": [adam], "state_dict": resnet()}, tmp_path / "trainer.pth")
    assert read_in_process(tmp_path / "trainer.pth").keys() == resnet().keys()
    torch.save({**beside, **resnet()}, tmp_path / "trainer.pth")
    assert read_in_process(tmp_path / "trainer.pth").keys() == resnet().keys()
    with pytest.raises(ImportRefused, match=r"missing\.pth"):
        read_in_process(tmp_path / "missing.pth")


def test_half_precision_is_brought_in_full(tmp_path, here):
    torch.save(OrderedDict((key, value.half()) for key, value in resnet().items()), tmp_path / "half.pth")
    assert import_model(tmp_path / "half.pth").tensor(torch.zeros(3, 16, 16)).dtype == torch.float32


def test_a_damaged_legacy_file_is_refused_wherever_it_is_damaged(tmp_path):
    whole = tmp_path / "legacy.pth"
    torch.save(resnet(width=1), whole, _use_new_zipfile_serialization=False)
    data = whole.read_bytes()
    for at in range(0, len(data), len(data) // 150):
        whole.write_bytes(data[:at])
        with pytest.raises(ImportRefused):
            read_in_process(whole)


def test_what_cannot_translate_is_refused(tmp_path, here):
    torch.save(
        {
            "model.0.weight": torch.zeros(4, 3, 4, 4),
            "model.0.bias": torch.zeros(4),
            "model.2.weight": torch.zeros(8, 4, 4, 4),
            "model.2.bias": torch.zeros(8),
            "model.5.weight": torch.zeros(1, 8, 4, 4),
            "model.5.bias": torch.zeros(1),
        },
        tmp_path / "net_D.pth",
    )
    with pytest.raises(ImportRefused, match="a discriminator, which translates nothing"):
        import_model(tmp_path / "net_D.pth")
    torch.save(resnet(), tmp_path / "G.pth")
    torch.save(resnet(blocks=9), tmp_path / "G9.pth")
    with pytest.raises(ImportRefused, match="different networks"):
        import_model(tmp_path / "G.pth", tmp_path / "G9.pth")
    with pytest.raises(ImportRefused, match="which alone has a way back"):
        import_model(tmp_path / "G.pth", tmp_path / "G.pth", method="pix2pix")


def test_absurd_networks_are_refused_before_they_are_built():
    """M1: a thousand blocks, or a million channels, from a file of a few kilobytes."""
    one = torch.zeros(1)
    with pytest.raises(ImportRefused, match=r"a resnet_2000; expected .*resnet_N with N residual blocks \(1 to 100\)"):
        pix2pix_family.recognise(
            {**resnet(), **{f"model.{n}.conv_block.1.weight": one for n in range(10, 2010)}, **tail(2010)}, "x"
        )
    with pytest.raises(ImportRefused, match="no network of the pix2pix family"):
        pix2pix_family.recognise(
            {"model.0.weight": torch.zeros(2**31, 1, 1, 1, device="meta").expand(-1, 2**31, 1, 1)}, "x"
        )


def tail(after):
    state = {key: value for key, value in resnet().items() if key.startswith(("model.16", "model.19", "model.23"))}
    return {f"model.{int(key.split('.')[1]) - 16 + after}.{key.split('.')[2]}": value for key, value in state.items()}


def test_a_network_larger_than_ours_is_refused(here, tmp_path):
    torch.save(resnet(blocks=101, width=1), tmp_path / "many.pth")
    with pytest.raises(ImportRefused, match=r"many\.pth: a resnet_101; expected"):
        import_model(tmp_path / "many.pth")


def test_missing_and_extra_keys_are_listed_and_counted():
    """M2."""
    state = {**resnet(), **{f"odd\x1b[31m.{n}": torch.zeros(1) for n in range(9)}}
    del state["model.4.weight"]
    with pytest.raises(ImportRefused) as refused:
        pix2pix_family.recognise(state, "x.pth")
    message = str(refused.value)
    assert "down.0.0.weight is missing; odd\\x1b[31m.0 is unknown" in message
    assert message.endswith("and 5 more")
    assert message.isprintable()


def test_a_child_brings_a_published_network_home(tmp_path, monkeypatch):
    """M2: the whole way, in a process of its own: pickle in, safetensors and card out, nothing left behind."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    torch.save(resnet(), tmp_path / "G_A.pth")
    translator = import_model(tmp_path / "G_A.pth")
    folder = translator.save(tmp_path / "model")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert "| `imported from` | `G_A.pth` |" in (folder / "README.md").read_text()
    x = torch.rand(3, 16, 16)
    expected = pix2pix_family.recognise(read_in_process(tmp_path / "G_A.pth"), "").build()(x[None])[0].detach()
    assert torch.allclose(diptych.load(folder, device="cpu").tensor(x), expected, atol=1e-6)
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize(("scale", "keys"), [(2, 76), (4, 79), (8, 82)])
def test_published_files_are_read(scale, keys):
    """M2: real ones, of January 2018: a stream of pickles, no zip. They are of no method here, and refused as that."""
    path = folder_of("DIPTYCH_CHECKPOINTS", "shared/checkpoints") / f"leftthomas_netG_epoch_{scale}_100.pth"
    state = read_in_process(path)
    assert len(state) == keys
    assert all(value.isfinite().all() for value in state.values())
    if scale == 4:
        assert sum(value.numel() for key, value in state.items() if "running" not in key) == 734_092
        through_child = read(path)
        assert all(torch.equal(through_child[key], value) for key, value in state.items())
        with pytest.raises(ImportRefused, match=r"100\.pth: no network of the pix2pix family"):
            pix2pix_family.recognise(state, str(path))
