"""What the numbers of a run follow from: settings, code, versions, images. Kept in each checkpoint, so that a resume
which would quietly go on with something else is refused, unless it is allowed by name.

    diptych resume runs/pairs lr=1e-4 --allow lr
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from pydantic_core import to_jsonable_python

import diptych
from diptych.contract import Method, setting_of
from diptych.data.checks.manifest import Manifest
from diptych.errors import ConfigError, nearest, shown
from diptych.settings.recipe import SECTIONS, SETTINGS, Recipe

Provenance = dict[str, Any]
DATA_PATHS = {"root", "extra_roots", "target_root"}  # may change too: the contents of the files are compared


def provenance_of(recipe: Recipe, manifest: Manifest, world: int) -> Provenance:
    """Field by field, as plain data. A data set of files is known by its contents, wherever it lies."""
    settings = recipe.settings()
    flat = {key: value for section in SECTIONS for key, value in settings[section].items()}
    free = {key for model in SETTINGS.values() for key in model.model_fields if setting_of(model, key).free}
    free |= DATA_PATHS if manifest.entries else set()
    made = {
        "method": recipe.method,
        **{key: value for key, value in flat.items() if key not in free},
        "images": manifest.digest if manifest.entries else "",
        "processes": world,
        "code": code_of(recipe.cls),
        "torch": torch.__version__,
        "diptych": diptych.__version__,
    }
    return dict(json.loads(json.dumps(made)))  # as it will come back from a checkpoint


def defaults(recipe: Recipe, now: Provenance) -> Provenance:
    """What a checkpoint was made with that is older than a setting of `now`: what does as if there were none."""
    models = (type(recipe.model), *SETTINGS.values())
    return {
        key: to_jsonable_python(field.default)  # as it comes back from a checkpoint
        for model in models
        for key, field in model.model_fields.items()
        if key in now and not field.is_required() and field.default is not None
    }


def code_of(cls: type[Method]) -> str:
    """A digest of the method's own file and of the networks and losses of this package."""
    package = Path(__file__).parents[1]
    files = [Path(inspect.getfile(cls)), *sorted(package.glob("networks/*.py")), *sorted(package.glob("losses/*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def changed(before: Provenance, now: Provenance) -> dict[str, tuple[Any, Any]]:
    """The fields that differ, with what they were and what they are."""
    fields = dict.fromkeys([*now, *before])
    return {field: (before.get(field), now.get(field)) for field in fields if before.get(field) != now.get(field)}


def check_unchanged(
    before: Provenance, now: Provenance, allow: Collection[str], command: str, hints: Callable[[str], str]
) -> dict[str, tuple[Any, Any]]:
    """What changed, all of it allowed by name; else ConfigError lists all that did, with old and new values.

    `command` is what was called, without `--allow`; `hints` may say more of a field than its values do.
    """
    known = {**now, **before}
    unknown = [field for field in allow if field not in known]
    if unknown:
        raise ConfigError(f"--allow {unknown[0]}: nothing of that name can change{nearest(unknown[0], known)}")
    found = changed(before, now)
    if found.keys() - set(allow):
        listed = "\n".join(
            f"  {field}: {hints(field) or f'{shown(old)} -> {shown(new)}'}" for field, (old, new) in found.items()
        )
        raise ConfigError(
            f"{command}: what is there now is not what the last checkpoint was made with:\n{listed}\n"
            f"Change it back, or go on with it: {command} {' '.join(f'--allow {field}' for field in found)}"
        )
    return found
