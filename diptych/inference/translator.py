"""Translation of images with a trained method, computed by PyTorch.

import diptych
translator = diptych.load("runs/facades")
translator("label.png").save("photo.png")
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diptych.contract import Method
from diptych.data.image_format import TrainingImages
from diptych.errors import ConfigError, ImageError
from diptych.inference import model_folder
from diptych.inference.image_translator import NOT_FINITE, Controls, ImageTranslator
from diptych.inference.preprocessing import DEFAULT, Options
from diptych.networks import user_code
from diptych.networks.layers import pad_to_multiple, remove_padding
from diptych.system.distributed import choose_device
from diptych.system.hardware import is_out_of_memory

if TYPE_CHECKING:
    from diptych.inference.onnx_export import Exported

OVERSHOOT = 1.5  # of tensors in [-1, 1] that were resized by a filter
SET_MULTIPLE = "; if it halves sizes, set `size_multiple = N` in the class: 2 for one halving, 4 for two, 8 for three"


@dataclass
class Translator(ImageTranslator):
    """Translates images of any size: pads them by reflection to a size that the networks accept, and crops the output.

    The output of a super-resolution method is `traits.upscale_factor` times as high and wide. A method of fixed size
    resizes its input to that size. Beside the images of `ImageTranslator`, it translates tensors.
    """

    method: Method = field(repr=False)  # whose text has all layers
    name: str
    networks: tuple[str, ...]
    notes: dict[str, Any]
    device: torch.device = torch.device("cpu")
    images: TrainingImages | None = None  # how the training images were stored, if known
    options: Options = DEFAULT
    _warned: set[str] = field(default_factory=set, init=False, repr=False)
    _pictures: ClassVar[tuple[type, ...]] = (*ImageTranslator._pictures, Tensor)
    _kinds: ClassVar[str] = "path, PIL image, array or tensor"

    @property
    def model(self) -> Method:
        """The method, which describes its controls, routes, traits and channels."""
        return self.method

    @property
    def method_name(self) -> str:
        return self.name

    def to(self, device: str) -> "Translator":
        """Move the networks to a device and return the translator."""
        self.device = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
        self.method.to(self.device)
        return self

    def sample_tensor(self, numbers: range, seed: int = 0, **controls: Any) -> Tensor:
        """Return the generated images of these numbers: (N, C, H, W) in [-1, 1] on the CPU."""
        self._check_generates(controls)
        return self.method.sample(numbers, seed, **controls).float().cpu().clamp(-1, 1)

    def _sample_unit(self, numbers: range, seed: int, controls: Controls) -> np.ndarray:
        return self.sample_tensor(numbers, seed, **controls).numpy()

    def _control_batch(self, value: Any, name: str, entry: str) -> Tensor:
        """Return the image of a control as a tensor (N, C, size, size); a tensor is returned as a batch."""
        tensor = value if isinstance(value, Tensor) else torch.from_numpy(self._load_control_image(value, name, entry))
        return tensor if tensor.dim() == 4 else tensor[None]

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

    def to_unit_tensor(self, pixels: np.ndarray, label: str, controls: Controls) -> Tensor:
        """Return decoded pixels (H, W, C) as network input for these controls: (C', H, W) in [-1, 1]."""
        return torch.from_numpy(self._to_unit(pixels, label, controls))

    def _translate_unit(self, x: np.ndarray, choices: Sequence[Controls], label: str) -> list[np.ndarray]:
        return [y.numpy() for y in self.tensors(torch.from_numpy(x), choices, label)]

    def translate_batch(self, x: np.ndarray, label: str = "batch", **controls: Any) -> np.ndarray:
        return self.tensors(torch.from_numpy(x), [controls], label)[0].numpy()

    def _translate_each(self, picture: Any, choices: Sequence[Controls]) -> list[Any]:
        if isinstance(picture, Tensor):
            return self.tensors(check_tensor(picture, "tensor"), choices)
        return super()._translate_each(picture, choices)

    def _resized(self, x: np.ndarray, height: int, width: int) -> np.ndarray:
        return resize_unit(torch.from_numpy(x), height, width).numpy()

    def tensor(self, x: Tensor, label: str = "tensor", **controls: Any) -> Tensor:
        """Return the translation of (C, H, W) or (N, C, H, W) in [-1, 1], float32 on the CPU; `label` is for errors."""
        return self.tensors(check_tensor(x, label), [controls], label)[0]

    def tensors(self, x: Tensor, choices: Sequence[Mapping[str, Any]], label: str = "tensor") -> list[Tensor]:
        """Return the translation for each choice of controls, as `tensor` does; shared computation is done once."""
        for controls in choices:
            self._check(controls)
            self._route(controls)
        channels = self.channels_in(choices[0])
        if x.shape[-3] != channels:
            raise ImageError(f"{label}: has {x.shape[-3]} channels; {self.name} takes {channels}: (C, H, W) in [-1, 1]")
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
            raise ImageError(NOT_FINITE.format(label, self.name))
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
        translations = [y.float().cpu() for y in translations]
        return [y.clamp(-1, 1) for y in translations] if self.method.clamp_outputs else translations

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

    def export_onnx(self, path: Path | str, **options: Any) -> "Exported":
        """Write the networks as an ONNX file `path`, with companions beside it. Raises ConfigError, DataError, OSError.

        Options are `name`, `precision` ("fp32", "fp16" or "int8"), `calibrate`, the folder of images that int8 needs,
        and controls that select a network, such as `direction`.
        """
        from diptych.inference.onnx_export import export_onnx

        own = {key: options.pop(key) for key in ("name", "precision", "calibrate") if key in options}
        return export_onnx(self, Path(path), controls=options, **own)

    def save(self, folder: Path | str) -> Path:
        """Write a model folder: `model.safetensors`, `config.json` and a model card. Raises OSError."""
        model_folder.write(Path(folder), self.method, self.name, self.networks, self.notes, self.images)
        return Path(folder)

    @classmethod
    def from_pretrained(cls, source: str | Path, **options: Any) -> "Translator":
        """Return `diptych.load(source, **options)`: a translator from a hub id, a run folder or a model folder."""
        from diptych.inference.load import load

        return load(source, **options)

    def push_to_hub(self, repository: str, *, license: str = "", **options: Any) -> str:
        """Upload the model with a model card and return its hub id with the commit; options of `hub_card.push`."""
        from diptych.inference.hub_card import push

        return push(self, repository, license=license, **options)


def check_tensor(x: Tensor, label: str) -> Tensor:
    """Return `x`. Raises ImageError unless it is (C, H, W) or (N, C, H, W) of finite floats near [-1, 1]."""
    if x.dim() not in (3, 4) or not x.numel():
        raise ImageError(
            f"{label}: has the shape {tuple(x.shape)}; expected (C, H, W) or (N, C, H, W), none of them zero"
        )
    if not x.is_floating_point():
        raise ImageError(f"{label}: holds {x.dtype}; expected floats in [-1, 1]: x / 127.5 - 1 for values of 0 to 255")
    low, high = float(x.min()), float(x.max())
    if not (low >= -OVERSHOOT and high <= OVERSHOOT):  # NaN fails this too
        raise ImageError(f"{label}: holds values from {low:g} to {high:g}; expected -1 to 1")
    return x


def resize_unit(x: Tensor, height: int, width: int) -> Tensor:
    """Return (C, H, W) in [-1, 1] resized to (C, height, width) by an antialiased bicubic filter."""
    if x.shape[-2:] == (height, width):
        return x
    resized = F.interpolate(x[None], (height, width), mode="bicubic", antialias=True, align_corners=False)
    return resized[0].clamp(-1, 1)
