"""Translation of the files of a job, in order, without a list of them all."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from diptych.data.images import image_io
from diptych.errors import ImageError
from diptych.inference.batch.path_manifest import Job
from diptych.inference.batch.stages import Outcome, in_stages
from diptych.inference.file_translation import FileTranslation

SCALE_SAMPLES = 100  # images whose sizes are compared with the scale of training


def translate_jobs(
    jobs: Iterable[Job], translation: FileTranslation, out: Path, overwrite: bool = False
) -> Iterator[Outcome]:
    """Yield the outcome of each job, in order: 1 for a file that was written, None for one that exists and is kept.

    Each file is planned by itself, so that any part of a job gives the same files. DataError for a source that would be
    replaced by its translation, ConfigError for a suffix that cannot hold a translation.
    """

    def read(job: Job) -> Any:
        name = job.name.with_suffix(translation.suffix) if translation.suffix else job.name
        target = out / name
        if not overwrite and target.exists() and not _is_same(job.source, target):
            return None  # most images of a job that goes on: not even opened
        plan = translation.plan({job.source: job.name})
        planned = plan.jobs(out, overwrite, skip_existing=True)
        return (plan, planned[job.source], translation.read(job.source)) if planned else None

    def compute(job: Job, value: Any) -> Any:
        plan, target, pixels = value
        return target, *translation.translate(job.source, pixels, plan)

    def write(job: Job, value: Any) -> int:
        image_io.write(*value)
        return 1

    for outcome in in_stages(jobs, read, compute, write):
        yield outcome._replace(item=outcome.item.source)


def _is_same(source: Path, target: Path) -> bool:
    return source.exists() and source.samefile(target)


def with_scale_checked(jobs: Iterable[Job], translation: FileTranslation) -> Iterator[Job]:
    """Return the jobs. The sizes of the first are compared with the scale of training, which is warned about once."""
    jobs = iter(jobs)
    first = list(islice(jobs, SCALE_SAMPLES))
    sizes = []
    for job in first:
        try:
            header = image_io.probe(job.source, "values")
        except ImageError:
            continue
        sizes.append((header.height, header.width))
    translation.translator.check_scale(sizes, translation.controls, are_all=True)
    return chain(first, jobs)
