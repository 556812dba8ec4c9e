"""`diptych data check` of volumes: values, empty slices, problems, and the command to start with."""

import numpy as np
import pytest
from commands import diptych
from volumes import phantom, write_nifti

pytest.importorskip("nibabel")


def test_contents_problems_and_command(tmp_path):
    for number in range(2):
        values = phantom(seed=number)
        values[:, :, 5] = -1000
        write_nifti(tmp_path / "mr" / f"p{number}.nii", values)
        write_nifti(tmp_path / "ct" / f"p{number}.nii", np.clip(phantom(seed=9), -900, 800))
    result = diptych("data", "check", tmp_path)
    text = " ".join(result.output.split())
    assert result.exit_code == 0
    assert "train mr: 2 volumes of 2 patients, values -1000 to" in text
    assert "12 axial slices; 2 are empty (one value)" in text
    assert "12 x 10 x 6 voxels of 0.7 x 0.8 x 2.5 mm, stored as LAS" in text
    assert f"diptych train pix2pix --data {tmp_path} 'range=[[-900,800],[-1000," in text
    path = tmp_path / "mr" / "p1.nii"
    path.write_bytes(path.read_bytes()[:800])
    result = diptych("data", "check", tmp_path)
    assert result.exit_code == 1
    assert "p1.nii: is cut short" in result.output
