"""Find all problems of a surveyed folder: errors and warnings."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from diptych.data.checks import duplicates
from diptych.data.checks.manifest import Entry, relative_path
from diptych.data.checks.pair_grids import REMEDY, grid_differences
from diptych.data.checks.survey import ALL, NOTHING, SIDE_BY_SIDE, Survey
from diptych.data.checks.unread_files import explain_no_images
from diptych.data.checks.value_ranges import advice
from diptych.data.image_format import MAX_RATIO, aspect_of
from diptych.data.sources.file_names import matching_keys, normalized, stem_of
from diptych.data.sources.pairs import LAYOUTS


@dataclass(frozen=True)
class Problem:
    """One kind of problem, the affected files, and the remedy. If not `is_error`, it is a warning."""

    kind: str
    names: tuple[str, ...]
    remedy: str
    is_error: bool = True


def find_problems(survey: Survey) -> list[Problem]:
    """Return the problems: errors first, in the order in which to fix them."""
    problems = [
        *_unreadable(survey),
        *_empty_domains(survey),
        *_partners(survey),
        *_grids(survey),
        *_sizes(survey),
        *_aspects(survey),
        *_modes(survey),
        *_ranges(survey),
        *_scales(survey),
        *_duplicates(survey),
        *_labels(survey),
        *_wrong_suffixes(survey),
        *_alpha_and_profiles(survey),
    ]
    return sorted((problem for problem in problems if problem.names), key=lambda problem: not problem.is_error)


def _unreadable(survey: Survey) -> Iterator[Problem]:
    for kind, entries in survey.manifest.problems.items():
        problem = entries[0].info.problem or ""
        yield Problem(kind, tuple(_with_detail(entry) for entry in entries), problem.rpartition("; ")[2])
    for array in survey.arrays:
        if array.problem:
            yield Problem(array.problem, (array.name,), "save it again with numpy.savez")


def _with_detail(entry: Entry) -> str:
    """Return the path, with the message of the decoder, which a problem has in brackets."""
    detail = (entry.info.problem or "").partition(" (")[2].rpartition(")")[0]
    return f"{entry.path} ({detail[:80]})" if detail else entry.path


def _empty_domains(survey: Survey) -> Iterator[Problem]:
    """Domains and data sets without images."""
    unrelated = _unrelated(survey)
    parts = [part for part in survey.parts if not part.files and part.domain not in unrelated]
    empty = [f"{part.domain} in {part.split}" if part.split != ALL else part.domain for part in parts]
    why = explain_no_images(survey.root) if empty else ""
    yield Problem("has no images", tuple(empty), why or "add images, or remove the folder in all splits")
    remedy = "it is ignored by methods of two domains; remove it, as methods of many domains expect images in it"
    yield Problem("is an empty folder", unrelated, remedy, is_error=False)
    if survey.layout == NOTHING:
        remedy = explain_no_images(survey.root) or f"supported layouts: {LAYOUTS}"
        yield Problem("no images", (survey.root.name,), remedy)


def _unrelated(survey: Survey) -> tuple[str, ...]:
    """Return the folders that are empty in every split, if there are two domains or more without them."""
    filled = dict.fromkeys(part.domain for part in survey.parts if part.files)
    if len(filled) < 2:
        return ()
    return tuple(dict.fromkeys(part.domain for part in survey.parts if part.domain not in filled))


def _partners(survey: Survey) -> Iterator[Problem]:
    """Pairs by name: images without a partner in another domain, and names that occur twice."""
    without_partner: list[str] = []
    duplicate_names: list[str] = []
    for split in survey.splits:
        parts = [part for part in survey.parts if part.split == split and part.files]
        keys = [Counter(matching_keys(part.files)) for part in parts]
        for part, counts in zip(parts if survey.paired else (), keys, strict=False):
            for file in part.files:
                missing = [p.domain for p, others in zip(parts, keys, strict=True) if stem_of(file) not in others]
                if missing:
                    without_partner.append(f"{relative_path(file, survey.root)} (none in {', '.join(missing)})")
                if counts[stem_of(file)] > 1:
                    duplicate_names.append(relative_path(file, survey.root))
    yield Problem("has no partner of the same name", tuple(without_partner), "add the partner, or remove the image")
    yield Problem(
        "has the same name before the suffix as another",
        tuple(duplicate_names),
        "rename or remove one: pairs are matched by this name",
    )


def _grids(survey: Survey) -> Iterator[Problem]:
    """Pairs by name of georeferenced images that are not on one grid."""
    by_name: dict[tuple[str, str], list[Entry]] = {}
    for part in survey.parts if survey.paired else ():
        for file in part.files:
            by_name.setdefault((part.split, stem_of(file)), []).append(survey.manifest.entry_of(file))
    pairs = [(first, other) for first, *others in by_name.values() for other in others]
    for what, names in grid_differences(pairs).items():
        yield Problem(f"pair of two grids, which differ in {what}", tuple(names), REMEDY)


def _sizes(survey: Survey) -> Iterator[Problem]:
    if survey.layout == SIDE_BY_SIDE:
        odd = [entry for entry in _readable(survey) if entry.info.width != 2 * entry.info.height]
        names = tuple(f"{entry.path} ({entry.info.width}x{entry.info.height})" for entry in odd)
        yield Problem(
            "is not twice as wide as high, as the others are", names, "crop or replace it: its halves would be wrong"
        )


def _aspects(survey: Survey) -> Iterator[Problem]:
    """Domains whose aspect ratio the default resizing changes."""
    changed = []
    for domain in dict.fromkeys(part.domain for part in survey.parts):
        aspect = aspect_of(survey.sizes(domain))
        if aspect > MAX_RATIO:
            changed.append(f"{domain or 'all images'} ({aspect:.1f})")
    kind = f"longer side is more than {MAX_RATIO} times the shorter one"
    yield Problem(
        kind,
        tuple(changed),
        "the default resizes them to squares; resize_mode=short_side keeps the aspect ratio",
        is_error=False,
    )


def _modes(survey: Survey) -> Iterator[Problem]:
    """Mixed channel counts and dtypes in a domain: grey among colour is read as colour, other mixes are errors."""
    for domain in dict.fromkeys(part.domain for part in survey.parts):
        parts = [part for part in survey.parts if part.domain == domain]
        good = [entry for part in parts for entry in survey.entries(part) if not entry.info.problem]
        channels = Counter(entry.info.channels for entry in good)
        depths = Counter(entry.info.dtype for entry in good)
        where = f" of {domain}" if domain else ""
        if len(channels) > 1:
            usual = channels.most_common(1)[0][0]
            odd = [f"{e.path} ({e.info.channels})" for e in good if e.info.channels != usual]
            grey = set(channels) == {1, 3}
            remedy = (
                "grey is read as colour" if grey else "convert all images of a domain to the same number of channels"
            )
            yield Problem(f"other channels than most{where} ({usual})", tuple(odd), remedy, is_error=not grey)
        if len(depths) > 1:
            most = depths.most_common(1)[0][0]
            names = tuple(f"{e.path} ({e.info.dtype})" for e in good if e.info.dtype != most)
            yield Problem(
                f"other depth than most{where} ({most})", names, "each dtype is scaled by its own range", is_error=False
            )


def _ranges(survey: Survey) -> Iterator[Problem]:
    """Domains with class ids or with a narrow value range."""
    domains = list(dict.fromkeys(part.domain for part in survey.parts))
    maps = dict(zip(domains, ("source", "target"), strict=False)) if len(domains) == 2 else {}
    for domain in domains:
        parts = [part for part in survey.parts if part.domain == domain]
        entries = [entry for part in parts for entry in survey.entries(part)]
        note = advice(domain or survey.root.name, entries, maps.get(domain, ""))
        kind, _, remedy = note.partition(": ")
        folders = dict.fromkeys(entry.path.rpartition("/")[0] or "." for entry in entries) if note else ()
        yield Problem(kind, tuple(folders), remedy, is_error=False)


def _scales(survey: Survey) -> Iterator[Problem]:
    """Two folders of the same images at two sizes."""
    if scale := survey.scale:
        yield Problem(
            f"the same images at two sizes, 1:{scale.factor:g}",
            (f"{scale.small.name}/ = {scale.large.name}/",),
            f"for super-resolution use {scale.large.name}/, or pairs from {scale.small.name} to {scale.large.name}",
            is_error=False,
        )


def _duplicates(survey: Survey) -> Iterator[Problem]:
    """Equal and similar images, within a split and in two splits."""
    copies = [group for entries in survey.splits.values() for group in duplicates.exact_duplicates(entries)]
    leaks = duplicates.split_leaks(survey.splits)
    near = duplicates.near_duplicates(survey.root, survey.splits)
    yield Problem("occurs more than once in a split", _groups(copies), "remove all but one")
    yield Problem(
        "is in more than one split", _groups(leaks), "remove it from training: scores would be too optimistic"
    )
    yield Problem(
        "looks the same in two splits", _groups(near), "compare them; remove one from training", is_error=False
    )


def _labels(survey: Survey) -> Iterator[Problem]:
    """Images without a row in a table, and rows without an image."""
    files = [file for part in survey.parts for file in part.files]
    known = {name for file in files for name in _names_of(file)}
    for table in survey.tables:
        rows, name = set(table.names), table.file.name
        missing = tuple(row for row in table.names if row not in known)
        without_row = tuple(relative_path(file, survey.root) for file in files if not _names_of(file) & rows)
        repeated = tuple(row for row, count in Counter(table.names).items() if count > 1)
        yield Problem(f"is in {name}, but there is no such image", missing, "remove the rows, or add the images")
        yield Problem(f"has no row in {name}", without_row, "add the rows, or remove the images")
        yield Problem(f"has more than one row in {name}", repeated, "remove all but one")


def _names_of(file: Path) -> set[str]:
    """Return the names by which a table may refer to a file."""
    return {normalized(file.name), stem_of(file)}


def _wrong_suffixes(survey: Survey) -> Iterator[Problem]:
    """Files whose suffix is that of another format."""
    notes = Counter(entry.info.note for entry in survey.manifest.entries if entry.info.note)
    for note in sorted(map(str, notes)):
        names = _paths(entry for entry in survey.manifest.entries if entry.info.note == note)
        yield Problem(note, names, "it is read by its content; rename it", is_error=False)


def _alpha_and_profiles(survey: Survey) -> Iterator[Problem]:
    """Transparency and colour profiles, which training ignores by default."""
    transparent = _paths(entry for entry in _readable(survey) if entry.info.transparent)
    yield Problem(
        "has transparency",
        transparent,
        "composited over white; alpha=keep trains on it as a fourth channel",
        is_error=False,
    )
    profiled = tuple(f"{entry.path} ({entry.info.profile})" for entry in _readable(survey) if entry.info.profile)
    yield Problem("has a colour profile", profiled, "ignored in training, kept by translate", is_error=False)


def _readable(survey: Survey) -> list[Entry]:
    return [entry for entry in survey.manifest.entries if not entry.info.problem]


def _paths(entries: Iterable[Entry]) -> tuple[str, ...]:
    return tuple(entry.path for entry in entries)


def _groups(groups: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(" = ".join(group) for group in groups)
