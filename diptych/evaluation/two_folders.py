"""Evaluate the output of any tool: two plain folders, real and fake, as samples."""

from pathlib import Path

from diptych.data.images import image_io
from diptych.data.sources.file_names import stem_of
from diptych.data.sources.folders import images_in
from diptych.errors import EvaluationError, listed, printable
from diptych.evaluation.samples import SampleRow, Samples


def two_folders(real: Path, fake: Path, source: Path | None = None) -> Samples:
    """Return two plain folders as samples of one route; they are pairs if the same names are in both.

    `source` is a folder with the source image of every translation, under the same name. EvaluationError if one is
    missing, or for an empty folder.
    """
    reals, fakes = images_in(real), images_in(fake)
    source_files = images_in(source) if source else []
    for folder, files in ((real, reals), (fake, fakes), *([(source, source_files)] if source else [])):
        if not files:
            raise EvaluationError(f"{folder}: no images in it ({', '.join(sorted(image_io.SUFFIXES))})")
    truths = {stem_of(file): _absolute(file) for file in reals}
    names = {stem_of(file) for file in fakes}
    is_paired = names == truths.keys() and len(names) == len(reals) == len(fakes)
    targets = truths if is_paired else {}
    sources = {stem_of(file): _absolute(file) for file in source_files}
    if source and (missing := sorted(names - sources.keys())):
        raise EvaluationError(
            f"{source}: no source image of {len(missing)} translations ({listed(list(map(printable, missing)), 5)}); "
            f"a source has the name of its translation in {fake}"
        )
    rows = [
        SampleRow(
            route="fake-real",
            fake=_absolute(file),
            source=sources.get(stem_of(file)),
            truth=targets.get(stem_of(file)),
            of=printable(file.name),
        )
        for file in fakes
    ]
    about = {"real": str(real), "fake": str(fake), **({"source": str(source)} if source else {})}
    real_files = {"fake-real": tuple(map(_absolute, reals))}
    return Samples(fake, about, tuple(rows), real_files, tuple(sorted(names ^ truths.keys())))


def _absolute(file: Path) -> str:
    """Return the absolute path. EvaluationError for a name that JSON cannot hold."""
    path = str(file.absolute())
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise EvaluationError(f"{printable(path)}: its name is not UTF-8; rename it") from error
    return path
