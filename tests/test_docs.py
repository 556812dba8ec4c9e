"""What the pages quote is what the source says, and what they link to is there."""

import ast
import re
from pathlib import Path

import pytest

from diptych.methods import METHODS

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
QUOTE = re.compile(r"```python\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+?)(?:#[^)]*)?\)")


def rules(tree):
    """By name the functions anywhere in a tree, without docstrings, as text without comments."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:]
            found[node.name] = ast.unparse(node)
    return found


@pytest.mark.parametrize("name", METHODS)
def test_a_quoted_rule_is_the_method_s_own(name):
    text = (ROOT / "docs" / "methods" / f"{name}.md").read_text(encoding="utf-8")
    quoted = [rules(ast.parse(quote)) for quote in QUOTE.findall(text) if quote.startswith("def ")]
    assert quoted, "a page shows its method's rule"
    source = rules(ast.parse((ROOT / "diptych" / "methods" / f"{name}.py").read_text(encoding="utf-8")))
    for functions in quoted:
        for function, body in functions.items():
            assert body == source[function], f"{function} is quoted as it was"


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{target} is not there"
