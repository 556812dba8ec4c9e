"""`diptych translate` as people ask MUNIT, DRIT and MSGAN for one of many answers; from grey to colour, and back."""

import numpy as np
import pytest
from commands import diptych
from judged import LITTLE, fill, noise

import diptych as package
from diptych.data.images import image_io
from diptych.errors import ConfigError

BOTH = ["ngf=4", "ndf=4", "d_layers=2", "num_scales=2", "style_dim=4"]
SMALL = {
    "munit": [*BOTH, "mlp_dim=8", "n_blocks=1"],
    "drit": [*BOTH, "d_iter=1"],
    "msgan": ["ngf=4", "ndf=4", "receptive_field=16", "latent_dim=4"],
    "cut": ["ngf=4", "ndf=4", "receptive_field=16", "n_blocks=5", "num_patches=16", "nce_dim=8"],
}
TWO_WAYS = ["munit", "drit"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of one step by each method, on pairs of a grey and a coloured picture; CUT takes both as colour."""
    root = tmp_path_factory.mktemp("pairs")
    fill(root / "trainA", 4, shape=(32, 32, 1))
    fill(root / "trainB", 4, 10)
    for method, settings in SMALL.items():
        done = diptych(
            "train", method, *settings, *LITTLE, f"root={root}", "steps=1", "batch_size=2", "-o", root / method
        )
        assert done.exit_code == 0, done.output
    image_io.write(root / "grey.png", noise(20, (40, 48, 1)))
    image_io.write(root / "colour.png", noise(21, (36, 32, 3)))
    return root


def asked(made, method, source, out, *words):
    """What a person gets, and the picture as it lies there."""
    assert "1 image in" in diptych("translate", made / method, made / source, "-o", out, *words).stdout
    return image_io.read(out / source)


@pytest.mark.parametrize("method", SMALL)
def test_channels_are_those_of_the_two_domains(made, method):
    config = package.load(made / method, device="cpu").method.config
    channels = (config.channels,) if method == "cut" else (config.in_channels, config.out_channels)
    assert channels == ((3,) if method == "cut" else (1, 3))


@pytest.mark.parametrize("method", ["munit", "drit", "msgan"])
def test_a_seed_is_that_of_the_translator(made, method, tmp_path):
    translator = package.load(made / method, device="cpu")
    pictures = [asked(made, method, "grey.png", tmp_path / str(seed), "--seed", seed) for seed in (0, 3)]
    assert all(picture.shape == (40, 48, 3) for picture in pictures)
    for picture, seed in zip(pictures, (0, 3), strict=True):
        assert np.array_equal(picture, np.asarray(translator(made / "grey.png", seed=seed)))
    assert np.array_equal(pictures[0], asked(made, method, "grey.png", tmp_path / "plain"))
    assert not np.array_equal(*pictures)


@pytest.mark.parametrize("method", ["munit", "drit", "msgan"])
def test_a_sheet_is_the_source_and_its_styles(made, method, tmp_path):
    translator = package.load(made / method, device="cpu")
    sheet = asked(made, method, "grey.png", tmp_path, "--styles", 3, "--seed", 5)
    assert sheet.shape == (40, 4 * 52 - 4, 3)
    assert np.array_equal(sheet[:, :48], np.repeat(image_io.read(made / "grey.png"), 3, 2))
    for number, style in enumerate(translator.styles(made / "grey.png", 3, seed=5), 1):
        part = sheet[:, 52 * number : 52 * number + 48].astype(int)
        assert np.abs(part - np.asarray(style, int)).max() <= 1
        assert np.array_equal(np.asarray(style), np.asarray(translator(made / "grey.png", seed=4 + number)))


@pytest.mark.parametrize("method", TWO_WAYS)
def test_a_reference_gives_its_style_whatever_its_size(made, method, tmp_path):
    translator = package.load(made / method, device="cpu")
    for source, other, words in (("grey.png", "colour.png", {}), ("colour.png", "grey.png", {"direction": "b2a"})):
        chosen = [word for name, value in words.items() for word in ("-c", f"{name}={value}")]
        picture = asked(made, method, source, tmp_path / "own", *chosen, "--reference", made / other)
        wanted = translator(made / source, reference=made / other, **words)
        assert np.array_equal(picture.squeeze(), np.asarray(wanted))
        assert not np.array_equal(picture, asked(made, method, source, tmp_path / "seed", *chosen))


@pytest.mark.parametrize("method", TWO_WAYS)
def test_the_way_back_makes_grey_of_colour(made, method, tmp_path):
    back = ["-c", "direction=b2a"]
    picture = asked(made, method, "colour.png", tmp_path / "b2a", *back, "--seed", 2)
    assert picture.shape == (36, 32, 1)
    translator = package.load(made / method, device="cpu")
    assert np.array_equal(picture[..., 0], np.asarray(translator(made / "colour.png", direction="b2a", seed=2)))
    sheet = asked(made, method, "colour.png", tmp_path / "sheet", *back, "--styles", 2)
    assert sheet.shape == (36, 3 * 36 - 4, 3)
    assert np.array_equal(sheet[:, :32], image_io.read(made / "colour.png"))
    assert (sheet[:, 36:68] == sheet[:, 36:68, :1]).all(), "what was made is grey"


@pytest.mark.parametrize(
    ("method", "words", "message"),
    [
        ("msgan", ["--reference", "colour.png"], "msgan has no control 'reference'; it has seed"),
        ("msgan", ["-c", "direction=b2a"], "msgan has no control 'direction'; it has seed"),
        ("cut", ["--seed", "1"], "cut has no control 'seed'; it has none"),
        ("cut", ["--styles", "2"], "cut has no control 'seed'; it has none"),
        ("cut", ["--reference", "colour.png"], "cut has no control 'reference'; it has none"),
        ("munit", ["--domain", "b"], "munit has no control 'domain'; it has direction, seed, reference"),
        ("munit", ["-c", "direction=b"], "direction='b': choose one of a2b, b2a"),
        (
            "drit",
            ["--seed", "2", "--reference", "colour.png"],
            "--seed and --reference both choose the style: give one",
        ),
        (
            "drit",
            ["--styles", "2", "--reference", "colour.png"],
            "--reference chooses one, but the sample grid",
        ),
    ],
)
def test_what_a_method_cannot_be_asked_for_is_told(made, method, words, message, tmp_path):
    words = [made / word if word == "colour.png" else word for word in words]
    with pytest.raises(ConfigError, match=message):
        diptych("translate", made / method, made / "grey.png", "-o", tmp_path / "never", *words)
    assert not (tmp_path / "never").exists()
