"""A recipe: method, model, data and training settings as plain data, each key checked, with the nearest name on a typo.

    method: pix2pix
    preset: paper
    model: {l1: 100}
    data: {root: facades, direction: b2a}
    train: {epochs: 200}

On the command line the sections fall away: `lambda_l1=50 batch_size=4`. No two sections share a name.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from diptych.contract import Evaluator, Method, MethodConfig
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
from diptych.settings import renamed
from diptych.settings.train_config import EvaluateConfig, TrainConfig
from diptych.settings.validate import checked
from diptych.system.distributed import Ranks
from diptych.system.hardware import precision_for
from diptych.system.safe_parse import parse_yaml, read_text

Model = TypeVar("Model", bound=BaseModel)
# never read as numbers or anything else
TEXTS = ("preset", "root", "device", "evaluator", "feature_network", "target_root", "background_root")
PATHS = (  # may name files or folders
    "root", "extra_roots", "target_root", "background_root", "init_from", "feature_network", "evaluator", "extractor",
)  # fmt: skip
SECTIONS = ("model", "data", "train", "evaluate")
SETTINGS: Mapping[str, type[BaseModel]] = {"data": DataConfig, "train": TrainConfig, "evaluate": EvaluateConfig}
SHIPPED = Path(__file__).parent / "recipes"
LARGEST_NETWORKS = 8 * 2**30  # bytes of weights and buffers of all networks of a method


@dataclass(frozen=True)
class Recipe:
    method: str
    model: MethodConfig
    data: DataConfig
    train: TrainConfig
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    allowed: type[Method] | None = None  # the class of a method that is not part of Diptych
    given: Mapping[str, Any] = field(default_factory=dict, compare=False)  # what a person set, other than the defaults
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

    def settings(self) -> dict[str, Any]:
        """As plain data that `from_settings` reads back to an equal recipe."""
        model = self.model.model_dump(exclude={"steps"} if self.train.epochs else set())
        parts = {"data": self.data, "train": self.train, "evaluate": self.evaluate}
        rest = {name: part.model_dump(exclude_none=True) for name, part in parts.items()}
        return {"method": self.method, "model": model, **rest}

    def located(self, keys: Collection[str] = PATHS) -> "Recipe":
        """With the paths of these settings absolute, so that a resume from another folder finds them."""
        parts = {"model": self.model, "data": self.data, "train": self.train, "evaluate": self.evaluate}
        changed = {}
        for section, part in parts.items():
            values = {key: value for key, value in part if key in PATHS and key in keys and value}
            found = {key: _absolute(value) for key, value in values.items()}
            changed[section] = part.model_copy(update={k: v for k, v in found.items() if v != values[k]})
        return replace(self, **changed)  # type: ignore[arg-type]

    def unused(self) -> dict[str, str]:
        """The settings of `given` that have no effect beside the others, by name, each with what to do about it."""
        data = unused_settings(self.data, self.cls.data) if self.given else {}
        needs = {**self.model.unused(), **data, **self.evaluate.unused()}
        return {
            key: f"{key} has no effect without {needs[key]}: leave {key}= out"
            for key, value in self.given.items()
            if key in needs and value not in (0, "none")  # what is off anyway may be said to be off
        }

    def fitted(self, data: Data) -> "Recipe":
        """With what only the data can tell: channel counts, unless they were set, ranges, labels, and epochs as steps.

        ConfigError if a method that translates between domains would see too few of them in a step.
        """
        domains = max((len(each) for each in data.labels if each.kind == "class"), default=0)
        if data.others and issubclass(self.cls, Evaluator):
            raise ConfigError(
                f"extra_roots={list(self.data.extra_roots)}: a judge learns from one data set; leave it out"
            )
        if domains > self.train.batch_size and self.cls.domains:
            raise ConfigError(
                f"batch_size={self.train.batch_size} is smaller than the {domains} domains, which a step is to compare: "
                f"set batch_size={max(8, domains)}, or choose fewer by folders="
            )
        fields = self.images
        settings = resolve_ranges(self.data, data, fields)
        found: dict[str, Any] = {key: data.labels for name, key in self.cls.batch.items() if name in self.cls.labels}
        for name, key in fields.items():
            given = int(vars(self.model)[key]) if key in self.model.model_fields_set else None
            found[key] = count_channels(name, settings, data, fields, given)
        if self.train.epochs is not None:  # of the first set, whose turn comes as often as that of each other
            turns = self.train.epochs * (1 + len(data.others))
            found["steps"] = math.ceil(turns * len(data.train) / self.train.batch_size)
        train = self.train.model_copy(update={"epochs": None})
        model = checked(self.cls.Config, {**self.model.model_dump(), **found}, "model")
        return replace(self, model=model, data=settings, train=train)

    @property
    def images(self) -> dict[str, str]:
        """The batch entries that are images, with the setting that counts their channels."""
        return {name: key for name, key in self.cls.batch.items() if name not in self.cls.labels}

    def encoded(self, data: Data) -> Data:
        """`data` with the values of images meaning what this recipe, once `fitted`, says. DataError."""
        channels = {name: int(vars(self.model)[key]) for name, key in self.images.items()}
        return with_encodings(self.data, data, self.images, channels)

    def settled(self, ranks: Ranks) -> "Recipe":
        """With what only the machine can tell, so that a resume elsewhere does the same: precision and compiling."""
        precision = precision_for(ranks.device)[0] if self.train.precision == "auto" else self.train.precision
        train = self.train.model_copy(update={"precision": precision, "compile": self.train.compile is True})
        return replace(self, train=train)


def _absolute(value: Any) -> Any:
    """A path that exists here, also behind a name as in `vgg19:FILE`, from the root of the file system on."""
    if isinstance(value, tuple):
        return tuple(map(_absolute, value))
    name, colon, file = value.rpartition(":")
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
    """Check and complete plain settings. ConfigError names every key that is wrong, and the nearest right one.

    `cls` is the class of a method that is not part of Diptych: settings alone may not name one. Settings that follow
    from others or have no effect are refused, unless a run `saved` them among all others, as `Recipe.settings` gives
    them; `allow_unused` leaves it to the caller to refuse those without effect.
    """
    known = ("method", "preset", "title", *SECTIONS)
    unknown = sorted(map(shown, settings.keys() - known))
    if unknown or not isinstance(settings.get("method"), str):
        raise ConfigError(
            f"{where}: a recipe has method, preset, model, data, train, evaluate and title; "
            + (f"it does not know {listed(unknown)}{nearest(unknown[0], known)}" if unknown else "method is missing")
        )
    allowed, cls = cls, method_of(settings["method"], cls, where)
    for section in SECTIONS:
        if not isinstance(settings.get(section) or {}, Mapping):
            raise ConfigError(f"{where}: {section} holds settings by name, such as `{section}: {{key: value}}`")
    models: dict[str, type[BaseModel]] = {"model": cls.Config, **SETTINGS}
    values = {section: dict(settings.get(section) or {}) for section in SECTIONS}
    saved = saved or cls.Config.model_fields.keys() - {"steps"} <= values["model"].keys()
    changes = dict(_split(override) for override in overrides)
    preset = changes.pop("preset", settings.get("preset"))
    for key, value in changes.items():
        values[_section_of(key, models, settings["method"])][key] = value
    given = changes.keys() if saved else changes.keys() | {key for section in SECTIONS for key in values[section]}
    _refuse_following(cls, {key: value for key, value in values["model"].items() if key in given}, where)
    if "root" not in values["data"]:
        raise ConfigError("no images are named: give --data FOLDER, or --data glyphs to try it out on letters")
    _settle_length(changes, values)
    usual = preset_of(cls, preset, f"{where}: {settings['method']}")
    if values["train"].get("epochs") is not None:
        usual.pop("steps", None)
    values["model"] = {**usual, **values["model"]}
    _refuse_former(values, models, settings["method"], where)
    parts, problems = {}, []
    if cls.square:
        values["model"][cls.square] = values["data"].get("crop_size", DataConfig.model_fields["crop_size"].default)
    for section, model in models.items():
        try:
            parts[section] = checked(model, values[section], section)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(f"{where}: " + "; ".join(problems))
    other = {key: value for part in parts.values() for key, value in _changed(part, usual).items() if key in given}
    recipe = Recipe(settings["method"], **parts, allowed=allowed, given=other)  # type: ignore[arg-type]
    if lost := _overruled(recipe, settings, overrides):
        recipe = replace(recipe, given={key: value for key, value in other.items() if key not in lost})
    if not allow_unused:
        refuse_unused({where: recipe})
    return recipe


def refuse_unused(recipes: Mapping[str, Recipe]) -> None:
    """ConfigError for settings that have an effect in none of the recipes that they are given for, by their names."""
    used = {key for recipe in recipes.values() for key in recipe.given.keys() - recipe.unused().keys()}
    for where, recipe in recipes.items():
        if wrong := [why for key, why in recipe.unused().items() if key not in used]:
            raise ConfigError(f"{where}: " + listed(wrong, comma="; "))


def _changed(part: BaseModel, usual: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are other than by default, and than the preset has them."""
    known = type(part).model_fields
    return {key: value for key, value in vars(part).items() if value not in (known[key].default, usual.get(key), None)}


def _overruled(recipe: Recipe, settings: Mapping[str, Any], overrides: Sequence[str]) -> set[str]:
    """What a recipe sets that only overrides leave without effect: nobody need take it out of the recipe."""
    own = recipe.unused().keys() - {each.partition("=")[0] for each in overrides}
    root = [each for each in overrides if each.startswith("root=")]
    if not own or len(root) == len(overrides):
        return set()
    try:
        return own - from_settings(settings, root, cls=recipe.allowed, allow_unused=True).unused().keys()
    except ConfigError:  # which is no recipe without overrides
        return own


def _refuse_former(
    values: Mapping[str, Mapping[str, Any]], models: Mapping[str, type[BaseModel]], method: str, where: str
) -> None:
    """Raise ConfigError if settings are given by a former name."""
    former = [
        f"{key} is now {new}"
        for section, model in models.items()
        for key in values[section].keys() - model.model_fields.keys()
        if (new := renamed.new_name(str(key), method))
    ]
    if former:
        raise ConfigError(f"{where}: {listed(sorted(former), comma='; ')}")


def _refuse_following(cls: type[Method], given: Mapping[str, Any], where: str) -> None:
    """ConfigError for a setting of the method that follows from the data or its settings."""
    if cls.square in given:
        value = given[cls.square]
        raise ConfigError(f"{where}: {cls.square} follows from crop: give crop_size={shown(value)} instead")
    if labels := [key for key in cls.labels.values() if key in given]:
        raise ConfigError(f"{where}: {labels[0]} are read from the data: choose some by folders= or attributes=")


def _split(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"{override!r}: settings are written key=value")
    try:
        return key, text if key in TEXTS else parse_yaml(text)
    except ValueError as error:
        raise ConfigError(f"{override!r}: {text!r} is not a value that can be read") from error


def _section_of(key: str, models: Mapping[str, type[BaseModel]], method: str) -> str:
    found = [section for section, model in models.items() if key in model.model_fields]
    if len(found) > 1:
        raise ConfigError(f"{key!r} is a setting of {' and '.join(found)}: the method must call its own otherwise")
    if not found and (new := renamed.new_name(key, method)):
        raise ConfigError(f"{key} is now {new}: write {new}=")
    if not found:
        names = [name for model in models.values() for name in model.model_fields]
        raise ConfigError(f"no setting is called {key!r}{nearest(key, names)}; `diptych methods {method}` lists them")
    return found[0]


def _settle_length(changes: Mapping[str, Any], values: dict[str, dict[str, Any]]) -> None:
    """Steps or epochs: the command line over the recipe, and never both."""
    if "steps" in values["model"] and "epochs" in values["train"]:
        if ("steps" in changes) == ("epochs" in changes):
            raise ConfigError("steps and epochs both say how long to train: give one")
        section, key = ("train", "epochs") if "steps" in changes else ("model", "steps")
        del values[section][key]


def from_file(
    path: Path, overrides: Sequence[str] = (), where: str | None = None, cls: type[Method] | None = None
) -> Recipe:
    """`where` is what errors call it, if not by its path. ConfigError."""
    try:
        settings = parse_yaml(read_text(path))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a recipe that can be read ({error})") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: a recipe is a YAML mapping with at least `method: NAME`")
    return from_settings(settings, overrides, where or str(path), cls)


def load_recipe(name: str, overrides: Sequence[str] = (), cls: type[Method] | None = None) -> Recipe:
    """By the name of a method or shipped recipe, `package.module:Class`, or the path of a YAML file.

    `cls` is the class of a method that is not part of Diptych, which a YAML file may name. ConfigError.
    """
    if name.endswith((".yaml", ".yml")):
        return from_file(Path(name), overrides, cls=cls)
    if name in shipped():
        return from_file(shipped()[name], overrides, name)
    if name not in {**METHODS, **EVALUATORS} and ":" not in name:
        raise ConfigError(f"{name!r} is no method, shipped recipe or .yaml file{nearest(name, [*METHODS, *shipped()])}")
    return from_settings({"method": name}, overrides, name, cls or (find(name) if ":" in name else None))


def shipped() -> dict[str, Path]:
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def preset_of(cls: type[Method], name: str | None, method: str) -> dict[str, Any]:
    if name is not None and (not isinstance(name, str) or name not in cls.presets):
        raise ConfigError(f"{method} has no preset {shown(name)}; it has {', '.join(cls.presets)}")
    return dict(cls.presets[name or next(iter(cls.presets))])


def bounded(method: Method, where: str) -> None:
    """ConfigError if the networks are larger than anybody trains. Ask on the meta device, before memory is taken."""
    tensors = [*method.parameters(), *method.buffers()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if size > LARGEST_NETWORKS:
        usual = {key: field.default for key, field in type(method.config).model_fields.items()}
        raised = [
            f"{key}={value} where {usual[key]} is usual"
            for key, value in method.config.model_dump().items()
            if type(value) is type(usual[key]) is int and value > usual[key] and key != "steps"
        ]
        raise ConfigError(
            f"{where}: these networks would take {size / 2**30:.0f} GiB, more than {LARGEST_NETWORKS >> 30}: "
            f"lower {', '.join(raised) or 'their sizes'}"
        )
