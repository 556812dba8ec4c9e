"""The first GAN by its paper: networks, both objectives by hand, and noise that is a function of its place."""

import pytest
import torch
import torch.nn.functional as F

from diptych.contract import Clock
from diptych.methods.gan import GAN, Maxout
from diptych.networks.latents import constant_latents, latent_codes, sample_latents

SMALL = {**GAN.checks.tiny, "image_size": 8, "dropout": False}


def tiny(**over):
    torch.manual_seed(0)
    return GAN(GAN.Config(**{**SMALL, **over}))


def terms_of(method, x):
    torch.manual_seed(3)
    return [
        (player, {name: term.item() for name, term in terms.items()})
        for player, terms in method.updates({"image": x}, Clock("train", 0, 10))
    ]


def test_networks_of_the_paper():
    method = GAN(GAN.Config())
    shapes = [tuple(p.shape) for p in method.parameters() if p.dim() == 2]
    assert shapes == [(1200, 100), (1200, 1200), (784, 1200), (240 * 5, 784), (240 * 5, 240), (1, 240)]
    assert [m.p for m in method.D if isinstance(m, torch.nn.Dropout)] == [0.2, 0.5, 0.5]
    assert (method.config.prior, method.config.gan_loss) == ("uniform", "nonsaturating")


def test_constants():
    """Sizes of the authors' code, as recalled; Adam is ours."""
    c = GAN.Config()
    assert (c.latent_dim, c.prior, c.g_hidden, c.d_hidden, c.maxout_pieces, c.dropout) == (
        100,
        "uniform",
        1200,
        240,
        5,
        True,
    )
    assert c.gan_loss == "nonsaturating"
    with torch.device("meta"):
        (stage,) = GAN(c).stages()
    assert list(stage.players) == ["D", "G"]
    for player in stage.players.values():
        assert (player.lr, player.betas, player.weight_decay, player.clip) == (2e-4, (0.5, 0.999), 0.0, None)
        assert [player.schedule(Clock("train", step, 4)) for step in range(4)] == [1.0] * 4


def test_maxout_by_hand():
    net = Maxout(2, 2, 3)
    with torch.no_grad():
        net.linear.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [-1, 0], [2, 0], [0, 0], [0, -2]]))
        net.linear.bias.zero_()
    assert net(torch.tensor([[1.0, 3.0], [-4.0, 0.5]])).tolist() == [[3, 2], [4, 0]]


@pytest.mark.parametrize("objective", ["nonsaturating", "saturating"])
def test_terms_by_hand(objective):
    """V = E log D(x) + E log(1 - D(G(z))): D ascends it; G descends it, or ascends E log D(G(z))."""
    method, x = tiny(gan_loss=objective), torch.rand(3, 1, 8, 8) * 2 - 1
    (first, d), (second, g) = terms_of(method, x)
    torch.manual_seed(3)
    fake = method.forward(sample_latents("uniform", 3, 8, x))
    real, made = method.D(x).sigmoid(), method.D(fake).sigmoid()
    assert (first, second) == ("D", "G")
    assert d["real"] == pytest.approx(-real.log().mean().item(), rel=1e-4)
    assert d["fake"] == pytest.approx(-(1 - made).log().mean().item(), rel=1e-4)
    value = -made.log() if objective == "nonsaturating" else (1 - made).log()
    assert g["gan"] == pytest.approx(value.mean().item(), rel=1e-4)


def test_images_are_the_sigmoid_of_the_paper():
    method, code = tiny(), latent_codes("uniform", range(2), 8, 0)
    assert torch.allclose(method.forward(code), torch.tanh(method.G(code) / 2).view(2, 1, 8, 8), atol=1e-6)
    assert torch.equal(method.sample(range(2)), method.forward(code))


def test_the_preset_repo_has_the_prior_and_the_initial_weights_of_the_code():
    method, plain = tiny(**GAN.presets["repo"]), tiny()
    for net, limit in ((method.G, 0.05), (method.D, 0.005)):
        for name, weight in net.named_parameters():
            assert weight.abs().max() <= limit if weight.dim() == 2 else not weight.any(), name
        assert max(float(weight.detach().abs().max()) for weight in net.parameters()) > 0.9 * limit
    codes = []
    method.G.register_forward_pre_hook(lambda _, args: codes.append(args[0]))
    terms_of(method, torch.zeros(400, 1, 8, 8))
    method.sample(range(400))
    for code in codes:  # of training, and of inference
        assert 1.7 < float(code.abs().max()) <= 3**0.5 + 1e-6
        assert float(code.std()) == pytest.approx(1, abs=0.05)
    assert plain.code_scale == tiny(prior="normal", prior_limit=3).code_scale == 1


def test_codes_are_a_function_of_their_place():
    for prior in ("uniform", "normal"):
        torch.manual_seed(1)
        many = latent_codes(prior, range(200), 50, seed=3)
        torch.manual_seed(2)
        assert torch.equal(latent_codes(prior, range(7, 9), 50, seed=3), many[7:9])
        assert not torch.equal(latent_codes(prior, range(7, 9), 50, seed=4), many[7:9])
        assert abs(float(many.mean())) < 0.04
    assert float(latent_codes("uniform", range(200), 50, 0).abs().max()) <= 1
    assert float(latent_codes("uniform", range(200), 50, 0).std()) == pytest.approx(3**-0.5, abs=0.01)
    assert float(latent_codes("normal", range(200), 50, 0).std()) == pytest.approx(1, abs=0.02)
    with constant_latents():
        assert latent_codes("uniform", range(2), 3, 0).tolist() == [[1, 1, 1], [1, 1, 1]]


def test_a_step_draws_from_the_prior():
    x = torch.zeros(1, dtype=torch.float64)
    torch.manual_seed(0)
    uniform, normal = sample_latents("uniform", 500, 20, x), sample_latents("normal", 500, 20, x)
    assert uniform.dtype == torch.float64
    assert float(uniform.abs().max()) <= 1
    assert float(uniform.std()) == pytest.approx(3**-0.5, abs=0.01)
    assert float(normal.std()) == pytest.approx(1, abs=0.02)
    with constant_latents():
        assert torch.equal(sample_latents("normal", 2, 2, x), torch.ones(2, 2, dtype=torch.float64))


class Says(torch.nn.Module):
    def __init__(self, logit):
        super().__init__()
        self.logit = logit

    def forward(self, x):
        return self.logit


def test_the_minimax_game_gives_a_poor_generator_no_gradient_and_the_other_does():
    """Section 3: where D rejects all, log(1 - D(G(z))) saturates."""
    slopes = {}
    for objective in ("saturating", "nonsaturating"):
        logit = torch.full((4, 1), -12.0, requires_grad=True)
        method = tiny(gan_loss=objective)
        method.D = Says(logit)
        *_, (_, terms) = method.updates({"image": torch.zeros(4, 1, 8, 8)}, Clock("train", 0, 10))
        (slope,) = torch.autograd.grad(terms["gan"], logit)
        slopes[objective] = float(slope.abs().sum())
    assert slopes["nonsaturating"] == pytest.approx(1, rel=1e-4)
    assert slopes["saturating"] == pytest.approx(float(F.sigmoid(torch.tensor(-12.0))), rel=1e-3)
