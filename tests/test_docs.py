"""Tests of the pages: quotes, links, settings and statements agree with the code."""

import ast
import importlib
import inspect
import re
import sys
import types
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import torch
import typer
import yaml
from judged import sample_folder
from pydantic import Field
from typer.testing import CliRunner

from diptych.contract import CheckConfigs, Clock, Control, DataKind, Labels, Route, setting_of
from diptych.contract.metric import Metric
from diptych.data.config import DataConfig
from diptych.data.dataset import Data, Split
from diptych.evaluation.metrics import table as metric_table
from diptych.evaluation.runner import evaluate_samples
from diptych.evaluation.tools import Tools
from diptych.inference.controls import select_route
from diptych.methods import EVALUATORS, METHODS, find
from diptych.networks.latents import latent_for_seed
from diptych.networks.layers import evaluating
from diptych.setting import Setting
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
            first_run = next(iter(document.get("runs", {}).values()), {})
            return {**document, **document.get("recipe", {}), **first_run}["method"]
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
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


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


def block(opening, **names):
    """Run the Python block of docs/extending.md that contains `opening`, and return its names."""
    text = (DOCS / "extending.md").read_text(encoding="utf-8")
    (source,) = (quote for quote in QUOTE.findall(text) if opening in quote)
    namespace = {"Annotated": Annotated, **names}
    exec(compile(source, opening, "exec"), namespace)
    return namespace


def test_the_example_of_a_further_loss_term_trains():
    cls = block("class WithTotalVariation")["WithTotalVariation"]
    method = cls(MethodUnderTest(cls).config())
    batch = {name: torch.zeros(1, 1, 32, 32) for name in cls.batch}
    updates = method.stages()[0].updates(batch, Clock("train", 0, 1))
    assert "tv" in dict(updates)["G"]


def test_the_example_of_two_directions_is_a_method(template):
    body = block("controls = (Control(", Control=Control, Route=Route, Tensor=torch.Tensor)
    fields = {name: Setting(channels_of=(entry,)) for name, entry in (("in_channels", "a"), ("out_channels", "b"))}
    config = type("Config", (template.Config,), {"__annotations__": {k: Annotated[int, v] for k, v in fields.items()}})
    members = {name: body[name] for name in ("batch", "routes", "controls", "forward")}
    cls = type("Both", (template,), {**members, "Config": config, "data": DataKind.UNPAIRED})
    CHECKS["batch_entries_match_data_kind"](MethodUnderTest(cls))
    assert select_route(cls, "Both", {"direction": "b2a"}) == cls.routes[1]


def test_the_example_of_a_latent_code_translates(template):
    body = block(
        "def encode_controls", Tensor=torch.Tensor, Inputs=dict, evaluating=evaluating, latent_for_seed=latent_for_seed
    )
    cls = type("Diverse", (template,), {name: body[name] for name in ("encode_controls", "forward")})
    method = cls(MethodUnderTest(template).config())
    method.G = AddsCode()
    x = torch.zeros(2, 1, 4, 4)
    assert torch.equal(method.translate(x, seed=1)[0], method.translate(x, seed=1)[1])
    assert not torch.equal(method.translate(x, seed=1), method.translate(x, seed=2))


class AddsCode(torch.nn.Module):
    def forward(self, x, latent):
        return x + latent[:, :1, None, None]


def test_the_examples_of_settings_are_fields():
    fields = block("labels: Annotated", Field=Field, Setting=Setting, Labels=Labels)["__annotations__"]
    assert {"in_channels", "labels", "image_size", "feature_network", "lambda_cyc"} == set(fields)
    fields = block("lambda_tv: Annotated", Field=Field, Setting=Setting)["__annotations__"]
    unused = block("def unused", **fields)["unused"]
    assert unused(types.SimpleNamespace(lambda_tv=0.0)) == {"tv_power": "lambda_tv above 0"}
    assert block("independent={", CheckConfigs=CheckConfigs)["checks"].learning == {"steps": 750}


def test_the_examples_of_a_metric_and_a_protocol_compute_scores(tmp_path, monkeypatch):
    metrics = []
    block(
        "def edge_error", np=np, Tensor=torch.Tensor, Metric=lambda *args, **more: metrics.append(Metric(*args, **more))
    )
    monkeypatch.setattr(metric_table, "METRICS", {**metric_table.METRICS, "edge-error": metrics[0]})
    protocol = block("PROTOCOL = Protocol(")["PROTOCOL"]
    fakes, truths = ([np.full((8, 8, 3), level, np.uint8) for level in levels] for levels in ((0, 51), (51, 51)))
    columns = {"source": truths, "fake": fakes, "truth": truths, "real": truths}
    samples = sample_folder(tmp_path, {"source-target": columns})
    scores = evaluate_samples(samples, protocol, Tools(), protocol.name).scores
    assert {score.name: score.value for score in scores} == pytest.approx({"l1": 0.2, "edge-error": 0.0})


def test_the_example_of_a_data_source_opens_pairs(tmp_path):
    images = np.zeros((3, 4, 4, 1), np.uint8)
    np.savez(tmp_path / "pairs.npz", train_x=images, train_y=images, val_x=images[:1], val_y=images[:1])
    names = {"np": np, "Data": Data, "DataConfig": DataConfig, "Split": Split}
    data = block("def open_arrays", **names)["open_arrays"](DataConfig(root=str(tmp_path / "pairs.npz")))
    assert data.summary.endswith("pairs.npz: 3 pairs, 1 held out")


def test_the_example_of_a_command_is_one(tmp_path, monkeypatch):
    workflow = types.SimpleNamespace(count_images=lambda folder: 7)
    monkeypatch.setitem(sys.modules, "diptych.workflows.tally", workflow)
    app = typer.Typer()
    app.command()(block("def tally", typer=typer, Path=Path)["tally"])
    assert CliRunner().invoke(app, [str(tmp_path)]).stdout == "7\n"


def test_the_table_of_parts_names_functions_with_their_parameters():
    text = (DOCS / "extending.md").read_text(encoding="utf-8")
    rows = text.partition("| parts | module of `diptych` | choices |\n|---|---|---|\n")[2].partition("\n\n")[0]
    assert rows
    for row in rows.splitlines():
        _, parts, module, *_ = row.split("|")
        for name, parameters in re.findall(r"`(\w+)\(([^)]*)\)`", parts):
            part = vars(importlib.import_module(f"diptych.{module.strip(' `')}"))[name]
            assert set(parameters.split(", ")) <= set(inspect.signature(part).parameters), name
