"""Judges: networks trained on real images to score translations. A judge is an ordinary run folder.

diptych judge train segmenter --data facades -o judges/facades
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych import launch, recipe
from diptych.data import image, open_data
from diptych.data.columns import Pictures
from diptych.data.loader import held_out, label
from diptych.data.policy import checked
from diptych.data.transforms import Augment
from diptych.engine.run import Run
from diptych.engine.trainer import Trainer
from diptych.errors import ConfigError, nearest
from diptych.evaluate.measures import told_apart
from diptych.evaluate.palette import find_palette
from diptych.evaluate.results import Result
from diptych.evaluate.tools import Tools
from diptych.methods import JUDGES, find
from diptych.protocols import find_protocol
from diptych.protocols.apply import Asked, chosen, judge_samples, samples_of
from diptych.recipe import Recipe
from diptych.translator import from_run

LOOKED_AT = 200  # label maps that a palette is found in


def train(kind: str, settings: Sequence[str], folder: Path) -> tuple[Trainer, Result | None]:
    """Train a judge in a new run folder, or go on with one; its result on held-out real images once it is done.

    ConfigError if the one to go on with is of another kind, or was begun with other settings or images.
    """
    run = Run(folder)
    if run.config.is_file():
        there = str(run.settings().get("method"))
        if there != kind:
            raise ConfigError(f"{folder} holds a {there}, and no {kind}: choose another folder with -o")
        trainer = launch.resume(folder, settings)
    else:
        trainer = launch.train(planned(kind, settings), folder)
    if trainer.stopped is not None or not trainer.first:
        return trainer, None
    result = on_real_images(trainer.run)
    result.save(folder / "results" / f"{result.protocol.partition('/')[0]}.json")
    return trainer, result


def planned(kind: str, settings: Sequence[str]) -> Recipe:
    """The recipe of a judge, with the palette found in the label maps where it needs one and none is given."""
    if kind not in JUDGES:
        raise ConfigError(f"{kind!r} is no judge{nearest(kind, JUDGES)}; there are {', '.join(JUDGES)}")
    return with_palette({"method": kind}, settings)


def with_palette(values: Mapping[str, Any], settings: Sequence[str]) -> Recipe:
    """The recipe of a judge, in which the palette is what the label maps hold, unless it is given or not needed."""
    given = {each.partition("=")[0] for each in settings} | set(values.get("model") or {})
    cls = find(str(values.get("method")))
    if "palette" not in cls.Config.model_fields or "palette" in given:
        return recipe.from_settings(values, settings, "judge")
    blank = recipe.from_settings(values, [*settings, "out_channels=1", "palette=[[0],[255]]"], "judge")
    data, _ = checked(open_data(blank.data, tuple(cls.batch)), blank.data)
    maps: Any = data.train.columns[cls.routes[0].target]
    channels = maps.channels() if isinstance(maps, Pictures) else maps.shape[-1]
    if "out_channels" not in given:
        settings = [*settings, f"out_channels={channels}"]
    places = np.linspace(0, len(maps) - 1, min(LOOKED_AT, len(maps))).round().astype(int).tolist()
    levels = [image.with_channels(maps[place], channels, label(maps, place)) for place in places]
    palette = find_palette([image.from_unit(image.to_unit(each), np.uint8) for each in levels]).colours
    return recipe.from_settings(values, [*settings, f"palette={[list(colour) for colour in palette]}"], "judge")


def on_real_images(run: Run) -> Result:
    """How a judge does on held-out real images: the ceiling of what it can say of translations."""
    made_by = recipe.from_settings(run.settings(), where=str(run.config))
    if made_by.cls.routes:
        protocol, tools = "label-maps", Tools(judge=from_run(run, "last", made_by.cls))
        return judge_samples(samples_of(run, Asked(protocol)), find_protocol(protocol), tools, run.folder.name)
    data, _ = checked(open_data(made_by.data, tuple(made_by.cls.batch)), made_by.data)
    name, split = chosen(data, "auto")
    tools = Tools(judge=from_run(run, "last", made_by.cls))
    judge = tools.the_judge()
    cut = Augment(made_by.data.crop, made_by.data.crop, made_by.data.fit)
    batch = held_out(split, judge.channels(), cut, len(split))
    pictures, labels = (batch[entry] for entry in made_by.cls.batch)
    return Result(
        protocol="told-apart/1",
        name=run.folder.name,
        about={"data": Path(made_by.data.root).name, "split": name},
        tools=tools.known(),
        said=(f"{len(labels)} real pictures of {', '.join(judge.classes()[:20])}",),
        scores=tuple(told_apart(judge, pictures, labels)),
    )
