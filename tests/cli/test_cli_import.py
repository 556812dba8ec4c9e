"""`diptych import`: a published checkpoint becomes a model folder."""

import numpy as np
import pytest
import torch
from commands import diptych
from torch_files import resnet

from diptych.data.images import image_io
from diptych.errors import DiptychError


def test_import_makes_a_model_folder(tmp_path):
    torch.save(resnet(), tmp_path / "latest_net_G.pth")
    out = diptych("import", tmp_path / "latest_net_G.pth", "-o", tmp_path / "model").stdout
    assert "cyclegan, generator resnet_6, ngf 4, norm instance, upsample deconv, in_channels 3, out_channels 3" in out
    image_io.write(tmp_path / "x.png", np.zeros((10, 12, 3), np.uint8))
    diptych("translate", tmp_path / "model", tmp_path / "x.png", "-o", tmp_path / "out")
    assert image_io.read(tmp_path / "out" / "x.png").shape == (10, 12, 3)
    with pytest.raises(DiptychError, match="already holds a model"):
        diptych("import", tmp_path / "latest_net_G.pth", "-o", tmp_path / "model")
    with pytest.raises(DiptychError, match="has only to_b"):
        diptych("translate", tmp_path / "model", tmp_path / "x.png", "-o", tmp_path / "out2", "-c", "direction=b2a")
