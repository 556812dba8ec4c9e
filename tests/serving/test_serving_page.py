"""The page about serving: its client works, and its table of routes is that of the server."""

import re
from pathlib import Path

import pytest
from model_server import picture, png

pytestmark = pytest.mark.slow
PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")


def test_the_client_of_the_page_translates(client, tmp_path):
    source = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    names = {}
    exec(compile(source, "serving.md", "exec"), names)
    used = names["Client"](str(client.base_url))
    assert [model["name"] for model in used.models()] == ["inverted", "cyclegan", "munit", "gan"]
    image, reference = tmp_path / "image.png", tmp_path / "reference.png"
    image.write_bytes(png())
    reference.write_bytes(png(seed=1))
    assert (picture(used.translate("inverted", image)) == 255 - picture(png())).all()
    assert used.translate("munit", image, seed=3) != used.translate("munit", image, reference=reference)
    with pytest.raises(ValueError, match="has no control 'sed'"):
        used.translate("munit", image, sed=3)


def test_every_route_is_in_the_table(client):
    for path in client.get("/openapi.json").json()["paths"]:
        assert path.replace("{name}", "NAME").partition("/examples")[0] in PAGE, path
