"""ResNet-18 as the network of a classifier: torchvision's layers and weights, trained and saved here."""

from dataclasses import replace

import torch
from torchvision.models import resnet18

from diptych.evaluators.classifier import Classifier
from diptych.networks.resnet18 import ResNet18
from diptych.testing import CHECKS, MethodUnderTest


class Residual(Classifier):
    checks = replace(Classifier.checks, tiny={"network": "resnet18", "lr": 1e-3})


def test_it_is_torchvisions_network():
    torch.manual_seed(0)
    theirs = resnet18(num_classes=7).eval()
    torch.manual_seed(0)
    net = Residual(Residual.Config(network="resnet18", labels=({"names": tuple("abcdefg")},))).C.eval()
    assert isinstance(net, ResNet18)
    state = net.net.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in theirs.state_dict().items()), "initial weights"
    x = torch.rand(2, 3, 64, 96)
    assert torch.allclose(net(x), theirs(x), atol=1e-6)
    assert [tuple(m.shape[1:]) for m in net.maps(x)] == [
        (64, 32, 48), (64, 16, 24), (128, 8, 12), (256, 4, 6), (512, 2, 3),
    ]  # fmt: skip
    assert net.features(x).shape == (2, 512)
    assert ResNet18(1, 2).eval()(x[:, :1, :32, :32]).shape == (2, 2)


def test_it_trains_and_is_saved_as_other_evaluators():
    CHECKS["saved_files_round_trip"](MethodUnderTest(Residual))


def test_sizes_of_the_small_network_are_not_read():
    assert Residual.Config(network="resnet18").unused().keys() == {"base_channels", "n_downsample", "norm"}
    assert not Residual.Config().unused()
