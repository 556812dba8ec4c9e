"""Small ONNX files such as `diptych export` writes, made with the helpers of the `onnx` package."""

import hashlib
from pathlib import Path

import onnx
from onnx import helper

from diptych.inference.onnx_metadata import PROPERTY, OnnxInput, OnnxMetadata, parse_metadata

IMAGE = OnnxInput(name="image", dtype="float32", shape=(3, 0, 0))
INVERTED = (helper.make_node("Neg", ["image"], ["translation"]),)


def metadata(**values) -> OnnxMetadata:
    """Return the description of a model that translates RGB images; `values` replace some."""
    default = {
        "method": "pix2pix", "name": "inverted", "sha256": "0" * 64, "precision": "fp32", "size_multiple": 1,
        "channels": {"source": 3, "target": 3}, "routes": ({"source": "source", "target": "target", "controls": {}},),
        "inputs": (IMAGE,),
    }  # fmt: skip
    return OnnxMetadata.model_validate({**default, **values})


def write_onnx(path: Path, description: OnnxMetadata | str | None, nodes=INVERTED, weights=(), inputs=None) -> Path:
    """Write a network whose output is `translation`, with a description in its metadata, and return the path."""
    given = description.inputs if isinstance(description, OnnxMetadata) else (IMAGE,)
    inputs = [value_info(each) for each in inputs or given]
    output = helper.make_tensor_value_info("translation", onnx.TensorProto.FLOAT, None)
    domains = {node.domain for node in nodes} | {""}
    model = helper.make_model(
        helper.make_graph(list(nodes), "network", inputs, [output], list(weights)),
        opset_imports=[helper.make_opsetid(domain, 1 if domain else 18) for domain in sorted(domains)],
        ir_version=9,
    )
    if description is not None:
        text = description if isinstance(description, str) else description.model_dump_json()
        helper.set_model_props(model, {"other": "value", PROPERTY: text})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def value_info(each: OnnxInput) -> onnx.ValueInfoProto:
    kind = onnx.TensorProto.FLOAT if each.dtype == "float32" else onnx.TensorProto.INT64
    sizes = [f"{each.name}{index}" if size == 0 else size for index, size in enumerate(each.shape)]
    return helper.make_tensor_value_info(each.name, kind, ["N", *sizes])


def metadata_of(path: Path) -> OnnxMetadata:
    properties = {each.key: each.value for each in onnx.load(path, load_external_data=False).metadata_props}
    return parse_metadata(properties[PROPERTY], str(path))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
