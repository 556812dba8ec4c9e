"""The commands of README's sections on the use of a trained model work as they are written."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from clips import panned, write_clip
from commands import diptych, files
from hub_server import hub_server, use
from large_files import svs
from translators import made

from diptych.data.images import image_io

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = re.compile(r"## (?:Export to ONNX|Huge images|Video|Share a model).*?```bash\n(.*?)```", re.DOTALL)
COMMANDS = [
    line.partition(" #")[0].strip()
    for block in SECTION.findall(README)
    for line in block.splitlines()
    if line[:3] != "pip"
]
SMALL = "--crop 320,40,256,256", "--crop 16,0,32,32"  # the clip of the test is small
pytestmark = pytest.mark.filterwarnings(
    "ignore:Use 'content=:DeprecationWarning"
)  # of the hub's client, in its own code


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A folder with all that the sections name."""
    folder = tmp_path_factory.mktemp("readme")
    made(norm="instance", generator="resnet_1").save(folder / "runs" / "pairs")
    made("cyclegan").save(folder / "runs" / "zebra")
    made(norm="instance").save(folder / "runs" / "stain")
    noise = np.random.default_rng(0)
    for number in range(3):
        image_io.write(folder / "new" / f"{number}.png", noise.integers(0, 256, (32, 32, 3)).astype(np.uint8))
    svs(folder / "slide.svs", noise.integers(0, 256, (96, 80, 3)).astype(np.uint8))
    write_clip(folder / "clip.mp4", panned(8), audio=True)
    return folder


@pytest.fixture(scope="module")
def server():
    """A hub on which a model is pushed and has a tag."""
    with hub_server() as server:
        yield server


def test_each_section_has_commands():
    assert len(SECTION.findall(README)) == 4
    assert len(COMMANDS) == 8


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_writes_its_output(command, material, server, tmp_path, monkeypatch):
    monkeypatch.chdir(material)
    use(server, tmp_path / "cache", monkeypatch)
    if "@v1.0" in command:
        diptych("push", "runs/pairs", "user/pairs", "--license", "mit")
        branches = server.repositories["user/pairs"].branches
        branches["v1.0"] = branches["main"]
    before = files(material)
    words = shlex.split(command.replace(*SMALL))
    assert words[0] == "diptych"
    assert diptych(*words[1:]).exit_code == 0
    if "-o" in words:
        new = set(files(material)) - set(before)
        assert any(name.startswith(words[words.index("-o") + 1].rstrip("/")) for name in new)
    else:
        assert "user/pairs" in server.repositories
