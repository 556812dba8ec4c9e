"""Whatever bytes and tensors are given to `diptych import`: a translator, or one line that says why not."""

import io
import tempfile
import warnings
from functools import cache
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from published import munit, noisy_unet, resnet, unet
from safetensors.torch import save
from test_import_files import FOREIGN, tar_of_torch_01

from diptych.errors import ImportRefused
from diptych.importers import import_model
from diptych.importers.sandbox import read_in_process


@cache
def contents():
    """A file of each form, small."""
    state, found = resnet(1, width=1).state_dict(), {}
    for name, zipped in (("zip", True), ("stream", False)):
        out = io.BytesIO()
        torch.save({"epoch": 3, "state_dict": state}, out, _use_new_zipfile_serialization=zipped)
        found[name] = out.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        tar_of_torch_01(Path(folder) / "x", {key: value.contiguous() for key, value in state.items()})
        found["tar"] = (Path(folder) / "x").read_bytes()
    return {**found, "safetensors": save(state), **{name: content for name, (content, _) in FOREIGN.items()}}


def is_one_line_or_a_model(act):
    refused = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on what it then refuses, as in the child
            act()
    except ImportRefused as error:
        refused = str(error)
    assert not refused or refused.isprintable()
    assert len(refused) < 3000


@settings(deadline=None, max_examples=150)  # the machine may be busy
@given(
    st.sampled_from(["zip", "stream", "tar", "safetensors", *FOREIGN]),
    st.sampled_from([".pth", ".safetensors", ".h5", ""]),
    st.none() | st.floats(0, 1),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), max_size=4),
    st.binary(max_size=9),
)
def test_cut_and_changed_files_of_each_kind_give_no_traceback(kind, suffix, cut, changes, behind):
    data = bytearray(contents()[kind])
    for place, new in changes:
        at = int(place * len(data))
        data[at : at + len(new)] = new
    data = data[: len(data) if cut is None else int(cut * len(data))] + behind
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}"
        path.write_bytes(data)
        is_one_line_or_a_model(lambda: read_in_process(path))


KEYS = (
    "model.model.0.weight", "model.model.1.model.3.model.1.weight", "model.0.weight", "net.0.weight", "net.2.weight",
    "model.1.weight", "model.10.conv_block.1.weight", "model.12.conv_block.5.weight", "model.7.filt", "model.11.filt",
    "model.down.0.weight", "model.submodule.down.1.weight", "model.submodule.up.3.weight", "model.up.1.weight",
    "main.0.weight", "main.9.main.0.weight", "main.21.weight", "conv1.weight", "conv2.weight", "block1.0.weight",
    "block2.conv1.weight", "block8.0.conv.weight", "generator.from_rgb.weight", "generator.encode.0.conv2.weight",
    "generator.hpf.filter", "mapping_network.shared.0.weight", "mapping_network.unshared.0.6.weight",
    "enc_c.convA.0.model.1.weight", "enc_c.convB.0.model.1.weight", "enc_a.fc_A.0.weight", "enc_a.model_a.16.weight",
    "gen.dec_share.0.model.1.weight", "gen.decA4.0.weight", "a.enc_content.model.0.conv.weight",
    "b.enc_content.model.0.conv.weight", "a.mlp.model.0.fc.weight", "a.enc_content.model.9.conv.weight", "x.\x1b[31m",
)  # fmt: skip
SHAPES = st.lists(st.integers(1, 9), max_size=5)
DTYPES = st.sampled_from([torch.float32, torch.float16, torch.int64, torch.complex64, torch.bool])
TENSORS = st.builds(lambda shape, dtype: torch.ones(shape, dtype=dtype), SHAPES, DTYPES)


@cache
def whole(name):
    torch.manual_seed(0)
    if name == "munit":
        return {f"{at}.{key}": value for at, net in munit(1).items() for key, value in net.state_dict().items()}
    made = {
        "resnet": lambda: resnet(2, width=2), "batch": lambda: resnet(1, width=2, norm="batch", bias=True),
        "cut": lambda: resnet(2, width=2, filtered=True), "unet": lambda: unet(5), "msgan": noisy_unet,
    }  # fmt: skip
    return dict(made[name]().state_dict())


def is_understood(state):
    """As `import_model` does with what the child hands over."""
    before, import_model.read = import_model.read, lambda path, which=None: state
    try:
        is_one_line_or_a_model(lambda: import_model.import_model(Path("x.pth")))
    finally:
        import_model.read = before


@settings(deadline=None, max_examples=80)
@given(st.dictionaries(st.sampled_from(KEYS) | st.text(min_size=1, max_size=9), TENSORS, min_size=1, max_size=8))
def test_any_names_and_shapes_give_no_traceback(state):
    is_understood(state)


@settings(deadline=None, max_examples=80)
@given(st.sampled_from(["resnet", "batch", "cut", "unet", "msgan", "munit"]), st.data())
def test_networks_with_a_few_tensors_changed_give_no_traceback(name, data):
    state = dict(whole(name))
    for key in data.draw(st.lists(st.sampled_from(sorted(state)), max_size=3, unique=True)):
        value, change = state.pop(key), data.draw(st.sampled_from(["drop", "rename", "replace", "flatten"]))
        if change == "rename":
            state[data.draw(st.sampled_from([key.replace("model", "m"), key[:-1], f"{key}.x", *KEYS]))] = value
        elif change != "drop":
            state[key] = value.flatten() if change == "flatten" else data.draw(TENSORS)
    if state:
        is_understood(state)
