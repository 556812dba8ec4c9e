"""Transposed convolutions of an ONNX graph as convolutions, which onnxruntime computes in 8-bit integers.

A transposed convolution of stride s computes s x s phases: output pixels whose positions modulo s are alike. Each phase
is a convolution with every s-th tap of the kernel. One convolution computes all phases as channels, `DepthToSpace`
interleaves them, and `Slice` removes the padding. Taps that a kernel lacks are zeros: none for a kernel of 4 and a
stride of 2, and 7 of 16 for a kernel of 3.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

END = 2**31 - 1  # of a slice without end


def replace_transposed_convolutions(model: "onnx.ModelProto") -> None:
    """Replace the ConvTranspose nodes of a model by convolutions. Its outputs stay equal up to rounding.

    Nodes stay whose weights are not constants, and those that are grouped, dilated, of two strides, or not of images.
    """
    from onnx import numpy_helper

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    replaced: set[str] = set()
    for number, node in enumerate(graph.node):
        weight = constants.get(node.input[1]) if node.op_type == "ConvTranspose" else None
        name = node.name or f"transposed_{number}"
        found = None if weight is None else _replacement(node, name, numpy_helper.to_array(weight), constants)
        nodes.extend(found[0] if found else [node])
        if found:
            graph.initializer.extend(found[1])
            replaced.update(node.input[1:])
    del graph.node[:]
    graph.node.extend(nodes)
    unused = replaced.difference(*(node.input for node in nodes))
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name in unused:
            del graph.initializer[index]


def _replacement(
    node: "onnx.NodeProto", name: str, weight: np.ndarray, constants: "dict[str, onnx.TensorProto]"
) -> "tuple[list[onnx.NodeProto], list[onnx.TensorProto]] | None":
    """Return the nodes and constants that compute a ConvTranspose; None if it is of a kind that stays."""
    from onnx import helper, numpy_helper

    attributes: dict[str, Any] = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    stride, *others = attributes.get("strides", [1, 1])
    bias = constants.get(node.input[2]) if len(node.input) > 2 else None
    if (
        weight.ndim != 4
        or others != [stride]
        or stride == 1
        or attributes.get("group", 1) != 1
        or any(each != 1 for each in attributes.get("dilations", []))
        or attributes.get("auto_pad", b"NOTSET") != b"NOTSET"
        or "output_shape" in attributes
        or (len(node.input) > 2 and bias is None)
    ):
        return None
    taps = [math.ceil(size / stride) for size in weight.shape[2:]]  # of a phase
    starts, ends = _crop(weight.shape[2:], taps, stride, attributes)
    if any(end > 0 for end in ends):
        return None  # output_padding beyond the padded convolution
    values = {
        "weight": phases(weight, stride),
        "starts": np.array(starts, np.int64),
        "ends": np.array([end or END for end in ends], np.int64),
        "axes": np.array([2, 3], np.int64),
    }
    if bias is not None:
        values["bias"] = np.repeat(numpy_helper.to_array(bias), stride**2)
    tensors = {role: numpy_helper.from_array(value, f"{name}/{role}") for role, value in values.items()}
    inputs = [node.input[0], tensors["weight"].name, *([tensors["bias"].name] if bias is not None else [])]
    padding = [size - 1 for size in taps] * 2
    nodes = [
        helper.make_node("Conv", inputs, [f"{name}/phases"], f"{name}/conv", kernel_shape=taps, pads=padding),
        helper.make_node(
            "DepthToSpace", [f"{name}/phases"], [f"{name}/whole"], f"{name}/interleave", blocksize=stride, mode="CRD"
        ),
        helper.make_node(
            "Slice",
            [f"{name}/whole", *(tensors[role].name for role in ("starts", "ends", "axes"))],
            list(node.output),
            f"{name}/crop",
        ),
    ]
    return nodes, list(tensors.values())


def _crop(
    kernel: Sequence[int], taps: Sequence[int], stride: int, attributes: dict[str, Any]
) -> tuple[list[int], list[int]]:
    """Return where the output starts and ends among the interleaved phases; ends are negative, or 0 for the last."""
    pads, more = attributes.get("pads", [0] * 4), attributes.get("output_padding", [0, 0])
    ends = [size - stride * tap - pad + add for size, tap, pad, add in zip(kernel, taps, pads[2:], more, strict=True)]
    return list(pads[:2]), ends


def phases(weight: np.ndarray, stride: int) -> np.ndarray:
    """Return the weights (C_out * s * s, C_in, taps, taps) of all phases of a transposed one (C_in, C_out, H, W)."""
    taps = [math.ceil(size / stride) for size in weight.shape[2:]]
    missing = [stride * tap - size for tap, size in zip(taps, weight.shape[2:], strict=True)]
    whole = np.pad(weight, ((0, 0), (0, 0), (0, missing[0]), (0, missing[1])))
    inputs, outputs = weight.shape[:2]
    split = whole.reshape(inputs, outputs, taps[0], stride, taps[1], stride)[:, :, ::-1, :, ::-1]
    return np.ascontiguousarray(split.transpose(1, 3, 5, 0, 2, 4).reshape(-1, inputs, *taps))
