"""Networks of the published code, read by the importer, give the stored outputs: largest difference below 1e-4."""

import goldens
import pytest
import torch

from diptych.importers import junyanz


@pytest.mark.parametrize("path", goldens.files("resnet", "unet", "patchgan"), ids=lambda path: path.stem)
def test_output_equals_reference(path):
    golden = goldens.load(path)
    found = junyanz.recognise(golden.state(), path.name)
    settings = golden.notes["config"]
    assert found.norm == settings["norm"]
    assert found.in_channels == settings["in_channels"]
    assert found.width == settings.get("ngf", settings.get("ndf"))
    net = found.build()
    with torch.no_grad():
        for mode, expected in golden.tensors.items():
            if mode.startswith("y_"):
                made = net.train(mode == "y_train")(golden.tensors["x"]) if found.kind == "patchgan" or mode == "y_eval" else None
                if made is None:
                    made = _without_dropout(net).train()(golden.tensors["x"])
                assert (made - expected).abs().max() < 1e-4, mode
                net = found.build()


def _without_dropout(net):
    """Dropout leaves no trace in a U-Net's keys, and the references were made without it."""
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return net
