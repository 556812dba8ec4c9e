"""Features of published networks, against other people's code with the same weights."""

import hashlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from coarse import pictures
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from diptych.errors import EvaluationError
from diptych.evaluation.metrics import extractors
from diptych.evaluation.metrics.extractors import INCEPTIONS, build, load_extractor
from diptych.importers import pretrained

TORCHVISION, TF = INCEPTIONS


def inception(classes, aux):
    from torchvision.models import Inception3

    return Inception3(classes, aux_logits=aux, transform_input=False, init_weights=False).eval()


@pytest.fixture(scope="module")
def state():
    """Weights (with the auxiliary ones) of 1008 classes that keep signals alive through all layers."""
    generator = torch.Generator().manual_seed(0)
    made = {}
    for key, value in inception(1008, aux=True).state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        if value.dim() > 1:
            made[key] = noise * (2 / value[0].numel()) ** 0.5
        elif key.endswith(("bn.weight", "running_var")):
            made[key] = 1 + 0.2 * noise.abs()
        elif not value.is_floating_point():
            made[key] = value
        else:
            made[key] = 0.1 * noise
    return made


@pytest.fixture
def have(monkeypatch):
    """Give weights to an extractor without a file of 100 MB."""

    def have(state, digest="d" * 64):
        monkeypatch.setattr(pretrained, "load", lambda published, given=None: (state, digest, published.file))

    return have


def classes(state, count):
    return {key: value[:count] if key.startswith("fc.") else value for key, value in state.items()}


def without_aux(state):
    return {key: value for key, value in state.items() if not key.startswith("AuxLogits.")}


@pytest.mark.parametrize("size", [(40, 72), (350, 420)], ids=["larger", "smaller"])
def test_torchvision_features_are_those_of_torchvision_and_its_transforms(size, state, have):
    from torchvision import transforms

    of_1000 = {key: value for key, value in classes(state, 1000).items() if not key.startswith("AuxLogits.fc")}
    have(of_1000)
    x = pictures(2, *size)
    theirs = inception(1000, aux=False)
    theirs.load_state_dict(without_aux(of_1000))
    theirs.fc = nn.Identity()
    prepare = transforms.Compose(
        [
            transforms.Resize((299, 299)),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    with torch.no_grad():
        expected = theirs(torch.stack([prepare(Image.fromarray(each.permute(1, 2, 0).numpy())) for each in x]))
    found = load_extractor(TORCHVISION)
    assert (found.name, found.size, found.digest) == (TORCHVISION, 2048, "d" * 64)
    features = found.run(x)
    assert (features.shape, features.dtype) == ((2, 2048), torch.float32)
    assert expected.std() > 0.01
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


class Pooling:
    """A stand-in for `avg_pool2d` in torchvision's code: what each of its nine calls does in TensorFlow's network."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x, kernel_size, stride, padding):
        assert (kernel_size, stride, padding) == (3, 1, 1)
        self.calls += 1
        height, width = x.shape[-2:]
        edge = -torch.inf if self.calls == 9 else 0.0
        wide = F.pad(x, (1, 1, 1, 1), value=edge)
        near = torch.stack([wide[..., i : i + height, j : j + width] for i in range(3) for j in range(3)])
        if self.calls == 9:  # of the last block
            return near.amax(0)
        there = F.pad(torch.ones_like(x), (1, 1, 1, 1))
        return near.sum(0) / sum(there[..., i : i + height, j : j + width] for i in range(3) for j in range(3))


def test_tf_features_pool_as_tensorflow_does(state, have, monkeypatch):
    """Means leave out the padding; the last block takes the maximum. Plain torchvision gives other features."""
    have(without_aux(state))
    x = pictures()
    features = load_extractor(TF).run(x)
    theirs = inception(1008, aux=False)
    theirs.load_state_dict(without_aux(state))
    theirs.fc = nn.Identity()
    with torch.no_grad():
        prepared = 2 * F.interpolate(x / 255, (299, 299), mode="bilinear", align_corners=False) - 1
        plain = theirs(prepared)
        pooling = Pooling()
        monkeypatch.setattr(F, "avg_pool2d", pooling)
        expected = theirs(prepared)
    assert pooling.calls == 9
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
    assert (plain - expected).abs().max() > 0.01


@pytest.mark.filterwarnings("ignore")
def test_tf_features_are_those_of_pytorch_fid(state, have, monkeypatch):
    theirs = pytest.importorskip("pytorch_fid.inception", reason="pytorch-fid is not installed")
    have(without_aux(state))
    monkeypatch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: without_aux(state))
    x = pictures(2, 310, 290)
    with torch.no_grad():
        expected = theirs.InceptionV3([3]).eval()(x / 255)[0].flatten(1)
    torch.testing.assert_close(load_extractor(TF).run(x), expected, rtol=1e-4, atol=1e-5)


def test_tf_network_has_the_names_and_numbers_of_the_published_one(state):
    net = build(INCEPTIONS[TF])
    assert sum(p.numel() for p in net.parameters()) == 21_785_568 + 2048 * 1008 + 1008
    assert net.state_dict().keys() == without_aux(state).keys()
    assert {m.eps for m in net.modules() if isinstance(m, nn.BatchNorm2d)} == {0.001}


def test_tf_pictures_are_resized_between_four_pixels():
    """By the formula, in numpy: half-pixel centres, no mean over more when it shrinks; then 2x / 255 - 1."""
    x = pictures(1, 640, 310)

    def taps(size):
        at = np.clip((np.arange(299) + 0.5) * size / 299 - 0.5, 0, None)
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, size - 1), at - low

    (top, bottom, down), (left, right, across) = taps(640), taps(310)
    rows = x.numpy().astype(np.float64)
    rows = rows[:, :, top] * (1 - down)[:, None] + rows[:, :, bottom] * down[:, None]
    expected = rows[..., left] * (1 - across) + rows[..., right] * across
    assert np.abs(extractors.tensorflow(x).numpy() - (2 * expected / 255 - 1)).max() < 1e-4


def test_a_file_goes_the_whole_way(state, tmp_path):
    """Read by the child; the digest is that of the file."""
    file = tmp_path / "tf.safetensors"
    save_file(without_aux(state), file)
    found = load_extractor(TF, file)
    assert found.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    file.unlink()  # 95 MB
    assert found.run(pictures(1)).shape == (1, 2048)


@pytest.mark.parametrize(("name", "count"), [(TORCHVISION, 1008), (TF, 1000)])
def test_weights_of_the_other_inception_are_refused(name, count, state, have):
    have(classes(state, count))
    with pytest.raises(
        EvaluationError, match=rf"\.pth: not the weights of this network.*fc\.weight is \({count}, 2048\)"
    ):
        load_extractor(name)


def test_weights_that_are_damaged_name_the_extractor(state, have):
    broken = {**state, "Mixed_7c.branch1x1.bn.bias": torch.full((320,), torch.nan)}
    have(broken)
    with pytest.raises(EvaluationError, match="tf-fid-inception: the features of image 0 are not finite"):
        load_extractor(TF)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tf-fid-inceptoin", "unknown extractor 'tf-fid-inceptoin'; did you mean 'tf-fid-inception'"),
        ("torchvision", "choose one of torchvision-inception-v3, tf-fid-inception, script:FILE, or the folder"),
        ("runs/nothing", "unknown extractor 'runs/nothing'"),
        ("", "unknown extractor ''"),
        ("a\0b\x1b[31m", r"unknown extractor 'a.x00b.x1b\[31m'"),
        ("script:lost.pt", "lost.pt: cannot be read .*No such file"),
    ],
)
def test_other_names_are_refused_with_what_there_is(spec, message):
    with pytest.raises(EvaluationError, match=message):
        load_extractor(spec)


def test_short_memory_is_said_with_the_size_of_the_images():
    x = torch.empty(1, 3, 8000, 9000, device="meta")
    message = r"x: fails on images of 9000x8000 pixels \(out of memory"
    with pytest.raises(EvaluationError, match=message), extractors.deterministic("x", x):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_networks_run_exactly_and_settings_come_back():
    before = torch.backends.cudnn.allow_tf32
    with extractors.deterministic("x", torch.zeros(1, 3, 8, 8)):
        assert not torch.is_grad_enabled()
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.allow_tf32
    assert torch.is_grad_enabled()
    assert torch.backends.cudnn.allow_tf32 == before
