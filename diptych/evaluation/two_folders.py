"""Translations of any tool: two plain folders, real and fake, as samples that measures read."""

from pathlib import Path

from diptych.data.images import image_io
from diptych.data.sources.file_names import stem_of
from diptych.data.sources.folders import images_in
from diptych.errors import EvaluationError, printable
from diptych.evaluation.samples import SampleRow, Samples


def two_folders(real: Path, fake: Path) -> Samples:
    """Two plain folders as the samples of one route: pairs if each fake has a real of its name and the other way."""
    reals, fakes = images_in(real), images_in(fake)
    for folder, files in ((real, reals), (fake, fakes)):
        if not files:
            raise EvaluationError(f"{folder}: no images in it ({', '.join(sorted(image_io.SUFFIXES))})")
    truths, names = {stem_of(file): _absolute(file) for file in reals}, {stem_of(file) for file in fakes}
    paired = names == truths.keys() and len(names) == len(reals) == len(fakes)
    known = truths if paired else {}
    rows = [
        SampleRow(route="fake-real", fake=_absolute(file), truth=known.get(stem_of(file)), of=printable(file.name))
        for file in fakes
    ]
    about = {"real": str(real), "fake": str(fake)}
    others = {"fake-real": tuple(map(_absolute, reals))}
    return Samples(fake, about, tuple(rows), others, tuple(sorted(names ^ truths.keys())))


def _absolute(file: Path) -> str:
    """EvaluationError for a name that no JSON can hold."""
    path = str(file.absolute())
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise EvaluationError(f"{printable(path)}: its name is not UTF-8; rename it") from error
    return path
