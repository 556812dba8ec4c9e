"""The code blocks of docs/python-api.md run one after the other, as the page says."""

import re
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "python-api.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.filterwarnings("ignore:images are .* the scale of training")
def test_the_code_blocks_run(tmp_path, monkeypatch):
    monkeypatch.setattr("diptych.workflows.trained_run.find_spec", lambda name: None)  # as without pandas
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    names = {"__name__": "docs_python_api"}
    for block in BLOCKS:
        exec(compile(block, str(PAGE), "exec"), names)
    sys.modules.pop("my_networks", None)
    assert len(BLOCKS) >= 9
    assert names["result"].score("psnr").value > 0
    assert (tmp_path / "compared" / "index.html").is_file()
    assert (tmp_path / "runs" / "watched" / "newest.png").is_file()
    assert "G/tv" in names["run"].events[-2]["terms"] or any(
        "G/tv" in each.get("terms", {}) for each in names["run"].events
    )
    assert names["image"].size == (32, 32)
