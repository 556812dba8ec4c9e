"""Networks: counts of the papers and their public code, receptive fields measured, dropout places, the pool."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from diptych.losses.adversarial import discriminator_loss, generator_loss, gradient_penalty
from diptych.networks.factory import build_generator, check_generator_name, check_use_bias, size_multiple_of
from diptych.networks.image_pool import ImagePool
from diptych.networks.layers import as_in_training, evaluating, initialise
from diptych.networks.patchgan import PatchGAN
from diptych.networks.resnet import ResNet
from diptych.networks.unet import UNet
from diptych.networks.upsampling import upsample_layers


def count(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (lambda: UNet(3, 3, depth=8), 54_413_955),
        (lambda: UNet(3, 3, depth=7), 41_828_995),
        (lambda: ResNet(3, 3, blocks=9, norm="batch"), 11_383_427),
        (lambda: ResNet(3, 3, blocks=6, norm="batch"), 7_841_411),
        (lambda: PatchGAN(6, 16), 139_585),
        (lambda: PatchGAN(6, 34), 666_433),
        (lambda: PatchGAN(6, 70), 2_768_705),
        (lambda: PatchGAN(6, 142), 6_964_033),
        (lambda: PatchGAN(6, 286), 11_159_361),
        (lambda: PatchGAN(6, 1), 9_024),
    ],
    ids=["unet_256", "unet_128", "resnet_9", "resnet_6", "d16", "d34", "d70", "d142", "d286", "d1"],
)
def test_parameters_as_published(build, parameters):
    with torch.device("meta"):
        assert count(build()) == parameters


@pytest.mark.parametrize(
    ("field", "published"),
    [(16, 136_385), (34, 662_977), (70, 2_764_737), (142, 6_959_553), (286, 11_154_369), (1, 8_705)],
)
def test_instance_norm_needs_no_bias_before_it(field, published):
    """As published, less the biases that InstanceNorm removes."""
    with torch.device("meta"):
        net = PatchGAN(3, field, norm="instance")
        dead = sum(
            conv.out_channels
            for conv, norm in zip(net.layers, net.layers[1:], strict=False)
            if isinstance(norm, nn.InstanceNorm2d)
        )
    assert count(net) == published - dead


@pytest.mark.parametrize("field", [1, 16, 34, 70])
def test_receptive_field(field):
    """The gradient of one output reaches exactly `field` x `field` pixels."""
    net = PatchGAN(1, field, width=2, norm="none")
    x = torch.randn(1, 1, 2 * field + 40, 2 * field + 40, requires_grad=True)
    y = net(x)
    y[0, 0, y.shape[2] // 2, y.shape[3] // 2].backward()
    rows, columns = x.grad[0, 0].nonzero().T
    assert rows.max() - rows.min() + 1 == field
    assert columns.max() - columns.min() + 1 == field


@pytest.mark.parametrize(
    ("depth", "dropout", "levels"),
    [
        (8, "paper", [1, 2, 3]),
        (8, "repo", [2, 3, 4]),
        (8, "none", []),
        (7, "paper", [1, 2, 3]),
        (7, "repo", [2, 3]),
        (5, "paper", [1, 2, 3]),
        (5, "repo", []),
    ],
)
def test_dropout_stands_where_paper_and_repo_put_it(depth, dropout, levels):
    """Counted in up-convolutions from the innermost, 1."""
    net = UNet(1, 1, width=1, depth=depth, dropout=dropout)
    assert [n for n, up in enumerate(net.up, 1) if any(isinstance(layer, nn.Dropout) for layer in up)] == levels


@pytest.mark.parametrize("name", ["unet_32", "unet_64", "encoder_decoder_32", "resnet_1", "resnet_6", "resnet_9"])
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_generators_keep_the_size(name, norm):
    net = build_generator(name, 2, 5, 2, norm, "none")
    size = size_multiple_of(name)
    y = net(torch.randn(2, 2, 2 * size, 3 * size))
    assert y.shape == (2, 5, 2 * size, 3 * size)
    assert y.abs().max() <= 1


@pytest.mark.parametrize("upsample", ["resize_conv", "pixel_shuffle"])
@pytest.mark.parametrize("name", ["unet_32", "encoder_decoder_32", "resnet_1"])
def test_generators_without_transposed_convolutions_keep_the_size(name, upsample):
    net = build_generator(name, 3, 2, 4, "instance", "none", upsample=upsample)
    assert not any(isinstance(module, nn.ConvTranspose2d) for module in net.modules())
    assert net(torch.rand(2, 3, 32, 64)).shape == (2, 2, 32, 64)


@pytest.mark.parametrize("init", ["normal", "xavier", "kaiming", "orthogonal"])
@pytest.mark.parametrize(
    ("upsample", "kernel"), [("deconv", 3), ("deconv", 4), ("resize_conv", 3), ("pixel_shuffle", 3)]
)
def test_only_transposed_convolutions_start_with_checkerboards(upsample, kernel, init):
    """Constant feature maps become constant, except at the edge of zero padding."""
    net = nn.Sequential(*upsample_layers(upsample, 6, 5, kernel, bias=True))
    torch.manual_seed(0)
    initialise(net, init, 1.0)
    y = net(torch.ones(1, 6, 8, 8))
    assert y.shape == (1, 5, 16, 16)
    assert y.std() > 0.1, "the weights are not 0"
    spread = y[..., 2:-2, 2:-2].std((2, 3))
    assert (spread > 0.1).all() if upsample == "deconv" else (spread < 1e-5).all()


def test_the_encoder_decoder_has_no_way_round_the_bottleneck():
    """Cutting the innermost layer leaves the U-Net an output that depends on its input, and the ablation none."""
    for skip in (True, False):
        net = UNet(1, 1, width=2, depth=5, norm="none", dropout="none", skip=skip)
        nn.init.zeros_(net.down[-1][1].weight)
        one, two = net(torch.zeros(1, 1, 32, 32)), net(torch.ones(1, 1, 32, 32))
        assert torch.equal(one, two) != skip


@pytest.mark.parametrize(
    ("init", "spread"),
    [
        ("normal", 0.02),
        ("xavier", 0.02 * (2 / (64 * 16 + 64 * 16)) ** 0.5),
        ("kaiming", (2 / (64 * 16)) ** 0.5),
        ("orthogonal", 0.02 / 32),
    ],
)
def test_initialisers(init, spread):
    net = nn.Sequential(nn.Conv2d(64, 64, 4), nn.BatchNorm2d(64))
    initialise(net, init)
    assert net[0].weight.std().item() == pytest.approx(spread, rel=0.05)
    assert net[0].bias.abs().max() == 0
    assert net[1].weight.mean().item() == pytest.approx(1, abs=0.02)
    assert 0.01 < net[1].weight.std().item() < 0.03


def test_running_a_trained_network_leaves_it_as_it_was():
    net = UNet(1, 1, width=2, depth=5)
    net.up[0].eval()
    before, modes = {k: v.clone() for k, v in net.state_dict().items()}, [m.training for m in net.modules()]
    x = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        with evaluating(net):
            still = [net(x) for _ in range(2)]
        with as_in_training(net):
            drawn = [net(x) for _ in range(2)]
    assert torch.equal(*still)
    assert not torch.equal(*drawn)
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(m.track_running_stats for m in net.modules() if isinstance(m, nn.BatchNorm2d))


def played(pool, stream):
    return [int(pool(torch.full((1, 1, 1, 1), float(n))).item()) for n in stream]


def test_the_pool_returns_new_images_until_it_is_full_then_half_old_ones():
    torch.manual_seed(0)
    pool, size, seen = ImagePool(50), 50, 4000
    given = played(pool, range(seen))
    assert given[:size] == list(range(size))
    late = [(n, got) for n, got in enumerate(given) if n >= size]
    old = [(n, got) for n, got in late if got != n]
    assert 0.47 < len(old) / len(late) < 0.53
    assert len({got for _, got in old}) == len(old), "an image that was given back is kept no longer"
    assert all(got < n for n, got in old)
    ages = sum(n - got for n, got in old) / len(old)
    assert 80 < ages < 120, "a stored image is drawn after 2 x 50 steps on average, if slots are drawn evenly"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.integers(0, 6))
def test_the_pool_does_not_see_how_images_are_batched(sizes, capacity):
    torch.manual_seed(1)
    one, other = ImagePool(capacity), ImagePool(capacity)
    other.load_state_dict(one.state_dict())
    images = torch.arange(float(sum(sizes))).reshape(-1, 1, 1, 1)
    together = torch.cat([one(part) for part in images.split(sizes)])
    apart = torch.cat([other(image) for image in images.split(1)])
    assert torch.equal(together, apart)


def test_the_pool_carries_no_gradient():
    pool = ImagePool(2)
    images = torch.randn(3, 1, 2, 2, requires_grad=True)
    assert not pool(images).requires_grad


def test_adversarial_losses_by_hand():
    logits = torch.tensor([0.0, 2.0])
    assert discriminator_loss("vanilla", logits, True).item() == pytest.approx((0.693147 + 0.126928) / 2, abs=1e-5)
    assert discriminator_loss("vanilla", logits, False).item() == pytest.approx((0.693147 + 2.126928) / 2, abs=1e-5)
    assert discriminator_loss("lsgan", logits, True).item() == pytest.approx((1 + 1) / 2)
    assert discriminator_loss("lsgan", logits, False).item() == pytest.approx((0 + 4) / 2)
    assert discriminator_loss("hinge", logits, True).item() == pytest.approx((1 + 0) / 2)
    assert discriminator_loss("hinge", logits, False).item() == pytest.approx((1 + 3) / 2)
    assert discriminator_loss("wgan-gp", logits, True).item() == pytest.approx(-1)
    assert discriminator_loss("wgan-gp", logits, False).item() == pytest.approx(1)
    assert generator_loss("vanilla", logits) == discriminator_loss("vanilla", logits, True)
    assert generator_loss("hinge", logits).item() == generator_loss("wgan-gp", logits).item() == pytest.approx(-1)


def test_half_precision_logits_are_summed_in_full():
    logits = torch.full((1, 1, 64, 64), 1.01).bfloat16()
    assert discriminator_loss("lsgan", logits, False).dtype == torch.float32


def test_the_gradient_penalty_is_the_papers_on_a_line():
    """A linear critic has one gradient everywhere: (|w| - 1)^2."""
    critic = nn.Linear(4, 1, bias=False)
    nn.init.constant_(critic.weight, 1.5)
    images = torch.randn(2, 3, 4)
    penalty = gradient_penalty(
        lambda x: critic(x.flatten(1)), images[0].reshape(3, 1, 2, 2), images[1].reshape(3, 1, 2, 2)
    )
    assert penalty.item() == pytest.approx((3 - 1) ** 2, rel=1e-5)
    penalty.backward()
    assert critic.weight.grad.abs().min() > 0


def test_a_penalty_that_would_do_nothing_is_refused():
    critic = nn.Linear(4, 1).requires_grad_(False)
    with pytest.raises(RuntimeError, match="carries no gradient"):
        gradient_penalty(lambda x: critic(x.flatten(1)), torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize("name", ["unet_512", "unet_1024", "encoder_decoder_512", "resnet_1", "resnet_7", "resnet_100"])
def test_unets_of_large_images_and_resnets_of_any_number_of_blocks_have_names(name):
    assert check_generator_name(name) == name


@pytest.mark.parametrize(
    "name", ["unet_25", "unet_16", "resnet_0", "resnet_101", "resnet_-1", "resnet_06", "unet", "x", ""]
)
def test_a_generator_that_does_not_exist_is_refused_with_what_there_is(name):
    with pytest.raises(
        ValueError, match=r"expected unet_N .*512, 1024\), or resnet_N with N residual blocks \(1 to 100\)"
    ):
        check_generator_name(name)


def test_a_bias_setting_without_effect_is_refused():
    check_use_bias("unet_256", "batch", True)
    check_use_bias("resnet_9", "instance", False)
    for name, norm in (("unet_256", "instance"), ("resnet_9", "batch")):
        with pytest.raises(ValueError, match="use_bias=True changes only U-Nets"):
            check_use_bias(name, norm, True)


def test_a_norm_or_receptive_field_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="norm='nonne': expected batch, instance, none; did you mean 'none'"):
        PatchGAN(3, 70, norm="nonne")
    with pytest.raises(ValueError, match="receptive_field=46: expected one of 1, 16, 34, 70, 142, 286"):
        PatchGAN(3, 46)
