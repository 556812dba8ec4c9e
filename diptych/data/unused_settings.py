"""Which settings of data have no effect given the others, so that one that a person gave is refused."""

from diptych.contract import DataKind
from diptych.data.config import DataConfig
from diptych.data.sources.glyphs import is_glyphs


def unused(config: DataConfig, kind: DataKind) -> dict[str, str]:
    """The settings without effect on data of this kind, by name, each with what it needs."""
    found: dict[str, str] = {}
    if config.fit == "none" or config.cut == "zoom":
        found |= dict.fromkeys(("load", "load_until"), "cut=crop and a fit other than none")
    elif config.loaded == config.crop:
        found["load_until"] = "load above crop"
    if is_glyphs(config.root):
        found |= dict.fromkeys(("layout", "sides", "match_names", "table", "partition"), "a folder of images as root")
    elif config.layout == "side_by_side":
        found["match_names"] = "two folders of images as root"
    if kind == DataKind.UNPAIRED and (config.attributes or config.table):
        found["layout"] = "two folders of images instead of a table of attributes"
    return found
