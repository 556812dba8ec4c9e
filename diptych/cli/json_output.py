"""`--json`: one JSON document on stdout, for other programs. Notes and progress go to stderr.

docs/json.md lists the keys of each document. Numbers that are not finite are null.
"""

import json
import math
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic.fields import FieldInfo

    from diptych.contract import Method
    from diptych.data.checks.manifest import Entry as ImageEntry
    from diptych.data.checks.problems import Problem
    from diptych.data.checks.split_sizes import SplitSize
    from diptych.data.checks.survey import Survey
    from diptych.evaluation.compare.read import Entry
    from diptych.evaluation.metrics.intervals import Score
    from diptych.evaluation.results import Result

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout; notes and progress go to stderr.")
]


def print_json(document: Mapping[str, Any]) -> None:
    """Print a document in ASCII, which is the same in every encoding of terminals and pipes."""
    typer.echo(json.dumps(to_json_values(document), allow_nan=False, indent=1))


def to_json_values(value: Any) -> Any:
    """Return a value in the types of JSON; a number that is not finite is None, and other types are text."""
    if isinstance(value, Mapping):
        return {str(key): to_json_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json_values(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def result_json(result: "Result") -> dict[str, Any]:
    """Return the document of `diptych evaluate`."""
    return {
        "name": result.name,
        "protocol": result.protocol,
        "about": result.about,
        "images": result.images,
        "tools": result.tools,
        "notes": result.said,
        "scores": [score_json(score) for score in result.scores],
    }


def score_json(score: "Score") -> dict[str, Any]:
    """Return a score with its 95 % interval."""
    return {
        "name": score.name,
        "value": score.value,
        "low": score.low,
        "high": score.high,
        "better": score.better,
        "images": score.count,
        "ceiling": score.ceiling,
        "chance": score.chance,
    }


def comparison_json(entries: "Sequence[Entry]") -> dict[str, Any]:
    """Return the scores of each run and their differences from the first run."""
    from diptych.evaluation.compare.read import facts_of

    runs = [
        {
            "name": entry.name,
            "folder": entry.folder,
            **{fact: entry.result.about.get(fact) for fact in facts_of(entries)},
            "scores": [
                {**score_json(score), "difference": _difference(score, entries[0].score(score.name))}
                for score in entry.result.scores
            ],
        }
        for entry in entries
    ]
    return {"protocol": entries[0].result.protocol, "runs": runs}


def _difference(score: "Score", first: "Score | None") -> dict[str, Any] | None:
    """Return the difference from the first run's score; None if there is none or the images differ."""
    from diptych.errors import EvaluationError
    from diptych.evaluation.metrics.intervals import difference

    if first is None or first is score:
        return None
    try:
        delta = difference(score, first)
    except EvaluationError:
        return None
    return {"value": delta.value, "low": delta.low, "high": delta.high, "significant": delta.significant}


def folder_json(data: "Survey", problems: "Sequence[Problem]", sizes: "Sequence[SplitSize]") -> dict[str, Any]:
    """Return the document of `diptych data check`: contents, problems, and the methods that can train on them."""
    from diptych.workflows.dataset_fit import command_of, fits

    all_fits = fits(data)
    if not any(fit.fits for fit in all_fits):
        all_fits += fits(data, any_images=True)
    return {
        "folder": data.root,
        "ok": not any(problem.is_error for problem in problems),
        "layout": data.layout,
        "parts": [
            {"split": part.split, "domain": part.domain, "images": len(part.files), **_values(data.entries(part))}
            for part in data.parts
        ],
        "split_by_ratio": split_sizes_json(sizes, "images"),
        "arrays": [{"split": array.split, "name": array.name, "shape": array.shape} for array in data.arrays],
        "tables": [
            {"file": table.file.name, "rows": len(table.names), "columns": table.columns} for table in data.tables
        ],
        "unused": data.unread_files,
        "problems": [
            {
                "kind": problem.kind,
                "files": problem.names,
                "solution": problem.remedy,
                "error": problem.is_error,
            }
            for problem in problems
        ],
        "methods": [
            {
                "name": fit.method,
                "fits": fit.fits,
                "summary": fit.summary,
                "notes": fit.notes,
                "command": command_of(fit, data) if fit.fits else None,
            }
            for fit in all_fits
        ],
    }


def split_sizes_json(sizes: "Sequence[SplitSize]", what: str) -> list[dict[str, Any]]:
    """Return the splits by ratio, with the number of `what`: images or volumes."""
    return [{"split": size.split, what: size.images, "share": size.share, "groups": len(size.groups)} for size in sizes]


def _values(entries: "Iterable[ImageEntry]") -> dict[str, Any]:
    """Return [least, greatest] width and height, channels and types of the images that can be read."""
    images = [entry.info for entry in entries if not entry.info.problem]
    sizes = {"width": [image.width for image in images], "height": [image.height for image in images]}
    return {
        **{name: [min(values), max(values)] if values else None for name, values in sizes.items()},
        "channels": sorted({image.channels for image in images}),
        "types": sorted({image.dtype for image in images}),
    }


def method_json(name: str, cls: "type[Method]", about: str) -> dict[str, Any]:
    """Return the presets, settings and controls of a method."""
    from diptych.settings.recipe import SETTINGS

    return {
        "name": name,
        "about": about,
        "presets": cls.presets,
        "settings": [
            {
                "name": key,
                "section": section,
                "type": _type_name(field.annotation),
                "required": field.is_required(),
                "default": None if field.is_required() else field.get_default(call_default_factory=True),
                "symbol": symbol_of(field),
                "description": field.description,
            }
            for section, config in {"model": cls.Config, **SETTINGS}.items()
            for key, field in config.model_fields.items()
        ],
        "controls": [
            {
                "name": control.name,
                "default": control.default,
                "choices": control.choices,
                "description": control.help,
            }
            for control in cls.controls
        ],
    }


def symbol_of(field: "FieldInfo") -> str:
    """Return the symbol of a setting in the method's paper; empty if it has none."""
    return next((str(item.symbol) for item in field.metadata if hasattr(item, "symbol")), "")


def default_text(field: "FieldInfo") -> str:
    """Return the default of a setting as text, or `required`."""
    return "required" if field.is_required() else str(field.get_default(call_default_factory=True))


def _type_name(annotation: Any) -> str:
    """Return a type as Python writes it, without modules and limits."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_name(inner[0])
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, inner))}]"
    if origin in (Union, UnionType):
        return " | ".join(map(_type_name, inner))
    if annotation in (None, NoneType, Ellipsis):
        return "..." if annotation is Ellipsis else "None"
    name = (origin or annotation).__name__
    return f"{name}[{', '.join(map(_type_name, inner))}]" if inner else str(name)
