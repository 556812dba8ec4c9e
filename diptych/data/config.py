"""The settings of the data floor, as a recipe's `data:` section or `key=value` on the command line."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from diptych.contract import Setting

Side = Annotated[str, Field(coerce_numbers_to_str=True, min_length=1, pattern=r"^[^/\\]+$")]

MOST_BAD = 0.01  # of the files may be unreadable under `bad=skip`
MOST_VALUE = 65535  # of a pixel


def _is_range(value: Any) -> bool:
    if isinstance(value, str):
        return value in ("full", "auto")
    numbers = isinstance(value, list | tuple) and [type(each) in (int, float) for each in value] == [True, True]
    return numbers and 0 <= value[0] < value[1] <= MOST_VALUE


def _check_range(value: Any) -> Any:
    two = isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_range, value))
    if not (two or _is_range(value)):
        raise ValueError(
            f"full, auto, [LOW,HIGH] with 0 <= LOW < HIGH <= {MOST_VALUE}, or two of these for source and target, "
            f"such as [[0,4095],full]"
        )
    return value


Range = Literal["full", "auto"] | tuple[float, float]


def ranges_of(value: Range | tuple[Range, Range]) -> tuple[Range, Range]:
    """Return the range of the source and of the target."""
    if isinstance(value, str) or isinstance(value[0], int | float):
        return value, value
    return value


Location = Setting(text=True, path=True)


class DataConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    root: Annotated[str, Location] = Field(
        max_length=4096, pattern=r"^[^\x00]+$", description="folder of images, or glyphs for the embedded letters"
    )
    layout: Literal["auto", "side_by_side", "folders"] = Field(
        "auto", description="two pictures in each file, or a folder for each side"
    )
    folders: tuple[Side, ...] | None = Field(
        None, min_length=2, description="names of the folders to take where there are more, such as [google,twitter]"
    )
    extra_roots: Annotated[tuple[str, ...], Setting(path=True)] = Field(
        (), max_length=100, description="folders of further labelled sets, taken in turns"
    )
    table: str | None = Field(
        None,
        min_length=1,
        pattern=r"^[^/\\]+$",
        description="file of attributes beside the images; found by itself if there is one",
    )
    attributes: tuple[str, ...] = Field((), description="columns of the table to learn; default: all")
    exclusive: tuple[tuple[str, ...], ...] = Field((), description="groups of attributes of which one holds at most")
    partition: Literal["auto", "celeba-stargan", "celeba-dong"] = Field(
        "auto",
        description="test images of a table: as it says itself, or as Choi et al. 2018 or Dong et al. 2017 chose them",
    )
    matched_names: bool = Field(
        False, description="whether files of one name are the same scene in each class, so truth is known"
    )
    target_root: Annotated[str | None, Location] = Field(
        None, min_length=1, max_length=4096, description="the set to draw like, where that of root has labels to read"
    )
    background_root: Annotated[str | None, Location] = Field(
        None, min_length=1, max_length=4096, description="photographs that digits lie over, as in MNIST-M"
    )
    pair_names: Literal["exact", "casefold", "affix"] = Field(
        "exact",
        description="how names of pairs are compared: exact, without case, or without what all of a folder share too",
    )
    direction: Literal["a2b", "b2a"] = Field(
        "a2b", description="a2b: left or first is the source; b2a: right or second"
    )
    crop_size: int = Field(256, ge=8, le=8192, description="pixels of the square that training sees")
    load_size: int | None = Field(
        None, ge=8, le=16384, description="pixels to resize to before the crop; default crop * 286/256"
    )
    random_crop_until: float = Field(
        1.0, ge=0, le=1, description="share of the steps after which load is crop, so that nothing is cut any more"
    )
    resize_mode: Literal["squash", "short_side", "center_square", "none"] = Field(
        "squash", description="squash to a square (papers), short side to load, the centre's square, or none"
    )
    crop_mode: Literal["random", "random_resized"] = Field(
        "random",
        description="a crop of what was resized to load, or half of the time 0.8 to 1 of the image (Choi et al. 2020)",
    )
    flip: bool = Field(True, description="mirror half of the images")
    range: Annotated[Range | tuple[Range, Range], BeforeValidator(_check_range)] = Field(
        "full",
        description="pixel values that become -1 and 1: full (all that the depth holds), auto (lowest and highest of "
        "the training images of each domain), or [LOW,HIGH]; [SOURCE,TARGET] sets them apart, as [[0,4095],full]",
    )
    label_map: Literal["none", "source", "target", "both"] = Field(
        "none", description="domains whose pixel values are class ids: one channel for each class"
    )
    alpha: Literal["white", "keep"] = Field(
        "white", description="transparency: composited over white, or kept as a fourth channel"
    )
    on_bad_image: Literal["error", "skip"] = Field(
        "error", description="what to do with images that cannot be read: error, or skip up to 1 % of them"
    )

    @model_validator(mode="after")
    def _sides_are_two_folders(self) -> "DataConfig":
        if self.folders and self.layout == "side_by_side":
            raise ValueError("sides names two folders, but layout=side_by_side has two pictures in each file: give one")
        if self.folders and (len(set(self.folders)) < len(self.folders) or {".", ".."} & set(self.folders)):
            raise ValueError(f"folders={list(self.folders)}: name different folders")
        return self

    @model_validator(mode="after")
    def _load_covers_crop(self) -> "DataConfig":
        if self.load_size is not None and self.load_size < self.crop_size:
            raise ValueError(f"load_size={self.load_size} is smaller than crop_size={self.crop_size}")
        return self

    def of(self, root: str) -> "DataConfig":
        """For another set alone. What is said of the table or the folders of the first set holds for none of `also`."""
        others = [Path(each).expanduser().absolute() for each in self.extra_roots]
        further = Path(root).expanduser().absolute() in others
        about = {"folders", "table", "attributes", "exclusive", "partition", "background_root"} if further else set()
        usual = {name: type(self).model_fields[name].default for name in ("extra_roots", *about)}
        return self.model_copy(update={**usual, "root": root})

    @property
    def loaded(self) -> int:
        return self.load_size or round(self.crop_size * 286 / 256)
