"""`diptych demo`."""

import json
import os
import re

from commands import diptych


def test_the_demo_reports_what_it_did(tmp_path, drawn_plots):
    out = diptych("demo", "-o", tmp_path / "demo", "--steps", "3", env={"COLUMNS": "200"}).stdout
    said = re.search(
        r"After 3 steps in .* the error on (\d+) unseen letters is (0\.\d+) .*; the identity baseline scores (0\.\d+)",
        out,
    )
    assert 120 < int(said[1]) < 180
    assert 0.10 < float(said[3]) < 0.15
    assert float(said[2]) > float(said[3]), "three steps teach nothing"
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "Letters of the test split" in page
    assert json.loads((tmp_path / "demo" / "environment.json").read_text())["cores"] == os.cpu_count()
