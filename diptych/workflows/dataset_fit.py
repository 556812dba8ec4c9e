"""Which methods a folder fits, found by opening it as each of them would, and the command to start with."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from diptych.data.checks.survey import Survey
    from diptych.data.dataset import Split

CROPS = (256, 128, 64, 32)


@dataclass(frozen=True)
class Fit:
    """How a method sees a folder: what it would train on and with which settings, or why it cannot."""

    method: str
    summary: str
    notes: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    fits: bool = True
    root: str = ""  # the folder to give, where it is not the one that was looked at


def show_fits(console: "Console", found: "Survey", mend: bool) -> None:
    from diptych.errors import printable

    all_fits, which = fits(found), "methods that fit"
    if not any(fit.fits for fit in all_fits):
        console.print(f"\nno method fits: {why_not(found)}", style="bold", soft_wrap=True)
        all_fits, which = [fit for fit in fits(found, any_images=True) if fit.fits], "but these take any images"
        if not all_fits:
            return
    console.print(f"\n{which}" + (", once what is wrong is mended" if mend else ""), style="bold")
    for fit in all_fits:
        if not fit.fits:
            console.print(f"  {fit.method}: no; {printable(fit.summary)}", style="dim", soft_wrap=True)
            continue
        console.print(f"  {fit.method}: {printable(fit.summary)}", soft_wrap=True)
        for note in fit.notes:
            console.print(f"    {printable(note)}", style="dim", soft_wrap=True)
        console.print(f"    {printable(command_of(fit, found))}", style="cyan", soft_wrap=True)


def command_of(fit: Fit, found: "Survey") -> str:
    """The command that starts such a training."""
    return shlex.join(["diptych", "train", fit.method, "--data", fit.root or str(found.root), *fit.settings])


def why_not(found: "Survey") -> str:
    from diptych.data.checks import survey
    from diptych.data.checks.unread_files import why_none

    wanted = "they want pairs side by side in each file, or two folders"
    if found.layout == survey.HEAPS and (why := why_none(found.root)):
        return f"{wanted}; {why}"
    return {
        survey.NOTHING: "there are no images; give the folder that holds train/, or two folders of images",
        survey.ARRAYS: f"they read images, not arrays, and {wanted}",
        survey.TABLE: f"{wanted}, and here are images with attributes: put those with and without one into two",
    }.get(found.layout, wanted)


def fits(found: "Survey", any_images: bool = False) -> list[Fit]:
    """Of each method that takes images of two domains or more; or of those that take any images."""
    from diptych.contract import DataKind
    from diptych.methods import METHODS, find

    sizes = found.sizes()
    kinds = {method: find(method).data for method in METHODS}
    meant = [
        name for name, kind in kinds.items() if kind != DataKind.TRANSFER and (kind == DataKind.IMAGES) == any_images
    ]
    return [_fit(method, found, sizes) for method in meant] + ([] if any_images else _enlarging(found))


def _enlarging(found: "Survey") -> list[Fit]:
    """Of a set of the same images at two sizes: methods that enlarge, which learn from the larger images alone."""
    from diptych.data.checks.survey import survey
    from diptych.methods import METHODS, find

    if not found.scale:
        return []
    large = survey(found.scale.large)
    enlarge = [method for method in METHODS if "scale" in find(method).Config.model_fields]
    return [replace(_fit(method, large, large.sizes()), root=str(large.root)) for method in enlarge]


def crop_for(sizes: Sequence[tuple[int, int]]) -> int:
    """The largest crop that half of the images (height, width) cover: 256, 128, 64 or 32 pixels."""
    side = median(map(min, sizes)) if sizes else CROPS[0]
    return next((crop for crop in CROPS if crop <= side), CROPS[-1])


def fit_for(sizes: Sequence[tuple[int, int]], crop: int) -> tuple[tuple[str, ...], str]:
    """The settings that keep images at their own scale and aspect ratio, and why; none where the default does.

    Images much larger than the crop are cut as they are, so that training sees them as `translate` will.
    """
    from diptych.data.image_format import MAX_RATIO, aspect_of

    side, aspect = median(map(min, sizes)) if sizes else crop, aspect_of(sizes)
    if side > MAX_RATIO * crop:
        why = f"images are {side / crop:.1f} times as large as crop_size={crop}"
        if min(map(min, sizes)) >= crop:
            return (
                "resize_mode=none",
            ), f"{why}: resize_mode=none trains on crops at their own scale, as translate takes them"
        load = min(round(side), 16384)
        return (
            "resize_mode=short_side",
            f"load_size={load}",
        ), f"{why}: load_size={load} trains on crops near their own scale"
    if aspect > MAX_RATIO:
        why = f"the longer side of images is {aspect:.1f} times the shorter one"
        return (
            "resize_mode=short_side",
        ), f"{why}: resize_mode=short_side keeps it so, where the default makes them square"
    return (), ""


def _fit(method: str, found: "Survey", sizes: Sequence[tuple[int, int]]) -> Fit:
    from diptych.data.image_format import direction_of
    from diptych.data.open import open_data
    from diptych.data.sources.pairs import many_folders, sides_setting
    from diptych.errors import ConfigError, DataError
    from diptych.methods import find
    from diptych.settings.recipe import load_recipe
    from diptych.settings.validate import checked

    lying, crop = many_folders(found.root), crop_for(sizes)
    reason = ""
    choose = len(lying) > 2 and not find(method).label_fields()
    looser = _looser_names(found)
    for sides in ([], [sides_setting(lying)] if choose else looser) if choose or looser else ([],):
        try:
            chosen = load_recipe(method, [f"root={found.root}", *sides])
            data = open_data(chosen.data, chosen.cls.data, tuple(chosen.cls.batch))
            labels = dict.fromkeys(find(method).label_fields().values(), data.labels)
            checked(find(method).Config, {**chosen.model.model_dump(), **labels}, method)
        except (ConfigError, DataError) as error:
            reason = reason or _in_short(str(error), str(found.root))
            continue
        if _shrinks(data.train):
            sides = [*sides, "direction=b2a"]
            chosen = load_recipe(method, [f"root={found.root}", *sides])
            data = open_data(chosen.data, chosen.cls.data, tuple(chosen.cls.batch))
        summary = f"{_in_short(data.summary, str(found.root))}{direction_of(data, chosen.data)}"
        domains = max((len(each) for each in data.labels if each.kind == "class"), default=0)
        batch = [f"batch_size={max(8, domains)}"] if find(method).traits.multi_domain else []
        cls = find(method)
        in_crops = not cls.traits.fixed_size and not cls.traits.multi_domain and cls.routes  # others need whole images
        fit, why = fit_for(sizes, crop) if in_crops else ((), "")
        settings = (*sides, *_size_settings(method, str(found.root), crop), *fit, *batch)
        return Fit(method, summary, (*data.notes, *([why] if why else [])), settings)
    return Fit(method, reason, fits=False)


def _in_short(message: str, root: str) -> str:
    """The first sentence, without the folder that all is about and the names of files at its end."""
    text = message.removeprefix(f"{root}: ").replace(f"{root}/", "").partition(". ")[0]
    return re.sub(r": [^:]*$", "", text) if text.endswith(", ...") else text


def _looser_names(found: "Survey") -> list[str]:
    """The setting by which the names of two folders agree, if they do not as they are."""
    from diptych.data.checks.survey import UNPAIRED
    from diptych.data.sources.file_names import looser_match

    parts = [part.files for part in found.parts if part.files and part.split == found.parts[0].split]
    match = looser_match(*parts) if found.layout == UNPAIRED and len(parts) == 2 else None
    return [f"pair_names={match[0]}"] if match else []


def _shrinks(split: "Split") -> bool:
    """Whether the targets of pairs are their sources at a smaller size: the direction that nobody wants."""
    from diptych.data.checks.scales import scale_of
    from diptych.data.dataset import ImageFiles

    columns = [column for column in split.columns.values() if isinstance(column, ImageFiles) and column.half is None]
    if not split.aligned or len(columns) != 2:
        return False
    scale = scale_of(columns[0].files, columns[1].files)
    return scale is not None and scale.small == columns[1].files[0].parent


def _size_settings(method: str, root: str, crop: int) -> tuple[str, ...]:
    """The settings for this crop: none at the method's own, else a generator that is made for it."""
    from diptych.errors import ConfigError
    from diptych.settings.recipe import load_recipe
    from diptych.workflows.warm_start import dry_run

    if crop == CROPS[0]:
        return ()
    usual = str(load_recipe(method, [f"root={root}"]).model.model_dump().get("generator", ""))
    smaller = {"unet_256": f"unet_{crop}", "resnet_9": "resnet_6"}.get(usual)
    for settings in ([f"generator={smaller}"] if smaller else [], [], ["depth=3"], ["receptive_field=34"]):
        try:
            dry_run(load_recipe(method, [f"root={root}", f"crop_size={crop}", *settings]))
        except ConfigError:
            continue
        return (f"crop_size={crop}", *settings)
    return ()
