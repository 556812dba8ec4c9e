"""Data settings that have no effect given the others, so that they are refused if the user gave them."""

from diptych.contract import DataKind
from diptych.data.config import DataConfig
from diptych.data.sources.glyphs import is_glyphs


def unused_settings(config: DataConfig, kind: DataKind) -> dict[str, str]:
    """Return the settings without effect on data of this kind, by name, with what each requires."""
    unused: dict[str, str] = {}
    if config.resize_mode == "none" or config.crop_mode == "random_resized":
        unused |= dict.fromkeys(
            ("load_size", "random_crop_until"), "crop_mode=random and a resize_mode other than none"
        )
    elif config.effective_load_size == config.crop_size:
        unused["random_crop_until"] = "a load_size above crop_size"
    if config.crop_mode == "random_resized":
        unused["random_scale"] = "crop_mode=random"
    if is_glyphs(config.root):
        unused |= dict.fromkeys(
            ("layout", "folders", "pair_names", "table", "partition", "split", "group_by"),
            "a folder of images as root",
        )
    elif config.layout == "side_by_side":
        unused["pair_names"] = "two folders of images as root"
    if kind == DataKind.UNPAIRED and (config.attributes or config.table):
        unused["layout"] = "two folders of images instead of an attribute table"
    if kind not in (DataKind.LABELLED, DataKind.REFERENCED) or is_glyphs(config.root):
        unused["holdout_fraction"] = "a folder of images for each class"
    if kind != DataKind.TRANSFER:
        unused |= dict.fromkeys(("source_without", "target_without"), "a method with target_root")
    return unused
