"""Translation of images that are parts of other files, such as members of a tar file."""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from diptych.data.images import image_io
from diptych.data.images.image_io import StoredFile
from diptych.data.sources.folders import is_image_name
from diptych.inference.batch.stages import Outcome, in_stages
from diptych.inference.file_translation import FileTranslation

Member = tuple[str, StoredFile]  # name and content


def is_image(member: Member) -> bool:
    """Return whether a member is an image, by its name."""
    return is_image_name(PurePosixPath(member[0]).name)


def translate_members(members: Iterable[Member], translation: FileTranslation) -> Iterator[Outcome]:
    """Yield the outcome of each member, in order; its value is the name and bytes of the output.

    Members that are not images are copied.
    """

    def read(member: Member) -> Any:
        name, file = member
        if not is_image(member):
            return file.data
        return translation.plan({file: Path(name)}), translation.read(file)

    def compute(member: Member, value: Any) -> Any:
        if isinstance(value, bytes):
            return value
        plan, pixels = value
        return plan.names[member[1]].as_posix(), *translation.translate(member[1], pixels, plan)

    def write(member: Member, value: Any) -> tuple[str, bytes]:
        if isinstance(value, bytes):
            return member[0], value
        return value[0], image_io.encoded(*value)

    return in_stages(members, read, compute, write)
