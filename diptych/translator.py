"""From a trained run, a model folder or a hub id to an object that takes images and gives images.

import diptych
translator = diptych.load("runs/facades")
translator("label.png").save("photo.png")
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from diptych import card
from diptych.contract import Control, Method, Route
from diptych.data import image
from diptych.data.transforms import Augment
from diptych.engine import checkpoint
from diptych.engine.machine import is_out_of_memory
from diptych.engine.ranks import choose_device
from diptych.engine.run import Run
from diptych.errors import CheckpointError, ConfigError, ImageError, nearest, printable, shown
from diptych.files import whole, write_text
from diptych.methods import JUDGES, METHODS, find
from diptych.nn.blocks import pad
from diptych.plain import LARGEST_HEADER, check_weights, plain_json, read_text
from diptych.recipe import LARGEST_NETWORKS, bounded, checked, from_settings

FORMAT = 1
Picture = str | Path | Image.Image | np.ndarray | Tensor


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
        return from_run(Run.open(folder), which, method).to(device)
    if not (folder / "config.json").is_file():
        folder = _downloaded(str(source))
    return from_model(folder, method).to(device)


def from_run(run: Run, which: str = "last", method: type[Method] | None = None) -> "Translator":
    cls = _class_of(str(run.settings().get("method")), method, str(run.config))
    recipe = from_settings(run.settings(), where=str(run.config), cls=cls)
    tensors, meta = checkpoint.newest(run.checkpoints)
    if which == "best":
        if not meta["best"]:
            raise CheckpointError(
                f"{run.folder} kept no best checkpoint: without pairs there is no truth to choose by; use last"
            )
        tensors, meta = checkpoint.load(run.checkpoints / Path(meta["best"]["name"]).name)  # in that folder alone
    averaged = {name.removeprefix("ema."): value for name, value in tensors.items() if name.startswith("ema.")}
    live = {name.removeprefix("method."): value for name, value in tensors.items() if name.startswith("method.")}
    networks = cls.ships
    weights = {name: averaged.get(name, value) for name, value in live.items() if name.partition(".")[0] in networks}
    notes = {"steps": meta["total"], "crop": recipe.data.crop}
    return assembled(cls, recipe.method, recipe.model.model_dump(), weights, networks, notes, str(run.folder))


def from_model(folder: Path, method: type[Method] | None = None) -> "Translator":
    try:
        settings = plain_json(read_text(folder / "config.json"))
        if not isinstance(settings, dict):
            raise ValueError("config.json holds no settings by name")
        found = checked(ModelFile, settings, f"{folder}/config.json")
        if found.format != FORMAT:
            raise CheckpointError(f"{folder}: model format {found.format}; this Diptych reads {FORMAT}")
        if found.sha256 != _digest(folder / "model.safetensors"):
            raise CheckpointError(
                f"{folder}/model.safetensors is not the file that config.json describes: copy both again"
            )
        check_weights(folder / "model.safetensors", LARGEST_NETWORKS + LARGEST_HEADER)
        weights = load_file(folder / "model.safetensors")
    except (OSError, ValueError, SafetensorError, ConfigError) as error:
        raise CheckpointError(f"{folder}: not a whole model folder ({error})") from error
    cls = _class_of(found.method, method, str(folder))
    return assembled(cls, found.method, found.config, weights, found.networks, found.notes, str(folder))


def _class_of(name: str, given: type[Method] | None, where: str) -> type[Method]:
    """The class that a file asks for by name. A file never decides which module is imported."""
    if given is None and name not in {**METHODS, **JUDGES}:
        raise CheckpointError(
            f"{where}: made by {shown(name)}, which is no method of Diptych{nearest(name, METHODS)}; "
            f"if you trust and have it, give the class: load(..., method=...)"
        )
    return given or find(name)


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
    if not set(networks) <= set(cls.ships):
        raise CheckpointError(f"{where}: {name} translates with {', '.join(cls.ships)}, not with {shown(networks)}")
    with torch.device("meta"):
        method = cls(settings)
    bounded(method, where)
    for child, _ in list(method.named_children()):
        if child not in networks:
            setattr(method, child, None)
    wrong = misfits(method.state_dict(), weights)
    if wrong:
        raise CheckpointError(
            f"{where}: the weights do not fit the config: {'; '.join(wrong[:5])}"
            + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        )
    # copied, as files do not align them, and products of matrices that lie oddly differ in the last bit
    in_full = {key: (value.float() if value.is_floating_point() else value).clone() for key, value in weights.items()}
    method.load_state_dict(in_full, assign=True)
    return Translator(method.requires_grad_(False).eval(), name, networks, notes)


def misfits(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
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


@dataclass
class Translator:
    """Translates images of any size: they are padded by reflection to what the network needs, and cropped back."""

    method: Method
    name: str
    networks: tuple[str, ...]
    notes: dict[str, Any]
    device: torch.device = torch.device("cpu")

    @property
    def controls(self) -> tuple[Control, ...]:
        """What may be chosen when translating."""
        return self.method.controls

    def to(self, device: str) -> "Translator":
        self.device = choose_device(device)
        self.method.to(self.device)
        return self

    def __call__(self, images: Picture | Iterable[Picture], **controls: Any) -> Any:
        """One image or many, in the same kind and size.

        A path or PIL image gives a PIL image (an array where PIL has no such image: 16 bit, or other than 1 or 3
        channels); an array (H, W, C) gives an array of its dtype; a tensor (C, H, W) or (N, C, H, W) in [-1, 1] gives
        a tensor in [-1, 1]. A control that is an image takes the same kinds; a file is brought to the size that the
        network needs, a tensor must have it. Raises ImageError, or ConfigError for a control that does not exist.
        """
        controls = self.ready(controls)
        if isinstance(images, str | Path | Image.Image | np.ndarray | Tensor):
            return self._one(images, controls)
        return [self._one(each, controls) for each in images]

    def sample(self, count: int, seed: int = 0, first: int = 0, **controls: Any) -> list[Any]:
        """Images out of noise, from number `first` on: PIL images, or arrays (H, W, C) of channels that PIL has not.

        One of a seed is always the same. ConfigError if the method makes nothing out of noise alone.
        """
        made = self.drawn(range(first, first + count), seed, **controls)
        pixels = [image.from_unit(each.permute(1, 2, 0).numpy(), np.uint8) for each in made]
        return [image.to_pil(each) if each.shape[-1] in (1, 3) else each for each in pixels]

    def drawn(self, numbers: range, seed: int = 0, **controls: Any) -> Tensor:
        """As `sample`, those of these numbers: (N, C, H, W) in [-1, 1] on the CPU."""
        if not self.method.noise:
            raise ConfigError(f"{self.name} makes nothing out of noise alone: give it images, by `diptych translate`")
        self._check(controls)
        return self.method.sample(numbers, seed, **controls).float().cpu().clamp(-1, 1)

    def all_domains(self, image: Picture, **controls: Any) -> dict[str, Any]:
        """One image in each domain by its name, as `__call__` gives it. ConfigError if the method knows no domains."""
        return {name: self(image, domain=name, **controls) for name in self.choices("domain")}

    def choices(self, name: str) -> tuple[str, ...]:
        """What a control may be. ConfigError if there is no such control."""
        return self._control(name).choices

    def styles(self, image: Picture, count: int, **controls: Any) -> list[Any]:
        """One image in so many styles, of the seeds from `seed` on. ConfigError if the method has no seeds."""
        first = int(controls.pop("seed", self._control("seed").default))
        return [self(image, seed=first + number, **controls) for number in range(count)]

    def ready(self, controls: dict[str, Any]) -> dict[str, Any]:
        """Controls as `translate` takes them: images as tensors (1, C, size, size)."""
        found = dict(controls)
        for control in self.controls:
            value = controls.get(control.name)
            if control.image and value is not None and not isinstance(value, Tensor):
                found[control.name] = self._fitted(value, control)
        return found

    def _fitted(self, picture: str | Path | Image.Image | np.ndarray, control: Control) -> Tensor:
        """A picture for a control: its middle square, in the size of training images."""
        label = str(picture) if isinstance(picture, str | Path) else control.name
        if isinstance(picture, Image.Image):
            pixels = image.from_pil(picture, label)
        else:
            pixels = image.as_pixels(picture) if isinstance(picture, np.ndarray) else image.read(picture)
        size = int(self.method.config.model_dump()[self.method.square])
        pixels = Augment(size, size, "centre").still(
            image.with_channels(pixels, self.method.channels()[control.image], label)
        )
        return torch.from_numpy(image.to_unit(np.ascontiguousarray(pixels.transpose(2, 0, 1))))[None]

    def array(self, pixels: np.ndarray, label: str = "array", **controls: Any) -> np.ndarray:
        """(H, W, C) to (H, W, C'), of the same dtype; `label` names the image in errors."""
        unit = image.to_unit(image.with_channels(pixels, self.channels_in(controls), label))
        made = self.tensor(torch.from_numpy(np.ascontiguousarray(unit.transpose(2, 0, 1))), label, **controls)
        return image.from_unit(made.numpy().transpose(1, 2, 0), pixels.dtype)

    def tensor(self, x: Tensor, label: str = "tensor", **controls: Any) -> Tensor:
        """(C, H, W) or (N, C, H, W) in [-1, 1] to the same on the CPU, float32; `label` names it in errors."""
        return self.tensors(x, [controls], label)[0]

    def tensors(self, x: Tensor, choices: Sequence[Mapping[str, Any]], label: str = "tensor") -> list[Tensor]:
        """As `tensor`, under each of several controls; what they have in common is done once."""
        if not self.method.routes:
            raise ConfigError(f"{self.name} translates no images" + (": see `diptych sample`" * self.method.noise))
        for controls in choices:
            self._check(controls)
        batch = x if x.dim() == 4 else x[None]
        height, width = batch.shape[-2:]
        padded = pad(pad(batch, -2, self.method.multiple), -1, self.method.multiple)
        try:
            here = [
                {name: value.to(self.device) if isinstance(value, Tensor) else value for name, value in each.items()}
                for each in choices
            ]
            found = self.method.translate_each(padded.to(self.device, torch.float32), here)
            made = [each.float().cpu().clamp(-1, 1) for each in found]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise ImageError(
                f"{label}: {width}x{height} pixels need more memory than there is: scale it down"
            ) from error
        top, left = ((big - small) // 2 for big, small in zip(padded.shape[-2:], (height, width), strict=True))
        made = [each[..., top : top + height, left : left + width] for each in made]
        return made if x.dim() == 4 else [each[0] for each in made]

    def save(self, folder: Path | str) -> Path:
        """A model folder: `model.safetensors`, `config.json` and a card, for `load` and for hubs. OSError."""
        folder = Path(folder)
        weights = {name: value.contiguous() for name, value in self.method.state_dict().items()}
        try:
            with whole(folder / "model.safetensors") as part:
                save_file(weights, part)
        except SafetensorError as error:  # how the library says that the disk is full
            raise OSError(str(error)) from error
        config = {
            "format": FORMAT,
            "sha256": _digest(folder / "model.safetensors"),
            "method": self.name,
            "networks": list(self.networks),
            "config": self.method.config.model_dump(),
            "notes": self.notes,
        }
        write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
        write_text(folder / "README.md", card.write(self.method, self.name, self.notes))
        return folder

    def _one(self, picture: Picture, controls: dict[str, Any]) -> Any:
        if isinstance(picture, Tensor):
            return self.tensor(picture, **controls)
        if isinstance(picture, np.ndarray):
            return self.array(image.as_pixels(picture), **controls)
        label = "image" if isinstance(picture, Image.Image) else str(picture)
        pixels = image.from_pil(picture, label) if isinstance(picture, Image.Image) else image.read(picture)
        made = self.array(pixels, label, **controls)
        return image.to_pil(made) if made.dtype == np.uint8 and made.shape[-1] in (1, 3) else made

    def channels_in(self, controls: dict[str, Any]) -> int:
        """Channels of the input under these controls."""
        return self.method.channels()[self._route(controls).source]

    def channels_out(self, controls: dict[str, Any]) -> int:
        """Channels of the output under these controls; ConfigError if there are no such controls."""
        self._check(controls)
        return self.method.channels()[self._route(controls).target]

    def _route(self, controls: dict[str, Any]) -> Route:
        fitting = [route for route in self.method.routes if route.controls.items() <= controls.items()]
        return max(fitting or self.method.routes[:1], key=lambda route: len(route.controls))

    def _check(self, controls: Mapping[str, Any]) -> None:
        for name, value in controls.items():
            choices = self._control(name).choices
            if choices and value not in choices:
                raise ConfigError(f"{name}={value!r}: choose one of {', '.join(choices)}")

    def _control(self, name: str) -> Control:
        known = {control.name: control for control in self.controls}
        if name not in known:
            raise ConfigError(
                f"{self.name} has no control {name!r}{nearest(name, known)}; it has {', '.join(known) or 'none'}"
            )
        return known[name]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
