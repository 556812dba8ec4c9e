"""Volumes train, resume, evaluate and translate; outputs are checked with nibabel, pydicom, h5py and zarr alone."""

import numpy as np
import pytest
import torch
from commands import diptych
from volumes import affine_of, phantom, write_dicom, write_nifti

import diptych as package
from diptych.data.volumes.slices import read_stack
from diptych.data.volumes.volume import open_volume
from diptych.errors import ConfigError, DataError
from diptych.inference.volume_translation import translate_volume

nibabel, pydicom, h5py = (pytest.importorskip(name) for name in ("nibabel", "pydicom", "h5py"))
SHAPE = (20, 18, 5)
RANGE = "range=[[-1000,2000],[-500.5,3000]]"
SMALL = ("generator=resnet_1", "crop_size=16", "ngf=4", "ndf=4", "receptive_field=16", "workers=0",
         "batch_size=2", "device=cpu", "resize_mode=none", "norm=instance", "d_norm=instance", "dropout=none",
         "preview_images=2")  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three pairs: DICOM series as sources, NIfTI on the same grid as targets."""
    root = tmp_path_factory.mktemp("volumes")
    affine = affine_of(([-0.7, 0, 0], [0, -0.8, 0], [0, 0, 2.5]), (5, 6, 7))
    for number in range(3):
        write_dicom(root / "trainA" / f"p{number}", phantom(SHAPE, number), patient=f"id{number}")
        write_nifti(root / "trainB" / f"p{number}.nii.gz", 1000 - phantom(SHAPE, number), affine)
    return root


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = ("train", "pix2pix", f"root={data}", RANGE, "context=1", *SMALL, "steps=4", "-o", folder)
    result = diptych(*words)
    assert result.exit_code == 0, result.output
    assert "slices" in result.output
    return folder


def expected(run, volume):
    """The translation of each axial slice by the model itself, in stored order, with statistics of the slice."""
    model = package.load(run)
    slicing = volume.geometry.slicing("axial")
    result = np.zeros(volume.geometry.shape, np.float32)
    for index in range(slicing.count):
        stack = read_stack(volume, "axial", index, 1)
        unit = np.clip((stack + 1000) / 3000, 0, 1) * 2 - 1
        y = model.tensor(torch.from_numpy(unit.transpose(2, 0, 1)).float())[0].numpy().astype(np.float64)
        np.moveaxis(result, slicing.axis, 0)[slicing.position(index)] = slicing.to_plane(-500.5 + (y + 1) / 2 * 3500.5)
    return result


def test_train_resume_and_evaluate(trained):
    images = package.load(trained).images
    source, target = images.entries["source"], images.entries["target"]
    assert (source.axis, source.context, source.value_range) == ("axial", 1, (-1000, 2000))
    assert (target.context, target.value_range, target.height, target.width) == (0, (-500.5, 3000), 18, 20)
    assert np.allclose(source.spacing, (0.8, 0.7))
    assert diptych("resume", trained, "steps=6", "--allow", "steps").exit_code == 0
    result = diptych("evaluate", trained, "--protocol", "paired-default", "--extractor", "none")
    assert result.exit_code == 0, result.output
    assert "psnr" in result.output


def test_changed_volumes_are_noticed_at_a_resume(trained, data):
    path = data / "trainB" / "p0.nii.gz"
    before = path.read_bytes()
    write_nifti(path, 900 - phantom(SHAPE, 0), nibabel.load(path).affine)
    try:
        with pytest.raises(ConfigError, match="images"):
            diptych("resume", trained, "steps=8", "--allow", "steps")
    finally:
        path.write_bytes(before)


def test_nifti_keeps_geometry_and_units(trained, tmp_path):
    affine = affine_of(([0, 0.8, 0], [0, 0, 2.5], [-0.7, 0, 0]))  # stored with the slices along the second axis
    path = write_nifti(tmp_path / "scan.nii.gz", phantom(SHAPE).transpose(1, 2, 0), affine)
    source = nibabel.load(path)
    result = diptych("translate", trained, path, "-o", tmp_path / "out", "--frame-statistics")
    assert result.exit_code == 0, result.output
    made = nibabel.load(tmp_path / "out" / "scan.nii.gz")
    assert made.shape == source.shape
    assert made.get_data_dtype() == np.float32
    assert (made.affine == source.affine).all()
    for name in ("qform_code", "sform_code", "xyzt_units", "pixdim"):
        assert (made.header[name] == source.header[name]).all()
    assert b"NOT FOR DIAGNOSTIC USE" in bytes(made.header["descrip"])
    values = made.get_fdata()
    assert np.abs(values - expected(trained, open_volume(path))).max() < 0.05
    assert values.std() > 1


def test_frozen_statistics_make_slices_consistent(trained, tmp_path):
    """Slices of faint noise among others: each by itself is normalised to the contrast of the others."""
    model, changes = package.load(trained), {}
    for over in ("volume", "slice"):
        made = []
        for seed in range(2):
            values = phantom(SHAPE)
            values[:, :, 1:4] = 200 + np.random.RandomState(seed).uniform(-10, 10, (20, 18, 3))
            path = write_nifti(tmp_path / "scan.nii", values, dtype=np.float32)
            assert translate_volume(model, path, tmp_path / "made.nii", statistics=over) == 5
            made.append(nibabel.load(tmp_path / "made.nii").get_fdata()[:, :, 2])
        changes[over] = np.abs(made[0] - made[1]).mean()
    assert changes["volume"] < 0.2 * changes["slice"]
    assert not list(tmp_path.glob(".*"))


def test_dicom_is_a_new_derived_series(trained, data, tmp_path):
    folder = data / "trainA" / "p0"
    assert diptych("translate", trained, folder, "-o", tmp_path, "--frame-statistics").exit_code == 0
    files = [pydicom.dcmread(file) for file in sorted((tmp_path / "p0").iterdir())]
    sources = sorted((pydicom.dcmread(file) for file in folder.iterdir()), key=lambda s: s.ImagePositionPatient[2])
    assert len(files) == len(sources) == 5
    assert len({file.SOPInstanceUID for file in files} | {file.SOPInstanceUID for file in sources}) == 10
    truth = expected(trained, open_volume(folder))
    for number, (made, source) in enumerate(zip(files, sources, strict=True)):
        assert made.ImageType[:2] == ["DERIVED", "SECONDARY"]
        assert "NOT FOR DIAGNOSTIC USE" in made.SeriesDescription
        assert made.SeriesInstanceUID == files[0].SeriesInstanceUID != source.SeriesInstanceUID
        assert made.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID
        assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
        for name in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "ImagePositionPatient", "PixelSpacing"):
            assert made[name].value == source[name].value
        values = made.pixel_array * float(made.RescaleSlope) + float(made.RescaleIntercept)
        assert np.abs(values - truth[:, :, number].T).max() < float(made.RescaleSlope) / 2 + 0.05
        assert made.RescaleSlope < 3500.5 / 65534
    written = open_volume(tmp_path / "p0")
    assert written.geometry == open_volume(folder).geometry
    as_nifti = diptych("translate", trained, folder, "-o", tmp_path / "nii", "--suffix", ".nii.gz")
    assert as_nifti.exit_code == 0
    assert np.allclose(nibabel.load(tmp_path / "nii" / "p0.nii.gz").affine, written.geometry.affine, atol=1e-5)


def test_arrays_keep_name_and_attributes(trained, tmp_path):
    zarr = pytest.importorskip("zarr")
    values = phantom(SHAPE).transpose(2, 1, 0)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file.create_dataset("raw/mr", data=values).attrs["unit"] = "HU"
    zarr.create_array(tmp_path / "scan.zarr", data=values).attrs["unit"] = "HU"
    with pytest.warns(UserWarning, match="slices have pixels of 1 x 1 mm, those of training 0.8 x 0.7 mm"):
        assert diptych("translate", trained, tmp_path / "scan.h5", "-o", tmp_path / "out").exit_code == 0
    with pytest.warns(UserWarning, match="slices have pixels"):
        assert diptych("translate", trained, tmp_path / "scan.zarr", "-o", tmp_path / "out").exit_code == 0
    with h5py.File(tmp_path / "out" / "scan.h5") as file:
        made = file["raw/mr"][:]
        assert file["raw/mr"].attrs["unit"] == "HU"
    array = zarr.open(tmp_path / "out" / "scan.zarr", mode="r")
    assert (array[:] == made).all()
    assert array.attrs["unit"] == "HU"
    assert made.shape == values.shape
    assert made.std() > 1


def test_what_is_not_translated_is_refused(trained, data, run, tmp_path):
    series, path = data / "trainA" / "p0", data / "trainB" / "p0.nii.gz"
    cases = {
        "was not trained on volumes": (run, path, "-o", tmp_path),
        "is a volume, and": (trained, path, data / "none", "-o", tmp_path),
        "not written in this format": (trained, path, "-o", tmp_path / "out.h5"),
        "would be replaced": (trained, path, "-o", path, "--overwrite"),
        "already exists": (trained, series, "-o", data / "trainA"),
        "name of one volume": (trained, path, series, "-o", tmp_path / "out.nii"),
        "not for volumes": (trained, path, "-o", tmp_path, "--tile", "auto"),
    }
    for message, words in cases.items():
        with pytest.raises((ConfigError, DataError), match=message):
            diptych("translate", *words)


def test_volumes_without_a_range_are_refused(data, tmp_path):
    with pytest.raises(DataError, match=r"range=full: the values of volumes \(source\)"):
        diptych("train", "pix2pix", f"root={data}", *SMALL, "steps=1", "-o", tmp_path / "run")
