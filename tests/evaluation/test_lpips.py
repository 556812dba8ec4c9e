"""LPIPS against the authors' package and torchmetrics, with the same weights in all; and what only ours has."""

import warnings
from importlib.resources import files

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from diptych.errors import EvaluationError
from diptych.evaluation.metrics.lpips import BACKBONES, Lpips, heads, load_lpips
from diptych.importers import pretrained

HEADS_OF_TORCHMETRICS = "functional/image/lpips_models"
SIZES = {"alex": (3, 64, 83), "vgg": (2, 48, 32)}


def lively(net):
    """Random weights that keep signals alive."""
    torch.manual_seed(0)
    for each in net.modules():
        if isinstance(each, nn.Conv2d):
            nn.init.kaiming_normal_(each.weight, nonlinearity="relu")
            nn.init.normal_(each.bias, std=0.1)
    return net


def backbone(name):
    from torchvision import models

    return lively({"alex": models.alexnet, "vgg": models.vgg16}[name]().features).requires_grad_(False)


def ours(name):
    return Lpips(backbone(name), heads(name), BACKBONES[name].taps)


def put_into(slices, name):
    """The same backbone in the classes of others, who cut it into slices and keep the numbers of the layers."""
    for layer, value in backbone(name).state_dict().items():
        holders = [part for part in slices if layer in part.state_dict()]
        for part in holders:  # the layers behind the last tap are nowhere
            part.state_dict()[layer].copy_(value)


def images(count, height, width, channels=3, seed=1):
    torch.manual_seed(seed)
    return torch.rand(count, channels, height, width) * 2 - 1


@pytest.fixture
def alex():
    return ours("alex")


@pytest.mark.parametrize("name", SIZES)
def test_distances_are_those_of_the_authors_package(name):
    count, height, width = SIZES[name]
    a, b = images(count, height, width), images(count, height, width, seed=2)
    a[1] = b[1] + 0.05 * a[1]  # one that is near
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old names in torchvision
        theirs = pytest.importorskip("lpips").LPIPS(pretrained=True, pnet_rand=True, net=name, verbose=False)
    put_into([theirs.net.slice1, theirs.net.slice2, theirs.net.slice3, theirs.net.slice4, theirs.net.slice5], name)
    expected = theirs(a, b).flatten()
    assert expected.min() > 1e-4
    torch.testing.assert_close(ours(name).pair(a, b), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SIZES)
def test_distances_are_those_of_torchmetrics(name):
    from torchmetrics.functional.image.lpips import _LPIPS

    count, height, width = SIZES[name]
    a, b = images(count, height, width), images(count, height, width, seed=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = _LPIPS(pretrained=False, pnet_rand=True, net=name)
    for layer, head in enumerate(heads(name)):
        theirs.lins[layer].model[1].weight.copy_(head[None, :, None, None])
    put_into([theirs.net.slice1, theirs.net.slice2, theirs.net.slice3, theirs.net.slice4, theirs.net.slice5], name)
    torch.testing.assert_close(ours(name).pair(a, b), theirs(a, b).flatten(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize(("package", "folder"), [("lpips", "weights/v0.1"), ("torchmetrics", HEADS_OF_TORCHMETRICS)])
def test_heads_are_those_of_the_authors_version_0_1(name, package, folder):
    file = files(package) / folder / f"{name}.pth"
    theirs = torch.load(file, map_location="cpu", weights_only=True)
    assert len(theirs) == len(heads(name)) == 5
    for layer, head in enumerate(heads(name)):
        assert torch.equal(head, theirs[f"lin{layer}.model.1.weight"].flatten())


def test_diversity_is_the_mean_over_all_pairs_in_one_pass_an_image(alex):
    x = images(5, 48, 40)
    pairs = [(i, j) for i in range(5) for j in range(i)]
    expected = sum(float(alex.pair(x[i : i + 1], x[j : j + 1])) for i, j in pairs) / len(pairs)
    passed = []
    alex.net[0].register_forward_hook(lambda _, inputs, __: passed.append(len(inputs[0])))
    assert alex.diversity(x) == pytest.approx(expected, rel=1e-5)
    assert sum(passed) == 5


def test_features_are_computed_once_and_compared_with_many(alex):
    one, many = images(1, 64, 64), images(4, 64, 64, seed=3)
    together = alex.distance(alex.features(one), alex.features(many))
    assert together.shape == (4,)
    torch.testing.assert_close(together, alex.pair(one.expand(4, -1, -1, -1), many))
    assert alex.features(one).shape == (1, 64 * 15**2 + 192 * 7**2 + (384 + 256 + 256) * 3**2)


def test_an_image_is_at_no_distance_from_itself(alex):
    x = images(2, 32, 32)
    assert alex.pair(x, x.clone()).tolist() == [0, 0]
    assert alex.diversity(x[:1].expand(3, -1, -1, -1)) == pytest.approx(0, abs=1e-9)


def test_black_images_are_finite(alex):
    """Where nothing is seen, the length of a feature vector is 0."""
    dead = Lpips(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU()), (torch.ones(2),), (1,))
    nn.init.constant_(dead.net[0].weight, 0), nn.init.constant_(dead.net[0].bias, -1)
    x = -torch.ones(2, 3, 32, 32)
    assert dead.pair(x, x).tolist() == [0, 0]
    assert alex.pair(x, images(2, 32, 32)).isfinite().all()


def test_grey_images_are_those_of_three_equal_channels(alex):
    a, b = images(2, 32, 40, channels=1), images(2, 32, 40, channels=1, seed=2)
    expected = alex.pair(a.expand(-1, 3, -1, -1), b.expand(-1, 3, -1, -1))
    torch.testing.assert_close(alex.pair(a, b), expected)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "got torch.uint8"),
        (torch.zeros(3, 64, 64), r"got torch.float32 \(3, 64, 64\)"),
        (torch.zeros(1, 4, 64, 64), r"\(1, 4, 64, 64\)"),
        (torch.zeros(0, 3, 64, 64), r"\(0, 3, 64, 64\)"),
        (torch.zeros(1, 3, 16, 64), "fails on images of 64x16 pixels"),
        (torch.full((2, 3, 64, 64), torch.nan), "features of image 0 are not finite"),
    ],
    ids=["uint8", "one", "channels", "none", "small", "nan"],
)
def test_what_is_no_image_is_refused(x, message, alex):
    with pytest.raises(EvaluationError, match=f"LPIPS: .*{message}"):
        alex.features(x)


def test_what_cannot_be_compared_is_refused(alex):
    with pytest.raises(EvaluationError, match="the images have different sizes"):
        alex.pair(images(1, 64, 96), images(1, 96, 64))
    with pytest.raises(EvaluationError, match="features of 6 and 5 dimensions belong to different image sizes"):
        alex.distance(torch.zeros(2, 6), torch.zeros(2, 5))
    with pytest.raises(EvaluationError, match=r"diversity needs at least 2 images, got 1"):
        alex.diversity(images(1, 64, 64))


@pytest.mark.parametrize("wrong", [(torch.ones(64),), (*heads("alex")[:4], -torch.ones(256))], ids=["few", "negative"])
def test_heads_that_make_no_distance_are_refused(wrong):
    with pytest.raises(EvaluationError, match="one head per layer, with non-negative weights"):
        Lpips(nn.Sequential(), wrong, BACKBONES["alex"].taps)


def test_it_loads_a_file_of_the_whole_network(tmp_path, alex):
    state = {f"features.{key}": value for key, value in backbone("alex").state_dict().items()}
    save_file({**state, "head.weight": torch.zeros(1)}, tmp_path / "alex.safetensors")
    found = load_lpips("alex", tmp_path / "alex.safetensors")
    assert found.digest == pretrained.digest_of(tmp_path / "alex.safetensors")
    a, b = images(2, 32, 32), images(2, 32, 32, seed=2)
    assert torch.equal(found.pair(a, b), alex.pair(a, b))
    assert not found.features(a).requires_grad


def test_a_file_of_another_network_is_refused(tmp_path):
    save_file(
        {f"features.{key}": value for key, value in backbone("alex").state_dict().items()}, tmp_path / "a.safetensors"
    )
    with pytest.raises(EvaluationError, match=r"a\.safetensors: not the weights of this network.*2\.weight is missing"):
        load_lpips("vgg", tmp_path / "a.safetensors")


def test_another_name_is_refused_with_the_nearest():
    with pytest.raises(EvaluationError, match=r"unknown network 'vgg19'; did you mean 'vgg'\?; choose one of alex"):
        load_lpips("vgg19")
