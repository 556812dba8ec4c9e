"""Where published weights are found, what is refused, and that nothing in them is run. No network is needed."""

import hashlib
import socket
import sys
from pathlib import Path

import pytest
import torch
from attacks.make import torch_save
from safetensors.torch import save_file
from torch import nn

import diptych.evaluation
from diptych.errors import EvaluationError, ImportRefused
from diptych.importers import pretrained
from diptych.importers.pretrained import ALEXNET, INCEPTION, TF_FID, VGG16, Weights, fill, find, load
from diptych.system import atomic_files

CONTENT = b"not really weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Neither the cache nor the folder of whoever runs the tests."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("DIPTYCH_WEIGHTS", raising=False)
    return tmp_path / "torch" / "hub" / "checkpoints"


def published(tmp_path, content=CONTENT, sha256=SHA256[:8]):
    """A file of weights whose server is this machine's disk."""
    (tmp_path / "server").mkdir(exist_ok=True)
    (tmp_path / "server" / "net.pth").write_bytes(content)
    return Weights("net.pth", (tmp_path / "server" / "net.pth").as_uri(), sha256)


NOWHERE = Weights("net.pth", "http://127.0.0.1:9/net.pth", SHA256[:8])  # no server listens at port 9


def put(folder, name="net.pth", content=CONTENT):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def test_names_and_digests_are_those_that_torchvision_publishes():
    from torchvision import models

    for ours, theirs in (
        (INCEPTION, models.Inception_V3_Weights.IMAGENET1K_V1),
        (ALEXNET, models.AlexNet_Weights.IMAGENET1K_V1),
        (VGG16, models.VGG16_Weights.IMAGENET1K_V1),
    ):
        assert ours.url == theirs.url


@pytest.mark.parametrize("each", [INCEPTION, ALEXNET, VGG16, TF_FID], ids=lambda each: each.file)
def test_file_address_and_digest_agree(each):
    assert each.url.endswith(f"/{each.file}")
    assert each.file.removesuffix(".pth").endswith(f"-{each.sha256}")
    assert len(each.sha256) == 8


def test_the_file_that_is_given_goes_before_all_others(tmp_path, monkeypatch, elsewhere):
    monkeypatch.setenv("DIPTYCH_WEIGHTS", str(tmp_path / "mine"))
    put(tmp_path / "mine"), put(elsewhere)
    given = put(tmp_path, "renamed.pth")
    assert find(NOWHERE, given) == (given, SHA256)


def test_the_folder_of_the_environment_goes_before_torchs_cache(tmp_path, monkeypatch, elsewhere):
    mine, cached = put(tmp_path / "mine"), put(elsewhere)
    assert find(NOWHERE) == (cached, SHA256)
    monkeypatch.setenv("DIPTYCH_WEIGHTS", str(mine.parent))
    assert find(NOWHERE) == (mine, SHA256)
    mine.unlink()
    assert find(NOWHERE) == (cached, SHA256)


def test_a_safetensors_stands_for_the_published_file_under_a_digest_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPTYCH_WEIGHTS", str(tmp_path))
    other = put(tmp_path, "net.safetensors", b"other bytes")
    assert find(NOWHERE) == (other, hashlib.sha256(b"other bytes").hexdigest())


@pytest.mark.parametrize("where", ["given", "environment", "cache"])
def test_another_file_of_that_name_is_refused_by_name_wherever_it_lies(where, tmp_path, monkeypatch, elsewhere):
    monkeypatch.setenv("DIPTYCH_WEIGHTS", str(tmp_path / "mine"))
    wrong = put({"given": tmp_path, "environment": tmp_path / "mine", "cache": elsewhere}[where], content=b"other")
    right = published(tmp_path)  # could be had, but nothing is put in the place of what a person has
    with pytest.raises(EvaluationError) as caught:
        find(right, wrong if where == "given" else None)
    for part in (str(wrong), hashlib.sha256(b"other").hexdigest()[:8], SHA256[:8], right.url):
        assert part in str(caught.value)


def test_a_given_file_that_is_not_there_is_not_replaced_by_another(tmp_path, elsewhere):
    put(elsewhere)
    with pytest.raises(EvaluationError, match=r"lost\.pth: no such file; net\.pth is published at http:"):
        find(NOWHERE, tmp_path / "lost.pth")


def test_what_is_nowhere_is_fetched_once_and_kept_in_torchs_cache(tmp_path, elsewhere, capfd):
    fetched = published(tmp_path)
    assert find(fetched) == (elsewhere / "net.pth", SHA256)
    (tmp_path / "server" / "net.pth").unlink()
    assert find(fetched) == (elsewhere / "net.pth", SHA256)
    assert capfd.readouterr() == ("", "")


def test_without_network_one_error_says_what_from_where_and_to_where(tmp_path, monkeypatch, elsewhere):
    monkeypatch.setenv("DIPTYCH_WEIGHTS", str(tmp_path / "mine"))
    with pytest.raises(EvaluationError) as caught:
        find(NOWHERE)
    for part in ("net.pth", NOWHERE.url, "$DIPTYCH_WEIGHTS", str(tmp_path / "mine"), str(elsewhere), "--weights"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    monkeypatch.delenv("DIPTYCH_WEIGHTS")
    with pytest.raises(EvaluationError, match="it is not set"):
        find(NOWHERE)


def test_what_was_fetched_wrong_is_not_kept(tmp_path, elsewhere):
    with pytest.raises(EvaluationError, match="invalid hash value"):
        find(published(tmp_path, sha256="00000000"))
    assert not list(elsewhere.iterdir())


def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(atomic_files, "DOWNLOAD_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/net.pth"
        with pytest.raises(EvaluationError, match=r"cannot be downloaded \(.*timed out"):
            find(Weights("net.pth", address, SHA256[:8]))
    assert socket.getdefaulttimeout() is None


def test_a_cache_that_cannot_be_written_is_named(tmp_path, elsewhere):
    put(tmp_path, "torch", b"a file where a folder should be")
    with pytest.raises(EvaluationError, match="cannot be downloaded"):
        find(published(tmp_path))


def test_a_published_file_that_means_harm_is_refused_and_runs_nothing(tmp_path):
    torch_save(tmp_path / "net.pth", tmp_path / "canary")
    digest = hashlib.sha256((tmp_path / "net.pth").read_bytes()).hexdigest()
    harmful = Weights("net.pth", NOWHERE.url, digest[:8])
    with pytest.raises(ImportRefused, match=r"net\.pth: asks for more than tensors"):
        load(harmful, tmp_path / "net.pth")
    assert not (tmp_path / "canary").exists()


def test_sound_files_are_read_by_the_same_way(tmp_path):
    state = {"a.weight": torch.randn(3, 2), "a.num_batches_tracked": torch.tensor(7)}
    torch.save(state, tmp_path / "net.pth")
    digest = hashlib.sha256((tmp_path / "net.pth").read_bytes()).hexdigest()
    save_file(state, tmp_path / "net.safetensors")
    for file in ("net.pth", "net.safetensors"):
        found, sha256, path = load(Weights("net.pth", NOWHERE.url, digest[:8]), tmp_path / file)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[key], state[key]) for key in state)
        assert path == tmp_path / file
        assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_nothing_in_the_room_reads_pickles_itself():
    for file in Path(diptych.evaluation.__path__[0]).glob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert not any(word in text for word in ("torch.load(", "pickle", "load_state_dict_from_url"))


def blank():
    with torch.device("meta"):
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def sound():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).state_dict()


def test_a_network_takes_weights_of_half_precision_and_without_counters():
    state = {key: value.half() for key, value in sound().items() if not key.endswith("tracked")}
    net = blank()
    fill(net, state, "net.pth")
    assert net(torch.ones(1, 1, 3, 3)).dtype == torch.float32
    assert not net.training
    assert not any(p.requires_grad for p in net.parameters())
    assert torch.equal(net[0].weight, state["0.weight"].float())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.weight": None}, "0.weight is missing"),
        ({"2.weight": torch.zeros(1)}, "2.weight is unknown"),
        ({"0.weight": torch.zeros(2, 3, 3, 3)}, r"0.weight is \(2, 3, 3, 3\), not \(2, 1, 3, 3\)"),
    ],
    ids=["missing", "unknown", "shape"],
)
def test_weights_of_another_network_are_refused_by_name(change, message):
    state = {key: value for key, value in (sound() | change).items() if value is not None}
    with pytest.raises(EvaluationError, match=rf"net\.pth: not the weights of this network.*{message}"):
        fill(blank(), state, "net.pth")


def test_without_torchvision_one_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(EvaluationError, match="pip install torchvision"):
        pretrained.models()
