"""Synthesised volumes: NIfTI files and DICOM series of a phantom, and pairs of them."""

from pathlib import Path

import numpy as np

AXES = ([-0.7, 0, 0], [0, 0.8, 0], [0, 0, 2.5])  # of the array in mm: stored as LAS
ORIGIN = (10.0, -20.0, 30.0)


def phantom(shape=(12, 10, 6), seed=0):
    """Values (I, J, K) of -1000 to 2000 that are different along each axis."""
    i, j, k = np.indices(shape)
    noise = np.random.RandomState(seed).randint(-50, 50, shape)
    return (-1000 + 150 * i + 20 * j + 90 * k + noise).clip(-1000, 2000).astype(np.float32)


def array_of(volume):
    """All values in stored order, read along each axis."""
    arrays = [
        np.stack([volume.plane(axis, position) for position in range(volume.geometry.shape[axis])], axis)
        for axis in range(3)
    ]
    assert all((array == arrays[0]).all() for array in arrays)
    return arrays[0]


def affine_of(axes=AXES, origin=ORIGIN):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = np.array(axes).T, origin
    return affine


def write_nifti(path, values, affine=None, dtype=np.int16):
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(values.astype(dtype), affine_of() if affine is None else affine).to_filename(path)
    return path


def write_dicom(folder, values, patient="P1", orientation=(1, 0, 0, 0, 1, 0), change=None, **tags):
    """Write stored values (columns, rows, slices), numbered against their position. `change` gets each data set."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    series, frame, study = generate_uid(), generate_uid(), generate_uid()
    normal = np.cross(orientation[:3], orientation[3:])
    for k in range(values.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        data.SeriesInstanceUID, data.StudyInstanceUID, data.FrameOfReferenceUID = series, study, frame
        data.PatientID, data.PatientName, data.Modality = patient, "Test^Person", "CT"
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.Columns, data.Rows = values.shape[:2]
        data.PixelSpacing, data.SliceThickness = [0.8, 0.7], 2.5
        data.ImageOrientationPatient = list(orientation)
        data.ImagePositionPatient = [float(value) for value in np.array([-5.0, -6.0, 7.0]) + 2.5 * k * normal]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation = 15, 0
        data.RescaleSlope, data.RescaleIntercept = 2, -1024
        for name, value in tags.items():
            setattr(data, name, value)
        data.PixelData = np.rint((values[:, :, k].T + 1024) / 2).astype("<u2").tobytes()
        if change:
            change(k, data)
        data.save_as(folder / f"IM{values.shape[2] - k:03d}.dcm", enforce_file_format=True)
    return folder


def write_frames(folder, series, order, change=None):
    """Write a series as one enhanced multi-frame file with its slices in an order. `change` gets the data set."""
    import pydicom
    from pydicom.dataset import Dataset
    from pydicom.uid import EnhancedCTImageStorage

    folder.mkdir(parents=True)
    slices = [pydicom.dcmread(file) for file in series.files]
    data = pydicom.dcmread(series.files[0])
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    data.NumberOfFrames = len(slices)
    data.PixelData = b"".join(slices[index].PixelData for index in order)
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = data.PixelSpacing, data.SliceThickness
    plane.ImageOrientationPatient = data.ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = [shared], []
    for number, index in enumerate(order):
        frame, position, values = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = slices[index].ImagePositionPatient
        values.RescaleSlope, values.RescaleIntercept = 2, -1024 + 10 * number  # each frame may have its own
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [position], [values]
        data.PerFrameFunctionalGroupsSequence.append(frame)
    for name in ("PixelSpacing", "SliceThickness", "ImageOrientationPatient", "ImagePositionPatient"):
        delattr(data, name)
    del data.RescaleSlope, data.RescaleIntercept
    if change:
        change(data)
    data.save_as(folder / "frames.dcm", enforce_file_format=True)
    return folder
