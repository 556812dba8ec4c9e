"""One request in the worker process: files to network inputs, and translations to files.

Uploaded files stay in memory; `StoredFile` gives them the names of their fields, never those of the client.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diptych.data.images import image_io, metadata
from diptych.data.images.image_io import StoredFile
from diptych.data.images.metadata import NO_METADATA, Metadata
from diptych.errors import ConfigError, ImageError, shown
from diptych.inference.image_translator import ImageTranslator
from diptych.serving.descriptions import bounds_of

SUFFIXES: Mapping[str, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "npy": ".npy"}
LOSSY = ("jpeg", "webp")  # class ids are not stored in these
SIGNATURES = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"RIFF",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"P5",
    b"P6",
)
NPY = b"\x93NUMPY"


class Refused(Exception):
    """A request that cannot be answered: HTTP status, reason, and field."""

    def __init__(self, status: int, reason: str, field: str = "") -> None:
        super().__init__(reason)
        self.status, self.reason, self.field = status, reason, field


@dataclass
class Job:
    """A request that was decoded: its network input, or None if it is for a generated image."""

    number: int
    translator: ImageTranslator
    model: str
    format: str
    controls: dict[str, Any]
    x: np.ndarray | None = None
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype(np.uint8))
    kept: Metadata = NO_METADATA
    sample: tuple[int, int] = (0, 0)  # number and seed of a generated image
    group: tuple[Any, ...] = ()  # jobs of equal groups are translated together; empty: alone


def read_job(header: Mapping[str, Any], parts: Sequence[bytes], translator: ImageTranslator, max_pixels: int) -> Job:
    """Return the job of a message. Raises Refused."""
    kind, model, format = header["kind"], header["model"], header["format"]
    controls = _values(translator, header["controls"])
    job = Job(header["number"], translator, model, format, controls)
    if kind == "sample":
        return _sample_job(job, header, translator)
    images = dict(zip(header["images"], parts, strict=True))
    if not translator.model.routes:
        raise Refused(422, "this model translates no images; it generates them: use sample", "image")
    if "image" not in images:
        raise Refused(422, "expected an image file in this field", "image")
    files = {name: _stored_file(name, data, max_pixels) for name, data in images.items()}
    file = files.pop("image")
    job.controls = _with_images(translator, controls, files)
    try:
        _decode(job, file)
    except ImageError as error:
        raise Refused(422, str(error), "image") from error
    except ConfigError as error:
        raise Refused(422, str(error), "controls") from error
    if not files and not header.get("alone"):
        assert job.x is not None
        job.group = (model, job.x.shape, tuple(sorted(controls.items())))
    return job


def _sample_job(job: Job, header: Mapping[str, Any], translator: ImageTranslator) -> Job:
    if not translator.model.traits.unconditional:
        raise Refused(422, "this model translates images and generates none: use translate", "")
    job.sample = header["index"], header["seed"]
    return job


def _decode(job: Job, file: StoredFile) -> None:
    """Add the network input of an image file to a job, and how `diptych translate` would write its translation."""
    adapter = job.translator.adapter(job.controls)
    header = image_io.probe(file)
    pixels = job.translator.read(file, **job.controls)
    job.x = job.translator.network_input(pixels, "image", **job.controls)
    job.dtype = adapter.dtype_of_files(np.dtype(header.dtype))
    is_map = adapter.target_encoding.num_classes is not None
    job.kept = metadata.read_metadata(file).for_pixels(is_map)
    channels = 1 if is_map else job.translator.channels_out(job.controls)
    known = image_io.suffixes_for(job.dtype, channels)
    fitting = [name for name, suffix in SUFFIXES.items() if suffix in known and not (is_map and name in LOSSY)]
    if job.format not in fitting:
        content = "class ids" if is_map else f"{job.dtype} with {channels} channels"
        raise Refused(422, f"{job.format} cannot hold {content}; expected {' or '.join(fitting)}", "format")


def _stored_file(name: str, data: bytes, max_pixels: int) -> StoredFile:
    """Return an uploaded file that is small enough and of a known kind, by its header. Raises Refused."""
    if not data.startswith((*SIGNATURES, NPY)):
        raise Refused(415, "expected a PNG, JPEG, WebP, BMP, TIFF, PNM or .npy file", name)
    file = StoredFile(f"{name}.npy" if data.startswith(NPY) else name, data)
    try:
        header = image_io.probe(file)
    except ImageError as error:
        is_large = isinstance(error.__cause__, image_io.TooManyPixelsError)
        raise Refused(413 if is_large else 422, str(error), name) from error
    if header.height * header.width > max_pixels:
        raise Refused(
            413, f"{header.width}x{header.height} pixels, the limit is {max_pixels:,}: scale the image down", name
        )
    return file


def _values(translator: ImageTranslator, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of controls, text converted to the type of each. Raises Refused, which names the control."""
    values: dict[str, Any] = {}
    for name, value in given.items():
        try:
            values |= translator.parse_controls({name: value})
            translator.check_control(name, values[name])
        except ConfigError as error:
            raise Refused(422, str(error), name) from error
        if isinstance(values[name], float | int):
            low, high = bounds_of(name)
            if not low <= values[name] <= high:
                raise Refused(422, f"{shown(value)}: expected a number from {low} to {high}", name)
    return values


def _with_images(
    translator: ImageTranslator, values: dict[str, Any], files: Mapping[str, StoredFile]
) -> dict[str, Any]:
    """Return the controls with those that are images, prepared. Raises Refused."""
    for name, file in files.items():
        try:
            values = translator.prepare_controls({**values, name: file})
        except (ImageError, ConfigError) as error:
            raise Refused(422, str(error), name) from error
    return values


def generated(job: Job) -> np.ndarray:
    """Return the pixels (H, W, C) of a generated image, as `diptych generate` writes them. Raises Refused."""
    number, seed = job.sample
    try:
        (image,) = job.translator.sample(1, seed, number, **job.controls)
    except ConfigError as error:
        raise Refused(422, str(error), "controls") from error
    return np.atleast_3d(image)


def file_of(job: Job, image: np.ndarray) -> bytes:
    """Return the file of a translation (C, H, W) in [-1, 1] or of generated pixels (H, W, C). Raises Refused.

    It has the bytes that `diptych translate` and `diptych generate` write.
    """
    pixels = image
    if job.x is not None:
        adapter = job.translator.adapter(job.controls)
        pixels = adapter.target_encoding.encode(adapter.finished(image, job.x).transpose(1, 2, 0), job.dtype)
    try:
        return image_io.encoded(f"translation{SUFFIXES[job.format]}", pixels, job.kept)
    except ImageError as error:
        raise Refused(422, str(error), "format") from error
