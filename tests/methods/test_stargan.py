"""StarGAN by its paper: constants, terms, several data sets, what is saved, controls."""

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from diptych.contract import Clock, Labels
from diptych.errors import ConfigError
from diptych.losses.adversarial import gradient_penalty
from diptych.methods.stargan import StarGAN
from diptych.networks.layers import without_graph
from diptych.settings.train_config import TrainConfig
from diptych.training.engine import Engine

SPECIES = Labels(names=("cat", "dog", "wild"))
HAIR = ("black", "blond", "brown")
FACE = Labels(names=(*HAIR, "male", "young"), kind="attributes", exclusive=(HAIR,))
MOOD = Labels(names=("glad", "sad"))


def tiny(*sets, **over):
    torch.manual_seed(0)
    small = {"image_size": 16, "ngf": 4, "n_blocks": 1, "ndf": 4, "d_layers": 2}
    return StarGAN(
        StarGAN.Config(**{**StarGAN.checks.tiny, **small, "steps": 20, "labels": sets or (SPECIES,), **over})
    )


def batch(labels=SPECIES, seed=1, size=16, count=4):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, 3, size, size, generator=generator) * 2 - 1
    if labels.kind == "class":
        return {"image": x, "label": torch.arange(count) % len(labels)}
    return {"image": x, "label": torch.randint(2, (count, len(labels)), generator=generator)}


def terms_of(method, given, step=0):
    torch.manual_seed(3)
    return [
        (player, {name: term.item() for name, term in terms.items()})
        for player, terms in method.updates(given, Clock("train", step, 20))
    ]


def test_constants_of_the_paper():
    """Weights, Adam and n_critic; the decay to 0 in the second half is `paper`, none to speak of is `repo`. The sizes
    of the networks are those of the published code, weight by weight.
    """
    c = StarGAN.Config(labels=(FACE,))
    assert (c.lambda_cls, c.lambda_rec, c.lambda_gp, c.n_critic, c.lr, c.steps) == (1.0, 10.0, 10.0, 5, 1e-4, 200_000)
    assert (c.image_size, c.ngf, c.n_blocks, c.ndf, c.halvings, c.target_labels) == (128, 64, 6, 64, 6, "shuffled")
    with torch.device("meta"):
        method, larger = StarGAN(c), StarGAN(StarGAN.Config(labels=(FACE,), image_size=256))
        (stage,) = method.stages()
        (repo,) = StarGAN(StarGAN.Config(**StarGAN.presets["repo"])).stages()
    sizes = [sum(p.numel() for p in net.parameters()) for net in (method.G, method.D, larger.D)]
    assert sizes == [8_430_528, 44_762_048, 44_884_928]
    for name, player in stage.players.items():
        assert (player.lr, player.betas) == (1e-4, (0.5, 0.999))
        assert [player.schedule(Clock("train", step, 4)) for step in range(4)] == [1.0, 1.0, 1.0, 0.5]
        assert [repo.players[name].schedule(Clock("train", step, 4)) for step in range(4)] == [1.0] * 4
    moves = [stage.schedule_key(Clock("train", step, 200)) for step in range(10)]
    assert moves == [(0, step in (4, 9)) for step in range(10)]


@pytest.mark.parametrize(
    ("size", "depth", "halvings", "kernel"),
    [(8, None, 3, 1), (32, None, 5, 1), (64, None, 6, 1), (256, None, 6, 4), (32, 3, 3, 4)],
)
def test_the_discriminator_fits_any_power_of_two(size, depth, halvings, kernel):
    method = tiny(image_size=size, d_layers=depth, ndf=1)
    assert (method.config.halvings, method.D.label.kernel_size) == (halvings, (kernel, kernel))
    scores, logits = method.D(torch.zeros(2, 3, size, size))
    assert scores.shape == (2, 1, kernel, kernel)
    assert logits.shape == (2, 3)


@pytest.mark.parametrize("labels", [SPECIES, FACE], ids=["classes", "attributes"])
def test_terms_by_hand(labels):
    """Each term against its definition, in one step in which both move."""
    method, b = tiny(labels, target_labels="next", n_critic=1, lambda_cls=2, lambda_rec=7, lambda_gp=3), batch(labels)
    (_, d), (_, g) = terms_of(method, b)
    x, label = b["image"], b["label"]
    aim = 1 - label if labels is FACE else (label + 1) % 3
    code, back = ((y if labels is FACE else F.one_hot(y, 3)).float() for y in (aim, label))

    def named(logits, wanted):
        if labels is SPECIES:
            return F.cross_entropy(logits, wanted)
        return F.binary_cross_entropy_with_logits(logits, wanted.float()) * len(FACE)

    torch.manual_seed(3)
    mix = torch.rand(4, 1, 1, 1)
    fake = method.G(x, code)
    between = (x * (1 - mix) + mix * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(method.D(between)[0].sum(), between)
    contest = {
        "real": -method.D(x)[0].mean(),
        "fake": method.D(fake)[0].mean(),
        "class": 2 * named(method.D(x)[1], label),
        "penalty": 3 * (slope.square().sum((1, 2, 3)).sqrt() - 1).square().mean(),
    }
    make = {
        "gan": -method.D(fake)[0].mean(),
        "class": 2 * named(method.D(fake)[1], aim),
        "reconstruct": 7 * (method.G(fake, back) - x).abs().mean(),
    }
    assert d == pytest.approx({name: value.item() for name, value in contest.items()}, rel=1e-4)
    assert g == pytest.approx({name: value.item() for name, value in make.items()}, rel=1e-4)


@pytest.mark.parametrize(
    ("labels", "targets", "stay"),
    [(SPECIES, "shuffled", None), (FACE, "shuffled", None), (SPECIES, "next", ()), (FACE, "next", ())],
)
def test_what_is_to_stay_as_it_is_is_compared_with_itself(labels, targets, stay):
    """Alone, and of attributes only where all are as they were."""
    method, b = tiny(labels, target_labels=targets, n_critic=1, lambda_identity=5), batch(labels)
    aim = b["label"].clone()
    aim[2:] = torch.tensor([0, 1]) if labels is SPECIES else aim[2:] ^ torch.eye(len(labels), dtype=torch.long)[:2]
    if stay is None:
        method.choose_targets = lambda label, at: aim
        stay = (0, 1)
    (_, _), (_, g) = terms_of(method, b)
    x, code = b["image"], method.condition(method.one_hot(b["label"], 0, b["image"]), 0)
    each = (method.G(x, code) - x).abs().mean((1, 2, 3))
    assert g["identity"] == pytest.approx(5 * sum(each[at].item() for at in stay) / 4, rel=1e-4)


def test_a_weight_of_0_drops_its_term():
    (_, d), (_, g) = terms_of(tiny(lambda_cls=0, lambda_rec=0, lambda_gp=0, n_critic=1), batch())
    assert (set(d), set(g)) == ({"real", "fake"}, {"gan"})


def test_targets_are_the_labels_of_the_batch_shuffled():
    method, label = tiny(), torch.arange(50) % 3
    torch.manual_seed(0)
    first, second = method.choose_targets(label, 0), method.choose_targets(label, 0)
    assert torch.equal(first.sort().values, label.sort().values)
    assert not torch.equal(first, label)
    assert not torch.equal(first, second)


def trained(*sets, steps=12, **over):
    """Losses of each step and the weights at the end, in float64."""
    method = tiny(*sets, n_critic=5, lr=1e-3, **over).double()
    engine, losses = Engine(method, TrainConfig(seed=4, precision="fp32")), []
    for step in range(steps * len(method.config.labels)):
        given = batch(method.config.labels[step % len(method.config.labels)], seed=step)
        engine.train_step({**given, "image": given["image"].double()})
        losses.append(engine.loss_tracker.close().means())
    return losses, method.state_dict()


@pytest.mark.parametrize("sets", [(SPECIES,), (FACE, SPECIES)], ids=["one set", "two sets"])
def test_what_is_saved_changes_nothing(sets):
    """Losses and weights equal those of the published order, over at least two turns of the generator."""
    (losses, weights), (plain_losses, plain_weights) = trained(*sets), trained(*sets, reuse="none")
    moved = [step for step, terms in enumerate(losses) if "G/gan" in terms]
    assert moved == [round * len(sets) + at for round in (4, 9) for at in range(len(sets))]
    for one, other in zip(losses, plain_losses, strict=True):
        assert one == pytest.approx(other, rel=1e-12, abs=1e-12)
    for name, value in weights.items():
        assert (value - plain_weights[name]).abs().max() <= 1e-12, name
    start = tiny(*sets).double().state_dict()
    assert not torch.equal(weights["G.stem.0.weight"], start["G.stem.0.weight"]), "the generator never moved"


@pytest.mark.parametrize(
    ("reuse", "passes"), [("exact", [False, False, True, True]), ("none", [True, True, True, True, True])]
)
def test_passes_of_the_generator(reuse, passes):
    """n_critic=3: three fakes, of which the last serves D and G, and one way back. Each with a graph or without."""
    method, seen = tiny(n_critic=3, reuse=reuse), []
    method.G.register_forward_hook(lambda net, args, made: seen.append(made.requires_grad))
    for step in range(3):
        terms_of(method, batch(), step)
    assert seen == passes


def test_a_pass_without_graph_leaves_no_casts_behind(monkeypatch):
    """Under autocast `torch.no_grad` may keep bfloat16 weights without gradient for whoever comes next. Torch 2.15 no
    longer does, so there the gradients would come in any case: hence the look at the cache being cleared.
    """
    method, b, cleared = tiny(), batch(), []
    code, clear = method.condition(method.one_hot(b["label"], 0, b["image"]), 0), torch.clear_autocast_cache
    monkeypatch.setattr(torch, "clear_autocast_cache", lambda: cleared.append(clear()))
    with torch.autocast("cpu", torch.bfloat16):
        with without_graph():
            assert not method.G(b["image"], code).requires_grad
        assert cleared
        made = method.G(b["image"], code)
    gradients = torch.autograd.grad(made.float().sum(), list(method.G.parameters()), allow_unused=True)
    assert all(each is not None for each in gradients)


def test_bf16_trains_both():
    method, before = tiny(n_critic=1), tiny().state_dict()
    Engine(method, TrainConfig(precision="bf16")).train_step(batch())
    assert not [name for name, value in method.state_dict().items() if torch.equal(value, before[name])]


def test_the_penalty_is_of_the_sum_over_patches():
    """Of a critic that is linear the gradient is known: 16 patches, each the mean of 4 pixels times 2."""
    x, critic = torch.rand(2, 1, 8, 8), torch.nn.AvgPool2d(2)
    scale = torch.nn.Parameter(torch.tensor(2.0))
    made = [gradient_penalty(lambda y: scale * critic(y), x, 1 - x, patches=way).item() for way in ("sum", "mean")]
    norm = 2 / 4 * 8  # each of 64 pixels has slope 1/2
    assert made == pytest.approx([(norm - 1) ** 2, (norm / 16 - 1) ** 2], rel=1e-5)
    assert gradient_penalty(lambda y: scale * critic(y), x.double(), 1 - x.double()).dtype == torch.float64


def test_several_sets_share_one_code():
    """Slots of all sets, 0 where unknown, then which set it is: as the paper's section on masks has it."""
    method = tiny(FACE, SPECIES, MOOD)
    assert method.G.stem[0].in_channels == 3 + 5 + 3 + 2 + 3
    assert method.D.label.out_channels == 10
    like = torch.zeros(1, 3, 16, 16)

    def code(label, at):
        return method.condition(method.one_hot(label, at, like), at).tolist()

    assert code(torch.tensor([[1, 0, 0, 0, 1]]), 0) == [[1, 0, 0, 0, 1, *[0] * 3, *[0] * 2, 1, 0, 0]]
    assert code(torch.tensor([2]), 1) == [[*[0] * 5, 0, 0, 1, *[0] * 2, 0, 1, 0]]
    assert code(torch.tensor([0, 1]), 2) == [[*[0] * 8, 1, 0, 0, 0, 1], [*[0] * 8, 0, 1, 0, 0, 1]]
    assert tiny(FACE).condition(torch.ones(1, 5), 0).tolist() == [[1] * 5]


def test_only_the_logits_of_the_set_at_hand_count():
    method, logits = tiny(FACE, SPECIES), torch.zeros(2, 8, requires_grad=True)
    for at, labels in enumerate((FACE, SPECIES)):
        (slope,) = torch.autograd.grad(method.classification_loss(logits, batch(labels, count=2)["label"], at), logits)
        own = slice(5) if at == 0 else slice(5, 8)
        assert (slope[:, own] != 0).all()
        assert slope.abs().sum() == slope[:, own].abs().sum()


def test_sets_take_turns():
    """Steps alternate between the sets; the generator moves once for each, when each has had n_critic steps."""
    method = tiny(FACE, SPECIES, n_critic=2)
    turns = [method.schedule_key(Clock("train", step, 20)) for step in range(8)]
    assert turns == [(0, False), (1, False), (0, True), (1, True)] * 2
    for step, (at, moves) in enumerate(turns[:4]):
        players = [player for player, _ in terms_of(method, batch((FACE, SPECIES)[at]), step)]
        assert players == (["D", "G"] if moves else ["D"])


@pytest.mark.parametrize(
    ("has", "flip", "then"),
    [
        ("", "", set()),
        ("black,male", "", {"black", "male"}),
        ("black,male", "blond", {"blond", "male"}),
        ("black,male", "male", {"black"}),
        ("black", " brown , young ", {"brown", "young"}),
        ("black", "black", {"black"}),  # one of a group is set, as in the published code, not taken away
        ("", "male,male", {"male"}),
    ],
)
def test_flips(has, flip, then):
    method, x = tiny(FACE), batch()["image"]
    code = torch.tensor([[float(name in then) for name in FACE.names]]).expand(4, -1)
    assert torch.equal(method.translate(x, has=has, flip=flip), method.G(x, code))


def test_controls_and_routes_follow_the_labels():
    classes, flags, both = tiny(SPECIES), tiny(FACE), tiny(FACE, SPECIES, MOOD)
    assert [(c.name, c.default, c.choices) for c in classes.controls] == [("domain", "cat", SPECIES.names)]
    assert [(c.name, c.default, c.choices) for c in flags.controls] == [("has", "", ()), ("flip", "", ())]
    assert [(c.name, c.default) for c in both.controls] == [("domain", ""), ("has", ""), ("flip", "")]
    assert both.controls[0].choices == (*SPECIES.names, *MOOD.names)
    assert [(r.controls, r.ground_truth) for r in both.routes] == [
        *(({"flip": name}, "") for name in FACE.names),
        *(({"domain": name}, f"image of {name}") for name in (*SPECIES.names, *MOOD.names)),
    ]
    label = torch.tensor([1, 0, 0, 1, 0])
    assert both.source_controls(label, both.routes[0]) == {"has": "black,male"}
    assert both.source_controls(label, both.routes[-1]) == {}, "a domain is all that need be said"
    assert classes.source_controls(torch.tensor(1), classes.routes[0]) == {}
    twice = tiny(FACE, Labels(names=("hat", "scarf"), kind="attributes"))
    assert twice.source_controls(label, twice.routes[-1]) == {}, "what it has of one data set says nothing of the other"
    assert twice.translate(batch()["image"], **twice.routes[-1].controls).shape == (4, 3, 16, 16)


def test_translate_by_domain():
    """By default to the first domain, or to no attribute; of several sets the mask is of the one that is named."""
    x = batch()["image"]
    one, both = tiny(SPECIES), tiny(FACE, SPECIES)
    for method, controls, code in (
        (one, {}, [1, 0, 0]),
        (one, {"domain": "dog"}, [0, 1, 0]),
        (both, {"domain": "dog"}, [0, 0, 0, 0, 0, 0, 1, 0, 0, 1]),
        (both, {}, [0, 0, 0, 0, 0, 0, 0, 0, 1, 0]),
    ):
        assert torch.equal(method.translate(x, **controls), method.G(x, torch.tensor([code] * 4).float()))


@pytest.mark.parametrize(
    ("sets", "controls", "says"),
    [
        ((SPECIES,), {"domain": "dgo"}, "did you mean 'dog'"),
        ((SPECIES,), {"flip": "male", "domain": "dog"}, "give one of them"),
        ((FACE,), {"domain": "dog"}, "this model has no domains"),
        ((FACE,), {"flip": "mal"}, "flip='mal'.*did you mean 'male'"),
        ((FACE,), {"has": "blnd"}, "has='blnd'.*did you mean 'blond'"),
        ((FACE,), {"flip": "black,blond"}, "black, blond, brown are mutually exclusive"),
        ((FACE, SPECIES), {"flip": "dog"}, "flip='dog'"),
        ((FACE, Labels(names=("hat",), kind="attributes")), {"has": "male", "flip": "hat"}, "of several data sets"),
    ],
)
def test_wrong_controls_are_refused(sets, controls, says):
    with pytest.raises(ConfigError, match=says):
        tiny(*sets).translate(batch()["image"], **controls)


@pytest.mark.parametrize(
    ("over", "says"),
    [
        ({"image_size": 96}, "set crop_size=64 or crop_size=128"),
        ({"image_size": 32, "d_layers": 6}, "32 pixels can be halved 5 times"),
        ({"labels": ()}, "at least 1"),
        ({"labels": (SPECIES, Labels(names=("dog", "cow")))}, "'dog'"),
    ],
)
def test_wrong_settings_are_refused(over, says):
    with pytest.raises(ValidationError, match=says):
        StarGAN.Config(**over)


def test_images_of_another_size_are_refused():
    with pytest.raises(ConfigError, match="images of 32x32 pixels; image_size=16: give crop_size=16"):
        Engine(tiny()).train_step(batch(size=32))
