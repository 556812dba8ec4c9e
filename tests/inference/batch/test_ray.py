"""Work on Ray: the bytes of a single process, each file once, though an actor is killed on the way."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from batch_folder import bytes_of, write_job
from commands import diptych, process
from ray_actors import kill_actor

from diptych.errors import ConfigError, ImageError
from diptych.inference.batch import ray_engine
from diptych.inference.batch.ray_engine import Actor, Attempts, RayJob
from diptych.inference.batch.work import find_work
from diptych.inference.open_model import ModelSource

COUNT = 500
SIDE = 96


@pytest.fixture
def ray_job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_job(tmp_path, 3)
    return RayJob("image", ModelSource("model.onnx"), {"controls": {}}, str(tmp_path), Path("out"), False, None)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the actor in /proc")
def test_an_actor_that_is_killed_is_replaced(tmp_path, monkeypatch):
    """Its files are done again; one image is damaged, and listed as by a single process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    names = write_job(tmp_path, COUNT, SIDE)
    (tmp_path / names[277]).write_bytes(b"damaged")
    running = process("translate", "model.onnx", "manifest.txt", "-o", "ray", "--engine", "ray", "--actors", "2")
    deadline = time.monotonic() + 240
    while len(list((tmp_path / "ray").rglob("*.png"))) < 30 and time.monotonic() < deadline:
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    kill_actor(running.pid)
    at_kill = len(list((tmp_path / "ray").rglob("*.png")))
    out, errors = running.communicate(timeout=240)
    assert 30 <= at_kill < COUNT - 100, "killed too late to show anything"
    assert running.returncode == 2, errors
    assert f"{names[277]}: is not" in errors
    counts = [int(line.split()[0]) for line in out.splitlines() if " in ray" in line or "already there" in line]
    assert sum(counts) == COUNT - 1, out
    with pytest.raises(ImageError):
        diptych("translate", "model.onnx", "manifest.txt", "-o", "one")
    assert len(bytes_of(tmp_path / "ray")) == COUNT - 1
    assert bytes_of(tmp_path / "ray") == bytes_of(tmp_path / "one")
    lists = [(tmp_path / folder / "failed.shard-0-of-1.tsv").read_text() for folder in ("ray", "one")]
    assert lists[0] == lists[1]


def test_an_actor_translates_the_files_of_a_task(ray_job, monkeypatch):
    monkeypatch.setattr(Actor, "_begin", lambda *_: None)
    diptych("translate", "model.onnx", "manifest.txt", "-o", "one")
    tasks = [
        part.column("task").to_pylist()[0] for part in ray_engine._parts(find_work(["manifest.txt"], Path("out")), 1)
    ]
    actor = Actor(ray_job)
    answers = [json.loads(actor._answer(*json.loads(task))) for task in tasks]
    assert [answer["outcomes"] for answer in answers] == [
        [["in/0/0.png", 1, ""]], [["in/1/1.png", 1, ""]], [["in/2/2.png", 1, ""]]
    ]  # fmt: skip
    assert bytes_of(Path("out")) == bytes_of(Path("one"))
    again = json.loads(actor._answer(*json.loads(tasks[0])))
    assert again["outcomes"] == [["in/0/0.png", None, ""]], "a file that is there is kept"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": ModelSource("none.onnx")}, "none.onnx: no such file"),
        ({"folder": "/no/such/folder"}, "not on every machine of the cluster"),
        ({"out": Path()}, "would be replaced by its translation"),
    ],
)
def test_an_error_that_ends_the_work_is_answered(ray_job, monkeypatch, change, message):
    monkeypatch.setattr(Actor, "_begin", lambda *_: None)
    answer = json.loads(Actor(replace(ray_job, **change))._answer(0, [("in/0/0.png", "in/0/0.png")]))
    assert message in answer["error"]


def test_a_task_that_ends_its_actors_is_given_up(ray_job, monkeypatch):
    """Not for ever: the error names the first file."""
    import ray

    attempts = Attempts()
    attempts_actor = type("Handle", (), {"begin": type("Begin", (), {"remote": staticmethod(attempts.begin)})})
    monkeypatch.setattr(ray, "get", lambda value: value)
    actor = Actor(replace(ray_job, attempts=attempts_actor))
    answers = [json.loads(actor._answer(5, [("in/0/0.png", "in/0/0.png")])) for _ in range(ray_engine.ATTEMPTS + 1)]
    assert [bool(answer["error"]) for answer in answers] == [False] * ray_engine.ATTEMPTS + [True]
    assert "in/0/0.png: 4 processes ended at the file from this one on" in answers[-1]["error"]


@pytest.mark.parametrize(
    ("files", "actors", "size"), [(3, 2, 1), (400, 2, 50), (20_000, 2, 64), (2_000_000, 2, 200), (1, 8, 1)]
)
def test_sizes_of_tasks(files, actors, size):
    assert ray_engine._part_size(files, actors) == size


def test_a_missing_extra_names_the_way_to_install_it(ray_job, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"--engine ray needs Ray: pip install 'diptych\[ray\]'"):
        diptych("translate", "model.onnx", "manifest.txt", "-o", "out", "--engine", "ray")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "ray", "--shard", "0/2"], "leave out --shard and torchrun"),
        (["--actors", "2"], "--actors is for --engine ray"),
        (["--engine", "ray", "--device", "cuda:1"], "Ray gives each actor a GPU"),
    ],
)
def test_options_that_contradict_each_other(ray_job, options, message):
    with pytest.raises(ConfigError, match=message):
        diptych("translate", "model.onnx", "manifest.txt", "-o", "out", *options)


def test_more_actors_than_the_cluster_has():
    assert ray_engine._actors(None, 4) == 4
    with pytest.raises(ConfigError, match="--actors 5: the cluster has room for 4"):
        ray_engine._actors(5, 4)
