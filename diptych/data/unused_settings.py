"""Which settings of data have no effect given the others, so that one that a person gave is refused."""

from diptych.contract import DataKind
from diptych.data.config import DataConfig
from diptych.data.sources.glyphs import is_glyphs


def unused_settings(config: DataConfig, kind: DataKind) -> dict[str, str]:
    """The settings without effect on data of this kind, by name, each with what it needs."""
    found: dict[str, str] = {}
    if config.resize_mode == "none" or config.crop_mode == "random_resized":
        found |= dict.fromkeys(("load_size", "random_crop_until"), "crop_mode=random and a fit other than none")
    elif config.effective_load_size == config.crop_size:
        found["random_crop_until"] = "load above crop"
    if config.crop_mode == "random_resized":
        found["random_scale"] = "crop_mode=random"
    if is_glyphs(config.root):
        found |= dict.fromkeys(("layout", "folders", "pair_names", "table", "partition"), "a folder of images as root")
    elif config.layout == "side_by_side":
        found["pair_names"] = "two folders of images as root"
    if kind == DataKind.UNPAIRED and (config.attributes or config.table):
        found["layout"] = "two folders of images instead of a table of attributes"
    return found
