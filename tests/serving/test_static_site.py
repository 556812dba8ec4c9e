"""`diptych export --web`: the page of a model that computes in a real Chromium gives the images of Python."""

import base64
import functools
import http.server
import threading

import numpy as np
import pytest
from commands import diptych
from playground_page import changed, pick, result
from translators import made

import diptych as package
from diptych.data.images import image_io
from diptych.errors import ConfigError, DataError
from diptych.serving import web_runtime
from diptych.serving.static_site import write_site

TRANSLATE = """async ([image, values, reference]) => {
    const blobOf = async (data) => (await fetch(`data:image/png;base64,${data}`)).blob();
    const model = await import("./local_model.js");
    const facts = await (await fetch("model.json")).json();
    const images = reference ? { reference: await blobOf(reference) } : {};
    const answer = await model.translate(facts.description, { image: await blobOf(image), values, images }, "png");
    const bytes = new Uint8Array(await answer.arrayBuffer());
    return btoa(String.fromCharCode(...bytes));
}"""
READY = "#device:not(:empty), [role=alert]:not(:empty)"
MODELS = {
    "pix2pix": {"norm": "instance"},
    "cyclegan": {},
    "stargan": {},
    "starganv2": {},
    "munit": {},
    "srgan": {},
}


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module", params=MODELS)
def site(request, tmp_path_factory):
    """The name of a method, its translator, and the folder of its page."""
    folder = tmp_path_factory.mktemp("site")
    translator = made(request.param, **MODELS[request.param])
    controls = {"direction": "a2b"} if any(each.name == "direction" for each in translator.controls) else {}
    write_site(translator, folder / "page", name="<b>model", source="none", controls=controls)
    return request.param, translator, folder / "page"


@pytest.fixture(scope="module")
def address(site):
    """The address of a web server of the folder."""
    handler = functools.partial(Handler, directory=str(site[2]))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def page(address, browser):
    """A page in Chromium, with its model opened."""
    context = browser.new_context()
    tab = context.new_page()
    asked = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(address)
    tab.wait_for_selector(READY, timeout=60_000)
    tab.asked = asked
    yield tab
    context.close()


def encoded(pixels):
    return base64.b64encode(image_io.encoded("a.png", pixels)).decode()


def translated(page, pixels, values, reference=None):
    answer = page.evaluate(TRANSLATE, [encoded(pixels), values, None if reference is None else encoded(reference)])
    return image_io.read(image_io.StoredFile("answer", base64.b64decode(answer)))


def test_images_are_those_of_python(site, page):
    """Within 2 levels, for several sizes and all kinds of controls; nothing is asked of another host."""
    name, translator, folder = site
    assert page.inner_text("h1") == "<b>model"
    exported = package.load(folder / "model.onnx")
    noise = np.random.default_rng(0)
    names = {control.name for control in exported.controls}
    choices = [{}]
    if "domain" in names:
        choices = [{"domain": domain} for domain in exported.choices("domain")]
    if "mix" in names:
        choices.append({**choices[-1], "seed": 3, "toward": 7, "mix": 0.25})
    channels = translator.channels_in({})
    sizes = [(32, 32)] if translator.method.traits.fixed_size else [(32, 32), (37, 50)]
    for controls in choices:
        for height, width in sizes:
            pixels = noise.integers(0, 256, (height, width, channels)).astype(np.uint8)
            expected = translator.array(pixels, **controls).astype(int)
            values = {key: str(value) for key, value in controls.items()}
            got = image_io.with_channels(translated(page, pixels, values), expected.shape[2], "answer")
            assert got.shape == expected.shape
            assert np.abs(got - expected).max() <= 2, (name, controls)
    if "reference" in names:  # of the training size, as a browser resizes with another filter
        side = exported.model.image_size()
        pixels, reference = noise.integers(0, 256, (2, side, side, channels)).astype(np.uint8)
        expected = translator(pixels, reference=reference, **choices[0]).astype(int)
        values = {key: str(value) for key, value in choices[0].items()}
        got = image_io.with_channels(translated(page, pixels, values, reference), expected.shape[2], "answer")
        assert np.abs(got - expected).max() <= 2
    hosts = {url.split("/")[2] for url in page.asked if url.startswith("http")}
    assert hosts == {page.url.split("/")[2]}


def test_a_device_that_computes_wrong_is_refused(site, page):
    pixels = image_io.read(site[2] / "check-output.png")
    image_io.write(site[2] / "check-output.png", pixels ^ 128)
    page.reload()
    message = page.wait_for_selector("[role=alert]:not(:empty)", timeout=60_000).inner_text()
    assert "This browser cannot run the model: WebAssembly, 1 thread is off by" in message
    image_io.write(site[2] / "check-output.png", pixels)


@pytest.mark.parametrize("site", ["starganv2"], indirect=True)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_is_accessible_and_its_domain_buttons_work(site, address, browser, width, scheme):
    """The policy of the page forbids foreign scripts; this test bypasses it to run axe-core in the page."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    context = browser.new_context(bypass_csp=True, viewport={"width": width, "height": 800}, color_scheme=scheme)
    tab = context.new_page()
    tab.set_default_timeout(60_000)
    tab.goto(address)
    tab.wait_for_selector(READY)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    file = {"name": "image.png", "mimeType": "image/png", "buffer": image_io.encoded("a.png", pixels)}
    tab.set_input_files(".input input[type=file]", file)
    shown = {"sans": result(tab)}
    shown["sans-bold"] = changed(tab, lambda: pick(tab, "sans-bold"))
    for domain, picture in shown.items():
        assert np.abs(picture - site[1].array(pixels, domain=domain).astype(int)).max() <= 2, domain
    assert not np.array_equal(*shown.values())
    found = axe.Axe().run(tab).response["violations"]
    grave = [f"{each['id']}: {each['nodes'][0]['html']}" for each in found if each["impact"] in ("serious", "critical")]
    assert not grave
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()


def test_what_no_page_can_show_is_refused(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    made().save(tmp_path / "model")
    package_file = tmp_path / "runtime.tgz"
    package_file.write_bytes(b"something else")
    for words, problem in (
        (("-o", tmp_path / "full"), "already there and not empty"),
        (("-o", tmp_path / "new", "--runtime", package_file), "its hash is not that of onnxruntime-web"),
        (("-o", tmp_path / "new", "--runtime", tmp_path / "none.tgz"), "expected the file onnxruntime-web"),
        (("-o", tmp_path / "new", "--fp16"), "full precision"),
    ):
        with pytest.raises(ConfigError, match=problem):
            diptych("export", tmp_path / "model", "--web", *words)
    made("gan").save(tmp_path / "generator")
    with pytest.raises(ConfigError, match=r"generates images from noise, .*: use `diptych serve`"):
        diptych("export", tmp_path / "generator", "--web", "-o", tmp_path / "new")
    with pytest.raises(ConfigError, match="are for --web"):
        diptych("export", tmp_path / "model", "-o", tmp_path / "a.onnx", "--examples", tmp_path)
    assert not (tmp_path / "new").exists()


def test_without_a_network_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"cannot be downloaded.*npm pack onnxruntime-web@.*--runtime"):
        web_runtime.runtime_files()
