"""M1, M2: files that mean harm are refused by name, run nothing, and take no more memory than their size allows."""

import json
import os
import pickle
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import torch

from attacks import bombs
from attacks.bombs import BOMBS
from attacks.each import SLACK
from attacks.make import ATTACKS, Reduce
from diptych.errors import ImportRefused
from diptych.importers import import_model as importers
from diptych.importers import sandbox, zip_check
from diptych.importers.import_model import import_model, read
from diptych.importers.sandbox import read_in_process

HERE = Path(__file__).parent
KILLED = {"deep_key.pth": (-11, 1), "doubling_key.pth": (-24,)}  # by the stack's end, or by the limit of time
EITHER = {"endless_sets.pth": -24}  # which limit comes first depends on the machine
# fmt: off
SAYS = {  # what refuses it: each guard is seen at work, as the next one behind it would refuse most of these too
    "deflated": "compressed to 41480002 of", "stored_lie": "compressed to 64 of 2147483648",
    "crowded": "other than the",
    "overlapping": "lie over each other", "climbing": "a path for a name", "absolute": "a path for a name",
    "backslashes": "a path for a name", "null_in_name": "a path for a name", "twice": "the same name",
    "appended": "whose directory claims", "cut": "cut short", "one_huge_bytearray": "more memory",
    "shared": "larger than",
    "many_bytearrays": "more memory", "huge_storage": "asks for more than tensors",
    "stretched": "larger than what",
    "deep_lists": "holds list", "sparse": "no plain tensor", "without_storage": "no plain tensor",
    "legacy_lie": "cut short: .* bytes missing", "wrong_pickle": "torch.save did not write it",
    "long_header": "claims 1099511627776",
    "wide_header": "at most 16777216", "deep_header": "recursion limit", "header_lie": "cut short: .* bytes missing",
    "torch_save": r"\(posix.system\)", "nested": r"\(posix.system\)", "legacy_stream": r"\(posix.system\)",
    "legacy_tar": r"\(posix.system\)", "script": "TorchScript is a program", "plain": "did not write it",
    "pickle": "header claims",
    "endless_sets": "more memory",
}
# fmt: on
HARMLESS = {"small.pth": 1000, "large.pth": 30_000_000}


def child(*arguments, **over):
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=200, **over)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """Every attack, unpacked behind the walls, each in a process of its own; and two files that are what they seem."""
    root = tmp_path_factory.mktemp("attacks")
    folder, canary = root / "files", root / "canary"
    folder.mkdir()
    for name, make in {**ATTACKS, **BOMBS}.items():
        make(folder / name, canary)
    for name, count in HARMLESS.items():
        torch.save({"a": torch.rand(count)}, folder / name)
    found = {verdict["name"]: verdict for verdict in child(HERE / "each.py", folder)}
    return found, folder, canary


def most(verdict, verdicts):
    """Bytes: what torch takes at rest, twice the file, and the constant (64 MiB here, 256 MiB for people)."""
    return verdicts["small.pth"]["peak"] + 2 * verdict["size"] + SLACK


@pytest.mark.parametrize("name", [*ATTACKS, *BOMBS])
def test_m1_an_attack_is_refused_by_name_and_runs_nothing(name, verdicts):
    found, folder, canary = verdicts
    verdict = found[name]
    assert not canary.exists()
    if name in KILLED:
        assert verdict["code"] in KILLED[name]
    elif verdict["code"] != EITHER.get(name):
        assert verdict["code"] == 1
        assert verdict["refused"].startswith(f"{folder / name}: ")
        assert verdict["refused"].isprintable()
        assert re.search(SAYS[name.partition(".")[0]], verdict["refused"])
        assert "weights_only" not in verdict["refused"], "torch's advice is to switch the protection off"
    assert verdict["peak"] < most(verdict, found)


def test_m1_sound_files_pass_the_same_walls(verdicts):
    found = verdicts[0]
    assert [found[name]["code"] for name in HARMLESS] == [0, 0]
    assert found["large.pth"]["peak"] < most(found["large.pth"], found)
    assert found["large.pth"]["peak"] > found["small.pth"]["peak"] + 100_000_000, "or the peak measures nothing"


@pytest.mark.parametrize("name", ATTACKS)
def test_the_attack_itself_works(name, tmp_path):
    """Else the tests above would pass on harmless files."""
    path, canary = tmp_path / name, tmp_path / "canary"
    ATTACKS[name](path, canary)
    if name == "legacy_tar.pth":
        with tarfile.open(path) as tar:
            pickle.loads(tar.extractfile("pickle").read())
    elif name == "script.pth":
        pickle.loads(zipfile.ZipFile(path).read("archive/data.pkl"))
    elif name in ("plain.pth", "pickle.safetensors"):
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert canary.exists()


def test_the_bombs_themselves_work(tmp_path):
    """What is refused would have been unpacked to what it claims, or is within what torch's own rules allow."""
    bombs.deflated(tmp_path / "b.pth", tmp_path, mib=64)
    with zipfile.ZipFile(tmp_path / "b.pth") as zipped, zipped.open("a/data.pkl") as member:
        member._expected_crc = None
        assert len(member.read()) == 64 * 2**20 > 500 * (tmp_path / "b.pth").stat().st_size
    bombs.holding(tmp_path / "a.pth", b"\x80\x02cbuiltins\nbytearray\nM\xe8\x03\x85R.")
    assert torch.load(tmp_path / "a.pth", weights_only=True) == bytearray(1000)
    torch.save({"a": torch.zeros(4)}, tmp_path / "good.pth")
    assert list(read_in_process(tmp_path / "good.pth")) == ["a"]
    bombs.archive(
        tmp_path / "own.pth", [bombs.Part("a/data.pkl", pickle.dumps({}, 2)), bombs.Part("a/version", b"3\n")]
    )
    with (tmp_path / "own.pth").open("rb") as file:
        zip_check.check(file, (tmp_path / "own.pth").stat().st_size, "own.pth")


WALLS = """
import json, os, pickle, socket, subprocess, sys, ctypes
from pathlib import Path
from attacks.make import Reduce
from diptych.importers import sandbox
out, canary = Path(sys.argv[1]), Path(sys.argv[2])
sandbox.confine(out, 1000)
def tried(act):
    try: act()
    except BaseException as error: return type(error).__name__
def fill():
    (out / "large").write_bytes(bytes(2**25))
acts = {
    "pickle": lambda: pickle.loads(pickle.dumps(Reduce(canary))), "shell": lambda: os.system(f"touch {canary}"),
    "subprocess": lambda: subprocess.run(["touch", str(canary)]), "socket": lambda: socket.socket(),
    "name": lambda: socket.getaddrinfo("localhost", 80), "write": lambda: canary.write_text("x"),
    "append": lambda: open(canary, "a"), "os.open": lambda: os.open(canary, os.O_CREAT | os.O_RDWR),
    "climb": lambda: (out / ".." / "canary").write_text("x"), "remove": lambda: os.remove(canary),
    "exec": lambda: os.execv("/bin/true", ["true"]), "fork": lambda: os.fork(),
    "library": lambda: ctypes.CDLL("libm.so.6"),
    "memory": lambda: bytearray(sandbox.SLACK + 2**26), "disk": fill,
    "allowed": lambda: (out / "small").write_text("x"),
}
print(json.dumps({name: tried(act) for name, act in acts.items()}))
print(json.dumps(Path("/proc/net/dev").read_text().splitlines()[2:]))
"""


def test_m2_the_walls_hold_where_weights_only_would_not(tmp_path):
    """A pickle that gets its call through, in the process that reads foreign files."""
    (tmp_path / "out").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    got, interfaces = child("-c", WALLS, tmp_path / "out", tmp_path / "canary", env=environment)
    assert got.pop("allowed") is None
    assert got.pop("memory") == "MemoryError"
    assert got.pop("disk") == "OSError"
    assert set(got.values()) == {"PermissionError"}
    assert not (tmp_path / "canary").exists()
    pickle.loads(pickle.dumps(Reduce(tmp_path / "canary")))
    assert (tmp_path / "canary").exists(), "without the walls it works"
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode == 0:
        assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nested.pth", "asks for more than tensors when it is read, so it was not run .posix.system."),
        ("deep_key.pth", "the process that reads it was ended by signal 11|asks for far more memory"),
    ],
)
def test_m2_the_childs_end_is_one_named_refusal(name, message, tmp_path):
    {**ATTACKS, **BOMBS}[name](tmp_path / name, tmp_path / "canary")
    with pytest.raises(ImportRefused, match=rf"{name}: .*({message})") as refused:
        import_model(tmp_path / name)
    assert str(refused.value).isprintable()
    assert not (tmp_path / "canary").exists()


def test_m2_the_limit_of_time_is_of_processor_time(tmp_path, monkeypatch):
    """A child on a busy machine, or stopped with it, is waited for; one that computes for ever ends itself."""
    given = {}
    monkeypatch.setattr(
        subprocess, "run", lambda command, **over: given.update(over) or subprocess.CompletedProcess(command, -24)
    )
    torch.save({"a": torch.zeros(4)}, tmp_path / "x.pth")
    with pytest.raises(ImportRefused, match="more processor time"):
        read(tmp_path / "x.pth")
    assert given.get("timeout") is None


@pytest.mark.parametrize(
    ("code", "files", "message"),
    [
        (0, {}, "what came of it cannot be read"),
        (0, {sandbox.WEIGHTS: b"\xff" * 99}, "what came of it cannot be read"),
        (1, {sandbox.REFUSED: b"\x1b[31mbad\xff\n" + b"x" * 9999}, r"\\x1b\[31mbad\\xff\\nxxx"),
        (-24, {}, "more processor time"),
        (-9, {"said": b"one\nlast \x1b words"}, r"ended by signal 9.*last \\x1b words"),
        (1, {"said": b""}, r"ended with code 1.*nothing"),
    ],
)
def test_m2_nothing_that_the_child_leaves_is_trusted(code, files, message, tmp_path, monkeypatch):
    def leave(arguments, said):
        said.touch()
        for name, data in files.items():
            (said.parent / name).write_bytes(data)
        return code

    (tmp_path / "x.pth").touch()
    monkeypatch.setattr(importers, "_run", leave)
    with pytest.raises(ImportRefused, match=rf"{message}") as refused:
        read(tmp_path / "x.pth")
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 5000


def test_m2_the_child_gets_no_secrets(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setattr(
        subprocess, "run", lambda command, **over: given.update(over) or subprocess.CompletedProcess(command, 9)
    )
    (tmp_path / "x.pth").touch()
    with pytest.raises(ImportRefused, match="ended with code 9"):
        read(tmp_path / "x.pth")
    assert "secret" not in given["env"].values()
    assert given["stdin"] == subprocess.DEVNULL


@pytest.mark.parametrize("way", [read, read_in_process])
def test_m1_an_older_torch_reads_nothing(way, tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(1)}, tmp_path / "x.pth")
    for version in ("2.10.1+cu126", "1.13.0", "2.9"):
        monkeypatch.setattr(torch, "__version__", version)
        with pytest.raises(ImportRefused, match=rf"torch {version.replace('+', '.')} is installed; only from 2.11 on"):
            way(tmp_path / "x.pth")
    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text())["project"]
    assert f"torch>={sandbox.FLOOR}" in project["dependencies"]


def test_m1_what_is_no_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "folder.pth").mkdir()
    for name in ("pipe.pth", "folder.pth", "missing.pth", "null\0.pth"):
        with pytest.raises(ImportRefused, match=name.partition("\0")[0]):
            read(tmp_path / name)


def test_m1_too_large_is_said_before_it_is_read(tmp_path):
    with (tmp_path / "x.pth").open("wb") as file:
        file.truncate(2**32)  # a hole: takes no room
    with pytest.raises(ImportRefused, match="larger than 4 GiB"):
        read_in_process(tmp_path / "x.pth")
