"""Own generators by the name of their class: what a user allows is used and stored, and a file alone allows nothing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import own_networks
import pytest
import torch
from commands import TINY, diptych

import diptych as package
from diptych.errors import ConfigError, DiptychError
from diptych.networks import user_code
from diptych.networks.layers import initialise

OWN = [word for word in TINY if not word.startswith(("generator", "ngf"))]
HELPERS = Path(own_networks.__file__).parent


@pytest.fixture(scope="module")
def own_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "run"
    words = [*OWN, "steps=2", "generator=own_networks:Small"]
    assert diptych("train", "pix2pix", *words, "-o", folder).exit_code == 0
    yield folder
    user_code._allowed.clear()


@pytest.fixture
def nothing_allowed(monkeypatch):
    monkeypatch.setattr(user_code, "_allowed", {})


def test_a_run_stores_the_name_of_the_class(own_run):
    assert package.Run.open(own_run).settings["model"]["generator"] == "own_networks:Small"


def test_a_file_alone_imports_nothing(own_run, nothing_allowed):
    """In another process, where nothing was imported: neither a run nor a model folder may decide."""
    code = (
        "import sys, diptych\n"
        "for path in sys.argv[1:]:\n"
        "    try: diptych.load(path)\n"
        "    except diptych.errors.DiptychError as error: assert '--allow-code own_networks:Small' in str(error), "
        "error\n"
        "    else: raise SystemExit('loaded')\n"
        "assert 'own_networks' not in sys.modules\n"
        "diptych.load(sys.argv[1], allow_code=['own_networks:Small'])\n"
    )
    paths = [sys.executable, "-c", "import diptych.errors\n" + code, str(own_run), str(own_run / "model")]
    subprocess.run(paths, check=True, env={"PYTHONPATH": f"{HELPERS}:{Path(package.__file__).parents[1]}"})


@pytest.mark.parametrize("folder", ["", "model"])
def test_load_with_the_class_allowed(own_run, folder, nothing_allowed):
    translator = package.load(own_run / folder, device="cpu", allow_code=[own_networks.Small])
    assert translator(np.zeros((34, 33, 1), np.uint8)).shape == (34, 33, 1)
    assert isinstance(translator.method.G, own_networks.Small)


def test_commands_need_the_class_allowed(own_run, nothing_allowed, tmp_path):
    with pytest.raises(DiptychError, match="allow it by --allow-code own_networks:Small"):
        diptych("resume", own_run)
    assert diptych("resume", own_run, "--allow-code", "own_networks:Small").exit_code == 0
    user_code._allowed.clear()
    result = diptych("resume", own_run, "generator=own_networks:Small")
    assert result.exit_code == 0, "what a user types is allowed"


def test_a_class_from_python_for_cyclegan(tmp_path, nothing_allowed):
    settings = {"crop_size": 32, "receptive_field": 16, "ndf": 4, "workers": 0, "device": "cpu"}
    run = package.train(
        "cyclegan", data="glyphs", out=tmp_path / "run", generator=own_networks.Small, steps=1, quiet=True, **settings
    )
    assert run.settings["model"]["generator"] == "own_networks:Small"
    assert isinstance(run.translator(device="cpu").method.to_a, own_networks.Small)


@pytest.mark.parametrize("method", ["pix2pix", "cyclegan"])
@pytest.mark.parametrize("setting", [{"ngf": 8}, {"upsample": "resize_conv"}], ids=str)
def test_settings_of_built_in_generators_are_refused(method, setting, tmp_path):
    with pytest.raises(ConfigError, match=f"{next(iter(setting))} has no effect without a built-in generator"):
        package.train(method, data="glyphs", out=tmp_path / "run", generator=own_networks.Small, quiet=True, **setting)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("own_networks:Absent", r"own_networks:Absent: cannot be imported \(KeyError: 'Absent'\)"),
        ("own_networks:Smal", "KeyError: 'Smal'.; did you mean 'Small'"),
        (own_networks.Small(1, 1), "expected the class Small itself, got an instance"),
        ("no_such_module:Net", "cannot be imported .ModuleNotFoundError"),
        ("own_networks.Small", "expected the name of a class as package.module:Class"),
    ],
)
def test_what_cannot_be_imported_is_named(code, message):
    with pytest.raises(ConfigError, match=message):
        user_code.allow(code)


def test_a_class_of_the_script_itself_is_refused():
    local = type("Net", (own_networks.Small,), {"__module__": "__main__"})
    with pytest.raises(ConfigError, match=r"Net: is defined in the script or notebook itself.*write it into a module"):
        user_code.allow(local)


def test_a_class_that_fails_is_named():
    for cls, message in (
        (own_networks.Broken, "failed .TypeError"),
        (own_networks.not_a_network, "nn.Module, got str"),
    ):
        with pytest.raises(ConfigError, match=message):
            user_code.build(user_code.allow(cls), 1, 3)


def test_own_initial_weights_may_be_kept():
    net = torch.nn.Sequential(own_networks.Pretrained(1, 1), torch.nn.Conv2d(1, 1, 3))
    initialise(net, "normal", 0.02)
    assert (net[0].first.weight == 0.125).all()
    assert net[1].bias.abs().max() == 0


def test_the_code_of_the_class_is_part_of_the_provenance():
    assert list(user_code.source_files({"generator": user_code.allow(own_networks.Small), "ngf": 4})) == [
        Path(own_networks.__file__)
    ]


PIX2PIX = {"crop_size": 32, "receptive_field": 16, "ndf": 4, "workers": 0, "device": "cpu", "quiet": True, "steps": 1}


@pytest.mark.parametrize("cls", [own_networks.Halves, own_networks.HalvesWithSkip])
def test_a_generator_that_halves_sizes_must_say_so(cls, tmp_path):
    run = package.train("pix2pix", data="glyphs", out=tmp_path / "run", generator=cls, **PIX2PIX)
    translator = run.translator(device="cpu")
    assert translator(np.zeros((32, 34, 1), np.uint8)).shape == (32, 34, 1)
    with pytest.raises(ConfigError, match=f"own_networks:{cls.__name__} .*33.*set `size_multiple = N` in the class"):
        translator(np.zeros((33, 33, 1), np.uint8))


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        (own_networks.ReturnsTuple, "own_networks:ReturnsTuple: expected a tensor of images, got tuple"),
        (
            own_networks.Shrinks,
            r"own_networks:Shrinks: returns a tensor of shape \(1, 3, 32, 31\) from \(1, 3, 32, 32\)",
        ),
        (own_networks.Fails, "own_networks:Fails fails on 32x32 images .AttributeError"),
        (own_networks.Small(1, 1), "write Small, without parentheses"),
        ("own_networks:Smal", "did you mean 'Small'"),
    ],
)
def test_a_generator_that_does_not_fit_is_named_before_a_folder_is_made(generator, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        package.train("pix2pix", data="glyphs", out=tmp_path / "run", generator=generator, **PIX2PIX)
    assert not (tmp_path / "run").exists()


def test_the_size_multiple_of_a_class_is_named(tmp_path):
    with pytest.raises(
        ConfigError, match="not a multiple of 2, the size_multiple of own_networks:Small: change crop_size"
    ):
        package.train(
            "pix2pix", data="glyphs", out=tmp_path / "run", generator=own_networks.Small, **{**PIX2PIX, "crop_size": 33}
        )


def test_one_class_may_be_allowed_by_itself(nothing_allowed):
    user_code.allow_all("own_networks:Small")
    user_code.allow_all(own_networks.Pretrained)
    assert user_code.allowed() == ("own_networks:Small", "own_networks:Pretrained")
