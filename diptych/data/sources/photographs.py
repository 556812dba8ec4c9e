"""Pairs that a task computes from photographs: both columns have the same files, and each a side of the task."""

from dataclasses import replace

from diptych.data.config import DataConfig
from diptych.data.dataset import Data, Split
from diptych.data.image_columns import ImageFiles
from diptych.data.tasks.pair_side import PairSide
from diptych.errors import DataError


def with_task(data: Data, config: DataConfig) -> Data:
    """Return the pairs that `config.task` computes from the last column of `data`.

    Raises DataError without colours, and if a file of the task cannot be used.
    """
    task = config.pair_task
    assert task is not None
    task.prepare()

    photographs = list(data.train.columns.values())[-1]
    if task.needs_colors and isinstance(photographs, ImageFiles) and photographs.channels() != 3:
        raise DataError(f"{config.root}: task={config.task} needs colour photographs, and these are grey")

    def pairs(split: Split) -> Split:
        photographs = list(split.columns.values())[-1]
        assert isinstance(photographs, ImageFiles)
        source, target = (replace(photographs, side=PairSide(task, side)) for side in ("source", "target"))
        return Split({"source": source, "target": target}, aligned=True)

    return replace(
        data,
        train=pairs(data.train),
        held_out=pairs(data.held_out),
        test=data.test and pairs(data.test),
        summary=f"{data.summary}; pairs by task={config.task}",
    )
