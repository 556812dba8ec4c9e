"""`diptych export --web`: the page of a model that computes in a real Chromium gives the images of Python."""

import base64
import functools
import http.server
import os
import shutil
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
SOFTWARE_GPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]  # of Chromium
SETTINGS = {"pix2pix": {"norm": "instance"}}
TRANSLATING = ("pix2pix", "cyclegan", "stargan", "starganv2", "munit", "srgan")


class Handler(http.server.SimpleHTTPRequestHandler):
    def end_headers(self):
        self.send_header("Cache-Control", "no-store")  # a browser keeps files for a tenth of their age else
        super().end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """The folder that a web server serves, and a function that makes the page of a method there, once."""
    folder = tmp_path_factory.mktemp("sites")

    @functools.cache
    def page_of(name):
        translator = made(name, **SETTINGS.get(name, {}))
        controls = {"direction": "a2b"} if any(each.name == "direction" for each in translator.controls) else {}
        write_site(translator, folder / name, name="<b>model", source="none", controls=controls)
        return name, translator, folder / name

    return folder, page_of


@pytest.fixture
def site(request, sites):
    """The name of a method, its translator, and the folder of its page."""
    return sites[1](request.param)


@pytest.fixture(scope="module")
def server(sites):
    """The address of a web server of the pages."""
    handler = functools.partial(Handler, directory=str(sites[0]))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def address(server, site):
    return f"{server}/{site[0]}/"


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


@pytest.mark.parametrize("site", TRANSLATING, indirect=True)
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


@pytest.mark.parametrize("site", ["gan"], indirect=True)
def test_generated_images_are_those_of_python(site, page):
    """The controls of a model that only generates are seed and number."""
    fields = {name: page.get_by_label(name, exact=True) for name in ("seed", "number")}
    shown = [((0, 0), result(page))]
    shown.append(((0, 63), changed(page, lambda: fields["number"].fill("63"))))
    shown.append(((15, 63), changed(page, lambda: fields["seed"].fill("15"))))
    for (seed, number), picture in shown:
        expected = np.atleast_3d(site[1].sample(1, seed, number)[0]).astype(int)
        assert np.abs(picture - expected).max() <= 2, (seed, number)
    assert not np.array_equal(shown[0][1], shown[1][1])
    fields["number"].fill("64")
    page.get_by_text("This page has the numbers 0 to 63.").wait_for()


@pytest.fixture(scope="module")
def browser_with_gpu(browser):
    """A Chromium whose WebGPU adapter computes on the CPU."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with browser.browser_type.launch(executable_path=chromium, args=["--no-sandbox", *SOFTWARE_GPU]) as opened:
        yield opened


@pytest.mark.parametrize("site", ["pix2pix"], indirect=True)
def test_webgpu_gives_the_images_of_python(site, address, browser_with_gpu):
    page = browser_with_gpu.new_page()
    page.set_default_timeout(900_000)  # compiling the kernels for the CPU takes half a minute of CPU time
    page.goto(address)
    page.wait_for_selector(READY)
    if not os.environ.get("CI") and not page.evaluate("navigator.gpu?.requestAdapter()?.then(Boolean) ?? false"):
        pytest.skip("this Chromium has no software adapter for WebGPU (SwiftShader)")
    assert "Computed in this browser by WebGPU" in page.inner_text("#device")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)  # as the check: no new kernels
    difference = translated(page, pixels, {}).astype(int) - site[1].array(pixels)
    assert np.abs(difference).max() <= 2


@pytest.mark.parametrize("site", ["pix2pix", "gan"], indirect=True)
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
    for channels, problem in ((4, "a browser shows 8-bit images"), (3, "takes no image; leave it out")):
        made("gan", channels=channels).save(tmp_path / f"gan{channels}")
        with pytest.raises(ConfigError, match=problem):
            diptych("export", tmp_path / f"gan{channels}", "--web", "-o", tmp_path / "new", "--examples", tmp_path)
    with pytest.raises(ConfigError, match="are for --web"):
        diptych("export", tmp_path / "model", "-o", tmp_path / "a.onnx", "--examples", tmp_path)
    assert not (tmp_path / "new").exists()


def test_without_a_network_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"cannot be downloaded.*npm pack onnxruntime-web@.*--runtime"):
        web_runtime.runtime_files()
