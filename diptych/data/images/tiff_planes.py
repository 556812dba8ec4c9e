"""Read TIFF files that Pillow does not read exactly: any number of channels, as samples, planes or pages; OME-TIFF.

tifffile (extra `science`) decodes them. The pages of a file, and its C axis, are the channels of one image (H, W, C).
An axis of depth or time is refused, and so are colour spaces other than grey and RGB.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from diptych.data.images.alpha import Kind, convert_alpha, white_of
from diptych.data.images.decode import open_image
from diptych.data.images.nodata import TAG, nodata_of, without_nodata
from diptych.data.images.stored_file import MAX_PIXELS, TooManyPixelsError, check_size
from diptych.data.images.stored_values import InvalidImageError, in_memory, memory_dtype

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MAX_CHANNELS = 1024
MAX_PAGES = 4 * MAX_CHANNELS  # with reduced images and masks
MAX_SEGMENT = 2**29  # bytes of a decoded strip or tile: a damaged header cannot ask for more memory
SAMPLES_PER_PIXEL = 277
GREY, RGB, YCBCR = 1, 2, 6  # PhotometricInterpretation
COLOUR_CODECS = (6, 7, 33003, 33004, 33005, 34712)  # JPEG and JPEG 2000, whose decoders return RGB for YCbCr
ASSOCIATED_ALPHA, ALPHA = 1, 2  # ExtraSamples
REDUCED, MASK = 1, 4  # bits of NewSubfileType
CHANNEL_AXES = "CSIQ"  # channels, samples, and pages without a meaning
AXES = {"Z": "slices", "T": "time points", "R": "tiles", "A": "angles", "P": "phases", "M": "mosaic tiles"}


class MissingPageError(InvalidImageError):
    """A TIFF that ends before one of its pages."""


class Layout(NamedTuple):
    """Where the channels of an image are. `axes` are those of `shape`, without axes of length 1 other than Y and X."""

    axes: str
    shape: tuple[int, ...]
    pages: Sequence[Any]
    series: Any  # None: the pages are stacked

    @property
    def size(self) -> tuple[int, int, int]:
        """Height, width and number of stored channels."""
        lengths = dict(zip(self.axes, self.shape, strict=True))
        return lengths["Y"], lengths["X"], math.prod(lengths[axis] for axis in self.axes if axis in CHANNEL_AXES)


def needs_tifffile(file: BinaryIO) -> bool:
    """Return whether a file is a TIFF that Pillow does not read exactly; leaves it at its start.

    Raises TooManyPixelsError, and InvalidImageError if a page is missing at the end of the file.
    """
    is_tiff = file.read(4) in SIGNATURES
    file.seek(0)
    if not is_tiff:
        return False
    try:
        _check_pages(file)
        if tiff_tags(file).get(SAMPLES_PER_PIXEL, 1) > 4:  # which Pillow logs as an error
            return True
        file.seek(0)
        open_image(file)
    except (TooManyPixelsError, MissingPageError):
        raise
    except Exception:  # Pillow raises errors of many types
        return True
    finally:
        file.seek(0)
    return False


def tiff_tags(file: BinaryIO) -> Mapping[int, Any]:
    """Return the tags of the first page of a TIFF, whatever its pixels are. Raises Pillow's errors."""
    file.seek(0)
    start = file.read(8)
    directory = ImageFileDirectory_v2(start + file.read(8) if 43 in start[2:4] else start)
    file.seek(directory.next)
    directory.load(file)
    return directory


def _check_pages(file: BinaryIO) -> None:
    """Raise MissingPageError if the list of pages leads out of the file: libraries end the list there."""
    start = file.read(16)
    order: Literal["little", "big"] = "little" if start[:2] == b"II" else "big"
    is_big = int.from_bytes(start[2:4], order) == 43
    offset_size, count_size, entry_size = (8, 8, 20) if is_big else (4, 2, 12)
    offset = int.from_bytes(start[8:16] if is_big else start[4:8], order)
    seen: set[int] = set()
    while offset and offset not in seen and len(seen) < MAX_PAGES:
        seen.add(offset)
        file.seek(offset)
        count = file.read(count_size)
        file.seek(offset + count_size + int.from_bytes(count, order) * entry_size)
        following = file.read(offset_size)
        if len(count) < count_size or len(following) < offset_size:
            raise MissingPageError(f"is cut short: page {len(seen)} is missing; copy or export it again")
        offset = int.from_bytes(following, order)


def read_tiff(file: BinaryIO, kind: Kind = "colour") -> np.ndarray:
    """Return the pixels (H, W, C) as `image_io.read` does. Raises InvalidImageError, tifffile's errors."""
    with _tifffile().TiffFile(file, _multifile=False) as tiff:  # other files that an OME-XML names are not opened
        layout = _checked_layout(tiff, kind)
        if layout.series is not None:
            values = layout.series.asarray().squeeze()
        else:
            values = np.stack([page.asarray() for page in layout.pages]).squeeze()
        values = values.reshape(layout.shape)  # where Y or X has the length 1
        alpha, nodata = alpha_of(layout.pages[0]), nodata_of({TAG: layout.pages[0].tags.valueof(TAG)})
    order = [layout.axes.index("Y"), layout.axes.index("X")]
    order += [number for number, axis in enumerate(layout.axes) if axis in CHANNEL_AXES]
    values = without_nodata(values.transpose(order).reshape(layout.size), nodata, kind)
    samples = in_memory(values, kind)
    return without_alpha(samples, alpha, kind)


def tiff_shape(file: BinaryIO, kind: Kind = "colour") -> tuple[int, int, int, np.dtype[Any], bool]:
    """Return height, width, channels without alpha, the dtype in memory, and whether there is alpha."""
    with _tifffile().TiffFile(file, _multifile=False) as tiff:
        layout = _checked_layout(tiff, kind)
        has_alpha = bool(alpha_of(layout.pages[0]))
        height, width, channels = layout.size
        return height, width, channels - has_alpha, memory_dtype(layout.pages[0].dtype, kind), has_alpha


def _tifffile() -> Any:
    """Return the module tifffile, which then logs no warnings: what is damaged is an error here."""
    try:
        import tifffile

        logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    except ImportError as error:
        raise InvalidImageError(
            "is a TIFF that Pillow does not read exactly, and tifffile is missing: pip install 'diptych[science]', or "
            "save it as PNG, or .npy (H, W, C)"
        ) from error
    return tifffile


def _checked_layout(tiff: Any, kind: Kind) -> Layout:
    """Return the layout of the image of a file, after a check of its size and of each page. InvalidImageError."""
    layout = layout_of(tiff)
    _check_size(*layout.size)
    for page in layout.pages:
        check_page(page, tiff.filehandle.size)
        check_segment(page.chunks, page.dtype, "tile" if page.is_tiled else "strip")
    memory_dtype(layout.pages[0].dtype, kind)
    return layout


def layout_of(tiff: Any) -> Layout:
    """Return the layout of the image of a file. InvalidImageError if it is not one image with channels."""
    if len(tiff.pages) > MAX_PAGES:
        raise InvalidImageError(f"has {len(tiff.pages)} pages; at most {MAX_CHANNELS} channels are supported")
    if tiff.is_ome or tiff.is_imagej or tiff.is_shaped:
        series = tiff.series[0]
        if len(tiff.series) > 1:
            raise InvalidImageError(f"holds {len(tiff.series)} images; save one image a file")
        pages = [page.aspage() for page in series.pages if page is not None]
        axes, shape = series.axes, series.shape
        _check_planes(series, pages, shape)
    else:
        pages = [page.aspage() for page in tiff.pages]
        pages = [page for page in pages if not page.subfiletype & (REDUCED | MASK)]
        if not pages:
            raise InvalidImageError("has no image; export it again")
        if len({(page.shape, str(page.dtype)) for page in pages}) > 1:
            raise InvalidImageError(f"has {len(pages)} pages of several sizes or types; save one image a file")
        series, axes, shape = None, f"Q{pages[0].axes}", (len(pages), *pages[0].shape)
    kept = [(axis, length) for axis, length in zip(axes, shape, strict=True) if length > 1 or axis in "YX"]
    layout = Layout("".join(axis for axis, _ in kept), tuple(int(length) for _, length in kept), pages, series)
    _check_axes(layout)
    return layout


def _check_planes(series: Any, pages: Sequence[Any], shape: Sequence[int]) -> None:
    """Raise InvalidImageError if pages are missing that the metadata of a file lists."""
    if not pages:
        raise InvalidImageError("has no image; export it again")
    expected = math.prod(shape) // math.prod(pages[0].shape)
    if series.dataoffset is None and len(pages) < expected:  # else one page has the contiguous pixels of all planes
        raise InvalidImageError(
            f"is cut short: {expected - len(pages)} of {expected} planes are missing; copy it again"
        )


def _check_axes(layout: Layout) -> None:
    """Raise InvalidImageError for axes that are not those of one image with channels."""
    for axis, length in zip(layout.axes, layout.shape, strict=True):
        if axis not in ("Y", "X", *CHANNEL_AXES):
            raise InvalidImageError(f"has {length} {AXES.get(axis, f'of axis {axis}')}; save each in a file of its own")
    if not {"Y", "X"} <= set(layout.axes) or len(set(layout.axes)) < len(layout.axes):
        raise InvalidImageError(f"has the axes {layout.axes}; save it as one image with channels")
    if sum(axis in CHANNEL_AXES for axis in layout.axes) > 1:
        lengths = [length for axis, length in zip(layout.axes, layout.shape, strict=True) if axis in CHANNEL_AXES]
        raise InvalidImageError(f"has {lengths[0]} pages of {lengths[1]} channels; save each page in a file of its own")


def _check_size(height: int, width: int, channels: int) -> None:
    """Raise InvalidImageError for an image without pixels, or of too many pixels or channels to be read at once."""
    check_size(height * width, MAX_PIXELS)
    if not height * width * channels:
        raise InvalidImageError(f"has {width}x{height} pixels of {channels} channels: it is damaged; export it again")
    check_size(height * width * channels, 4 * MAX_PIXELS)
    if channels > MAX_CHANNELS:
        raise InvalidImageError(f"has {channels} channels; at most {MAX_CHANNELS} are supported")


def check_page(page: Any, file_size: int) -> None:
    """Raise InvalidImageError for a page of other samples than `page_problem` allows, or without all its pixels."""
    if problem := page_problem(page):
        raise InvalidImageError(problem)
    check_segments(page, file_size)


def page_problem(page: Any) -> str:
    """Return why a page is not read, with the remedy; empty if it is grey, RGB or more channels of 8 to 64 bits."""
    photometric = int(page.photometric)
    is_colour = photometric == RGB or (photometric == YCBCR and page.compression in COLOUR_CODECS)
    if photometric == 3:
        return "has a palette; save it as RGB or grey"
    if photometric != GREY and not is_colour:
        name = getattr(page.photometric, "name", photometric)
        return f"is a TIFF with the colour space {name}; save it as RGB or grey, or as PNG"
    if page.imagedepth != 1:
        return "is a volume; save one image a file"
    if page.tags.valueof(274, 1) != 1:
        return "is stored rotated or flipped (tag Orientation); save it upright"
    if page.bitspersample not in (8, 16, 32, 64):
        return f"has {page.bitspersample} bits a sample; save it with 8 or 16"
    if page.dtype is None:
        return "has samples of an unknown type; save it as uint8, uint16, int16, int32 or float32"
    if alpha_of(page) and page.dtype.kind == "f":
        return "has alpha with floats; save it without alpha, or with 8 or 16 bits"
    return ""


def check_segments(page: Any, file_size: int) -> None:
    """Raise InvalidImageError if strips or tiles are missing, or outside the file."""
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    count = math.prod(-(-side // part) for side, part in zip(page.shape[-3:][:2], page.chunks[-3:][:2], strict=True))
    offsets, sizes = page.dataoffsets, page.databytecounts
    is_short = len(offsets) < count * planes or len(sizes) < count * planes
    if is_short or max(map(sum, zip(offsets, sizes, strict=False)), default=0) > file_size:
        raise InvalidImageError("is cut short: pixels are missing that its header lists; copy or export it again")


def check_segment(shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> None:
    """Raise InvalidImageError if a strip, tile or chunk would need more than MAX_SEGMENT bytes when decoded."""
    size = math.prod(map(int, shape)) * dtype.itemsize
    if not 0 < size <= MAX_SEGMENT:
        limit = f"the limit is {MAX_SEGMENT / 2**20:,.0f} MiB"
        raise InvalidImageError(
            f"has {name}s of {size / 2**20:,.0f} MiB, {limit}; save it with smaller ones, for example tiles of 512x512"
        )


def alpha_of(page: Any) -> int:
    """Return the ExtraSamples value of the last sample if it is alpha, else 0."""
    extra = page.extrasamples
    is_alpha = len(extra) == 1 and extra[0] in (ASSOCIATED_ALPHA, ALPHA) and page.samplesperpixel > 1
    return int(extra[0]) if is_alpha else 0


def without_alpha(samples: np.ndarray, alpha: int, kind: Kind) -> np.ndarray:
    """Return the channels (H, W, C) that `kind` has, of samples in which alpha, if any, is the last one."""
    if alpha == ASSOCIATED_ALPHA:  # colours are multiplied by alpha
        samples = _unassociated(samples)
    if not alpha and (kind != "rgba" or samples.shape[2] not in (1, 3)):
        return samples
    return convert_alpha(samples, kind)


def _unassociated(samples: np.ndarray) -> np.ndarray:
    """Return samples whose colours were multiplied by alpha, divided by it."""
    alpha = samples[..., -1:].astype(np.float64)
    white = white_of(samples.dtype)
    colours = np.clip(samples[..., :-1] * (white / np.maximum(alpha, 1e-9)), 0, white)
    colours = colours if samples.dtype.kind == "f" else np.rint(colours)
    return np.concatenate([np.where(alpha > 0, colours, 0).astype(samples.dtype), samples[..., -1:]], axis=2)
