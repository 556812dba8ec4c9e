"""Published generators of many domains as files, through `diptych import` to a model that translates."""

import goldens
import pytest
import torch
from commands import diptych

from diptych.contract import Labels
from diptych.errors import ConfigError, ImportRefused
from diptych.importers.import_model import import_model
from diptych.inference.load import load

pytestmark = pytest.mark.usefixtures("read_here")
PARTS = ("generator", "mapping_network", "style_encoder")
HAIR = "Black_Hair,Blond_Hair,Brown_Hair,Male,Young"


@pytest.fixture(scope="module")
def stargan_file(tmp_path_factory):
    golden = goldens.load(goldens.files("stargan_nets")[0])
    path = tmp_path_factory.mktemp("stargan") / "200000-G.ckpt"
    torch.save(golden.state("G"), path)
    return path, golden


@pytest.fixture(scope="module")
def starganv2_file(tmp_path_factory):
    golden = goldens.load(goldens.files("starganv2_nets")[0])
    path = tmp_path_factory.mktemp("starganv2") / "100000_nets_ema.ckpt"
    nets = {part: golden.state(part) for part in PARTS}
    torch.save({**nets, "fan": {"conv.weight": torch.zeros(3)}}, path)
    return path, golden


def test_stargan_translates_by_the_attributes_that_a_person_names(stargan_file, tmp_path):
    path, golden = stargan_file
    hair = ["Black_Hair", "Blond_Hair", "Brown_Hair"]
    words = ["--attributes", HAIR.replace(",", ", "), "--exclusive", ",".join(hair)]
    assert diptych("import", path, "-o", tmp_path / "m", *words).exit_code == 0
    translator = load(tmp_path / "m", device="cpu")
    assert translator.method.config.labels[0].exclusive == (tuple(hair),)
    x, codes = golden.tensors["x"], golden.tensors["c_trg"]
    for row, code in enumerate(codes):
        has = ",".join(name for name, on in zip(HAIR.split(","), code.tolist(), strict=True) if on)
        made = translator.tensor(x[row], has=has)
        assert (made - golden.tensors["y_train"][row]).abs().max() < 1e-4


def test_starganv2_translates_in_the_style_of_a_reference(starganv2_file, tmp_path):
    path, golden = starganv2_file
    assert diptych("import", path, "-o", tmp_path / "m", "--domains", "cat,dog,wild").exit_code == 0
    translator = load(tmp_path / "m", device="cpu")
    assert translator.method.names == ("cat", "dog", "wild")
    fill, salt = goldens.filler(), golden.notes["salt"]
    x, reference = (fill.image(name, (2, 3, 256, 256), salt) for name in ("x", "ref"))
    name = ("cat", "dog", "wild")[int(golden.tensors["y_trg"][0])]
    made = translator.tensor(x[:1], domain=name, reference=reference[:1])
    theirs = golden.tensors["fake_reference_pooled4"][:1]
    inside = theirs.abs() < 0.5  # theirs is not clamped, and so is a mean of values beyond 1
    assert ((torch.nn.functional.avg_pool2d(made, 4) - theirs).abs()[inside] < 0.2).float().mean() > 0.5
    unclamped = translator.method.G.decode(
        translator.method.encode(x[:1]), translator.method.style_from(name, reference=reference[:1])
    )
    assert (torch.nn.functional.avg_pool2d(unclamped, 4) - theirs).abs().max() < 1e-4


def test_what_does_not_fit_is_refused(stargan_file, starganv2_file, tmp_path):
    four = (Labels(names=("a", "b", "c", "d")),)
    with pytest.raises(ImportRefused, match="the network has 5 labels, not 4"):
        import_model(stargan_file[0], labels=four)
    with pytest.raises(ImportRefused, match="has 3 domains of one data set: name each of them"):
        import_model(starganv2_file[0], labels=four)
    with pytest.raises(ImportRefused, match="generator of stargan, not of cyclegan; leave out --method"):
        import_model(stargan_file[0], method="cyclegan")
    with pytest.raises(ConfigError, match="two labels have the same name"):
        diptych("import", stargan_file[0], "-o", tmp_path / "m", "--attributes", "a,a,b,c,d")
    torch.save(goldens.load(goldens.files("stargan_nets")[0]).state("D"), tmp_path / "200000-D.ckpt")
    with pytest.raises(ImportRefused, match=r"a discriminator, which translates nothing; import .*-G\.ckpt"):
        import_model(tmp_path / "200000-D.ckpt")
    assert not (tmp_path / "m").exists()
