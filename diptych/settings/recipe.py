"""A recipe: method, model, data and training settings as plain data, validated, with the nearest name on a typo.

    method: pix2pix
    preset: paper
    model: {lambda_l1: 100}
    data: {root: facades, direction: b2a}
    train: {epochs: 200}

On the command line the sections are left out: `lambda_l1=50 batch_size=4`. No two sections have a setting of one name.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from diptych.contract import Evaluator, Method, MethodConfig, setting_of
from diptych.data.config import DataConfig
from diptych.data.dataset import Data
from diptych.data.open import open_data
from diptych.data.sample_transform import SampleTransform
from diptych.data.sources.datasets import DatasetSource
from diptych.data.sources.glyphs import is_glyphs
from diptych.data.unused_settings import unused_settings
from diptych.data.value_encoding import count_channels, resolve_ranges, with_encodings
from diptych.errors import ConfigError, listed, nearest, shown
from diptych.methods import EVALUATORS, METHODS, find, method_of
from diptych.settings.overrides import (
    Values,
    choose_length,
    parse_overrides,
    refuse_derived,
    refuse_former,
    refuse_misplaced,
    section_of,
)
from diptych.settings.train_config import EvaluateConfig, TrainConfig
from diptych.settings.validate import checked, read_mapping
from diptych.system.distributed import Ranks
from diptych.system.hardware import precision_for

SECTIONS = ("model", "data", "train", "evaluate")
SETTINGS: Mapping[str, type[BaseModel]] = {"data": DataConfig, "train": TrainConfig, "evaluate": EvaluateConfig}
SHIPPED = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Recipe:
    """Validated settings of a training."""

    method: str
    model: MethodConfig
    data: DataConfig
    train: TrainConfig
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    allowed: type[Method] | None = None  # the class of a method that is not part of Diptych
    given: Mapping[str, Any] = field(default_factory=dict, compare=False)  # settings that the user set to non-defaults
    dataset: DatasetSource | None = field(default=None, compare=False)  # given from Python, instead of a folder
    transform: SampleTransform | None = field(default=None, compare=False)  # given from Python, as `augment=`

    @property
    def cls(self) -> type[Method]:
        return self.allowed or find(self.method)

    def open_data(self) -> Data:
        """Return the data as the method takes it. DataError."""
        if self.dataset is not None:
            return self.dataset.open(self.data, self.cls.data, tuple(self.cls.batch))
        return open_data(self.data, self.cls.data, tuple(self.cls.batch))

    @property
    def images(self) -> dict[str, str]:
        """The batch entries that are images, each with the setting that holds its number of channels."""
        return self.cls.channel_fields()

    def settings(self) -> dict[str, Any]:
        """Return plain data that `from_settings` reads back to an equal recipe.

        Without numbers of channels that nobody has set: they follow from the data.
        """
        unset = set(self.images.values()) - self.model.model_fields_set
        model = self.model.model_dump(exclude=unset | ({"steps"} if self.train.epochs else set()))
        others = {"data": self.data, "train": self.train, "evaluate": self.evaluate}
        sections = {name: section.model_dump(exclude_none=True) for name, section in others.items()}
        return {"method": self.method, "model": model, **sections}

    def with_absolute_paths(self, keys: Collection[str] | None = None) -> "Recipe":
        """Return the recipe with absolute paths in these settings (default: all), for use in another folder."""
        sections = {"model": self.model, "data": self.data, "train": self.train, "evaluate": self.evaluate}
        changed = {}
        for name, section in sections.items():
            paths = {
                key: _absolute(value)
                for key, value in section
                if value and setting_of(type(section), key).path and (keys is None or key in keys)
            }
            changed[name] = section.model_copy(update={k: v for k, v in paths.items() if v != vars(section)[k]})
        return replace(self, **changed)  # type: ignore[arg-type]

    def unused(self) -> dict[str, str]:
        """Return the settings of `given` that have no effect beside the others, each with what to do about it."""
        data = unused_settings(self.data, self.cls.data) if self.given else {}
        needs = {**self.model.unused(), **data, **self.evaluate.unused()}
        return {
            key: f"{key} has no effect without {needs[key]}: leave out {key}="
            for key, value in self.given.items()
            if key in needs and value not in (0, "none")  # turning off what is off is no mistake
        }

    def check_labels(self, data: Data) -> None:
        """Raise ConfigError if the settings do not fit the data sets, their labels and their splits."""
        domains = max((len(labels) for labels in data.labels if labels.kind == "class"), default=0)
        if data.others and issubclass(self.cls, Evaluator):
            raise ConfigError(
                f"extra_roots={list(self.data.extra_roots)}: an evaluator network is trained on one data set; leave "
                "it out"
            )
        if self.data.holdout_fraction is not None and not any(part.by_name for part in (data, *data.others)):
            raise ConfigError(
                f"holdout_fraction={self.data.holdout_fraction:g} is for a folder for each class without splits, and "
                f"{self.data.root} has other images: leave it out"
            )
        # Target labels may be those of the other images of a batch, as in StarGAN.
        if domains > 1 and self.train.batch_size == 1 and self.cls.traits.multi_domain:
            raise ConfigError("batch_size=1 has images of one domain only: set batch_size=8, or 2 at least")

    def with_data_defaults(self, data: Data) -> "Recipe":
        """Return the recipe with what follows from the data: channels (unless set), ranges, labels, epochs as steps.

        Files of a task are named by absolute path and hash. Raises ConfigError as `check_labels` does, DataError.
        """
        self.check_labels(data)
        data_config = resolve_ranges(self.data, data, self.images).with_task_files()
        values: dict[str, Any] = dict.fromkeys(self.cls.label_fields().values(), data.labels)
        for entry, key in self.images.items():
            given = int(vars(self.model)[key]) if key in self.model.model_fields_set else None
            values[key] = count_channels(entry, data_config, data, self.images, given)
        if self.train.epochs is not None:  # of the first data set; further ones take turns with it
            images = self.train.epochs * (1 + len(data.others)) * len(data.train)
            values["steps"] = math.ceil(images / self.train.batch_size)
        train = self.train.model_copy(update={"epochs": None})
        model = checked(self.cls.Config, {**self.model.model_dump(), **values}, "model")
        return replace(self, model=model, data=data_config, train=train)

    def encode_data(self, data: Data) -> Data:
        """Return `data` with the value encoding of this recipe, after `with_data_defaults`. Raises DataError."""
        channels = {entry: int(vars(self.model)[key]) for entry, key in self.images.items()}
        return with_encodings(self.data, data, self.images, channels)

    def with_auto_resolved(self, ranks: Ranks) -> "Recipe":
        """Return the recipe with `auto` resolved for this machine, so that a resume elsewhere computes the same."""
        precision = precision_for(ranks.device)[0] if self.train.precision == "auto" else self.train.precision
        train = self.train.model_copy(update={"precision": precision, "compile": self.train.compile is True})
        return replace(self, train=train)


def _absolute(value: Any) -> Any:
    """Return an existing path, also after a name as in `vgg19:FILE`, as an absolute one."""
    if isinstance(value, tuple):
        return tuple(map(_absolute, value))
    has_name = ":" in value and not Path(value).expanduser().exists()  # paths have colons too, as in `C:\\data`
    name, colon, file = value.partition(":") if has_name else ("", "", value)
    if is_glyphs(value) or not Path(file).expanduser().exists():
        return value
    return f"{name}{colon}{Path(file).expanduser().absolute()}"


def from_settings(
    settings: Mapping[str, Any],
    overrides: Sequence[str] = (),
    where: str = "recipe",
    cls: type[Method] | None = None,
    saved: bool = False,
    allow_unused: bool = False,
) -> Recipe:
    """Return the recipe of plain settings with `key=value` overrides.

    Args:
        settings: As in a recipe file.
        overrides: Settings as `key=value`, which win over those of the recipe.
        where: The name of the recipe in errors.
        cls: The class of a method that is not part of Diptych; settings alone may not name one.
        saved: Whether these are the complete settings of a run, as `Recipe.settings` gives them.
        allow_unused: Whether settings without effect are left to the caller to refuse.

    Raises ConfigError that names every wrong key, and the nearest right one.
    """
    cls, allowed = method_of(_method_in(settings, where), cls, where), cls
    models: dict[str, type[BaseModel]] = {"model": cls.Config, **SETTINGS}
    values: Values = {section: dict(settings.get(section) or {}) for section in SECTIONS}
    optional = {"steps", *cls.channel_fields().values()}
    saved = saved or cls.Config.model_fields.keys() - optional <= values["model"].keys()
    changes = parse_overrides(overrides, models)
    preset = preset_of(cls, changes.pop("preset", settings.get("preset")), f"{where}: {settings['method']}")
    for key, value in changes.items():
        values[section_of(key, models, settings["method"])][key] = value
    given = set(changes) if saved else set(changes) | {key for section in values.values() for key in section}

    refuse_derived(cls, {key: value for key, value in values["model"].items() if key in given}, where)
    refuse_former(values, models, settings["method"], where)
    refuse_misplaced(values, models, where)
    if not saved:
        values["data"] = {**cls.data_defaults, **values["data"]}
    if "root" not in values["data"]:
        raise ConfigError("no data set given: use --data FOLDER, or --data glyphs for the embedded letters")
    choose_length(changes, values)
    if values["train"].get("epochs") is not None:
        preset.pop("steps", None)
    values["model"] = {**preset, **values["model"]}
    if size := cls.image_size_field():
        values["model"][size] = values["data"].get("crop_size", DataConfig.model_fields["crop_size"].default)

    sections = _checked_sections(models, values, where)
    changed = {key: value for section in sections.values() for key, value in _changed(section, preset).items()}
    recipe = Recipe(
        settings["method"],
        **sections,  # type: ignore[arg-type]
        allowed=allowed,
        given={key: value for key, value in changed.items() if key in given},
    )
    if overruled := _overruled(recipe, settings, overrides):
        recipe = replace(recipe, given={key: recipe.given[key] for key in recipe.given.keys() - overruled})
    if not allow_unused:
        refuse_unused({where: recipe})
    return recipe


def _method_in(settings: Mapping[str, Any], where: str) -> str:
    """Return the name of the method. Raises ConfigError if the settings have not the form of a recipe."""
    known = ("method", "preset", "title", *SECTIONS)
    unknown = sorted(map(shown, settings.keys() - known))
    if unknown:
        raise ConfigError(
            f"{where}: unknown key {listed(unknown)}{nearest(unknown[0], known)}; a recipe has {', '.join(known)}"
        )
    if not isinstance(settings.get("method"), str):
        raise ConfigError(f"{where}: the method is missing: write `method: NAME`; a recipe has {', '.join(known)}")
    for section in SECTIONS:
        if not isinstance(settings.get(section) or {}, Mapping):
            raise ConfigError(f"{where}: {section} must hold settings by name, such as `{section}: {{key: value}}`")
    return str(settings["method"])


def _checked_sections(models: Mapping[str, type[BaseModel]], values: Values, where: str) -> dict[str, BaseModel]:
    sections, problems = {}, []
    for name, model in models.items():
        try:
            sections[name] = checked(model, values[name], name)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(f"{where}: {'; '.join(problems)}")
    return sections


def refuse_unused(recipes: Mapping[str, Recipe]) -> None:
    """Raise ConfigError for settings without effect in all of the recipes that they are given for, by name."""
    used = {key for recipe in recipes.values() for key in recipe.given.keys() - recipe.unused().keys()}
    for where, recipe in recipes.items():
        if problems := [problem for key, problem in recipe.unused().items() if key not in used]:
            raise ConfigError(f"{where}: {listed(problems, comma='; ')}")


def _changed(section: BaseModel, preset: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that differ from their defaults and from the preset."""
    fields = type(section).model_fields
    return {
        key: value for key, value in vars(section).items() if value not in (fields[key].default, preset.get(key), None)
    }


def _overruled(recipe: Recipe, settings: Mapping[str, Any], overrides: Sequence[str]) -> set[str]:
    """Return the settings of a recipe that only overrides leave without effect: they need not be removed from it."""
    unused = recipe.unused().keys() - {override.partition("=")[0] for override in overrides}
    root = [override for override in overrides if override.startswith("root=")]
    if not unused or len(root) == len(overrides):
        return set()
    try:
        alone = from_settings(settings, root, cls=recipe.allowed, allow_unused=True)
    except ConfigError:  # without overrides it is no complete recipe
        return set(unused)
    return unused - alone.unused().keys()


def from_file(
    path: Path, overrides: Sequence[str] = (), where: str | None = None, cls: type[Method] | None = None
) -> Recipe:
    """Return the recipe in a YAML file; errors call it `where`, by default its path. Raises ConfigError."""
    settings = read_mapping(path, error=ConfigError, what="a recipe, a YAML mapping with at least `method: NAME`")
    return from_settings(settings, overrides, where or str(path), cls)


def load_recipe(name: str, overrides: Sequence[str] = (), cls: type[Method] | None = None) -> Recipe:
    """Return the recipe of a method, a shipped recipe, `package.module:Class`, or a YAML file.

    `cls` is the class of a method that is not part of Diptych, which a YAML file may name. Raises ConfigError.
    """
    if name.endswith((".yaml", ".yml")):
        return from_file(Path(name), overrides, cls=cls)
    if name in shipped():
        return from_file(shipped()[name], overrides, name)
    if name not in {**METHODS, **EVALUATORS} and ":" not in name:
        raise ConfigError(
            f"{name!r} is not a method, a shipped recipe or a .yaml file{nearest(name, [*METHODS, *shipped()])}"
        )
    return from_settings({"method": name}, overrides, name, cls or (find(name) if ":" in name else None))


def shipped() -> dict[str, Path]:
    """Return the files of the shipped recipes by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def preset_of(cls: type[Method], name: Any, method: str) -> dict[str, Any]:
    """Return the settings of a preset, by default the first. Raises ConfigError."""
    if name is not None and (not isinstance(name, str) or name not in cls.presets):
        raise ConfigError(f"{method} has no preset {shown(name)}; expected one of {', '.join(cls.presets)}")
    return dict(cls.presets[name or next(iter(cls.presets))])
