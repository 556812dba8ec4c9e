"""Export methods at their paper's sizes and write docs/results/export.md: parity, int8 loss, time and file size.

python benchmarks/onnx_export.py --images FOLDER                             # all methods, 256-pixel images
python benchmarks/onnx_export.py pix2pix --images FOLDER --threads 2         # some; the other rows are kept
python benchmarks/onnx_export.py --images FOLDER --model RUN --label "NAME"  # a trained model, in a row of its own

Without --model, weights are untrained. PyTorch and onnxruntime take turns on one image, on as many threads each; times
are medians, and the ratios are medians over the rounds.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import diptych
from diptych.inference.exported_graph import IMAGE, Graph, generation_graph, translation_graph
from diptych.inference.load import build_translator
from diptych.inference.onnx_export import export_onnx
from diptych.inference.onnx_precision import eager, example
from diptych.inference.translator import Translator
from diptych.methods import METHODS, find
from diptych.system.atomic_files import write_text

SIDE = 256  # pixels
PAGE = Path(__file__).parents[1] / "docs" / "results" / "export.md"
ROWS = PAGE.with_suffix(".json")
LEAD = """# Export to ONNX: parity, speed and size

Methods with the sizes of their papers, for images of 256 pixels (the two-step method, DTN and the GAN at the sizes of
their papers), exported by `diptych export`. **Weights are untrained** unless a row says otherwise: Kaiming
initialisation where the method has the setting `init`, else the method's own. So differences and PSNR say how exact the
arithmetic is, not how good images are. Untrained networks amplify the rounding of their first layers; see
[0041](../decisions/0041-eight-bits.md).

- difference: the largest between onnxruntime and PyTorch, of values in [-1, 1], over five sizes and two batch sizes
- int8 PSNR: of the 8-bit model to full precision, on the calibration images
- ms: median time of one image on one thread of a CPU with AVX-512 and VNNI, or on as many as the row says; ratios are
  medians over rounds in which the three take turns. Other programs used the second core, and for CUT, DRIT and MUNIT
  both, so ms of two rows are not comparable
- MB: of the model without the files beside it
- in float32: layers of the 8-bit model that stay so

Start of Python, loading and one image together take 0.29 (pix2pix) and 0.27 (CycleGAN) of the time with the ONNX file
that they take with a model folder ([benchmarks/onnx_start.md](../../benchmarks/onnx_start.md)).

| method | difference | int8 PSNR | PyTorch ms | onnxruntime ms | ratio | int8 ms | ratio | MB | int8 MB | in float32 |
|---|---|---|---|---|---|---|---|---|---|---|
"""


def translator_of(name: str) -> Translator:
    """Return a translator with untrained networks of the paper's sizes."""
    cls = find(name)
    fields = cls.Config.model_fields
    settings: dict[str, Any] = {"init": "kaiming"} if "init" in fields else {}
    if cls.image_size_field() and name not in ("gan", "twostep", "dtn", "srgan"):
        settings[cls.image_size_field()] = SIDE
    torch.manual_seed(0)
    config = cls.Config(**settings)
    networks = cls(config).inference_networks
    torch.manual_seed(0)
    state = {key: value for key, value in cls(config).state_dict().items() if key.partition(".")[0] in networks}
    return build_translator(cls, name, config.model_dump(), state, networks, {}, "benchmark")


def graph_of(translator: Translator) -> Graph:
    """Return the graph that is timed: the first route."""
    method = translator.method
    return translation_graph(method, method.routes[0], {}) if method.routes else generation_graph(method)


def timed(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of each round, by name; each takes its turn in a round."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if number:  # the first warms up
                times[name].append(1000 * (time.perf_counter() - began))
    return times


def row(translator: Translator, images: Path, rounds: int, threads: int) -> dict[str, Any]:
    """Return the measured values of a translator."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        full = export_onnx(translator, Path(folder) / "full.onnx")
        small = export_onnx(translator, Path(folder) / "small.onnx", precision="int8", calibrate=images)
        graph = graph_of(translator)
        side = graph.method.image_size() if graph.method.traits.fixed_size else SIDE
        x = torch.rand(1, graph.inputs[IMAGE].shape[1], side, side) * 2 - 1 if IMAGE in graph.inputs else None
        inputs = example(graph, x, 0)
        arrays = {key: tensor.numpy() for key, tensor in inputs.items()}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        runs: dict[str, Callable[[], Any]] = {"PyTorch": lambda: eager(graph, inputs)}
        for kind, exported in (("fp32", full), ("int8", small)):
            session = onnxruntime.InferenceSession(exported.files[0], options, providers=["CPUExecutionProvider"])
            runs[kind] = lambda session=session: session.run(None, arrays)
        times = timed(runs, rounds)
        return {
            "difference": full.max_difference,
            "psnr": small.psnr,
            "ms": {kind: statistics.median(values) for kind, values in times.items()},
            "ratio": {
                kind: statistics.median(a / b for a, b in zip(times[kind], times["PyTorch"], strict=True))
                for kind in ("fp32", "int8")
            },
            "in_float32": f"{len(small.quantised.kept)} of {small.quantised.layers}",
            "megabytes": {"fp32": full.files[0].stat().st_size / 1e6, "int8": small.files[0].stat().st_size / 1e6},
        }


def page(rows: dict[str, Any]) -> str:
    """Return the page of the rows that were measured."""
    lines = [LEAD]
    for name, values in rows.items():
        ms, ratio, size = values["ms"], values["ratio"], values["megabytes"]
        cells = [name, f"{values['difference']:.1e}", f"{values['psnr']:.1f} dB", f"{ms['PyTorch']:.0f}"]
        cells += [text for kind in ("fp32", "int8") for text in (f"{ms[kind]:.0f}", f"{ratio[kind]:.2f}")]
        cells += [f"{size[kind]:.1f}" for kind in ("fp32", "int8")]
        cells += [values["in_float32"]]
        lines.append(f"| {' | '.join(cells)} |\n")
    lines.append("\nCommand: `python benchmarks/onnx_export.py --images FOLDER`, with photographs in the folder.\n")
    return "".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", help="methods to measure; default: all")
    parser.add_argument("--images", type=Path, required=True, help="folder of images for the calibration of int8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", help="a run or model folder to measure instead of methods")
    parser.add_argument("--label", help="the name of its row, which starts with the method")
    arguments = parser.parse_args()
    if arguments.model and (arguments.label or "").partition(",")[0] not in METHODS:
        parser.error("--model needs a --label that starts with the method, such as 'cyclegan, 700 steps'")
    torch.set_num_threads(arguments.threads)
    suffix = f", {arguments.threads} threads" if arguments.threads > 1 else ""
    for name in [arguments.label] if arguments.model else arguments.methods or METHODS:
        translator = diptych.load(arguments.model, device="cpu") if arguments.model else translator_of(name)
        values = row(translator, arguments.images, arguments.rounds, arguments.threads)
        print(name, values, flush=True)
        rows = json.loads(ROWS.read_text(encoding="utf-8")) if ROWS.exists() else {}
        rows[name + suffix] = values
        write_text(ROWS, json.dumps(rows, indent=1) + "\n")
        order = list(METHODS)
        write_text(
            PAGE, page(dict(sorted(rows.items(), key=lambda row: (order.index(row[0].partition(",")[0]), row[0]))))
        )


if __name__ == "__main__":
    main()
