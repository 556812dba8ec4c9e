"""Comparison of an ONNX file with PyTorch, its conversion to half precision, and the PSNR of converted files."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from diptych.errors import ConfigError
from diptych.inference.exported_graph import IMAGE, Graph
from diptych.inference.input_files import find_sources
from diptych.inference.translator import resize_unit
from diptych.networks.layers import pad_to_multiple, remove_padding

if TYPE_CHECKING:
    from diptych.inference.translator import Translator

Inputs = Mapping[str, np.ndarray]  # of a file, by name
Precision = Literal["fp32", "fp16", "int8"]
TOLERANCE = 1e-4  # largest difference of images in [-1, 1], or of styles relative to the largest value
BATCH_SIZES = (1, 2)
MAX_CALIBRATION = 64  # images
MAX_CALIBRATION_SIDE = 512  # pixels; the centre of larger images is used
PEAK = 2.0  # of values in [-1, 1]
MAX_PSNR = 100.0


def session(source: Path | bytes) -> Callable[[Inputs], list[np.ndarray]]:
    """Return the function that a file computes on the CPU with onnxruntime: from its inputs to its outputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of each initialiser that it removes
    found = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return lambda inputs: list(found.run(None, dict(inputs)))


def as_arrays(tensors: Mapping[str, Tensor]) -> Inputs:
    """Return the inputs of a file that are these tensors."""
    return {name: tensor.numpy() for name, tensor in tensors.items()}


@torch.no_grad()
def eager(graph: Graph, inputs: Mapping[str, Tensor]) -> Tensor:
    """Return what PyTorch computes, with padding and cropping of images as in a translation."""
    if IMAGE not in inputs:
        return graph(inputs)
    x, traits = inputs[IMAGE], graph.method.traits
    padded = x if traits.fixed_size else pad_to_multiple(x, traits.size_multiple)
    return remove_padding(graph({**inputs, IMAGE: padded}), x.shape[2], x.shape[3], traits.upscale_factor)


def check_parity(graph: Graph, path: Path) -> float:
    """Return the largest difference between a file and PyTorch, over five sizes and two batch sizes. ConfigError."""
    run, largest = session(path), 0.0
    for number, inputs in enumerate(examples(graph)):
        expected = eager(graph, inputs).numpy()
        (found,) = run(as_arrays(inputs))
        scale = 1.0 if graph.is_image else max(1.0, float(np.abs(expected).max()))
        same = found.shape == expected.shape
        difference = float(np.abs(found - expected).max()) / scale if same else math.inf
        if not difference <= TOLERANCE:  # NaN fails this too
            shape = tuple(next(iter(inputs.values())).shape)
            raise ConfigError(
                f"{graph.name}: onnxruntime differs from PyTorch by {difference:.1e} on inputs of shape {shape} "
                f"(example {number}), more than {TOLERANCE:g}: nothing is written; please report it with the method "
                f"and its settings"
            )
        largest = max(largest, difference)
    return largest


def examples(graph: Graph) -> Iterator[dict[str, Tensor]]:
    """Yield inputs of all sizes and batch sizes to compare: random images, other controls for each."""
    random = torch.Generator().manual_seed(0)
    for size in _sizes(graph):
        for count in BATCH_SIZES:
            x = torch.rand(count, graph.inputs[IMAGE].shape[1], *size, generator=random) * 2 - 1 if size else None
            yield example(graph, x, count, count)


def example(graph: Graph, x: Tensor | None, number: int, count: int = 1) -> dict[str, Tensor]:
    """Return the inputs of a graph for images (N, C, H, W), with the controls of example `number`."""
    method, random = graph.method, torch.Generator().manual_seed(number)
    if x is not None:
        routes = graph.routes()
        controls: dict[str, Any] = {**graph.fixed, **routes[number % len(routes)].controls}
        if any(control.name == "seed" for control in method.controls):
            controls.setdefault("seed", number)
        with torch.no_grad():
            encoded = method.encode_controls(x, **controls)
        return {IMAGE: x} | {name: encoded[name].contiguous() for name in graph.inputs if name != IMAGE}
    shapes = {name: (count, *tensor.shape[1:]) for name, tensor in graph.inputs.items()}
    return {
        name: torch.rand(shapes[name], generator=random) * 2 - 1
        if tensor.is_floating_point()
        else torch.arange(number, number + count) % 2
        for name, tensor in graph.inputs.items()
    }


def _sizes(graph: Graph) -> list[tuple[int, ...]]:
    """Return five heights and widths to compare, most of which the graph must pad."""
    traits = graph.method.traits
    if IMAGE not in graph.inputs:
        return [()]
    if traits.fixed_size:
        return [tuple(graph.inputs[IMAGE].shape[2:])]
    # Statistics over few pixels amplify rounding: a quarter of the training size leaves some in the innermost layers.
    side = max(traits.size_multiple, 32, (graph.method.image_size() or 0) // 4)
    half = side // 2
    return [(side, side), (side - 1, side + 1), (half + 1, side), (half + 3, half + 1), (side + 3, half - 1)]


def calibration_images(translator: "Translator", folder: Path, controls: Mapping[str, Any]) -> list[Tensor]:
    """Return images (1, C, H, W) of a folder as network inputs: at most 64, of each at most 512 pixels in the centre.

    Raises DataError or ImageError.
    """
    paths, traits = list(find_sources([str(folder)], Path()).images), translator.method.traits
    adapter = translator.adapter(controls)
    images = []
    for path in paths[:: -(-len(paths) // MAX_CALIBRATION)]:
        pixels = adapter.source_encoding.decode(adapter.cut(translator.read(path, **controls)), str(path))
        x = translator.to_unit_tensor(adapter.source_of(pixels), str(path), controls)
        if traits.fixed_size:
            side = translator.method.image_size() or 0
            x = resize_unit(x, side, side)
        else:
            x = remove_padding(x, *(min(side, MAX_CALIBRATION_SIDE) for side in x.shape[1:]))
        images.append(x[None].contiguous())
    return images


def convert_to_half(source: Path, target: Path) -> None:
    """Write a file of fp32 as fp16; inputs and outputs stay float32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save_model(convert_float_to_float16(onnx.load_model(source), keep_io_types=True), target)


def measure_psnr(full: Path, converted: Path, inputs: Sequence[Inputs]) -> float:
    """Return the PSNR in decibels of a converted file to that of fp32, over all of the inputs."""
    before, after = session(full), session(converted)
    errors = [float(np.square(after(each)[0] - before(each)[0]).mean()) for each in inputs]
    return decibels(sum(errors) / len(errors))


def decibels(error: float) -> float:
    """Return the PSNR of a mean squared error of values in [-1, 1], at most `MAX_PSNR`."""
    return MAX_PSNR if error == 0 else min(10 * math.log10(PEAK**2 / error), MAX_PSNR)  # NaN stays NaN
