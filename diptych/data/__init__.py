"""The data floor: `open_data` turns settings into columns of images, `loader.Batches` turns those into batches."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the processes that examine images (`data.examine`) import nothing that they do not need
    from diptych.data.config import DataConfig
    from diptych.data.layouts import Data


def open_data(config: "DataConfig", names: Sequence[str]) -> "Data":
    """The data at `config.root` as columns called `names` (a method's `batch`). Raises DataError."""
    from diptych.data import glyphs
    from diptych.data.labelled import LABELLED, open_labelled
    from diptych.data.layouts import open_folder, root_of

    if config.root == "glyphs" or config.root.startswith("glyphs:"):
        return glyphs.open_glyphs(config.root, names, config.crop, swap=config.direction == "b2a")
    if tuple(names) == LABELLED:
        return open_labelled(root_of(config), names, config.sides)
    return open_folder(config, names)
