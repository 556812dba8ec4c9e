"""What people give to `diptych import`: files of other programs, cut ones, and state dicts in wrappers of all kinds."""

import io
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from material import folder_of
from safetensors.torch import save_file
from torch_files import resnet

from diptych.errors import ImportRefused
from diptych.importers import import_model as importers
from diptych.importers.import_model import import_model, read
from diptych.importers.sandbox import read_in_process

ADAM = {"state": {0: {"exp_avg": torch.zeros(9)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


@pytest.fixture
def here(monkeypatch):
    """Files of our own are read in this process, which takes no time; a child for each takes seconds."""
    monkeypatch.setattr(importers, "read", read_in_process)


def numpy_file(save):
    out = io.BytesIO()
    save(out, np.zeros(3))
    return out.getvalue()


FOREIGN = {
    "empty.pth": (b"", "an empty file; download it again"),
    "page.pth": (
        b"\n<!DOCTYPE html><html><title>Google Drive</title>",
        "a web page .'Google Drive'.*download it again",
    ),
    "page.safetensors": (b"<html>", "a web page"),
    "comment.pth": (b"<!-- saved --> <!-- twice --><html><title>Sign in</title>", "a web page .'Sign in'"),
    "only_comment.pth": (b"<!-- " + b"x" * 600, "a web page"),
    "utf16.pth": ("<html><title>Sign in</title>".encode("utf-16"), "a web page .'Sign in'"),
    "zeros.pth": (bytes(4096), "nothing but zeros; download it again"),
    "empty.zip": (b"PK\5\6" + bytes(18), "an empty zip; download it again"),
    "none.safetensors": (b"\2\0\0\0\0\0\0\0{}", "holds no tensors"),
    "lfs.pth": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 455\n",
        "a Git LFS pointer to 455 bytes, not the file itself; run `git lfs pull`",
    ),
    "json.pth": (b'{"message": "Not Found"}', "a JSON message .*Not Found.*download it again"),
    "xml.pth": (b'<?xml version="1.0"?><Error><Code>AccessDenied', "an XML message .*AccessDenied.*download it again"),
    "text.pth": (b"404: Not Found", "a text .'404: Not Found'., not weights; download it again"),
    "keras.h5": (b"\x89HDF\r\n\x1a\n" + bytes(500), "an HDF5 file, as of Keras; .*state_dict"),
    "saved_model.pb": (b"\x08\x01\x12\xa0\x04SavedModel", "a TensorFlow SavedModel"),
    "tf.ckpt.index": (b"\0\0\4\0" + bytes(range(99)), "the index of a TensorFlow checkpoint"),
    "table": (b"\0" * 99 + bytes.fromhex("57fb808b247547db"), "the index of a TensorFlow checkpoint"),
    "frozen.pb": (b"\x0a\x99\xff\x01", "a file of TensorFlow or Keras"),
    "lua.t7": (b"\4\0\0\0\1\0\0\0\3\0\0\0V 1\x0d\0\0\0nn.Sequential", "a Lua Torch file"),
    "model.onnx": (b"\x08\x07\x12\x07pytorch\x1a\x051.9.0", "an ONNX model"),
    "onnx.pth": (b"\x08\x08\x12\x07pytorch\x1a\x051.9.0", "an ONNX model"),
    "model.tflite": (b"\x1c\0\0\0TFL3" + bytes(99), "a TensorFlow Lite model"),
    "w.npy": (numpy_file(np.save), "a NumPy array"),
    "w.npz": (numpy_file(np.savez), "NumPy arrays"),
    "plain.pkl": (
        b"\x80\x04\x95\x0a\0\0\0\0\0\0\0}\x94\x8c\x01a\x94K\x01s.",
        "a plain pickle.*torch.save did not write it",
    ),
    "w.pth.gz": (b"\x1f\x8b\x08" + bytes(99), "a compressed file; unpack it first"),
    "photo.pth": (b"\x89PNG\r\n\x1a\n", "an image"),
    "noise.pth": (b"\xfe\x01\xff" * 99, "not a file of weights"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_of_another_kind_is_named_as_what_it_is_in_one_line(name, tmp_path):
    content, message = FOREIGN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImportRefused, match=f"{name}: {message}" if name != "frozen.pb" else message) as refused:
        read_in_process(tmp_path / name)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400


def test_what_is_packed_is_to_be_unpacked_first(tmp_path):
    torch.save(resnet(), tmp_path / "latest_net_G.pth")
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.write(tmp_path / "latest_net_G.pth", "models/latest_net_G.pth")
    with tarfile.open(tmp_path / "bundle.tar", "w") as bundle:
        bundle.add(tmp_path / "latest_net_G.pth", "latest_net_G.pth")
    with pytest.raises(ImportRefused, match=r"a zip with 'models/latest_net_G\.pth' inside; unpack it first"):
        read_in_process(tmp_path / "bundle.zip")
    with pytest.raises(ImportRefused, match=r"a tar with 'latest_net_G\.pth' inside; unpack it first"):
        read_in_process(tmp_path / "bundle.tar")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.999])
def test_a_cut_file_is_told_as_one_with_what_is_missing(zipped, share, tmp_path):
    torch.save(resnet(width=8), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    data = (tmp_path / "w.pth").read_bytes()
    keep = int(share * len(data))
    (tmp_path / "w.pth").write_bytes(data[:keep])
    with pytest.raises(
        ImportRefused, match=r"cut short: (at least )?(\d+) bytes missing; download it again"
    ) as refused:
        read_in_process(tmp_path / "w.pth")
    told, missing = int(str(refused.value).partition(" bytes missing")[0].rpartition(" ")[2]), len(data) - keep
    assert told == missing or (zipped and 0 < told <= missing and missing - told < 12_000)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_before_its_list_of_tensors_ends_is_told_as_cut(zipped, tmp_path):
    torch.save(resnet(width=8), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    (tmp_path / "w.pth").write_bytes((tmp_path / "w.pth").read_bytes()[:200])
    with pytest.raises(ImportRefused, match=r"cut short: it ends after 200 bytes, .*; download it again"):
        read_in_process(tmp_path / "w.pth")


def test_a_cut_safetensors_file_is_told_as_one(tmp_path):
    save_file(resnet(), tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:-77])
    with pytest.raises(ImportRefused, match="cut short: 77 bytes missing; download it again"):
        read_in_process(tmp_path / "w.safetensors")


def test_safetensors_and_torch_files_are_told_by_their_bytes(tmp_path):
    save_file(resnet(), tmp_path / "w.pth")
    torch.save(resnet(), tmp_path / "w.safetensors")
    for name in ("w.pth", "w.safetensors"):
        assert read_in_process(tmp_path / name).keys() == resnet().keys()


@pytest.mark.parametrize("name", ["epoch:12.pth", "last..best.pth", "..hidden.pth", "a..b:c d.pth"])
def test_the_name_at_saving_may_hold_colons_and_dots(name, tmp_path):
    torch.save(resnet(), tmp_path / name)
    (tmp_path / name).rename(tmp_path / "renamed.pth")
    assert read_in_process(tmp_path / "renamed.pth").keys() == resnet().keys()


def tar_of_torch_01(path, state, pickles=None):
    """As torch 0.1 wrote a state dict: storages, tensors by number, and a pickle that names the numbers."""

    def pickled(value):
        return torch.serialization.pickle.dumps(value, 2)

    def kind(name):  # a class of torch, by name
        return b"ctorch\n" + name + b"\n"

    storages, tensors = pickled(len(state)), pickled(len(state))
    names = b"\x80\x02ccollections\nOrderedDict\n)R("
    for at, (key, value) in enumerate(state.items(), 100):
        storages += b"\x80\x02(M" + struct.pack("<H", at) + b"X\x03\0\0\0cpu" + kind(b"FloatStorage") + b"t."
        storages += struct.pack("<q", value.numel()) + value.numpy().tobytes()
        tensors += b"\x80\x02(M" + struct.pack("<2H", at + 1000, 0)[:2] + b"M" + struct.pack("<H", at)
        tensors += kind(b"FloatTensor") + b"t." + struct.pack("<ii", value.dim(), 0)
        tensors += struct.pack(f"<{2 * value.dim() + 1}q", *value.shape, *value.stride(), 0)
        label, number = key.encode(), str(at + 1000).encode()
        names += b"X" + struct.pack("<I", len(label)) + label + b"X" + struct.pack("<I", len(number)) + number + b"Q"
    storages += pickled([])
    parts = {"storages": storages, "tensors": tensors, "pickle": names + b"u.", **(pickles or {})}
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in parts.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_a_tar_of_torch_01_is_imported(tmp_path):
    state = {key: value.contiguous() for key, value in resnet().items()}
    tar_of_torch_01(tmp_path / "old.pth", state)
    found = read_in_process(tmp_path / "old.pth")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], value) for key, value in state.items())
    theirs = torch.load(tmp_path / "old.pth", weights_only=False)  # torch's own reader takes it for one
    assert all(torch.equal(theirs[key], value) for key, value in state.items())


@pytest.mark.parametrize(
    ("member", "data", "message"),
    [
        ("storages", b"\x80\x02K\x03.", "a tar of torch 0.1 that is cut short; download it again"),
        ("tensors", b"\x80\x02K\x03.", "a tar of torch 0.1 that is cut short"),
        ("pickle", b"\x80\x02cposix\nsystem\n.", r"asks for more than tensors .*\(posix\.system\)"),
        ("pickle", b"\x80\x02K\x03.", "holds int, not a state dict"),
    ],
)
def test_a_damaged_or_harmful_tar_of_torch_01_is_refused(member, data, message, tmp_path):
    tar_of_torch_01(tmp_path / "old.pth", resnet(), {member: data})
    with pytest.raises(ImportRefused, match=message):
        read_in_process(tmp_path / "old.pth")


BESIDE = {"epoch": 3, "best": None, "name": "run", "losses": [1.0, 2.0], "optimizer": ADAM, "scheduler": {"last": 3}}


@pytest.mark.parametrize(
    "wrap",
    [
        *(
            lambda state, key=key: {key: state, **BESIDE}
            for key in ("model", "model_state_dict", "state_dict", "generator", "netG", "G", "params", "net")
        ),
        lambda state: {"params": {key: value + 1 for key, value in state.items()}, "params_ema": state},
        lambda state: {"ema": state, "state_dict": {key: value + 1 for key, value in state.items()}},
        lambda state: {"G": state, "D": {"model.0.weight": torch.zeros(3)}, "optim_G": ADAM},
        lambda state: {"netG_A2B": state, "netD_A": {"model.0.weight": torch.zeros(3)}},
        lambda state: {"generator": state, "discriminator": {"model.0.weight": torch.zeros(3)}},
        lambda state: {"checkpoint": {"model": {"module": state}}},
        *(
            lambda state, prefix=prefix: {prefix + key: value for key, value in state.items()}
            for prefix in ("generator.", "netG.", "module.module.", "module.netG.", "netG.module.", "G_AB.")
        ),
        lambda state: {
            "state_dict": {f"netG.{key}": value for key, value in state.items()}
            | {"netD.model.0.weight": torch.ones(1)},
            "hyper_parameters": {"lr": 0.1},
            "optimizer_states": [ADAM],
        },
    ],
)
def test_a_generator_is_found_in_its_wrapper(wrap, tmp_path):
    state = resnet()
    torch.save(wrap(state), tmp_path / "w.pth")
    found = read_in_process(tmp_path / "w.pth")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], value) for key, value in state.items())


def test_of_several_generators_one_is_chosen_by_name(tmp_path, here):
    a, b = resnet(), resnet()
    torch.save({"G_A": a, "G_B": b, "D_A": {"model.0.weight": torch.zeros(3)}, "epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(
        ImportRefused, match=r"several networks \('G_A', 'G_B', 'D_A'\): choose one, as by --which 'G_A'"
    ):
        import_model(tmp_path / "w.pth")
    with pytest.raises(ImportRefused, match=r"none called 'G_C'; did you mean 'G_[AB]'"):
        import_model(tmp_path / "w.pth", which=["G_C"])
    x = torch.rand(3, 16, 16)
    both = import_model(tmp_path / "w.pth", which=["G_B", "G_A"])
    torch.save(b, tmp_path / "b.pth")
    torch.save(a, tmp_path / "a.pth")
    assert torch.equal(both.tensor(x), import_model(tmp_path / "b.pth").tensor(x))
    assert torch.equal(both.tensor(x, direction="b2a"), import_model(tmp_path / "a.pth").tensor(x))
    assert torch.equal(
        import_model(tmp_path / "w.pth", which=["G_A"]).tensor(x), import_model(tmp_path / "a.pth").tensor(x)
    )
    with pytest.raises(ImportRefused, match="holds one network, and none called 'G_A'"):
        import_model(tmp_path / "a.pth", which=["G_A"])
    torch.save(
        {"state_dict": {f"G_A.{k}": v for k, v in a.items()} | {f"G_B.{k}": v for k, v in b.items()}},
        tmp_path / "w.pth",
    )
    assert torch.equal(import_model(tmp_path / "w.pth", which=["G_B"]).tensor(x), both.tensor(x))


def test_two_names_of_one_storage_are_imported(tmp_path):
    state = resnet()
    torch.save({"state_dict": state, "ema": state}, tmp_path / "w.pth")
    assert read_in_process(tmp_path / "w.pth").keys() == state.keys()
    tied = {**state, "model.99.weight": state["model.4.weight"]}
    torch.save(tied, tmp_path / "tied.pth")
    found = read(tmp_path / "tied.pth")
    assert found.keys() == tied.keys()
    assert all(torch.equal(found[key], value) for key, value in tied.items())


def test_an_optimisers_file_is_called_that(tmp_path):
    torch.save(ADAM, tmp_path / "optim_G.pth")
    torch.save({"optimizer": ADAM, "epoch": 3}, tmp_path / "trainer.pth")
    with pytest.raises(ImportRefused, match="the state of an optimiser, not of a network"):
        read_in_process(tmp_path / "optim_G.pth")
    with pytest.raises(
        ImportRefused, match=r"holds no network, only 'optimizer' \(the state of an optimiser\), 'epoch'"
    ):
        read_in_process(tmp_path / "trainer.pth")


@pytest.mark.parametrize("wild", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_with_tensor_and_count(wild, tmp_path):
    state = resnet()
    state["model.4.weight"][0, 0, 0, :2] = wild
    state["model.7.bias"][:1] = wild
    torch.save({"model": state}, tmp_path / "w.pth")
    with pytest.raises(
        ImportRefused, match=r"'model\.4\.weight' has 2 of 288 values that are not finite.*; and 1 in 1 more"
    ):
        read_in_process(tmp_path / "w.pth")


IMPORTED = ("cut_nonorm", "cut_resnet4", "msgan_bilinear", "model_key", "leg")


def test_each_file_that_others_tried_is_imported_or_named_in_one_line(here):
    folder = folder_of("DIPTYCH_CASES", "shared/cases") / "import"
    files = sorted(folder.iterdir())
    assert len(files) >= 22
    for path in files:
        if path.stem in IMPORTED:
            assert import_model(path).networks
            continue
        with pytest.raises(ImportRefused) as refused:
            import_model(path)
        assert str(refused.value).isprintable()
