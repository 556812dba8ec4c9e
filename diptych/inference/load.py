"""From a trained run, a model folder or a hub id to a translator."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from diptych.contract import Method, MethodConfig
from diptych.data.image_format import TrainingImages
from diptych.errors import CheckpointError, ConfigError, printable, shown
from diptych.inference.model_card import CAUTION
from diptych.inference.model_folder import FORMAT, digest_of
from diptych.inference.translator import Translator
from diptych.methods import method_of
from diptych.runs import checkpoint
from diptych.runs.folder import Run
from diptych.settings import renamed
from diptych.settings.recipe import from_settings
from diptych.settings.validate import LARGEST_NETWORKS, check_network_size, checked
from diptych.system.safe_parse import LARGEST_HEADER, check_weights, parse_json, read_text


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
    source: str | Path, *, device: str = "auto", which: str = "last", method: type[Method] | None = None
) -> "Translator":
    """A translator from a run folder, a model folder, or a hub id such as `someone/facades`.

    `which` chooses between the `last` and the `best` checkpoint of a run folder. A file may name only the methods of
    Diptych; what another method made needs its class as `method`. Raises CheckpointError, ConfigError or RunError.
    """
    folder = Path(source).expanduser()
    if (folder / "config.yaml").is_file():
        translator = from_run(Run.open(folder), which, method)
    else:
        if not (folder / "config.json").is_file():
            folder = _downloaded(str(source))
        translator = from_model(folder, method)
    warn_of_untrained(translator, folder)
    warn_of_caution(translator, folder)
    return translator.to(device)


def networks_of(source: str | Path) -> dict[str, Tensor]:
    """All networks of a run folder, averaged where they are, or those of a model folder or hub id; as a state dict.

    Raises CheckpointError, ConfigError or RunError.
    """
    folder = Path(source).expanduser()
    if not (folder / "config.yaml").is_file():
        return load(source, device="cpu").method.state_dict()
    tensors, _ = checkpoint.newest(Run.open(folder).checkpoints)
    return with_prefix(tensors, "method.") | with_prefix(tensors, "ema.")


def with_prefix(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Those whose names begin with `part`, by what is behind it."""
    return {name.removeprefix(part): value for name, value in tensors.items() if name.startswith(part)}


def from_run(run: Run, which: str = "last", method: type[Method] | None = None) -> "Translator":
    cls = method_of(str(run.settings().get("method")), method, str(run.config))
    recipe = from_settings(run.settings(), where=str(run.config), cls=cls, saved=True)
    tensors, meta = checkpoint.newest(run.checkpoints)
    if which == "best":
        if not meta["best"]:
            raise CheckpointError(
                f"{run.folder} kept no best checkpoint: without pairs there is no truth to choose by; use last"
            )
        tensors, meta = checkpoint.load(run.checkpoints / Path(meta["best"]["name"]).name)  # in that folder alone
    networks, there = cls.inference_networks, with_prefix(tensors, "method.") | with_prefix(tensors, "ema.")
    weights = {name: value for name, value in there.items() if name.partition(".")[0] in networks}
    notes = {"steps": meta["total"], "crop": recipe.data.crop_size}
    if not recipe.train.init_from and (untaught := _untaught(cls, recipe.model, meta["place"], meta["step"])):
        notes["untaught"] = untaught  # what `begin` brought has learned elsewhere
    translator = assembled(cls, recipe.method, recipe.model.model_dump(), weights, networks, notes, str(run.folder))
    translator.images = run.training_images()
    return translator


def _untaught(cls: type[Method], config: MethodConfig, place: int, step: int) -> list[str]:
    """Networks to translate with that only later steps of the training move."""
    with torch.device("meta"):
        method = cls(config)
    stages = method.stages()
    never = method.untrained_networks(stages)
    return [name for name in method.untrained_networks(stages[: place + (step > 0)]) if name not in never]


def warn_of_untrained(translator: Translator, where: str | Path) -> None:
    """A training that was stopped in an early stage gives pictures, and they say nothing."""
    if names := translator.notes.get("untaught"):
        warnings.warn(
            f"{where}: stopped before {', '.join(names)} learned anything, so pictures will be noise; "
            f"`diptych resume RUN` goes on",
            stacklevel=3,
        )


def warn_of_caution(translator: Translator, where: str | Path) -> None:
    """What an imported network lacks is said whenever it is used; the model card has it too."""
    if caution := translator.notes.get(CAUTION):
        warnings.warn(f"{where}: {printable(str(caution)[:500])}", stacklevel=3)


def from_model(folder: Path, method: type[Method] | None = None) -> "Translator":
    try:
        settings = parse_json(read_text(folder / "config.json"))
        if not isinstance(settings, dict):
            raise ValueError("config.json holds no settings by name")
        found = checked(ModelFile, settings, f"{folder}/config.json")
        if found.format != FORMAT:
            raise CheckpointError(f"{folder}: model format {found.format}; this Diptych reads {FORMAT}")
        if found.sha256 != digest_of(folder / "model.safetensors"):
            raise CheckpointError(
                f"{folder}/model.safetensors is not the file that config.json describes: copy both again"
            )
        check_weights(folder / "model.safetensors", LARGEST_NETWORKS + LARGEST_HEADER)
        weights = load_file(folder / "model.safetensors")
        stored = found.notes.pop("images", None)
        if not isinstance(stored, dict | None):
            raise ValueError("images in the notes of config.json are no settings by name")
        images = None if stored is None else checked(TrainingImages, stored, "images")
    except (OSError, ValueError, SafetensorError, ConfigError) as error:
        raise CheckpointError(f"{folder}: not a whole model folder ({error})") from error
    cls = method_of(found.method, method, str(folder))
    config = renamed.config(found.method, found.config)
    translator = assembled(cls, found.method, config, weights, found.networks, found.notes, str(folder))
    translator.images = images
    return translator


def assembled(
    cls: type[Method],
    name: str,
    config: dict[str, Any],
    weights: dict[str, Tensor],
    networks: tuple[str, ...],
    notes: dict[str, Any],
    where: str,
) -> "Translator":
    """The method with only the networks that translate, which take the weights as they are: nothing is initialised."""
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
    wrong = mismatches(method.state_dict(), weights)
    if wrong:
        raise CheckpointError(
            f"{where}: the weights do not fit the config: {'; '.join(wrong[:5])}"
            + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        )
    # copied, as files do not align them, and products of matrices that lie oddly differ in the last bit
    in_full = {key: (value.float() if value.is_floating_point() else value).clone() for key, value in weights.items()}
    method.load_state_dict(in_full, assign=True)
    return Translator(method.requires_grad_(False).eval(), name, networks, notes)


def mismatches(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """What is missing, unknown, or of another shape or kind of number; nothing is allocated to find it out."""
    wrong = [f"{key} is missing" for key in wanted if key not in given]
    wrong += [f"{printable(key[:120])} is unknown" for key in given if key not in wanted]
    for key, want in wanted.items():
        got = given.get(key, want)
        if got.shape != want.shape:
            wrong.append(f"{key} is {tuple(got.shape)}, not {tuple(want.shape)}")
        elif (got.is_floating_point(), got.is_complex()) != (want.is_floating_point(), want.is_complex()):
            wrong.append(f"{key} is {got.dtype}, not {want.dtype}")
    return wrong


def _downloaded(source: str) -> Path:
    """The model folder behind a hub id, from the cache or the network."""
    if source.count("/") != 1 or Path(source).exists() or Path(source).parent.exists():
        raise CheckpointError(
            f"{source}: neither a run folder (config.yaml), a model folder (config.json), nor a hub id"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, allow_patterns=["config.json", "model.safetensors", "README.md"]))
    except Exception as error:  # the client raises errors of many libraries: offline, gone, private, mistyped
        raise CheckpointError(
            f"{source}: no such folder here, and the hub did not give a model of that name ({error})"
        ) from error
