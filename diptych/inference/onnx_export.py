"""Export of a model as `model.onnx`: its translation, and beside it a style encoder or mapping network if it has one.

Nothing is written unless onnxruntime and PyTorch agree on images of several sizes.
"""

import copy
import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from torch import Tensor

from diptych.contract import Control, Method, Route
from diptych.errors import ConfigError
from diptych.inference import onnx_metadata as description
from diptych.inference.controls import check_controls, select_route
from diptych.inference.exported_graph import IMAGE, Graph, companion_graph, generation_graph, translation_graph
from diptych.inference.onnx_int8 import Quantised, quantise
from diptych.inference.onnx_padding import with_padding
from diptych.inference.onnx_precision import (
    Precision,
    as_arrays,
    calibration_images,
    check_parity,
    convert_to_half,
    example,
    measure_psnr,
)
from diptych.runs.checkpoint import without_shared_memory
from diptych.system.hashes import sha256_of

if TYPE_CHECKING:
    import onnx

    from diptych.inference.translator import Translator

MISSING_EXTRA = "exporting needs onnx, onnxscript and onnxruntime: pip install 'diptych[onnx]'"
LARGEST_FILE = 2**31 - 2**20  # bytes: the most that one file of the format holds
OPSET = 18


@dataclass(frozen=True)
class Exported:
    """The files of an exported model, and how far it is from PyTorch's."""

    files: tuple[Path, ...]  # the model first
    max_difference: float  # largest difference of a value in [-1, 1], in fp32
    psnr: float | None  # of fp16 or int8 to fp32, in decibels
    quantised: Quantised | None  # which layers of int8 stay in float32
    fixed: dict[str, Any]  # controls with the value that was exported


def export_onnx(
    translator: "Translator",
    path: Path,
    *,
    name: str = "",
    precision: Precision = "fp32",
    calibrate: Path | None = None,
    controls: Mapping[str, Any] | None = None,
) -> Exported:
    """Write the translator's networks as `path`, with companions beside it, and return what was written.

    `calibrate` is the folder of images that int8 needs. `controls` are those that select a network. Raises ConfigError
    if the model cannot be exported, or if onnxruntime differs from PyTorch; then no file is left.
    """
    _check_extra()
    if path.suffix != ".onnx":
        raise ConfigError(f"{path}: expected a file name that ends in .onnx")
    controls = dict(controls or {})
    method = translator.method if translator.device.type == "cpu" else copy.deepcopy(translator.method).cpu()
    check_controls(method.controls, translator.name, controls)
    if (precision == "int8") != (calibrate is not None):
        raise ConfigError("int8 needs calibrate=FOLDER, images that are typical of the sources; fp32 and fp16 do not")
    graphs, route = _graphs(method, translator.name, controls)
    if unfixed := [key for key in controls if key not in graphs["forward"].fixed]:
        raise ConfigError(f"{unfixed[0]} stays a control of the exported model: give it when you translate")
    images = _images(translator, graphs["forward"], calibrate, controls) if precision != "fp32" else []
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as folder:
        files = {role: Path(folder) / _file_name(path, role) for role in graphs}
        difference = 0.0
        for role, graph in graphs.items():
            _write(_converted(graph), files[role])
            difference = max(difference, check_parity(graph, files[role]))
        main = files["forward"]
        psnr = quantised = None
        if precision != "fp32":
            full = main.rename(main.with_suffix(".fp32"))
            inputs = [as_arrays(example(graphs["forward"], x, number)) for number, x in enumerate(images)]
            if precision == "int8":
                quantised = quantise(full, main, inputs)
            else:
                convert_to_half(full, main)
            psnr = measure_psnr(full, main, inputs)
        _describe(main, _metadata(translator, method, name, precision, graphs, files, route))
        written = tuple(path.parent / file.name for file in reversed(files.values()))
        for target in written:  # the model last, so that it never lacks a companion
            (Path(folder) / target.name).replace(target)
    return Exported(written[::-1], difference, psnr, quantised, dict(graphs["forward"].fixed))


def _check_extra() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(MISSING_EXTRA) from error


def _graphs(method: Method, name: str, controls: Mapping[str, Any]) -> tuple[dict[str, Graph], Route | None]:
    """Return the graphs to export by the function of the method, `forward` first, and the route they translate on."""
    if not method.routes:
        if not method.traits.unconditional or method.latent is None:
            raise ConfigError(f"{name} translates no images and generates none from latent codes: nothing to export")
        return {"forward": generation_graph(method)}, None
    route = select_route(method, name, controls)
    main = translation_graph(method, route, controls)
    companions = {role: companion_graph(method, role, route, main.fixed) for role in method.companions}
    return {"forward": main, **companions}, route


def _images(
    translator: "Translator", graph: Graph, folder: Path | None, controls: Mapping[str, Any]
) -> list[Tensor | None]:
    """Return the images on which a precision is calibrated and measured: of a folder, or random ones."""
    if folder is not None and IMAGE in graph.inputs:
        return list(calibration_images(translator, folder, controls))
    if IMAGE not in graph.inputs:
        return [None] * 64
    return [torch.rand(1, *graph.inputs[IMAGE].shape[1:], generator=torch.Generator().manual_seed(0)) * 2 - 1]


def _file_name(path: Path, role: str) -> str:
    return path.name if role == "forward" else f"{path.stem}.{role}.onnx"


def _converted(graph: Graph) -> "onnx.ModelProto":
    """Return a graph as an ONNX model, which pads and crops images itself."""
    program = torch.onnx.export(
        graph.program(),
        dynamo=True,
        opset_version=OPSET,
        input_names=list(graph.inputs),
        output_names=["output"],
        verbose=False,
    )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    del model.graph.value_info[:]  # with names of sizes that merging would mix up
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    traits = graph.method.traits
    if IMAGE in graph.inputs and not traits.fixed_size:
        return with_padding(model, traits.size_multiple, traits.upscale_factor)
    return model


def _write(model: "onnx.ModelProto", path: Path) -> None:
    import onnx

    if model.ByteSize() > LARGEST_FILE:
        raise ConfigError(f"{path.name}: {model.ByteSize() / 2**30:.1f} GiB of weights; one ONNX file holds 2 GiB")
    onnx.checker.check_model(model)
    onnx.save_model(model, path)


def _describe(path: Path, metadata: description.OnnxMetadata) -> None:
    """Store the metadata in the file."""
    import onnx

    model = onnx.load_model(path)
    model.producer_name = "diptych"
    onnx.helper.set_model_props(model, {description.PROPERTY: metadata.model_dump_json()})
    onnx.save_model(model, path)


def _metadata(
    translator: "Translator",
    method: Method,
    name: str,
    precision: Precision,
    graphs: Mapping[str, Graph],
    files: Mapping[str, Path],
    route: Route | None,
) -> description.OnnxMetadata:
    fixed, traits, latent = graphs["forward"].fixed, method.traits, method.latent
    label_sets = next(iter(method.labels().values()), ()) if traits.multi_domain else ()
    return description.OnnxMetadata(
        method=translator.name,
        name=name or translator.name,
        sha256=_sha256_of_weights(method),
        precision=precision,
        size_multiple=traits.size_multiple,
        upscale_factor=traits.upscale_factor,
        fixed_size=traits.fixed_size,
        image_size=method.image_size(),
        channels=method.channels(),
        routes=tuple(
            description.OnnxRoute(source=each.source, target=each.target, controls=dict(each.controls))
            for each in graphs["forward"].routes()
        ),
        images=translator.images,
        interpolation=translator.interpolation,
        inputs=_inputs(graphs["forward"]),
        companions=tuple(
            description.OnnxCompanion(
                role=role,
                file=files[role].name,
                sha256=sha256_of(files[role]),
                inputs=_inputs(graph),
                output="image" if graph.is_image else "style",
            )
            for role, graph in graphs.items()
            if role != "forward"
        ),
        latent=latent and description.OnnxLatent(dim=latent.dim, prior=latent.prior, generator=latent.generator),
        labels=tuple(
            description.OnnxLabels(names=labels.names, kind=labels.kind, exclusive=labels.exclusive)
            for labels in label_sets
        ),
        controls=tuple(_control(control, route) for control in method.controls if control.name not in fixed),
        fixed=dict(fixed),
        caution=method.caution(),
    )


def _inputs(graph: Graph) -> tuple[description.OnnxInput, ...]:
    free = {IMAGE: (2, 3)} if not graph.method.traits.fixed_size else {}
    return tuple(
        description.OnnxInput(
            name=name,
            dtype="float32" if tensor.is_floating_point() else "int64",
            shape=tuple(0 if dim in free.get(name, ()) else size for dim, size in enumerate(tensor.shape) if dim),
        )
        for name, tensor in graph.inputs.items()
    )


def _control(control: Control, route: Route | None) -> description.OnnxControl:
    kinds = {int: "int", float: "float", str: "text"}
    entry = control.entry(route) if control.image and route else ""
    kind = "image" if control.image else "choice" if control.choices else kinds[type(control.default)]
    return description.OnnxControl(
        name=control.name, help=control.help, kind=kind, default=control.default, choices=control.choices, entry=entry
    )


def _sha256_of_weights(method: Method) -> str:
    """Return the SHA-256 of the `model.safetensors` that a model folder would have."""
    weights: dict[str, Tensor] = {key: value.contiguous() for key, value in method.state_dict().items()}
    return hashlib.sha256(save(without_shared_memory(weights))).hexdigest()
