"""The landmark network of StarGAN v2 from a file of the published layout, and masks from heatmaps, by hand."""

import pytest
import torch
from landmarks_file import heatmaps_of, wing

from diptych.errors import ImportRefused
from diptych.importers.landmarks import convert, fits
from diptych.networks import face_landmarks
from diptych.networks.face_landmarks import FaceLandmarks, masks_of


def test_the_network_computes_what_the_tensors_of_the_file_say(monkeypatch):
    monkeypatch.setattr(face_landmarks, "INPUT_SIZE", 64)
    state = wing()
    assert fits(state)
    net = FaceLandmarks().eval()
    assert sum(weight.numel() for weight in net.parameters()) == 6_333_603  # 6.33 million in the public code
    net.load_state_dict(convert(state, "wing.ckpt"))
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        wanted = heatmaps_of(state, x)
        assert wanted.std() > 0.1
        assert torch.allclose(net.heatmaps(2 * x - 1), wanted, atol=1e-4)
        grey = net.heatmaps(2 * x[:, :1] - 1)
        assert torch.allclose(grey, net.heatmaps(2 * x[:, :1].expand(-1, 3, -1, -1) - 1), atol=1e-5)
        assert [mask.shape for mask in net(torch.rand(1, 3, 32, 48))] == [(1, 1, 64, 64)] * 2


@pytest.mark.parametrize(
    ("landmark", "rows", "is_fine"),
    [
        (16, [100], False), (40, [107], False), (51, [100], True), (53, [96], True), (57, [92], True),
        (65, [108, 124], True), (79, [108], False), (85, [92], False), (90, [102], False), (96, [100], True),
        *((out, [], False) for out in (0, 7, 25, 32, 33, 46, 76, 82)),
    ],
)  # fmt: skip
def test_a_landmark_is_in_the_masks_at_its_place(landmark, rows, is_fine):
    """Landmarks in row 100, column 30: chin, brow, nose, nostril, eye, lips, pupil; then those that are left out."""
    heatmaps = torch.full((1, 98, 256, 256), 0.05)
    heatmaps[0, landmark, 100, 30] = 7.0
    coarse, fine = (mask[0, 0] for mask in masks_of(heatmaps))
    assert coarse.nonzero().tolist() == [[row, 30] for row in rows]
    assert fine.nonzero().tolist() == ([[row, 30] for row in rows] if is_fine else [])


def test_weak_parts_of_a_heatmap_count_by_their_power():
    heatmaps = torch.zeros(1, 98, 256, 256)
    heatmaps[0, 90, 50, :4] = torch.tensor([2.0, 1.0, 0.2, 0.09])  # inner lips: third power
    coarse, fine = masks_of(heatmaps)
    assert torch.allclose(coarse[0, 0, 52, :4], torch.tensor([1.0, 0.125, 0.001, 0.0]), atol=1e-5)
    assert fine.sum() == 0
    heatmaps[0, 97, 60, 5] = float("nan")  # no mask at all
    assert [float(mask.abs().sum()) for mask in masks_of(heatmaps)] == [0, 0]


def test_other_files_are_refused():
    with pytest.raises(ImportRefused, match=r"a\.pt: not the face landmark network of StarGAN v2"):
        convert({"conv1.weight": torch.zeros(3)}, "a.pt")
    state = wing()
    del state["m0.b2_plus_1.conv2.weight"]
    with pytest.raises(ImportRefused, match=r"inner\.inner\.inner\.inner\.convs\.1\.weight is missing"):
        convert(state, "a.pt")
