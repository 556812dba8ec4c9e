"""Translation of images with a trained method.

import diptych
translator = diptych.load("runs/facades")
translator("label.png").save("photo.png")
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from diptych.contract import Control, Method, Route
from diptych.data.config import Interpolation
from diptych.data.image_format import TrainingImages
from diptych.data.images import image_io as image
from diptych.data.images import metadata
from diptych.data.images.encoding import PLAIN, Encoding
from diptych.data.images.transforms import Augment
from diptych.errors import ConfigError, ImageError
from diptych.inference import model_folder
from diptych.inference.controls import check_controls, find_control, select_route
from diptych.inference.preprocessing import (
    DEFAULT,
    Adapter,
    Options,
    as_pil,
    check_tensor,
    match_alpha,
    read_pixels,
    resize_unit,
)
from diptych.networks import user_code
from diptych.networks.layers import pad_to_multiple, remove_padding
from diptych.settings.validate import checked
from diptych.system.distributed import choose_device
from diptych.system.hardware import is_out_of_memory

Picture = str | Path | Image.Image | np.ndarray | Tensor
SET_MULTIPLE = "; if it halves sizes, set `size_multiple = N` in the class: 2 for one halving, 4 for two, 8 for three"


@dataclass
class Translator:
    """Translates images of any size: pads them by reflection to a size that the networks accept, and crops the output.

    The output of a super-resolution method is `traits.upscale_factor` times as high and wide. A method of fixed size
    resizes its input to that size. `with_options` sets the scale, the half of side-by-side images and the bit depth.
    """

    method: Method = field(repr=False)  # whose text has all layers
    name: str
    networks: tuple[str, ...]
    notes: dict[str, Any]
    device: torch.device = torch.device("cpu")
    images: TrainingImages | None = None  # how the training images were stored, if known
    options: Options = DEFAULT
    _warned: set[str] = field(default_factory=set, init=False, repr=False)

    @property
    def controls(self) -> tuple[Control, ...]:
        """The controls of the method, such as the domain or the seed."""
        return self.method.controls

    def to(self, device: str) -> "Translator":
        """Move the networks to a device and return the translator."""
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
        """Return the translation of an image, or a list for several images, in the same type and size.

        A path or PIL image gives a PIL image, in the depth of the training images of the target domain where that is
        known (an array where PIL has no such image: 16 bit, or other than 1 or 3 channels); an array (H, W, C) gives an
        array of its dtype, unless `options` has a depth; a tensor (C, H, W) or (N, C, H, W) in [-1, 1] gives
        a tensor in [-1, 1]. A control that is an image takes the same kinds; a file is brought to the size that the
        network needs, a tensor must have it. Raises ImageError, or ConfigError for a control that does not exist.
        """
        controls = self.prepare_controls(controls)  # once: a reference is read and resized
        if isinstance(images, str | Path | Image.Image | np.ndarray | Tensor):
            return self._translate_each(images, [controls])[0]
        if isinstance(images, bytes | Mapping) or not isinstance(images, Iterable):
            raise ImageError(
                f"{type(images).__name__}: expected a path, PIL image, array or tensor, or several of them"
            )
        return [self._translate_each(picture, [controls])[0] for picture in images]

    def sample(self, count: int, seed: int = 0, first: int = 0, **controls: Any) -> list[Any]:
        """Return generated images, from number `first` on: PIL images, or arrays (H, W, C) if PIL lacks the format.

        The image of a number and seed is always the same. Raises ConfigError if the method does not generate images.
        """
        samples = self.sample_tensor(range(first, first + count), seed, **controls)
        encoding = self._encoding(next(iter(self.method.channels())))
        arrays = [encoding.encode(sample.permute(1, 2, 0).numpy(), np.uint8) for sample in samples]
        return [as_pil(array, encoding) for array in arrays]

    def sample_tensor(self, numbers: range, seed: int = 0, **controls: Any) -> Tensor:
        """Return the generated images of these numbers: (N, C, H, W) in [-1, 1] on the CPU."""
        if not self.method.traits.unconditional:
            raise ConfigError(
                f"{self.name} does not generate images from noise: give it images, with `diptych translate`"
            )
        self._check(controls)
        return self.method.sample(numbers, seed, **controls).float().cpu().clamp(-1, 1)

    def all_domains(self, image: Picture, **controls: Any) -> dict[str, Any]:
        """Return the translation of one image to each domain, by name. ConfigError if the method has no domains."""
        self._refuse_control("domain", controls)
        controls = self.prepare_controls(controls)
        names = self.choices("domain")
        translations = self._translate_each(image, [{**controls, "domain": name} for name in names])
        return dict(zip(names, translations, strict=True))

    def _refuse_control(self, name: str, controls: Mapping[str, Any]) -> None:
        if controls.get(name) is not None:
            raise ConfigError(f"{name} selects one, but all are requested: leave it out")

    def choices(self, name: str) -> tuple[str, ...]:
        """Return the valid values of a control. Raises ConfigError if there is no such control."""
        return self._control(name).choices

    def styles(self, image: Picture, count: int, **controls: Any) -> list[Any]:
        """Return one image in `count` styles, of the seeds from `seed` on. ConfigError if the method has no seeds."""
        self._refuse_control("reference", controls)
        if count < 1:
            raise ConfigError(f"{count} styles: expected at least 1")
        first = controls.pop("seed", self._control("seed").default)
        self._check({"seed": first})
        return self._translate_each(image, [{**controls, "seed": first + number} for number in range(count)])

    def prepare_controls(self, controls: Mapping[str, Any]) -> dict[str, Any]:
        """Return the controls with images as tensors (N, C, size, size). Raises ConfigError or ImageError."""
        prepared = dict(controls)
        for control in self.controls:
            value = controls.get(control.name)
            if not control.image or value is None:
                continue
            entry = control.entry(self._route(controls))
            channels = self.method.channels()[entry]
            tensor = value if isinstance(value, Tensor) else self._load_control_image(value, control.name, entry)
            prepared[control.name] = tensor if tensor.dim() == 4 else tensor[None]
            if tensor.shape[-3] != channels:
                raise ConfigError(
                    f"{control.name} has {tensor.shape[-3]} channels; this model's images have {channels}"
                )
        return prepared

    def _load_control_image(self, picture: str | Path | Image.Image | np.ndarray, name: str, entry: str) -> Tensor:
        """Return an image for a control as (C, size, size) in [-1, 1]: the center square at the training size."""
        label, encoding = str(picture) if isinstance(picture, str | Path) else name, self._encoding(entry)
        pixels = encoding.decode(read_pixels(picture, label, encoding), label)
        size = self.method.image_size() or 0
        pixels = Augment(size, size, "center_square", interpolation=self.interpolation).without_randomness(
            image.with_channels(pixels, self.method.channels()[entry], label)
        )
        return torch.from_numpy(image.to_unit(np.ascontiguousarray(pixels.transpose(2, 0, 1))))

    @property
    def interpolation(self) -> Interpolation:
        """The filter that resized the training images; if that is not known, the method's default."""
        default: Interpolation = self.method.data_defaults.get("interpolation", "bicubic")
        return self.images.interpolation if self.images else default

    def _encoding(self, entry: str) -> Encoding:
        """Return the encoding of values in files of a batch entry."""
        stored = self.images.entries.get(entry) if self.images else None
        return stored.encoding if stored else PLAIN

    def read(self, path: str | Path, **controls: Any) -> np.ndarray:
        """Return the pixels (H, W, C) of a source file, with alpha or class ids as in training. Raises ImageError."""
        return image.read(path, self.adapter(controls).source_encoding.kind)

    def array(
        self, pixels: np.ndarray, label: str = "array", dtype: np.dtype[Any] | None = None, **controls: Any
    ) -> np.ndarray:
        """Return the translation of (H, W, C) as (H, W, C'), by default of its dtype; `label` names it in errors."""
        return self._arrays(pixels, [controls], label, dtype or self.adapter(controls).dtype_of_arrays(pixels.dtype))[0]

    def translate_pixels(
        self, pixels: np.ndarray, choices: Sequence[Mapping[str, Any]], label: str = "array"
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the part of an image (H, W, C) that `options` selects, and its translation for each of the controls.

        All are (C, H, W) in [-1, 1]. At the scale of training, translations are resized back. ImageError, ConfigError.
        """
        adapter = self.adapter(choices[0])
        self._warn("half", adapter.half_warning(*pixels.shape[:2]))
        self.check_scale([pixels.shape[:2]], choices[0])
        pixels = adapter.source_encoding.decode(adapter.cut(pixels), label)
        x = self.to_unit_tensor(pixels, label, choices[0])
        if self.options.scale == "image":
            return x, self.tensors(x, choices, label)
        height, width = (self.method.traits.upscale_factor * side for side in pixels.shape[:2])
        at_training_scale = self.to_unit_tensor(adapter.resized(pixels, label), label, choices[0])
        translations = self.tensors(at_training_scale, choices, label)
        return x, [resize_unit(y, height, width) for y in translations]

    def translate_large(
        self, source: Any, sink: Any = None, *, tile: int | None = None, samples: int = 16, **options: Any
    ) -> np.ndarray | None:
        """Translate an image of any size in tiles, in bounded memory: see `inference.large_files.translate_large`.

        `source` and `sink` are paths, arrays (H, W, C), or a `Source` and a `Sink`; without a sink the translation is
        returned. It does not depend on `tile`. `options` are `statistics`, `foreground` and `progress` as there, and
        controls of the method. Raises ImageError, ConfigError.
        """
        from diptych.inference.large_files import translate_large

        return translate_large(self, source, sink, tile=tile, samples=samples, **options)

    def reach(self, **controls: Any) -> int:
        """Return how many pixels to either side of it an output sees; statistics of norms apart. ConfigError."""
        from diptych.inference.receptive_field import reach

        return reach(self.method, self.channels_in(controls), self.prepare_controls(controls))

    def adapter(self, controls: Mapping[str, Any]) -> Adapter:
        """Return the adapter for the source and target of these controls. Raises ConfigError."""
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
        """Issue a warning, once for each kind."""
        if warning and kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(warning, stacklevel=4)

    def to_unit_tensor(self, pixels: np.ndarray, label: str, controls: Mapping[str, Any]) -> Tensor:
        """Return decoded pixels (H, W, C) as network input for these controls: (C', H, W) in [-1, 1]."""
        unit = image.to_unit(image.with_channels(pixels, self.channels_in(controls), label))
        return torch.from_numpy(np.ascontiguousarray(unit.transpose(2, 0, 1)))

    def _arrays(
        self, pixels: np.ndarray, choices: Sequence[Mapping[str, Any]], label: str, dtype: np.dtype[Any]
    ) -> list[np.ndarray]:
        _, translations = self.translate_pixels(pixels, choices, label)
        encoding = self.adapter(choices[0]).target_encoding
        return [encoding.encode(y.numpy().transpose(1, 2, 0), dtype) for y in translations]

    def tensor(self, x: Tensor, label: str = "tensor", **controls: Any) -> Tensor:
        """Return the translation of (C, H, W) or (N, C, H, W) in [-1, 1], float32 on the CPU; `label` is for errors."""
        return self.tensors(check_tensor(x, label), [controls], label)[0]

    def tensors(self, x: Tensor, choices: Sequence[Mapping[str, Any]], label: str = "tensor") -> list[Tensor]:
        """Return the translation for each choice of controls, as `tensor` does; shared computation is done once."""
        for controls in choices:
            self._check(controls)
            self._route(controls)
        is_map = self.adapter(choices[0]).source_encoding.num_classes is not None
        batch = self._resize_to_fixed_size(x if x.dim() == 4 else x[None], is_map)
        height, width = batch.shape[-2:]
        padded = pad_to_multiple(batch, self.method.traits.size_multiple)
        try:
            translations = self._run_networks(padded, choices)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                problem = f"{label}: {width}x{height} pixels do not fit into memory: give --tile auto"
                raise ImageError(problem) from error
            if own := user_code.named_in(vars(self.method.config)):
                side = f"{padded.shape[-1]}x{padded.shape[-2]}"
                raise ConfigError(f"{own} failed on {side} pixels ({error}){SET_MULTIPLE}") from error
            raise
        self._check_sizes(padded, translations)
        if not all(bool(y.isfinite().all()) for y in translations):
            raise ImageError(
                f"{label}: the {self.name} model returns values that are not finite (NaN): its weights are damaged, or "
                f"its training diverged"
            )
        factor = self.method.traits.upscale_factor
        translations = [remove_padding(y, height, width, factor) for y in translations]
        return translations if x.dim() == 4 else [y[0] for y in translations]

    def _run_networks(self, x: Tensor, choices: Sequence[Mapping[str, Any]]) -> list[Tensor]:
        """Return the method's translations of (N, C, H, W), computed on the device, as float32 on the CPU."""
        on_device = [
            {name: value.to(self.device) if isinstance(value, Tensor) else value for name, value in controls.items()}
            for controls in choices
        ]
        translations = self.method.translate_each(x.to(self.device, torch.float32), on_device)
        return [y.float().cpu().clamp(-1, 1) for y in translations]

    def _check_sizes(self, padded: Tensor, translations: Sequence[Tensor]) -> None:
        """Raise ConfigError if a translation is not of the size of the padded images times the upscale factor."""
        height, width = (self.method.traits.upscale_factor * side for side in padded.shape[-2:])
        for y in translations:
            if y.shape[-2:] != (height, width):
                own = user_code.named_in(vars(self.method.config))
                remedy = SET_MULTIPLE if own else "; correct its traits.size_multiple or traits.upscale_factor"
                raise ConfigError(
                    f"{own or self.name} returned images of shape {tuple(y.shape)} from {tuple(padded.shape)}: "
                    f"expected a height and width of {height}x{width}{remedy}"
                )

    def _resize_to_fixed_size(self, x: Tensor, is_map: bool) -> Tensor:
        """Return the images, resized to the training size if the method has a fixed size."""
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
        """Write a model folder: `model.safetensors`, `config.json` and a model card. Raises OSError."""
        model_folder.write(Path(folder), self.method, self.name, self.networks, self.notes, self.images)
        return Path(folder)

    def _translate_each(self, picture: Picture, choices: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Return the translations of one image for each choice of prepared controls, in the type of the image."""
        if isinstance(picture, Tensor):
            return self.tensors(check_tensor(picture, "tensor"), choices)
        if isinstance(picture, np.ndarray):
            encoding, channels = self.adapter(choices[0]).source_encoding, self.channels_in(choices[0])
            pixels = match_alpha(image.as_pixels(picture), encoding.alpha, channels)
            return self._arrays(pixels, choices, "array", self.adapter(choices[0]).dtype_of_arrays(pixels.dtype))
        label, adapter = "image" if isinstance(picture, Image.Image) else str(picture), self.adapter(choices[0])
        pixels = read_pixels(picture, label, adapter.source_encoding)
        arrays = self._arrays(pixels, choices, label, adapter.dtype_of_files(pixels.dtype))
        if isinstance(picture, Image.Image):
            kept = metadata.metadata_of_image(picture)
        else:
            kept = metadata.read_metadata(picture)
        return [as_pil(array, adapter.target_encoding, kept) for array in arrays]

    def channels_in(self, controls: Mapping[str, Any]) -> int:
        """Return the number of input channels for these controls."""
        return self.method.channels()[self._route(controls).source]

    def channels_out(self, controls: Mapping[str, Any]) -> int:
        """Return the number of output channels for these controls. Raises ConfigError for invalid controls."""
        self._check(controls)
        return self.method.channels()[self._route(controls).target]

    def _route(self, controls: Mapping[str, Any]) -> Route:
        return select_route(self.method, self.name, controls)

    def _check(self, controls: Mapping[str, Any]) -> None:
        check_controls(self.method, self.name, controls)

    def _control(self, name: str) -> Control:
        return find_control(self.method, self.name, name)
