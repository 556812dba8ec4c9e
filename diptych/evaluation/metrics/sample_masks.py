"""Masks of the pixels of samples that have data, for metrics that leave out the others.

A sample folder has a mask for each pair with pixels without data. Of two plain folders, the nodata values of GeoTIFF
files say it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diptych.data.images import image_io
from diptych.errors import EvaluationError
from diptych.evaluation.metrics.image_sets import BATCH_SIZE
from diptych.evaluation.metrics.intervals import Score, score_per_image
from diptych.evaluation.samples import SampleRow, Samples
from diptych.evaluation.tools import Tools

TIFF = (".tif", ".tiff")


class SampleMasks:
    """The masks of samples that have a ground truth. `count` is the number of masks with a hole among those read."""

    def __init__(self, samples: Samples) -> None:
        self.samples, self.count = samples, 0

    def of(self, row: SampleRow) -> Tensor | None:
        """Return the mask (H, W) of a row; None if all pixels have data. Raises ImageError."""
        if row.valid:
            masks = [image_io.read(self.samples.folder / row.valid)[..., 0] > 127]
        else:
            files = [Path(self.samples.folder, name) for name in (row.fake, row.truth) if name]
            read = [image_io.valid_pixels(file) for file in files if file.suffix.lower() in TIFF]
            masks = [mask for mask in read if mask is not None]
        if all(mask.all() for mask in masks):
            return None
        header = image_io.probe(self.samples.folder / row.fake)
        if any(mask.shape != (header.height, header.width) for mask in masks):
            raise EvaluationError(f"{row.fake}: the mask of its pixels with data has another size; sample it again")
        self.count += 1
        return torch.from_numpy(np.logical_and.reduce(masks))

    def batches(self, size: int = BATCH_SIZE) -> Iterator[Tensor | None]:
        """Yield the masks (N, H, W) of the batches of `ImageSet.batches`; None where all pixels of one have data."""
        for first in range(0, len(self.samples.rows), size):
            masks = [self.of(row) for row in self.samples.rows[first : first + size]]
            with_holes = [mask for mask in masks if mask is not None]
            full = torch.ones_like(with_holes[0]) if with_holes else None
            yield None if full is None else torch.stack([full if mask is None else mask for mask in masks])

    def score(self, name: str, values: np.ndarray, tools: Tools, chance: Sequence[float] = ()) -> Iterator[Score]:
        """Yield the score of values per image, without images of which no pixel or window has data, and note these.

        The value of such an image is NaN. Nothing is yielded if all images are so. `chance` are values per image of a
        trivial answer.
        """
        known = ~np.isnan(values) if self.count else np.ones(len(values), bool)
        if not known.all():
            tools.note(f"no {name} of {(~known).sum()} of {len(values)} images: no pixel or window has data")
        if known.any():
            baseline = float(np.mean(np.array(chance)[known])) if len(chance) else None
            yield score_per_image(name, values[known], chance=baseline)
