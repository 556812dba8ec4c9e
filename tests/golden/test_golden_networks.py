"""Networks of the published code, read by the importer, give the stored outputs: largest difference below 1e-4."""

import goldens
import pytest
import torch

from diptych.importers import pix2pix_family


@pytest.mark.parametrize("path", goldens.files("resnet", "unet", "patchgan"), ids=lambda path: path.stem)
def test_output_equals_reference(path):
    golden = goldens.load(path)
    found, settings = pix2pix_family.recognise(golden.state(), path.name), golden.notes["config"]
    assert (found.norm, found.in_channels) == (settings["norm"], settings["in_channels"])
    assert found.width == settings.get("ngf", settings.get("ndf"))
    outputs = {name: value for name, value in golden.tensors.items() if name.startswith("y_")}
    assert outputs
    for name, expected in outputs.items():
        net = without_dropout(found.build()).train(name == "y_train")
        with torch.no_grad():
            assert (net(golden.tensors["x"]) - expected).abs().max() < 1e-4, name


def without_dropout(net):
    """Dropout leaves no trace in a U-Net's keys, and the references were made without it."""
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return net
