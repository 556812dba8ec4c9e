"""Tests of the pages: quotes, links, settings and statements agree with the code."""

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest
import yaml

from diptych.contract import setting_of
from diptych.data.config import DataConfig
from diptych.methods import EVALUATORS, METHODS, find
from diptych.settings.train_config import EvaluateConfig, TrainConfig
from diptych.testing import CHECKS, MethodUnderTest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
PRESENT = [page for page in PAGES if page.parent.name != "decisions"]  # decisions also name what was
RECIPES = sorted((ROOT / "diptych" / "settings" / "recipes").rglob("*.yaml"))
SHARED = {name for config in (DataConfig, TrainConfig, EvaluateConfig) for name in config.model_fields}
NOT_SETTINGS = {"preset", "epochs"}
QUOTE = re.compile(r"```python\n(.*?)```", re.DOTALL)
BASH = re.compile(r"```bash\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+?)(?:#[^)]*)?\)")
SHAPE = (
    "When to use it",
    "Command",
    "Settings",
    "Losses",
    "Logged values",
    "Differences from the paper and the public code",
    "Limits",
    "Results",
    "Reference",
)


def name_of(page):
    return str(page.relative_to(ROOT))


def functions(tree):
    """Return the functions anywhere in a tree by name, without docstrings and comments."""
    texts = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:]
            texts[node.name] = ast.unparse(node)
    return texts


def method_of_recipe(name):
    """Return the method that a shipped recipe or experiment trains; None for an unknown name."""
    if name in METHODS:
        return name
    for recipe in RECIPES:
        if recipe.stem == name:
            document = yaml.safe_load(recipe.read_text(encoding="utf-8"))
            return document["recipe"]["method"] if "recipe" in document else document["method"]
    return None


def settings_in_commands(text):
    """Yield (method, setting) for each `key=value` of the commands that train, in the bash blocks of a page."""
    for block in BASH.findall(text):
        for command in block.replace("\\\n", " ").splitlines():
            match = re.match(r"diptych (?:train|experiment|evaluator train) (\S+)(.*)", command.partition("  #")[0])
            if match is None:
                continue
            name = match[1] if match[1] in EVALUATORS else method_of_recipe(match[1])
            if name is None:
                continue
            for key in re.findall(r'(?:^|[\s"])([a-z_0-9]+)=', match[2]):
                yield name, key


def known_settings(name):
    """Return the names of all settings of a training of a method or evaluator."""
    spec = EVALUATORS[name] if name in EVALUATORS else METHODS[name]
    module, _, cls = spec.partition(":")
    return set(vars(importlib.import_module(module))[cls].Config.model_fields) | SHARED | NOT_SETTINGS


@pytest.mark.parametrize("name", METHODS)
def test_a_quoted_update_rule_is_the_method_s_own(name):
    text = (DOCS / "methods" / f"{name}.md").read_text(encoding="utf-8")
    quotes = [functions(ast.parse(quote)) for quote in QUOTE.findall(text) if quote.startswith("def ")]
    assert quotes, "the page quotes no update rule"
    source = functions(ast.parse((ROOT / "diptych" / "methods" / f"{name}.py").read_text(encoding="utf-8")))
    for quoted in quotes:
        for function, body in quoted.items():
            assert body == source.get(function), f"{function} differs from the source"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{target} does not exist"


@pytest.mark.parametrize("page", PRESENT, ids=name_of)
def test_commands_use_settings_that_exist(page):
    for name, key in settings_in_commands(page.read_text(encoding="utf-8")):
        assert key in known_settings(name), f"{name} has no setting {key}"


@pytest.mark.parametrize("name", METHODS)
def test_method_pages_have_one_shape(name):
    text = (DOCS / "methods" / f"{name}.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert [heading for heading in headings if heading in SHAPE] == list(SHAPE)
    assert "\n| | |\n|---|---|\n| Data |" in text, "the summary table is missing"


@pytest.mark.parametrize("name", METHODS)
def test_settings_tables_name_settings_that_exist_with_their_symbols(name):
    text = (DOCS / "methods" / f"{name}.md").read_text(encoding="utf-8")
    table = text.partition("| setting | symbol | default | meaning |\n|---|---|---|---|\n")[2].partition("\n\n")[0]
    assert table, "the table of settings is missing"
    config, known = find(name).Config, known_settings(name)
    for row in table.splitlines():
        _, keys, symbols, *_ = row.split("|")
        for key in re.findall(r"`([a-z_0-9]+)`", keys):
            assert key in known, f"{name} has no setting {key}"
            symbol = setting_of(config, key).symbol if key in config.model_fields else ""
            assert symbol in symbols, f"{key} is {symbol} in the paper, and {symbols.strip()!r} on the page"


def test_architecture_lists_the_levels_of_the_import_test():
    tree = ast.parse((ROOT / "tests" / "test_architecture.py").read_text(encoding="utf-8"))
    levels = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LEVELS"
    )
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    lines = text.partition("```levels\n")[2].partition("```")[0].splitlines()
    assert [set(re.findall("[a-z]+", line)) for line in lines] == levels


def test_files_named_by_the_architecture_exist():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    for path in re.findall(r"`([a-z_0-9/]+/[a-z_0-9]+\.py)`", text):
        assert (ROOT / "diptych" / path).exists() or (ROOT / path).exists(), f"{path} does not exist"


def test_the_index_lists_every_page():
    targets = {(DOCS / target).resolve() for target in LINK.findall((DOCS / "README.md").read_text(encoding="utf-8"))}
    assert {page.resolve() for page in PAGES} - targets == {DOCS / "README.md"}


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """The template method of docs/extending.md, imported from a file as a user's own would be."""
    text = (DOCS / "extending.md").read_text(encoding="utf-8")
    source = next(quote for quote in QUOTE.findall(text) if "class L1GAN(Method)" in quote)
    folder = tmp_path_factory.mktemp("template")
    (folder / "l1_gan_of_the_docs.py").write_text(source, encoding="utf-8")
    sys.path.insert(0, str(folder))
    try:
        yield find("l1_gan_of_the_docs:L1GAN")
    finally:
        sys.path.remove(str(folder))


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_the_template_method_passes(check, template):
    check(MethodUnderTest(template))


def test_the_table_of_checks_has_them_all():
    text = (DOCS / "extending.md").read_text(encoding="utf-8")
    rows = text.partition("| check | a failure usually means |\n")[2].partition("\n\n")[0].splitlines()
    assert {name for row in rows for name in re.findall(r"`([a-z_]+)`", row.split("|")[1])} == set(CHECKS)
