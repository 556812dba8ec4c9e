"""M3: settings and cards that mean harm are data: one error names file and field, and nothing is built or printed."""

import hashlib
import json
import re
import resource
import struct
import time
from contextlib import contextmanager

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from translators import broken, edited, made

import diptych
from diptych.contract import Method
from diptych.data.config import DataConfig
from diptych.errors import CheckpointError, ConfigError, DiptychError, shown
from diptych.importers.sandbox import data_bytes
from diptych.inference import model_card
from diptych.methods import METHODS, find
from diptych.runs.folder import Run
from diptych.settings import validate
from diptych.settings.recipe import from_file, load_recipe
from diptych.settings.train_config import TrainConfig
from diptych.settings.validate import check_network_size, checked
from diptych.system.safe_parse import LARGEST_TEXT, parse_json, parse_yaml
from diptych.testing import MethodUnderTest

LAUGHS = "a0: &a0 [ha, ha]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
PIX2PIX = "method: pix2pix\ndata: {root: glyphs}\n"
RECIPES = {
    "unknown": (PIX2PIX + "modle: {}", "unknown key 'modle'; did you mean 'model'"),
    "target": (PIX2PIX + "_target_: os.system", "unknown key '_target_'"),
    "target inside": (PIX2PIX + "model: {_target_: os.system}", "no setting is called '_target_'"),
    "object": ("method: !!python/object/apply:os.system ['touch {canary}']", "could not determine a constructor"),
    "name": ("method: !!python/name:os.system", "could not determine a constructor"),
    "module": ("method: pix2pix\ndata: !!python/module:antigravity", "could not determine a constructor"),
    "channels": (PIX2PIX + "model: {in_channels: 1000000000}", "in_channels=1000000000: .*1024"),
    "many digits": (PIX2PIX + f"model: {{ngf: {'9' * 4000}}}", "ngf=9{1,40}.*: "),
    "too many digits": (PIX2PIX + f"model: {{ngf: {'9' * 5000}}}", "not a recipe, a YAML mapping"),
    "hexadecimal": (PIX2PIX + f"model: {{ngf: 0x{'f' * 9000}}}", "ngf=a number too long to write out: "),
    "not a number": (PIX2PIX + "model: {lambda_l1: .nan}", "lambda_l1=nan: "),
    "infinite": (PIX2PIX + "model: {lambda_l1: .inf}", "lambda_l1=inf: "),
    "too large": (PIX2PIX + "model: {lambda_l1: 1e400}", "lambda_l1=inf: "),
    "negative": (PIX2PIX + "model: {lambda_l1: -1, ngf: -4}", "lambda_l1=-1: .*ngf=-4: "),
    "true": (PIX2PIX + "model: {ngf: true}", "ngf=True: expected a number"),
    "text": (PIX2PIX + "model: {ngf: '64'}", "ngf='64': expected a number"),
    "number": ("method: pix2pix\ndata: {root: glyphs, flip: 1}", "flip=1: expected true or false"),
    "bytes": ("method: pix2pix\ndata: {root: !!binary Z2x5cGhz}", "root=b'glyphs': "),
    "null": ('method: pix2pix\ndata: {root: "a\\0b"}', r"root='a\\x00b': "),
    "control": (PIX2PIX + 'model: {"wid\\e[31mth": 3}', r"no setting is called .*x1b\[31m"),
    "date": (PIX2PIX + "model: {ngf: 2026-01-01}", "ngf=datetime.date"),
    "keys": (PIX2PIX + "model: {1: 2, null: 3}", "model: "),
    "list for a key": (PIX2PIX + "model: {[1]: 2}", "not a recipe, a YAML mapping"),
    "preset": (PIX2PIX + "preset: [1]", "no preset .*1.*; expected one of paper, repo"),
    "path": ("method: ../../etc/passwd", "no method is called '../../etc/passwd'"),
    "relative": ("method: '.os:system'", "not part of Diptych"),
    "no module": ("method: ':system'", "not part of Diptych"),
    "no method": ("method: 'math:sqrt'", "not part of Diptych"),
    "device": (PIX2PIX + "train: {device: 'cuda:" + "9" * 5000 + "'}", "device='cuda:9+.*16"),
    "laughs": (LAUGHS + PIX2PIX, r"line 2: aliases .* are not supported"),
    "itself": (PIX2PIX + "model: &a {x: *a}", "aliases"),
    "deep": ("a: " + "[" * 20_000, "nested too deeply"),
    "twice": (PIX2PIX + "data: {root: x}", "'data' is repeated"),
    "crowd": (PIX2PIX + "model: {" + ", ".join(f"k{n}: 1" for n in range(2000)) + "}", "and 1990 more"),
    "long": (PIX2PIX + f"model: {{{'k' * 900}: {'v' * 9000}}}", "no setting is called 'k+"),
    "large": (PIX2PIX + "#" * LARGEST_TEXT, "larger than 256 KiB"),
    "control raw": ("method: \x1b[31m", "not a recipe, a YAML mapping"),
    "encoding": ("method: \ud800", "not a recipe, a YAML mapping"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_m3_a_hostile_recipe_is_one_error(name, tmp_path):
    text, message = RECIPES[name]
    path, canary = tmp_path / "r.yaml", tmp_path / "canary"
    path.write_text(text.replace("{canary}", str(canary)), encoding="utf-8", errors="surrogatepass")
    start = time.process_time()
    with pytest.raises(ConfigError, match=f"(?s){message}") as error:
        from_file(path)
    assert time.process_time() - start < 5
    assert len(str(error.value)) < 2000
    assert str(error.value).isprintable()
    assert str(path) in str(error.value)
    assert not canary.exists()


def test_the_hostile_recipes_themselves_work(tmp_path):
    """The same files without the harm are recipes; the laughs are what they are said to be."""
    (tmp_path / "r.yaml").write_text(PIX2PIX + "model: {ngf: 32, lambda_l1: 5, lr: 2e-4}\ntrain: {device: cpu}")
    assert from_file(tmp_path / "r.yaml").model.lr == 2e-4
    assert load_recipe("pix2pix", ["root=glyphs", "lr=2e-4"]).model.lr == 2e-4
    assert len(str(yaml.safe_load("\n".join(LAUGHS.splitlines()[:12]))["a11"])) > 2**12
    with pytest.raises(RecursionError):
        json.loads("[" * 100_000)


HOSTILE = st.one_of(
    st.floats(),
    st.integers(),
    st.integers(10**9, 10**40),
    st.booleans(),
    st.none(),
    st.text(max_size=50),
    st.sampled_from(
        ["64", "1e3", "inf", "nan", "../../etc", "a\0b", "{0.__class__}", "\ud800", b"\xff", [], {}, [[1]]]
    ),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)
FIELDS = [
    (model, key)
    for model in (*(find(name).Config for name in METHODS), DataConfig, TrainConfig)
    for key in model.model_fields
]


def outcome(act, kind):
    try:
        return act(), None
    except kind as error:
        return None, str(error)


@contextmanager
def little_memory(mib=256):
    """Inside, this process may not take more than so much beside what it has."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (data_bytes() + mib * 2**20, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


@settings(deadline=None)  # the machine may be busy
@given(st.sampled_from(FIELDS), HOSTILE)
def test_m3_a_field_takes_what_it_says_or_names_itself(place, value):
    """Whatever the value: it is refused with the name of the field, or taken as it is, finite and in bounds."""
    model, key = place
    needed = {"root": "glyphs"} if model is DataConfig else {}
    taken, error = outcome(lambda: checked(model, {**needed, key: value}, "file").model_dump()[key], ConfigError)
    if error:
        assert error.startswith("file: ")
        assert key in error
        assert len(error) < 1500
        assert error.isprintable()
        return
    same = type(taken) if isinstance(taken, float | tuple) else lambda given: given  # of 2**53 + 1 a float is near
    assert taken == same(value)
    assert isinstance(taken, bool) == isinstance(value, bool)
    assert not isinstance(taken, float) or abs(taken) < float("inf")


@settings(deadline=None)  # the machine may be busy
@given(st.recursive(HOSTILE, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_m3_whatever_is_shown_is_short_and_printable(value):
    assert len(shown(value)) < 1000
    assert shown(value).isprintable()


@pytest.mark.parametrize(
    "settings",
    [
        ["ngf=1024", "in_channels=1024"],
        ["ngf=1024", "generator=unet_128"],
        ["ndf=1024", "receptive_field=286", "ngf=512"],
    ],
)
def test_m3_absurd_networks_are_refused_before_they_are_built(settings):
    from diptych.workflows.dry_run import dry_run

    chosen = load_recipe("pix2pix", ["root=glyphs", "crop_size=256", *settings])
    message = r"pix2pix: the networks would take \d+ GiB, more than the limit of 8 GiB: lower .*ngf=\d+"
    with little_memory(), pytest.raises(ConfigError, match=message):
        dry_run(chosen)
    with little_memory(), pytest.raises((RuntimeError, MemoryError)):
        torch.zeros(2**29)  # the limit is one


def test_m3_what_people_train_is_within_the_bound():
    for name in METHODS:
        fields = find(name).Config.model_fields
        width = next(field for field in ("ngf", "g_hidden", "base_channels") if field in fields)
        for preset in find(name).presets.values():
            with torch.device("meta"):
                method = find(name)(find(name).Config(**{**preset, width: 128}))
            check_network_size(method, "x")
            assert sum(p.numel() for p in method.parameters()) * 4 < validate.LARGEST_NETWORKS / 4


def _text(text):
    return lambda folder: (folder / "config.json").write_text(text)


def _tensors(change):
    """The weights changed, with the digest that goes with them: who writes a file can write its digest."""

    def act(folder):
        path = folder / "model.safetensors"
        change(folder, path)
        edited(sha256=hashlib.sha256(path.read_bytes()).hexdigest())(folder)

    return act


def _one(key, value):
    def change(folder, path):
        state = made().method.state_dict()
        state[key] = value
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)

    return _tensors(change)


def _header(length, text):
    return _tensors(lambda folder, path: path.write_bytes(struct.pack("<Q", length) + text))


FIRST = "G.down.0.0.weight"
FOLDERS = {
    "large": (_text(" " * 10**8), "larger than 256 KiB"),
    "deep": (_text("[" * 200_000), "nested too deeply"),
    "twice": (_text('{"method": "pix2pix", "method": "cyclegan"}'), "'method' is repeated"),
    "nan": (edited(config={"l1": float("nan")}), "lambda_l1=nan"),
    "infinite": (_text(json.dumps({"x": 1}).replace("1", "1e400")), "no setting is called 'x'"),
    "digits": (_text('{"format": ' + "9" * 10_000 + "}"), "not the description of a model folder"),
    "unknown": (edited(_target_="os.system"), "no setting is called '_target_'"),
    "nearest": (edited(metod="pix2pix"), "no setting is called 'metod'; did you mean 'method'"),
    "format": (edited(format=True), "format=True: expected a number"),
    "format text": (edited(format="1"), "format='1': expected a number"),
    "path": (edited(method="../../etc/passwd"), "method='../../etc/passwd'"),
    "markup": (edited(method="pix2pix\n---\n<script>"), r"method='pix2pix\\n---"),
    "module": (edited(method="antigravity:x"), "the method 'antigravity:x' is not part of Diptych"),
    "digest": (edited(sha256="../../x"), "sha256='../../x'"),
    "networks": (edited(networks=["G\x1b[31m" * 50]), "translates with G"),
    "many networks": (edited(networks=["G"] * 1000), "networks="),
    "width": (edited(config={"width": 10**9}), "ngf=1000000000: .*1024"),
    "product": (edited(config={"width": 1024, "in_channels": 1024}), r"would take .* GiB.*ngf=1024 \(default 64\)"),
    "missing": (edited(config={"generator": "unet_64"}), "do not fit the config: .* is missing; .*more"),
    "extra": (_one("G.\x1b[31mx", torch.zeros(1)), r"G.\\x1b\[31mx is unknown"),
    "shape": (_one(FIRST, torch.zeros(8, 3, 4, 5)), r"G.down.0.0.weight is \(8, 3, 4, 5\), not \(8, 3, 4, 4\)"),
    "kind": (_one(FIRST, torch.zeros(8, 3, 4, 4, dtype=torch.int64)), "torch.int64, not torch.float32"),
    "complex": (_one(FIRST, torch.zeros(8, 3, 4, 4, dtype=torch.complex64)), "torch.complex64, not torch.float32"),
    "long header": (_header(2**40, b"{"), "its header claims 1099511627776 bytes"),
    "wide header": (_header(2**24 + 1, b" " * (2**24 + 9)), "its header claims 16777217 bytes"),
    "deep header": (_header(10**5, b'{"a":' + b"[" * 10**5), "not a whole model folder"),
    "no header": (_header(0, b""), "not a whole model folder"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_m3_a_hostile_model_folder_is_one_error(name, tmp_path):
    change, message = FOLDERS[name]
    folder = broken(tmp_path / "model", change)
    with little_memory(), pytest.raises((CheckpointError, ConfigError), match=f"(?s){message}") as error:
        diptych.load(folder, device="cpu")
    assert str(folder) in str(error.value)
    assert len(str(error.value)) < 2000
    assert str(error.value).isprintable()


def test_m3_a_run_folder_names_no_module(tmp_path, monkeypatch):
    """Not even beside a class that the caller gives: what the file says about it is not imported."""
    run = Run(tmp_path / "run")
    run.create()
    run.save_settings({"method": "harmful:X", "data": {"root": "glyphs"}})
    (tmp_path / "harmful.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    for method in (None, find("pix2pix")):
        with pytest.raises(DiptychError):
            diptych.load(run.folder, method=method)
    assert not (tmp_path / "canary").exists()
    with pytest.raises(ConfigError):
        load_recipe("harmful:X")
    assert (tmp_path / "canary").exists(), "a person who names it gets it"


@pytest.mark.parametrize("text", [LAUGHS, "a: [" * 5000, "!!python/name:os.system", "x" * (LARGEST_TEXT + 1)])
def test_m3_a_hostile_run_folder_is_one_error(text, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(DiptychError, match=re.escape(str(tmp_path / "config.yaml"))):
        diptych.load(tmp_path)


def test_m3_a_card_shows_texts_of_strangers_as_code():
    harm = "x` | <script>alert(1)</script> [a](javascript:b) \x1b[31m\n# title \ud800" + "y" * 999
    method = MethodUnderTest(find("pix2pix")).engine().method
    assert isinstance(method, Method)
    text = model_card.write(method, "evil\n---\n# name", {"imported from": harm, "a|`\n#": 1})
    lines = text.splitlines()
    row = next(line for line in lines if "imported from" in line)
    assert row.startswith(r"| `imported from` | `x' \| <script>")
    assert row.endswith("yyy` |")
    assert row.count("`") == 4
    assert len(row) < 300
    assert text.replace("\n", "").isprintable()
    assert r"| `a\|'\n#` | `1` |" in lines
    assert [line for line in lines if line.startswith("---")] == ["---", "---"]
    assert [line for line in lines if line.startswith("#")] == [r"# evil\n---\n# name"]


@settings(deadline=None)  # the machine may be busy
@given(st.text() | st.from_regex(r"[\[\]{}:,&*!|>'\"%@`\-? \n#0-9a-z]{0,60}", fullmatch=True))
def test_m3_any_text_is_plain_data_or_a_value_error(text):
    for read in (parse_yaml, parse_json):
        error = outcome(lambda read=read: read(text), ValueError)[1]
        assert error is None or len(error) < 500
