"""Translation of tar files: one tar file of translations for each, complete or absent."""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from diptych.data.images import image_io
from diptych.data.images.image_io import StoredFile
from diptych.data.sources.folders import is_image_name
from diptych.errors import DataError
from diptych.inference.batch.stages import Outcome, in_stages
from diptych.inference.batch.tar_files import members_of, write_members
from diptych.inference.file_translation import FileTranslation
from diptych.system.atomic_files import atomic_write


def translate_tar_files(
    paths: Iterable[Path], translation: FileTranslation, out: Path, overwrite: bool = False
) -> Iterator[Outcome]:
    """Yield one outcome for each tar file: its number of images, or None if its output exists; and its failed images.

    An output has the members of its source, in order: images are translated, other files of a sample are copied, and
    images that fail are left out. A tar file that is refused is an outcome too.
    """
    for path in paths:
        target = out / path.name
        if target.exists() and target.samefile(path):
            raise DataError(f"{path} would be replaced by its translation: choose another folder with -o")
        if target.exists() and not overwrite:
            yield Outcome(path)
            continue
        outcomes: list[Outcome] = []
        try:
            with atomic_write(target) as part:
                write_members(part, _translated(path, translation, outcomes))
        except DataError as error:
            yield Outcome(path, error=str(error))
            continue
        failed = [outcome for outcome in outcomes if outcome.error]
        yield Outcome(path, len(outcomes) - len(failed))
        yield from failed


def _translated(path: Path, translation: FileTranslation, outcomes: list[Outcome]) -> Iterator[tuple[str, bytes]]:
    """Yield the name and bytes of each member of the output; the outcomes of images are appended."""

    def read(member: tuple[str, StoredFile]) -> Any:
        name, file = member
        if not is_image_name(PurePosixPath(name).name):
            return file.data
        return translation.plan({file: Path(name)}), translation.read(file)

    def compute(member: tuple[str, StoredFile], value: Any) -> Any:
        if isinstance(value, bytes):
            return value
        plan, pixels = value
        return plan.names[member[1]].as_posix(), *translation.translate(member[1], pixels, plan)

    def write(member: tuple[str, StoredFile], value: Any) -> tuple[str, bytes]:
        if isinstance(value, bytes):
            return member[0], value
        return value[0], image_io.encoded(*value)

    for outcome in in_stages(members_of(path), read, compute, write):
        name, file = outcome.item
        if is_image_name(PurePosixPath(name).name):
            outcomes.append(Outcome(file.label, 1, outcome.error))
        if not outcome.error:
            yield outcome.value
