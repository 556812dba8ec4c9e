"""Trained networks that losses look through: VGG from a file, a judge, and what a run remembers of them."""

import pytest
import torch
from commands import diptych
from judged import LITTLE, offline, trained  # noqa: F401
from safetensors.torch import save_file
from torchvision.models import vgg19

from diptych.errors import ConfigError, EvaluationError
from diptych.evaluation.feature_networks import VggFeatures, feature_networks_of, load_feature_network
from diptych.methods.diat import DIAT
from diptych.methods.srgan import SRGAN
from diptych.training.engine import Engine

CPU = torch.device("cpu")
SMALL = [
    "root=glyphs:sans",
    "ngf=4",
    "n_blocks=1",
    "ndf=2",
    "feature_layer=2",
    "pretrain_steps=1",
    "steps=1",
    "batch_size=2",
]


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    settings = ["root=glyphs:sans/serif", "steps=2", "base_channels=4", "n_downsample=2", "batch_size=4"]
    return trained(tmp_path_factory.mktemp("judge") / "run", "classifier", *settings).folder


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    """The convolutions of VGG19 with random weights, and SRGAN's feature network from a file of them in float16."""
    with torch.device("meta"):
        network = vgg19().features.eval()
    network.to_empty(device="cpu")
    torch.manual_seed(0)
    for parameter in network.parameters():
        scale = (2 / parameter[0].numel()) ** 0.5 if parameter.dim() > 1 else 0.1
        parameter.data = (torch.randn_like(parameter) * scale).half().float()
    file = tmp_path_factory.mktemp("vgg") / "vgg19-dcbb9e9d.safetensors"
    save_file({f"features.{name}": value.half() for name, value in network.state_dict().items()}, file)
    config = SRGAN.Config(
        **SRGAN.checks.tiny | {"feature_network": f"vgg19:{file}", "feature_layer": 5, "image_size": 32}
    )
    networks, digests = feature_networks_of(SRGAN, config, CPU)
    return network, config, networks["features"], digests["feature_network"]


def test_vgg_gives_what_it_sees_before_each_pooling(vgg):
    theirs, _, net, digest = vgg
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        maps = net(x)
        normal = ((x + 1) / 2 - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor(
            [0.229, 0.224, 0.225]
        )[:, None, None]
        last = theirs[:36](normal)  # relu5_4, which the paper calls phi 5,4
    assert [tuple(each.shape[1:]) for each in maps] == [
        (64, 32, 32),
        (128, 16, 16),
        (256, 8, 8),
        (512, 4, 4),
        (512, 2, 2),
    ]
    assert torch.allclose(maps[4], last, atol=1e-6)
    assert torch.equal(maps[1], net(x)[1])
    assert not any(p.requires_grad for p in net.parameters())
    assert len(digest) == 64
    assert net(torch.zeros(1, 1, 32, 32))[0].shape[1] == 64, "grey is seen as colour"


def test_srgan_by_vgg19(vgg):
    """VGG54: both terms of G are logged, the content term is that of equation 5, and its gradient reaches G."""
    network, config, features, _ = vgg
    torch.manual_seed(0)
    method = SRGAN(config)
    method.perceptual["features"] = features
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    fake = method.upscale(method.derive_inputs({"image": x})["low"])
    loss = method.content_loss(fake, x)
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    maps = (network[:36](((images + 1) / 2 - mean) / std) / 12.75 for images in (fake, x))  # relu5_4
    assert loss.item() == pytest.approx(torch.nn.functional.mse_loss(*maps).item(), rel=1e-4)
    assert float(torch.autograd.grad(loss, method.G.stem[0].weight)[0].abs().sum()) > 0
    engine = Engine(method)
    engine.start_stage(1)
    engine.train_step({"image": x})
    terms = engine.loss_tracker.close().means()
    assert terms["G/content"] > 0
    assert terms["G/gan"] > 0


def test_a_judge_lends_its_maps_with_gradient(judge):
    net, _ = load_feature_network(str(judge), CPU)
    x = torch.zeros(1, 1, 32, 32, requires_grad=True)
    maps = net(x)
    assert [each.shape[-1] for each in maps] == [16, 8]
    maps[1].sum().backward()
    assert float(x.grad.abs().sum()) > 0
    assert not net.training


@pytest.mark.parametrize("cls", [SRGAN, DIAT])
def test_a_judge_stays_bit_for_bit_while_a_method_looks_through_it(judge, cls):
    """Its BatchNorm too: the method is put into training at each step, and what it was lent is not."""
    net, _ = load_feature_network(str(judge), CPU)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert any(name.endswith("running_var") for name in before)
    torch.manual_seed(0)
    method, looks = (
        cls(cls.Config(**cls.checks.tiny, channels=1, image_size=32, feature_network=str(judge), steps=2)),
        [],
    )
    method.perceptual["features"] = net
    net.register_forward_hook(lambda *each: looks.append(1))
    engine = Engine(method)
    for place in range(len(engine.stages)):
        engine.start_stage(place)
        engine.train_step({name: torch.rand(2, 1, 32, 32) * 2 - 1 for name in cls.batch})
    assert looks
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_what_cannot_be_had_is_told_with_a_way_out(judge, tmp_path):
    config = SRGAN.Config(feature_network="vgg91")
    with pytest.raises(
        ConfigError, match=r"feature_network='vgg91': unknown network .* did you mean 'vgg19'.*feature_network=none"
    ):
        feature_networks_of(SRGAN, config, CPU)
    with pytest.raises(ConfigError, match=r"vgg19-dcbb9e9d.pth is needed, is not on this machine"):
        feature_networks_of(SRGAN, SRGAN.Config(), CPU)
    with pytest.raises(ConfigError, match=r"feature_network=none: .*name one, or set identity_features=adaptive"):
        feature_networks_of(DIAT, DIAT.Config(), CPU)
    pairs = trained(tmp_path / "pairs", "pix2pix", "root=glyphs", "steps=1")
    with pytest.raises(EvaluationError, match="not an evaluator network"):
        load_feature_network(str(pairs.folder), CPU)
    assert feature_networks_of(SRGAN, SRGAN.Config(feature_network="none"), CPU) == ({}, {})


def test_a_run_knows_the_weights_that_it_looked_through(judge, tmp_path):
    """Not by the folder they lie in: a moved judge is the same, another one in its place is refused."""
    run = trained(tmp_path / "run", "srgan", *SMALL, f"feature_network={judge}").folder
    judge.rename(judge.with_name("moved"))
    moved = judge.with_name("moved")
    words = [f"feature_network={moved}", "steps=2", "--allow", "steps"]
    assert diptych("resume", run, *words).exit_code == 0
    other = trained(
        tmp_path / "other", "classifier", "root=glyphs:sans/serif", "steps=1", "base_channels=4", "n_downsample=2"
    ).folder
    with pytest.raises(ConfigError, match="feature_network"):
        diptych("resume", run, f"feature_network={other}", "steps=3", "--allow", "steps")
    moved.rename(judge)


def test_what_has_no_maps_is_found_before_anything_is_made(tmp_path):
    settings = [
        "palette=[[0],[255]]",
        "in_channels=1",
        "out_channels=1",
        "base_channels=4",
        "n_downsample=2",
        "steps=1",
    ]
    judge = trained(tmp_path / "painter", "segmenter", "root=glyphs", *settings).folder
    with pytest.raises(ConfigError, match="Segmenter has no feature maps"):
        diptych("train", "srgan", *SMALL, *LITTLE, f"feature_network={judge}", "-o", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_maps_are_those_before_poolings_alone():
    assert VggFeatures(torch.nn.Sequential(torch.nn.ReLU())).forward(torch.zeros(1, 3, 4, 4)) == []
