"""Routes of the server: descriptions, translations with the bytes of the commands, and problems that name the field."""

import base64
import io

import numpy as np
import pytest
from commands import diptych
from model_server import picture, png

pytestmark = pytest.mark.slow


def post(client, model, data=None, file=None, **fields):
    files = {"image": ("photo.png", png() if data is None else data), **({"reference": file} if file else {})}
    return client.post(f"/v1/models/{model}/translate", files=files, data=fields)


def translated(tmp_path, model, data, name="in.png", *words):
    (tmp_path / name).write_bytes(data)
    diptych("translate", model, tmp_path / name, "-o", tmp_path / "out", *words)
    return (tmp_path / "out" / name).read_bytes()


def test_models_are_described_by_their_controls(client):
    models = {model["name"]: model for model in client.get("/v1/models").json()["models"]}
    assert list(models) == ["inverted", "cyclegan", "munit", "gan"]
    munit = client.get("/v1/models/munit").json()
    assert munit == models["munit"]
    controls = {control["name"]: control for control in munit["controls"]}
    assert controls["seed"] == {
        "name": "seed", "kind": "number", "default": 0, "choices": [], "minimum": 0, "maximum": None, "step": 1,
        "help": "seed of the style code",
    }  # fmt: skip
    assert (controls["direction"]["kind"], controls["direction"]["choices"]) == ("choice", ["a2b", "b2a"])
    assert controls["reference"]["kind"] == "image"
    assert (controls["mix"]["maximum"], controls["mix"]["step"]) == (1, 0.01)
    assert (models["gan"]["translates"], models["gan"]["generates"], models["gan"]["source"]) == (False, True, None)
    assert [control["name"] for control in models["gan"]["sample_controls"]] == ["seed", "number"]
    assert munit["sample_controls"] == []
    assert (models["inverted"]["method"], models["inverted"]["source"]["channels"]) == ("pix2pix", 3)


@pytest.mark.parametrize("model", ["inverted", "cyclegan"])
@pytest.mark.parametrize("options", [{}, {"dpi": (300, 300)}, {"mode": "L"}, {"size": (37, 21)}])
def test_the_answer_has_the_bytes_of_the_command(client, models, tmp_path, model, options):
    data = png(seed=3, **options)
    assert post(client, model, data).content == translated(tmp_path, models[model], data)


def test_deep_files_stay_deep(client, models, tmp_path):
    values = io.BytesIO()
    np.save(values, np.random.default_rng(0).integers(0, 2**16, (9, 12, 3), np.uint16))
    wanted = np.load(io.BytesIO(translated(tmp_path, models["inverted"], values.getvalue(), "in.npy")))
    deep = post(client, "inverted", values.getvalue())
    assert np.array_equal(picture(deep.content), wanted // 256), "Pillow reads the high bytes of a 16-bit PNG"
    assert np.array_equal(
        np.load(io.BytesIO(post(client, "inverted", values.getvalue(), format="npy").content)), wanted
    )
    refused = post(client, "inverted", values.getvalue(), format="jpeg")
    assert (refused.status_code, refused.json()["field"]) == (422, "format")


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_json_gives_the_same_as_a_form(client, format):
    data = png()
    body = {"image": base64.b64encode(data).decode(), "format": format}
    answer = client.post("/v1/models/inverted/translate", json=body)
    assert answer.headers["content-type"] == f"image/{format}"
    assert answer.content == post(client, "inverted", data, format=format).content
    assert format == "jpeg" or np.array_equal(picture(answer.content), 255 - picture(data))


def test_controls_change_the_translation(client, models, tmp_path):
    data, other = png(), png((40, 30), seed=9)
    (tmp_path / "other.png").write_bytes(other)
    plain = post(client, "munit", data).content
    seed = post(client, "munit", data, seed=3).content
    assert plain == post(client, "munit", data, seed="", direction="a2b").content
    assert seed == translated(tmp_path, models["munit"], data, "seed.png", "--seed", 3)
    assert seed != plain
    shown = post(client, "munit", data, file=("r.png", other)).content
    words = ("--reference", tmp_path / "other.png")
    assert shown == translated(tmp_path, models["munit"], data, "shown.png", *words)
    controls = {"reference": base64.b64encode(other).decode(), "mix": 0.0}
    body = {"image": base64.b64encode(data).decode(), "controls": controls}
    assert client.post("/v1/models/munit/translate", json=body).content == shown


def test_a_generated_image_is_that_of_the_command(client, models, tmp_path):
    diptych("generate", models["gan"], "-o", tmp_path / "out", "-n", 1, "--seed", 5)
    answer = client.post("/v1/models/gan/sample", json={"seed": 5})
    assert answer.content == (tmp_path / "out" / "000000.png").read_bytes()
    assert client.post("/v1/models/gan/sample", json={"seed": 5, "number": 1}).content != answer.content
    assert client.post("/v1/models/munit/sample", json={}).json()["detail"].startswith("this model translates images")
    assert post(client, "gan").json()["detail"].startswith("this model translates no images")


@pytest.mark.parametrize(
    ("model", "fields", "status", "field"),
    [
        ("missing", {}, 404, "name"),
        ("munit", {"sed": "3"}, 422, "sed"),
        ("munit", {"seed": "three"}, 422, "seed"),
        ("munit", {"seed": "-1"}, 422, "seed"),
        ("munit", {"seed": "9" * 30}, 422, "seed"),
        ("munit", {"mix": "nan"}, 422, "mix"),
        ("munit", {"mix": "2"}, 422, "mix"),
        ("munit", {"direction": "c2d"}, 422, "direction"),
        ("munit", {"reference": "text"}, 422, "reference"),
        ("munit", {"format": "gif"}, 422, "format"),
        ("inverted", {"data": b""}, 415, "image"),
        ("inverted", {"data": b"GIF89a" + bytes(50)}, 415, "image"),
        ("inverted", {"data": png()[:40]}, 422, "image"),
        ("inverted", {"data": png((300, 200), mode="L")}, 413, "image"),
        ("munit", {"file": ("r.png", b"text")}, 415, "reference"),
        ("munit", {"file": ("r.png", png((300, 200), mode="L"))}, 413, "reference"),
    ],
)
def test_a_problem_names_the_field(client, model, fields, status, field):
    answer = post(client, model, **fields)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert (problem["status"], problem["field"]) == (status, field)
    assert len(problem["detail"]) > 10


@pytest.mark.parametrize(
    ("path", "content", "kind", "status"),
    [
        ("translate", b"{}", "application/json", 422),
        ("translate", b"{", "application/json", 422),
        ("translate", b'{"image": "%%%"}', "application/json", 422),
        ("translate", b'{"image": "aaaa", "more": 1}', "application/json", 422),
        ("translate", b'{"image": "aaaa", "controls": {"mix": [1]}}', "application/json", 422),
        ("translate", b"a=b", "application/x-www-form-urlencoded", 415),
        ("translate", b"abc", "multipart/form-data", 400),
        ("translate", b"abc", "multipart/form-data; boundary=x", 400),
        ("translate", b"", "", 415),
        ("sample", b'{"number": -1}', "application/json", 422),
        ("sample", b'{"seed": 1.5}', "application/json", 422),
    ],
)
def test_a_body_that_is_no_request_is_refused(client, path, content, kind, status):
    answer = client.post(f"/v1/models/munit/{path}", content=content, headers={"content-type": kind})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_state_and_metrics(client):
    assert client.get("/healthz").json() == client.get("/readyz").json() == {"status": "ok"}
    before = count(client)
    post(client, "inverted")
    assert count(client) == before + 1
    assert 'diptych_seconds_count{model="inverted"}' in client.get("/metrics").text


def count(client):
    lines = client.get("/metrics").text.splitlines()
    value = 'diptych_answers_total{model="inverted",status="200"} '
    return next((float(line.removeprefix(value)) for line in lines if line.startswith(value)), 0.0)


def test_the_openapi_document_has_every_route(client):
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/v1/models", "/v1/models/{name}", "/v1/models/{name}/examples/{number}", "/v1/models/{name}/translate",
        "/v1/models/{name}/sample", "/healthz", "/readyz", "/metrics",
    }  # fmt: skip
    translate = document["paths"]["/v1/models/{name}/translate"]["post"]
    assert set(translate["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
    assert "application/problem+json" in translate["responses"]["429"]["content"]
    page = client.get("/docs").text
    assert "POST /v1/models/{name}/translate" in page
    assert "<script" not in page
