"""The commands of README's section and of the page on batches work as they are written."""

import glob
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batch_folder import write_job
from commands import diptych, files
from translators import made

from diptych.inference.batch.tar_files import write_members

ROOT = Path(__file__).parents[3]
COUNT = 8
SECTION = re.compile(r"## Millions of images.*?```bash\n(.*?)```", re.DOTALL)
BASH = re.compile(r"```bash\n(.*?)```", re.DOTALL)
LAUNCHERS = {"torchrun": ["torch.distributed.run", "--standalone"], "diptych": ["diptych"]}


def commands():
    readme, page = (path.read_text(encoding="utf-8") for path in (ROOT / "README.md", ROOT / "docs" / "batch.md"))
    lines = "".join([SECTION.search(readme)[1], *BASH.findall(page)]).splitlines()
    return sorted({line.partition(" #")[0].strip() for line in lines})


def has_own_processes(command):
    return "torchrun" in command or "ray" in command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with all that the pages name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    names = write_job(tmp_path, COUNT, 40)
    made().save(tmp_path / "runs/pairs")
    images = [(tmp_path / name).read_bytes() for name in names]
    pq.write_table(pa.table({"image": images}), tmp_path / "photos.parquet")
    for number in range(2):
        members = [(f"{each}.png", images[each]) for each in range(number, COUNT, 2)]
        write_members(tmp_path / f"shards-{number}.tar", iter(members))
    return tmp_path


def test_the_pages_have_commands():
    assert len(commands()) >= 7
    assert sum(map(has_own_processes, commands())) == 2


@pytest.mark.parametrize("command", [each for each in commands() if not has_own_processes(each)])
def test_a_command(folder, command):
    words = [name for word in shlex.split(command) for name in (sorted(glob.glob(word)) or [word])]
    said = diptych(*words[1:]).stdout
    count = 2 if "--shard" in command else COUNT
    assert f"{count} images in out" in said


@pytest.mark.slow
@pytest.mark.parametrize("command", [each for each in commands() if has_own_processes(each)])
def test_a_command_with_processes(folder, command):
    name, *words = shlex.split(command.replace("--nproc-per-node 4", "--nproc-per-node 2"))
    ended = subprocess.run(
        [sys.executable, "-m", *LAUNCHERS[name], *words], capture_output=True, text=True, timeout=240, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert sum(file.endswith(".png") for file in files(folder / "out")) == COUNT
