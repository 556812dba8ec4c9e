"""Translation of images with a trained model, apart from its networks: files, encodings, options and controls.

`Translator` computes with PyTorch, `OnnxTranslator` with onnxruntime. Nothing here imports torch.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from PIL import Image

from diptych.contract import Control, Route, TranslationModel
from diptych.data.config import Interpolation
from diptych.data.image_format import TrainingImages
from diptych.data.images import image_io as image
from diptych.data.images import metadata
from diptych.data.images.encoding import PLAIN, Encoding
from diptych.errors import ConfigError, ImageError
from diptych.inference.controls import check_controls, find_control, parse_controls, select_route
from diptych.inference.preprocessing import Adapter, Options, as_pil, match_alpha, read_pixels
from diptych.settings.validate import checked

Picture = str | Path | Image.Image | np.ndarray
Controls = Mapping[str, Any]
NOT_FINITE = (
    "{}: the {} model returns values that are not finite (NaN): its weights are damaged, or its training diverged"
)


class ImageTranslator(ABC):
    """Translates images of any size by the networks of a subclass.

    A subclass translates arrays (C, H, W) in [-1, 1], for one or more choices of controls. `with_options` sets the
    scale, the half of side-by-side images and the bit depth.
    """

    name: str
    images: TrainingImages | None  # how the training images were stored, if known
    options: Options
    _warned: set[str]  # kinds of warnings that were issued
    _pictures: ClassVar[tuple[type, ...]] = (str, Path, Image.Image, np.ndarray)  # types of images
    _kinds: ClassVar[str] = "path, PIL image or array"

    @property
    @abstractmethod
    def model(self) -> TranslationModel:
        """The controls, routes, traits and channels of the networks."""

    @property
    @abstractmethod
    def method_name(self) -> str:
        """The name of the method, such as `cyclegan`."""

    @abstractmethod
    def _translate_unit(self, x: np.ndarray, choices: Sequence[Controls], label: str) -> list[np.ndarray]:
        """Return the translation of (C, H, W) for each of the prepared controls, float32 in [-1, 1]."""

    @abstractmethod
    def _sample_unit(self, numbers: range, seed: int, controls: Controls) -> np.ndarray:
        """Return generated images (N, C, H, W), float32 in [-1, 1]."""

    @property
    def controls(self) -> tuple[Control, ...]:
        """The controls of the model, such as the domain or the seed."""
        return self.model.controls

    def with_options(self, **options: Any) -> Self:
        """Return a translator of the same networks with other `options`, as of `preprocessing.Options`. ConfigError.

        `scale="training"` resizes images as training did, and translations back. `half` is "left", "right", "none", or
        "auto": the source half of images that are side by side as the training images were. `depth` is 8, 16 or "float"
        (within 0..1). A model of a task such as `edges` computes its source from a photograph, unless `already_source`.
        They apply to files, PIL images and arrays; tensors are translated as they are.
        """
        other = copy(self)
        other.options = checked(Options, {**self.options.model_dump(), **options}, "options")
        other._warned = set()
        return other

    def __call__(self, images: Any, **controls: Any) -> Any:
        """Return the translation of an image, or a list for several images, in the same type and size.

        A path or PIL image gives a PIL image, in the depth of the training images of the target domain where that is
        known (an array where PIL has no such image: 16 bit, or other than 1 or 3 channels); an array (H, W, C) gives an
        array of its dtype, unless `options` has a depth. With PyTorch, a tensor (C, H, W) or (N, C, H, W) in [-1, 1]
        gives a tensor in [-1, 1]. A control that is an image takes the same kinds; a file is brought to the size that
        the network needs, a tensor must have it. Raises ImageError, or ConfigError for a control that does not exist.
        """
        controls = self.prepare_controls(controls)  # once: a reference is read and resized
        if isinstance(images, self._pictures):
            return self._translate_each(images, [controls])[0]
        if isinstance(images, bytes | Mapping) or not isinstance(images, Iterable):
            raise self._not_a_picture(images)
        return [self._translate_each(picture, [controls])[0] for picture in images]

    def _not_a_picture(self, value: object) -> ImageError:
        return ImageError(f"{type(value).__name__}: expected a {self._kinds}, or several of them")

    def sample(self, count: int, seed: int = 0, first: int = 0, **controls: Any) -> list[Any]:
        """Return generated images, from number `first` on: PIL images, or arrays (H, W, C) if PIL lacks the format.

        The image of a number and seed is always the same. Raises ConfigError if the model does not generate images.
        """
        self._check_generates(controls)
        samples = self._sample_unit(range(first, first + count), seed, controls)
        encoding = self.encoding_of_samples
        return [as_pil(encoding.encode(sample.transpose(1, 2, 0), np.uint8), encoding) for sample in samples]

    @property
    def encoding_of_samples(self) -> Encoding:
        """The encoding of the values of generated images in files."""
        return self._encoding(next(iter(self.model.channels())))

    def _check_generates(self, controls: Controls) -> None:
        """Raise ConfigError if the model does not generate images from noise, or for invalid controls."""
        if not self.model.traits.unconditional:
            raise ConfigError(
                f"{self.name} does not generate images from noise: give it images, with `diptych translate`"
            )
        self._check(controls)

    def all_domains(self, image: Any, **controls: Any) -> dict[str, Any]:
        """Return the translation of one image to each domain, by name. ConfigError if the model has no domains."""
        self._refuse_control("domain", controls)
        controls = self.prepare_controls(controls)
        names = self.choices("domain")
        translations = self._translate_each(image, [{**controls, "domain": name} for name in names])
        return dict(zip(names, translations, strict=True))

    def _refuse_control(self, name: str, controls: Controls) -> None:
        if controls.get(name) is not None:
            raise ConfigError(f"{name} selects one, but all are requested: leave it out")

    def choices(self, name: str) -> tuple[str, ...]:
        """Return the valid values of a control. Raises ConfigError if there is no such control."""
        return self._control(name).choices

    def styles(self, image: Any, count: int, **controls: Any) -> list[Any]:
        """Return the translation of one image in `count` styles, of the seeds from `seed` on.

        Raises ConfigError if the model has no seeds. Warns if they have no effect.
        """
        self._refuse_control("reference", controls)
        if count < 1:
            raise ConfigError(f"{count} styles: expected at least 1")
        first = controls.pop("seed", self._control("seed").default)
        self._check({"seed": first})
        translations = self._translate_each(image, [{**controls, "seed": first + number} for number in range(count)])
        warn_of_equal_styles(translations)
        return translations

    def prepare_controls(self, controls: Controls) -> dict[str, Any]:
        """Return the controls with images as batches (N, C, size, size). Raises ConfigError or ImageError."""
        prepared = dict(controls)
        for control in self.controls:
            value = controls.get(control.name)
            if not control.image or value is None:
                continue
            entry = control.entry(self._route(controls))
            channels = self.model.channels()[entry]
            prepared[control.name] = batch = self._control_batch(value, control.name, entry)
            if batch.shape[-3] != channels:
                raise ConfigError(f"{control.name} has {batch.shape[-3]} channels; this model's images have {channels}")
        return prepared

    def _control_batch(self, value: Any, name: str, entry: str) -> Any:
        """Return the image of a control as a batch of the networks' kind; a batch is returned as it is."""
        is_batch = isinstance(value, np.ndarray) and value.ndim == 4
        return value if is_batch else self._load_control_image(value, name, entry)[None]

    def _load_control_image(self, picture: Picture, name: str, entry: str) -> np.ndarray:
        """Return an image for a control as (C, size, size) in [-1, 1]: the center square at the training size."""
        label, encoding = str(picture) if isinstance(picture, str | Path) else name, self._encoding(entry)
        pixels = encoding.decode(read_pixels(picture, label, encoding.kind), label)
        size = self.model.image_size() or 0
        square = image.center_square(image.with_channels(pixels, self.model.channels()[entry], label))
        resized = image.resize(square, size, size, self.interpolation)
        return image.to_unit(np.ascontiguousarray(resized.transpose(2, 0, 1)))

    @property
    def interpolation(self) -> Interpolation:
        """The filter that resized the training images; if that is not known, the method's default."""
        default: Interpolation = self.model.data_defaults.get("interpolation", "bicubic")
        return self.images.interpolation if self.images else default

    def _encoding(self, entry: str) -> Encoding:
        """Return the encoding of values in files of a batch entry."""
        stored = self.images.entries.get(entry) if self.images else None
        return stored.encoding if stored else PLAIN

    def read(self, path: str | Path | image.StoredFile, **controls: Any) -> np.ndarray:
        """Return the pixels (H, W, C) of a source file, with alpha or class ids as in training. Raises ImageError."""
        return image.read(path, self.adapter(controls).kind)

    def array(
        self, pixels: np.ndarray, label: str = "array", dtype: np.dtype[Any] | None = None, **controls: Any
    ) -> np.ndarray:
        """Return the translation of (H, W, C) as (H, W, C'), by default of its dtype; `label` names it in errors."""
        return self._arrays(pixels, [controls], label, dtype or self.adapter(controls).dtype_of_arrays(pixels.dtype))[0]

    def translate_pixels(
        self, pixels: np.ndarray, choices: Sequence[Controls], label: str = "array"
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the part of an image (H, W, C) that `options` selects, and its translation for each of the controls.

        All are (C, H, W) in [-1, 1]. At the scale of training, translations are resized back. ImageError, ConfigError.
        """
        adapter = self.adapter(choices[0])
        self._warn("half", adapter.half_warning(*pixels.shape[:2]))
        self.check_scale([pixels.shape[:2]], choices[0])
        pixels = adapter.source_encoding.decode(adapter.cut(pixels), label)
        x = self._to_unit(adapter.source_of(pixels), label, choices[0])
        if self.options.scale == "image":
            translations = self._translate_unit(x, choices, label)
        else:
            height, width = (self.model.traits.upscale_factor * side for side in pixels.shape[:2])
            source = adapter.source_of(adapter.resized(pixels, label))
            translations = self._translate_unit(self._to_unit(source, label, choices[0]), choices, label)
            translations = [self._resized(y, height, width) for y in translations]
        return x, [adapter.finished(y, x) for y in translations]

    def network_input(self, pixels: np.ndarray, label: str, **controls: Any) -> np.ndarray:
        """Return the part of an image (H, W, C) that `options` selects as network input: (C', H', W') in [-1, 1]."""
        adapter = self.adapter(controls)
        pixels = adapter.source_encoding.decode(adapter.cut(pixels), label)
        return self._to_unit(adapter.source_of(pixels), label, controls)

    @abstractmethod
    def translate_batch(self, x: np.ndarray, label: str = "batch", **controls: Any) -> np.ndarray:
        """Return the translations of network inputs (N, C, H, W), float32 in [-1, 1], with the same controls.

        They equal those of single images up to rounding errors. `label` is for errors. Raises ImageError, ConfigError.
        """

    def _resized(self, x: np.ndarray, height: int, width: int) -> np.ndarray:
        """Return (C, H, W) in [-1, 1] resized to (C, height, width) by an antialiased bicubic filter."""
        return image.resize_unit(x, height, width)

    def adapter(self, controls: Controls) -> Adapter:
        """Return the adapter for the source and target of these controls. Raises ConfigError."""
        self._check(controls)
        route = self._route(controls)
        return Adapter(self.images, self.options, route.source, route.target)

    def check_scale(self, sizes: Sequence[tuple[int, int]], controls: Controls, *, are_all: bool = False) -> None:
        """Warn once if files of these heights and widths are not at the scale of training, by their median.

        `are_all` says that there will be no others, so that none of them is warned about by itself.
        """
        if not self.model.traits.fixed_size:  # which resizes them all
            self._warn("scale", self.adapter(controls).scale_warning(sizes))
        if are_all:
            self._warned.add("scale")

    def _warn(self, kind: str, warning: str) -> None:
        """Issue a warning, once for each kind."""
        if warning and kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(warning, stacklevel=4)

    def _to_unit(self, pixels: np.ndarray, label: str, controls: Controls) -> np.ndarray:
        """Return decoded pixels (H, W, C) as network input for these controls: (C', H, W) in [-1, 1]."""
        unit = image.to_unit(image.with_channels(pixels, self.channels_in(controls), label))
        return np.ascontiguousarray(unit.transpose(2, 0, 1))

    def _arrays(
        self, pixels: np.ndarray, choices: Sequence[Controls], label: str, dtype: np.dtype[Any]
    ) -> list[np.ndarray]:
        _, translations = self.translate_pixels(pixels, choices, label)
        encoding = self.adapter(choices[0]).target_encoding
        return [encoding.encode(y.transpose(1, 2, 0), dtype) for y in translations]

    def _translate_each(self, picture: Any, choices: Sequence[Controls]) -> list[Any]:
        """Return the translations of one image for each choice of prepared controls, in the type of the image."""
        if not isinstance(picture, Picture):
            raise self._not_a_picture(picture)
        if isinstance(picture, np.ndarray):
            adapter = self.adapter(choices[0])
            pixels = match_alpha(
                image.as_pixels(picture, kind=adapter.kind), adapter.kind, self.channels_in(choices[0])
            )
            return self._arrays(pixels, choices, "array", adapter.dtype_of_arrays(pixels.dtype))
        label, adapter = "image" if isinstance(picture, Image.Image) else str(picture), self.adapter(choices[0])
        pixels = read_pixels(picture, label, adapter.kind)
        arrays = self._arrays(pixels, choices, label, adapter.dtype_of_files(pixels.dtype))
        if isinstance(picture, Image.Image):
            kept = metadata.metadata_of_image(picture)
        else:
            kept = metadata.read_metadata(picture)
        return [as_pil(array, adapter.target_encoding, kept) for array in arrays]

    def channels_in(self, controls: Controls) -> int:
        """Return the number of input channels for these controls."""
        return self.model.channels()[self._route(controls).source]

    def channels_out(self, controls: Controls) -> int:
        """Return the number of channels of translations for these controls. Raises ConfigError for invalid controls."""
        return self.adapter(controls).finished_channels(self.model.channels()[self._route(controls).target])

    def _route(self, controls: Controls) -> Route:
        return select_route(self.model, self.name, controls)

    def parse_controls(self, values: Mapping[str, str]) -> dict[str, Any]:
        """Return controls from text, converted to the type of each control's default. Raises ConfigError."""
        return parse_controls(self.controls, self.name, values)

    def check_control(self, name: str, value: Any) -> None:
        """Raise ConfigError for an unknown control, or a value that it cannot have."""
        self._check({name: value})

    def _check(self, controls: Controls) -> None:
        check_controls(self.controls, self.name, controls)

    def _control(self, name: str) -> Control:
        return find_control(self.controls, self.name, name)


def warn_of_equal_styles(translations: Sequence[Any]) -> None:
    """Warn if the translations of one image in several styles are all equal."""
    first, *others = map(np.asarray, translations)
    if others and all(np.array_equal(first, other) for other in others):
        warnings.warn("all styles are equal: the seed has no effect with these controls", stacklevel=3)
