"""`diptych.evaluation.tools`: loaded when needed, listed when used, said when lacking; features that are remembered."""

import pytest
from judged import noise, offline, stand_in, two, values  # noqa: F401
from safetensors import SafetensorError

from diptych.data.images import image_io
from diptych.errors import CheckpointError, EvaluationError
from diptych.evaluation.metrics import extractors, lpips
from diptych.evaluation.tools import Tools, load_tools


@pytest.fixture
def loaded(monkeypatch):
    """The names of the networks that are loaded, in order."""
    names = []

    def load(name):
        names.append(name)
        return stand_in()

    monkeypatch.setattr(extractors, "load_extractor", lambda name, *_, **__: load(name))
    monkeypatch.setattr(lpips, "load_lpips", lambda **_: load("lpips") and None)
    return names


@pytest.fixture
def pictures(tmp_path):
    return two(tmp_path, [noise(seed) for seed in range(8)], [noise(seed) for seed in range(8, 17)])


def pairs(folder, count):
    return two(folder, *([noise(start + seed) for seed in range(count)] for start in (0, 50)))


# ----------------------------------------------------------------------------------------- what is asked, what is used


def test_networks_are_loaded_when_a_measure_needs_them_and_never_twice(tmp_path, loaded):
    tools = load_tools(device="cpu")
    values("srgan-y", pairs(tmp_path / "y", 4), tools)
    assert loaded == []
    values("thin-structures", pairs(tmp_path / "thin", 4), tools)
    assert loaded == ["lpips"]
    for _ in range(2):
        values("paired-default", pairs(tmp_path / "few", 4), tools)
    assert loaded.count("torchvision-inception-v3") == 0, "for 4 pictures there is no FID"
    for _ in range(2):
        _, result = values("paired-default", pairs(tmp_path / "many", 8), tools)
    assert loaded.count("torchvision-inception-v3") == 1
    assert result.tools == {"extractor": f"script:two.pt {'a' * 16}"}


def test_a_result_lists_what_was_used_for_it_and_nothing_else(tmp_path):
    tools = Tools(extractor=stand_in(), border=2)
    assert values("paired-default", pairs(tmp_path / "a", 8), tools)[1].tools.keys() == {"extractor"}
    assert values("srgan-y", pairs(tmp_path / "b", 8), tools)[1].tools == {"border": "2 pixels"}
    assert values("paired-default", pairs(tmp_path / "c", 4), tools)[1].tools == {}


def test_what_is_lacking_is_told_once_and_said_in_each_result(tmp_path):
    told = []
    tools = load_tools(device="cpu", log=told.append)
    found = [values("paired-default", pairs(tmp_path / name, 8), tools)[1] for name in "ab"]
    lines = ["no LPIPS: its network is not available", "no FID and KID: torchvision-inception-v3 is not available"]
    for line in lines:
        assert sum(each.startswith(f"{line}: ") for each in told) == 1
        assert all(line in result.said for result in found)
    assert found[0].said == found[1].said


def test_tools_that_were_asked_for_by_name_must_be_there(tmp_path):
    with pytest.raises(EvaluationError, match="unknown extractor 'inceptoin'"):
        load_tools("inceptoin", device="cpu")
    with pytest.raises(CheckpointError, match="neither a run folder"):
        load_tools("none", evaluator=tmp_path / "nowhere", device="cpu")
    for name in ("auto", "tf-fid-inception"):
        with pytest.raises(EvaluationError, match="nowhere"):
            load_tools(name, weights=tmp_path / "nowhere", device="cpu")
    with pytest.raises(EvaluationError, match="nowhere: --extractor none takes no weights"):
        load_tools("none", weights=tmp_path / "nowhere", device="cpu")


# ------------------------------------------------------------------------------------------------------- remembered


def test_features_of_real_pictures_are_remembered_by_content(tmp_path, pictures, monkeypatch):
    """Translations change with each step of a training; the pictures they are held against do not."""
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    seen = []
    tools = Tools(extractor=stand_in())
    run = tools.extractor.run
    object.__setattr__(tools.extractor, "run", lambda x: seen.append(len(x)) or run(x))
    found, _ = values("unpaired-default", pictures, tools)
    (kept,) = (tmp_path / "cache" / "features").iterdir()
    assert seen == [9, 8]
    assert values("unpaired-default", pictures, tools)[0] == found
    assert seen == [9, 8], "the features of the last images are kept, by the content of their files"
    kept.write_bytes(b"")
    assert values("unpaired-default", pictures, tools)[0] == found, "found anew where the file is damaged"
    image_io.write(tmp_path / "real" / "000.png", noise(99))
    assert values("unpaired-default", pictures, tools)[0]["fid"] != found["fid"]


@pytest.mark.parametrize("error", [OSError("No space left"), SafetensorError("No space left"), None])
def test_a_cache_that_cannot_be_written_is_told_once_and_changes_nothing(tmp_path, pictures, monkeypatch, error):
    expected, _ = values("unpaired-default", pictures, Tools(extractor=stand_in()))
    (tmp_path / "file").touch()
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / ("cache" if error else "file")))
    if error:

        def save_file(*_):
            raise error

        monkeypatch.setattr("diptych.evaluation.tools.save_file", save_file)
    told = []
    tools = Tools(extractor=stand_in(), log=told.append)
    for _ in range(2):
        assert values("unpaired-default", pictures, tools)[0] == expected
    assert sum("cannot be cached" in line and "DIPTYCH_CACHE" in line for line in told) == 1
