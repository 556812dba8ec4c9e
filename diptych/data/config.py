"""The settings of the data floor, as a recipe's `data:` section or `key=value` on the command line."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Side = Annotated[str, Field(coerce_numbers_to_str=True, min_length=1, pattern=r"^[^/\\]+$")]

MOST_BAD = 0.01  # of the files may be unreadable under `bad=skip`


class DataConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    root: str = Field(
        max_length=4096, pattern=r"^[^\x00]+$", description="folder of images, or glyphs for the embedded letters"
    )
    layout: Literal["auto", "side_by_side", "folders"] = Field(
        "auto", description="two pictures in each file, or a folder for each side"
    )
    sides: tuple[Side, Side] | None = Field(
        None, description="names of the two folders to take where there are more, such as [google,twitter]"
    )
    direction: Literal["a2b", "b2a"] = Field(
        "a2b", description="a2b: left or first is the source; b2a: right or second"
    )
    crop: int = Field(256, ge=8, le=8192, description="pixels of the square that training sees")
    load: int | None = Field(
        None, ge=8, le=16384, description="pixels to resize to before the crop; default crop * 286/256"
    )
    fit: Literal["squash", "short", "none"] = Field(
        "squash", description="squash to a square (papers), short side to load, or none"
    )
    flip: bool = Field(True, description="mirror half of the images")
    bad: Literal["error", "skip"] = Field(
        "error", description="what to do with images that cannot be read: error, or skip up to 1 % of them"
    )

    @model_validator(mode="after")
    def _sides_are_two_folders(self) -> "DataConfig":
        if self.sides and self.layout == "side_by_side":
            raise ValueError("sides names two folders, but layout=side_by_side has two pictures in each file: give one")
        if self.sides and (self.sides[0] == self.sides[1] or {".", ".."} & set(self.sides)):
            raise ValueError(f"sides={list(self.sides)}: name two different folders")
        return self

    @model_validator(mode="after")
    def _load_covers_crop(self) -> "DataConfig":
        if self.load is not None and self.load < self.crop:
            raise ValueError(f"load={self.load} is smaller than crop={self.crop}")
        return self

    @property
    def loaded(self) -> int:
        return self.load or round(self.crop * 286 / 256)
