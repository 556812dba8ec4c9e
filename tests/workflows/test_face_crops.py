"""Crops of faces. The detector is a stand-in with YuNet's inputs and outputs that finds red squares of 32 pixels."""

from fractions import Fraction

import numpy as np
import pytest
from clips import write_clip
from commands import diptych, files
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from diptych.data.images import image_io
from diptych.errors import ConfigError
from diptych.workflows.face_crops import FaceCrop, face_square


def write_detector(path):
    """Write a network with YuNet's heads. At stride 32 a cell is a face of 32 x 32 pixels as far as it is red."""
    nodes, outputs = [], []
    red = np.zeros((1, 3, 1, 1), np.float32)
    red[0, :, 0, 0] = -1 / 255, -1 / 255, 1 / 255  # blue, green, red
    constants = {"red": red, "half": np.float32(0.5), "nothing": np.float32(0), "rows": np.array([1, -1, 1])}
    nodes.append(helper.make_node("Conv", ["input", "red"], ["redness"]))
    nodes.append(helper.make_node("Relu", ["redness"], ["shown"]))
    for stride in (8, 16, 32):
        pooled = f"pooled{stride}"
        pooling = {"kernel_shape": [stride] * 2, "strides": [stride] * 2}
        nodes.append(helper.make_node("AveragePool", ["shown"], [pooled], **pooling))
        nodes.append(helper.make_node("Reshape", [pooled, "rows"], [f"cells{stride}"]))
        nodes.append(helper.make_node("Mul", [f"cells{stride}", "nothing"], [f"zero{stride}"]))
        score = f"cells{stride}" if stride == 32 else f"zero{stride}"
        for name, parts in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            source, output = (score if parts == 1 else f"zero{stride}"), f"{name}_{stride}"
            if name == "bbox":  # offsets of the middle in strides; logarithms of the sides
                nodes.append(helper.make_node("Add", [source, "half"], [f"middle{stride}"]))
                middle, zero = f"middle{stride}", f"zero{stride}"
                nodes.append(helper.make_node("Concat", [middle, middle, zero, zero], [output], axis=2))
            else:
                nodes.append(helper.make_node("Concat", [source] * parts, [output], axis=2))
            outputs.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, None, parts]))
    order = [f"{name}_{stride}" for name in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)]
    outputs.sort(key=lambda value: order.index(value.name))
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, None, None])
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "detector", [image], outputs, weights)
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]).SerializeToString())
    return path


def frame(*squares, height=96, width=160):
    pixels = np.full((height, width, 3), 90, np.uint8)
    for top, left in squares:
        pixels[top : top + 32, left : left + 32] = 255, 0, 0
    return pixels


def test_the_face_is_cut_and_frames_without_one_are_left_out(tmp_path):
    detector = write_detector(tmp_path / "yunet.onnx")
    frames = [frame((32, 64)), frame(), frame((0, 0)), frame((64, 128))]
    write_clip(tmp_path / "a.mp4", frames, rate=Fraction(2))
    command = ("data", "frames", str(tmp_path / "a.mp4"), "-o", str(tmp_path / "out"), "--crop-face", str(detector))
    assert "3 images" in (said := diptych(*command, "--all-frames").stdout)
    assert "1 without a face left out" in said
    assert files(tmp_path / "out") == ["a_000000.png", "a_000002.png", "a_000003.png"]
    for name, corner in (("a_000000", (8, 8)), ("a_000002", (0, 0)), ("a_000003", (16, 16))):
        face = image_io.read(tmp_path / "out" / f"{name}.png")
        assert face.shape == (48, 48, 3)
        red = np.argwhere(face[..., 0].astype(int) - face[..., 1] > 120)
        assert np.abs(red.min(0) - corner).max() <= 1
        assert np.abs(red.max(0) - np.add(corner, 31)).max() <= 1


def test_faces_of_large_frames_are_found_at_their_place(tmp_path):
    cut = FaceCrop(write_detector(tmp_path / "yunet.onnx")).cut
    small = frame((64, 320), height=320, width=640)
    large = small.repeat(2, 0).repeat(2, 1)
    assert np.array_equal(cut(large, tmp_path), cut(small, tmp_path).repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("content", [None, b"", b"no network", b"\0" * 100])
def test_what_is_no_detector_is_refused_by_name(tmp_path, content):
    file = tmp_path / "faces.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"faces\.onnx: .*give face_detection_yunet_2026may"):
        FaceCrop(file)


def test_one_part_is_kept(tmp_path):
    with pytest.raises(ConfigError, match="--crop and --crop-face"):
        diptych("data", "frames", "a.mp4", "-o", str(tmp_path), "--crop", "0,0,8,8", "--crop-face", "b.onnx")


@given(st.lists(st.floats(-500, 5000), min_size=2, max_size=2), st.floats(0, 5000), st.floats(0, 5000))
def test_squares_are_inside_the_frame(corner, across, down):
    top, left, side = face_square((*corner, across, down), 300, 400)
    assert 0 <= top <= 300 - side
    assert 0 <= left <= 400 - side
    assert side >= 1
