"""Translation of volumes slice by slice, with statistics of normalisation that are frozen over the volume."""

import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from diptych.data.volumes.slices import read_stack
from diptych.data.volumes.volume import Volume, open_volume
from diptych.errors import ConfigError, ImageError
from diptych.inference.video_clips import Frame
from diptych.inference.video_scenes import WINDOWS, scene_statistics
from diptych.inference.volume_sink import check_target, volume_sink
from diptych.networks.normalisation_statistics import Statistics, frozen_statistics

if TYPE_CHECKING:
    from diptych.data.image_format import ImageFormat
    from diptych.inference.translator import Translator

Progress = Callable[[int, int], None]  # slices done, slices in total
StatisticsOf = Literal["volume", "slice"]
SPACING_TOLERANCE = 0.05  # relative


def translate_volume(
    translator: "Translator",
    source: str | Path,
    target: str | Path,
    controls: Mapping[str, Any] | None = None,
    statistics: StatisticsOf = "volume",
    progress: Progress | None = None,
) -> int:
    """Translate a volume in the slices that the model was trained on, and return their number.

    The target has the geometry and the metadata of the source, and values in the units of the training targets. It is
    complete or absent. `statistics` says over what normalisation layers take mean and variance. Raises ConfigError for
    a model that does not translate volumes, or ImageError.
    """
    source, target = Path(source), Path(target)
    if target.exists() and source.exists() and target.samefile(source):
        raise ImageError(f"{target} would be replaced by its translation: choose another name")
    prepared = translator.prepare_controls(controls or {})
    trained, value_range = _formats(translator, prepared)
    assert trained.axis is not None
    volume = open_volume(source)
    check_target(target, volume)
    if note := spacing_warning(volume, trained):
        warnings.warn(f"{source}: {note}", stacklevel=2)
    slicing = volume.geometry.slicing(trained.axis)
    frozen = _statistics(translator, prepared, volume, trained) if statistics == "volume" else []
    with volume_sink(target, volume, value_range) as values:
        planes = np.moveaxis(values, slicing.axis, 0)
        for index in range(slicing.count):
            pixels = read_stack(volume, trained.axis, index, trained.context)
            with frozen_statistics(frozen) if statistics == "volume" else nullcontext():
                label = f"{source}, {trained.axis} slice {index}"
                made = translator.array(pixels, label, np.dtype(np.float32), **prepared)
            planes[slicing.position(index)] = slicing.to_plane(made[..., 0])
            if progress:
                progress(index + 1, slicing.count)
    return slicing.count


def _formats(translator: "Translator", controls: Mapping[str, Any]) -> tuple["ImageFormat", tuple[float, float]]:
    """Return the format of the training sources, and the value range of the targets. ConfigError without volumes."""
    adapter = translator.adapter(controls)
    source, target = adapter.source, adapter.target
    if source is None or target is None or source.axis is None or target.value_range is None:
        raise ConfigError(
            f"{translator.name} was not trained on volumes, so the axis and the range of values are not known: train "
            f"it on a folder of volumes, or translate slices that are saved as images"
        )
    if translator.channels_out(controls) != 1 or translator.method.traits.upscale_factor != 1:
        raise ConfigError(f"{translator.name}: its outputs have several channels or another size than its sources")
    return source, target.value_range


def spacing_warning(volume: Volume, trained: "ImageFormat") -> str:
    """Return a warning if pixels have another size than in training, by more than 5 %; else empty."""
    assert trained.axis is not None
    if trained.spacing is None:
        return ""
    found = volume.geometry.image_spacing(trained.axis)
    if all(abs(a - b) <= SPACING_TOLERANCE * b for a, b in zip(found, trained.spacing, strict=True)):
        return ""
    texts = [" x ".join(f"{value:.3g}" for value in values) for values in (found, trained.spacing)]
    return f"slices have pixels of {texts[0]} mm, those of training {texts[1]} mm: resample the volume to these"


def _statistics(
    translator: "Translator", controls: Mapping[str, Any], volume: Volume, trained: "ImageFormat"
) -> list[Statistics]:
    """Return statistics of normalisation layers, pooled over windows of slices that are spread over the volume."""
    assert trained.axis is not None
    count = volume.geometry.slicing(trained.axis).count
    chosen = sorted({(2 * number + 1) * count // (2 * WINDOWS) for number in range(WINDOWS)})
    frames = [Frame(read_stack(volume, trained.axis, index, trained.context), 0, 0) for index in chosen]
    return scene_statistics(translator, controls, frames, str(volume.path))
