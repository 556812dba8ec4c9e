"""Experiments: one YAML that says which runs to make and how to judge them; each run is an ordinary run folder.

    title: Which terms the loss needs
    recipe: {method: ..., data: {...}, train: {...}}       what all runs share
    matrix: {loss: [l1, l1+cgan], seed: [0, 1]}            every combination; or
    runs: {plain: {}, without-l1: {l1: 0}}                 each by a name of its own
    protocol: paired-default
    judge: {method: ..., train: {...}}                     trained first, on the same images; optional
    evaluate: {which: best}                                which checkpoint, split, extractor, palette...; optional

`diptych experiment FILE -o FOLDER` makes what is missing, goes on with what was stopped, and ends in a comparison.
"""

import itertools
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator
from rich.console import Console

from diptych.contract import DataKind, Method
from diptych.data.open import FOR_PAIRS
from diptych.errors import ConfigError, RunError, nearest, shown
from diptych.evaluation.compare.page import compare
from diptych.evaluation.protocols import PROTOCOLS, find_protocol
from diptych.methods import EVALUATORS, find
from diptych.runs import checkpoint
from diptych.runs.events import read_events
from diptych.runs.folder import Run
from diptych.settings.overrides import Models, is_text
from diptych.settings.recipe import SECTIONS, SETTINGS, SHIPPED, Recipe, from_file, from_settings, refuse_unused
from diptych.settings.validate import checked
from diptych.system.atomic_files import write_text
from diptych.system.cpus import cores
from diptych.system.hardware import free_gib
from diptych.system.safe_parse import parse_json, parse_yaml, read_text
from diptych.system.signals import STOPPING, stop_on_signals
from diptych.training.trainer import is_old
from diptych.workflows.judge_runs import EvaluationSettings, evaluate_runs
from diptych.workflows.train_judge import on_real_images, with_palette

JUDGE = "judge"  # the folder of the judge's run
FOR_JUDGE = (
    "root",
    "crop_size",
    "load_size",
    "resize_mode",
    "layout",
    "folders",
    "on_bad_image",
    "device",
    "workers",
)  # of the overrides
MOST = 1000  # runs
NAME = re.compile(r"[\w+-][\w.,+-]{0,99}")
UNFIT = re.compile(r"[^\w.+-]+")
TAKEN = (JUDGE, "compared")
LOOK = 1.0  # seconds between looks at the running trainings
SPARE = 1.25  # times the memory of a run that must be free before another one starts

Values = dict[str, Any]


class Interrupted(KeyboardInterrupt):
    """A signal of that number ended an experiment, whose trainings have saved."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Experiment(BaseModel):
    """The YAML, checked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    recipe: Values
    runs: dict[str, Values] = Field({}, max_length=1000)
    matrix: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field({}, max_length=20)
    protocol: str
    judge: Values | None = None
    evaluate: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="after")
    def _makes_runs(self) -> "Experiment":
        if bool(self.runs) == bool(self.matrix):
            raise ValueError("an experiment has either runs, each by its name, or a matrix of values: give one of them")
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"no protocol is called {shown(self.protocol)}{nearest(self.protocol, PROTOCOLS)}")
        if (count := math.prod(map(len, self.matrix.values()))) > MOST:
            raise ValueError(f"the matrix makes {count} runs, and an experiment has at most {MOST}")
        names = [name for name, _ in self._variants()]
        for name in names:
            if not NAME.fullmatch(name) or name in TAKEN:
                raise ValueError(f"a run cannot be called {shown(name)}: use letters, digits and -_.,+ in its name")
            if names.count(name) > 1:
                raise ValueError(f"two runs would be called {shown(name)}: give each a name of its own under runs")
        return self

    def variants(self) -> dict[str, Values]:
        """What differs, by the name of the run, which is also that of its folder."""
        return dict(self._variants())

    def _variants(self) -> list[tuple[str, Values]]:
        if self.runs:
            return list(self.runs.items())
        combinations = itertools.product(*self.matrix.values())
        made = [dict(zip(self.matrix, values, strict=True)) for values in combinations]
        return [(",".join(UNFIT.sub("_", str(value)).strip("_") for value in each.values()), each) for each in made]

    def varied(self, overrides: Sequence[str]) -> tuple["Experiment", list[str]]:
        """With the rows of the matrix that overrides give as lists, and the overrides that are left.

        ConfigError for one that would change nothing: of a key that every run sets itself.
        """
        matrix, left = dict(self.matrix), []
        for each in overrides:
            key, _, text = each.partition("=")
            if self.runs and all(key in values for values in self.runs.values()):
                raise ConfigError(f"{each!r}: each run of this experiment sets {key} itself; change that in its file")
            if key not in matrix:
                left.append(each)
                continue
            try:
                row = parse_yaml(text)
            except ValueError:
                row = None
            if not isinstance(row, list):
                raise ConfigError(
                    f"{each!r}: this experiment varies {key}; give a list of values, such as {key}=[{text or 'a,b'}]"
                )
            matrix[key] = row
        return checked(Experiment, {**self.model_dump(), "matrix": matrix}, "matrix"), left


@dataclass
class Job:
    """One training, as a process of its own."""

    name: str
    folder: Path
    method: str | None = None  # package.module:Class of a method that is not part of Diptych
    process: subprocess.Popen[bytes] | None = None

    def events(self) -> list[Values]:
        return [event for event in read_events(self.folder / "events.jsonl") if event["event"] == "step"]

    @property
    def recipe(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.yaml")

    @property
    def log(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.log")


def shipped() -> dict[str, Path]:
    return {path.stem: path for path in sorted((SHIPPED / "experiments").glob("*.yaml"))}


def read(name: str) -> Experiment:
    """By the name of a shipped experiment, or a path. ConfigError names every wrong key."""
    if name not in shipped() and not name.endswith((".yaml", ".yml")):
        near, there = nearest(name, shipped()), ", ".join(shipped())
        raise ConfigError(f"{name!r} is no shipped experiment or .yaml file{near}; there are {there}")
    path = shipped().get(name, Path(name))
    try:
        settings = parse_yaml(read_text(path))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not an experiment that can be read ({error})") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: an experiment is a YAML mapping with title, recipe, runs or matrix, and protocol")
    return checked(Experiment, settings, str(path))


def planned(experiment: Experiment, overrides: Sequence[str], method: str | None = None) -> dict[str, Recipe]:
    """The recipe of each run by its name, all of them checked before the first is made; the judge's first. ConfigError.

    `overrides` are for all runs; what one of several runs sets itself they do not change, and a row of the matrix they
    replace by a list. For the judge only those of FOR_JUDGE count. `method` is as in `run_experiment`.
    """
    experiment, overrides = experiment.varied(overrides)
    cls = find(method) if method else None
    models = {**SETTINGS, "model": (cls or find(str(experiment.recipe.get("method")))).Config}
    found: dict[str, Recipe] = {}
    for name, values in experiment.variants().items():
        own = [f"{key}={_text(key, value, models)}" for key, value in values.items()]
        free = [each for each in overrides if each.partition("=")[0] not in values]
        found[name] = from_settings(experiment.recipe, [*free, *own], f"run {name}", cls, allow_unused=True)
    refuse_unused({f"run {name}": each for name, each in found.items()})
    if experiment.judge is None:
        if find_protocol(experiment.protocol).needs_judge:
            raise ConfigError(f"protocol {experiment.protocol} needs a judge: say by judge: {{...}} which one to train")
        return found
    kind = experiment.judge.get("method")
    if kind not in EVALUATORS:
        raise ConfigError(
            f"judge: {shown(kind)} is none{nearest(str(kind), EVALUATORS)}; there are {', '.join(EVALUATORS)}"
        )
    data = {**(experiment.recipe.get("data") or {}), **(experiment.judge.get("data") or {})}
    chosen = [each for each in overrides if each.partition("=")[0] in FOR_JUDGE]
    if find(str(kind)).data == DataKind.LABELLED:  # to whose classes those two say nothing
        data = {key: value for key, value in data.items() if key not in FOR_PAIRS}
        chosen = [each for each in chosen if each.partition("=")[0] not in FOR_PAIRS]
    return {JUDGE: with_palette({**experiment.judge, "data": data}, chosen), **found}


def _text(key: str, value: Any, models: Models) -> str:
    if is_text(key, models) and isinstance(value, str):
        return value
    return yaml.safe_dump(value, default_flow_style=True, width=math.inf).removesuffix("\n").removesuffix("...").strip()


def carry_out(recipes: Mapping[str, Recipe], folder: Path, at_once: int, console: Console) -> None:
    """Train what is not trained yet, `at_once` runs at a time where memory allows. Raises RunError for what failed.

    A signal reaches the trainings too, which save and end, and is raised as Interrupted; the same command goes on.
    """
    waiting = [Job(name, folder / name, each.method if each.allowed else None) for name, each in recipes.items()]
    for job in waiting:
        _prepare(job, recipes[job.name])
    waiting = [job for job in waiting if not finished(job.folder, recipes[job.name].allowed)]
    running: list[Job] = []
    failed: list[Job] = []
    with stop_on_signals(_interrupt):
        try:
            while waiting or running:
                if waiting and len(running) < at_once and _fits(running):
                    job = waiting.pop(0)
                    running.append(job)
                    _start(job, at_once)
                    console.print(f"{job.name}: {'goes on' if job.events() else 'begins'}, {len(waiting)} more wait")
                time.sleep(LOOK)
                for job in [each for each in running if each.process and each.process.poll() is not None]:
                    running.remove(job)
                    code = job.process.returncode if job.process else 0
                    if code - 128 in STOPPING:
                        _interrupt(code - 128)
                    if code:
                        failed.append(job)
                        console.print(f"{job.name}: failed with exit code {code}; see {job.log}", markup=False)
                    else:
                        console.print(f"{job.name}: done")
        except Interrupted:
            _stop(running)
            raise
    if failed:
        lines = failed[0].log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        why = [line for line in lines if line.startswith("error: ")][-1:] or lines[-1:]
        names = ", ".join(job.name for job in failed)
        raise RunError(f"{len(failed)} of {len(recipes)} runs failed: {names}; {''.join(why)}")


def _interrupt(number: int) -> None:
    raise Interrupted(number)


def _prepare(job: Job, recipe: Recipe) -> None:
    """Write the recipe beside the run. ConfigError if one lies there that asks for something else."""
    path = job.recipe
    if path.is_file():
        there, asked = _flat(from_file(path, cls=recipe.allowed)), _flat(recipe)
        different = [key for key in {**there, **asked} if there.get(key) != asked.get(key)]
        if different:
            raise ConfigError(
                f"{path}: this folder holds an experiment of other settings ("
                + "; ".join(f"{key}: {shown(there.get(key))}, not {shown(asked.get(key))}" for key in different)
                + "); choose another one with -o, or remove it"
            )
    write_text(path, yaml.safe_dump(recipe.settings(), sort_keys=False))


def _flat(recipe: Recipe) -> Values:
    settings = recipe.settings()
    return {"method": recipe.method} | {key: value for part in SECTIONS for key, value in settings[part].items()}


def finished(folder: Path, cls: type[Method] | None = None) -> bool:
    """Whether a run has taken all its steps, or enough of them, and left its model."""
    config = folder / "model" / "config.json"
    if not config.is_file():
        return False
    recipe = from_settings(Run.open(folder).settings(), where=str(folder / "config.yaml"), cls=cls, saved=True)
    with torch.device("meta"):
        steps = sum(stage.steps for stage in recipe.cls(recipe.model).stages())
    taken = parse_json(read_text(config))["notes"].get("steps")
    if taken == steps or not recipe.evaluate.patience_evals:
        return bool(taken == steps)
    meta = checkpoint.newest(folder / "checkpoints")[1]
    age = recipe.evaluate.patience_evals * (recipe.evaluate.eval_every or 0)
    best = meta["best"]
    return bool(best and meta["total"] == taken and is_old(best["name"], meta["place"], meta["step"], age))


def _start(job: Job, at_once: int) -> None:
    there, folder = (job.folder / "config.yaml").is_file(), str(job.folder.absolute())
    words = ["resume", folder] if there else ["train", str(job.recipe.absolute()), "-o", folder]
    words += ["--method", job.method] if job.method else []
    threads = {"OMP_NUM_THREADS": str(max(1, cores() // at_once))} if at_once > 1 else {}
    with job.log.open("ab") as log:
        job.process = subprocess.Popen(
            [sys.executable, "-m", "diptych.cli", *words], stdout=log, stderr=log, env={**os.environ, **threads}
        )


def _fits(running: Sequence[Job]) -> bool:
    """Whether another run finds memory: as much as the hungriest of those that run, once they have said how much."""
    if not running:
        return True
    peaks = [event["peak_gib"] for job in running for event in job.events()[-1:] if "peak_gib" in event]
    return len(peaks) == len(running) and free_gib() > SPARE * max(peaks)


def _stop(running: Sequence[Job]) -> None:
    """Each saves and ends."""
    for job in running:
        if job.process:
            job.process.send_signal(signal.SIGTERM)
    for job in running:
        if job.process:
            job.process.wait()


def run_experiment(
    what: str,
    settings: Sequence[str],
    folder: Path,
    at_once: int = 1,
    console: Console | None = None,
    method: str | None = None,
) -> Path:
    """Make all runs, judge them alike, compare them; returns the page. What is wrong with a setting is raised first.

    `method` is the package.module:Class of a method that is not part of Diptych, which the file may name.
    """
    console = console or Console(highlight=False)
    experiment = read(what)
    recipes = planned(experiment, settings, method)
    folder.mkdir(parents=True, exist_ok=True)
    if JUDGE in recipes:
        carry_out({JUDGE: recipes[JUDGE]}, folder, 1, console)
        if not (folder / JUDGE / "results").exists():
            on_real_images(Run(folder / JUDGE))
    runs = {name: recipe for name, recipe in recipes.items() if name != JUDGE}
    carry_out(runs, folder, at_once, console)
    protocol = find_protocol(experiment.protocol)
    judge = folder / JUDGE if JUDGE in recipes else None
    made = {name: Run(folder / name) for name in runs}
    evaluate_runs(made, protocol, experiment.evaluate, judge, lambda line: console.print(line, markup=False), method)
    return compare([folder / name for name in runs], folder / "compared", protocol.name)
