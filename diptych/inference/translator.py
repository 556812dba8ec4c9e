"""An object that takes images and gives images.

import diptych
translator = diptych.load("runs/facades")
translator("label.png").save("photo.png")
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from diptych.contract import Control, Method, Route
from diptych.data.image_format import TrainingImages
from diptych.data.images import image_io as image
from diptych.data.images import metadata
from diptych.data.images.encoding import PLAIN, Encoding
from diptych.data.images.metadata import NOTHING, Metadata
from diptych.data.images.transforms import Augment
from diptych.errors import ConfigError, ImageError, nearest
from diptych.inference import model_folder
from diptych.inference.preprocessing import (
    DEFAULT,
    Adapter,
    Options,
    checked_tensor,
    resize_unit,
    with_or_without_alpha,
)
from diptych.networks.layers import pad
from diptych.settings.validate import checked
from diptych.system.distributed import choose_device
from diptych.system.hardware import is_out_of_memory

Picture = str | Path | Image.Image | np.ndarray | Tensor
NUMBERS: Mapping[type, type] = {int: Integral, float: Real}  # what may stand for them in a control


@dataclass
class Translator:
    """Translates images of any size: they are padded by reflection to what the network needs, and cropped back.

    A method that enlarges gives them back `traits.upscale_factor` times as high and wide; one that takes a single size gives
    that, and images of others are resized to it first. `with_options` resizes images to the scale of training, chooses
    a half of side-by-side images, and sets the depth of translations.
    """

    method: Method
    name: str
    networks: tuple[str, ...]
    notes: dict[str, Any]
    device: torch.device = torch.device("cpu")
    images: TrainingImages | None = None  # how the training images were stored, where that is known
    options: Options = DEFAULT
    _warned: set[str] = field(default_factory=set, init=False, repr=False)

    @property
    def controls(self) -> tuple[Control, ...]:
        """What may be chosen when translating."""
        return self.method.controls

    def to(self, device: str) -> "Translator":
        self.device = choose_device(device)
        self.method.to(self.device)
        return self

    def with_options(self, **options: Any) -> "Translator":
        """Return a translator of the same networks with other `options`: `scale`, `half`, `depth`. ConfigError.

        `scale="training"` resizes images as training did, and translations back. `half` is "left", "right", "none", or
        "auto": the source half of images that are side by side as the training images were. `depth` is 8, 16 or "float"
        (within 0..1). They apply to files, PIL images and arrays; tensors are translated as they are.
        """
        return replace(self, options=checked(Options, {**self.options.model_dump(), **options}, "options"))

    def __call__(self, images: Picture | Iterable[Picture], **controls: Any) -> Any:
        """One image or many, in the same kind and size.

        A path or PIL image gives a PIL image, in the depth of the training images of the target domain where that is
        known (an array where PIL has no such image: 16 bit, or other than 1 or 3 channels); an array (H, W, C) gives an
        array of its dtype, unless `options` has a depth; a tensor (C, H, W) or (N, C, H, W) in [-1, 1] gives
        a tensor in [-1, 1]. A control that is an image takes the same kinds; a file is brought to the size that the
        network needs, a tensor must have it. Raises ImageError, or ConfigError for a control that does not exist.
        """
        controls = self.ready(controls)  # once: a reference is read and resized
        if isinstance(images, str | Path | Image.Image | np.ndarray | Tensor):
            return self._each(images, [controls])[0]
        if isinstance(images, bytes | Mapping) or not isinstance(images, Iterable):
            raise ImageError(
                f"{type(images).__name__}: expected a path, PIL image, array or tensor, or several of them"
            )
        return [self._each(each, [controls])[0] for each in images]

    def sample(self, count: int, seed: int = 0, first: int = 0, **controls: Any) -> list[Any]:
        """Images out of noise, from number `first` on: PIL images, or arrays (H, W, C) of channels that PIL has not.

        One of a seed is always the same. ConfigError if the method makes nothing out of noise alone.
        """
        made = self.drawn(range(first, first + count), seed, **controls)
        encoding = self._encoding(next(iter(self.method.channels())))
        pixels = [encoding.encode(each.permute(1, 2, 0).numpy(), np.uint8) for each in made]
        return [_as_pil(each, encoding) for each in pixels]

    def drawn(self, numbers: range, seed: int = 0, **controls: Any) -> Tensor:
        """As `sample`, those of these numbers: (N, C, H, W) in [-1, 1] on the CPU."""
        if not self.method.traits.unconditional:
            raise ConfigError(f"{self.name} makes nothing out of noise alone: give it images, by `diptych translate`")
        self._check(controls)
        return self.method.sample(numbers, seed, **controls).float().cpu().clamp(-1, 1)

    def all_domains(self, image: Picture, **controls: Any) -> dict[str, Any]:
        """One image in each domain by its name, as `__call__` gives it. ConfigError if the method knows no domains."""
        self._leaves("domain", controls)
        controls = self.ready(controls)
        names = self.choices("domain")
        return dict(zip(names, self._each(image, [{**controls, "domain": name} for name in names]), strict=True))

    def _leaves(self, name: str, controls: Mapping[str, Any]) -> None:
        if controls.get(name) is not None:
            raise ConfigError(f"{name} chooses one, and all were asked for: leave it out")

    def choices(self, name: str) -> tuple[str, ...]:
        """What a control may be. ConfigError if there is no such control."""
        return self._control(name).choices

    def styles(self, image: Picture, count: int, **controls: Any) -> list[Any]:
        """One image in so many styles, of the seeds from `seed` on. ConfigError if the method has no seeds."""
        self._leaves("reference", controls)
        if count < 1:
            raise ConfigError(f"{count} styles: ask for one at least")
        first = controls.pop("seed", self._control("seed").default)
        self._check({"seed": first})
        return self._each(image, [{**controls, "seed": first + number} for number in range(count)])

    def ready(self, controls: Mapping[str, Any]) -> dict[str, Any]:
        """Controls as `translate` takes them: images as tensors (N, C, size, size). ConfigError, ImageError."""
        found = dict(controls)
        for control in self.controls:
            value = controls.get(control.name)
            if not control.image or value is None:
                continue
            entry = control.entry(self._route(controls))
            channels = self.method.channels()[entry]
            tensor = value if isinstance(value, Tensor) else self._fitted(value, control.name, entry)
            found[control.name] = tensor if tensor.dim() == 4 else tensor[None]
            if tensor.shape[-3] != channels:
                raise ConfigError(
                    f"{control.name} has {tensor.shape[-3]} channels; this model's images have {channels}"
                )
        return found

    def _fitted(self, picture: str | Path | Image.Image | np.ndarray, name: str, entry: str) -> Tensor:
        """A picture for a control of that name, like those of a batch entry: its middle square, in their size."""
        label, encoding = str(picture) if isinstance(picture, str | Path) else name, self._encoding(entry)
        pixels = encoding.decode(_read(picture, label, encoding), label)
        size = self.method.image_size() or 0
        pixels = Augment(size, size, "center_square").still(
            image.with_channels(pixels, self.method.channels()[entry], label)
        )
        return torch.from_numpy(image.to_unit(np.ascontiguousarray(pixels.transpose(2, 0, 1))))

    def _encoding(self, entry: str) -> Encoding:
        """What the values in files of a batch entry mean."""
        stored = self.images.entries.get(entry) if self.images else None
        return stored.encoding if stored else PLAIN

    def read(self, path: str | Path, **controls: Any) -> np.ndarray:
        """The pixels (H, W, C) of a source file as this model takes them: with alpha, or as class ids. ImageError."""
        return image.read(path, self.adapter(controls).source_encoding.kind)

    def array(
        self, pixels: np.ndarray, label: str = "array", dtype: np.dtype[Any] | None = None, **controls: Any
    ) -> np.ndarray:
        """(H, W, C) to (H, W, C'), of this dtype or else the same; `label` names the image in errors."""
        return self._arrays(pixels, [controls], label, dtype or self.adapter(controls).dtype_of_arrays(pixels.dtype))[0]

    def translated(
        self, pixels: np.ndarray, choices: Sequence[Mapping[str, Any]], label: str = "array"
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the part of an image (H, W, C) that `options` chooses, and its translation under each of the controls.

        All are (C, H, W) in [-1, 1]. At the scale of training, translations are resized back. ImageError, ConfigError.
        """
        adapter = self.adapter(choices[0])
        self._warn("half", adapter.half_warning(*pixels.shape[:2]))
        self.check_scale([pixels.shape[:2]], choices[0])
        pixels = adapter.source_encoding.decode(adapter.cut(pixels), label)
        x = self.unit(pixels, label, choices[0])
        if self.options.scale == "image":
            return x, self.tensors(x, choices, label)
        height, width = (self.method.traits.upscale_factor * side for side in pixels.shape[:2])
        made = self.tensors(self.unit(adapter.resized(pixels, label), label, choices[0]), choices, label)
        return x, [resize_unit(each, height, width) for each in made]

    def adapter(self, controls: Mapping[str, Any]) -> Adapter:
        """What fits files to the source of the route of these controls, and translations to its target. ConfigError."""
        self._check(controls)
        route = self._route(controls)
        return Adapter(self.images, self.options, route.source, route.target)

    def check_scale(
        self, sizes: Sequence[tuple[int, int]], controls: Mapping[str, Any], *, are_all: bool = False
    ) -> None:
        """Warn once if files of these heights and widths are not at the scale of training, by their median.

        `are_all` says that there will be no others, so that none of them is warned about by itself.
        """
        if not self.method.traits.fixed_size:  # which resizes them all
            self._warn("scale", self.adapter(controls).scale_warning(sizes))
        if are_all:
            self._warned.add("scale")

    def _warn(self, kind: str, warning: str) -> None:
        """Give a warning, of each kind once."""
        if warning and kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(warning, stacklevel=4)

    def unit(self, pixels: np.ndarray, label: str, controls: Mapping[str, Any]) -> Tensor:
        """Decoded pixels (H, W, C) as the networks take them under these controls: (C', H, W) in [-1, 1]."""
        unit = image.to_unit(image.with_channels(pixels, self.channels_in(controls), label))
        return torch.from_numpy(np.ascontiguousarray(unit.transpose(2, 0, 1)))

    def _arrays(
        self, pixels: np.ndarray, choices: Sequence[Mapping[str, Any]], label: str, dtype: np.dtype[Any]
    ) -> list[np.ndarray]:
        _, made = self.translated(pixels, choices, label)
        encoding = self.adapter(choices[0]).target_encoding
        return [encoding.encode(each.numpy().transpose(1, 2, 0), dtype) for each in made]

    def tensor(self, x: Tensor, label: str = "tensor", **controls: Any) -> Tensor:
        """(C, H, W) or (N, C, H, W) in [-1, 1] to the same on the CPU, float32; `label` names it in ImageErrors."""
        return self.tensors(checked_tensor(x, label), [controls], label)[0]

    def tensors(self, x: Tensor, choices: Sequence[Mapping[str, Any]], label: str = "tensor") -> list[Tensor]:
        """As `tensor`, under each of several controls; what they have in common is done once."""
        for controls in choices:
            self._check(controls)
            self._route(controls)
        is_map = self.adapter(choices[0]).source_encoding.num_classes is not None
        batch = self._in_its_size(x if x.dim() == 4 else x[None], is_map)
        height, width = batch.shape[-2:]
        padded = pad(pad(batch, -2, self.method.traits.size_multiple), -1, self.method.traits.size_multiple)
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
        if not all(bool(each.isfinite().all()) for each in made):
            raise ImageError(
                f"{label}: the {self.name} model gives values that are not finite (NaN): its weights are damaged, or "
                f"its training diverged"
            )
        top, left = ((big - small) // 2 for big, small in zip(padded.shape[-2:], (height, width), strict=True))
        top, left, height, width = (self.method.traits.upscale_factor * each for each in (top, left, height, width))
        made = [each[..., top : top + height, left : left + width] for each in made]
        return made if x.dim() == 4 else [each[0] for each in made]

    def _in_its_size(self, x: Tensor, is_map: bool) -> Tensor:
        """Images as they are, or squashed to the one size that the method takes, as training images are."""
        if not self.method.traits.fixed_size:
            return x
        side = self.method.image_size() or 0
        if x.shape[-2:] == (side, side):
            return x
        if is_map:
            return F.interpolate(x.float(), (side, side), mode="nearest-exact")
        resized = F.interpolate(x.float(), (side, side), mode="bicubic", antialias=True, align_corners=False)
        return resized.clamp(-1, 1)

    def save(self, folder: Path | str) -> Path:
        """A model folder: `model.safetensors`, `config.json` and a card, for `load` and for hubs. OSError."""
        model_folder.write(Path(folder), self.method, self.name, self.networks, self.notes, self.images)
        return Path(folder)

    def _each(self, picture: Picture, choices: Sequence[Mapping[str, Any]]) -> list[Any]:
        """One image under each of several controls, which are `ready`, in its own kind."""
        if isinstance(picture, Tensor):
            return self.tensors(checked_tensor(picture, "tensor"), choices)
        if isinstance(picture, np.ndarray):
            encoding, channels = self.adapter(choices[0]).source_encoding, self.channels_in(choices[0])
            pixels = with_or_without_alpha(image.as_pixels(picture), encoding.alpha, channels)
            return self._arrays(pixels, choices, "array", self.adapter(choices[0]).dtype_of_arrays(pixels.dtype))
        label, adapter = "image" if isinstance(picture, Image.Image) else str(picture), self.adapter(choices[0])
        pixels, encoding = _read(picture, label, adapter.source_encoding), adapter.target_encoding
        made = self._arrays(pixels, choices, label, adapter.dtype_of_files(pixels.dtype))
        kept = metadata.of_picture(picture) if isinstance(picture, Image.Image) else metadata.of_file(picture)
        return [_as_pil(each, encoding, kept) for each in made]

    def channels_in(self, controls: Mapping[str, Any]) -> int:
        """Channels of the input under these controls."""
        return self.method.channels()[self._route(controls).source]

    def channels_out(self, controls: Mapping[str, Any]) -> int:
        """Channels of the output under these controls; ConfigError if there are no such controls."""
        self._check(controls)
        return self.method.channels()[self._route(controls).target]

    def _route(self, controls: Mapping[str, Any]) -> Route:
        if not self.method.routes:
            raise ConfigError(
                f"{self.name} translates no images" + (": see `diptych sample`" * self.method.traits.unconditional)
            )
        fitting = [route for route in self.method.routes if route.controls.items() <= controls.items()]
        return max(fitting or self.method.routes[:1], key=lambda route: len(route.controls))

    def _check(self, controls: Mapping[str, Any]) -> None:
        for name, value in controls.items():
            control = self._control(name)
            if control.choices and value not in control.choices:
                raise ConfigError(f"{name}={value!r}: choose one of {', '.join(control.choices)}")
            kind = type(control.default)
            if not control.image and not isinstance(value, NUMBERS.get(kind, kind)):
                raise ConfigError(f"{name}={value!r}: {kind.__name__} wanted")

    def _control(self, name: str) -> Control:
        known = {control.name: control for control in self.controls}
        if name not in known:
            raise ConfigError(
                f"{self.name} has no control {name!r}{nearest(name, known)}; it has {', '.join(known) or 'none'}"
            )
        return known[name]


def _read(picture: str | Path | Image.Image | np.ndarray, label: str, encoding: Encoding) -> np.ndarray:
    """The pixels (H, W, C) of a picture of a person's, as its encoding takes them. ImageError."""
    if isinstance(picture, np.ndarray):
        return image.as_pixels(picture, label)
    if isinstance(picture, Image.Image):
        return image.from_pil(picture, label, encoding.kind)
    return image.read(picture, encoding.kind)


def _as_pil(pixels: np.ndarray, encoding: Encoding, kept: Metadata = NOTHING) -> Image.Image | np.ndarray:
    """As a PIL image with this metadata, or as it is where PIL has no such image."""
    channels = pixels.shape[-1]
    if pixels.dtype != np.uint8 or channels not in ((1, 3, 4) if encoding.alpha else (1, 3)):
        return pixels
    picture = image.to_pil(pixels)
    picture.info.update(kept.for_pixels(encoding.num_classes is not None).pil_info(channels))
    return picture
