"""The split of each file of a data set without splits: by `split=`, or by a table in the folder.

With `split=[0.8,0.1,0.1]` a hash of the group's name, a number in [0, 1), is compared with the cumulative ratios. So
the split of a file depends on its group's name and on the ratios alone: it is the same on every machine, and stays when
other files are added or removed. The ratios are met on average over groups, not exactly.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import accumulate, pairwise, product
from pathlib import Path

from diptych.data.checks.manifest import listed_names
from diptych.data.config import DataConfig
from diptych.data.sources.file_names import normalized, stem_of
from diptych.data.sources.folders import SPLITS
from diptych.data.sources.groups import Scene, check_partners, groups_of
from diptych.data.sources.tables import splits_from_tables
from diptych.errors import DataError, printable

STEPS = 20  # an error suggests ratios that are multiples of 1/20


@dataclass(frozen=True)
class FileSplits:
    """The split of each file, and its group if `split=` chose the splits. Both are empty if nothing defines splits."""

    split_of: Mapping[Path, str] = field(default_factory=dict)
    group_of: Mapping[Path, str] = field(default_factory=dict)
    note: str = ""

    def files_in(self, split: str) -> frozenset[Path]:
        """Return the files of a split."""
        return frozenset(file for file, name in self.split_of.items() if name == split)


def splits_of_files(root: Path, domains: Mapping[str, Sequence[Scene]], config: DataConfig) -> FileSplits:
    """Return the splits of a data set without folders of splits: those of a table in it, or `by_ratio`.

    Raises DataError as `by_ratio` and `check_given_splits`.
    """
    files = list(dict.fromkeys(file for scenes in domains.values() for scene in scenes for file in scene))
    split_of = splits_from_tables(root, files)
    if not split_of:
        return by_ratio(root, domains, config)
    by_split = {name: [file for file in files if split_of[file] == name] for name in SPLITS}
    check_given_splits(root, by_split, config, "a table")
    return FileSplits(split_of)


def by_ratio(root: Path, domains: Mapping[str, Sequence[Scene]], config: DataConfig) -> FileSplits:
    """Return the splits that `split=` and `group_by=` choose; empty without `split=`.

    `domains` are the scenes of each domain or class by its name. Raises DataError if a split has no image of a domain,
    if files have no group, or if `group_by` is given without `split`.
    """
    if config.split is None:
        if config.group_by:
            raise DataError(f"{root}: has no splits: group_by={config.group_by} needs split=[0.8,0.1,0.1]")
        return FileSplits()
    scenes = [scene for domain in domains.values() for scene in domain]
    if not scenes:
        return FileSplits()
    group_of = groups_of(root, scenes, config.group_by)
    if config.matched_names and config.group_by:
        by_name: dict[str, list[Path]] = {}
        for file in group_of:
            by_name.setdefault(stem_of(file), []).append(file)
        check_partners(root, by_name.values(), group_of, config.group_by)
    splits = FileSplits({file: split_of_group(group, config.split) for file, group in group_of.items()}, group_of)
    for name, domain in domains.items():
        _check_none_empty(root, name, domain, splits, config.split)
    return replace(splits, note=_note(scenes, splits, config))


def split_of_group(group: str, ratios: Sequence[float]) -> str:
    """Return the split of a group: the first whose cumulative ratio is above the hash of the group's name."""
    position, limits = _position(group), accumulate(ratios[:-1])
    return next(
        (name for name, limit in zip(SPLITS, limits, strict=False) if position < limit), SPLITS[len(ratios) - 1]
    )


def check_given_splits(root: Path, files: Mapping[str, Collection[Path]], config: DataConfig, source: str) -> None:
    """Raise DataError if data that has splits is given `split=`, or if a group of `group_by` is in two of its splits.

    `files` are those of each split, and `source` says what defines them.
    """
    if config.split is not None:
        names = ", ".join(name for name, members in files.items() if members)
        raise DataError(f"{root}: has the splits {names} by {source}: leave split= out")
    if config.group_by is None:
        return
    first: dict[str, str] = {}
    leaks: dict[str, str] = {}
    for split, members in files.items():
        for group in sorted(set(groups_of(root, [(file,) for file in members], config.group_by).values())):
            if first.setdefault(group, split) != split:
                leaks[group] = f"{group} in {first[group]} and {split}"
    if leaks:
        raise DataError(
            f"{root}: {len(leaks)} groups of group_by={config.group_by} are in two splits: "
            f"{listed_names(leaks.values())}; move the files of each to one split"
        )


def _position(group: str) -> float:
    """Return the hash of a group's name as a number in [0, 1)."""
    digest = blake2b(
        normalized(group).encode(errors="surrogateescape"), digest_size=6
    ).digest()  # 48 bits are exact in a float
    return int.from_bytes(digest, "big") / 2**48


def _check_none_empty(
    root: Path, domain: str, scenes: Sequence[Scene], splits: FileSplits, ratios: Sequence[float]
) -> None:
    """Raise DataError if a split has no scene of a domain, with ratios that give it one."""
    if not scenes:
        return
    filled = {splits.split_of[scene[0]] for scene in scenes}
    empty = [name for name in SPLITS[: len(ratios)] if name not in filled]
    if not empty:
        return
    groups = {splits.group_of[scene[0]] for scene in scenes}
    better = _ratios_that_fill({_position(group) for group in groups}, ratios)
    remedy = f"split={_listed_ratios(better)} gives each split at least one group; or " if better else ""
    what = f" of {printable(domain)}" if domain else ""
    raise DataError(
        f"{root}: split={_listed_ratios(ratios)} leaves {' and '.join(empty)} without images{what}: {len(groups)} "
        f"groups are too few for a choice by name. {remedy[:1].upper()}{remedy[1:]}"
        f"{'define' if better else 'Define'} the splits by a table split.csv in the folder, with the columns name,split"
    )


def _ratios_that_fill(positions: Collection[float], ratios: Sequence[float]) -> tuple[float, ...] | None:
    """Return the ratios nearest to `ratios`, in steps of 0.05, by which each split has a group; None without any."""
    options = []
    for counts in product(range(1, STEPS), repeat=len(ratios) - 1):
        option = tuple(count / STEPS for count in (*counts, STEPS - sum(counts)))
        limits = pairwise([0.0, *accumulate(option[:-1]), 1.0])
        if option[-1] > 0 and all(any(low <= position < high for position in positions) for low, high in limits):
            options.append(option)
    return min(options, key=lambda option: sum(abs(a - b) for a, b in zip(option, ratios, strict=True)), default=None)


def _listed_ratios(ratios: Sequence[float]) -> str:
    return f"[{','.join(f'{ratio:.6g}' for ratio in ratios)}]"


def _note(scenes: Sequence[Scene], splits: FileSplits, config: DataConfig) -> str:
    """Return the number and share of the images in each split, and its number of groups."""
    ratios, parts = config.split or (), []
    for name in SPLITS[: len(ratios)]:
        members = [scene[0] for scene in scenes if splits.split_of[scene[0]] == name]
        groups = len({splits.group_of[file] for file in members})
        count = f" of {groups} groups" if config.group_by else ""
        parts.append(f"{len(members)} ({100 * len(members) / len(scenes):.0f} %){count} in {name}")
    how = f"group_by={config.group_by}" if config.group_by else "by file name"
    return f"split={_listed_ratios(ratios)} {how}: {', '.join(parts)}"
