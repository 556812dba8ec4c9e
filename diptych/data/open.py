"""Open a data set: `open_data` returns the columns of images and labels for a kind of data; `batches.py` loads them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

FOR_PAIRS = ("layout", "direction", "pair_names")  # settings without effect on classes, attributes, unlabelled images
FOR_CLASSES = ("folders", "matched_names")  # settings without effect on attributes
FOR_TABLES = ("table", "attributes", "exclusive", "partition")  # settings without effect on classes
BY_RATIO = ("split", "group_by")  # settings without effect on a file of digits, which has splits
DIGITS = "a file of digits has ten classes without names"

if TYPE_CHECKING:  # processes that inspect images (`data.checks.inspect_file`) import no more than they need
    from diptych.contract import DataKind
    from diptych.data.config import DataConfig
    from diptych.data.dataset import Data


def open_data(config: "DataConfig", kind: "DataKind", names: Sequence[str] = ()) -> "Data":
    """Return the data at `config.root`, of the kind that a method declares. `names` are the columns, as in its `batch`.

    Default names: source and target, a and b, image, label, reference, other. Raises DataError.
    """
    from diptych.contract import DataKind
    from diptych.data.sources import datasets, digits
    from diptych.errors import DataError

    if datasets.is_dataset(config.root):
        raise DataError(
            f"{config.root}: this run was trained on a dataset given from Python, which no file can hold: give it "
            "again, "
            f"as in diptych.resume(run, data=dataset); or give a folder of images by --data"
        )
    openers = {
        DataKind.PAIRED: _open_pairs,
        DataKind.UNPAIRED: _open_unpaired,
        DataKind.IMAGES: _open_images,
        DataKind.LABELLED: _open_labelled,
        DataKind.REFERENCED: _open_referenced,
        DataKind.TRANSFER: _open_transfer,
    }
    if config.target_root and kind != DataKind.TRANSFER:
        raise DataError(f"target_root={config.target_root}: this method uses one data set; leave target_root= out")
    if config.extra_roots and kind not in (DataKind.LABELLED, DataKind.REFERENCED):
        raise DataError(
            f"extra_roots={list(config.extra_roots)}: this method uses one data set without labels; leave "
            f"extra_roots= out"
        )
    if config.task and kind != DataKind.PAIRED:
        raise DataError(f"task={config.task}: it computes pairs, and this method does not use pairs: leave task= out")
    if not digits.is_digits(config.root):
        _refuse(("background_root",), config, "only a file of digits is blended with photographs")
    data = openers[kind](config)
    return data.rename_columns(names) if names else data


def _open_pairs(config: "DataConfig") -> "Data":
    """Return aligned pairs: two images in each file, two folders with the same file names, or letters."""
    from diptych.data.sources import glyphs
    from diptych.data.sources.pairs import open_folder

    _refuse_digits(config)
    _refuse(FOR_TABLES, config, "this method needs two folders, or two images in each file")
    if config.task:
        return _open_task(config)
    if glyphs.is_glyphs(config.root):
        return glyphs.open_two_faces(config, pairs=True)
    data = open_folder(config, paired=True)
    return data.with_matched_names() if config.matched_names else data


def _open_task(config: "DataConfig") -> "Data":
    """Return pairs that a task computes: of all photographs of a folder, or of the target images of pairs."""
    from diptych.data.sources import glyphs
    from diptych.data.sources.pairs import open_folder, open_unlabelled
    from diptych.data.sources.photographs import with_task
    from diptych.errors import DataError

    if glyphs.is_glyphs(config.root):
        raise DataError(f"{config.root}: task={config.task} is for a folder of photographs")
    if config.layout == "auto":
        _refuse(("direction", "folders", *FOR_PAIRS[2:]), config, f"task={config.task} computes the sources")
    data = open_unlabelled(config) if config.layout == "auto" else open_folder(config, paired=True)
    return with_task(data, config)


def _open_unpaired(config: "DataConfig") -> "Data":
    """Return images of two domains: two folders, images without and with one attribute of a table, or letters."""
    from diptych.data.sources import glyphs
    from diptych.data.sources.pairs import open_folder
    from diptych.data.sources.transfer import split_by_attribute
    from diptych.errors import DataError

    _refuse_digits(config)
    if config.attributes or config.table:
        return split_by_attribute(_open_one_labelled(config), config)
    _refuse(FOR_TABLES, config, "this method needs two folders, or two images in each file")
    if glyphs.is_glyphs(config.root):
        return glyphs.open_two_faces(config, pairs=False)
    try:
        data = open_folder(config, paired=False)
    except DataError as error:
        if not _has_only_table(config):
            raise
        raise DataError(f"{error}. Or choose one attribute of the table there: attributes=[NAME]") from error
    return data.with_matched_names() if config.matched_names else data


def _refuse_digits(config: "DataConfig") -> None:
    from diptych.data.sources import digits
    from diptych.errors import DataError

    if digits.is_digits(config.root):
        raise DataError(f"{config.root}: a file of labelled digits, but this method needs folders of images")


def _has_only_table(config: "DataConfig") -> bool:
    """Return whether the images have an attribute table and no domain folders."""
    from contextlib import suppress

    from diptych.data.sources.attributes import find_table
    from diptych.data.sources.folders import root_of
    from diptych.data.sources.pairs import two_folders
    from diptych.errors import DataError

    with suppress(DataError):
        root = root_of(config)
        return not two_folders(root) and find_table(root, config) is not None
    return False


def _refuse(settings: Sequence[str], config: "DataConfig", reason: str) -> None:
    """Raise DataError for the first of these settings that is set, since it has no effect on such data."""
    from diptych.errors import DataError

    values, fields = vars(config), type(config).model_fields
    for name in settings:
        if values[name] != fields[name].default:
            raise DataError(f"{config.root}: {reason}: leave {name}= out")


def _open_images(config: "DataConfig") -> "Data":
    """Return all images, of any folder, without labels."""
    _refuse((*FOR_PAIRS, *FOR_CLASSES, *FOR_TABLES), config, "this method uses all images alike")
    return _open_unlabelled(config)


def _open_unlabelled(config: "DataConfig", half: int | None = None) -> "Data":
    """Return all images of a folder, of letters, or of a file of digits, of which `half` selects one half."""
    from diptych.data.sources import digits, glyphs
    from diptych.data.sources.pairs import open_unlabelled

    if digits.is_digits(config.root):
        _refuse(BY_RATIO, config, DIGITS)
        return digits.without_labels(digits.open_digits(config, half))
    return glyphs.open_unlabelled(config) if glyphs.is_glyphs(config.root) else open_unlabelled(config)


def _open_transfer(config: "DataConfig") -> "Data":
    """Return the labelled source images at `config.root`, and the target images at `config.target_root`.

    If both are the same file of digits, each has one half of it.
    """
    from diptych.data.sources import digits, glyphs
    from diptych.data.sources.transfer import combine_for_transfer, without_classes
    from diptych.errors import DataError

    if not config.target_root:
        raise DataError(f"{config.root}: no target domain: give its folder by target_root=FOLDER")
    _refuse(FOR_PAIRS, config, "this method translates from root to target_root")
    source_config = config.model_copy(update={"target_root": None})
    if glyphs.is_glyphs(config.root) != glyphs.is_glyphs(config.target_root):
        raise DataError("letters translate only to letters: both root and target_root must begin with glyphs:")
    if glyphs.is_glyphs(config.root):
        _refuse(("source_without", "target_without"), config, "letters are used as they are")
        return glyphs.open_transfer(config)
    target_config = config.for_root(config.target_root).model_copy(
        update={"target_root": None, "background_root": None}
    )
    if not Path(config.target_root).expanduser().exists():
        raise DataError(f"target_root={config.target_root}: there is no such folder")
    halves: tuple[int | None, int | None] = (None, None)
    if digits.is_digits(config.root):
        _refuse((*FOR_CLASSES, *FOR_TABLES, *BY_RATIO), config, DIGITS)
        halves = (0, 1) if config.target_root == config.root else (None, None)
        source = digits.open_digits(source_config, halves[0])
    else:
        source = _open_one_labelled(source_config)
    source = without_classes(source, config.source_without, "source_without")
    if digits.is_digits(config.target_root):
        target = digits.open_digits(target_config, halves[1])
        target = digits.without_labels(without_classes(target, config.target_without, "target_without"))
    else:
        _refuse(("target_without",), config, "the images of the target have no labels")
        target = _open_unlabelled(target_config)
    return combine_for_transfer(source, target, config.matched_names)


def _open_referenced(config: "DataConfig") -> "Data":
    """Return the classes of one data set, with reference images of the target class."""
    from dataclasses import replace

    from diptych.data.sources.classes import with_references
    from diptych.errors import DataError

    data = _open_labelled(config)
    if data.others or data.labels[0].kind != "class":
        raise DataError(f"{config.root}: this method translates between the classes of one data set: a folder for each")
    test = data.test and with_references(data.test)
    return replace(data, train=with_references(data.train), held_out=with_references(data.held_out), test=test)


def _open_labelled(config: "DataConfig") -> "Data":
    """Return the data set at `config.root` with those of `extra_roots`, each with its own labels."""
    from dataclasses import replace

    _refuse(FOR_PAIRS, config, "this method translates between all classes or attributes")
    data = _open_one_labelled(config)
    others = tuple(_open_one_labelled(config.for_root(root)) for root in config.extra_roots)
    sets = (data, *others)
    return replace(
        data,
        others=others,
        labels=tuple(labels for part in sets for labels in part.labels),
        summary="\n".join(part.summary for part in sets),
        notes=tuple(note for part in sets for note in part.notes),
    )


def _open_one_labelled(config: "DataConfig") -> "Data":
    """Return one labelled data set: letters, digits, class folders, or images with an attribute table."""
    from dataclasses import replace

    from diptych.data.sources import digits, glyphs
    from diptych.data.sources.attributes import find_table, open_attributes
    from diptych.data.sources.classes import has_classes, open_classes
    from diptych.data.sources.folders import root_of

    if glyphs.is_glyphs(config.root):
        data = glyphs.open_labelled(config)
    elif digits.is_digits(config.root):
        _refuse((*FOR_CLASSES, *FOR_TABLES, *BY_RATIO), config, DIGITS)
        data = digits.open_digits(config)
    else:
        root = root_of(config)
        uses_table = config.table or config.attributes or not has_classes(root)
        table = find_table(root, config) if uses_table else None
        if table:
            _refuse(FOR_CLASSES, config, f"{table.name} has attributes, not classes")
            data = open_attributes(root, table, config)
        else:
            _refuse(FOR_TABLES, config, "there is no table of attributes")
            data = open_classes(root, config)
    train, held_out = replace(data.train, labels=data.labels[0]), replace(data.held_out, labels=data.labels[0])
    test = data.test and replace(data.test, labels=data.labels[0])
    return replace(data, train=train, held_out=held_out, test=test)
