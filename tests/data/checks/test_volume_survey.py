"""`diptych data check` of volumes: values, empty slices, problems, and the command to start with."""

import json

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


def test_splits_by_ratio_and_json(tmp_path):
    for number in range(12):
        for domain in ("mr", "ct"):
            name = f"sub-{number // 2:02}_ses-{number % 2}.nii"
            write_nifti(tmp_path / domain / name, phantom((3, 4, 2), seed=number))
    options = ("data", "check", tmp_path, "--split", "[0.5,0.5]", "--group-by", r"(sub-\d+)")
    text = " ".join(diptych(*options).output.split())
    document = json.loads(diptych(*options, "--json").stdout)
    assert (document["ok"], document["layout"]) == (True, "volumes in two folders")
    parts = [
        [part[key] for key in ("domain", "volumes", "patients", "slices", "empty_slices")] for part in document["parts"]
    ]
    assert parts == [["ct", 12, 12, 24, 0], ["mr", 12, 12, 24, 0]]
    assert document["parts"][0]["grids"] == ["3 x 4 x 2 voxels of 0.7 x 0.8 x 2.5 mm, stored as LAS"]
    train, val = document["split_by_ratio"]
    assert train["volumes"] + val["volumes"] == 24
    assert train["groups"] + val["groups"] == 6
    assert train["volumes"] == 4 * train["groups"]  # both sessions, both domains
    assert f"train {train['volumes']} {100 * train['share']:.1f} % {train['groups']} sub-0" in text
    (method,) = document["methods"]
    assert method["command"].endswith(r"'split=[0.5,0.5]' 'group_by=(sub-\d+)'")
    assert method["command"] in text
    (tmp_path / "ct" / "sub-00_ses-0.nii").write_bytes(b"no volume")
    done = diptych("data", "check", tmp_path, "--json")
    document = json.loads(done.stdout)
    assert (done.exit_code, document["ok"], document["methods"]) == (1, False, [])
    assert "sub-00_ses-0.nii: is damaged" in document["problems"][0]["kind"]
