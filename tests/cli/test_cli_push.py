"""`diptych push`, and the other commands with a hub id, against a server of the hub's endpoints."""

import json
import shutil
import subprocess
import sys

import pytest
from commands import diptych
from hub_server import WRITER, environment, hub_server, use
from huggingface_hub import ModelCard

from diptych.cli.push import EXAMPLE
from diptych.data.images import image_io
from diptych.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the client, in its own code


@pytest.fixture
def server():
    with hub_server() as server:
        yield server


@pytest.fixture(scope="module")
def evaluated(run, tmp_path_factory):
    """A copy of the run, evaluated."""
    folder = tmp_path_factory.mktemp("runs") / "letters"
    shutil.copytree(run, folder)
    assert diptych("evaluate", folder, "--count", 4, "--extractor", "none").exit_code == 0
    return folder


def newest(server, name):
    repository = server.repositories[name]
    return repository.commits[repository.branches["main"]]


def letter(folder, file):
    """Write an image of the size of the training images and return its path."""
    image_io.write(file, image_io.read(sorted((folder / "previews").glob("*.png"))[0])[:32, :32])
    return file


def in_process(server, tmp_path, *words):
    command = [sys.executable, "-m", "diptych", *map(str, words)]
    done = subprocess.run(
        command, env=environment(server, tmp_path / "cache"), capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    return done


def test_processes_push_a_run_and_translate_with_it_to_the_same_bytes(server, evaluated, tmp_path):
    words = EXAMPLE.split()[1:]
    pushed = in_process(server, tmp_path, *[evaluated if word == "runs/facades" else word for word in words])
    name = pushed.stdout.splitlines()[0]
    assert pushed.stdout == f"{name}\n{server.url}/user/facades\n"
    assert server.repositories["user/facades"].private
    source = letter(evaluated, tmp_path / "letter.png")
    translated = in_process(server, tmp_path, "translate", "user/facades", source, "-o", "out")
    assert f"user/facades: loaded {name} from the hub" in translated.stderr
    diptych("translate", evaluated, source, "-o", tmp_path / "expected")
    out = tmp_path / "out" / source.name
    assert out.read_bytes() == (tmp_path / "expected" / source.name).read_bytes()


def test_the_card_has_the_scores_of_the_run_and_no_image_unless_asked(server, evaluated, tmp_path, monkeypatch):
    use(server, tmp_path / "cache", monkeypatch)
    result = json.loads((evaluated / "results" / "paired-default.json").read_text())
    assert diptych("push", evaluated, "me/mine", "--license", "mit", "--dataset", "letters").exit_code == 0
    files = newest(server, "me/mine")
    assert set(files) == {"README.md", "config.json", "model.safetensors"}
    assert str(evaluated).encode() not in b"".join(files.values())
    scores = {each.metric_type: each for each in ModelCard(files["README.md"].decode()).data.eval_results}
    assert scores.keys() == {score["name"] for score in result["scores"]}
    for score in result["scores"]:
        reported = scores[score["name"]]
        assert reported.metric_value == score["value"]
        assert reported.metric_args["interval_95"] == [score["low"], score["high"]]
        assert (reported.metric_args["protocol"], reported.dataset_split) == (result["protocol"], "test")
    assert diptych("push", evaluated, "me/mine", "--license", "mit", "--preview").exit_code == 0
    assert "images/1.png" in newest(server, "me/mine")


def test_results_of_other_weights_are_not_in_the_card(server, evaluated, tmp_path, monkeypatch):
    use(server, tmp_path / "cache", monkeypatch)
    folder = tmp_path / "run"
    shutil.copytree(evaluated, folder)
    path = folder / "results" / "paired-default.json"
    result = json.loads(path.read_text())
    path.write_text(json.dumps({**result, "about": {**result["about"], "steps": 3}}))
    done = diptych("push", folder, "me/mine", "--license", "mit")
    assert "not in the card, as it was computed at step 3, not 6: run `diptych evaluate` again" in done.stderr
    assert b"model-index" not in newest(server, "me/mine")["README.md"]


def test_a_licence_is_required_before_the_model_is_read(server):
    with pytest.raises(ConfigError, match="needs a licence: give one with --license"):
        diptych("push", "nowhere", "me/mine")
    assert not server.requests


def test_a_hub_id_is_evaluated_in_a_working_copy_that_names_the_commit(server, evaluated, tmp_path, monkeypatch):
    use(server, tmp_path / "cache", monkeypatch, WRITER)
    name = diptych("push", evaluated, "me/mine", "--license", "mit").stdout.split()[0]
    data = tmp_path / "pairs"
    for number in range(3):
        for part in ("trainA", "trainB", "testA", "testB"):
            image_io.write(
                data / part / f"{number}.png", image_io.read(sorted(evaluated.glob("previews/*"))[0])[:32, :32]
            )
    monkeypatch.chdir(tmp_path)
    options = ("--extractor", "none", "--data", data, "--protocol", "paired-default")
    assert diptych("evaluate", "me/mine", *options).exit_code == 0
    commit = name.partition("@")[2]
    copy = tmp_path / f"me--mine@{commit[:12]}"
    (path,) = (copy / "results").glob("*.json")
    assert json.loads(path.read_text())["about"]["run"] == copy.name
