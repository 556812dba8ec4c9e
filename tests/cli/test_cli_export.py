"""`diptych export`: files, printed losses, refused options."""

import numpy as np
import onnx
import pytest
from commands import diptych
from translators import made

from diptych.data.images import image_io
from diptych.errors import ConfigError


@pytest.mark.slow
def test_int8_of_one_direction(tmp_path):
    made("cyclegan", generator="resnet_1").save(tmp_path / "zebra")
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 37, 3), np.uint8)
        image_io.write(tmp_path / "photos" / f"{number}.png", pixels)
    out = tmp_path / "out" / "zebra.onnx"
    given = ("export", tmp_path / "zebra", "-o", out, "--int8", "--calibrate", tmp_path / "photos")
    said = diptych(*given, "-c", "direction=b2a").stdout
    assert f"{out}: " in said
    assert "int8: PSNR " in said
    assert "fixed: direction=b2a" in said
    assert any(node.op_type == "QuantizeLinear" for node in onnx.load(out).graph.node)
    assert [file.name for file in out.parent.iterdir()] == ["zebra.onnx"]


def test_fp16_halves_the_file(tmp_path):
    made("gan").save(tmp_path / "letters")
    diptych("export", tmp_path / "letters", "-o", tmp_path / "full.onnx")
    assert "fp16: PSNR " in diptych("export", tmp_path / "letters", "-o", tmp_path / "half.onnx", "--fp16").stdout
    sizes = [(tmp_path / name).stat().st_size for name in ("half.onnx", "full.onnx")]
    assert sizes[0] < 0.6 * sizes[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fp16", "--int8"], "two precisions: give one"),
        (["--int8"], "--int8 and --calibrate FOLDER go together"),
        (["--calibrate", "photos"], "--int8 and --calibrate FOLDER go together"),
        (["-c", "directions=b2a"], "has no control 'directions'"),
    ],
)
def test_options_that_are_refused(options, message, tmp_path):
    made("gan").save(tmp_path / "letters")
    with pytest.raises(ConfigError, match=message):
        diptych("export", tmp_path / "letters", "-o", tmp_path / "letters.onnx", *options)
    assert not (tmp_path / "letters.onnx").exists()
