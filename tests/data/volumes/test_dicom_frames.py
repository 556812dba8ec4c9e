"""Multi-frame DICOM files: their frames are the slices of a volume, and one clear error for each damaged file."""

import pickle

import numpy as np
import pytest
from volumes import array_of, phantom, write_dicom, write_frames

from diptych.data.volumes.volume import open_volume
from diptych.errors import ConfigError, ImageError
from diptych.inference.volume_sink import check_target

pydicom = pytest.importorskip("pydicom")


def test_the_frames_of_one_file_are_slices(tmp_path):
    series = open_volume(write_dicom(tmp_path / "series", phantom()))
    order = [3, 0, 5, 1, 4, 2]
    folder = write_frames(tmp_path / "enhanced", series, order)
    volume = pickle.loads(pickle.dumps(open_volume(folder)))
    added = [10.0 * order.index(index) for index in range(6)]  # by the intercepts of the frames
    assert (array_of(volume) == array_of(series) + np.float32(added)).all()
    assert np.allclose(volume.geometry.affine, series.geometry.affine)
    assert (volume.patient_id, volume.files) == ("P1", (folder / "frames.dcm",))
    check_target(tmp_path / "out.nii.gz", volume)
    with pytest.raises(ConfigError, match=r"frames.dcm is multi-frame DICOM, which is only read; give --suffix .nii"):
        check_target(tmp_path / "out", volume)


def without_position(data):
    del data.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence


def same_position(data):
    first, second, *_ = data.PerFrameFunctionalGroupsSequence
    second.PlanePositionSequence = first.PlanePositionSequence


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_position, r"frames.dcm: frame 2 has no ImagePositionPatient, so its place is unknown"),
        (same_position, r"frames.dcm: frame 1 and frame 2 are at one position"),
        (lambda data: setattr(data, "NumberOfFrames", 5), "has 5 frames and 6 descriptions"),
        (lambda data: setattr(data, "PixelData", data.PixelData[:200]), r"frames.dcm: is cut short"),
        (None, r"has 7 files, and frames.dcm is a multi-frame file"),
    ],
)
def test_damaged_multi_frame_files(tmp_path, change, message):
    series = open_volume(write_dicom(tmp_path / "series", phantom((40, 30, 6))))
    folder = write_frames(tmp_path / "enhanced", series, range(6), change)
    if change is None:
        for file in series.files:
            data = pydicom.dcmread(file)
            data.SeriesInstanceUID = pydicom.dcmread(folder / "frames.dcm").SeriesInstanceUID
            data.save_as(folder / file.name)
    with pytest.raises(ImageError, match=message):
        open_volume(folder)
