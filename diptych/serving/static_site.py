"""A static folder with the page of a model, which computes in the browser: for any web server, without Python.

It holds the page of `diptych serve`, the exported model, onnxruntime-web, and `model.json`: what the page must know to
make network inputs of images and controls. Nothing that a visitor draws or drops leaves the visitor's machine.
"""

import json
import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from diptych.contract import Control
from diptych.data.images import image_io
from diptych.errors import ConfigError
from diptych.inference.onnx_export import Exported
from diptych.inference.onnx_translator import OnnxTranslator, load_onnx
from diptych.inference.translator import Translator
from diptych.serving.descriptions import ControlDescription, ModelDescription, describe_control, describe_model
from diptych.serving.examples import example_files, with_examples
from diptych.serving.web_runtime import runtime_files

SEEDS = 256  # whose latent codes are part of the page of a model that translates
SAMPLE_SEEDS, SAMPLE_NUMBERS = 16, 64  # of one that only generates: the codes of these numbers of each seed
MAX_MEGAPIXELS = 1.0  # of an image; the memory of WebAssembly is bounded
CHECK_SIDE = 64  # pixels of the image that the page translates first, to check the visitor's device
FORMATS = ("png", "jpeg", "webp")
KEPT = {"inputs", "companions", "latent", "channels", "image_size", "fixed_size", "upscale_factor"}  # of the metadata
NUMBERS = ("seed", "toward", "mix")  # other number and text controls are left out


def write_site(
    translator: Translator,
    out: Path,
    *,
    name: str,
    source: str,
    controls: Mapping[str, Any],
    examples: str | None = None,
    runtime: Path | None = None,
) -> Exported:
    """Write the folder `out` and return what was exported.

    `source` is the run: the palette of drawings is that of its data set. The page gets example images only from the
    folder `examples`, as it may become public. `controls` are those that select a network. Raises ConfigError for a
    model whose images a browser does not show, or if `out` exists; errors of the export; DataError if onnxruntime-web
    cannot be downloaded.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"-o {out}: already there and not empty; remove it, or choose another folder")
    _check_images(translator, controls)
    if examples and not translator.method.routes:
        raise ConfigError(f"--examples {examples}: {translator.name} takes no image; leave it out")
    files = example_files(examples)
    runtime_by_name = runtime_files(runtime)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as place:
        site = Path(place) / "site"
        site.mkdir()
        exported = translator.export_onnx(site / "model.onnx", name=name, **controls)
        model = load_onnx(site / "model.onnx", "cpu").with_options(already_source=True)  # JavaScript computes no task
        description, data = with_examples(describe_model(name, model, MAX_MEGAPIXELS), model, files or source)
        _write_model(site, model, description, data if files else [])
        _write_page(site, runtime_by_name)
        if out.exists():
            out.rmdir()
        site.replace(out)
    return exported


def _check_images(translator: Translator, controls: Mapping[str, Any]) -> None:
    """Raise ConfigError for a model whose images do not have 8 bits and 1 or 3 channels."""
    if translator.method.routes:
        adapter = translator.adapter(controls)
        if adapter.task and adapter.task.finishes:
            raise ConfigError(f"--web: the page cannot finish images of task={adapter.task.name}: use `diptych serve`")
        channels = {translator.channels_in(controls), translator.channels_out(controls)}
        encodings = [adapter.source_encoding, adapter.target_encoding]
    else:
        channels, encodings = {*translator.model.channels().values()}, [translator.encoding_of_samples]
    if any(map(str, encodings)) or not channels <= {1, 3}:
        raise ConfigError(
            "--web: a browser shows 8-bit images of 1 or 3 channels, and this model has other ones: use `diptych serve`"
        )


def _write_model(site: Path, model: OnnxTranslator, description: ModelDescription, examples: list[bytes]) -> None:
    """Write `model.json` and what it names: example images, latent codes, and the images of the check."""
    addresses: list[str] = []
    for number, data in enumerate(examples):
        addresses.append(f"examples/{number}.png")
        image_io.write(site / addresses[-1], image_io.read(image_io.StoredFile("example", data)))
    kept = tuple(control for control in map(_kept, model.controls) if control)
    largest = {"seed": SAMPLE_SEEDS - 1.0, "number": SAMPLE_NUMBERS - 1.0}
    of_samples = tuple(each.model_copy(update={"maximum": largest[each.name]}) for each in description.sample_controls)
    changes = {"controls": kept, "sample_controls": of_samples, "examples": tuple(addresses), "formats": FORMATS}
    needs_reference = any(each.name == "reference" for each in model.metadata.inputs)
    if not needs_reference:
        _write_check(site, model)
    seeds, numbers = (SEEDS, 1) if description.translates else (SAMPLE_SEEDS, SAMPLE_NUMBERS)
    facts = {
        "has_check": not needs_reference,
        "description": description.model_copy(update=changes).model_dump(mode="json"),
        "metadata": model.metadata.model_dump(mode="json", include=KEPT),
        "domains": model.inputs.of_domains(model.choices("domain") if _has(model, "domain") else ()),
        "seeds": seeds,
        "numbers": numbers,
    }
    if model.metadata.latent:
        codes = model.inputs.codes_of_seeds(seeds) if description.translates else _codes_of_samples(model)
        (site / "codes.bin").write_bytes(codes.astype("<f4").tobytes())
    (site / "model.json").write_text(json.dumps(facts), encoding="utf-8")


def _codes_of_samples(model: OnnxTranslator) -> np.ndarray:
    """Return the latent codes (seeds x numbers, D) of generated images."""
    return np.concatenate([model.inputs.latents(range(SAMPLE_NUMBERS), seed) for seed in range(SAMPLE_SEEDS)])


def _has(model: OnnxTranslator, name: str) -> bool:
    return any(control.name == name for control in model.controls)


def _kept(control: Control) -> ControlDescription | None:
    """Return the description of a control that the page computes; None for another one."""
    described = describe_control(control)
    if described.kind == "image" or control.name == "domain" or control.name == "mix":
        return described
    if control.name in NUMBERS:
        return described.model_copy(update={"maximum": SEEDS - 1.0})
    return None


def _write_check(site: Path, model: OnnxTranslator) -> None:
    """Write an image and its translation, or a generated one, by which the page knows if a device computes right."""
    if not model.model.routes:
        image_io.write(site / "check-output.png", np.atleast_3d(model.sample(1)[0]))
        return
    side = model.metadata.image_size if model.metadata.fixed_size and model.metadata.image_size else CHECK_SIDE
    y, x = np.mgrid[:side, :side] / side
    waves = [np.sin(9 * x + 3 * channel) * np.cos(7 * y - channel) for channel in range(model.channels_in({}))]
    pixels = np.round(127.5 + 127.5 * np.stack(waves, axis=2)).astype(np.uint8)
    x = image_io.to_unit(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    y = model.translate_batch(x[None], "check")[0]
    image_io.write(site / "check-input.png", pixels)
    image_io.write(site / "check-output.png", image_io.from_unit(y.transpose(1, 2, 0), np.uint8))


def _write_page(site: Path, runtime: Mapping[str, bytes]) -> None:
    """Write the scripts of the page and of onnxruntime-web."""
    templates = resources.files("diptych") / "templates"
    for file in (templates / "serve").iterdir():
        if file.is_file() and file.name not in ("serve.js", "server.js"):
            (site / file.name).write_bytes(file.read_bytes())
    for file in (templates / "site").iterdir():
        if file.is_file():
            (site / file.name).write_bytes(file.read_bytes())
    (site / "ort").mkdir()
    for file_name, data in runtime.items():
        (site / "ort" / file_name).write_bytes(data)
