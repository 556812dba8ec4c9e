"""Metrics of tasks on photographs: how colourful translations are, and how well missing pixels are filled."""

from collections.abc import Iterator, Sequence

import numpy as np

from diptych.errors import EvaluationError
from diptych.evaluation.metrics import missing
from diptych.evaluation.metrics.image_sets import check_same_shape, image_set
from diptych.evaluation.metrics.intervals import Score, score_per_image
from diptych.evaluation.metrics.table import metric_of
from diptych.evaluation.samples import Samples
from diptych.evaluation.tools import Tools


def chroma_scores(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield chroma and share of grey pixels of translations; the ceiling is that of real images."""
    fakes, reals = image_set(samples.files("fake")), image_set(samples.real_files())
    check_same_shape(reals, fakes)
    if fakes.shape[0] != 3:
        raise EvaluationError("protocol colorization needs RGB images")
    for name in names:
        function = metric_of(name).function
        real = np.concatenate([function(batch) for batch in reals.batches()])
        values = np.concatenate([function(batch) for batch in fakes.batches()])
        yield score_per_image(name, values, ceiling=float(real.mean()))


def missing_scores(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield metrics of missing pixels alone; chance is filling them from their neighbours, with OpenCV."""
    if not all(row.missing for row in samples.rows):
        raise EvaluationError(
            f"{samples.folder}: nothing says which pixels were missing: protocol inpainting is for a run with "
            f"task=inpaint; give -p paired-default for other samples"
        )
    columns = [image_set(samples.files(column)) for column in ("fake", "truth", "missing")]
    rows: dict[str, list[np.ndarray]] = {name: [] for name in names}
    chance: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for fake, truth, white in zip(*(column.batches() for column in columns), strict=True):
        holes = white[:, 0] > 127
        filled = missing.diffused(truth, holes)
        for name in names:
            function = metric_of(name).function
            rows[name].append(function(fake, truth, holes))
            if filled is not None:
                chance[name].append(function(filled, truth, holes))
    for name, values in rows.items():
        baseline = float(np.concatenate(chance[name]).mean()) if chance[name] else None
        yield score_per_image(name, np.concatenate(values), chance=baseline)
    tools.note(
        "missing pixels alone; chance is cv2.inpaint (Telea 2004)"
        if any(chance.values())
        else "missing pixels alone; for the baseline of cv2.inpaint: pip install 'diptych[tasks]'"
    )
