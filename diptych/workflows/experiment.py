"""Experiments: a YAML file that lists the runs to train and how to evaluate them; each run is an ordinary run folder.

    title: Loss terms of pix2pix
    recipe: {method: ..., data: {...}, train: {...}}       common to all runs
    matrix: {loss: [l1, l1+cgan], seed: [0, 1]}            every combination of these values; or
    runs: {plain: {}, without-l1: {lambda_l1: 0}}          named runs with the settings of each; `init_from` may be the
                                                           name of another run, which is then trained before
    protocol: paired-default
    evaluator: {method: ..., train: {...}}                 optional: trained first, on the real images of the same data
    evaluate: {which: best}                                optional: checkpoint, split, extractor, palette...

`diptych experiment FILE -o FOLDER` trains the missing runs, resumes stopped ones, and writes a comparison.
"""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator
from rich.console import Console

from diptych.contract import DataKind
from diptych.data.open import FOR_PAIRS
from diptych.errors import ConfigError, nearest, shown
from diptych.evaluation.compare.page import compare
from diptych.evaluation.protocols import find_protocol, unknown_protocol
from diptych.inference.controls import check_controls, parse_controls
from diptych.methods import EVALUATORS, find
from diptych.runs.folder import Run
from diptych.settings.overrides import Models, is_text
from diptych.settings.recipe import SETTINGS, SHIPPED, Recipe, from_settings, refuse_unused
from diptych.settings.validate import checked
from diptych.system.safe_parse import parse_yaml, read_text
from diptych.workflows.evaluate_runs import EvaluationSettings, evaluate_runs
from diptych.workflows.experiment_runs import train_runs
from diptych.workflows.train_evaluator import evaluate_on_real_images, with_palette

EVALUATOR = "evaluator"  # folder of the evaluator's run
FORMER_EVALUATOR = "judge"  # its name in folders of former versions
COMPARISON = "compared"  # folder of the comparison
RESERVED = (EVALUATOR, FORMER_EVALUATOR, COMPARISON)
# The command line settings that also apply to the evaluator.
EVALUATOR_SETTINGS = (
    "root",
    "crop_size",
    "load_size",
    "resize_mode",
    "layout",
    "folders",
    "on_bad_image",
    "device",
    "workers",
)
FOR_TRANSFER = ("target_root", "background_root", "source_without", "target_without")  # settings of two domains
MAX_RUNS = 1000
NAME = re.compile(r"[\w+-][\w.,+-]{0,99}")
NOT_IN_NAMES = re.compile(r"[^\w.+-]+")

Values = dict[str, Any]


class Experiment(BaseModel):
    """A validated experiment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    recipe: Values
    runs: dict[str, Values] = Field({}, max_length=1000)
    matrix: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field({}, max_length=20)
    protocol: str
    evaluator: Values | None = None
    evaluate: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="before")
    @classmethod
    def _has_present_names(cls, values: Any) -> Any:
        if isinstance(values, dict) and FORMER_EVALUATOR in values:
            raise ValueError(f"{FORMER_EVALUATOR}: is now {EVALUATOR}")
        return values

    @model_validator(mode="after")
    def _has_valid_runs(self) -> "Experiment":
        if bool(self.runs) == bool(self.matrix):
            raise ValueError("an experiment has either named runs or a matrix of values: give one of them")
        if problem := unknown_protocol(self.protocol):
            raise ValueError(problem)
        if (count := math.prod(map(len, self.matrix.values()))) > MAX_RUNS:
            raise ValueError(f"the matrix has {count} runs; an experiment has at most {MAX_RUNS}")
        names = [name for name, _ in self._named_variants()]
        for name in names:
            if not NAME.fullmatch(name) or name in RESERVED:
                raise ValueError(f"{shown(name)} is not a valid name of a run: use letters, digits and -_.,+")
            if names.count(name) > 1:
                raise ValueError(f"two runs have the name {shown(name)}: name the runs under `runs`")
        return self

    def variants(self) -> dict[str, Values]:
        """Return the settings of each run that differ from the recipe, by its name, which is also its folder."""
        return dict(self._named_variants())

    def _named_variants(self) -> list[tuple[str, Values]]:
        if self.runs:
            return list(self.runs.items())
        combinations = [
            dict(zip(self.matrix, values, strict=True)) for values in itertools.product(*self.matrix.values())
        ]
        return [(",".join(map(_name_part, settings.values())), settings) for settings in combinations]

    def with_overrides(self, overrides: Sequence[str]) -> tuple["Experiment", list[str]]:
        """Return the experiment with the matrix rows that overrides give as lists, and the other overrides.

        ConfigError for an override without effect: a setting that every run sets itself.
        """
        matrix, others = dict(self.matrix), []
        for override in overrides:
            key, _, text = override.partition("=")
            if self.runs and all(key in values for values in self.runs.values()):
                raise ConfigError(f"{override!r}: each run of this experiment sets {key} itself; change its file")
            if key not in matrix:
                others.append(override)
                continue
            try:
                row = parse_yaml(text)
            except ValueError:
                row = None
            if not isinstance(row, list):
                example = f"{key}=[{text or 'a,b'}]"
                raise ConfigError(f"{override!r}: this experiment varies {key}; give a list of values, as {example}")
            matrix[key] = row
        return checked(Experiment, {**self.model_dump(), "matrix": matrix}, "matrix"), others


def _name_part(value: Any) -> str:
    """Return the part of a run's name for the value of a matrix row."""
    return NOT_IN_NAMES.sub("_", str(value)).strip("_")


def shipped_experiments() -> dict[str, Path]:
    """Return the files of the shipped experiments by name."""
    return {path.stem: path for path in sorted((SHIPPED / "experiments").glob("*.yaml"))}


def read_experiment(name: str) -> Experiment:
    """Return a shipped experiment by its name, or the experiment in a file. ConfigError names every wrong key."""
    files = shipped_experiments()
    if name not in files and not name.endswith((".yaml", ".yml")):
        raise ConfigError(
            f"{name!r} is neither a shipped experiment nor a .yaml file{nearest(name, files)}; "
            f"shipped are {', '.join(files)}"
        )
    path = files.get(name, Path(name))
    try:
        settings = parse_yaml(read_text(path))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: the experiment cannot be read ({error})") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: an experiment is a YAML mapping with title, recipe, runs or matrix, and protocol")
    return checked(Experiment, settings, str(path))


def plan_recipes(experiment: Experiment, overrides: Sequence[str], method: str | None = None) -> dict[str, Recipe]:
    """Return the validated recipe of each run by name, that of the evaluator first. ConfigError.

    `overrides` apply to all runs, except for settings that a run sets itself; an override with a list replaces a row of
    the matrix. Only those of EVALUATOR_SETTINGS apply to the evaluator. `method` is as in `run_experiment`.
    """
    experiment, overrides = experiment.with_overrides(overrides)
    cls = find(method) if method else None
    models = {**SETTINGS, "model": (cls or find(str(experiment.recipe.get("method")))).Config}
    recipes: dict[str, Recipe] = {}
    for name, values in experiment.variants().items():
        settings = [f"{key}={_text(key, value, models)}" for key, value in values.items()]
        common = [override for override in overrides if override.partition("=")[0] not in values]
        recipes[name] = from_settings(experiment.recipe, [*common, *settings], f"run {name}", cls, allow_unused=True)
    refuse_unused({f"run {name}": recipe for name, recipe in recipes.items()})
    if experiment.evaluator is None:
        if find_protocol(experiment.protocol).needs_evaluator:
            raise ConfigError(
                f"protocol {experiment.protocol} needs an evaluator network: add `evaluator: {{method: ...}}`"
            )
        return recipes
    return {EVALUATOR: _evaluator_recipe(experiment, experiment.evaluator, overrides), **recipes}


def _evaluator_recipe(experiment: Experiment, values: Values, overrides: Sequence[str]) -> Recipe:
    kind = values.get("method")
    if kind not in EVALUATORS:
        raise ConfigError(
            f"evaluator: {shown(kind)} is not an evaluator network{nearest(str(kind), EVALUATORS)}; "
            f"choose one of {', '.join(EVALUATORS)}"
        )
    common = dict(experiment.recipe.get("data") or {})
    if common.get("target_root"):  # the evaluator is of the target domain
        common["root"] = common["target_root"]
        common = {key: value for key, value in common.items() if key not in FOR_TRANSFER}
        overrides = [override for override in overrides if not override.startswith("root=")]
        overrides = [override.removeprefix("target_") for override in overrides]
    data = {**common, **(values.get("data") or {})}
    settings = [override for override in overrides if override.partition("=")[0] in EVALUATOR_SETTINGS]
    if find(str(kind)).data == DataKind.LABELLED:  # settings of pairs do not apply to classes
        data = {key: value for key, value in data.items() if key not in FOR_PAIRS}
        settings = [setting for setting in settings if setting.partition("=")[0] not in FOR_PAIRS]
    return with_palette({**values, "data": data}, settings)


def _text(key: str, value: Any, models: Models) -> str:
    """Return a value as on the command line."""
    if is_text(key, models) and isinstance(value, str):
        return value
    return yaml.safe_dump(value, default_flow_style=True, width=math.inf).removesuffix("\n").removesuffix("...").strip()


def evaluator_name(folder: Path) -> str:
    """Return the name of the evaluator's run in an experiment folder, which a former version may have begun."""
    is_former = (folder / FORMER_EVALUATOR).exists() and not (folder / EVALUATOR).exists()
    return FORMER_EVALUATOR if is_former else EVALUATOR


def in_training_order(recipes: Mapping[str, Recipe], folder: Path) -> list[dict[str, Recipe]]:
    """Return the runs that start by themselves, then those whose `init_from` names one of these, with its folder.

    ConfigError for a run that starts from a run of the second kind, or from itself.
    """
    first = {name: recipe for name, recipe in recipes.items() if recipe.train.init_from not in recipes}
    second = {}
    for name, recipe in recipes.items():
        if name in first:
            continue
        source = str(recipe.train.init_from)
        if source not in first:
            raise ConfigError(f"run {name}: init_from={source} is a run that itself starts from a run: name another")
        train = recipe.train.model_copy(update={"init_from": str((folder / source).absolute())})
        second[name] = replace(recipe, train=train)
    return [first, second] if second else [first]


def run_experiment(
    what: str,
    settings: Sequence[str],
    folder: Path,
    at_once: int = 1,
    console: Console | None = None,
    method: str | None = None,
    controls: Mapping[str, Any] = MappingProxyType({}),
) -> Path:
    """Train all runs, evaluate them with one protocol, compare them, and return the path of the comparison.

    `what` is a shipped experiment or a YAML file; wrong settings raise ConfigError before any training. At most
    `at_once` runs are trained in parallel. `method` is the package.module:Class of a method that is not part of
    Diptych, which the file may name. `controls` of all translations take precedence over those of the file.
    """
    console = console or Console(highlight=False)
    experiment = read_experiment(what)
    evaluate = experiment.evaluate.with_controls(controls)
    recipes = plan_recipes(experiment, settings, method)
    for name, recipe in recipes.items():
        if name != EVALUATOR and recipe.cls.controls:  # those of other methods follow from their data
            check_controls(recipe.cls, name, parse_controls(recipe.cls, name, evaluate.controls))
    folder.mkdir(parents=True, exist_ok=True)
    evaluator = None
    if EVALUATOR in recipes:
        name = evaluator_name(folder)
        evaluator = folder / name
        train_runs({name: recipes.pop(EVALUATOR)}, folder, 1, console)
        if not (evaluator / "results").exists():
            evaluate_on_real_images(Run(evaluator))
    for group in in_training_order(recipes, folder):
        train_runs(group, folder, at_once, console)
    protocol = find_protocol(experiment.protocol)
    runs = {name: Run(folder / name) for name in recipes}

    def log(line: str) -> None:
        console.print(line, markup=False)

    evaluate_runs(runs, protocol, evaluate, evaluator, log, method)
    return compare([folder / name for name in recipes], folder / COMPARISON, protocol.name)
