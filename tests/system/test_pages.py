"""Pages by templates."""

import re
import subprocess
import sys
from importlib.resources import files

import pytest
from jinja2 import UndefinedError

from diptych.system.pages import EmbeddedImage, render


def test_values_are_escaped_and_missing_ones_are_errors():
    hostile = "'\"><script>&"
    page = render(
        "notebook_run.html", folder=hostile, facts={hostile: hostile}, image=EmbeddedImage("data:", hostile, 1)
    )
    assert page.count("&lt;script&gt;") == 4
    assert "<script" not in page
    assert 'alt="&#39;&#34;&gt;' in page
    with pytest.raises(UndefinedError, match="facts"):
        render("notebook_run.html", folder="", image=None)


def test_no_template_turns_escaping_off():
    texts = [
        template.read_text(encoding="utf-8")
        for template in files("diptych").joinpath("templates").iterdir()
        if template.is_file()
    ]
    assert len(texts) > 5
    assert not [text for text in texts if re.search(r"\bsafe\b|autoescape|<script(?![^>]* src=)", text)]


def test_jinja_is_imported_by_the_first_page_alone():
    code = "import sys, diptych.system.pages; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
