"""`diptych.evaluation.samples`: what a run leaves in a sample folder, what is read back, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from commands import diptych, files
from judged import fill, noise, offline, trained  # noqa: F401

from diptych.data.images import image_io
from diptych.data.sources.glyphs import split_indices
from diptych.errors import CheckpointError, EvaluationError, ImageError
from diptych.evaluation import sample_writer
from diptych.evaluation.runner import SampleRequest, sample_run, samples_of
from diptych.evaluation.samples import MANIFEST, Samples, open_samples, safe_name
from diptych.evaluation.two_folders import two_folders
from diptych.inference.load import from_run
from diptych.runs import checkpoint
from diptych.runs.folder import Run

NAMES = [
    "010",
    "sp ace",
    "we<ir>d:*?",
    "日本" * 40,
    "a..",
    "-rf",
    "ü.x",
]  # of held-out pictures, whatever they are called


@pytest.fixture(scope="module")
def heaps(tmp_path_factory):
    """Pictures without pairs, 3 and 2 of them held out."""
    root = tmp_path_factory.mktemp("data") / "heaps"
    for name, count in (("trainA", 4), ("trainB", 4), ("testA", 3), ("testB", 2)):
        fill(root / name, count, sum(map(ord, name)))
    return root


@pytest.fixture(scope="module")
def named_oddly(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "odd"
    for side in "AB":
        fill(root / f"train{side}", 2, ord(side))
        for number, name in enumerate(NAMES):
            image_io.write(root / f"val{side}" / "x.png", noise(ord(side) + 10 * number))
            (root / f"val{side}" / "x.png").rename(root / f"val{side}" / f"{name}.png")
    return root


@pytest.fixture(scope="module")
def runs(tmp_path_factory, heaps, named_oddly):
    folder = tmp_path_factory.mktemp("runs")
    return {
        "letters": trained(folder / "letters", "pix2pix", "root=glyphs", "steps=2"),
        "others": trained(folder / "others", "pix2pix", "root=glyphs", "steps=2", "seed=1", "loss=cgan"),
        "odd": trained(folder / "odd", "pix2pix", f"root={named_oddly}", "steps=1"),
        "heaps": trained(folder / "heaps", "cyclegan", f"root={heaps}", "steps=1"),
    }


@pytest.fixture(scope="module")
def pairs(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples") / "pairs"
    return sample_run(runs["letters"], folder, SampleRequest(count=10))


def unit(file):
    return image_io.to_unit(image_io.read(file))


# --------------------------------------------------------------------------------------------- what a run leaves


def test_what_was_written_is_what_is_read(pairs):
    assert open_samples(pairs.folder) == pairs
    assert [row.route for row in pairs.rows] == ["source-target"] * 10
    assert pairs.paired
    assert pairs.reals == {}
    listed = [pairs.folder / MANIFEST, *pairs.files("source"), *pairs.files("fake"), *pairs.files("truth")]
    assert sorted(str(file.relative_to(pairs.folder)) for file in listed) == files(pairs.folder)


def test_each_row_is_a_held_out_letter_its_truth_and_what_the_run_makes_of_it(pairs, runs):
    from diptych.data.sources import glyphs

    translator = from_run(runs["letters"])
    where = split_indices()["test"][:10]
    for at, number in enumerate(where):
        source, truth = (glyphs.render_letters(face, 32)[number] for face in ("sans", "serif-bolditalic"))
        assert np.array_equal(image_io.read(pairs.files("source")[at]), source)
        assert np.array_equal(image_io.read(pairs.files("truth")[at]), truth)
        made = translator.tensor(torch.from_numpy(image_io.to_unit(source)).permute(2, 0, 1))
        away = np.abs(made.permute(1, 2, 0).numpy() - unit(pairs.files("fake")[at])).max()
        assert away < 1.5 / 127.5


def test_what_the_samples_are_of_is_told(pairs, runs):
    about = dict(pairs.about)
    assert about.pop("seconds_per_image") > 0
    assert about.pop("training_hours") >= 0
    assert len(about.pop("sources")) == 64
    assert about == {
        "method": "pix2pix",
        "run": "letters",
        "steps": 2,
        "parameters": sum(p.numel() for p in from_run(runs["letters"]).method.parameters()),
        "data": "glyphs",
        "which": "last",
        "split": "test",
        "count": 10,
        "protocol": "paired-default/1",
        "pixels": 32,
    }


def test_sources_tell_sets_of_pictures_apart_and_nothing_else(pairs, runs, tmp_path):
    same = sample_run(runs["others"], tmp_path / "a", SampleRequest(count=10))
    assert same.about["sources"] == pairs.about["sources"]
    assert any(a.read_bytes() != b.read_bytes() for a, b in zip(same.files("fake"), pairs.files("fake"), strict=True))
    fewer = sample_run(runs["letters"], tmp_path / "b", SampleRequest(count=9))
    other = sample_run(runs["letters"], tmp_path / "c", SampleRequest(count=10, split="val"))
    assert len({each.about["sources"] for each in (pairs, fewer, other)}) == 3


def test_without_pairs_there_are_real_pictures_of_each_domain(runs, heaps, tmp_path):
    found = sample_run(runs["heaps"], tmp_path / "s")
    assert open_samples(tmp_path / "s") == found
    assert (found.about["protocol"], found.about["split"]) == ("unpaired-default/1", "test")
    assert {name: len(part.rows) for name, part in found.by_route().items()} == {"a-b": 3, "b-a": 2}
    assert not found.paired
    assert [row.controls for row in found.rows] == [{"direction": "a2b"}] * 3 + [{"direction": "b2a"}] * 2
    for name, side in (("a-b", "B"), ("b-a", "A")):
        shown = [image_io.read(file) for file in found.by_route()[name].real_files()]
        there = [image_io.read(file) for file in sorted((heaps / f"test{side}").iterdir())]
        assert all(map(np.array_equal, shown, there))
    with pytest.raises(
        EvaluationError, match=r"s: some translations have no truth image; protocol unpaired-default needs none"
    ):
        found.files("truth")


def test_names_of_files_are_kept_for_people_and_made_plain_for_disks(runs, tmp_path):
    found = sample_run(runs["odd"], tmp_path / "s")
    assert open_samples(tmp_path / "s") == found
    assert {row.of for row in found.rows} == {f"{name}.png" for name in NAMES}
    for row in found.rows:
        _, _, name = row.fake.partition("source-target/")
        assert name[:5].isdecimal()
        assert not set(name) & set('<>:"/\\|?* ')
        assert len(name.encode()) < 200, "a file beside it has a longer name while it is written"
        assert [each.partition("/")[2] for each in (row.source, row.truth)] == [f"source-target/{name}"] * 2
    assert safe_name("a/b\x1b[31m\n.png") == "b_31m_"


def test_a_name_that_is_no_utf8_takes_no_run_down(named_oddly, runs, tmp_path):
    shutil.copytree(named_oddly, tmp_path / "data")
    for side in "AB":
        (tmp_path / "data" / f"val{side}" / "010.png").rename(tmp_path / "data" / f"val{side}" / "caf\udce9.png")
    found = sample_run(runs["odd"], tmp_path / "s", SampleRequest(data=str(tmp_path / "data")))
    assert open_samples(tmp_path / "s") == found
    assert "caf\\udce9.png" in {row.of for row in found.rows}
    with pytest.raises(EvaluationError, match=r"caf\\udce9.png: its name is not UTF-8; rename it"):
        two_folders(tmp_path / "data" / "valA", tmp_path / "data" / "valA")


def test_other_images_than_those_of_training(runs, named_oddly, heaps, tmp_path):
    found = sample_run(runs["odd"], tmp_path / "s", SampleRequest(data=str(named_oddly), split="train"))
    assert (len(found.rows), found.about["data"], found.about["split"]) == (2, "odd", "train")
    with pytest.raises(EvaluationError, match="--split tset: choose one of auto, train, val, test"):
        sample_run(runs["odd"], tmp_path / "t", SampleRequest(split="tset"))
    with pytest.raises(EvaluationError, match="there is no test split"):
        sample_run(runs["odd"], tmp_path / "t", SampleRequest(split="test"))
    assert not (tmp_path / "t").exists()


def test_a_folder_in_use_is_refused(pairs, runs):
    with pytest.raises(EvaluationError, match=f"{pairs.folder}: already holds samples; choose another folder with -o"):
        sample_run(runs["letters"], pairs.folder)
    assert open_samples(pairs.folder) == pairs


def test_other_channels_than_those_of_pictures_become_arrays(tmp_path):
    for name in ("trainA", "valA"):
        fill(tmp_path / "data" / name, 2)
    for name in ("trainB", "valB"):
        fill(tmp_path / "data" / name, 2, suffix=".npy", shape=(32, 32, 5))
    run = trained(tmp_path / "run", "pix2pix", f"root={tmp_path / 'data'}", "steps=1")
    found = sample_run(run, tmp_path / "s")
    assert open_samples(tmp_path / "s") == found
    assert [file.suffix for file in found.files("truth")] == [".npy"] * 2
    assert np.array_equal(image_io.read(found.files("truth")[0]), image_io.read(tmp_path / "data" / "valB" / "000.npy"))


def test_the_best_checkpoint_is_asked_for_by_name(tmp_path, runs):
    run = trained(tmp_path / "run", "pix2pix", "root=glyphs", "steps=4", "preview_every=1", "lr=0.03")
    first, *_, last = checkpoint.list_checkpoints(run.checkpoints)
    tensors, meta = checkpoint.load(last)
    checkpoint.save(last, (tensors, {**meta, "best": {"name": first.name, "error": 0.1}}))
    found = {
        which: sample_run(run, tmp_path / which, SampleRequest(count=2, which=which)) for which in ("last", "best")
    }
    assert found["best"].about["which"] == "best"
    assert found["best"].about["steps"] < found["last"].about["steps"] == 4
    one, other = (each.files("fake")[0].read_bytes() for each in found.values())
    assert one != other
    with pytest.raises(EvaluationError, match="--which bset: choose last or best"):
        sample_run(run, tmp_path / "x", SampleRequest(which="bset"))
    with pytest.raises(CheckpointError, match="has no best checkpoint"):
        sample_run(runs["heaps"], tmp_path / "x", SampleRequest(which="best"))


# ------------------------------------------------------------------------------------- kept within the run folder


def test_samples_of_a_run_are_made_once_for_each_question(runs, tmp_path):
    run = Run(shutil.copytree(runs["letters"].folder, tmp_path / "run"))
    found = samples_of(run, SampleRequest(count=2))
    assert found.folder == run.folder / "samples" / "default"
    mark = found.folder / "mark"
    mark.touch()
    assert samples_of(run, SampleRequest(count=2)) == found
    assert mark.exists()
    assert len(samples_of(run, SampleRequest(count=3)).rows) == 3
    assert not mark.exists()
    mark.touch()
    (found.folder / "asked.json").write_text("")  # as after a kill
    assert len(samples_of(run, SampleRequest(count=3)).rows) == 3
    assert not mark.exists()
    mark.touch()
    diptych("resume", run.folder, "steps=3", "--allow", "steps")
    assert samples_of(run, SampleRequest(count=3)).about["steps"] == 3
    assert not mark.exists()
    samples_of(run, SampleRequest("srgan-y", count=2))
    assert samples_of(run, SampleRequest(count=3)).about["protocol"] == "paired-default/1", (
        "each protocol has its own folder"
    )


def test_samples_of_images_that_changed_are_made_anew(named_oddly, runs, tmp_path):
    data = shutil.copytree(named_oddly, tmp_path / "data")
    run = Run(shutil.copytree(runs["odd"].folder, tmp_path / "run"))
    before = samples_of(run, SampleRequest(data=str(data)))
    image_io.write(data / "valA" / "010.png", noise(77))
    after = samples_of(run, SampleRequest(data=str(data)))
    assert before.about["sources"] != after.about["sources"]
    at = next(at for at, row in enumerate(after.rows) if row.of == "010.png")
    assert np.array_equal(image_io.read(after.files("source")[at]), noise(77))


def test_what_diptych_did_not_make_is_not_removed(runs, tmp_path):
    run = Run(shutil.copytree(runs["letters"].folder, tmp_path / "run"))
    folder = run.folder / "samples" / "default"
    found = sample_run(run, folder, SampleRequest(count=1))
    with pytest.raises(EvaluationError, match=f"{folder}: .* not written by `diptych evaluate`; move it elsewhere"):
        samples_of(run, SampleRequest(count=2))
    assert open_samples(folder) == found
    shutil.rmtree(folder)
    samples_of(run, SampleRequest(count=2))
    before = files(folder)
    with pytest.raises(EvaluationError, match="--split tset"):
        samples_of(run, SampleRequest(split="tset"))
    assert files(folder) == before, "what cannot be made replaces nothing"


def test_what_was_stopped_half_way_is_made_anew(runs, tmp_path, monkeypatch):
    run = Run(shutil.copytree(runs["letters"].folder, tmp_path / "run"))
    with monkeypatch.context() as patch:
        patch.setattr(sample_writer, "write_text", None)  # the last that is done
        with pytest.raises(TypeError):
            samples_of(run, SampleRequest(count=2))
    assert (run.folder / "samples" / "default" / "fake").is_dir()
    assert len(samples_of(run, SampleRequest(count=2)).rows) == 2


@pytest.mark.parametrize("name", ["../..", ".", "../samples/default", "/"])
def test_no_protocol_is_a_way_to_another_folder(runs, tmp_path, name):
    """What is out of date is removed: it must be a folder of samples."""
    run = Run(shutil.copytree(runs["letters"].folder, tmp_path / "run"))
    samples_of(run, SampleRequest(count=1))
    before = files(tmp_path)
    with pytest.raises(EvaluationError, match="unknown protocol"):
        samples_of(run, SampleRequest(name, count=1))
    assert files(tmp_path) == before


def test_on_the_command_line(runs, tmp_path):
    words = ("predict", runs["letters"].folder, "-o", tmp_path / "s", "--count", "3", "--split", "val")
    assert "3 translations in" in diptych(*words).stdout
    found = open_samples(tmp_path / "s")
    assert (len(found.rows), found.about["split"]) == (3, "val")
    with pytest.raises(EvaluationError, match="unknown protocol 'paird-default'; did you mean 'paired-default'"):
        diptych("predict", runs["letters"].folder, "-o", tmp_path / "t", "-p", "paird-default")


# ------------------------------------------------------------------------------------------- manifests of strangers


def manifest(**row):
    plain = {"route": "a-b", "fake": "fake/1.png", **row}
    return {"format": 1, "about": {}, "rows": [plain], "reals": {}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no json", "not a manifest"),
        (b"\xff\xfe\x00", "not a manifest"),
        (b"[]", "expected a JSON object"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"format": 1, "format": 1}', "key 'format' is repeated"),
        ({"format": 1, "about": {}}, "rows"),
        (manifest() | {"format": 2}, "format 2; this version of Diptych reads format 1"),
        (manifest(fake="/etc/passwd"), "'/etc/passwd' is outside"),
        (manifest(source="../secret.png"), r"'\.\./secret\.png' is outside"),
        (manifest(truth="truth/../../x.png"), "is outside"),
        (manifest() | {"reals": {"a-b": ["real/1.png", "/x"]}}, "'/x' is outside"),
        (manifest() | {"reals": {"a-b": ["real/..\x1b/../.."]}}, r"real/..\\x1b/../..' is outside"),
        (manifest(fake=7), r"rows\.0\.fake=7"),
        (manifest(fake="x" * 5000), r"rows\.0\.fake"),
        (manifest(fkae="x"), r"no setting is called 'rows\.0\.fkae'"),
        (manifest(**{"\x1b[2J": 1}), r"rows\.0\.\\\\x1b\[2J"),
        (manifest() | {"rows": [{}] * 5000}, "and 9990 more"),
    ],
)
def test_a_manifest_that_means_harm_is_refused_in_a_few_printable_words(tmp_path, content, message):
    path = tmp_path / MANIFEST
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(EvaluationError, match=message) as caught:
        open_samples(tmp_path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2500


def test_a_manifest_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    (tmp_path / MANIFEST).write_text(json.dumps(manifest()))
    assert open_samples(tmp_path) == Samples(tmp_path, {}, open_samples(tmp_path).rows, {})
    monkeypatch.setattr("diptych.evaluation.samples.MAX_BYTES", 20)
    with pytest.raises(EvaluationError, match="larger than 0 KiB"):
        open_samples(tmp_path)
    with pytest.raises(EvaluationError, match="No such file"):
        open_samples(tmp_path / "nowhere")


def test_a_picture_that_is_gone_is_named(pairs, tmp_path):
    folder = shutil.copytree(pairs.folder, tmp_path / "s")
    found = open_samples(folder)
    found.files("fake")[3].unlink()
    with pytest.raises(ImageError, match=found.files("fake")[3].name):
        diptych("evaluate", folder, "--extractor", "none")
