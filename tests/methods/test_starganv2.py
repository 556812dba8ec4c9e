"""StarGAN v2 by its paper: constants, terms by hand, the saved passes against the published order, controls."""

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from small_starganv2 import DOMAINS, LABELS, SMALL, START, batch, drawing, preset, tiny, updates_of

from diptych.contract import Clock, Labels
from diptych.data.config import DataConfig
from diptych.losses.adversarial import r1
from diptych.methods.starganv2 import StarGANv2
from diptych.networks.layers import without_graph
from diptych.networks.starganv2 import ResidualBlock, laplacian
from diptych.settings.train_config import EvaluateConfig, TrainConfig
from diptych.training.engine import Engine


def test_constants_of_the_paper():
    """Appendix B and the published code: Adam, its betas, the weights, R1 of 1, the averages, the sizes at 256."""
    c = StarGANv2.Config()
    assert (c.lr, c.f_lr, c.weight_decay, c.ema_decay, c.steps) == (1e-4, 1e-6, 1e-4, 0.999, 100_000)
    assert (c.lambda_r1, c.lambda_sty, c.lambda_cyc, c.lambda_ds, c.ds_decay_end, c.w_hpf) == (1, 1, 1, 2, 1, 0)
    assert (c.style_dim, c.latent_dim, c.mapping_dim, c.max_channels, c.image_size) == (64, 16, 512, 512, 256)
    hq = StarGANv2.Config(**StarGANv2.presets["celeba_hq"])
    assert (hq.lambda_ds, hq.w_hpf) == (1, 1)
    with torch.device("meta"):
        method, other = StarGANv2(c), StarGANv2(hq)
    (stage,) = method.stages()
    assert {name: player.lr for name, player in stage.players.items()} == {"D": 1e-4, "G": 1e-4, "F": 1e-6, "E": 1e-4}
    assert {(p.betas, p.weight_decay) for p in stage.players.values()} == {((0.0, 0.99), 1e-4)}
    count = {name: sum(p.numel() for p in net.parameters()) for name, net in method.named_children()}
    assert (count["F"], count["E"], count["D"]) == (2_438_272, 20_916_928, 20_852_290)
    removed = dead(method)
    assert count["G"] == 33_892_995 - removed  # the published one has biases that its norms remove
    shortcuts = sum(narrow * wide for narrow, wide in ((512, 256), (256, 128), (128, 64)))
    assert sum(p.numel() for p in other.G.parameters()) == 43_467_395 - shortcuts - dead(other)
    assert (method.traits.size_multiple, other.traits.size_multiple) == (32, 64)


def dead(method):
    """Weights of the biases that our generator leaves out."""
    return sum(m.out_channels for m in method.G.modules() if isinstance(m, torch.nn.Conv2d) and m.bias is None) - sum(
        block.shortcut.out_channels
        for block in method.G.modules()
        if isinstance(block, ResidualBlock) and isinstance(block.shortcut, torch.nn.Conv2d)
    )


def test_order_of_a_step():
    """Section 5(b) of the facts: D latent, D reference, G with F and E latent, G alone reference."""
    order = [(players, tuple(terms)) for players, terms in updates_of(tiny())]
    d = ("real", "fake", "r1")
    g = ("gan", "style", "diversity", "cycle")
    assert order == [
        ("D", tuple(f"latent_{name}" for name in d)),
        ("D", tuple(f"reference_{name}" for name in d)),
        (("G", "F", "E"), tuple(f"latent_{name}" for name in g)),
        ("G", tuple(f"reference_{name}" for name in g)),
    ]


def test_terms_by_hand():
    """Section 2.2, with plain calls of the networks; nothing moves between the updates here."""
    method, b = tiny(lambda_sty=3.0, lambda_cyc=5.0, lambda_ds=7.0, lambda_r1=11.0, ds_decay_end=0.5), batch()
    x, y, target, at = b["image"], b["label"], b["target"], torch.arange(2)
    updates = updates_of(method, Clock("train", 1, 10))
    torch.manual_seed(2)
    z = torch.randn(2, 2, 4)
    codes = {
        "latent": [method.F(each, target) for each in z],
        "reference": [method.E(b[name], target) for name in ("reference", "other")],
    }
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(method.D(leaf)[at, y].sum(), leaf)
    for way, (d, g) in {"latent": (0, 2), "reference": (1, 3)}.items():
        first, second = codes[way]
        fake, rival = method.G(x, first), method.G(x, second)
        critic = {
            "real": F.softplus(-method.D(x)[at, y]).mean(),
            "fake": F.softplus(method.D(fake)[at, target]).mean(),
            "r1": 11 * 0.5 * slope.square().sum((1, 2, 3)).mean(),
        }
        maker = {
            "gan": F.softplus(-method.D(fake)[at, target]).mean(),
            "style": 3 * (method.E(fake, target) - first).abs().mean(),
            "diversity": -7 * (1 - 1 / 5) * (fake - rival).abs().mean(),
            "cycle": 5 * (method.G(fake, method.E(x, y)) - x).abs().mean(),
        }
        for place, expected in ((d, critic), (g, maker)):
            wanted = {f"{way}_{name}": term.item() for name, term in expected.items()}
            assert updates[place][1] == pytest.approx(wanted, rel=1e-5), (way, place)


def test_the_diversity_falls_in_a_line_and_knows_no_past():
    """It is a function of the clock: a run that is resumed goes on with the weight that it had."""
    method = tiny(ds_decay_end=0.5)
    at = [updates_of(method, Clock("train", step, 10))[2][1]["latent_diversity"] for step in (0, 1, 4, 5, 9)]
    assert at[0] < 0
    assert [each / at[0] for each in at] == pytest.approx([1, 0.8, 0.2, 0, 0])


def two_steps(reuse, **over):
    """Losses, weights, and how often the two halves of G ran."""
    method, calls, logged = tiny(reuse=reuse, **over).double(), [], []
    for name in ("encode", "decode"):
        plain = vars(type(method.G))[name]
        vars(method.G)[name] = lambda *args, plain=plain, name=name: (calls.append(name), plain(method.G, *args))[1]
    if over.get("highpass"):
        method.use_landmarks(lambda x: tuple(F.adaptive_avg_pool2d(x.abs(), side) for side in (32, 64)))
    engine, images = Engine(method), batch(over.get("size", 32), torch.float64)
    for _ in range(2):
        engine.train_step(images)
        logged.append(engine.loss_tracker.close().means())
    return logged, engine.state()[0], (calls.count("encode") // 2, calls.count("decode") // 2)


@pytest.mark.parametrize(
    "over", [{}, {"w_hpf": 1.0}, {"condition": "latent"}, {"style_sources": ("reference", "latent")}]
)
def test_saved_passes_change_nothing(over):
    """Section 5(g): in float64, over two steps, losses, weights, averages and Adam are those of the published order."""
    logged, state, calls = two_steps("none", **over)
    assert calls[0] == calls[1] == 4 * len([name for name in logged[0] if name.endswith("_gan")])
    for reuse in ("exact", "max"):
        others, other, fewer = two_steps(reuse, **over)
        assert fewer[0] * 2 == calls[0], "the encoder runs once for each set of weights, and once for the way back"
        assert fewer[1] == calls[1] - (reuse == "max" and "style_sources" not in over)
        for one, two in zip(logged, others, strict=True):
            assert two == pytest.approx(one, rel=1e-12)
        assert set(state) == set(other)
        worst = max((float((state[name] - other[name]).abs().max()), name) for name in state)
        assert worst[0] < 1e-12, worst


def gradients_under_autocast(**over):
    """By player, the networks of which a weight that a loss reaches in float32 got no gradient under bfloat16."""
    method, lost = tiny(**over), set()
    players = method.stages()[0].players
    torch.manual_seed(2)
    rule = method.updates(batch(), START)
    while True:
        with torch.autocast("cpu", torch.bfloat16):
            update = next(rule, None)
        if update is None:
            return lost
        names = (update[0],) if isinstance(update[0], str) else update[0]
        moving = {name: players[name].parameters() for name in names}
        torch.stack([term.float() for term in update[1].values()]).sum().backward(
            inputs=[p for weights in moving.values() for p in weights]
        )
        lost |= {name for name, weights in moving.items() if any(p.grad is None for p in weights)}
        method.zero_grad()


@pytest.mark.parametrize("reuse", ["none", "exact", "max"])
def test_every_player_gets_gradients_under_autocast(reuse):
    """Casts of weights made without a graph must not be met again; some versions of torch keep them."""
    assert gradients_under_autocast(reuse=reuse) == set()


def test_a_lost_gradient_would_be_seen(monkeypatch):
    monkeypatch.setattr(StarGANv2, "graph", lambda self, needed: without_graph())
    assert gradients_under_autocast() == {"F"}


def test_r1_by_hand():
    """Of the critic w x^2 the gradient is 2 w x: R1 is half the mean over samples of the sum of its squares."""
    w, x = torch.tensor(3.0, requires_grad=True), torch.randn(4, 1, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        logits, penalty = r1(lambda image: (w * image.square()).flatten(1), x)
    assert penalty.dtype == torch.float32
    assert torch.equal(logits, (w * x.square()).flatten(1))
    assert penalty.item() == pytest.approx((18 * x.square().sum((1, 2, 3)).mean()).item())
    penalty.backward()
    assert w.grad.item() == pytest.approx(2 * penalty.item() / 3)
    assert not x.requires_grad
    with pytest.raises(RuntimeError, match="frozen"):
        r1(lambda image: 2 * image, x)


def test_r1_of_a_chosen_output_alone():
    x = torch.randn(2, 1, 2, 2)
    w = torch.ones(2, requires_grad=True)
    _, penalty = r1(lambda image: w * image.flatten(1)[:, :2], x, lambda logits: logits[:, 1])
    assert penalty.item() == 0.5


def test_the_batch_is_left_as_it_was():
    b = batch()
    before = {name: value.clone() for name, value in b.items()}
    list(tiny().updates(b, START))
    assert not any(value.requires_grad for value in b.values())
    assert all(torch.equal(before[name], b[name]) for name in b)


@pytest.mark.parametrize("over", [{}, {"w_hpf": 1.0}])
def test_no_weight_of_the_generator_is_dead(over):
    """A bias that a norm removes has no gradient but rounding, which Adam would turn into steps."""
    method = tiny(**over).double()
    masks = (torch.rand(2, 1, 32, 32).double(), torch.rand(2, 1, 64, 64).double()) if over else None
    fake = method.G(batch(dtype=torch.float64)["image"], torch.randn(2, 8).double(), masks)
    fake.square().mean().backward()
    smallest = min((float(p.grad.abs().max()), name) for name, p in method.G.named_parameters())
    assert smallest[0] > 1e-9, smallest


@pytest.mark.parametrize(
    ("name", "players", "terms"),
    [
        ("a", ["D", "G"], {"gan", "class", "cycle"}),
        ("b", ["D", "G"], {"gan", "cycle"}),
        ("c", ["D", "G"], {"gan", "cycle"}),
        ("d", ["D", "G+E"], {"gan", "style", "cycle"}),
        ("e", ["D", "D", "G+F+E", "G"], {"gan", "style", "cycle"}),
        ("f", ["D", "D", "G+F+E", "G"], {"gan", "style", "diversity", "cycle"}),
    ],
)
def test_the_ablations_train(name, players, terms):
    method = preset(name)
    updates = updates_of(method)
    assert ["+".join([p] if isinstance(p, str) else p) for p, _ in updates] == players
    assert {term.partition("_")[2] for term in updates[-1][1]} == terms
    assert ("penalty" in " ".join(updates[0][1])) == (name in "ab")
    assert ("r1" in " ".join(updates[0][1])) == (name not in "ab")
    assert (
        method.inference_networks
        == method.ema
        == {4: ("G", "F", "E")}.get(len(players), ("G", "E") if name == "d" else ("G",))
    )
    assert all(net is None or net in dict(method.named_children()).values() for net in (method.F, method.E))
    before = {key: value.clone() for key, value in method.state_dict().items()}
    Engine(method).train_step(batch())
    for part in {"D", *method.inference_networks}:
        moved = [not torch.equal(value, before[key]) for key, value in method.state_dict().items() if key[0] == part]
        assert any(moved), part
    made = [method.translate(batch()["image"], domain) for domain in DOMAINS]
    assert all(float((made[0] - other).abs().max()) > 1e-4 for other in made[1:]), "the domain is not heard"
    of_styles = ["seed", "reference", "toward", "toward_reference", "mix"]
    assert [control.name for control in method.controls][1:] == of_styles * (name > "c")


def test_classes_by_hand():
    """A: one real-or-made output, and cross-entropy of the classes: of real images by D, of made ones by G."""
    method, b = preset("a", lambda_cls=3.0), batch()
    (_, d), (_, g) = updates_of(method)
    code = torch.eye(3)[b["target"]]
    fake, judged = method.G(b["image"], code), method.D(b["image"])
    assert judged.shape == (2, 4)
    assert d["latent_real"] == pytest.approx(-judged[:, 0].mean().item(), rel=1e-4)
    assert d["latent_class"] == pytest.approx(3 * F.cross_entropy(judged[:, 1:], b["label"]).item(), rel=1e-5)
    assert g["latent_class"] == pytest.approx(3 * F.cross_entropy(method.D(fake)[:, 1:], b["target"]).item(), rel=1e-5)


def test_the_smallest_image_that_fits():
    method = drawing()
    side = method.traits.size_multiple
    assert method.translate(torch.rand(1, 1, side, side)).shape == (1, 1, side, side)


def test_the_kernel_of_the_skips():
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    kernel = -torch.ones(3, 1, 3, 3, dtype=torch.float64)
    kernel[:, :, 1, 1] = 8
    assert torch.allclose(laplacian(x), F.conv2d(x, kernel, padding=1, groups=3), atol=1e-12)


def test_landmarks_steer_the_skips_and_are_no_part_of_the_model():
    method, x = drawing(w_hpf=1.0), torch.rand(2, 1, 32, 64)
    plain = method.translate(x)

    class Everywhere(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.much = torch.nn.Parameter(torch.ones(1))

        def forward(self, x):
            return tuple(self.much.expand(len(x), 1, side, side) for side in (32, 64))

    landmarks, keys = Everywhere(), set(method.state_dict())
    method.use_landmarks(landmarks)
    assert set(method.state_dict()) == keys
    assert not landmarks.much.requires_grad
    assert float((method.translate(x) - plain).abs().max()) > 1e-3
    method.use_landmarks(lambda x: (torch.zeros(len(x), 1, 32, 32), torch.zeros(len(x), 1, 64, 64)))
    assert torch.allclose(method.translate(x), plain, atol=1e-6)


@pytest.mark.parametrize(
    ("over", "says"),
    [
        ({"image_size": 48}, "crop_size=48 is not a power of two: set crop_size=32"),
        ({"labels": (Labels(names=("a", "b"), kind="attributes"),)}, "exactly one class per image"),
        ({"labels": LABELS * 2}, "one data set"),
        ({"labels": ()}, "one data set"),
        ({"style_sources": ("latent", "latent")}, "name each source once"),
        ({"condition": "latent", "style_sources": ("reference",)}, "only condition=style"),
        ({"condition": "label", "lambda_ds": 1.0}, "lambda_ds=0"),
    ],
)
def test_settings_that_do_not_fit(over, says):
    with pytest.raises(ValidationError, match=says):
        StarGANv2.Config(**{**SMALL, **over})


def test_no_setting_has_the_name_of_another_section():
    other = {name for section in (DataConfig, TrainConfig, EvaluateConfig) for name in section.model_fields}
    assert not other & set(StarGANv2.Config.model_fields)


def test_apart_nothing_is_random():
    method = tiny(**StarGANv2.checks.independent)
    terms = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        terms.append([{k: v.item() for k, v in found.items()} for _, found in method.updates(batch(), START)])
    assert terms[0] == terms[1]
    assert [players for players, _ in updates_of(method)] == ["D", "G"]
