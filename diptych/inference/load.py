"""Load a translator from a run folder, a model folder or a hub id."""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from diptych.contract import Method, MethodConfig
from diptych.data.image_format import TrainingImages
from diptych.errors import CheckpointError, ConfigError, listed, printable, shown
from diptych.inference import hub
from diptych.inference.model_card import CAUTION
from diptych.inference.model_folder import FORMAT
from diptych.inference.translator import Translator
from diptych.methods import method_of
from diptych.networks import user_code
from diptych.runs import checkpoint
from diptych.runs.folder import Run
from diptych.settings import renamed
from diptych.settings.recipe import from_settings
from diptych.settings.validate import LARGEST_NETWORKS, check_network_size, checked, read_document
from diptych.system.hashes import sha256_of
from diptych.system.safe_parse import LARGEST_HEADER, check_safetensors


class ModelFile(BaseModel):
    """`config.json` of a model folder."""

    model_config = ConfigDict(extra="forbid")

    format: int
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    method: str = Field(max_length=200, pattern=r"^[\w.]+(:\w+)?$")
    networks: tuple[str, ...] = Field(min_length=1, max_length=100)
    config: dict[str, Any]
    notes: dict[str, Any]


def load(
    source: str | Path,
    *,
    device: str = "auto",
    which: str = "last",
    method: type[Method] | None = None,
    allow_code: Iterable[str | user_code.Network] = (),
) -> "Translator":
    """Return a translator from a run folder, a model folder, or a hub id: `user/name` or `user/name@revision`.

    A revision is a branch, a tag or a commit hash; the commit that was loaded is printed.

    `which` selects the `last` or the `best` checkpoint of a run folder. A file may name only the methods of Diptych;
    for a model of any other method give its class as `method`, and for one with a network of your own its class, or the
    name `package.module:Class`, in `allow_code`. Raises CheckpointError, ConfigError or RunError.
    """
    user_code.allow_all(allow_code)
    folder = Path(source).expanduser()
    if (folder / "config.yaml").is_file():
        translator = from_run(Run.open(folder), which, method)
    else:
        folder = model_folder_of(source)
        translator = from_model(folder, method)
    warn_of_untrained(translator, folder)
    warn_of_caution(translator, folder)
    return translator.to(device)


def model_folder_of(source: str | Path) -> Path:
    """Return a model folder; that of a hub id, `user/name` or `user/name@revision`, is downloaded. CheckpointError."""
    folder = Path(source).expanduser()
    if (folder / "config.json").is_file():
        return folder
    name = source if isinstance(source, str) else source.as_posix()
    if repository := hub.hub_id_of(name):
        return hub.download(repository)
    hint = f"; `hf://{name}` is that of the hub" if not folder.exists() and hub.parse_hub_id(name) else ""
    raise CheckpointError(
        f"{source}: neither a run folder (config.yaml), a model folder (config.json), nor a hub id{hint}"
    )


def networks_of(source: str | Path) -> dict[str, Tensor]:
    """Return the state dict of a run folder, with averaged weights where it has them, or of a model folder or hub id.

    Raises CheckpointError, ConfigError or RunError.
    """
    folder = Path(source).expanduser()
    if not (folder / "config.yaml").is_file():
        return load(source, device="cpu").method.state_dict()
    tensors, _ = checkpoint.load_newest(Run.open(folder).checkpoints)
    return with_prefix(tensors, "method.") | with_prefix(tensors, "ema.")


def with_prefix(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Return the tensors whose names start with `part`, by their names without it."""
    return {name.removeprefix(part): value for name, value in tensors.items() if name.startswith(part)}


def from_run(run: Run, which: str = "last", method: type[Method] | None = None) -> "Translator":
    """Return a translator with the weights, averaged if the run averages them, of the `last` or `best` checkpoint."""
    cls = method_of(str(run.settings().get("method")), method, str(run.config))
    recipe = from_settings(run.settings(), where=str(run.config), cls=cls, saved=True)
    tensors, meta = checkpoint.load_newest(run.checkpoints)
    if which == "best":
        if not meta["best"]:
            raise CheckpointError(f"{run.folder} has no best checkpoint: no metric was monitored in training; use last")
        tensors, meta = checkpoint.load(run.checkpoints / Path(meta["best"]["name"]).name)  # only in that folder
    networks, state = cls.inference_networks, with_prefix(tensors, "method.") | with_prefix(tensors, "ema.")
    weights = {name: value for name, value in state.items() if name.partition(".")[0] in networks}
    notes = {"steps": meta["total"], "crop": recipe.data.crop_size}
    if not recipe.train.init_from and (untrained := _untrained(cls, recipe.model, meta["place"], meta["step"])):
        notes["untaught"] = untrained  # networks of `init_from` were trained before
    translator = build_translator(
        cls, recipe.method, recipe.model.model_dump(), weights, networks, notes, str(run.folder)
    )
    translator.images = run.training_images()
    if caution := translator.method.caution():
        translator.notes[CAUTION] = caution
    return translator


def _untrained(cls: type[Method], config: MethodConfig, place: int, step: int) -> list[str]:
    """Return the inference networks that only later stages of the training update."""
    with torch.device("meta"):
        method = cls(config)
    stages = method.stages()
    never = method.untrained_networks(stages)
    return [name for name in method.untrained_networks(stages[: place + (step > 0)]) if name not in never]


def warn_of_untrained(translator: Translator, where: str | Path) -> None:
    """Warn if training was stopped before a stage that trains a network of the translator."""
    if names := translator.notes.get("untaught"):
        warnings.warn(
            f"{where}: training stopped before {', '.join(names)} was trained, so outputs are noise; "
            f"continue with `diptych resume RUN`",
            stacklevel=3,
        )


def warn_of_caution(translator: Translator, where: str | Path) -> None:
    """Warn of what an imported network lacks; the model card shows the same text."""
    if caution := translator.notes.get(CAUTION):
        warnings.warn(f"{where}: {printable(str(caution)[:500])}", stacklevel=3)


def from_model(folder: Path, method: type[Method] | None = None) -> "Translator":
    """Return a translator from a model folder."""
    description = read_document(
        folder / "config.json", ModelFile, error=CheckpointError, what="the description of a model folder"
    )
    try:
        if description.format != FORMAT:
            raise CheckpointError(f"{folder}: model format {description.format}; this Diptych reads {FORMAT}")
        if description.sha256 != sha256_of(folder / "model.safetensors"):
            raise CheckpointError(
                f"{folder}/model.safetensors is not the file that config.json describes: copy both again"
            )
        check_safetensors(folder / "model.safetensors", LARGEST_NETWORKS + LARGEST_HEADER)
        weights = load_file(folder / "model.safetensors")
        stored = description.notes.pop("images", None)
        if not isinstance(stored, dict | None):
            raise ValueError("images in the notes of config.json are no settings by name")
        images = None if stored is None else checked(TrainingImages, renamed.training_images(stored), "images")
    except (OSError, ValueError, SafetensorError, ConfigError) as error:
        raise CheckpointError(f"{folder}: not a whole model folder ({error})") from error
    cls = method_of(description.method, method, str(folder))
    config = renamed.config(description.method, description.config)
    translator = build_translator(
        cls, description.method, config, weights, description.networks, description.notes, str(folder)
    )
    translator.images = images
    return translator


def build_translator(
    cls: type[Method],
    name: str,
    config: dict[str, Any],
    weights: dict[str, Tensor],
    networks: tuple[str, ...],
    notes: dict[str, Any],
    where: str,
) -> "Translator":
    """Return a translator with only the inference networks, which get these weights; nothing is initialised."""
    settings = checked(cls.Config, config, where)
    if not set(networks) <= set(cls.inference_networks):
        raise CheckpointError(
            f"{where}: {name} translates with {', '.join(cls.inference_networks)}, not with {shown(networks)}"
        )
    with torch.device("meta"):
        method = cls(settings)
    check_network_size(method, where)
    for child, _ in list(method.named_children()):
        if child not in networks:
            setattr(method, child, None)
    if problems := state_mismatches(method.state_dict(), weights):
        raise CheckpointError(f"{where}: the weights do not fit the config: {listed(problems, 5, '; ')}")
    # copied because tensors in files are not aligned, and matrix products of unaligned tensors differ in the last bit
    in_full = {key: (value.float() if value.is_floating_point() else value).clone() for key, value in weights.items()}
    method.load_state_dict(in_full, assign=True)
    built = {child for child, _ in method.named_modules(remove_duplicate=False)}
    present = tuple(network for network in networks if network in built)
    return Translator(method.requires_grad_(False).eval(), name, present, notes)


def state_mismatches(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """Return what differs: missing and unknown names, shapes and kinds of number. Allocates nothing."""
    problems = [f"{key} is missing" for key in expected if key not in given]
    problems += [f"{printable(key[:120])} is unknown" for key in given if key not in expected]
    for key, tensor in expected.items():
        other = given.get(key, tensor)
        if other.shape != tensor.shape:
            problems.append(f"{key} is {tuple(other.shape)}, not {tuple(tensor.shape)}")
        elif (other.is_floating_point(), other.is_complex()) != (tensor.is_floating_point(), tensor.is_complex()):
            problems.append(f"{key} is {other.dtype}, not {tensor.dtype}")
    return problems
