"""Provenance: what the results of a run depend on (settings, code, versions, images). Saved in each checkpoint.

A resume with another provenance is refused, unless the changed fields are allowed by name:

    diptych resume runs/pairs lr=1e-4 --allow lr
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from pydantic_core import to_jsonable_python

import diptych
from diptych.contract import Method, setting_of
from diptych.data.checks.manifest import Manifest
from diptych.errors import ConfigError, nearest, shown
from diptych.networks.user_code import source_files
from diptych.settings import renamed
from diptych.settings.recipe import SECTIONS, SETTINGS, Recipe

Provenance = dict[str, Any]
Changes = dict[str, tuple[Any, Any]]  # old and new value by field
PATHS = {"root", "extra_roots", "target_root"}  # without effect where the contents of the images are in the manifest
NOT_SETTINGS = {"method", "images", "processes", "code", "torch", "diptych"}  # the fields that are no settings


def provenance_of(recipe: Recipe, manifest: Manifest, world_size: int) -> Provenance:
    """Return the provenance of a training as flat, plain data. Image files are identified by content, not by path."""
    settings = recipe.settings()
    flat = {key: value for section in SECTIONS for key, value in settings[section].items()}
    free = {key for model in SETTINGS.values() for key in model.model_fields if setting_of(model, key).free}
    ignored = free | (PATHS if manifest.entries or manifest.fingerprint else set())
    provenance = {
        "method": recipe.method,
        **{key: value for key, value in flat.items() if key not in ignored},
        "images": manifest.digest if manifest.entries or manifest.fingerprint else "",
        **({"augment": str(recipe.transform)} if recipe.transform else {}),
        "processes": world_size,
        "code": code_digest(recipe.cls, recipe.model.model_dump()),
        "torch": torch.__version__,
        "diptych": diptych.__version__,
    }
    return dict(json.loads(json.dumps(provenance)))  # as it is read from a checkpoint


def saved_provenance(saved: Mapping[str, Any], recipe: Recipe, now: Provenance) -> Provenance:
    """Return the provenance saved in a checkpoint with present names of settings.

    A setting that is newer than the checkpoint has its default. Former settings named `code` and `images` were hidden
    by the fields of these names: they are unknown, and taken to be unchanged.
    """
    fields = {key: value for key, value in saved.items() if key in NOT_SETTINGS}
    settings = {key: value for key, value in saved.items() if key not in NOT_SETTINGS or key == "method"}
    hidden = {renamed.new_name(key, recipe.method) for key in fields}
    unknown = {key: now[key] for key in hidden if key in now and key not in saved}
    return {**defaults(recipe, now), **unknown, **renamed.flat(settings), **fields}


def defaults(recipe: Recipe, now: Provenance) -> Provenance:
    """Return the default of each setting in `now` that has one, as plain data."""
    models = (type(recipe.model), *SETTINGS.values())
    return {
        key: to_jsonable_python(field.default)
        for model in models
        for key, field in model.model_fields.items()
        if key in now and not field.is_required() and field.default is not None
    }


def code_digest(cls: type[Method], config: Mapping[str, Any] = MappingProxyType({})) -> str:
    """Return a digest of the source files of the method, of this package's networks and losses, and of classes of the
    user that `config` names.
    """
    package = Path(__file__).parents[1]
    files = [*sorted(package.glob("networks/*.py")), *sorted(package.glob("losses/*.py")), *source_files(config)]
    texts = [_source_of(cls), *(file.read_bytes() for file in files)]
    return hashlib.sha256(b"".join(texts)).hexdigest()[:16]


def _source_of(cls: type[Method]) -> bytes:
    """Return the content of the file of a class; of one defined in a notebook its own source, as far as known."""
    try:
        return Path(inspect.getfile(cls)).read_bytes()
    except (OSError, TypeError):
        try:
            return inspect.getsource(cls).encode()
        except (OSError, TypeError):
            return cls.__qualname__.encode()


def changed(before: Provenance, now: Provenance) -> Changes:
    """Return the fields that differ, with their old and new values."""
    fields = dict.fromkeys([*now, *before])
    return {field: (before.get(field), now.get(field)) for field in fields if before.get(field) != now.get(field)}


def check_unchanged(
    before: Provenance, now: Provenance, allow: Collection[str], command: str, details: Callable[[str], str]
) -> Changes:
    """Return the fields that changed, if all of them are in `allow`; else raise ConfigError that lists all changes.

    `command` is the command line without `--allow`. `details(field)` may describe a change better than its values do.
    """
    known = {**now, **before}
    for field in allow:
        if field not in known:
            raise ConfigError(f"--allow {field}: nothing of that name can change{nearest(field, known)}")
    changes = changed(before, now)
    if changes.keys() - set(allow):
        lines = "\n".join(
            f"  {field}: {details(field) or f'{shown(old)} -> {shown(new)}'}" for field, (old, new) in changes.items()
        )
        raise ConfigError(
            f"{command}: these fields differ from the last checkpoint:\n{lines}\n"
            f"Change them back, or continue with the changes: "
            f"{command} {' '.join(f'--allow {field}' for field in changes)}"
        )
    return changes
