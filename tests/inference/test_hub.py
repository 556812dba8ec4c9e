"""Models on the hub: push, load by revision, cached copies without a connection, errors, and the model card.

A server of the hub's endpoints runs in this process (`hub_server.py`).
"""

from io import BytesIO

import numpy as np
import pytest
import yaml
from hub_server import READER, WRITER, Repository, hub_server, use
from huggingface_hub import ModelCard, constants
from PIL import Image
from translators import made

import diptych
from diptych.errors import CheckpointError, ConfigError, HubError
from diptych.inference import hub, hub_card
from diptych.inference.hub import HubId, hub_id_of, parse_hub_id
from diptych.inference.hub_card import Metric
from diptych.inference.translator import Translator

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the client, in its own code
PIXELS = np.random.default_rng(0).integers(0, 256, (37, 41, 3), np.uint8)


@pytest.fixture(scope="module")
def running():
    with hub_server() as server:
        yield server


@pytest.fixture
def server(running, tmp_path, monkeypatch):
    """The server without repositories, as the hub of this process, with an empty cache."""
    running.repositories.clear()
    running.requests.clear()
    running.down = False
    use(running, tmp_path / "cache", monkeypatch)
    return running


@pytest.fixture(scope="module")
def translator():
    return made()


def files_of(server, name):
    repository, _, commit = name.partition("@")
    return server.repositories[repository].commits[commit]


def without_token(monkeypatch):
    monkeypatch.delenv("HF_TOKEN")


def test_a_model_that_was_pushed_and_loaded_returns_the_same_bytes(server, translator, capsys):
    name = translator.push_to_hub("me/mine", license="mit")
    assert set(files_of(server, name)) == {"config.json", "model.safetensors", "README.md"}
    loaded = Translator.from_pretrained("me/mine", device="cpu")
    assert np.array_equal(loaded(PIXELS), translator(PIXELS))
    assert capsys.readouterr().err == f"me/mine: loaded {name} from the hub\n"
    assert ("PUT", True) in {(verb, path.startswith("lfs/")) for verb, path, _ in server.requests}


def test_a_revision_is_a_branch_or_the_commit_that_load_printed(server, translator, capsys):
    first = translator.push_to_hub("me/mine", license="mit")
    other = made(generator="unet_32", ngf=4)
    branch = other.push_to_hub("me/mine@small", license="mit")
    second = other.push_to_hub("me/mine", license="mit")
    assert second != first
    for source, expected in ((first, translator), ("me/mine", other), ("me/mine@small", other), (second, other)):
        assert np.array_equal(diptych.load(source, device="cpu")(PIXELS), expected(PIXELS))
    assert f"me/mine@small: loaded {branch} from the hub" in capsys.readouterr().err
    server.requests.clear()
    diptych.load(first, device="cpu")
    assert not server.requests, "a commit in the cache needs no connection"


def test_nothing_but_the_files_of_a_model_is_downloaded(server, translator):
    files = files_of(server, translator.push_to_hub("me/mine", license="mit"))
    files |= {"evil.py": b"1 / 0", "pytorch_model.bin": b"pickle", "images/1.png": b"png"}
    folder = hub.download(HubId("me/mine"))
    assert {path.name for path in folder.rglob("*")} == {"config.json", "model.safetensors", "README.md"}


def test_without_a_connection_the_cached_copy_is_loaded(server, translator, monkeypatch, capsys):
    name = translator.push_to_hub("me/mine", license="mit")
    diptych.load("me/mine", device="cpu")
    capsys.readouterr()
    server.down = True
    with pytest.warns(UserWarning, match=rf"{server.url} answers: maintenance; using the cached copy"):
        assert np.array_equal(diptych.load("me/mine", device="cpu")(PIXELS), translator(PIXELS))
    assert capsys.readouterr().err == f"me/mine: loaded {name} from the cache\n"
    server.down = "proxy"
    with pytest.warns(UserWarning, match=r"does not answer as a hub \(.*; using the cached copy"):
        diptych.load("me/mine", device="cpu")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    diptych.load("me/mine", device="cpu")
    with pytest.raises(HubError, match=rf"HF_HUB_OFFLINE is set and {server.url} is not asked; no copy .* cache, /"):
        diptych.load("me/mine@other", device="cpu")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"http://127.0.0.1:9 cannot be reached \(.*refused\); no copy of it is in the"):
        diptych.load("you/yours", device="cpu")


def test_each_refusal_of_the_hub_is_one_message(server, monkeypatch):
    server.repositories |= {
        "me/private": Repository(private=True),
        "me/gated": Repository(gated=True),
        "me/empty": Repository(),
        "me/large": Repository(sizes={"config.json": 2**30}),
    }
    server.repositories["me/large"].commits["0" * 40] = {"config.json": b"", "model.safetensors": b""}
    server.repositories["me/gated"].commits["0" * 40] = {"config.json": b"", "model.safetensors": b""}
    cases = {
        "me/none": "no such model repository, or your token may not read it",
        "me/gated": f"gated: request access at {server.url}/me/gated",
        "me/empty@v9": "me/empty has no such branch, tag or commit; it has main",
        "me/empty": "not a model of Diptych: the repository has no config.json and no model.safetensors",
        "me/large": r"config.json has 1073741824 bytes; at most 262,144 are downloaded",
    }
    for source, message in cases.items():
        with pytest.raises(HubError, match=message):
            diptych.load(source)
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    with pytest.raises(
        HubError, match=r"does not accept the token .*: log in again \(`hf auth login`, or set HF_TOKEN"
    ):
        diptych.load("me/empty")
    without_token(monkeypatch)
    for source in ("me/private", "me/none"):
        with pytest.raises(HubError, match=r"no such public model repository; for a private one log in \(`hf auth"):
            diptych.load(source)
    assert not any("resolve" in path for verb, path, _ in server.requests if verb == "GET"), "nothing was downloaded"


def test_a_push_that_cannot_succeed_uploads_nothing(server, translator, monkeypatch):
    server.repositories["me/public"] = Repository()
    for repository, options, message in (
        ("me/mine", {"license": ""}, "needs a licence: give one with --license"),
        ("me/mine", {"license": "MIT"}, r"'MIT': expected an id such as .*did you mean 'mit'\?"),
        ("mine", {}, "expected the name of a model repository, user/name"),
        ("me/mine", {"revision": "a" * 40}, "expected the name of a branch"),
        ("me/mine@one", {"revision": "two"}, "the revision is one here and two elsewhere"),
        ("me/public", {"private": True}, "me/public exists and is public, so nothing was uploaded"),
    ):
        with pytest.raises((ConfigError, HubError), match=message):
            translator.push_to_hub(repository, **{"license": "mit", **options})
    monkeypatch.setenv("HF_TOKEN", READER)
    with pytest.raises(HubError, match=r"forbids this \(this token has no write access\)"):
        translator.push_to_hub("me/mine", license="mit")
    without_token(monkeypatch)
    with pytest.raises(HubError, match="needs a token with write access: log in"):
        translator.push_to_hub("me/mine", license="mit")
    assert not any("commit" in path for _, path, _ in server.requests)


def test_a_private_repository_is_loaded_with_a_token(server, translator):
    translator.push_to_hub("me/mine", license="other", private=True)
    assert server.repositories["me/mine"].private
    diptych.load("me/mine", device="cpu")
    assert {token for verb, path, token in server.requests if "resolve" in path} == {WRITER}


def test_images_are_shown_only_on_request_and_those_of_the_last_push_are_removed(server, translator, tmp_path):
    secret = tmp_path / "patient-7.png"
    Image.fromarray(PIXELS).save(secret)
    first = files_of(server, translator.push_to_hub("me/mine", license="mit", samples=[secret]))
    card = first["README.md"].decode()
    assert "![source 1 and its translation](images/1.png)" in card
    assert b"patient" not in b"".join(first.values())
    with Image.open(BytesIO(first["images/1.png"])) as drawn:
        assert np.array_equal(np.asarray(drawn)[:37, :41], PIXELS)
    first["images/logo.png"] = b"of the user"
    second = files_of(server, translator.push_to_hub("me/mine", license="mit"))
    assert set(second) == {"config.json", "model.safetensors", "README.md", "images/logo.png"}


def test_a_sample_image_has_bounded_size_and_no_metadata():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 1400, 3), np.uint8))
    noise.info["comment"] = "taken by somebody"
    data, suffix = hub_card.encoded(noise)
    assert (suffix, len(data) <= hub.MAX_IMAGE_BYTES, b"somebody" in data) == (".jpg", True, False)


def test_the_card_has_licence_dataset_and_metrics_that_the_client_reads(translator):
    metrics = [
        Metric("paired-default/1", "test", "psnr", 20.2, 19.6, 20.9, 154, "dB"),
        Metric("paired-default/1", "test", "a-b/l1", 0.06, 0.05, 0.07, 154, own_data=False),
    ]
    text = hub_card.write_card(translator, HubId("me/mine", "v1"), "cc-by-nc-4.0", "me/facades", metrics)
    card = ModelCard(text).data
    assert (card.license, card.library_name, card.datasets) == ("cc-by-nc-4.0", "diptych", ["me/facades"])
    first, second = card.eval_results
    assert (first.metric_type, first.metric_value, first.dataset_split) == ("psnr", 20.2, "test")
    assert first.metric_args == {"protocol": "paired-default/1", "interval_95": [19.6, 20.9], "images": 154}
    assert (first.dataset_name, second.dataset_name) == ("me/facades", "another dataset")
    assert "| `paired-default/1` | `test` | `psnr` | 20.2 dB | 19.6 to 20.9 | 154 |" in text
    assert 'diptych.load("me/mine@v1")' in text


def test_text_in_the_card_is_no_markup(translator):
    text = hub_card.write_card(translator, HubId("me/mine"), "mit", "![x](http://evil.example)\n# Heading")
    assert "\n# Heading" not in text
    assert "`![x](http://evil.example)\\n# Heading`" in text
    assert "datasets" not in yaml.safe_load(text.split("---")[1])


def test_a_path_is_not_taken_for_a_hub_id(tmp_path, monkeypatch, server):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert hub_id_of("runs/facades") is None
    assert hub_id_of("someone/facades@v1.0") == HubId("someone/facades", "v1.0")
    assert hub_id_of("hf://runs/facades") == hub_id_of("hf:/runs/facades") == HubId("runs/facades")
    with pytest.raises(CheckpointError, match="nor a hub id; `hf://runs/facades` is that of the hub"):
        diptych.load("runs/facades")
    for text in ("a", "a/b/c", "../b", "a/b@", "a/b@x y", "a/b@../c", "/a/b", "a--b/c", "http://a/b"):
        assert parse_hub_id(text) is None
