"""CUT and FastCUT by their paper and public code: constants, filters, what is looked at, every term by hand."""

from itertools import count

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diptych.contract import Clock
from diptych.methods.cut import CUT
from diptych.networks.blur import BlurDownsample, BlurUpsample
from diptych.training.engine import Engine

SMALL = {
    "channels": 1,
    "ngf": 4,
    "n_blocks": 5,
    "ndf": 4,
    "receptive_field": 16,
    "num_patches": 65_536,
    "nce_dim": 6,
    "steps": 10,
}
START = Clock("train", 0, 10)
EXACT = {"rel": 1e-9}


def tiny(**over):
    torch.manual_seed(0)
    method = CUT(CUT.Config(**{**SMALL, **over})).double()
    for name, p in method.named_parameters():  # biases are 0 at first, and all weights small: that hides mistakes
        nn.init.normal_(p, 0, 0.1 if name.endswith("bias") else 0.3)
    return method


def batch(images=2):
    torch.manual_seed(1)
    return {name: torch.rand(images, 1, 16, 16, dtype=torch.float64) * 2 - 1 for name in "ab"}


def updates_of(method, given, seed=2):
    torch.manual_seed(seed)
    return [
        (players, {name: term.item() for name, term in terms.items()})
        for players, terms in method.updates(given, START)
    ]


def seed_of(mirrored):
    """One at which a step with `mirror` mirrors its sources, or does not: its first draw, below one half or above."""
    return next(seed for seed in count() if (torch.manual_seed(seed), bool(torch.rand(()) < 0.5))[1] == mirrored)


def size_of(net):
    return sum(p.numel() for p in net.parameters())


def test_constants_of_the_paper_and_the_public_code():
    """Section 4.1: CUT weighs PatchNCE by 1, with images of the target too; FastCUT by 10, without, and mirrors."""
    c = CUT.Config()
    assert (c.lambda_gan, c.lambda_nce, c.nce_idt, c.flip_equivariance, c.temperature) == (1.0, 1.0, True, False, 0.07)
    assert (c.num_patches, c.nce_dim, c.steps) == (256, 256, 400 * 1200)
    assert (c.n_blocks, c.ngf, c.receptive_field, c.ndf, c.ema_decay) == (9, 64, 70, 64, 0.0)
    assert CUT.Config(**CUT.presets["paper"]) == c
    fast = CUT.Config(**CUT.presets["fast"])
    assert (fast.lambda_nce, fast.nce_idt, fast.flip_equivariance, fast.steps) == (10.0, False, True, 200 * 1200)
    for config, factors in ((c, [1, 1, 1, 0.5]), (fast, [1, 1, 1, 1])):  # 200 + 200 epochs, 150 + 50
        with torch.device("meta"):
            method = CUT(config)
        (stage,) = method.stages()
        nets = {name: player.nets for name, player in stage.players.items()}
        assert nets == {"D": (method.D,), "G": (method.G,), "F": (method.F,)}
        for player in stage.players.values():
            assert (player.lr, player.betas, player.weight_decay, player.clip) == (2e-4, (0.5, 0.999), 0.0, None)
            assert [player.schedule(Clock("train", step, 4)) for step in range(4)] == factors
    assert player.schedule(Clock("train", 7, 8)) == 0.5


def test_parameters_as_published():
    """Less the biases that a norm removes. The heads are there before any batch was seen."""
    with torch.device("meta"):
        method = CUT(CUT.Config())
    dead = 64 + 128 + 256 + 9 * 2 * 256 + 128 + 64
    assert (dead, size_of(method.G)) == (5248, 11_378_179 - dead)
    assert size_of(method.D) == 2_764_737 - (128 + 256 + 512)
    assert size_of(method.F) == 560_384
    sizes = [tuple(value.shape) for name, value in method.state_dict().items() if name.startswith("F.")]
    wanted = [((256, seen), (256,), (256, 256), (256,)) for seen in (3, 128, 256, 256, 256)]
    assert sizes == [shape for head in wanted for shape in head]
    assert {m.stride for m in method.modules() if isinstance(m, nn.Conv2d)} == {(1, 1)}, "filters halve, and no stride"
    assert not any(isinstance(m, nn.ConvTranspose2d) for m in method.modules())
    assert sum(isinstance(m, BlurDownsample) for m in method.D.layers) == 3
    with torch.device("meta"):
        assert method.D(torch.empty(1, 3, 256, 256)).shape == (1, 1, 30, 30), "as large as pix2pix's"
        assert method.G(torch.empty(1, 3, 256, 256)).shape == (1, 3, 256, 256)


@pytest.mark.parametrize("shape", [(8, 8), (6, 10), (7, 9)])
def test_filters_are_the_published_ones(shape):
    """[1, 2, 1] with reflection at every second place; [1, 3, 3, 1] times 4 between zeros, whose border is repeated."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, *shape, dtype=torch.float64)
    three, four = (torch.tensor(each, dtype=torch.float64) for each in ([1, 2, 1], [1, 3, 3, 1]))
    small = (torch.outer(three, three) / 16).expand(3, 1, 3, 3)
    wanted = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), small, stride=2, groups=3)
    assert torch.allclose(BlurDownsample()(x), wanted, atol=1e-12)
    large = (torch.outer(four, four) / 64 * 4).expand(3, 1, 4, 4)
    spread = F.conv_transpose2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), large, stride=2, padding=2, groups=3)
    assert torch.allclose(BlurUpsample()(x), spread[:, :, 1:-1, 1:-1], atol=1e-12)
    assert BlurUpsample()(x).shape[2:] == (2 * shape[0], 2 * shape[1])


def test_layers_that_are_looked_at():
    """0, 4, 8, 12 and 16 of the published sequence: the padded image, two convolutions, two blocks."""
    method, x = tiny(n_blocks=6), batch()["a"]
    G = method.G
    sequence = [*G.stem, *G.down[0], *G.down[1], *G.blocks]
    h, wanted = x, []
    for place, layer in enumerate(sequence):
        h = layer(h)
        wanted += [h] if place in (0, 4, 8, 12, 16) else []
    assert isinstance(sequence[0], nn.ReflectionPad2d)
    assert [sequence[at].out_channels for at in (4, 8)] == [8, 16]
    *seen, last = G.encode(x)
    assert [each.shape[1:] for each in seen] == [(1, 22, 22), (8, 16, 16), (16, 8, 8), (16, 4, 4), (16, 4, 4)]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(seen, wanted, strict=True))
    assert torch.equal(last, h)
    assert torch.equal(G(x), G.decode(last))


def alike(method, answers, sources):
    """Equation 4 over all places: of each layer and image the cross entropy of its own place."""
    losses = []
    for head, ours, theirs in zip(method.F, answers, sources, strict=True):
        of_layer = []
        for q, k in zip(ours.flatten(2), theirs.flatten(2), strict=True):
            q, k = (
                F.linear(F.linear(h.T, head[0].weight, head[0].bias).relu(), head[2].weight, head[2].bias)
                for h in (q, k)
            )
            q, k = (h / (h.square().sum(1, keepdim=True).sqrt() + 1e-7) for h in (q, k))
            of_layer.append(-(q @ k.T / method.config.temperature).log_softmax(1).diagonal())
        losses.append(torch.stack(of_layer).mean())
    return sum(losses) / 5


def by_hand(method, given, mirrored=False):
    """Terms of D, and of G with the heads; sources one at a time, and patches of a mirrored one mirrored back."""

    def flipped(h):
        return h.flip(-1) if mirrored else h

    def kept(x, made):
        return alike(method, [flipped(h) for h in method.G.encode(made)[:-1]], method.G.encode(x)[:-1])

    c, x, y = method.config, given["a"], given["b"]
    fake, same = method.G(flipped(x)), method.G(flipped(y))
    d = {"real": (method.D(y) - 1).square().mean() / 2, "fake": method.D(fake).square().mean() / 2}
    g = {"gan": c.lambda_gan * (method.D(fake) - 1).square().mean(), "nce": c.lambda_nce * kept(x, fake)}
    if c.nce_idt:
        g |= {"nce": g["nce"] / 2, "nce_y": c.lambda_nce * kept(y, same) / 2}
    return [("D", {k: v.item() for k, v in d.items()}), (("G", "F"), {k: v.item() for k, v in g.items()})]


@pytest.mark.parametrize("over", [{}, {"nce_idt": False}, {"temperature": 0.5}, {"reuse": "plain"}])
def test_terms_by_hand(over):
    """Section 3: least squares, D halved, and a step on D, then one on G and the heads together."""
    method, given = tiny(lambda_gan=2.0, lambda_nce=3.0, **over), batch()
    found, wanted = updates_of(method, given), by_hand(method, given)
    assert [players for players, _ in found] == ["D", ("G", "F")]
    for (_, ours), (_, theirs) in zip(found, wanted, strict=True):
        assert ours == pytest.approx(theirs, **EXACT)


@pytest.mark.parametrize("identity", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
def test_patches_of_mirrored_sources_are_mirrored_back(mirrored, identity):
    """FastCUT. The translation is of the mirrored source; it is held against the source as it was."""
    method, given = tiny(flip_equivariance=True, nce_idt=identity), batch()
    found = updates_of(method, given, seed_of(mirrored))
    for (_, ours), (_, theirs) in zip(found, by_hand(method, given, mirrored), strict=True):
        assert ours == pytest.approx(theirs, **EXACT)
    other = by_hand(method, given, not mirrored)[1][1]["nce"]
    assert abs(found[1][1]["nce"] - other) > 1e-6, "the coin is heard"


class Pointwise(nn.Module):
    """A generator to which left and right are the same."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(*pair, 1) for pair in ((1, 8), (8, 16), (16, 16), (16, 16)))
        self.last = nn.Conv2d(16, 1, 1)

    def encode(self, x):
        seen = [x]
        for layer in self.layers:
            seen.append(layer(seen[-1]).tanh())
        return [*seen, seen[-1]]

    def decode(self, x):
        return self.last(x).tanh()


def test_mirroring_there_and_back_is_nothing_to_a_generator_without_sides():
    method, given = tiny(flip_equivariance=True), batch()
    method.G = Pointwise().double()
    one, other = (updates_of(method, given, seed_of(mirrored))[1][1] for mirrored in (False, True))
    assert (one["nce"], one["nce_y"]) == pytest.approx((other["nce"], other["nce_y"]), **EXACT)


def test_the_discriminator_sends_g_no_gradient():
    method = tiny()
    terms = next(method.updates(batch(), START))[1]
    sum(terms.values()).backward()
    assert {name[0] for name, p in method.named_parameters() if p.grad is not None} == {"D"}


def test_both_sides_of_identity_count_half():
    given = batch()
    alone, both = (updates_of(tiny(nce_idt=identity), given)[1][1] for identity in (False, True))
    assert both["nce"] == pytest.approx(alone["nce"] / 2, **EXACT)
    assert set(both) == {"gan", "nce", "nce_y"}
    assert set(alone) == {"gan", "nce"}


def test_places_are_the_same_in_all_images_and_on_both_sides():
    """Of each layer there are others, and none twice."""
    method, seen = tiny(num_patches=5), []
    for head in method.F:
        head.register_forward_pre_hook(lambda _, args: seen.append(args[0][..., 0]))
    layers = [
        torch.arange(36.0, dtype=torch.float64).reshape(1, 1, 6, 6).repeat(3, each, 1, 1) for each in (1, 8, 16, 16, 16)
    ]
    method.patchnce_loss(layers, layers)
    assert [each.shape for each in seen] == [(3, 5)] * 10
    for ours, theirs in zip(seen[::2], seen[1::2], strict=True):
        assert torch.equal(ours, theirs)
        assert torch.equal(ours, ours[:1].expand(3, -1))
        assert len(set(ours[0].tolist())) == 5
    assert len({tuple(each[0].tolist()) for each in seen}) == 5
    seen.clear()
    method.patchnce_loss(layers, layers)
    assert len({tuple(sorted(each[0].tolist())) for each in seen}) == 5, "drawn anew"


def test_sources_send_no_gradient():
    """PatchNCE moves what was made towards its source, and never the other way."""
    method, given = tiny(nce_idt=False), batch()
    sources = [h.detach().requires_grad_() for h in method.G.encode(given["a"])[:-1]]
    answers = [h.detach().requires_grad_() for h in method.G.encode(given["b"])[:-1]]
    method.patchnce_loss(answers, sources).backward()
    assert all(h.grad is None for h in sources)
    assert all(float(h.grad.abs().max()) > 0 for h in answers)
    assert all(p.grad is not None for p in method.F.parameters())


def two_steps(saving, **over):
    """Losses, everything that moved, and how many images the encoder saw in a step."""
    method, seen, logged = tiny(reuse=saving, num_patches=20, **over), [], []
    method.G.stem[0].register_forward_hook(lambda *each: seen.append(len(each[1][0])))
    engine = Engine(method)
    for _ in range(2):
        engine.train_step(batch())
        logged.append(engine.loss_tracker.close().means())
    return logged, engine.state()[0], sum(seen) / 2


@pytest.mark.parametrize(
    ("over", "images"),
    [
        ({}, (12, 8)),
        ({"nce_idt": False}, (6, 4)),
        ({"flip_equivariance": True}, (12, 12)),
        ({"flip_equivariance": True, "nce_idt": False}, (6, 6)),
    ],
)
def test_saved_passes_change_nothing(over, images):
    """In float64, over two steps: what sources show is known from their translation, but for mirrored ones."""
    (one, state, plainly), (other, same, fewer) = (two_steps(saving, **over) for saving in ("plain", "passes"))
    assert (plainly, fewer) == images
    for ours, theirs in zip(one, other, strict=True):
        assert theirs == pytest.approx(ours, **EXACT)
    assert set(state) == set(same)
    worst = max((float((state[name] - same[name]).abs().max()), name) for name in state)
    assert worst[0] < 1e-9, worst


@pytest.mark.parametrize("over", [{"reuse": "plain"}, {"reuse": "passes"}, {"flip_equivariance": True}])
def test_every_weight_gets_a_gradient_under_autocast(over):
    """Casts of weights made without a graph must not be met again; some versions of torch keep them."""
    method, given = tiny(**over).float(), {name: value.float() for name, value in batch().items()}
    players, rule = method.stages()[0].players, method.updates(given, START)
    for names in ("D", "GF"):
        with torch.autocast("cpu", torch.bfloat16):
            terms = next(rule)[1]
        moving = [p for name in names for p in players[name].parameters()]
        torch.stack([term.float() for term in terms.values()]).sum().backward(inputs=moving)
        assert all(p.grad is not None for p in moving), names


def test_translations_are_the_generator_alone():
    method, x = tiny(), batch(3)["a"]
    made = method.translate(x)
    assert method.inference_networks == ("G",)
    assert torch.allclose(made[1:2], method.translate(x[1:2]), rtol=0, atol=1e-12)
    assert not made.requires_grad
    assert method.translate(torch.zeros(1, 1, 20, 36).double()).shape == (1, 1, 20, 36)
