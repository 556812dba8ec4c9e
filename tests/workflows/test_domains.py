"""Methods of many domains as people use them: trained on letters, translated by domain, seed and reference."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import diptych, files
from judged import fill
from landmarks_file import wing
from PIL import Image

import diptych as package
from diptych.contract import Labels
from diptych.data.images import image_io
from diptych.data.sources import glyphs
from diptych.errors import ConfigError, DataError, EvaluationError
from diptych.evaluation.runner import SampleRequest, sample_run
from diptych.importers import import_model
from diptych.importers.landmarks import convert
from diptych.importers.sandbox import read_in_process
from diptych.inference.load import load
from diptych.methods.stargan import StarGAN
from diptych.networks import face_landmarks
from diptych.runs.events import read_events
from diptych.runs.folder import Run
from diptych.testing import CHECKS, MethodUnderTest

LITTLE = ["crop_size=32", "workers=0", "device=cpu", "precision=fp32", "log_every=2", "preview_every=2", "flip=false"]
SMALL = {
    "stargan": ["ngf=4", "ndf=4", "n_blocks=1", "d_layers=3", "n_critic=2"],
    "starganv2": ["ngf=4", "max_channels=8", "style_dim=4", "latent_dim=4", "mapping_dim=8", "ema_decay=0"],
}
FACES = ("sans", "serif", "mono")


def trained(folder, method, *settings):
    words = [*SMALL[method], *LITTLE, "steps=4", "batch_size=2", *settings]
    done = diptych("train", method, *words, "-o", folder)
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def animals(tmp_path_factory):
    root = tmp_path_factory.mktemp("animals")
    for number, name in enumerate(("cat", "dog", "fox")):
        fill(root / name, 12, 20 * number)
    return root


@pytest.fixture(scope="module")
def v2(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("v2") / "run", "starganv2", f"root=glyphs:{'/'.join(FACES)}")


@pytest.fixture(scope="module")
def flips(tmp_path_factory):
    setting = ["root=glyphs", "attributes=[sans,serif,bold]", "exclusive=[[sans,serif]]"]
    return trained(tmp_path_factory.mktemp("flips") / "run", "stargan", *setting)


def test_missing_landmarks_are_warned_of(tmp_path):
    """At training, load and evaluation: without landmarks G has no skip connections."""
    missing, folder = "w_hpf=1 without landmarks: high-pass skips are off", tmp_path / "run"
    with pytest.warns(UserWarning, match=f"starganv2: {missing}"):
        trained(folder, "starganv2", "root=glyphs:sans/serif", "w_hpf=1", "steps=1")
    uses = (
        lambda: load(folder, device="cpu"),
        lambda: package.Run.open(folder).translator(device="cpu"),
        lambda: sample_run(Run.open(folder), tmp_path / "samples", SampleRequest(count=1)),
    )
    for use in uses:
        with pytest.warns(UserWarning, match=f"run: {missing}"):
            use()
    assert missing.split(":")[0] in (folder / "model" / "README.md").read_text()


def test_landmarks_from_a_file_are_part_of_the_run_and_of_its_model(tmp_path, monkeypatch):
    """The file is read once: not at a resume, and not for translations, previews or evaluations."""
    monkeypatch.setattr(import_model, "read", read_in_process)
    monkeypatch.setattr(face_landmarks, "INPUT_SIZE", 64)
    file, run = tmp_path / "wing.ckpt", tmp_path / "run"
    torch.save({"state_dict": wing()}, file)
    trained(run, "starganv2", "root=glyphs:sans/serif", "w_hpf=1", "steps=1", f"landmarks={file}", "preview_images=2")
    file.unlink()
    assert diptych("resume", run, "steps=2", "--allow", "steps").exit_code == 0
    weights = convert(wing(), "wing.ckpt")
    for source in (run, run / "model"):
        method = load(source, device="cpu").method
        assert all(torch.equal(value, weights[key]) for key, value in method.landmarks.state_dict().items()), source
        assert method.caution() == ""
    sample_run(Run.open(run), tmp_path / "samples", SampleRequest(count=1))


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, r"landmarks=.*: no such file; landmarks=none trains"), ({"a": torch.zeros(2)}, "not the face landmark")],
)
def test_a_file_without_landmarks_is_refused_before_training(content, said, tmp_path, monkeypatch):
    monkeypatch.setattr(import_model, "read", read_in_process)
    if content:
        torch.save(content, tmp_path / "wing.ckpt")
    settings = [*SMALL["starganv2"], *LITTLE, "root=glyphs:sans/serif", "batch_size=2", "w_hpf=1"]
    with pytest.raises(ConfigError, match=said):
        diptych("train", "starganv2", *settings, f"landmarks={tmp_path}/wing.ckpt", "-o", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def letter(tmp_path):
    image_io.write(tmp_path / "a.png", glyphs.render_letters("sans", 32)[40])
    return tmp_path / "a.png"


def test_a_run_logs_each_update_and_shows_references_against_sources(v2):
    events = list(read_events(v2 / "events.jsonl"))
    terms = next(event["terms"] for event in events if event["event"] == "step")
    assert {"D/latent_r1", "D/reference_r1", "G+F+E/latent_cycle", "G/reference_cycle", "D/gradient"} <= set(terms)
    errors = [event["error"] for event in events if event["event"] == "preview"]
    assert set(errors[-1]) == {f"image->{name}" for name in FACES}
    sheet = np.asarray(Image.open(sorted((v2 / "previews").iterdir())[-1]).convert("L"))
    tile = 32 + 4
    assert sheet.shape[0] >= (8 + 9) * tile - 4, "sources by domains, and below them sources by references"


def test_translations_by_domain_seed_and_reference_are_those_of_the_translator(v2, letter, tmp_path):
    translator = package.load(v2, device="cpu")
    reference = tmp_path / "photo.png"
    image_io.write(
        reference, glyphs.render_letters("serif", 64)[50]
    )  # of another size: a file is brought to the right one
    for words, controls in {
        ("--domain", "mono"): {"domain": "mono"},
        ("--domain", "mono", "--seed", "3"): {"domain": "mono", "seed": 3},
        ("--domain", "serif", "--reference", str(reference)): {"domain": "serif", "reference": reference},
        ("-c", f"reference={reference}"): {"reference": reference},
        ("-c", "toward=7", "-c", "mix=0.5"): {"toward": 7, "mix": 0.5},
    }.items():
        out = tmp_path / "out" / str(len(words)) / Path(words[1]).stem[-9:]
        assert diptych("translate", v2, letter, "-o", out, *words).exit_code == 0
        made = translator(letter, **controls)
        assert np.array_equal(np.asarray(Image.open(out / "a.png")), np.asarray(made))
    between = [np.asarray(translator(letter, toward=7, mix=mix), float) for mix in (0, 0.5, 1)]
    assert np.array_equal(between[0], np.asarray(translator(letter)))
    assert np.array_equal(between[2], np.asarray(translator(letter, seed=7)))


def test_sheets_of_all_domains_and_of_styles(v2, letter, tmp_path):
    translator = package.load(v2, device="cpu")
    assert diptych("translate", v2, letter, "-o", tmp_path / "s", "--all-domains", "--styles", "2").exit_code == 0
    sheet = image_io.read(tmp_path / "s" / "a.png")
    assert sheet.shape == (3 * 36 - 4, 3 * 36 - 4, 3)
    assert np.array_equal(sheet[:32, :32, 0], image_io.read(letter)[..., 0])
    second = translator.all_domains(letter, seed=1)["serif"]
    assert np.abs(sheet[36:68, 72:104, 0].astype(int) - np.asarray(second, int)).max() <= 1
    styles = translator.styles(letter, 3, domain="mono", seed=5)
    assert np.array_equal(np.asarray(styles[2]), np.asarray(translator(letter, domain="mono", seed=7)))
    with pytest.raises(ConfigError, match="--domain chooses one, but the sample grid shows all"):
        diptych("translate", v2, letter, "-o", tmp_path / "t", "--all-domains", "--domain", "mono")
    with pytest.raises(ConfigError, match=r"cannot hold uint8 with 3 channels|give --suffix"):
        diptych("translate", v2, letter, "-o", tmp_path / "t", "--all-domains", "--suffix", ".npz")


def test_wrong_controls_are_one_clear_error(v2, flips, letter, tmp_path):
    translator = package.load(v2, device="cpu")
    for controls, message in [
        ({"domain": "comic"}, "domain='comic': choose one of sans, serif, mono"),
        ({"refrence": letter}, "no control 'refrence'; did you mean 'reference'"),
        ({"reference": torch.zeros(1, 1, 40, 40)}, "reference: expected images of 32x32 pixels, got 40x40"),
        ({"mix": 0.5}, "needs toward=SEED"),
    ]:
        with pytest.raises(ConfigError, match=message):
            translator(letter, **controls)
    for words, message in [
        (["--domain", "serif"], "stargan has no control 'domain'"),
        (["-c", "flip=beard"], "flip='beard': no such label"),
        (["-c", "flip=sans,serif"], "sans, serif are mutually exclusive"),
        (["--all-domains"], "stargan has no control 'domain'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            diptych("translate", flips, letter, "-o", tmp_path / "never", *words)
    assert not (tmp_path / "never").exists()


def test_attributes_are_flipped_from_what_an_image_has(flips, letter):
    translator = package.load(flips, device="cpu")
    assert np.array_equal(
        np.asarray(translator(letter, has="sans,bold", flip="serif")), np.asarray(translator(letter, has="serif,bold"))
    )
    names = {name for event in read_events(flips / "events.jsonl") for name in event.get("error", {})}
    assert not names, "the truth of a changed attribute is not known"


def test_too_small_a_batch_and_unfit_data_are_told(tmp_path):
    with pytest.raises(ConfigError, match="batch_size=1 has images of one domain only: set batch_size=8"):
        trained(tmp_path / "run", "starganv2", "root=glyphs", "batch_size=1")
    with pytest.raises(DataError, match="translates between the classes of one data set"):
        trained(tmp_path / "run", "starganv2", "root=glyphs", "attributes=[bold]")
    with pytest.raises(ConfigError, match="side is a power of two: set crop_size=32 or crop_size=64"):
        trained(tmp_path / "run", "stargan", "root=glyphs:sans/serif", "crop_size=48")
    assert not files(tmp_path)


class TwoSets(StarGAN):
    """What letters have in common, and faces as classes, in turns."""

    checks = replace(
        StarGAN.checks,
        tiny={
            **StarGAN.checks.tiny,
            "n_critic": 1,
            "labels": (
                Labels(names=("bold", "slanted", "mono"), kind="attributes"),
                Labels(names=("sans", "serif", "mono-bold")),
            ),
        },
    )


@pytest.mark.parametrize("check", [name for name in CHECKS if name != "short_run_learns"])
def test_several_sets_hold_the_contract(check):
    CHECKS[check](MethodUnderTest(TwoSets))


def test_two_sets_train_and_translate_into_the_labels_of_both(tmp_path, letter):
    settings = ["root=glyphs", "attributes=[bold,slanted]", "extra_roots=['glyphs:sans/serif']", "n_critic=1"]
    run = trained(tmp_path / "run", "stargan", *settings)
    translator = package.load(run, device="cpu")
    assert [control.name for control in translator.controls] == ["domain", "has", "flip"]
    made = [
        np.asarray(translator(letter, **each)) for each in ({"domain": "serif"}, {"has": "bold", "flip": "slanted"})
    ]
    assert not np.array_equal(*made)


def test_each_of_two_sets_is_judged_by_its_own_labels(animals, tmp_path):
    settings = ["root=glyphs", "attributes=[bold,slanted]", f"extra_roots=[{animals}]", "n_critic=1"]
    run = Run.open(trained(tmp_path / "run", "stargan", *settings))
    found = {}
    for number, data in enumerate((None, str(animals), "glyphs")):
        samples = sample_run(run, tmp_path / f"s{number}", SampleRequest(data=data, count=1, device="cpu"))
        found[data] = set(samples.by_route())
    assert found[None] == found["glyphs"] == {"flip-bold", "flip-slanted"}
    assert len(found[str(animals)]) == 6
    shutil.copytree(animals, tmp_path / "others")
    with pytest.raises(DataError, match="others: there is no table of attributes: leave attributes= out"):
        sample_run(run, tmp_path / "never", SampleRequest(data=str(tmp_path / "others")))
    assert not (tmp_path / "never").exists()


def test_images_are_judged_by_the_names_of_their_classes_and_others_are_refused(animals, tmp_path):
    run = Run.open(trained(tmp_path / "run", "stargan", f"root={animals}"))
    shutil.copytree(animals, tmp_path / "fewer")
    shutil.rmtree(tmp_path / "fewer" / "cat")
    samples = sample_run(run, tmp_path / "s", SampleRequest(data=str(tmp_path / "fewer"), count=1, device="cpu"))
    assert {(row.route, row.controls["domain"]) for row in samples.rows} == {("dog-fox", "fox"), ("fox-dog", "dog")}
    (tmp_path / "fewer" / "fox").rename(tmp_path / "fewer" / "wolf")
    with pytest.raises(EvaluationError, match="the model learned 'cat, dog, fox', and the images have 'dog, wolf'"):
        sample_run(run, tmp_path / "never", SampleRequest(data=str(tmp_path / "fewer")))
    assert not (tmp_path / "never").exists()


def test_attributes_are_no_classes_and_fewer_are_others(flips, tmp_path):
    run = Run.open(flips)
    with pytest.raises(EvaluationError, match="translates between classes, and these images have attributes"):
        sample_run(run, tmp_path / "never", SampleRequest("stargan-expressions"))
    fill(tmp_path / "few", 8)
    (tmp_path / "few" / "table.csv").write_text(
        "name,sans,bold\n" + "".join(f"{number:03},{number % 2},1\n" for number in range(8))
    )
    with pytest.raises(DataError, match="no column is called serif"):
        sample_run(run, tmp_path / "never", SampleRequest(data=str(tmp_path / "few")))
    assert not (tmp_path / "never").exists()


def test_two_sets_of_attributes_train_and_are_shown(tmp_path):
    """A preview says what a picture has only where that is what changes."""
    table = tmp_path / "faces"
    fill(table, 40)
    rows = "".join(f"{number:03},{number % 2},{number // 2 % 2}\n" for number in range(40))
    (table / "attributes.csv").write_text("name,Young,Happy\n" + rows)
    settings = ["root=glyphs", "attributes=[bold,slanted]", f"extra_roots=[{table}]", "n_critic=1"]
    run = trained(tmp_path / "run", "stargan", *settings)
    assert package.load(run, device="cpu").method.config.channels == 3, "grey and colour together are colour"
    assert len(list((run / "previews").iterdir())) == 2


def test_a_judge_learns_from_one_set(animals, tmp_path):
    with pytest.raises(ConfigError, match="an evaluator network is trained on one data set"):
        diptych(
            "evaluator",
            "train",
            "classifier",
            "-d",
            "glyphs",
            f"extra_roots=[{animals}]",
            *LITTLE,
            "-o",
            tmp_path / "judge",
        )


def test_one_style_or_all_of_them(v2, letter, monkeypatch):
    translator = package.load(v2, device="cpu")
    with pytest.raises(ConfigError, match="domain selects one, but all are requested"):
        translator.all_domains(letter, domain="sans")
    with pytest.raises(ConfigError, match="reference selects one, but all are requested"):
        translator.styles(letter, 3, reference=letter)
    with pytest.raises(ConfigError, match="reference has 3 channels; this model's images have 1"):
        translator(letter, reference=torch.zeros(3, 32, 32))
    assert translator(letter, reference=torch.zeros(1, 32, 32)).size == (32, 32)
    read = []
    plain = image_io.read
    monkeypatch.setattr(image_io, "read", lambda path, kind="colour": read.append(path) or plain(path))
    translator([letter, letter], reference=letter)
    translator.all_domains(letter, reference=letter)
    assert len(read) == 3 + 2, "a reference is read once for many images, and for many domains"
    encoded = []
    encode = type(translator.method).encode
    monkeypatch.setattr(type(translator.method), "encode", lambda self, x: encoded.append(1) or encode(self, x))
    together = [np.asarray(each).tobytes() for each in translator.styles(letter, 3)]
    assert len(encoded) == 1
    assert together == [np.asarray(translator(letter, seed=seed)).tobytes() for seed in range(3)]


def test_the_domain_that_nobody_chose_is_told(v2, flips, letter, tmp_path):
    """The first domain is the default of `--domain`; a model of attributes has none."""
    said = diptych("translate", v2, letter, "-o", tmp_path / "default").stderr
    assert "translating to sans, the first domain; --domain chooses another: serif, mono" in said
    for words in (["--domain", "mono"], ["--all-domains"]):
        assert "first domain" not in diptych("translate", v2, letter, "-o", tmp_path / words[0], *words).stderr
    assert "first domain" not in diptych("translate", flips, letter, "-o", tmp_path / "flips").stderr
