"""Everything that is wrong with a surveyed folder, all at once, and what is worth a look."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from diptych.data.checks import duplicates
from diptych.data.checks.manifest import Entry, relative_path
from diptych.data.checks.survey import ALL, NOTHING, SIDE_BY_SIDE, DomainFiles, Survey
from diptych.data.checks.unread_files import explain_no_images
from diptych.data.checks.value_ranges import advice
from diptych.data.image_format import MAX_RATIO, aspect_of
from diptych.data.sources.file_names import matching_keys, normalized, stem_of
from diptych.data.sources.pairs import WAYS


@dataclass(frozen=True)
class Problem:
    """One kind of trouble, the files that have it, and the way out. `is_error` is an error, else a warning."""

    kind: str
    names: tuple[str, ...]
    remedy: str
    is_error: bool = True


def find_problems(survey: Survey) -> list[Problem]:
    """Errors first, in the order in which one would mend them."""
    found = [
        *_unreadable(survey),
        *_lacking(survey),
        *_partners(survey),
        *_sizes(survey),
        *_aspects(survey),
        *_modes(survey),
        *_ranges(survey),
        *_scales(survey),
        *_same(survey),
        *_labels(survey),
        *_misnamed(survey),
        *_alpha_and_profiles(survey),
    ]
    return sorted((fault for fault in found if fault.names), key=lambda fault: not fault.is_error)


def _unreadable(survey: Survey) -> Iterator[Problem]:
    for kind, entries in survey.manifest.problems.items():
        problem = entries[0].info.problem or ""
        yield Problem(kind, tuple(_with_detail(entry) for entry in entries), problem.rpartition("; ")[2])
    for array in survey.arrays:
        if array.problem:
            yield Problem(array.problem, (array.name,), "save it again with numpy.savez")


def _with_detail(entry: Entry) -> str:
    """With what the decoder said, where it stands in brackets."""
    detail = (entry.info.problem or "").partition(" (")[2].rpartition(")")[0]
    return f"{entry.path} ({detail[:80]})" if detail else entry.path


def _lacking(survey: Survey) -> Iterator[Problem]:
    """Sides and whole folders without any image."""
    empty = [f"{part.side} in {part.split}" if part.split != ALL else part.side for part in _empty(survey)]
    why = explain_no_images(survey.root) if empty else ""
    yield Problem("has no images", tuple(empty), why or "fill it, or remove the folder in all splits")
    if survey.layout == NOTHING:
        way_out = explain_no_images(survey.root) or f"a folder for Diptych holds one of: {WAYS}"
        yield Problem("no images", (survey.root.name,), way_out)


def _empty(survey: Survey) -> list[DomainFiles]:
    return [part for part in survey.parts if not part.files]


def _partners(survey: Survey) -> Iterator[Problem]:
    """Of pairs by name: images that lack one in another side, and those of which there are two."""
    alone: list[str] = []
    twice: list[str] = []
    for split in survey.splits:
        parts = [part for part in survey.parts if part.split == split and part.files]
        stems = [Counter(matching_keys(part.files)) for part in parts]
        for part, ours in zip(parts, stems, strict=True):
            for file in part.files:
                lacking = [p.side for p, theirs in zip(parts, stems, strict=True) if stem_of(file) not in theirs]
                if lacking and survey.paired:
                    alone.append(f"{relative_path(file, survey.root)} (none in {', '.join(lacking)})")
            if survey.paired:
                twice += [relative_path(file, survey.root) for file in part.files if ours[stem_of(file)] > 1]
    yield Problem("has no partner of the same name", tuple(alone), "add the partner, or remove the image")
    yield Problem(
        "has the same name before the suffix as another", tuple(twice), "rename or remove one: it is a pair's"
    )


def _sizes(survey: Survey) -> Iterator[Problem]:
    if survey.layout == SIDE_BY_SIDE:
        odd = [entry for entry in _good(survey) if entry.info.width != 2 * entry.info.height]
        names = tuple(f"{entry.path} ({entry.info.width}x{entry.info.height})" for entry in odd)
        yield Problem(
            "is not twice as wide as high, as the others are", names, "cut or replace it: its halves are wrong"
        )


def _aspects(survey: Survey) -> Iterator[Problem]:
    """Sides whose images the default resizing presses into another shape."""
    changed = []
    for side in dict.fromkeys(part.side for part in survey.parts):
        aspect = aspect_of(survey.sizes(side))
        if aspect > MAX_RATIO:
            changed.append(f"{side or 'all images'} ({aspect:.1f})")
    kind = f"longer side is more than {MAX_RATIO} times the shorter one"
    yield Problem(
        kind,
        tuple(changed),
        "the default makes them square; resize_mode=short_side keeps the aspect ratio",
        is_error=False,
    )


def _modes(survey: Survey) -> Iterator[Problem]:
    """Channels and depths that mix within a side: grey among colour is read as colour, others do not go together."""
    for side in dict.fromkeys(part.side for part in survey.parts):
        parts = [part for part in survey.parts if part.side == side]
        good = [entry for part in parts for entry in survey.entries(part) if not entry.info.problem]
        channels = Counter(entry.info.channels for entry in good)
        depths = Counter(entry.info.dtype for entry in good)
        where = f" of {side}" if side else ""
        if len(channels) > 1:
            usual = channels.most_common(1)[0][0]
            odd = [f"{e.path} ({e.info.channels})" for e in good if e.info.channels != usual]
            grey = set(channels) == {1, 3}
            way_out = "grey is read as colour" if grey else "bring all images of a side to one number of channels"
            yield Problem(f"other channels than most{where} ({usual})", tuple(odd), way_out, is_error=not grey)
        if len(depths) > 1:
            most = depths.most_common(1)[0][0]
            names = tuple(f"{e.path} ({e.info.dtype})" for e in good if e.info.dtype != most)
            yield Problem(
                f"other depth than most{where} ({most})", names, "each is scaled by its own range", is_error=False
            )


def _ranges(survey: Survey) -> Iterator[Problem]:
    """Domains of class ids, and of values that are a small part of what the files allow."""
    sides = list(dict.fromkeys(part.side for part in survey.parts))
    maps = dict(zip(sides, ("source", "target"), strict=False)) if len(sides) == 2 else {}
    for side in sides:
        parts = [part for part in survey.parts if part.side == side]
        entries = [entry for part in parts for entry in survey.entries(part)]
        note = advice(side or survey.root.name, entries, maps.get(side, ""))
        kind, _, way_out = note.partition(": ")
        folders = dict.fromkeys(entry.path.rpartition("/")[0] or "." for entry in entries) if note else ()
        yield Problem(kind, tuple(folders), way_out, is_error=False)


def _scales(survey: Survey) -> Iterator[Problem]:
    """Two folders with the same images at two sizes."""
    if found := survey.scale:
        yield Problem(
            f"the same images at two sizes, 1:{found.factor:g}",
            (f"{found.small.name}/ = {found.large.name}/",),
            f"learn to enlarge from {found.large.name}/ alone, or from pairs, {found.small.name} to {found.large.name}",
            is_error=False,
        )


def _same(survey: Survey) -> Iterator[Problem]:
    copies = [group for entries in survey.splits.values() for group in duplicates.exact_duplicates(entries)]
    leaks = duplicates.split_leaks(survey.splits)
    near = duplicates.near_duplicates(survey.root, survey.splits)
    yield Problem("is there more than once in a split", _groups(copies), "remove all but one")
    yield Problem("is in more than one split", _groups(leaks), "remove it from training: figures would flatter")
    yield Problem(
        "looks the same in two splits", _groups(near), "compare them; remove one from training", is_error=False
    )


def _labels(survey: Survey) -> Iterator[Problem]:
    files = [file for part in survey.parts for file in part.files]
    known = {name for file in files for name in _called(file)}
    for table in survey.tables:
        rows, name = set(table.names), table.file.name
        absent = tuple(row for row in table.names if row not in known)
        bare = tuple(relative_path(file, survey.root) for file in files if not _called(file) & rows)
        again = tuple(row for row, count in Counter(table.names).items() if count > 1)
        yield Problem(f"is in {name}, but there is no such image", absent, "remove the rows, or add the images")
        yield Problem(f"has no row in {name}", bare, "add the rows, or remove the images")
        yield Problem(f"has more than one row in {name}", again, "remove all but one")


def _called(file: Path) -> set[str]:
    """The names by which a table may mean it."""
    return {normalized(file.name), stem_of(file)}


def _misnamed(survey: Survey) -> Iterator[Problem]:
    notes = Counter(entry.info.note for entry in survey.manifest.entries if entry.info.note)
    for note in sorted(map(str, notes)):
        names = _paths(entry for entry in survey.manifest.entries if entry.info.note == note)
        yield Problem(note, names, "it is read as what it is; rename it to say so", is_error=False)


def _alpha_and_profiles(survey: Survey) -> Iterator[Problem]:
    """What files hold beside the colours that networks see."""
    transparent = _paths(entry for entry in _good(survey) if entry.info.transparent)
    yield Problem(
        "has transparency",
        transparent,
        "composited over white; alpha=keep learns it as a fourth channel",
        is_error=False,
    )
    profiled = tuple(f"{entry.path} ({entry.info.profile})" for entry in _good(survey) if entry.info.profile)
    yield Problem("has a colour profile", profiled, "ignored in training, kept by translate", is_error=False)


def _good(survey: Survey) -> list[Entry]:
    return [entry for entry in survey.manifest.entries if not entry.info.problem]


def _paths(entries: Iterable[Entry]) -> tuple[str, ...]:
    return tuple(entry.path for entry in entries)


def _groups(groups: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(" = ".join(group) for group in groups)
