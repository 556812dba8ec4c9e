"""SRGAN by its paper: networks, every term by hand, its two stages; and the known mistakes of public code."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from diptych.contract import Clock
from diptych.data.batches import Batches
from diptych.data.dataset import Split
from diptych.data.images import image_io
from diptych.data.images.transforms import Augment
from diptych.losses.perceptual import EPS, feature_distance, mean_total_variation, total_variation
from diptych.methods.srgan import SRGAN
from diptych.networks.srresnet import Discriminator, SRResNet, downsample_bicubic
from diptych.testing.harness import MethodUnderTest, TinyFeatures

SMALL = {
    "channels": 1,
    "image_size": 16,
    "scale": 2,
    "ngf": 4,
    "n_blocks": 1,
    "ndf": 2,
    "pretrain_steps": 10,
    "steps": 10,
}


def tiny(**over):
    torch.manual_seed(0)
    method = SRGAN(SRGAN.Config(**{**SMALL, **over}))
    method.perceptual["features"] = TinyFeatures()
    return method


def gan(method, x, step=0):
    return dict(method.updates({"image": x}, Clock("gan", step, 10)))


def test_networks_have_the_weights_of_the_paper():
    method = SRGAN(SRGAN.Config())
    assert sum(p.numel() for p in method.G.parameters()) == 1_547_350
    assert sum(p.numel() for p in method.D.parameters()) == 23_563_649
    with torch.no_grad():
        assert method.G.eval()(torch.rand(1, 3, 7, 9)).shape == (1, 3, 28, 36)
        assert method.D.eval()(torch.rand(2, 3, 96, 96)).shape == (2, 1)
    assert not any(m.bias is not None for m in method.D.body if isinstance(m, torch.nn.Conv2d) and m.in_channels > 3)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_other_forms_are_built(scale):
    net = SRResNet(1, scale, 4, 2, pre_upsample="prelu", output_activation="tanh").eval()
    with torch.no_grad():
        assert net(torch.rand(1, 1, 5, 6)).shape == (1, 1, 5 * scale, 6 * scale)
        assert net(100 * torch.rand(1, 1, 5, 6)).abs().max() <= 1
        assert Discriminator(1, 96, 4, head="pooled")(torch.rand(2, 1, 40, 56)).shape == (2, 1)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_low_resolution_is_pillows_bicubic_in_8_bits(scale):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    x = torch.from_numpy(image_io.to_unit(pixels).transpose(2, 0, 1).copy())[None]
    made = ((downsample_bicubic(x, scale)[0].permute(1, 2, 0) + 1) * 127.5).numpy()
    assert np.allclose(made, made.round(), atol=1e-4)
    off = np.abs(made - image_io.resize(pixels, 48 // scale, 64 // scale))
    assert off.max() < 1.01
    assert (off > 0.5).mean() < 0.2  # Pillow rounds between columns and rows, too


def test_the_networks_see_0_to_1_and_make_minus_1_to_1():
    method, seen = tiny(), []
    method.G.register_forward_pre_hook(lambda net, given: seen.append(given[0]))
    x = torch.rand(2, 1, 16, 16) * 2 - 1
    next(method.pretrain_step({"image": x}, Clock("mse", 0, 10)))
    assert seen[0].min() >= 0
    assert torch.allclose(seen[0] * 2 - 1, downsample_bicubic(x, 2), atol=1e-6)
    assert method.derive_inputs({"image": x})["low"].shape == (2, 1, 8, 8)


def test_the_first_stage_is_the_squared_error():
    method, x = tiny(), torch.rand(3, 1, 16, 16) * 2 - 1
    ((player, terms),) = method.pretrain_step({"image": x}, Clock("mse", 0, 10))
    made = method.G((downsample_bicubic(x, 2) + 1) / 2)
    assert player == "G"
    assert terms["mse"].item() == pytest.approx(((made - x) ** 2).mean().item(), rel=1e-5)


def test_every_term_of_the_second_stage_by_hand():
    method, x = (
        tiny(feature_layer=2, feature_scale=0.25, lambda_content=2.0, lambda_mse=3.0, lambda_tv=0.5, lambda_gan=0.1),
        torch.rand(3, 1, 16, 16) * 2 - 1,
    )
    terms = gan(method, x)
    made, see = method.G((downsample_bicubic(x, 2) + 1) / 2), TinyFeatures()
    real, fake = method.D(x).sigmoid(), method.D(made).sigmoid()
    unit = (made + 1) / 2
    down, across = unit[:, :, 1:] - unit[:, :, :-1], unit[..., 1:] - unit[..., :-1]
    wanted = {
        "content": 2 * ((0.25 * (see(made)[1] - see(x)[1])) ** 2).mean(),
        "gan": -0.1 * fake.log().mean(),
        "pixel": 3 * ((made - x) ** 2).mean(),
        "tv": 0.5 * 2 * ((down**2).mean() + (across**2).mean()),
    }
    assert list(terms) == ["D", "G"]
    assert terms["D"]["real"].item() == pytest.approx(-real.log().mean().item(), rel=1e-4)
    assert terms["D"]["fake"].item() == pytest.approx(-(1 - fake).log().mean().item(), rel=1e-4)
    assert set(terms["G"]) == set(wanted)
    for name, value in wanted.items():
        assert terms["G"][name].item() == pytest.approx(value.item(), rel=1e-4), name


def test_total_variation_and_feature_distance_on_numbers():
    x = torch.tensor([[[[0.0, 3.0, 0.0], [4.0, 0.0, 0.0]]]])
    assert total_variation(x).item() == pytest.approx((9 + 16) + (9 + 9))
    assert total_variation(x, 1.0).item() == pytest.approx(5 + math.sqrt(18))
    flat = torch.zeros(1, 1, 3, 3, requires_grad=True)
    total_variation(flat, 1.0).backward()
    assert flat.grad.isfinite().all()
    assert total_variation(torch.cat([x, x]), 1.0).item() == pytest.approx(5 + math.sqrt(18) + 2 * EPS)
    assert mean_total_variation(x).item() == pytest.approx(2 * ((16 + 9) / 3 + (9 + 9 + 16) / 4))
    assert mean_total_variation(torch.cat([x, x])).item() == pytest.approx(mean_total_variation(x).item())
    assert feature_distance(torch.tensor([2.0, 4.0]), torch.tensor([0.0, 0.0]), 0.5).item() == pytest.approx(2.5)


def test_the_content_term_carries_gradient_and_only_to_what_is_made():
    """Public code wraps it into a new tensor, so VGG taught nothing."""
    method, x = tiny(feature_layer=1, lambda_gan=0.0), torch.rand(2, 1, 16, 16) * 2 - 1
    content = gan(method, x)["G"]["content"]
    content.backward()
    assert float(method.G.stem[0].weight.grad.abs().sum()) > 0
    assert all(p.grad is None for p in method.D.parameters())
    assert not any(p.requires_grad for p in method.perceptual["features"].parameters())


def test_pixels_beyond_the_range_still_teach_the_generator():
    """Public code clamps inside training: what lies outside of [-1, 1] then gets no gradient, and stays there."""
    method, x = tiny(feature_layer=2, lambda_mse=1.0, lambda_tv=1.0), torch.rand(2, 1, 16, 16) * 2 - 1
    made, judged = [], []
    with torch.no_grad():
        method.G.head.weight.mul_(50)
    method.G.register_forward_hook(lambda net, given, out: made.append(out))
    method.D.register_forward_pre_hook(lambda net, given: judged.append(given[0]))
    ((_, first),) = method.pretrain_step({"image": x}, Clock("mse", 0, 10))
    second = gan(method, x)["G"]
    assert set(second) == {"content", "gan", "pixel", "tv"}
    for terms, out in ((first, made[0]), (second, made[1])):
        beyond = out.abs() > 1.1
        assert 0.2 < beyond.float().mean() < 1
        for name, term in terms.items():
            (gradient,) = torch.autograd.grad(term, out, retain_graph=True)
            assert (gradient[beyond] != 0).float().mean() > 0.9, name
    assert all(torch.equal(seen, made[1]) for seen in judged[1:]), "D sees them as they were made"


def test_without_anything_that_sees_content_is_the_squared_error():
    method, x = tiny(feature_network="none"), torch.rand(2, 1, 16, 16) * 2 - 1
    made = method.G((downsample_bicubic(x, 2) + 1) / 2)
    assert gan(method, x)["G"]["content"].item() == pytest.approx(F.mse_loss(made, x).item(), rel=1e-5)


def test_step_sizes():
    """1e-4, and in the second half of the second stage a tenth (section 3.2); ours falls to 0 in each."""
    paper, line = SRGAN(SRGAN.Config(**SMALL)), SRGAN(SRGAN.Config(**SMALL, lr_schedule="linear"))
    sizes = [paper.lr_factor(Clock(stage, step, 10)) for stage in ("mse", "gan") for step in range(10)]
    assert sizes == [1.0] * 15 + [0.1] * 5
    assert [line.lr_factor(Clock(stage, 9, 10)) for stage in ("mse", "gan")] == pytest.approx([0.1, 0.1])
    for stage in paper.stages():
        for player in stage.players.values():
            assert (player.lr, player.betas) == (1e-4, (0.9, 0.999))


def test_averaged_weights_move_with_their_running_statistics():
    """Public code multiplies the average by 0.001 and the weight by 0.999, so it is no average."""
    engine = MethodUnderTest(SRGAN).engine(pretrain_steps=3, steps=0, ema_decay=0.75)
    net, averaged = engine.method.G, engine.ema_weights.copies["G"]
    names = ["stem.0.weight", "joint.1.running_mean", "joint.1.running_var"]
    hand = {name: net.state_dict()[name].clone() for name in names}
    start = {name: value.clone() for name, value in hand.items()}
    for batch in MethodUnderTest(SRGAN).batches().stream(0, 3):
        engine.train_step(batch)
        hand = {name: 0.75 * hand[name] + 0.25 * net.state_dict()[name] for name in names}
    for name in names:
        assert torch.allclose(averaged.state_dict()[name], hand[name], atol=1e-6), name
        assert not torch.allclose(hand[name], start[name], atol=1e-5), name
        assert not torch.allclose(hand[name], net.state_dict()[name], atol=1e-5), name


def test_each_patch_of_a_batch_is_cut_for_itself():
    """Public code draws crop, turn and mirror once a batch."""
    ramp = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64, 1)
    split = Split({"image": [ramp]}, aligned=True)
    batch = Batches(split, {"image": 1}, Augment(16, 16, "none", flip=False), size=8)[0]["image"]
    assert len({float(patch[0, 0, 0]) for patch in batch}) == 8


def test_settings_that_train_nothing_or_do_not_fit_are_refused():
    with pytest.raises(ValidationError, match="nothing would be trained"):
        SRGAN.Config(pretrain_steps=0, steps=0)
    with pytest.raises(ValidationError, match="not a multiple of 16: set crop_size=96"):
        SRGAN.Config(image_size=100)


def test_without_the_adversarial_term_no_discriminator_learns():
    method = tiny(lambda_gan=0.0, feature_layer=2)
    assert [list(stage.players) for stage in method.stages()] == [["G"], ["G"]]
    assert list(gan(method, torch.rand(3, 1, 16, 16) * 2 - 1)) == ["G"]


def test_constants_of_the_paper():
    """Weight 1e-3 and 1/12.75; Adam 1e-4, b1 .9, and a tenth of it in the second half of the second stage."""
    c = SRGAN.Config()
    assert SRGAN.Config(**SRGAN.presets["paper"]) == c
    assert (c.lambda_gan, c.feature_scale, c.lambda_content, c.lambda_mse, c.lambda_tv) == (
        1e-3,
        1 / 12.75,
        1.0,
        0.0,
        0.0,
    )
    assert (c.scale, c.image_size, c.ngf, c.n_blocks, c.ndf, c.norm, c.ema_decay) == (4, 96, 64, 16, 64, "batch", 0.0)
    with torch.device("meta"):
        method = SRGAN(c)
    for stage in method.stages():
        for player in stage.players.values():
            assert (player.lr, player.betas, player.weight_decay, player.clip) == (1e-4, (0.9, 0.999), 0.0, None)
    assert {m.negative_slope for m in method.D.modules() if isinstance(m, torch.nn.LeakyReLU)} == {0.2}


def test_presets_are_the_rows_of_table_1():
    made = {name: SRGAN.Config(**preset) for name, preset in SRGAN.presets.items()}
    paper = made["paper"]
    assert (paper.pretrain_steps, paper.steps, paper.feature_layer, paper.feature_network) == (
        1_000_000,
        200_000,
        5,
        "vgg19",
    )
    assert (made["srresnet"].steps, made["vgg22"].feature_layer, made["mse"].feature_network) == (0, 2, "none")
