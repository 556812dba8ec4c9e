"""The settings of the data: the `data:` section of a recipe, or `key=value` on the command line."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from diptych.setting import Setting

LARGEST = 1e30  # largest magnitude of a limit of `range`: float32 has it, and differences of two such values

if TYPE_CHECKING:  # tasks import the modules of images, which import this one
    from diptych.data.tasks.task import Task

ResizeMode = Literal["squash", "short_side", "center_square", "none"]
CropMode = Literal["random", "random_resized"]
Interpolation = Literal["bicubic", "bilinear"]
Resampler = Literal["torch", "pillow"]
TaskName = Literal[
    "colorize", "edges", "sketch", "inpaint", "deblur", "denoise", "jpeg", "super_resolution", "lowlight"
]
OnBadImage = Literal["error", "skip"]
ClassName = Annotated[str, Field(coerce_numbers_to_str=True, min_length=1, max_length=200)]
FolderName = Annotated[str, Field(coerce_numbers_to_str=True, min_length=1, pattern=r"^[^/\\]+$")]

MAX_BAD_SHARE = 0.01  # fraction of the files that may be unreadable with `on_bad_image=skip`


def _is_range(value: Any) -> bool:
    if isinstance(value, str):
        return value in ("full", "auto")
    is_pair = isinstance(value, list | tuple) and len(value) == 2
    return (
        is_pair and all(type(limit) in (int, float) for limit in value) and -LARGEST <= value[0] < value[1] <= LARGEST
    )


def _check_range(value: Any) -> Any:
    is_two_ranges = isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_range, value))
    if not (is_two_ranges or _is_range(value)):
        raise ValueError(
            "expected full, auto, [LOW,HIGH] with LOW < HIGH, or two of these for source and target, such as "
            "[[-1000,3000],full]"
        )
    return value


Range = Literal["full", "auto"] | tuple[float, float]


def ranges_of(value: Range | tuple[Range, Range]) -> tuple[Range, Range]:
    """Return the range of the source and of the target."""
    if isinstance(value, str) or isinstance(value[0], int | float):
        return value, value
    return value


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()


Location = Setting(text=True, path=True)


class DataConfig(BaseModel):
    """Where the training images are, and how they are read, resized and cropped."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    root: Annotated[str, Location] = Field(
        max_length=4096,
        pattern=r"^[^\x00]+$",
        description="folder of the images, a file of digits (.npz), or glyphs for the embedded letters",
    )
    layout: Literal["auto", "side_by_side", "folders"] = Field(
        "auto", description="layout of pairs: two images side by side in each file, or a folder for each domain"
    )
    folders: tuple[FolderName, ...] | None = Field(
        None,
        min_length=2,
        description="names of the folders to use if there are more than two, such as [google,twitter]",
    )
    extra_roots: Annotated[tuple[str, ...], Setting(path=True)] = Field(
        (), max_length=100, description="folders of further labelled data sets; training alternates between them"
    )
    table: str | None = Field(
        None,
        min_length=1,
        pattern=r"^[^/\\]+$",
        description="file name of the attribute table beside the images; detected if there is only one",
    )
    attributes: tuple[str, ...] = Field((), description="columns of the table to use as labels; default: all")
    exclusive: tuple[tuple[str, ...], ...] = Field(
        (), description="groups of attributes that exclude each other, such as hair colours"
    )
    partition: Literal["auto", "celeba-stargan", "celeba-dong"] = Field(
        "auto",
        description="split of a table: the split that it lists, or that of Choi et al. 2018 or Dong et al. 2017",
    )
    holdout_fraction: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="fraction of the images of each class to hold out, if a folder for each class has no splits; "
        "default: one name in twenty",
    )
    split: tuple[float, ...] | None = Field(
        None,
        min_length=2,
        max_length=3,
        description="ratios of training, validation and test images of a folder without splits, such as "
        "[0.8,0.1,0.1], or of the first two",
    )
    group_by: Annotated[str | None, Setting(text=True)] = Field(
        None,
        min_length=1,
        max_length=1000,
        description="groups of files that stay in one split: a regular expression on the path relative to root, or "
        "FILE.csv:COLUMN; default: equal file names",
    )
    matched_names: bool = Field(
        False,
        description="whether files with the same name in two domains show the same scene, for metrics that need pairs",
    )
    target_root: Annotated[str | None, Location] = Field(
        None,
        min_length=1,
        max_length=4096,
        description="folder of the target domain, if root is a labelled source domain",
    )
    background_root: Annotated[str | None, Location] = Field(
        None, min_length=1, max_length=4096, description="folder of photographs to blend digits with, as in MNIST-M"
    )
    source_without: tuple[ClassName, ...] = Field(
        (),
        max_length=1000,
        description="classes of the source domain without training images, such as [3]; held-out images keep them",
    )
    target_without: tuple[ClassName, ...] = Field(
        (),
        max_length=1000,
        description="digits of the target domain, a file of digits, without training images",
    )
    pair_names: Literal["exact", "casefold", "affix"] = Field(
        "exact",
        description="how file names of pairs are compared: exact, ignoring case (casefold), or also ignoring the "
        "prefix and suffix that all names of a folder share (affix)",
    )
    task: TaskName | None = Field(None, description="task whose pairs are computed from a folder of photographs")
    task_options: dict[str, Any] = Field({}, description="options of the task, such as {mask: freeform}")
    direction: Literal["a2b", "b2a"] = Field(
        "a2b", description="direction of translation: a2b (from the left image or first folder), or b2a (reversed)"
    )
    crop_size: int = Field(256, ge=8, le=8192, description="size of the square training images, in pixels")
    load_size: int | None = Field(
        None,
        ge=8,
        le=16384,
        description="size to resize images to before the random crop, in pixels; default: crop_size * 286/256",
    )
    random_crop_until: float = Field(
        1.0,
        ge=0,
        le=1,
        description="fraction of the steps after which images are resized to crop_size directly, without a crop",
    )
    resize_mode: ResizeMode = Field(
        "squash",
        description="resizing before the crop: to a square (squash, papers), the short side to load_size "
        "(short_side), a "
        "center crop to a square (center_square), or none",
    )
    crop_mode: CropMode = Field(
        "random",
        description="random crop of the resized image; random_resized: half of the time a random 80 to 100 % of the "
        "image, resized to crop_size (Choi et al. 2020)",
    )
    interpolation: Interpolation = Field(
        "bicubic",
        description="antialiased filter that resizes images, also held-out ones; some methods have bilinear by default",
    )
    resampler: Resampler = Field(
        "torch",
        description="library that resizes 8-bit training images: torch (fast), or pillow as the public code of the "
        "papers; they differ by one level in some pixels",
    )
    flip: bool = Field(True, description="flip images horizontally with probability 0.5")
    rotate90: bool = Field(False, description="rotate training images by 0, 90, 180 or 270 degrees at random")
    color_jitter: float = Field(
        0.0,
        ge=0,
        le=1,
        description="strength of random brightness, contrast and saturation: factors from 1 - color_jitter to "
        "1 + color_jitter, equal for the images of a pair",
    )
    random_scale: tuple[float, float] | None = Field(
        None, description="range of a random factor on the size before the crop, such as [0.8,1.2]"
    )
    range: Annotated[Range | tuple[Range, Range], BeforeValidator(_check_range)] = Field(
        "full",
        description="pixel values mapped to -1 and 1: full (of the dtype), auto (lowest and highest of the training "
        "images), or [LOW,HIGH]; [SOURCE,TARGET] sets both",
    )
    axis: Literal["axial", "coronal", "sagittal"] = Field("axial", description="which slices of volumes are images")
    context: int = Field(
        0, ge=0, le=16, description="neighbouring slices of a volume on each side, as further channels of the source"
    )
    window: tuple[float, float] | None = Field(
        None,
        description="[CENTER,WIDTH] of the values of volumes mapped to -1 and 1, instead of range, as in DICOM viewers",
    )
    label_map: Literal["none", "source", "target", "both"] = Field(
        "none", description="domains whose pixel values are class ids, encoded one-hot"
    )
    alpha: Literal["white", "keep"] = Field(
        "white", description="transparency: composite over white, or keep as a fourth channel"
    )
    on_bad_image: OnBadImage = Field(
        "error", description="for images that cannot be read: stop with an error, or skip up to 1 % of them"
    )

    @model_validator(mode="after")
    def _check_folders(self) -> "DataConfig":
        if self.folders and self.layout == "side_by_side":
            raise ValueError(
                "folders= names two folders, but layout=side_by_side has two images in each file: give one of them"
            )
        if self.folders and (len(set(self.folders)) < len(self.folders) or {".", ".."} & set(self.folders)):
            raise ValueError(f"folders={list(self.folders)}: give different names")
        return self

    @model_validator(mode="after")
    def _check_window(self) -> "DataConfig":
        if self.window and self.window[1] <= 0:
            raise ValueError(f"window={list(self.window)}: expected [CENTER,WIDTH] with a WIDTH above 0")
        if self.window and self.range != "full":
            raise ValueError("window and range both give the values mapped to -1 and 1: give one of them")
        return self

    @model_validator(mode="after")
    def _check_split(self) -> "DataConfig":
        if self.split is None:
            return self
        if min(self.split) <= 0 or abs(sum(self.split) - 1) > 1e-6:
            raise ValueError(
                f"split={list(self.split)}: expected ratios above 0 that add up to 1, such as [0.8,0.1,0.1]"
            )
        for name, default in (("holdout_fraction", None), ("partition", "auto")):
            if vars(self)[name] != default:
                raise ValueError(f"split= and {name}= both choose the held-out images: give one of them")
        return self

    @model_validator(mode="after")
    def _check_group_by(self) -> "DataConfig":
        try:
            re.compile(self.group_by or "")
        except re.error as error:
            raise ValueError(
                f"group_by={self.group_by}: neither FILE.csv:COLUMN nor a regular expression ({error})"
            ) from error
        return self

    @model_validator(mode="after")
    def _check_random_scale(self) -> "DataConfig":
        if self.random_scale and not 0 < self.random_scale[0] <= self.random_scale[1] <= 10:
            raise ValueError(f"random_scale={list(self.random_scale)}: expected [LOW,HIGH] with 0 < LOW <= HIGH <= 10")
        return self

    @model_validator(mode="after")
    def _check_load_size(self) -> "DataConfig":
        if self.load_size is not None and self.load_size < self.crop_size:
            raise ValueError(f"load_size={self.load_size} is smaller than crop_size={self.crop_size}")
        return self

    @model_validator(mode="after")
    def _check_task(self) -> "DataConfig":
        if self.task_options and not self.task:
            raise ValueError("task_options has no effect without task: leave it out, or choose a task")
        if self.task:
            _ = self.pair_task  # which checks the options
            for name, default in (("label_map", "none"), ("alpha", "white")):
                if vars(self)[name] != default:
                    raise ValueError(
                        f"{name}={vars(self)[name]}: task={self.task} is for photographs; leave {name}= out"
                    )
        return self

    @property
    def pair_task(self) -> "Task | None":
        """The task whose pairs are computed, if any."""
        from diptych.data.tasks.known_tasks import task_of

        return task_of(self.task, self.task_options) if self.task else None

    def with_task_files(self) -> "DataConfig":
        """Return the settings with path and hash of the files of the task, so that later uses know them. DataError."""
        task = self.pair_task
        files = task.file_options() if task else {}
        return self.model_copy(update={"task_options": {**self.task_options, **files}}) if files else self

    def for_root(self, root: str) -> "DataConfig":
        """Return the settings for a single data set, `root`.

        For one of `extra_roots`, settings about the table or the folders of the first data set have their defaults.
        """
        names = ["extra_roots"]
        if _absolute(root) in map(_absolute, self.extra_roots):
            names += ["folders", "table", "attributes", "exclusive", "partition", "background_root"]
        defaults = {name: type(self).model_fields[name].default for name in names}
        return self.model_copy(update={**defaults, "root": root})

    def trains_on(self, root: str) -> bool:
        """Return whether `root` is one of the data sets to train on."""
        return _absolute(root) in map(_absolute, filter(None, (self.root, *self.extra_roots, self.target_root)))

    @property
    def effective_load_size(self) -> int:
        """`load_size`, or its default by `crop_size`."""
        return self.load_size or round(self.crop_size * 286 / 256)
