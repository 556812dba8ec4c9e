"""StarGAN against the public code: networks, whole training steps by engine and `StarGAN.updates`, files."""

import functools

import goldens
import pytest
import torch
from goldens import Golden, Trained

from diptych.contract import Labels
from diptych.errors import ImportRefused
from diptych.importers import stargan
from diptych.methods.stargan import StarGAN
from diptych.training.engine import Engine

FILES = goldens.files("stargan_")
STEPS = [path for path in FILES if "_steps" in path.stem]
NETS = [path for path in FILES if path not in STEPS]
TERMS = {  # of theirs: ours, and the setting that ours is already multiplied by
    "D real": ("D/real", None),
    "D fake": ("D/fake", None),
    "D cls": ("D/class", "lambda_cls"),
    "D gp": ("D/penalty", "lambda_gp"),
    "G fake": ("G/gan", None),
    "G cls": ("G/class", "lambda_cls"),
    "G rec": ("G/reconstruct", "lambda_rec"),
}


def recognised(golden):
    return {name: stargan.recognise(golden.state(name), name) for name in ("G", "D")}


@pytest.mark.parametrize("path", NETS, ids=lambda path: path.stem)
def test_output_equals_reference(path):
    """Largest difference below 1e-4: an image, its labels, what D says of it."""
    golden = goldens.load(path)
    nets = {name: found.build() for name, found in recognised(golden).items()}
    x, code = golden.tensors["x"], golden.tensors["c_trg"].float()
    for training in (True, False):  # statistics are those of the image in either mode
        with torch.no_grad():
            made = {"y_train": nets["G"].train(training)(x, code)}
            made["src"], made["cls"] = nets["D"].train(training)(x)
        for name, value in made.items():
            assert value.shape == golden.tensors[name].shape, name
            assert (value - golden.tensors[name]).abs().max() < 1e-4, name


def method_of(golden, found, **change):
    settings, count = golden.notes["config"], golden.tensors["c_org"].shape[1]
    kind = "attributes" if "binary" in settings["labels"] else "class"
    labels = (Labels(names=tuple(f"label {n}" for n in range(count)), kind=kind),)
    config = {
        "steps": 1000,
        "lambda_cls": settings["lambda_cls"],
        "lambda_rec": settings["lambda_rec"],
        "lambda_gp": settings["lambda_gp"],
        "lr": settings["lr"],
        "n_critic": settings["n_critic"],
        "lr_decay_start": 1.0,
    }
    method = StarGAN(StarGAN.Config(**config | found["G"].config(labels) | found["D"].config(labels) | change))
    for name, net in found.items():
        method.get_submodule(name).load_state_dict(net.state)
    return method


def train(golden: Golden, dtype: torch.dtype, **change: float) -> Trained:
    """Targets, and where on its lines the penalty is taken, are given."""
    settings, x = golden.notes["config"], golden.tensors["x"].to(dtype)
    method = method_of(golden, recognised(golden), **change).to(dtype)
    assert all(list(player.betas) == settings["betas"] for player in method.stages()[0].players.values())
    assert settings["order"] == "D then G"
    binary = method.config.labels[0].kind == "attributes"
    label, aim = (
        golden.tensors[name].long() if binary else golden.tensors[name].argmax(1) for name in ("c_org", "c_trg")
    )
    method.choose_targets = lambda label, at: aim
    engine, rows = Engine(method), []
    for _, alphas in zip(golden.tensors["losses"], golden.tensors["alphas"], strict=True):
        share = 1 - alphas.to(dtype)  # theirs is the share of real
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "rand", lambda *shape, share=share, **_: share.view(shape))
            engine.train_step({"image": x, "label": label})
        made, row = engine.loss_tracker.close().means(), []
        for column in golden.notes["loss_columns"]:
            name, weight = TERMS[column]
            row.append(made.get(name, 0.0) / (getattr(method.config, weight) if weight else 1))
        rows.append(row)
    with torch.no_grad():
        after = method.G(x, method.condition(method.one_hot(aim, 0, x), 0))
    return Trained(torch.tensor(rows).double(), {"y_after": after})


BEFORE = ("D real", "D fake", "D cls", "G rec")  # G moves once D has; the penalty is one of derivatives


@pytest.mark.parametrize("path", STEPS, ids=lambda path: path.stem)
def test_training_steps_equal_reference(path):
    goldens.assert_steps_equal(goldens.load(path), train, BEFORE)


@pytest.mark.parametrize("change", [{"lr": 1.1e-4}, {"lambda_cls": 1.1}, {"lambda_rec": 100.0}, {"lambda_gp": 11.0}])
def test_another_setting_fails_the_bar(change):
    with pytest.raises(AssertionError, match="steps differ"):
        goldens.assert_steps_equal(goldens.load(STEPS[0]), functools.partial(train, **change), BEFORE)


@pytest.fixture
def golden():
    return goldens.load(FILES[0])


def attributes(count, first="a"):
    return Labels(names=tuple(f"{first}{n}" for n in range(count)), kind="attributes")


def test_a_file_settles_the_sizes(golden):
    """What it does not name are its labels: they are counted, unless a person names them."""
    g, d = recognised(golden).values()
    config = StarGAN.Config(**{**g.config(), **d.config()})
    theirs, judge = golden.state("G"), golden.state("D")
    assert config.image_size == golden.tensors["x"].shape[-1]
    assert (config.ngf, config.ndf) == (len(theirs["main.1.bias"]), len(judge["main.0.bias"]))
    assert config.n_blocks == len([key for key in theirs if key.endswith(".main.3.weight")])
    assert config.labels[0].names == tuple(f"label {n + 1}" for n in range(golden.tensors["c_trg"].shape[1]))
    method = StarGAN(config)
    method.G.load_state_dict(g.state)
    method.D.load_state_dict(d.state)
    plain = {key: value for key, value in theirs.items() if "running" not in key and "tracked" not in key}
    assert len(plain) < len(theirs)
    assert stargan.recognise(plain, "G").state.keys() == g.state.keys(), "statistics are not needed"


def test_labels_of_several_sets_leave_room_for_the_mask(golden):
    """G of n labels may be of two sets with n - 2 in all, as 2 say which set it is; D has no such two."""
    g, d = recognised(golden).values()
    count = golden.tensors["c_trg"].shape[1]
    fewer, all_of_them = ([attributes(n - 1), attributes(1, "b")] for n in (count - 2, count))
    assert StarGAN(StarGAN.Config(**g.config(fewer))).G.stem[0].in_channels == len(golden.tensors["x"][0]) + count
    assert StarGAN.Config(**d.config(all_of_them)).labels == tuple(all_of_them)
    with pytest.raises(ImportRefused, match=f"{count} labels, not {count} and 2 for the data sets"):
        g.config(all_of_them)
    with pytest.raises(ImportRefused, match=f"{count} labels, not {count + 1}:"):
        g.config([attributes(count + 1)])


@pytest.mark.parametrize(
    ("name", "key", "change", "says"),
    [
        ("G", "main.9.main.3.weight", None, "blocks.0.body.3.weight is missing"),
        ("G", "main.0.weight", None, "no network of StarGAN"),
        ("G", "main.0.weight", lambda value: value[:, :3], "so no labels"),
        ("G", "main.0.weight", lambda value: value.flatten(), "impossible shapes"),
        ("G", "main.3.bias", lambda value: torch.zeros(1), "main.3.bias is unknown"),
        ("G", "main.4.weight", lambda value: value[1:], r"down.0.1.weight is \(.*\), not \("),
        ("D", "conv2.weight", None, "'conv2.weight' is missing"),
        ("D", "conv2.weight", lambda value: value.repeat(1, 1, 1, 2), r"label.weight is \(.*\), not \("),
        ("D", "main.2.weight", None, "is unknown"),
        ("D", "extra.weight", lambda value: torch.zeros(1), "extra.weight is unknown"),
    ],
)
def test_odd_files_are_refused(golden, name, key, change, says):
    state = golden.state(name)
    value = state.pop(key, None)
    if change:
        state[key] = change(value)
    with pytest.raises(ImportRefused, match=f"some.ckpt: .*{says}"):
        stargan.recognise(state, "some.ckpt")


def test_files_of_others_are_refused():
    for state in ({}, {"net.0.weight": torch.zeros(1)}):
        assert not stargan.fits(state)
        with pytest.raises(ImportRefused, match="no network of StarGAN"):
            stargan.recognise(state, "some.ckpt")
