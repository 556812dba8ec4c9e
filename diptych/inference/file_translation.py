"""One file in, the pixels of its translation out: in tiles if it is too large, with alpha, as a sample grid."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.data.images import image_io, metadata
from diptych.data.images.image_io import StoredFile
from diptych.data.images.metadata import Metadata
from diptych.data.images.nodata import nodata_for, with_nodata
from diptych.inference.file_plan import FilePlan, plan_files
from diptych.inference.image_translator import ImageTranslator
from diptych.inference.preprocessing import copy_alpha

if TYPE_CHECKING:
    from diptych.inference.tiles import TileOptions

Draw = Callable[[np.ndarray, str], np.ndarray]
Source = Path | StoredFile


@dataclass(frozen=True)
class FileTranslation:
    """A translator and the options of `diptych translate`, the same for all files.

    `controls` are prepared. `alpha` is white or keep. `tiles` is None for models without tiles. `draw` returns the
    sample grid of an image that is written instead of its translation. `say` takes notes for the user.
    """

    translator: ImageTranslator
    controls: dict[str, Any]
    suffix: str | None = None
    alpha: str = "white"
    tiles: "TileOptions | None" = None
    draw: Draw | None = None
    say: Callable[[str], None] = print

    def plan(self, sources: Mapping[Any, Path]) -> FilePlan:
        """Return how the translation of each source is written, as `plan_files`. Raises ConfigError."""
        return plan_files(
            self.translator, self.controls, sources, self.suffix, self.alpha, self.draw is not None, self.say
        )

    def read(self, source: Source) -> np.ndarray:
        """Return the pixels (H, W, C) of a source. Raises ImageError."""
        return self.translator.read(source, **self.controls)

    def translate(self, source: Source, pixels: np.ndarray, plan: FilePlan) -> tuple[np.ndarray, Metadata | None]:
        """Return the translation (H', W', C'), or the sample grid, and the metadata to write with it.

        Raises ImageError or ConfigError.
        """
        name = str(source)
        if self.draw:
            return self.draw(pixels, name), None
        dtype = plan.stored[source].dtype if source in plan.stored else None
        translation = self._in_tiles(pixels, name, dtype)
        if translation is None:
            translation = self.translator.array(pixels, name, dtype, **self.controls)
        if plan.keeps_alpha and plan.headers[source].alpha:
            rgba = self.translator.adapter(self.controls).cut(image_io.read(source, "rgba"))
            translation = copy_alpha(translation, rgba, name)
        alpha = source not in plan.stored or plan.stored[source].alpha
        kept = self.translator.adapter(self.controls).metadata_of_files(metadata.read_metadata(source), alpha)
        if kept.nodata is not None and plan.names[source].suffix.lower() in (".tif", ".tiff"):
            translation, kept = self._with_nodata(source, translation, kept)
        return translation, kept

    def _with_nodata(self, source: Source, translation: np.ndarray, kept: Metadata) -> tuple[np.ndarray, Metadata]:
        """Return the translation of a source with nodata pixels where the source has them, and only there."""
        nodata, valid = nodata_for(kept.nodata, translation.dtype), image_io.valid_pixels(source)
        if nodata is None or valid is None:
            return translation, kept
        mask = self.translator.adapter(self.controls).cut(valid)
        return with_nodata(translation, mask, nodata), replace(kept, nodata=nodata)

    def _in_tiles(self, pixels: np.ndarray, name: str, dtype: np.dtype[Any] | None) -> np.ndarray | None:
        """Return the translation of an image (H, W, C) that does not fit into memory at once; None if it does."""
        if self.tiles is None:
            return None
        from diptych.inference.large_files import needs_tiles, translate_pixels_in_tiles
        from diptych.inference.translator import Translator

        assert isinstance(self.translator, Translator)  # ONNX files are not tiled
        if not needs_tiles(self.translator, pixels, self.controls):
            return None
        self.say(f"{name}: does not fit into memory, so it is translated in tiles; --tile and --statistics set how")
        return translate_pixels_in_tiles(self.translator, pixels, name, dtype, self.tiles, self.controls)
