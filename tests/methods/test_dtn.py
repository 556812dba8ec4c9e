"""DTN by its paper: networks, every term by hand, the frozen f, and its codes computed once."""

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from diptych.contract import Clock, Labels
from diptych.data.batches import Batches
from diptych.data.images.transforms import Augment
from diptych.losses.perceptual import total_variation
from diptych.methods.dtn import DTN, cross_entropy
from diptych.testing.harness import MethodUnderTest
from diptych.training.precompute import with_precomputed

AB = (Labels(names=("a", "b")),)
SMALL = {"in_channels": 3, "out_channels": 1, "labels": AB, "image_size": 16, "ngf": 4, "ndf": 4, "embedding_dim": 8}
CPU = torch.device("cpu")
EXACT = {"rel": 1e-9}


def tiny(**over):
    torch.manual_seed(0)
    method = DTN(DTN.Config(**{**SMALL, **over})).double()
    for name, p in method.named_parameters():  # biases are 0 at first, and all weights small: that hides mistakes
        if p.dim() > 1 or name.endswith("bias"):
            nn.init.normal_(p, 0, 0.1 if name.endswith("bias") else 0.2)
    return method


def batch_of(count=3):
    torch.manual_seed(1)
    images = {
        name: torch.rand(count, channels, 16, 16, dtype=torch.float64) * 2 - 1
        for name, channels in (("source", 3), ("target", 1))
    }
    return {**images, "label": torch.arange(count) % 2}


def terms_of(method, batch):
    return dict(method.updates(batch, Clock("transfer", 0, 10)))


def numbers_of(terms):
    return {name: term.item() for name, term in terms.items()}


def test_constants_of_the_paper():
    """15, 15 and 0 on digits; 100, 1 and .05 with exponent 1 on pictures. Step sizes are ours; that of f falls to 0."""
    c = DTN.Config()
    assert (c.lambda_const, c.lambda_tid, c.lambda_tv, c.tv_power) == (15.0, 15.0, 0.0, 1.0)
    assert (c.image_size, c.embedding_dim, c.ngf, c.ndf, c.norm, c.one_by_one_convs) == (
        32,
        128,
        64,
        64,
        "batch",
        False,
    )
    assert (c.d_head, c.g_encoder, c.use_gan, c.f_noise_std) == ("ternary", "f", True, 0.0)
    assert DTN.Config(**DTN.presets["paper"]) == c
    pictures = DTN.Config(**DTN.presets["pictures"])
    assert (pictures.lambda_const, pictures.lambda_tid, pictures.lambda_tv, pictures.tv_power) == (
        100.0,
        1.0,
        0.05,
        1.0,
    )
    assert pictures.one_by_one_convs
    first_row = DTN.Config(**DTN.presets["baseline"])
    assert (first_row.d_head, first_row.g_encoder, first_row.lambda_const, first_row.lambda_tid) == (
        "binary",
        "own",
        15.0,
        0.0,
    )
    with torch.device("meta"):
        method = DTN(c)
    first, second = method.stages()
    assert [(stage.name, stage.steps) for stage in (first, second)] == [("f", 4000), ("transfer", 4000)]
    players = first.players | second.players
    nets = {name: player.nets for name, player in players.items()}
    assert nets == {"f": (method.f, method.head), "g": (method.g,), "D": (method.D,)}
    for name, player in players.items():
        betas, factors = ((0.9, 0.999), [1, 0.75, 0.5, 0.25]) if name == "f" else ((0.5, 0.999), [1] * 4)
        assert (player.lr, player.betas, player.weight_decay, player.clip) == (1e-3, betas, 0.0, None), name
        assert [player.schedule(Clock("f", step, 4)) for step in range(4)] == factors, name


def test_networks_of_the_paper():
    method = DTN(DTN.Config())
    assert [m.out_channels for m in method.f.body if isinstance(m, torch.nn.Conv2d)] == [64, 128, 256, 128]
    assert [m.kernel_size for m in method.f.body if isinstance(m, torch.nn.MaxPool2d)] == [2, 2, 2, 4]
    assert sum(isinstance(m, torch.nn.ReLU) for m in method.f.body) == 3, "the code is taken before the last ReLU"
    assert [m.out_channels for m in method.g.body if isinstance(m, torch.nn.ConvTranspose2d)] == [512, 256, 128, 1]
    with torch.no_grad():
        code = method.f(torch.rand(2, 3, 32, 32))
        assert code.shape == (2, 128, 1, 1)
        assert method.g(code).shape == (2, 1, 32, 32)
        assert method.D(method.g(code)).shape == (2, 3, 1, 1)
        assert method.eval().translate(torch.rand(1, 3, 64, 32)).shape == (1, 1, 64, 32)


def test_pictures_have_a_1x1_convolution_behind_each_block():
    plain, smooth = (
        [m.kernel_size for m in tiny(one_by_one_convs=each).g.body if isinstance(m, nn.Conv2d)] for each in (0, 1)
    )
    assert (plain, smooth) == ([], [(1, 1)] * 2)


@pytest.mark.parametrize("size", [16, 64])
def test_other_sizes(size):
    method = tiny(image_size=size, one_by_one_convs=True).float()
    with torch.no_grad():
        assert method.translate(torch.rand(2, 3, size, size)).shape == (2, 1, size, size)
        assert method.D(torch.rand(2, 1, size, size)).shape == (2, 3, 1, 1)


def test_cross_entropy_by_hand():
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, 0.0, 3.0]])[:, :, None, None]
    share = logits.exp() / logits.exp().sum(1, keepdim=True)
    for kind in range(3):
        assert cross_entropy(logits, kind).item() == pytest.approx(-share[:, kind].log().mean().item(), rel=1e-6)


def test_every_term_by_hand():
    """Equations 3 to 8. D numbers are 1, 2 and 3 in the paper; f and the target's grey as three channels."""
    method, batch = tiny(lambda_const=2.0, lambda_tid=3.0, lambda_tv=0.5, tv_power=1.0), batch_of()
    made = terms_of(method, batch)
    method.f.eval()
    s, t = batch["source"], batch["target"].expand(-1, 3, -1, -1)
    from_s, from_t = method.g(method.f(s)), method.g(method.f(t))

    def said(x, kind):
        return -F.log_softmax(method.D(x), 1)[:, kind].mean().item()

    again = method.f(from_s.expand(-1, 3, -1, -1))
    rough = total_variation(from_s, 1.0) + total_variation(from_t, 1.0)
    assert list(made) == ["D", "g"]
    assert numbers_of(made["D"]) == pytest.approx(
        {"source": said(from_s, 0), "target": said(from_t, 1), "real": said(batch["target"], 2)}, **EXACT
    )
    assert numbers_of(made["g"]) == pytest.approx(
        {
            "gan_source": said(from_s, 2),
            "gan_target": said(from_t, 2),
            "const": 2 * ((again - method.f(s)) ** 2).mean().item(),
            "tid": 3 * ((from_t - batch["target"]) ** 2).mean().item(),
            "tv": 0.5 * rough.item() / 16**2,
        },
        **EXACT,
    )


@pytest.mark.parametrize(
    ("over", "passes"),
    [
        ({}, 2),
        (dict(DTN.presets["baseline"]), 1),
        ({"use_gan": False, "lambda_tid": 0.0}, 1),
        ({"use_gan": False}, 2),
        ({"d_head": "binary", "lambda_tid": 0.0, "lambda_tv": 1.0}, 2),
    ],
)
def test_g_sees_targets_only_where_a_term_asks_for_what_it_draws_of_them(over, passes):
    """Its running statistics would else be half of images that its losses never see."""
    method, seen = tiny(**over), []
    method.g.register_forward_pre_hook(lambda net, given: seen.append(given[0]))
    terms_of(method, batch_of())
    assert len(seen) == passes


def test_a_binary_critic_by_hand():
    """Section 3: D tells drawn sources from real targets, and hears nothing of drawn targets."""
    method, batch = tiny(d_head="binary", lambda_tid=0, lambda_const=0), batch_of()
    made = terms_of(method, batch)
    method.f.eval()
    from_s, real = method.g(method.f(batch["source"])), batch["target"]
    shares = {"drawn": method.D(from_s).softmax(1), "real": method.D(real).softmax(1)}
    assert shares["drawn"].shape == (3, 2, 1, 1)
    assert numbers_of(made["D"]) == pytest.approx(
        {"source": -shares["drawn"][:, 0].log().mean().item(), "real": -shares["real"][:, 1].log().mean().item()},
        **EXACT,
    )
    assert numbers_of(made["g"]) == pytest.approx({"gan_source": -shares["drawn"][:, 1].log().mean().item()}, **EXACT)


def test_an_encoder_of_its_own_by_hand():
    """It reads sources, and targets with as many channels; f says what shall stay, and draws nothing."""
    method, batch = tiny(g_encoder="own", lambda_const=2.0, lambda_tid=3.0), batch_of()
    made = terms_of(method, batch)
    method.f.eval()
    own, drawer = method.g
    s, t = batch["source"], batch["target"].expand(-1, 3, -1, -1)
    from_s, from_t = drawer(own(s)), drawer(own(t))

    def said(x, kind):
        return -F.log_softmax(method.D(x), 1)[:, kind].mean().item()

    assert numbers_of(made["D"]) == pytest.approx(
        {"source": said(from_s, 0), "target": said(from_t, 1), "real": said(batch["target"], 2)}, **EXACT
    )
    again = method.f(from_s.expand(-1, 3, -1, -1))
    assert numbers_of(made["g"]) == pytest.approx(
        {
            "gan_source": said(from_s, 2),
            "gan_target": said(from_t, 2),
            "const": 2 * ((again - method.f(s)) ** 2).mean().item(),
            "tid": 3 * ((from_t - batch["target"]) ** 2).mean().item(),
        },
        **EXACT,
    )
    method.eval()
    assert torch.equal(method.translate(s), drawer(own(s)))


def test_f_learns_the_labels_of_the_source():
    method, batch = tiny(), batch_of()
    ((player, terms),) = method.train_f_step(batch, Clock("f", 0, 10))
    logits = method.head(F.relu(method.f(batch["source"])).flatten(1))
    assert player == "f"
    assert terms["class"].item() == pytest.approx(F.cross_entropy(logits, batch["label"]).item(), **EXACT)


def test_f_may_learn_under_noise_as_large_as_each_image_draws():
    method, batch = tiny(f_noise_std=2.0), batch_of()
    torch.manual_seed(7)
    ((_, terms),) = method.train_f_step(batch, Clock("f", 0, 10))
    torch.manual_seed(7)
    s = batch["source"]
    sizes = 2 * torch.rand(len(s), 1, 1, 1)
    logits = method.head(F.relu(method.f(s + sizes * torch.randn_like(s))).flatten(1))
    assert sizes.std() > 0
    assert terms["class"].item() == pytest.approx(F.cross_entropy(logits, batch["label"]).item(), **EXACT)


@pytest.mark.parametrize(
    ("over", "wanted"),
    [
        ({"lambda_const": 0}, {"gan_source", "gan_target", "tid"}),
        ({"lambda_tid": 0}, {"gan_source", "gan_target", "const"}),
        ({"lambda_const": 0, "lambda_tid": 0}, {"gan_source", "gan_target"}),
        ({"use_gan": False}, {"const", "tid"}),
        (DTN.presets["baseline"], {"gan_source", "const"}),
        ({"g_encoder": "own"}, {"gan_source", "gan_target", "const", "tid"}),
    ],
)
def test_rows_of_table_1_are_switches(over, wanted):
    method = tiny(**over)
    made = terms_of(method, batch_of())
    assert set(made["g"]) == wanted
    assert ("D" in made) == over.get("use_gan", True)
    assert set(method.stages()[1].players) == set(made)


def test_a_step_on_g_reaches_g_through_f_which_stays():
    """Public code trains f down L_CONST instead."""
    method = tiny(use_gan=False, lambda_tid=0)
    terms_of(method, batch_of())["g"]["const"].backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in list(method.g.parameters())[:1])
    assert not any(p is q for p in method.f.parameters() for q in method.stages()[1].players["g"].parameters())


def test_f_is_the_same_bit_for_bit_after_the_second_stage():
    subject = MethodUnderTest(DTN)
    engine = subject.engine(pretrain_steps=3, steps=4)
    for batch in subject.batches().stream(0, 3):
        engine.train_step(batch)
    before = {key: value.clone() for key, value in engine.method.f.state_dict().items()}
    head = engine.method.head.weight.clone()
    engine.start_stage(1)
    for batch in subject.batches().stream(0, 4):
        engine.train_step(batch)
    assert all(torch.equal(value, engine.method.f.state_dict()[key]) for key, value in before.items())
    assert torch.equal(head, engine.method.head.weight)


def test_codes_are_computed_once_where_images_are_cut_alike():
    subject = MethodUnderTest(DTN)
    engine = subject.engine()
    stage, plain = engine.stages[1], subject.batches(flip=False)
    with_them = with_precomputed(plain, stage, CPU, "fp32")
    batch, before = with_them[3], plain[3]
    assert set(batch) - set(before) == {"code of source", "code of target"}
    assert all(torch.equal(batch[name], before[name]) for name in before)
    method = engine.method
    assert torch.allclose(batch["code of source"], method.embed_frozen(batch["source"]), atol=1e-5)
    assert torch.allclose(batch["code of target"], method.embed_frozen(batch["target"]), atol=1e-5)
    seen = []
    method.f.register_forward_hook(lambda *each: seen.append(1))
    ends = []
    for each in (before, batch):
        torch.manual_seed(0)
        seen.clear()
        ends.append(
            {
                f"{p}/{name}": value.item()
                for p, terms in method.updates(each, Clock("transfer", 0, 9))
                for name, value in terms.items()
            }
        )
        ends[-1]["passes"] = len(seen)
    assert (ends[0].pop("passes"), ends[1].pop("passes")) == (3, 1), "only what was drawn is read anew"
    assert ends[0] == pytest.approx(ends[1], rel=1e-4)
    assert with_precomputed(plain, engine.stages[0], CPU, "fp32") is plain


@pytest.mark.parametrize(
    "cut", [{"load_size": 36}, {"flip": True}, {"resize_mode": "none"}, {"crop_mode": "random_resized"}]
)
def test_codes_are_not_kept_where_chance_cuts(cut):
    augment = Augment(**{"load_size": 32, "crop_size": 32, "flip": False, **cut})
    assert not augment.is_deterministic
    plain = MethodUnderTest(DTN).batches()
    moving = Batches(plain.split, plain.channels, augment, 2)
    assert with_precomputed(moving, MethodUnderTest(DTN).engine().stages[1], CPU, "fp32") is moving


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValidationError, match="not a power of two: set crop_size=32"):
        DTN.Config(image_size=48)
    with pytest.raises(ValidationError, match="g has no loss; set one of them"):
        DTN.Config(use_gan=False, lambda_const=0, lambda_tid=0)


def test_f_learns_attributes_each_by_itself():
    method, batch = tiny(labels=(Labels(names=("x", "y", "z"), kind="attributes"),), pretrain_steps=1), batch_of()
    batch["label"] = torch.tensor([[0, 1, 1], [1, 0, 0], [1, 1, 0]])
    ((player, terms),) = method.train_f_step(batch, Clock("f", 0, 1))
    method.f.train()
    p = torch.sigmoid(method.head(F.relu(method.f(batch["source"])).flatten(1)))
    wanted = -torch.where(batch["label"] == 1, p, 1 - p).log().mean()
    assert (player, numbers_of(terms)) == ("f", pytest.approx({"attributes": wanted.item()}, rel=1e-6))
    predicted = method.predict(batch["source"])
    assert predicted.shape == (3, 3)
    batch["label"] = predicted.clone()
    batch["label"][0, 1] = 1 - batch["label"][0, 1]
    assert method.validation_errors(batch)["misread"] == pytest.approx(1 / 9)
