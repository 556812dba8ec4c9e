"""Values and geometry of volumes compared with independent readers, and one clear error for each damaged input."""

import gzip
import os
import pickle
import shutil
import time

import numpy as np
import pytest
from volumes import affine_of, array_of, phantom, write_dicom, write_nifti

from diptych.data.volumes import nifti
from diptych.data.volumes.hdf5 import write_hdf5
from diptych.data.volumes.slices import VolumeSlices, fingerprint_of_volumes, read_stack
from diptych.data.volumes.volume import open_volume
from diptych.errors import ImageError

nibabel, pydicom, h5py = (pytest.importorskip(name) for name in ("nibabel", "pydicom", "h5py"))
zarr = pytest.importorskip("zarr")
COMPRESSED = "1.2.840.10008.1.2.4.57"  # lossless JPEG, which Pillow does not decode


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_nifti_equals_nibabel(tmp_path, name):
    path = write_nifti(tmp_path / name, phantom())
    image = nibabel.load(path)
    image.header.set_slope_inter(0.5, -10)
    image.to_filename(path)
    volume = pickle.loads(pickle.dumps(open_volume(path)))
    expected = nibabel.load(path)
    assert (array_of(volume) == expected.get_fdata(dtype=np.float32)).all()
    assert np.allclose(volume.geometry.affine, expected.affine)
    assert (volume.patient_id, volume.geometry.orientation) == ("scan", "LAS")


def test_dicom_is_sorted_by_position_and_rescaled(tmp_path):
    values = phantom()
    volume = open_volume(write_dicom(tmp_path / "series", values))
    assert (array_of(volume) == np.rint((values + 1024) / 2) * 2 - 1024).all()
    assert volume.patient_id == "P1"
    assert volume.geometry.orientation == "LPS"
    assert np.allclose(volume.geometry.spacing, (0.7, 0.8, 2.5))
    # the position of voxel (1, 0, 2), by the equation of the standard
    assert np.allclose(np.array(volume.geometry.affine) @ [1, 0, 2, 1], [5 - 0.7, 6, 7 + 5, 1])
    assert (read_stack(volume, "axial", 1)[..., 0] == volume.plane(2, 1).T).all()  # shown as stored


def test_monochrome1_is_inverted_only_without_physical_units(tmp_path):
    values = phantom((4, 4, 2))
    plain = array_of(open_volume(write_dicom(tmp_path / "plain", values)))
    shown = write_dicom(tmp_path / "shown", values, PhotometricInterpretation="MONOCHROME1")
    assert (array_of(open_volume(shown)) == plain).all()

    def without_slope(k, data):
        del data.RescaleSlope, data.RescaleIntercept

    bare = write_dicom(tmp_path / "bare", values, change=without_slope, PhotometricInterpretation="MONOCHROME1")
    assert (array_of(open_volume(bare)) == 65535 - (plain + 1024) / 2).all()


def test_positions_with_two_decimals_are_even(tmp_path):
    def rounded(k, data):
        data.ImagePositionPatient = [-5.0, -6.0, round(7 + k / 3, 2)]

    assert open_volume(write_dicom(tmp_path / "a", phantom((4, 4, 7)), change=rounded)).geometry.shape == (4, 4, 7)


def test_a_damaged_gz_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    series = open_volume(write_dicom(tmp_path / "series", phantom()))
    path = tmp_path / "scan.nii.gz"
    nifti.write_nifti(path, array_of(series), series.geometry, None)
    data = bytearray(path.read_bytes())
    data[-8] ^= 1  # the checksum
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"scan\.nii\.gz"):
        array_of(open_volume(path))


def test_unpacked_copies_that_are_not_used_are_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))

    def unpack(seed):
        path = write_nifti(tmp_path / f"{seed}.nii.gz", phantom(seed=seed))
        return nifti._unpacked(path, path.stat().st_mtime_ns)

    old, used, new = unpack(0), unpack(1), unpack(2)
    long_ago = time.time() - (nifti.UNUSED_DAYS + 1) * 24 * 3600
    for file in (old, used):
        os.utime(file, (long_ago, long_ago))
    stamp = (tmp_path / "1.nii.gz").stat().st_mtime_ns
    assert nifti._unpacked(tmp_path / "1.nii.gz", stamp) == used
    last = unpack(3)
    assert set((tmp_path / "cache/volumes").iterdir()) == {used, new, last}


def test_microns_are_converted(tmp_path):
    import nibabel

    image = nibabel.Nifti1Image(np.ones((3, 3, 3), np.float32), np.diag([500.0, 500, 500, 1]))
    image.header.set_xyzt_units("micron")
    image.to_filename(tmp_path / "a.nii")
    assert np.allclose(open_volume(tmp_path / "a.nii").geometry.spacing, 0.5)


def test_a_coronal_series_and_a_nifti_of_it_give_the_same_slices(tmp_path):
    series = open_volume(write_dicom(tmp_path / "series", phantom(), orientation=(1, 0, 0, 0, 0, -1)))
    path = tmp_path / "scan.nii.gz"
    nifti.write_nifti(path, array_of(series), series.geometry, None)
    scan = open_volume(path)
    assert series.geometry.orientation == scan.geometry.orientation == "LIP"
    for axis in ("axial", "coronal", "sagittal"):
        for index in range(series.geometry.slicing(axis).count):
            assert (read_stack(series, axis, index) == read_stack(scan, axis, index)).all()


def test_arrays_in_hdf5_and_zarr(tmp_path):
    values = phantom((3, 4, 5))
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file.create_dataset("raw/ct", data=values, chunks=(1, 4, 5)).attrs["element_size_um"] = [2500, 800, 700.0]
        file["label"] = np.zeros(4)
    group = zarr.create_group(tmp_path / "scan.zarr")
    group.create_array("0", shape=(1, 3, 4, 5), dtype=np.float32)[:] = values[None]
    axes = [{"name": name, "unit": "micrometer"} for name in "czyx"]
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 2500, 800, 700]}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [level]}]}
    for volume in (open_volume(tmp_path / "scan.h5"), open_volume(f"{tmp_path / 'scan.h5'}:/raw/ct")):
        assert (array_of(volume) == values).all()
        assert (read_stack(volume, "axial", 2)[..., 0] == values[2]).all()  # shown as stored
        assert np.allclose(volume.geometry.spacing, (0.7, 0.8, 2.5))
    write_hdf5(tmp_path / "out.h5", values, volume)
    assert open_volume(tmp_path / "out.h5").geometry == volume.geometry
    volume = open_volume(tmp_path / "scan.zarr")
    assert (array_of(volume) == values).all()
    assert np.allclose(volume.geometry.spacing, (0.7, 0.8, 2.5))


@pytest.mark.parametrize("size", [[0.5, 0.1, 0.1], [0, 1, 1], [1, 1], [1, -1, 1], "1 1 1", [np.nan, 1, 1]])
def test_voxels_below_a_micrometre_and_damaged_sizes(tmp_path, size):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["raw"] = phantom((3, 4, 5))
        file["raw"].attrs["element_size_um"] = size
    if size == [0.5, 0.1, 0.1]:
        assert np.allclose(open_volume(tmp_path / "scan.h5").geometry.spacing, (1e-4, 1e-4, 5e-4))
        return
    with pytest.raises(ImageError, match=r"scan.h5: '/raw' has the attribute element_size_um .* three lengths above 0"):
        open_volume(tmp_path / "scan.h5")


def test_neighbours_are_channels_and_ends_are_repeated(tmp_path):
    volumes = [open_volume(write_nifti(tmp_path / f"{n}.nii", phantom(seed=n), affine_of())) for n in range(2)]
    column = VolumeSlices.of(volumes, "axial", context=2)
    assert len(column) == 12
    assert column.shape == (12, 10, 12, 5)
    assert column.rows[:4].tolist() == [[0, 4], [1, 4], [0, 2], [1, 2]]  # the first slices are spread
    assert sorted(map(tuple, column.rows.tolist())) == [(n, i) for n in range(2) for i in range(6)]
    first = column[column.rows.tolist().index([1, 0])]
    planes = [read_stack(volumes[1], "axial", index)[..., 0] for index in (0, 0, 0, 1, 2)]
    assert (first == np.stack(planes, 2)).all()
    assert (column.take([3, 1]).rows == column.rows[[3, 1]]).all()
    assert "1.nii, axial slice 4" in column.name(1)


def test_the_fingerprint_changes_with_the_files(tmp_path):
    path = write_nifti(tmp_path / "scan.nii", phantom())
    before = fingerprint_of_volumes([open_volume(path)])
    assert before == fingerprint_of_volumes([open_volume(path)])
    write_nifti(path, phantom(seed=1))
    assert before != fingerprint_of_volumes([open_volume(path)])


# Bad input


def cut(path, share=0.6):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


def set_tags(number, **tags):
    """Change one slice of a series."""

    def change(k, data):
        if k == number:
            for name, value in tags.items():
                setattr(data, name, value)

    return change


def tilted(k, data):
    data.ImagePositionPatient = [0, 0.5 * k, 2.5 * k]


def compressed(k, data):
    from pydicom.encaps import encapsulate

    data.file_meta.TransferSyntaxUID = COMPRESSED
    data.PixelData = encapsulate([b"\xff\x4f\xff\x51"])
    data["PixelData"].VR = "OB"


CHANGES = {
    "another size": (set_tags(2, Rows=5, Columns=24), r"has the size \[24, 5\], and IM0\d\d.dcm \[12, 10\]"),
    "another spacing": (set_tags(2, PixelSpacing=[1, 1]), r"has the spacing \[1, 1\]"),
    "another series": (set_tags(2, SeriesInstanceUID="1.2.3"), r"2 series \(5 files as IM\d+.dcm, 1 files as IM004"),
    "another patient": (set_tags(2, PatientID="P2"), "files of 2 patients"),
    "even spacing": (set_tags(2, ImagePositionPatient=[-5, -6, 7 + 2.5 * 2.4]), "expected even spacing"),
    "same position": (set_tags(2, ImagePositionPatient=[-5, -6, 7 + 2.5 * 3]), "are at one position"),
    "gantry tilt": (tilted, "sheared by 11.3 degrees"),
    "decoder": (compressed, "compressed as JPEG Lossless.*: pip install pylibjpeg"),
    "no positions": (
        lambda _, data: delattr(data, "ImagePositionPatient"),
        "series: has no ImagePositionPatient, so order, .* not guessed from their numbers: .* as images",
    ),
    "one without": (
        lambda k, data: delattr(data, "ImagePositionPatient") if k == 2 else None,
        "IM004.dcm has no ImagePositionPatient, unlike other slices: remove it",
    ),
    "table": (lambda _, data: setattr(data, "ModalityLUTSequence", []), "table of values"),
    "film": (set_tags(1, NumberOfFrames=3), "IM005.dcm: has 3 frames without positions, such as a film"),
    "colour": (set_tags(1, SamplesPerPixel=3, PhotometricInterpretation="RGB"), "3 samples a pixel .* grey slices"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_series_that_is_no_regular_grid_is_refused(tmp_path, name):
    change, message = CHANGES[name]
    folder = write_dicom(tmp_path / "series", phantom(), change=change)
    with pytest.raises(ImageError, match=message):
        open_volume(folder)


def test_missing_slices_and_truncated_files(tmp_path):
    folder = write_dicom(tmp_path / "series", phantom())
    shutil.copytree(folder, tmp_path / "cut")
    (folder / "IM003.dcm").unlink()
    with pytest.raises(ImageError, match=r"1 of 6 slices are missing, between IM004.dcm and IM002.dcm"):
        open_volume(folder)
    cut(tmp_path / "cut" / "IM003.dcm", 0.2)
    with pytest.raises(ImageError, match=r"IM003.dcm: has no .* cut short"):
        open_volume(tmp_path / "cut")
    small = write_dicom(tmp_path / "small", phantom((100, 100, 2)))
    cut(small / "IM002.dcm", 0.9)
    with pytest.raises(ImageError, match=r"IM002.dcm: is cut short"):
        open_volume(small)
    with pytest.raises(ImageError, match="no DICOM files"):
        open_volume(tmp_path)


def test_damaged_files(tmp_path):
    path = write_nifti(tmp_path / "scan.nii", phantom())
    cut(path)
    with pytest.raises(ImageError, match=r"scan.nii: is cut short"):
        open_volume(path)
    packed = write_nifti(tmp_path / "packed.nii.gz", phantom())
    whole = gzip.decompress(packed.read_bytes())
    packed.write_bytes(gzip.compress(whole[: len(whole) // 2]))
    with pytest.raises(ImageError, match=r"packed.nii.gz: is cut short"):
        open_volume(packed).plane(2, 0)
    packed.write_bytes(gzip.compress(whole)[:-40])
    with pytest.raises(ImageError, match=r"packed.nii.gz: is damaged"):
        open_volume(packed).plane(2, 0)
    (tmp_path / "noise.nii").write_bytes(bytes(range(256)) * 10)
    with pytest.raises(ImageError, match=r"noise.nii: is damaged"):
        open_volume(tmp_path / "noise.nii")
    (tmp_path / "noise.h5").write_bytes(b"noise")
    with pytest.raises(ImageError, match=r"noise.h5: is damaged"):
        open_volume(tmp_path / "noise.h5")
    with pytest.raises(ImageError, match="no volume by its name"):
        open_volume(tmp_path / "scan.txt")


def test_wrong_kinds_of_values(tmp_path):
    path = write_nifti(tmp_path / "four.nii", np.zeros((3, 3, 3, 2)))
    with pytest.raises(ImageError, match="expected one volume of three axes"):
        open_volume(path)
    values = phantom()
    values[3, 3, 3] = np.nan
    volume = open_volume(write_nifti(tmp_path / "nan.nii", values, dtype=np.float32))
    with pytest.raises(ImageError, match="the plane 3 of axis 2 has values that are not finite"):
        volume.plane(2, 3)
    with h5py.File(tmp_path / "many.h5", "w") as file:
        file["a"], file["b"] = np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
        file["out"] = h5py.ExternalLink("other.h5", "/a")
    with pytest.raises(ImageError, match=r"2 arrays of three axes \(/a, /b\); name one as many.h5:/a"):
        open_volume(tmp_path / "many.h5")
    with pytest.raises(ImageError, match="no array of three axes called '/out'"):
        open_volume(f"{tmp_path / 'many.h5'}:/out")


def test_a_volume_of_impossible_size_is_refused_before_it_is_allocated(tmp_path):
    header = nibabel.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    header.set_data_dtype(np.int16)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with gzip.open(tmp_path / "bomb.nii.gz", "wb") as file:
        file.write(header.binaryblock + bytes(4 + 10_000))
    with pytest.raises(ImageError, match="of more than 2,147,483,648 voxels"):
        open_volume(tmp_path / "bomb.nii.gz")
