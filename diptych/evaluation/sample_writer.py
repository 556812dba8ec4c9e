"""Write sample folders: translate the sources of each job, and store images and manifest."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from diptych.contract import Control, Method, Route
from diptych.data.dataset import Column
from diptych.data.image_tensors import held_out_tensor, image_name, side_of
from diptych.data.images import image_io
from diptych.data.images.transforms import Augment, CropToMultiple
from diptych.data.nodata_masks import valid_tensor
from diptych.data.tasks.tensors import finished_batch, missing_pixels, shown_sources
from diptych.errors import EvaluationError, printable
from diptych.evaluation.samples import FORMAT, MANIFEST, Manifest, SampleRow, Samples, TranslationJob, safe_name
from diptych.inference.translator import Translator
from diptych.system.atomic_files import make_folder, write_text

BATCH_SIZE = 8  # images translated together

Progress = Callable[[int, int], None]  # images done, images in total


def write_samples(
    translator: Translator,
    jobs: Sequence[TranslationJob],
    folder: Path,
    transform: Augment | CropToMultiple,
    about: Mapping[str, Any],
    progress: Progress | None = None,
) -> Samples:
    """Translate the sources of every job into `folder`. EvaluationError if it already holds samples."""
    if (folder / MANIFEST).exists():
        raise EvaluationError(f"{folder}: already holds samples; choose another folder with -o, or remove it")
    writer = _Writer(translator, folder, transform)
    total = sum(len(job.sources) or len(job.targets) for job in jobs)
    done = 0
    for job in jobs:
        for _ in writer.translate(job) if len(job.sources) else writer.generate(job):
            done += 1
            if progress:
                progress(done, total)
        if not job.aligned:
            writer.write_reals(job)
    seconds = round(writer.seconds / len(writer.rows), 5)
    sources = hashlib.sha256("".join(writer.hashes).encode()).hexdigest()
    about = {**about, "sources": sources, "seconds_per_image": seconds}
    manifest = Manifest(format=FORMAT, about=about, rows=tuple(writer.rows), reals=writer.reals)
    write_text(folder / MANIFEST, manifest.model_dump_json(indent=1, exclude_none=True) + "\n")
    return Samples(folder, manifest.about, manifest.rows, manifest.reals)


@dataclass
class _Writer:
    """A sample folder while it is written."""

    translator: Translator
    folder: Path
    transform: Augment | CropToMultiple
    rows: list[SampleRow] = field(default_factory=list)
    reals: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by route
    target_files: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by name of the target domain
    references: dict[int, tuple[Tensor, str]] = field(default_factory=dict)  # of the current job
    hashes: list[str] = field(default_factory=list)  # of all real images
    seconds: float = 0.0

    def translate(self, job: TranslationJob) -> Iterator[int]:
        """Translate each source with its controls; yields its index when it is written."""
        self.references.clear()
        source_entry, target_entry = job.entries
        sources, targets = self._images(job.sources, source_entry), self._images(job.targets, target_entry)
        task = side.task if (side := side_of(job.sources)) else None
        for indices in self._batches(job, len(sources)):
            x = self._inputs(job, sources[indices])
            choices = job.choices(indices[0])
            controls = [self._control_values(job, choice) for choice in choices]
            start = time.perf_counter()
            with unclamped(self.translator.method) if job.keeps_floats else nullcontext():
                translations = self.translator.tensors(x, controls)
            self.seconds += time.perf_counter() - start
            translations = [finished_batch(task, translation, x) for translation in translations]
            shown, y = shown_sources(task, x), targets[indices] if job.aligned else None
            y = finished_batch(task, y, x) if y is not None else None
            valid = self._valid(job, indices, y) if y is not None else None
            if y is not None and valid is not None:
                translations = [torch.where(valid > 0, image, y) for image in translations]
            for position, index in enumerate(indices):
                name = f"{job.name}/{index:05d}-{safe_name(sources.name_of(index))}"
                paths = {"source": self._write_real(f"source/{name}", shown[position])}
                if (missing := missing_pixels(task, x[position])) is not None:
                    paths["missing"] = write_image(self.folder, f"missing/{name}", missing)
                if y is not None:
                    paths["truth"] = self._write_real(f"truth/{name}", y[position])
                if valid is not None and not valid[position].all():
                    paths["valid"] = write_image(self.folder, f"valid/{name}", 2 * valid[position] - 1)
                fakes = self._write_fakes(name, [translation[position] for translation in translations])
                if job.keeps_floats:
                    paths["floats"] = self._write_floats(name, fakes)
                for choice, file in zip(choices, fakes, strict=True):
                    row_controls = {key: self._control_in_row(job, key, value) for key, value in choice.items()}
                    if job.labels:
                        row_controls["label"] = job.labels[index]
                    paths["fake"] = file
                    self.rows.append(
                        SampleRow(route=job.name, of=sources.name_of(index), controls=row_controls, **paths)
                    )
                yield index

    def _valid(self, job: TranslationJob, indices: range, y: Tensor) -> Tensor | None:
        """Return a mask (N, 1, H, W) of pairs, 0 where one has no data; None if all have, or sizes differ."""
        columns = [column for column in (job.sources, job.targets) if getattr(column, "has_nodata", False)]
        crop = self.transform.without_randomness
        masks = [[valid_tensor(column, index, crop, y[0]) for index in indices] for column in columns]
        if any(mask.shape[-2:] != y.shape[-2:] for group in masks for mask in group):
            return None
        return torch.stack([torch.stack(group) for group in masks]).prod(0) if masks else None

    def _inputs(self, job: TranslationJob, x: Tensor) -> Tensor:
        """Return the network's inputs: these images, or what the method derives from them."""
        source, target = job.entries
        method = self.translator.method
        return x if source in method.batch else method.derive_inputs({target: x})[source]

    def generate(self, job: TranslationJob) -> Iterator[int]:
        """Generate as many images from noise as there are targets, with seed 0; yields the index of each."""
        for indices in batch_ranges(len(job.targets)):
            controls = {"seed": 0, **job.choices(0)[0]}
            start = time.perf_counter()
            images = self.translator.sample_tensor(indices, **controls)
            self.seconds += time.perf_counter() - start
            for index, image in zip(indices, images, strict=True):
                fake = write_image(self.folder, f"fake/{job.name}/{index:05d}", image)
                self.rows.append(SampleRow(route=job.name, of=f"number {index}", controls=controls, fake=fake))
                yield index

    def write_reals(self, job: TranslationJob) -> None:
        """Write real images of the target domain, once for all jobs with the same one."""
        images = self._images(job.targets, job.entries[1])
        target_name = job.target_name or job.name
        if target_name not in self.target_files:
            self.target_files[target_name] = tuple(
                self._write_real(f"real/{target_name}/{index:05d}-{safe_name(images.name_of(index))}", image)
                for indices in batch_ranges(len(images))
                for index, image in zip(indices, images[indices], strict=True)
            )
        self.reals[job.name] = self.target_files[target_name]

    def _images(self, column: Column, entry: str) -> "ImageBatches":
        return ImageBatches(column, self.transform, self.translator.method.channels()[entry])

    def _batches(self, job: TranslationJob, count: int) -> Iterator[range]:
        """Yield batches of indices with the same controls. Images that are not cropped to one size come singly."""
        for indices in batch_ranges(count):
            has_one_size = isinstance(self.transform, Augment)
            if has_one_size and all(job.choices(index) == job.choices(indices[0]) for index in indices):
                yield indices
            else:
                yield from (range(index, index + 1) for index in indices)

    def _control_values(self, job: TranslationJob, choice: Mapping[str, Any]) -> dict[str, Any]:
        """Return controls as `Translator.tensors` takes them: a reference image in place of its index."""
        values = dict(choice)
        for control in self.translator.controls:
            if control.image and control.name in values:
                values[control.name] = self._reference(job, control, values[control.name])[0]
        return values

    def _control_in_row(self, job: TranslationJob, name: str, value: Any) -> Any:
        """Return the value of a control as the row stores it: for a reference, its file."""
        control = next(control for control in self.translator.controls if control.name == name)
        if not control.image:
            return value
        return self._reference(job, control, value)[1]

    def _reference(self, job: TranslationJob, control: Control, index: int) -> tuple[Tensor, str]:
        """Return a reference image (1, C, H, W) and its file in the sample folder."""
        if index not in self.references:
            images = self._images(job.references, control.entry(Route(*job.entries)))
            image = images[range(index, index + 1)]
            name = f"reference/{job.name}/{index:05d}-{safe_name(images.name_of(index))}"
            self.references[index] = (image, write_image(self.folder, name, image[0]))
        return self.references[index]

    def _write_fakes(self, name: str, images: Sequence[Tensor]) -> dict[str, Tensor]:
        """Write the translations (C, H, W) of one source, and return them by their files."""
        names = [f"fake/{name}-{copy:02d}" for copy in range(len(images))] if len(images) > 1 else [f"fake/{name}"]
        return {write_image(self.folder, name, image): image for name, image in zip(names, images, strict=True)}

    def _write_floats(self, name: str, images: Mapping[str, Tensor]) -> str:
        """Write images (C, H, W) by the names of their files, in half precision. Returns the path."""
        path = self.folder / f"floats/{name}.safetensors"
        make_folder(path.parent)
        save_file({key: image.half().contiguous() for key, image in images.items()}, path)
        return path.relative_to(self.folder).as_posix()

    def _write_real(self, name: str, image: Tensor) -> str:
        return write_image(self.folder, name, image, self.hashes)


@contextmanager
def unclamped(method: Method) -> Iterator[None]:
    """Let a method return its networks' own outputs, which may be outside [-1, 1]."""
    method.clamp_outputs = False
    try:
        yield
    finally:
        method.clamp_outputs = True


@dataclass(frozen=True)
class ImageBatches:
    """The images of a column as network inputs: (N, channels, H, W) in [-1, 1] for a range of indices."""

    column: Any  # of images
    transform: Augment | CropToMultiple
    channels: int

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, indices: range) -> Tensor:
        transform, column = self.transform.without_randomness, self.column
        return torch.stack([held_out_tensor(column, i, transform, self.channels) for i in indices])

    def name_of(self, index: int) -> str:
        return printable(Path(image_name(self.column, index)).name)


def batch_ranges(count: int) -> Iterator[range]:
    """Yield the indices 0 to count - 1 as ranges of at most BATCH_SIZE."""
    return (range(start, min(start + BATCH_SIZE, count)) for start in range(0, count, BATCH_SIZE))


def write_image(folder: Path, name: str, image: Tensor, hashes: list[str] | None = None) -> str:
    """Write an image (C, H, W) in [-1, 1] as 8 bits. Returns its path relative to `folder`; appends to `hashes`."""
    pixels = image_io.from_unit(image.permute(1, 2, 0).numpy(), np.uint8)
    suffix = ".png" if pixels.shape[-1] in (1, 3) else ".npy"
    path = folder / f"{name}{suffix}"
    make_folder(path.parent)
    image_io.write(path, pixels)
    if hashes is not None:
        hashes.append(hashlib.sha256(pixels.tobytes()).hexdigest())
    return path.relative_to(folder).as_posix()
