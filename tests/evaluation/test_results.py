"""Results: kept and read back, compared only where they may be, and what `diptych evaluate` makes of its arguments."""

import json
import shutil

import numpy as np
import pytest
from commands import diptych
from judged import fill, noise, offline, sample_folder, shades, trained  # noqa: F401

from diptych.data.images import image_io
from diptych.errors import EvaluationError, RunError
from diptych.evaluation.compare.read import read_runs
from diptych.evaluation.metrics.intervals import difference, score_of_set, score_per_image
from diptych.evaluation.results import Result, check_comparable, read_result
from diptych.evaluation.runner import sample_run
from diptych.evaluation.samples import open_samples
from diptych.runs.folder import Run

ABOUT = {"pixels": 32, "split": "test", "run": "one", "steps": 7}
IMAGES = {"real": "abc", "source": "def"}
L1 = score_per_image("l1", np.linspace(0.1, 0.2, 5))
FID = score_of_set("fid", lambda kept: float(kept.sum()), 8)


def result(**fields):
    plain = {"protocol": "paired-default/1", "name": "one", "about": ABOUT, "images": IMAGES, "tools": {}}
    return Result(**{**plain, "said": ("a", "b"), "scores": (L1, FID), **fields})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs") / "letters", "pix2pix", "root=glyphs", "steps=2").folder


# --------------------------------------------------------------------------------------------------- kept and read


def test_what_is_saved_is_what_is_read(tmp_path):
    path = result(tools={"lpips": "123"}).save(tmp_path / "deep" / "x.json")
    assert read_result(path) == result(tools={"lpips": "123"})
    assert read_result(path).score("fid") == FID
    with pytest.raises(EvaluationError, match="one: no score 'psnr'; paired-default/1 gave l1, fid"):
        result().score("psnr")


def changed(**fields):
    return {**json.loads(result().model_dump_json()), **fields}


def with_score(**fields):
    plain = changed()
    plain["scores"][0] |= fields
    return plain


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a result written by `diptych evaluate`"),
        (b"\xff\xfe", "not a result written by"),
        (b"[1]", "expected a JSON object"),
        (b'{"a":' * 50_000, "nested too deeply"),
        (b'{"format": 1, "format": 1}', "key 'format' is repeated"),
        ({"format": 1}, "protocol"),
        (changed(format=2), "format 2; this version of Diptych reads format 1"),
        (changed(scoers=[]), r"no setting is called 'scoers'; did you mean 'scores'"),
        (changed(**{"\x1b[2J": 1}), r"'\\\\x1b\[2J'"),
        (changed(tools={"lpips": 3}), r"tools\.lpips=3"),
        (with_score(value=float("nan")), r"scores\.0\.value=nan"),
        (with_score(low=float("-inf")), r"scores\.0\.low=-inf"),
        (with_score(draws=[0.1, float("nan")]), r"scores\.0\.draws\.1"),
        (with_score(better="smaller"), r"scores\.0\.better='smaller'"),
        (with_score(count=2.5), r"scores\.0\.count=2\.5"),
        (changed(scores=[{}] * 3000), "more"),
    ],
)
def test_a_file_that_is_no_result_is_refused_in_a_few_printable_words(tmp_path, content, message):
    path = tmp_path / "x.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(EvaluationError, match=message) as caught:
        read_result(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2500


def test_a_file_that_is_too_large_or_not_there_is_not_read(tmp_path, monkeypatch):
    path = result().save(tmp_path / "x.json")
    monkeypatch.setattr("diptych.evaluation.results.MAX_BYTES", 100)
    with pytest.raises(EvaluationError, match="larger than 0 KiB"):
        read_result(path)
    with pytest.raises(EvaluationError, match="No such file"):
        read_result(tmp_path / "y.json")


# ------------------------------------------------------------------------------------------------------- compared


def test_results_of_the_same_judgement_are_comparable():
    """Whatever the model was, and however long it took."""
    check_comparable([result(), result(about={**ABOUT, "run": "two", "steps": 9}, name="two"), result()])
    check_comparable([result(tools={"a": "1", "b": "2"}), result(tools={"b": "2", "a": "1"})])
    check_comparable([result(), result(images={"real": "abc"}, about={})])  # what another tool made


def test_images_that_nobody_knows_are_like_no_others():
    for images in ({}, {"source": "def"}):
        with pytest.raises(EvaluationError, match="images: "):
            check_comparable([result(images=images), result(images=images)])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"protocol": "paired-default/2"}, "protocol: paired-default/1 and paired-default/2"),
        ({"images": {**IMAGES, "real": "xyz"}}, "images: test 32 real abc source def and test 32 real xyz source def"),
        ({"images": {**IMAGES, "source": "xyz"}}, "source def and test 32 real abc source xyz"),
        ({"images": {"real": "xyz"}, "about": {"pixels": 64}}, "images: test 32 real abc source def and 64 real xyz"),
        ({"images": {}}, "source def and test 32 of unknown hash"),
        ({"tools": {"extractor": "inception b", "lpips": "1"}}, "extractor: inception a and inception b"),
        ({"tools": {"extractor": "inception a"}}, "lpips: 1 and none"),
        ({"tools": {"extractor": "inception a", "lpips": "1", "evaluator": "7"}}, "evaluator: none and 7"),
    ],
)
def test_results_of_another_judgement_are_not(fields, message):
    tools = {"extractor": "inception a", "lpips": "1"}
    one = result(tools=tools)
    for others in ([result(**{"name": "two", "tools": tools, **fields})], [one, result(**{"tools": tools, **fields})]):
        with pytest.raises(EvaluationError, match=message) as caught:
            check_comparable([one, *others])
        assert "cannot be compared" in str(caught.value)
        assert str(caught.value).count(";") == 0, "nothing else differs"


# ------------------------------------------------------------------------------------------------- `diptych evaluate`


def test_a_run_is_judged_and_the_result_lies_with_it(run):
    done = diptych("evaluate", run, "--extractor", "none", "--count", "5", env={"COLUMNS": "160"})
    found = read_result(run / "results" / "paired-default.json")
    assert str(run / "results" / "paired-default.json") in done.stdout.replace("\n", "")
    assert "paired-default/1 of letters" in done.stdout
    assert (found.name, found.protocol, found.tools) == ("letters", "paired-default/1", {})
    assert [score.name for score in found.scores] == ["l1", "psnr", "ssim"]
    assert all(score.count == 5 for score in found.scores)
    for score in found.scores:
        assert f"{score.value:.4g}" in done.stdout
        assert f"{score.low:.4g} to {score.high:.4g}" in done.stdout
    assert any(line.startswith("no LPIPS: its network is not available") for line in found.said)
    assert dict(found.about) == dict(open_samples(run / "samples" / "default").about)


def test_samples_are_judged_by_the_protocol_that_they_were_made_for(run, tmp_path):
    diptych("predict", run, "-o", tmp_path / "s", "-p", "srgan-y", "--count", "4")
    diptych("evaluate", tmp_path / "s", "--extractor", "none", "--border", "2")
    found = read_result(tmp_path / "s" / "results" / "srgan-y.json")
    assert [score.name for score in found.scores] == ["psnr-y", "ssim-y"]
    assert "4 images on Y, without 2 pixels at each edge" in found.said
    diptych("evaluate", tmp_path / "s", "--extractor", "none", "-p", "paired-default", "-o", tmp_path / "x.json")
    assert read_result(tmp_path / "x.json").name == "letters"
    for words in (["--count", "2"], ["--split", "val"], ["--which", "best"], ["--data", tmp_path]):
        with pytest.raises(EvaluationError, match="choose what a run or model translates, but these images"):
            diptych("evaluate", tmp_path / "s", "--extractor", "none", *words)


def test_a_run_of_two_ways_is_judged_in_both(tmp_path):
    """Letters have a truth, also where training saw no pairs."""
    run = trained(tmp_path / "both", "cyclegan", "root=glyphs", "steps=1").folder
    diptych("evaluate", run, "--extractor", "none", "--count", "4", "--split", "val")
    found = read_result(run / "results" / "paired-default.json")
    assert [score.name for score in found.scores] == [
        f"{way}/{x}" for way in ("a-b", "b-a") for x in ("l1", "psnr", "ssim")
    ]
    assert found.score("a-b/l1").value != found.score("b-a/l1").value
    assert len(open_samples(run / "samples" / "default").rows) == 8


def test_results_of_other_images_stand_beside_those_of_its_own(run, tmp_path):
    """And are compared by their name."""
    (tmp_path / "mine").mkdir()
    for name in ("one", "two"):
        shutil.copytree(run, tmp_path / name, ignore=shutil.ignore_patterns("results", "samples"))
        diptych("evaluate", tmp_path / name, "--extractor", "none", "--count", "2")
        diptych("evaluate", tmp_path / name, "--extractor", "none", "--count", "2", "--data", "glyphs:sans/serif",
                "--protocol", "paired-default")  # fmt: skip
        stems = sorted(path.stem for path in (tmp_path / name / "results").glob("*.json"))
        assert stems == ["paired-default", "paired-default-glyphs_sans_serif"]
    words = ("compare", tmp_path / "one", tmp_path / "two", "-o", tmp_path / "page")
    assert diptych(*words, "--protocol", "paired-default-glyphs_sans_serif").exit_code == 0
    both = read_runs([tmp_path / "one", tmp_path / "two"], "paired-default-glyphs_sans_serif")
    assert all(entry.samples for entry in both), "their pictures are found"
    shutil.rmtree(tmp_path / "two" / "results")
    with pytest.raises(
        EvaluationError, match=r"evaluate .*two --protocol paired-default --data PATH/TO/glyphs_sans_serif"
    ):
        diptych(*words, "--protocol", "paired-default-glyphs_sans_serif")


def test_two_folders_of_any_tool_are_judged(tmp_path, monkeypatch):
    """The result lies with the translations, where that of another tool does not replace it."""
    monkeypatch.chdir(tmp_path)
    for name, start in (("truths", 0), ("other-tool", 0), ("third-tool", 9)):
        fill(tmp_path / name, 5, start)
    words = ("evaluate", "--real", "truths", "--fake", "other-tool", "--extractor", "none")
    assert "paired-default/1 of other-tool" in diptych(*words).stdout
    diptych(*words[:4], "third-tool", *words[5:])
    for name in ("other-tool", "third-tool"):
        found = read_result(tmp_path / name / "results" / "paired-default.json")
        assert (found.name, found.score("l1").value == 0) == (name, name == "other-tool")
    (tmp_path / "truths" / "000.png").unlink()
    diptych(*words)
    assert read_result(tmp_path / "other-tool" / "results" / "unpaired-default.json").name == "other-tool"
    monkeypatch.chdir(tmp_path / "other-tool")
    assert "unpaired-default/1 of other-tool" in diptych(*words[:2], "../truths", "--fake", ".", *words[5:]).stdout
    with pytest.raises(EvaluationError, match="choose what a run or model translates"):
        diptych(*words[:2], "../truths", "--fake", ".", "--count", "3")


def test_what_another_tool_made_of_the_same_pictures_stands_beside_a_run(run, tmp_path):
    samples = sample_run(Run.open(run), tmp_path / "s")
    for kind in ("fake", "truth"):
        for at, file in enumerate(samples.files(kind)):
            pixels = image_io.read(file)
            image_io.write(tmp_path / "other" / kind / f"{at:03}.png", 255 - pixels if kind == "fake" else pixels)
    for words in ([run], ["--real", tmp_path / "other" / "truth", "--fake", tmp_path / "other" / "fake"]):
        diptych("evaluate", *words, "--extractor", "none", "-o", tmp_path / f"{len(words)}.json")
    one, other = (read_result(tmp_path / name) for name in ("1.json", "4.json"))
    check_comparable([one, other])
    assert difference(one.score("l1"), other.score("l1")).value != 0


def test_an_answer_to_another_question_is_not_replaced_unless_o_says_where(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    words = ("evaluate", folder, "--extractor", "none", "--count", "5")
    diptych(*words)
    path = folder / "results" / "paired-default.json"
    before = path.read_text()
    diptych(*words)
    assert path.read_text() == before
    for other in (["--split", "train"], ["--count", "4"]):
        with pytest.raises(EvaluationError, match=r"not replaced, as it was evaluated differently \(images: .*with -o"):
            diptych(*words, *other)
        assert path.read_text() == before
        diptych(*words, *other, "-o", tmp_path / "x.json")
    old = read_result(path)
    old.model_copy(update={"about": {**old.about, "which": "best"}}).save(path)
    with pytest.raises(EvaluationError, match=r"\(which: best and last\): remove it, or choose another file with -o"):
        diptych(*words)
    diptych(*words, "-o", path)
    assert read_result(path).about["which"] == "last"


def test_what_cannot_be_judged_is_told_before_anything_is_translated(run, tmp_path, monkeypatch):
    monkeypatch.setattr("diptych.evaluation.sample_writer.write_samples", None)
    monkeypatch.setattr("diptych.evaluation.tools.load_tools", None)
    with pytest.raises(EvaluationError, match="needs an evaluator"):
        diptych("evaluate", run, "-p", "pix2pix-fcn")
    with pytest.raises(EvaluationError, match="did you mean 'label-maps'"):
        diptych("evaluate", run, "-p", "label-map")
    with pytest.raises(RunError, match="is not a run folder"):
        diptych("evaluate", tmp_path)


def test_a_judge_by_its_folder_lends_features_too(tmp_path):
    for name, light in (("bright", True), ("dark", False)):
        fill(tmp_path / "data" / "train" / name, 4, make=lambda seed, light=light: shades(seed, light))
        fill(tmp_path / "data" / "val" / name, 2, 50, make=lambda seed, light=light: shades(seed, light))
    judge = trained(
        tmp_path / "judge", "classifier", f"root={tmp_path / 'data'}", "steps=2", "base_channels=4", "n_downsample=2"
    )
    fill(tmp_path / "real", 9, make=lambda seed: shades(seed, True))
    fill(tmp_path / "fake", 8, 30, make=lambda seed: shades(seed, True))
    words = ["--real", tmp_path / "real", "--fake", tmp_path / "fake", "--evaluator", judge.folder]
    said = diptych("evaluate", *words, "-o", tmp_path / "x.json", "--device", "cpu").stdout
    found = read_result(tmp_path / "x.json")
    assert {"taken-for-target", "fid", "kid", "precision", "recall"} < {score.name for score in found.scores}
    assert found.tools["extractor"].split()[0] == "evaluator:classifier"
    assert "FID and KID by the evaluator: torchvision-inception-v3 is not available" in said.replace("\n", "")
    translator = trained(tmp_path / "run", "pix2pix", "root=glyphs", "steps=1").folder
    with pytest.raises(EvaluationError, match="an evaluator \\(a classifier or a segmenter\\)"):
        diptych("evaluate", *words[:4], "--evaluator", translator)


def test_what_cannot_be_meant_is_refused(run, tmp_path):
    both = ["--real", tmp_path, "--fake", tmp_path]
    for words in ([], [run, *both], both[:2], both[2:], [run, *both[2:]]):
        with pytest.raises(EvaluationError, match="expected a run, model or prediction folder, or both"):
            diptych("evaluate", *words)
    with pytest.raises(RunError, match="is not a run folder"):
        diptych("evaluate", tmp_path, "--extractor", "none")
    with pytest.raises(EvaluationError, match="did you mean 'label-maps'"):
        diptych("evaluate", run, "-p", "label-map", "--extractor", "none")


def test_names_of_strangers_do_not_steer_a_terminal(tmp_path):
    samples = sample_folder(tmp_path / "s", {}, {"run": "r\x1b[31mun", "protocol": "paired-default/1"})
    image_io.write(tmp_path / "s" / "x.png", noise(0, (12, 12, 3)))
    rows = [{"route": name, "fake": "x.png", "truth": "x.png"} for name in ("a\x1b[2Jx", "b[red]")]
    manifest = json.loads((samples.folder / "samples.json").read_text()) | {"rows": rows}
    (samples.folder / "samples.json").write_text(json.dumps(manifest))
    shown = diptych("evaluate", tmp_path / "s", "--extractor", "none", env={"COLUMNS": "160"}).stdout
    assert "\x1b" not in shown
    assert r"r\x1b[31mun" in shown
    assert r"a\x1b[2Jx/l1" in shown
    assert "b[red]/l1" in shown
