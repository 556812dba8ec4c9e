"""Work on a Ray cluster: an actor for each GPU or CPU core holds the model, and is replaced if it ends.

Files go through the functions of a single process, so their bytes are the same. Paths are sent to the actors, which
read the files themselves: Ray's own readers of images list and open all files first.
"""

import json
import logging
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import count, islice
from pathlib import Path
from typing import Any

from diptych.errors import ConfigError, DiptychError, ImageError
from diptych.inference.batch.path_manifest import Job
from diptych.inference.batch.stages import Outcome
from diptych.inference.batch.work import IMAGES, KINDS, Work
from diptych.inference.file_translation import FileTranslation
from diptych.inference.open_model import ModelSource

INSTALL = "--engine ray needs Ray: pip install 'diptych[ray]'"
PART = 64  # images of a task
MOST_TASKS = 10_000  # a task has more images if there would be more
PER_ACTOR = 4  # tasks at least, so that actors end at about the same time
ATTEMPTS = 4  # at a task; without a limit an image that ends its actor would end all that follow
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # of Ray's C++ part; errors are raised
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the coming default, announced on every start
}
LOCAL = ("translator", "draw", "say")  # fields of a translation that stay in this process


@dataclass(frozen=True)
class RayJob:
    """What each actor gets.

    `options` are fields of a `FileTranslation`, `folder` is where relative paths start, `attempts` is a Ray actor that
    holds `Attempts`.
    """

    kind: str
    model: ModelSource
    options: dict[str, Any]
    folder: str
    out: Path
    overwrite: bool
    attempts: Any


def translate_on_ray(
    work: Work, translation: FileTranslation, model: ModelSource, out: Path, overwrite: bool, actors: int | None
) -> Iterator[Outcome]:
    """Yield the outcomes, in order. `actors`: their number; None: one for each GPU, or CPU core, of the cluster.

    Connects to the cluster of RAY_ADDRESS or of `ray start` on this machine; else starts one, which ends with the work.
    Notes and warnings of actors are given to `translation.say`. Raises ConfigError without Ray, DiptychError for an
    error that ends the work.
    """
    ray = import_ray()
    options = {each.name: vars(translation)[each.name] for each in fields(translation) if each.name not in LOCAL}
    with _cluster(ray):
        attempts = ray.remote(num_cpus=0)(Attempts).remote()
        job = RayJob(work.kind, model, options, os.getcwd(), out, overwrite, attempts)
        gpus = 0 if model.device == "cpu" else int(ray.cluster_resources().get("GPU", 0))
        number = _actors(actors, gpus or int(ray.cluster_resources().get("CPU", 0)))
        data = ray.data.from_arrow_refs([ray.put(part) for part in _parts(work, number)])
        answers = data.map_batches(
            Actor,
            fn_constructor_args=(job,),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=number),
            num_cpus=1,
            num_gpus=1 if gpus else 0,
        )
        yield from _outcomes(ray, answers, translation)


def import_ray() -> Any:
    """Return the package `ray`, with `ray.data`. Raises ConfigError if it is not installed."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(INSTALL) from error
    return ray


@contextmanager
def _cluster(ray: Any) -> Iterator[None]:
    """Connect to a cluster, or start one on this machine, and leave or end it afterwards."""
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        if started:
            ray.shutdown()


def _actors(wanted: int | None, available: int) -> int:
    """Return the number of actors. Raises ConfigError for more than the cluster has room for."""
    if wanted is not None and wanted > available:
        raise ConfigError(f"--actors {wanted}: the cluster has room for {available}: give at most that")
    return wanted or max(1, available)


def _parts(work: Work, actors: int) -> Iterator[Any]:
    """Yield tables of one row: a task, as JSON of its number and the sources and names of its files."""
    import pyarrow as pa

    size = _part_size(work.count, actors) if work.kind == IMAGES else 1
    files = iter(work.jobs)
    for number in count():
        part = [(str(job.source), str(job.name)) for job in islice(files, size)]
        if not part:
            return
        yield pa.table({"task": [json.dumps([number, part])]})


def _part_size(files: int, actors: int) -> int:
    """Return the number of images of a task."""
    return max(min(PART, -(-files // (PER_ACTOR * actors))), -(-files // MOST_TASKS))


def _outcomes(ray: Any, answers: Any, translation: FileTranslation) -> Iterator[Outcome]:
    """Yield the outcomes that actors answer, and say their notes. Raises DiptychError."""
    try:
        for row in answers.iter_rows():
            answer = json.loads(row["answer"])
            for note in answer["notes"]:
                translation.say(note)
            if answer["error"]:
                raise DiptychError(answer["error"])
            yield from (Outcome(*values) for values in answer["outcomes"])
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else error from None
    except ray.exceptions.RayError as error:
        raise DiptychError(
            f"Ray stopped ({type(error).__name__}); a machine or its memory may be lost: start the command again, "
            "files that are there are kept"
        ) from error


class Attempts:
    """Counts how often each task was begun. It is an actor of its own, which stays when others end."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def begin(self, task: int) -> int:
        """Return which attempt at a task this is, from 1 on."""
        self.counts[task] += 1
        return self.counts[task]


class Actor:
    """Holds the model and translates the files of tasks. The model is loaded for the first task."""

    def __init__(self, job: RayJob) -> None:
        self.job = job
        self.notes: list[str] = []
        self.translation: FileTranslation | None = None

    def __call__(self, table: Any) -> Any:
        """Return a table with the answer to each task, as JSON: outcomes, notes, and the error that ends the work."""
        import pyarrow as pa

        return pa.table({"answer": [self._answer(*json.loads(text)) for text in table.column("task").to_pylist()]})

    def _answer(self, task: int, files: list[tuple[str, str]]) -> str:
        outcomes: list[Outcome] = []
        self.notes.clear()
        error = ""
        try:
            with warnings.catch_warnings(record=True) as caught:
                self._begin(task, files)
                translation = self._translation()
                jobs = [Job(Path(source), Path(name)) for source, name in files]
                for outcome in KINDS[self.job.kind](jobs, translation, self.job.out, self.job.overwrite):
                    outcomes.append(outcome._replace(item=str(outcome.item)))
        except DiptychError as raised:
            error = str(raised)
        notes = [*self.notes, *(f"warning: {warning.message}" for warning in caught)]
        return json.dumps({"outcomes": outcomes, "notes": notes, "error": error})

    def _begin(self, task: int, files: list[tuple[str, str]]) -> None:
        """Count the attempt. Raises ImageError if too many actors have ended at the task."""
        import ray

        counted = "file" if len(files) == 1 else f"{len(files)} files"
        if ray.get(self.job.attempts.begin.remote(task)) > ATTEMPTS:
            raise ImageError(
                f"{files[0][0]}: {ATTEMPTS} processes ended at the {counted} from this one on, such as by their "
                "memory: translate these without --engine ray, and leave out the one that fails"
            )

    def _translation(self) -> FileTranslation:
        """Return the translation of this process. Raises the errors of a model that cannot be loaded."""
        if self.translation is None:
            try:
                os.chdir(self.job.folder)
            except OSError as error:
                raise ConfigError(
                    f"{self.job.folder}: not on every machine of the cluster ({error.strerror}): work in a folder "
                    "that all of them see"
                ) from error
            self.translation = FileTranslation(self.job.model.load(), say=self.notes.append, **self.job.options)
            self.translation.translator.check_scale([], self.translation.controls, are_all=True)  # done for all files
        return self.translation
