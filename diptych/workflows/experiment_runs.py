"""Train the runs of an experiment, each in its own process, and resume those that were stopped."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console

from diptych.contract import Method
from diptych.errors import ConfigError, RunError, shown
from diptych.networks import user_code
from diptych.runs import checkpoint
from diptych.runs.events import read_events
from diptych.runs.folder import Run
from diptych.settings.recipe import SECTIONS, Recipe, from_settings
from diptych.system.atomic_files import write_text
from diptych.system.cpus import cores
from diptych.system.hardware import free_gib
from diptych.system.safe_parse import parse_json, parse_yaml, read_text
from diptych.system.signals import OWN_GROUP, STOP_REQUEST, STOPPING, stop_on_signals
from diptych.training.trainer import is_stale

POLL_SECONDS = 1.0  # between checks of the running processes
MEMORY_FACTOR = 1.25  # free memory for another run, relative to the peak of the running ones


class Interrupted(KeyboardInterrupt):
    """The signal `number` stopped an experiment; its runs have saved checkpoints."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass
class Job:
    """The training of one run in a process of its own."""

    name: str
    folder: Path
    method: str | None = None  # package.module:Class of a method that is not part of Diptych
    process: subprocess.Popen[bytes] | None = None

    def events(self) -> list[dict[str, Any]]:
        return [event for event in read_events(self.folder / "events.jsonl") if event["event"] == "step"]

    @property
    def recipe(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.yaml")

    @property
    def log(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.log")


def train_runs(recipes: Mapping[str, Recipe], folder: Path, at_once: int, console: Console) -> None:
    """Train the unfinished runs, at most `at_once` in parallel as memory allows. RunError if some fail.

    A signal is forwarded to the processes, which save and end, and is raised as Interrupted.
    """
    waiting = [Job(name, folder / name, r.method if r.allowed else None) for name, r in recipes.items()]
    for job in waiting:
        _write_recipe(job, recipes[job.name])
    waiting = [job for job in waiting if not is_finished(job.folder, recipes[job.name].allowed)]
    running: list[Job] = []
    failed: list[Job] = []
    with stop_on_signals(_interrupt):
        try:
            while waiting or running:
                if waiting and len(running) < at_once and _has_memory(running):
                    job = waiting.pop(0)
                    running.append(job)
                    _start(job, at_once)
                    action = "resumes" if job.events() else "starts"
                    console.print(f"{job.name}: {action}, {len(waiting)} more waiting")
                time.sleep(POLL_SECONDS)
                failed += _remove_ended(running, console)
        except Interrupted:
            _stop(running)
            raise
    if failed:
        _raise_failure(failed, len(recipes))


def _interrupt(number: int) -> None:
    raise Interrupted(number)


def _remove_ended(running: list[Job], console: Console) -> list[Job]:
    """Remove the jobs whose process has ended, and return those that failed."""
    failed = []
    for job in [job for job in running if job.process and job.process.poll() is not None]:
        running.remove(job)
        code = job.process.returncode if job.process else 0
        if code - 128 in STOPPING:
            _interrupt(code - 128)
        if code:
            failed.append(job)
            console.print(f"{job.name}: failed with exit code {code}; see {job.log}", markup=False)
        else:
            console.print(f"{job.name}: done")
    return failed


def _raise_failure(failed: Sequence[Job], count: int) -> None:
    lines = failed[0].log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    names = ", ".join(job.name for job in failed)
    raise RunError(f"{len(failed)} of {count} runs failed: {names}; {''.join(errors[-1:] or lines[-1:])}")


def _write_recipe(job: Job, recipe: Recipe) -> None:
    """Write the recipe next to the run. ConfigError if there is one with other settings."""
    path = job.recipe
    if path.is_file():
        existing, wanted = _flat(_read_recipe(path, recipe.allowed)), _flat(recipe)
        different = [key for key in {**existing, **wanted} if existing.get(key) != wanted.get(key)]
        if different:
            changes = [f"{key}: {shown(existing.get(key))}, not {shown(wanted.get(key))}" for key in different]
            raise ConfigError(
                f"{path}: this folder holds an experiment with other settings ({'; '.join(changes)}); "
                f"choose another folder with -o, or remove it"
            )
    write_text(path, yaml.safe_dump(recipe.settings(), sort_keys=False))


def _read_recipe(path: Path, cls: type[Method] | None) -> Recipe:
    """Return a recipe that was written by this or a former version. ConfigError."""
    try:
        settings = parse_yaml(read_text(path))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: the recipe cannot be read ({error})") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: a recipe is a YAML mapping with at least `method: NAME`")
    return from_settings(settings, where=str(path), cls=cls, saved=True)


def _flat(recipe: Recipe) -> dict[str, Any]:
    settings = recipe.settings()
    return {"method": recipe.method} | {key: value for part in SECTIONS for key, value in settings[part].items()}


def is_finished(folder: Path, cls: type[Method] | None = None) -> bool:
    """Return whether a run has taken all its steps, or was stopped early, and has its model."""
    config = folder / "model" / "config.json"
    if not config.is_file():
        return False
    recipe = from_settings(Run.open(folder).settings(), where=str(folder / "config.yaml"), cls=cls, saved=True)
    with torch.device("meta"):
        steps = sum(stage.steps for stage in recipe.cls(recipe.model).stages())
    steps_taken = parse_json(read_text(config))["notes"].get("steps")
    if steps_taken == steps or not recipe.evaluate.patience_evals:
        return bool(steps_taken == steps)
    meta = checkpoint.load_newest(folder / "checkpoints")[1]
    max_age = recipe.evaluate.patience_evals * (recipe.evaluate.eval_every or 0)
    best = meta["best"]
    is_newest = meta["total"] == steps_taken
    return bool(best and is_newest and is_stale(best["name"], meta["place"], meta["step"], max_age))


def _start(job: Job, at_once: int) -> None:
    folder = str(job.folder.absolute())
    if (job.folder / "config.yaml").is_file():
        words = ["resume", folder]
    else:
        words = ["train", str(job.recipe.absolute()), "-o", folder]
    words += ["--method", job.method] if job.method else []
    words += [word for name in user_code.allowed() for word in ("--allow-code", name)]
    threads = {"OMP_NUM_THREADS": str(max(1, cores() // at_once))} if at_once > 1 else {}
    with job.log.open("ab") as log:
        job.process = subprocess.Popen(
            [sys.executable, "-m", "diptych.cli", *words],
            stdout=log,
            stderr=log,
            env={**os.environ, **threads},
            creationflags=OWN_GROUP,
        )


def _has_memory(running: Sequence[Job]) -> bool:
    """Return whether there is memory for another run: that of the largest running one, once all have logged theirs."""
    if not running:
        return True
    peaks = [event["peak_gib"] for job in running for event in job.events()[-1:] if "peak_gib" in event]
    return len(peaks) == len(running) and free_gib() > MEMORY_FACTOR * max(peaks)


def _stop(running: Sequence[Job]) -> None:
    """Ask every process to stop, and wait until each has saved and ended."""
    for job in running:
        if job.process:
            job.process.send_signal(STOP_REQUEST)
    for job in running:
        if job.process:
            job.process.wait()
