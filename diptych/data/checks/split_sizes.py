"""The sizes of the splits that `split=` and `group_by=` would make of a surveyed folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diptych.data.checks.survey import ALL, BY_NAME, DOMAINS, DOMAINS_BY_NAME, UNPAIRED, Survey
from diptych.data.config import DataConfig
from diptych.data.sources.file_names import stem_of
from diptych.data.sources.folders import SPLITS
from diptych.data.sources.split_by_ratio import by_ratio, check_given_splits


@dataclass(frozen=True)
class SplitSize:
    """The number of image files of a split, their share of all, and the groups that they form, sorted."""

    split: str
    images: int
    share: float
    groups: tuple[str, ...]


def split_sizes(survey: Survey, config: DataConfig) -> list[SplitSize]:
    """Return the size of each split; empty for a folder that has splits, whose groups are checked.

    Raises DataError as `by_ratio` and `check_given_splits`.
    """
    files = {part.split: [f for p in survey.parts if p.split == part.split for f in p.files] for part in survey.parts}
    if files.keys() - {ALL, "train"}:
        check_given_splits(survey.root, files, config, "its folders or a table")
        return []
    splits = by_ratio(survey.root, _scenes(survey), config)
    sizes = []
    for name in SPLITS[: len(config.split or ())]:
        members = splits.files_in(name)
        groups = sorted({splits.group_of[file] for file in members})
        sizes.append(SplitSize(name, len(members), len(members) / len(splits.split_of), tuple(groups)))
    return sizes


def _scenes(survey: Survey) -> Mapping[str, Sequence[Sequence[Path]]]:
    """Return the scenes of each domain: files that are pairs by name belong to one scene, without a domain."""
    if survey.layout in (BY_NAME, DOMAINS_BY_NAME):
        by_name: dict[str, list[Path]] = {}
        for part in survey.parts:
            for file in part.files:
                by_name.setdefault(stem_of(file), []).append(file)
        return {"": list(by_name.values())}
    domains: dict[str, list[Sequence[Path]]] = {}
    for part in survey.parts:
        domain = part.domain if survey.layout in (UNPAIRED, DOMAINS) else ""
        domains.setdefault(domain, []).extend((file,) for file in part.files)
    return domains
