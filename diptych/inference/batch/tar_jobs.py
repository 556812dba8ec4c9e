"""Translation of tar files: one tar file of translations for each, complete or absent."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from diptych.inference.batch.container_files import translate_containers
from diptych.inference.batch.members import is_image, translate_members
from diptych.inference.batch.path_manifest import Job
from diptych.inference.batch.stages import Outcome
from diptych.inference.batch.tar_files import members_of, write_members
from diptych.inference.file_translation import FileTranslation


def translate_tar_files(
    jobs: Iterable[Job], translation: FileTranslation, out: Path, overwrite: bool = False
) -> Iterator[Outcome]:
    """Yield the outcomes of `translate_containers` for tar files.

    An output has the members of its source, in order: images are translated, other files of a sample are copied, and
    images that fail are left out.
    """

    def translate(source: Path, part: Path, outcomes: list[Outcome]) -> None:
        write_members(part, _translated(source, translation, outcomes))

    return translate_containers(jobs, translate, out, overwrite)


def _translated(path: Path, translation: FileTranslation, outcomes: list[Outcome]) -> Iterator[tuple[str, bytes]]:
    """Yield the name and bytes of each member of the output; the outcomes of images are appended."""
    for outcome in translate_members(members_of(path), translation):
        if is_image(outcome.item):
            outcomes.append(Outcome(outcome.item[1].label, 1, outcome.error))
        if not outcome.error:
            yield outcome.value
