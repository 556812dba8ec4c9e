"""The settings of the data floor, as a recipe's `data:` section or `key=value` on the command line."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from diptych.data.transforms import Fit


class DataConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    root: str = Field(description="folder of images, or glyphs for the embedded letters")
    layout: Literal["auto", "side_by_side", "folders"] = Field(
        "auto", description="two pictures in each file, or a folder for each side"
    )
    direction: Literal["a2b", "b2a"] = Field(
        "a2b", description="a2b: left or first is the source; b2a: right or second"
    )
    crop: int = Field(256, ge=8, le=8192, description="pixels of the square that training sees")
    load: int | None = Field(
        None, ge=8, le=16384, description="pixels to resize to before the crop; default crop * 286/256"
    )
    fit: Fit = Field("squash", description="squash to a square (papers), short side to load, or none")
    flip: bool = Field(True, description="mirror half of the images")

    @model_validator(mode="after")
    def _load_covers_crop(self) -> "DataConfig":
        if self.load is not None and self.load < self.crop:
            raise ValueError(f"load={self.load} is smaller than crop={self.crop}")
        return self

    @property
    def loaded(self) -> int:
        return self.load or round(self.crop * 286 / 256)
