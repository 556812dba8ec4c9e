"""`--json`: one JSON document alone on stdout, for other programs. Notes and progress go to stderr.

The keys of each document are listed in docs/json.md. Numbers that are not finite are null.
"""

import json
import math
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from diptych.contract import Method
    from diptych.data.checks.manifest import Entry as ImageEntry
    from diptych.data.checks.problems import Problem
    from diptych.data.checks.survey import Survey
    from diptych.evaluation.compare.read import Entry
    from diptych.evaluation.metrics.intervals import Score
    from diptych.evaluation.results import Result

Json = Annotated[bool, typer.Option("--json", help="print one JSON document, and nothing else, on stdout")]


def print_json(document: Mapping[str, Any]) -> None:
    """Print it in ASCII, which no terminal, pipe or log encodes wrongly."""
    typer.echo(json.dumps(plain(document), allow_nan=False, indent=1))


def plain(value: Any) -> Any:
    """`value` as JSON has it: text, whole and finite numbers, true, false, null, lists and objects."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def result_json(result: "Result") -> dict[str, Any]:
    """What `diptych evaluate` measured."""
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
    """One value with its 95 % interval."""
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
    """The scores of each run, with their differences to the first one."""
    from diptych.evaluation.compare.read import FACTS

    runs = [
        {
            "name": entry.name,
            "folder": entry.folder,
            **{fact: entry.result.about.get(fact) for fact in FACTS},
            "scores": [
                {**score_json(score), "difference": _difference(score, entries[0].score(score.name))}
                for score in entry.result.scores
            ],
        }
        for entry in entries
    ]
    return {"protocol": entries[0].result.protocol, "runs": runs}


def _difference(score: "Score", first: "Score | None") -> dict[str, Any] | None:
    """To the score of the first run; None where there is none to tell."""
    from diptych.errors import EvaluationError
    from diptych.evaluation.metrics.intervals import difference

    if first is None or first is score:
        return None
    try:
        found = difference(score, first)
    except EvaluationError:
        return None
    return {"value": found.value, "low": found.low, "high": found.high, "significant": found.significant}


def folder_json(found: "Survey", faults: "Sequence[Problem]") -> dict[str, Any]:
    """What lies in a folder, all that is wrong with it, and how each method would train on it."""
    from diptych.workflows.dataset_fit import command_of, fits

    all_fits = fits(found)
    if not any(fit.fits for fit in all_fits):
        all_fits += fits(found, any_images=True)
    return {
        "folder": found.root,
        "ok": not any(fault.is_error for fault in faults),
        "layout": found.layout,
        "parts": [
            {"split": part.split, "domain": part.domain, "images": len(part.files), **_values(found.entries(part))}
            for part in found.parts
        ],
        "arrays": [{"split": each.split, "name": each.name, "shape": each.shape} for each in found.arrays],
        "tables": [{"file": each.file.name, "rows": len(each.names), "columns": each.columns} for each in found.tables],
        "unused": found.unread_files,
        "problems": [
            {"kind": each.kind, "files": each.names, "solution": each.remedy, "error": each.is_error} for each in faults
        ],
        "methods": [
            {
                "name": fit.method,
                "fits": fit.fits,
                "summary": fit.summary,
                "notes": fit.notes,
                "command": command_of(fit, found) if fit.fits else None,
            }
            for fit in all_fits
        ],
    }


def _values(entries: "Iterable[ImageEntry]") -> dict[str, Any]:
    """The least and the greatest width and height, channels and types of the images that can be read."""
    good = [entry.info for entry in entries if not entry.info.problem]
    sizes = {"width": [each.width for each in good], "height": [each.height for each in good]}
    return {
        **{name: [min(values), max(values)] if values else None for name, values in sizes.items()},
        "channels": sorted({each.channels for each in good}),
        "types": sorted({each.dtype for each in good}),
    }


def method_json(name: str, cls: "type[Method]", about: str) -> dict[str, Any]:
    """Everything that can be set in a method."""
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
                "description": field.description,
            }
            for section, config in {"model": cls.Config, **SETTINGS}.items()
            for key, field in config.model_fields.items()
        ],
        "controls": [
            {"name": each.name, "default": each.default, "choices": each.choices, "description": each.help}
            for each in cls.controls
        ],
    }


def _type_name(annotation: Any) -> str:
    """A type as Python writes it, without its module and its limits."""
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
