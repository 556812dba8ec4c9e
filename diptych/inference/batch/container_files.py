"""Files of many images, such as tar and Parquet files: each gives one file of translations, complete or absent."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from diptych.errors import DataError
from diptych.inference.batch.path_manifest import Job
from diptych.inference.batch.stages import Outcome
from diptych.system.atomic_files import atomic_write

Translate = Callable[[Path, Path, list[Outcome]], None]  # source, output, and the outcomes of images to append to


def translate_containers(
    jobs: Iterable[Job], translate: Translate, out: Path, overwrite: bool = False
) -> Iterator[Outcome]:
    """Yield one outcome for each file: its number of images, or None if its output exists; and its failed images.

    A file that is refused is an outcome too. Raises DataError for a file that would be replaced.
    """
    for source, name in jobs:
        target = out / name
        if target.exists() and source.exists() and target.samefile(source):
            raise DataError(f"{source} would be replaced by its translation: choose another folder with -o")
        if target.exists() and not overwrite:
            yield Outcome(source)
            continue
        outcomes: list[Outcome] = []
        try:
            with atomic_write(target) as part:
                translate(source, part, outcomes)
        except DataError as error:
            yield Outcome(source, error=str(error))
            continue
        failed = [outcome for outcome in outcomes if outcome.error]
        yield Outcome(source, len(outcomes) - len(failed))
        yield from failed
