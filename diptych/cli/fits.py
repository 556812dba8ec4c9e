"""Which methods a folder fits, found by opening it as each of them would, and the command to start with."""

import re
import shlex
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from diptych.data.columns import Split
    from diptych.data.survey import Survey

CROPS = (256, 128, 64, 32)


@dataclass(frozen=True)
class Fit:
    """How a method sees a folder: what it would train on and with which settings, or why it cannot."""

    method: str
    summary: str
    notes: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    fits: bool = True


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
    return shlex.join(["diptych", "train", fit.method, "--data", str(found.root), *fit.settings])


def why_not(found: "Survey") -> str:
    from diptych.data import survey

    wanted = "they want pairs side by side in each file, or two folders"
    return {
        survey.NOTHING: "there are no images; give the folder that holds train/, or two folders of images",
        survey.ARRAYS: f"they read images, not arrays, and {wanted}",
        survey.TABLE: f"{wanted}, and here are images with attributes: put those with and without one into two",
    }.get(found.layout, wanted)


def fits(found: "Survey", any_images: bool = False) -> list[Fit]:
    """Of each method that takes images of two domains or more; or of those that take any images."""
    from diptych.data.layouts import HEAP
    from diptych.data.transfer import TRANSFER
    from diptych.methods import METHODS, find

    crop = crop_for(found)
    batches = {method: tuple(find(method).batch) for method in METHODS}
    meant = [name for name, batch in batches.items() if batch != TRANSFER and (batch == HEAP) == any_images]
    return [_fit(method, found, crop) for method in meant]


def crop_for(found: "Survey") -> int:
    """The largest crop that half of the images cover: 256, 128, 64 or 32 pixels."""
    from diptych.data.survey import SIDE_BY_SIDE

    halves = 2 if found.layout == SIDE_BY_SIDE else 1
    good = [entry.finding for entry in found.manifest.entries if not entry.finding.problem]
    side = median(min(each.width // halves, each.height) for each in good) if good else CROPS[0]
    return next((crop for crop in CROPS if crop <= side), CROPS[-1])


def _fit(method: str, found: "Survey", crop: int) -> Fit:
    from diptych.data import open_data
    from diptych.data.layouts import many_folders, sides_setting
    from diptych.errors import ConfigError, DataError
    from diptych.methods import find
    from diptych.recipe import checked, named

    lying = many_folders(found.root)
    reason = ""
    choose = len(lying) > 2 and not find(method).labels
    for sides in ([], [sides_setting(lying)]) if choose else ([],):
        try:
            chosen = named(method, [f"root={found.root}", *sides])
            data = open_data(chosen.data, tuple(find(method).batch))
            labels = dict.fromkeys(find(method).labels.values(), data.labels)
            checked(find(method).Config, {**chosen.model.model_dump(), **labels}, method)
        except (ConfigError, DataError) as error:
            reason = reason or _in_short(str(error), str(found.root))
            continue
        summary = f"{_in_short(data.summary, str(found.root))}{_way(data.train)}"
        domains = max((len(each) for each in data.labels if each.kind == "class"), default=0)
        batch = [f"batch={max(8, domains)}"] if find(method).domains else []
        return Fit(method, summary, data.notes, (*sides, *_size_settings(method, str(found.root), crop), *batch))
    return Fit(method, reason, fits=False)


def _in_short(message: str, root: str) -> str:
    """The first sentence, without the folder that all is about and the names of files at its end."""
    text = message.removeprefix(f"{root}: ").replace(f"{root}/", "").partition(". ")[0]
    return re.sub(r": [^:]*$", "", text) if text.endswith(", ...") else text


def _way(split: "Split") -> str:
    """` from cat to dog`, where the sides are folders."""
    from diptych.data.columns import Pictures

    folders = [column.files[0].parent.name for column in split.columns.values() if isinstance(column, Pictures)]
    return f", from {folders[0]} to {folders[1]}" if len(set(folders)) == 2 else ""


def _size_settings(method: str, root: str, crop: int) -> tuple[str, ...]:
    """The settings for this crop: none at the method's own, else a generator that is made for it."""
    from diptych.beginning import rehearse
    from diptych.errors import ConfigError
    from diptych.recipe import named

    if crop == CROPS[0]:
        return ()
    usual = str(named(method, [f"root={root}"]).model.model_dump().get("generator", ""))
    smaller = {"unet_256": f"unet_{crop}", "resnet_9": "resnet_6"}.get(usual)
    for settings in ([f"generator={smaller}"] if smaller else [], [], ["depth=3"], ["field=34"]):
        try:
            rehearse(named(method, [f"root={root}", f"crop={crop}", *settings]))
        except ConfigError:
            continue
        return (f"crop={crop}", *settings)
    return ()
