"""The methods that can train on a folder, found by opening it as each of them would, and the command for each."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import median
from typing import TYPE_CHECKING

from diptych.data.sources.file_names import suggest_match

if TYPE_CHECKING:
    from rich.console import Console

    from diptych.data.checks.survey import Survey
    from diptych.data.dataset import Split

CROPS = (256, 128, 64, 32)


@dataclass(frozen=True)
class Fit:
    """What a method would train on in a folder and with which settings; or, if not `fits`, the reason in `summary`."""

    method: str
    summary: str
    notes: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    fits: bool = True
    root: str = ""  # the folder to train on, if it is not the one that was examined


def show_fits(console: "Console", survey: "Survey", has_problems: bool) -> None:
    """Print the methods that can train on a folder with their commands, or why none can."""
    from diptych.errors import printable

    all_fits, title = fits(survey), "methods that fit"
    if not any(fit.fits for fit in all_fits):
        console.print(f"\nno method fits: {why_not(survey)}", style="bold", soft_wrap=True)
        all_fits = [fit for fit in fits(survey, any_images=True) if fit.fits]
        title = "these methods train on any images"
        if not all_fits:
            return
    console.print(f"\n{title}" + (", once the problems above are fixed" if has_problems else ""), style="bold")
    for fit in all_fits:
        if not fit.fits:
            console.print(f"  {fit.method}: no; {printable(fit.summary)}", style="dim", soft_wrap=True)
            continue
        console.print(f"  {fit.method}: {printable(fit.summary)}", soft_wrap=True)
        for note in fit.notes:
            console.print(f"    {printable(note)}", style="dim", soft_wrap=True)
        console.print(f"    {printable(command_of(fit, survey))}", style="cyan", soft_wrap=True)


def command_of(fit: Fit, survey: "Survey") -> str:
    """Return the command that starts the training."""
    return shlex.join(["diptych", "train", fit.method, "--data", fit.root or str(survey.root), *fit.settings])


def why_not(survey: "Survey") -> str:
    """Return why no method fits a folder."""
    from diptych.data.checks import survey as layouts
    from diptych.data.checks.unread_files import explain_no_images

    expected = "methods need pairs side by side in each file, or two folders"
    if survey.layout == layouts.UNLABELLED and (reason := explain_no_images(survey.root)):
        return f"{expected}; {reason}"
    return {
        layouts.NOTHING: "there are no images; give the folder that contains train/, or two folders of images",
        layouts.ARRAYS: f"methods read images, not arrays; {expected}",
        layouts.TABLE: f"{expected}, but these are images with attributes: put those with and without one into two",
    }.get(survey.layout, expected)


def fits(survey: "Survey", any_images: bool = False) -> list[Fit]:
    """Return a `Fit` for each method that translates between domains; or for those that train on any images."""
    from diptych.contract import DataKind
    from diptych.methods import METHODS, find

    sizes = survey.sizes()
    kinds = {method: find(method).data for method in METHODS}
    methods = [
        name for name, kind in kinds.items() if kind != DataKind.TRANSFER and (kind == DataKind.IMAGES) == any_images
    ]
    fits = [_fit(method, survey, sizes) for method in methods]
    return fits if any_images else [*fits, *_super_resolution(survey)]


def _super_resolution(survey: "Survey") -> list[Fit]:
    """Return a `Fit` for each super-resolution method, if the folder holds the same images at two sizes.

    These methods train on the larger images alone.
    """
    from diptych.data.checks import survey as surveys
    from diptych.methods import METHODS, find

    if not survey.scale:
        return []
    large = surveys.survey(survey.scale.large)
    methods = [method for method in METHODS if "scale" in find(method).Config.model_fields]
    return [replace(_fit(method, large, large.sizes()), root=str(large.root)) for method in methods]


def crop_for(sizes: Sequence[tuple[int, int]]) -> int:
    """Return the largest crop size, 256, 128, 64 or 32, that half of the images (height, width) cover."""
    side = median(map(min, sizes)) if sizes else CROPS[0]
    return next((crop for crop in CROPS if crop <= side), CROPS[-1])


def fit_for(sizes: Sequence[tuple[int, int]], crop: int) -> tuple[tuple[str, ...], str]:
    """Return the settings that keep images at their own scale and aspect ratio, and the reason; none if not needed.

    Images much larger than the crop are cropped without resizing, so that training uses the scale of `translate`.
    """
    from diptych.data.image_format import MAX_RATIO, aspect_of

    side, aspect = median(map(min, sizes)) if sizes else crop, aspect_of(sizes)
    if side > MAX_RATIO * crop:
        reason = f"images are {side / crop:.1f} times as large as crop_size={crop}"
        if min(map(min, sizes)) >= crop:
            reason += ": resize_mode=none trains on crops at their own scale, the scale of translate"
            return ("resize_mode=none",), reason
        load_size = min(round(side), 16384)
        reason += f": load_size={load_size} trains on crops near their own scale"
        return ("resize_mode=short_side", f"load_size={load_size}"), reason
    if aspect > MAX_RATIO:
        reason = f"the longer side of images is {aspect:.1f} times the shorter one"
        return ("resize_mode=short_side",), f"{reason}: resize_mode=short_side keeps that, the default makes squares"
    return (), ""


def _fit(method: str, survey: "Survey", sizes: Sequence[tuple[int, int]]) -> Fit:
    """Return what the method would train on in the folder, or why it cannot."""
    from diptych.data.image_format import direction_of
    from diptych.data.open import open_data
    from diptych.errors import ConfigError, DataError
    from diptych.methods import find
    from diptych.settings.recipe import load_recipe
    from diptych.settings.validate import checked

    cls, root, crop_size = find(method), str(survey.root), crop_for(sizes)
    reason = ""
    for data_settings in _data_settings(survey, has_labels=bool(cls.label_fields())):
        try:
            recipe = load_recipe(method, [f"root={root}", *data_settings])
            data = open_data(recipe.data, recipe.cls.data, tuple(recipe.cls.batch))
            labels = dict.fromkeys(cls.label_fields().values(), data.labels)
            checked(cls.Config, {**recipe.model.model_dump(), **labels}, method)
        except (ConfigError, DataError) as error:
            reason = reason or _shorten(str(error), root)
            continue
        if _has_smaller_targets(data.train):
            data_settings = [*data_settings, "direction=b2a"]
            recipe = load_recipe(method, [f"root={root}", *data_settings])
            data = open_data(recipe.data, recipe.cls.data, tuple(recipe.cls.batch))
        summary = f"{_shorten(data.summary, root)}{direction_of(data, recipe.data)}"
        batch_size = ["batch_size=8"] if cls.traits.multi_domain else []
        trains_on_crops = (
            not cls.traits.fixed_size and not cls.traits.multi_domain and cls.routes
        )  # other methods need whole images
        resizing, note = fit_for(sizes, crop_size) if trains_on_crops else ((), "")
        settings = (*data_settings, *_size_settings(method, crop_size), *resizing, *batch_size)
        return Fit(method, summary, (*data.notes, *([note] if note else [])), settings)
    return Fit(method, reason, fits=False)


def _data_settings(survey: "Survey", has_labels: bool) -> list[list[str]]:
    """Return the settings to try, in order: defaults, then a choice of folders or a looser comparison of names.

    All have those of the split, if the survey has some.
    """
    from diptych.data.sources.pairs import domain_folders, folders_setting

    folders, given = domain_folders(survey.root), list(survey.settings)
    if len(folders) > 2 and not has_labels:
        return [given, [*given, folders_setting(folders)]]
    looser_names = _looser_names(survey)
    return [given, [*given, *looser_names]] if looser_names else [given]


def _shorten(message: str, root: str) -> str:
    """Return the first sentence of a message, without the root folder and the list of files at its end."""
    text = message.removeprefix(f"{root}: ").replace(f"{root}/", "").partition(". ")[0]
    return re.sub(r": [^:]*$", "", text) if text.endswith(", ...") else text


def _looser_names(survey: "Survey") -> list[str]:
    """Return the setting with which the file names of two folders match, if they do not match exactly."""
    from diptych.data.checks.survey import UNPAIRED

    parts = [part.files for part in survey.parts if part.files and part.split == survey.parts[0].split]
    match = suggest_match(*parts) if survey.layout == UNPAIRED and len(parts) == 2 else None
    return [f"pair_names={match[0]}"] if match else []


def _has_smaller_targets(split: "Split") -> bool:
    """Return whether the targets of pairs are their sources at a smaller size: the opposite of super-resolution."""
    from diptych.data.checks.scales import scale_of
    from diptych.data.image_columns import ImageFiles

    columns = [column for column in split.columns.values() if isinstance(column, ImageFiles) and column.half is None]
    if not split.aligned or len(columns) != 2:
        return False
    scale = scale_of(columns[0].files, columns[1].files)
    return scale is not None and scale.small == columns[1].files[0].parent


@cache
def _size_settings(method: str, crop_size: int) -> tuple[str, ...]:
    """Return the settings for this crop size: none for the default, else with networks that fit it."""
    from diptych.errors import ConfigError
    from diptych.settings.recipe import load_recipe
    from diptych.workflows.dry_run import dry_run

    if crop_size == CROPS[0]:
        return ()
    data = "root=glyphs"  # any: the networks alone matter
    default = str(load_recipe(method, [data]).model.model_dump().get("generator", ""))
    smaller = {"unet_256": f"unet_{crop_size}", "resnet_9": "resnet_6"}.get(default)
    for settings in ([f"generator={smaller}"] if smaller else [], [], ["d_layers=3"], ["receptive_field=34"]):
        try:
            dry_run(load_recipe(method, [data, f"crop_size={crop_size}", *settings]))
        except ConfigError:
            continue
        return (f"crop_size={crop_size}", *settings)
    return ()
