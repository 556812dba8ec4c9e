"""The data floor: `open_data` turns settings into columns of images, `loader.Batches` turns those into batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

FOR_PAIRS = ("layout", "direction", "pair_names")  # settings that say nothing of classes, attributes and heaps
FOR_CLASSES = ("folders", "matched_names")  # of attributes
FOR_TABLES = ("table", "attributes", "exclusive", "partition")  # and of classes
DIGITS = "a file of digits has ten classes, and no names"

if TYPE_CHECKING:  # the processes that examine images (`data.examine`) import nothing that they do not need
    from diptych.contract import DataKind
    from diptych.data.config import DataConfig
    from diptych.data.dataset import Data


def open_data(config: "DataConfig", kind: "DataKind", names: Sequence[str] = ()) -> "Data":
    """The data at `config.root`, of the kind that a method declares, as columns called `names` (its `batch`).

    Without `names`: source and target, a and b, image, label, reference, other. Raises DataError.
    """
    from diptych.contract import DataKind
    from diptych.data.sources import datasets, digits
    from diptych.errors import DataError

    if datasets.is_dataset(config.root):
        raise DataError(
            f"{config.root}: this run was trained on a dataset given from Python, which no file can hold: give it again, "
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
        raise DataError(f"target_root={config.target_root}: this method takes one set; leave it out")
    if config.extra_roots and kind not in (DataKind.LABELLED, DataKind.REFERENCED):
        raise DataError(
            f"extra_roots={list(config.extra_roots)}: this method learns from one data set, and needs no labels"
        )
    if not digits.is_digits(config.root):
        _refuse(("background_root",), config, "only a file of digits is laid over photographs")
    data = openers[kind](config)
    return data.named(names) if names else data


def _open_pairs(config: "DataConfig") -> "Data":
    """Aligned pairs: two images in each file, two folders with the same names, or letters."""
    from diptych.data.sources import glyphs
    from diptych.data.sources.pairs import open_folder

    _refuse_digits(config)
    _refuse(FOR_TABLES, config, "this method takes two folders, or two pictures in each file")
    if glyphs.is_glyphs(config.root):
        return glyphs.open_two_faces(config, pairs=True)
    data = open_folder(config, paired=True)
    return data.with_matched_names() if config.matched_names else data


def _open_unpaired(config: "DataConfig") -> "Data":
    """Images of two domains: two folders, images without and with one attribute of a table, or letters."""
    from diptych.data.sources import glyphs
    from diptych.data.sources.pairs import open_folder
    from diptych.data.sources.transfer import split_by_attribute
    from diptych.errors import DataError

    _refuse_digits(config)
    if config.attributes or config.table:
        return split_by_attribute(_open_one(config), config)
    _refuse(FOR_TABLES, config, "this method takes two folders, or two pictures in each file")
    if glyphs.is_glyphs(config.root):
        return glyphs.open_two_faces(config, pairs=False)
    try:
        data = open_folder(config, paired=False)
    except DataError as error:
        if not _is_table_alone(config):
            raise
        raise DataError(f"{error}. Or choose one attribute of the table there: attributes=[NAME]") from error
    return data.with_matched_names() if config.matched_names else data


def _refuse_digits(config: "DataConfig") -> None:
    from diptych.data.sources import digits
    from diptych.errors import DataError

    if digits.is_digits(config.root):
        raise DataError(f"{config.root}: a file of labelled digits, and this method takes folders of images")


def _is_table_alone(config: "DataConfig") -> bool:
    """Whether a table of attributes is all that could tell its images apart."""
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
    """DataError for the first of these that is set, since it says nothing of such data."""
    from diptych.errors import DataError

    given, usual = vars(config), type(config).model_fields
    for name in settings:
        if given[name] != usual[name].default:
            raise DataError(f"{config.root}: {reason}: leave {name}= out")


def _open_images(config: "DataConfig") -> "Data":
    """All images, whatever folder they are in."""
    _refuse((*FOR_PAIRS, *FOR_CLASSES, *FOR_TABLES), config, "this method takes all images alike")
    return _open_heap(config)


def _open_heap(config: "DataConfig", half: int | None = None) -> "Data":
    from diptych.data.sources import digits, glyphs
    from diptych.data.sources.pairs import open_unlabelled

    if digits.is_digits(config.root):
        return digits.without_labels(digits.open_digits(config, half))
    return glyphs.open_unlabelled(config) if glyphs.is_glyphs(config.root) else open_unlabelled(config)


def _open_transfer(config: "DataConfig") -> "Data":
    """The labelled set at `config.root`, and the images of `config.target`. Of one file of digits each has a half."""
    from diptych.data.sources import digits, glyphs
    from diptych.data.sources.transfer import combine_for_transfer
    from diptych.errors import DataError

    if not config.target_root:
        raise DataError(f"{config.root}: to draw like which images? Name their folder by target_root=FOLDER")
    _refuse(FOR_PAIRS, config, "this method goes from root to target")
    there = config.model_copy(update={"target_root": None})
    if glyphs.is_glyphs(config.root) != glyphs.is_glyphs(config.target_root):
        raise DataError("letters are drawn like letters: let both root and target begin with glyphs:")
    if glyphs.is_glyphs(config.root):
        return glyphs.open_transfer(config)
    other = there.for_root(config.target_root).model_copy(update={"background_root": None})
    if not Path(config.target_root).expanduser().exists():
        raise DataError(f"target_root={config.target_root}: there is no such folder")
    if digits.is_digits(config.root):
        _refuse((*FOR_CLASSES, *FOR_TABLES), config, DIGITS)
        half = (0, 1) if config.target_root == config.root else (None, None)
        return combine_for_transfer(digits.open_digits(there, half[0]), _open_heap(other, half[1]), twins=False)
    source = _open_one(there)
    if source.labels[0].kind != "class":
        raise DataError(f"{config.root}: a table of attributes, and this method reads classes: put each into a folder")
    return combine_for_transfer(source, _open_heap(other), config.matched_names)


def _open_referenced(config: "DataConfig") -> "Data":
    """Classes of one set, with reference images of the class to translate to."""
    from dataclasses import replace

    from diptych.data.sources.classes import with_references
    from diptych.errors import DataError

    data = _open_labelled(config)
    if data.others or data.labels[0].kind != "class":
        raise DataError(f"{config.root}: this method translates between classes of one set: a folder for each")
    test = data.test and with_references(data.test)
    return replace(data, train=with_references(data.train), held_out=with_references(data.held_out), test=test)


def _open_labelled(config: "DataConfig") -> "Data":
    """The set at `config.root` and those beside it, each with labels of its own."""
    from dataclasses import replace

    _refuse(FOR_PAIRS, config, "this method goes from any class or attribute to any other")
    data = _open_one(config)
    others = tuple(_open_one(config.for_root(root)) for root in config.extra_roots)
    summary = "\n".join(each.summary for each in (data, *others))
    notes = tuple(note for each in (data, *others) for note in each.notes)
    labels = tuple(label for each in (data, *others) for label in each.labels)
    return replace(data, others=others, labels=labels, summary=summary, notes=notes)


def _open_one(config: "DataConfig") -> "Data":
    from dataclasses import replace

    from diptych.data.sources import digits, glyphs
    from diptych.data.sources.attributes import find_table, open_attributes
    from diptych.data.sources.classes import has_classes, open_classes
    from diptych.data.sources.folders import root_of

    if glyphs.is_glyphs(config.root):
        data = glyphs.open_labelled(config)
    elif digits.is_digits(config.root):
        _refuse((*FOR_CLASSES, *FOR_TABLES), config, DIGITS)
        data = digits.open_digits(config)
    else:
        root = root_of(config)
        asked = config.table or config.attributes
        table = find_table(root, config) if asked or not has_classes(root) else None
        lies = f"{table.name} has attributes, and no classes" if table else "there is no table of attributes"
        _refuse(FOR_CLASSES if table else FOR_TABLES, config, lies)
        data = open_attributes(root, table, config) if table else open_classes(root, config)
    train, held_out = (replace(part, labels=data.labels[0]) for part in (data.train, data.held_out))
    test = data.test and replace(data.test, labels=data.labels[0])
    return replace(data, train=train, held_out=held_out, test=test)
