"""Damaged and incomplete files: `diptych import` refuses each with its cause, and replaces no file of a user."""

import io
import os
import zipfile

import numpy as np
import pytest
import torch
from commands import diptych
from torch_files import bn, conv, resnet

from diptych.errors import ConfigError, ImageError, ImportRefused
from diptych.importers import import_model as importers
from diptych.importers import pix2pix_family, srgan, stargan
from diptych.importers.import_model import import_model
from diptych.importers.sandbox import read_in_process
from diptych.importers.wrappers import state_of


@pytest.fixture
def here(monkeypatch):
    """Files of our own are read in this process, which takes no time; a child for each takes seconds."""
    monkeypatch.setattr(importers, "read", read_in_process)


def saved(state, tmp_path, **options):
    torch.save(state, tmp_path / "latest_net_G.pth", **options)
    return tmp_path / "latest_net_G.pth"


def overwritten(path, member, data):
    """Bytes of the middle of one member of a zip become `data`; its checksum stays."""
    with zipfile.ZipFile(path) as archive:
        (info,) = [each for each in archive.infolist() if each.filename.endswith(member)]
        body = archive.read(info)
    content = bytearray(path.read_bytes())
    at = content.index(body, info.header_offset) + len(body) // 2
    content[at : at + len(data)] = data
    path.write_bytes(content)


@pytest.mark.parametrize("member", ["/data/4", "/version"])
def test_a_zip_whose_member_differs_from_its_checksum_is_refused(member, tmp_path):
    path = saved(resnet(), tmp_path)
    overwritten(path, member, b"\0" if member == "/version" else bytes(64))
    with pytest.raises(
        ImportRefused, match=rf"damaged: the checksum of member '.*{member}' differs; download it again"
    ):
        read_in_process(path)


def test_a_zip_written_without_checksums_is_imported(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        path = saved(resnet(), tmp_path)
    finally:
        torch.serialization.set_crc32_options(before)
    assert read_in_process(path).keys() == resnet().keys()


def test_an_output_folder_with_files_is_refused_and_left_alone(tmp_path):
    path = saved(resnet(), tmp_path)
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty, and its files might be replaced: choose a new folder"):
        diptych("import", path, "-o", tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["README.md", "latest_net_G.pth"]


def enlarger(blocks=3, width=4):
    """A state dict of SRGAN's public code."""
    state = {}
    conv(state, "block1.0", (width, 3, 9, 9), True)
    state["block1.1.weight"] = torch.tensor([0.25])
    for number in range(2, 2 + blocks):
        for at in "12":
            conv(state, f"block{number}.conv{at}", (width, width, 3, 3), True)
            bn(state, f"block{number}.bn{at}", width)
        state[f"block{number}.prelu.weight"] = torch.tensor([0.2])
    conv(state, f"block{2 + blocks}.0", (width, width, 3, 3), True)
    state[f"block{2 + blocks}.1.weight"] = torch.tensor([0.3])
    for number in range(2):
        conv(state, f"block{3 + blocks}.{number}.conv", (4 * width, width, 3, 3), True)
        state[f"block{3 + blocks}.{number}.prelu.weight"] = torch.tensor([0.1])
    conv(state, f"block{3 + blocks}.2", (3, width, 9, 9), True)
    return state


def star(blocks=3, width=4):
    """A state dict of StarGAN's public generator for two labels."""
    state = {}

    def layer(at, shape, channels):
        state[f"main.{at}.weight"] = torch.randn(shape) / 10
        state[f"main.{at + 1 if isinstance(at, int) else at[:-1] + str(int(at[-1]) + 1)}.weight"] = torch.ones(channels)
        state[f"main.{at + 1 if isinstance(at, int) else at[:-1] + str(int(at[-1]) + 1)}.bias"] = torch.zeros(channels)

    layer(0, (width, 5, 7, 7), width)
    layer(3, (2 * width, width, 4, 4), 2 * width)
    layer(6, (4 * width, 2 * width, 4, 4), 4 * width)
    for block in range(9, 9 + blocks):
        for at in (0, 3):
            layer(f"{block}.main.{at}", (4 * width, 4 * width, 3, 3), 4 * width)
    layer(9 + blocks, (4 * width, 2 * width, 4, 4), 2 * width)
    layer(12 + blocks, (2 * width, width, 4, 4), width)
    state[f"main.{15 + blocks}.weight"] = torch.randn(3, width, 7, 7) / 10
    return state


def without(state, prefix):
    return {key: value for key, value in state.items() if not key.startswith(prefix)}


def test_the_whole_networks_of_this_file_are_imported(tmp_path, here):
    assert import_model(saved(enlarger(), tmp_path)).name == "srgan"
    assert import_model(saved(star(), tmp_path)).name == "stargan"


@pytest.mark.parametrize("key", ["foo.weight", "block2.ca.weight", "block5.2.weight"])
def test_unknown_tensors_beside_a_generator_of_srgan_are_refused(key):
    with pytest.raises(ImportRefused, match=f"'{key}' is unknown"):
        srgan.model({**enlarger(), key: torch.ones(4, 4, 1, 1)}, (), "x")


@pytest.mark.parametrize(
    ("read_as", "state", "prefix", "named"),
    [
        (pix2pix_family.recognise, resnet(6), "model.12.", "residual block model.12"),
        (pix2pix_family.recognise, resnet(6), "model.10.", "residual block model.10"),
        (lambda state, where: stargan.model(state, (), where), star(), "main.10.", "residual block main.10"),
        (lambda state, where: srgan.model(state, (), where), enlarger(), "block3.", "block3"),
        (lambda state, where: srgan.model(state, (), where), enlarger(), "block5.", "block5"),
        (lambda state, where: srgan.model(state, (), where), enlarger(), "block6.0.", r"block6\.0\.conv"),
    ],
    ids=["resnet", "first", "stargan", "srgan", "joint", "shuffle"],
)
def test_a_missing_block_does_not_make_a_smaller_network(read_as, state, prefix, named):
    with pytest.raises(ImportRefused, match=f"{named} is missing, though .* is there: the file is incomplete"):
        read_as(without(state, prefix), "x")


def test_values_that_float32_cannot_hold_are_refused(tmp_path):
    state = {key: value.double() for key, value in resnet().items()}
    state["model.4.weight"][0, 0, 0, 0] = 1e300
    with pytest.raises(ImportRefused, match=r"'model\.4\.weight' has 1 of 288 values that are not finite .*in float32"):
        read_in_process(saved(state, tmp_path))


def test_variances_below_zero_are_refused(tmp_path):
    state = resnet(norm="batch")
    state["model.2.running_var"][0] = -1
    with pytest.raises(ImportRefused, match=r"'model\.2\.running_var' has 1 of 4 variances below 0"):
        read_in_process(saved(state, tmp_path))


def test_a_translation_that_is_not_finite_is_an_error_that_names_image_and_model(tmp_path, here):
    state = {key: value * 1e10 for key, value in resnet(norm="none").items()}  # finite, but their products are not
    translator = import_model(saved(state, tmp_path))
    with pytest.raises(ImageError, match=r"photo\.png: the cyclegan model returns values that are not finite"):
        translator.array(np.full((16, 16, 3), 99, np.uint8), "photo.png")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_another_pickle_protocol_is_named_with_the_way_out(protocol, zipped, tmp_path):
    path = saved(resnet(), tmp_path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        ImportRefused, match=f"saved with pickle protocol {protocol}, and only protocol 2.*save it again"
    ):
        read_in_process(path)


def test_a_damaged_list_of_tensors_is_not_called_a_program(tmp_path):
    path = saved(resnet(), tmp_path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    at = data.index(b"model.1.weight") - 5
    path.write_bytes(data[:at] + b"\xff" + data[at + 1 :])
    with pytest.raises(ImportRefused, match=r"damaged: its list of tensors .*; download it again") as refused:
        read_in_process(path)
    assert "asks for more than tensors" not in str(refused.value)


def test_what_is_no_regular_file_is_named_as_what_it_is(tmp_path, here):
    (tmp_path / "model").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, message in (("model", "a folder; give"), ("pipe", "a device, pipe or socket"), ("loop", "link")):
        with pytest.raises(ImportRefused, match=f"{name}: .*{message}"):
            read_in_process(tmp_path / name)
    path = saved(resnet(), tmp_path)
    import_model(path).save(tmp_path / "model")
    with pytest.raises(ImportRefused, match=r"a model folder of Diptych already .*use it as it is"):
        read_in_process(tmp_path / "model")


def test_a_checkpoint_that_was_zipped_again_or_exported_is_named(tmp_path):
    path = saved(resnet(), tmp_path)
    again = tmp_path / "again.pth"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(again, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    with pytest.raises(ImportRefused, match=r"torch only stores \(if another program zipped it again"):
        read_in_process(again)
    with zipfile.ZipFile(tmp_path / "net.pt2", "w") as new:
        new.writestr("net/archive_format", "pt2")
        new.writestr("net/data/weights/weight_0", "x")
    with pytest.raises(ImportRefused, match=r"a program of torch\.export \(\.pt2\), not weights"):
        read_in_process(tmp_path / "net.pt2")


@pytest.mark.parametrize(
    ("content", "message"), [({}, "holds no tensors"), ([{"a": torch.ones(1)}] * 2, "holds a list of 2.*save the gen")]
)
def test_what_holds_no_state_dict_is_refused_with_the_way_out(content, message):
    out = io.BytesIO()
    torch.save(content, out)
    with pytest.raises(ImportRefused, match=message):
        state_of(torch.load(io.BytesIO(out.getvalue())), None, 10**6, "x")


def critic(layers=3, suffix="weight"):
    wide = [3, *(4 * 2 ** min(n, 3) for n in range(layers + 1)), 1]
    places = [0, *range(2, 3 * layers + 3, 3)]
    pairs = zip(places, wide, wide[1:], strict=False)
    return {f"model.{at}.{suffix}": torch.ones(out, read, 4, 4) for at, read, out in pairs}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (critic(), "discriminator"),
        (critic(7), "discriminator"),
        (critic(3, "weight_orig"), "a PatchGAN discriminator"),
        ({"a.cnns.0.0.conv.weight": torch.ones(4, 3, 4, 4), "b.cnns.0.0.conv.bias": torch.ones(4)}, "of MUNIT"),
    ],
    ids=["3", "7", "spectral", "munit"],
)
def test_a_discriminator_is_called_that(state, message, tmp_path, here):
    with pytest.raises(ImportRefused, match=f"{message}.*translates? nothing"):
        import_model(saved(state, tmp_path))


def test_options_that_do_not_fit_the_file_are_told_to_be_left_out(tmp_path, here):
    path = saved(resnet(), tmp_path)
    torch.save(enlarger(), tmp_path / "sr.pth")
    with pytest.raises(ImportRefused, match="no method is called 'cyclgan'; did you mean 'cyclegan'"):
        import_model(path, method="cyclgan")
    with pytest.raises(ImportRefused, match="generator of srgan, not of cyclegan; leave out --method"):
        import_model(tmp_path / "sr.pth", method="cyclegan")
    with pytest.raises(
        ImportRefused, match=r"sr\.pth: a generator of srgan, but .* is one of cyclegan: leave out --back"
    ):
        import_model(path, tmp_path / "sr.pth")
    with pytest.raises(ImportRefused, match="holds one network, and none called 'netG': leave out --which"):
        import_model(path, which=["netG"])


@pytest.mark.parametrize("key", ["model.1.weight", "model.23.weight", "model.4.weight", "model.12.conv_block.5.weight"])
@pytest.mark.parametrize("change", ["drop", "flatten"])
def test_a_message_has_no_words_of_python(key, change):
    state = resnet()
    value = state.pop(key)
    if change == "flatten":
        state[key] = value.flatten()
    with pytest.raises(ImportRefused) as refused:
        pix2pix_family.recognise(state, "x")
    for words in ("index out of range", "\"'", "Error", "not enough values"):
        assert words not in str(refused.value)


@pytest.mark.parametrize("count", [3, 4])
def test_more_downsampling_layers_are_named_as_the_cause(count):
    state = {f"model.{at}.weight": torch.ones(4, 4, 3, 3) for at in range(1, 4 + 3 * count, 3)}
    state |= {
        f"model.{4 + 3 * count + n}.conv_block.{at}.weight": torch.ones(4, 4, 3, 3) for n in (0, 1) for at in (1, 5)
    }
    with pytest.raises(ImportRefused, match=f"with {count} downsampling layers, as of pix2pixHD; only 2"):
        pix2pix_family.recognise(state, "x")
