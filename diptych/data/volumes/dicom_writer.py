"""Write a derived DICOM series: a copy of the source's headers with new pixels and new UIDs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.volumes.dicom_series import DicomSeries

NOTE = "NOT FOR DIAGNOSTIC USE"
LEVELS = 65535  # of 16 bits
# What is true of the source's pixels alone.
PIXEL_TAGS = (
    "SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries", "LargestPixelValueInSeries",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "ModalityLUTSequence", "VOILUTSequence", "VOILUTFunction",
    "WindowCenterWidthExplanation", "PresentationLUTShape", "LossyImageCompression", "LossyImageCompressionRatio",
    "LossyImageCompressionMethod", "IconImageSequence", "RealWorldValueMappingSequence", "NumberOfFrames",
    "ReferencedImageSequence", "SourceImageSequence", "RescaleType",
)  # fmt: skip


def write_series(folder: Path, values: np.ndarray, like: DicomSeries, value_range: tuple[float, float]) -> None:
    """Write stored values (columns, rows, slices) as the files 0001.dcm ... of a new series into an empty folder.

    Patient, study, frame of reference and position of each slice are those of `like`. Values are stored in 16 bits
    with a slope and intercept for `value_range`, so that they are within half a step of it. OSError, pydicom's errors.
    """
    from pydicom.uid import generate_uid

    slope, intercept = rescale_of(value_range)
    series = {"SeriesInstanceUID": generate_uid(), "description": f"translated by Diptych, {NOTE}"}
    for number, file in enumerate(like.files):
        stored = np.clip(np.rint((values[:, :, number].astype(np.float64) - intercept) / slope), 0, LEVELS)
        data = _derived(file, stored.T.astype("<u2"), series, number, slope, intercept)
        center, width = sum(value_range) / 2, value_range[1] - value_range[0]
        data.WindowCenter, data.WindowWidth = _decimal(center), _decimal(width)
        data.save_as(folder / f"{number + 1:04d}.dcm", enforce_file_format=True)


def rescale_of(value_range: Sequence[float]) -> tuple[float, float]:
    """Return the slope and intercept that map 0 and 65535 to a range, as DICOM's decimal strings hold them."""
    low, high = value_range
    return float(_decimal((high - low) / LEVELS)), float(_decimal(low))


def _decimal(value: float) -> Any:
    """Return a number as a decimal string of at most 16 characters."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value))


def _derived(file: Path, stored: np.ndarray, series: Any, number: int, slope: float, intercept: float) -> Any:
    """Return a file of the new series: the header of `file` with other pixels (rows, columns), uint16."""
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    data: Any = pydicom.dcmread(file, stop_before_pixels=True)
    data.remove_private_tags()
    for tag in [each.tag for each in data if 0x6000 <= each.tag.group <= 0x60FF]:
        del data[tag]  # overlays, which would cover the translation
    for name in PIXEL_TAGS:
        if name in data:
            delattr(data, name)
    kind = [*data.get("ImageType", ["", ""])][2:]
    source_class, source_instance = data.SOPClassUID, data.SOPInstanceUID
    data.ImageType = ["DERIVED", "SECONDARY", *kind]
    data.SOPInstanceUID, data.SeriesInstanceUID = generate_uid(), series["SeriesInstanceUID"]
    data.SeriesDescription, data.DerivationDescription = series["description"], series["description"]
    data.SeriesNumber, data.InstanceNumber = int(data.get("SeriesNumber", 0) or 0) % 10_000 + 90_000, number + 1
    reference = pydicom.Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = source_class, source_instance
    data.SourceImageSequence = [reference]
    data.PhotometricInterpretation, data.SamplesPerPixel = "MONOCHROME2", 1
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.RescaleSlope, data.RescaleIntercept, data.RescaleType = _decimal(slope), _decimal(intercept), "US"
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = source_class
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.PixelData = np.ascontiguousarray(stored).tobytes()
    data["PixelData"].VR = "OW"
    return data
