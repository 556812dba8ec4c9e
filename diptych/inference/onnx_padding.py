"""Padding by reflection and cropping as parts of an ONNX graph, so that a network accepts images of any size.

They do what `pad_to_multiple` and `remove_padding` do: padding on both sides, which may be larger than the image.
"""

from typing import TYPE_CHECKING

from diptych.networks.layers import SMALLEST

if TYPE_CHECKING:
    import onnx

# One axis: the index of a pixel outside of the image is reflected until it is inside.
PAD_AXIS = """
    {axis}_size = Shape<start: int = {dim}, end: int = {next}>({source})
    {axis}_one = Constant<value_ints = [1]>()
    {axis}_two = Constant<value_ints = [2]>()
    {axis}_multiple = Constant<value_ints = [{multiple}]>()
    {axis}_least = Constant<value_ints = [{least}]>()
    {axis}_less = Sub({axis}_multiple, {axis}_one)
    {axis}_above = Add({axis}_size, {axis}_less)
    {axis}_times = Div({axis}_above, {axis}_multiple)
    {axis}_rounded = Mul({axis}_times, {axis}_multiple)
    {axis}_total = Max({axis}_rounded, {axis}_least)
    {axis}_missing = Sub({axis}_total, {axis}_size)
    {axis}_before = Div({axis}_missing, {axis}_two)
    {axis}_first = Neg({axis}_before)
    {axis}_last = Sub({axis}_total, {axis}_before)
    {axis}_first_scalar = Squeeze({axis}_first)
    {axis}_last_scalar = Squeeze({axis}_last)
    {axis}_step = Constant<value_int = 1>()
    {axis}_range = Range({axis}_first_scalar, {axis}_last_scalar, {axis}_step)
    {axis}_inner = Sub({axis}_size, {axis}_one)
    {axis}_twice = Mul({axis}_inner, {axis}_two)
    {axis}_period = Max({axis}_twice, {axis}_one)
    {axis}_folded = Mod({axis}_range, {axis}_period)
    {axis}_is_inside = Less({axis}_folded, {axis}_size)
    {axis}_mirrored = Sub({axis}_period, {axis}_folded)
    {axis}_index = Where({axis}_is_inside, {axis}_folded, {axis}_mirrored)
    {target} = Gather<axis: int = {dim}>({source}, {axis}_index)
    {axis}_end = Add({axis}_before, {axis}_size)
"""
HEADER = '<ir_version: {ir}, opset_import: ["" : {opset}]>'
PAD = """{header}
pad (float[batch, {channels}, height, width] image) => (
    float[batch, {channels}, padded_height, padded_width] padded, int64[2] starts, int64[2] ends
) {{
    {rows}
    {columns}
    starts = Concat<axis: int = 0>(y_before, x_before)
    ends = Concat<axis: int = 0>(y_end, x_end)
}}"""
CROP = """{header}
crop (float[batch, {channels}, h, w] uncropped, int64[2] first, int64[2] last) => (
    float[batch, {channels}, out_height, out_width] output
) {{
    factor = Constant<value_ints = [{factor}]>()
    first_scaled = Mul(first, factor)
    last_scaled = Mul(last, factor)
    axes = Constant<value_ints = [2, 3]>()
    output = Slice(uncropped, first_scaled, last_scaled, axes)
}}"""


def with_padding(model: "onnx.ModelProto", multiple: int, factor: int) -> "onnx.ModelProto":
    """Return the model, whose first input is `image` and whose output is `output`, for images of any size.

    Its own graph needs heights and widths that are multiples of `multiple`; the output is `factor` times as large.
    """
    from onnx import compose, parser

    sizes = [value.type.tensor_type.shape.dim[1].dim_value for value in (model.graph.input[0], model.graph.output[0])]
    header = HEADER.format(ir=model.ir_version, opset=model.opset_import[0].version)
    least = -(-SMALLEST // multiple) * multiple
    rows, columns = (
        PAD_AXIS.format(axis=axis, dim=dim, next=dim + 1, source=source, target=target, multiple=multiple, least=least)
        for axis, dim, source, target in (("y", 2, "image", "tall"), ("x", 3, "tall", "padded"))
    )
    pad = parser.parse_model(PAD.format(header=header, channels=sizes[0], rows=rows, columns=columns))
    crop = parser.parse_model(CROP.format(header=header, channels=sizes[1], factor=factor))
    network = compose.add_prefix(model, "net/", rename_inputs=True, rename_outputs=True)
    padded = compose.merge_models(pad, network, [("padded", "net/image")], outputs=["net/output", "starts", "ends"])
    whole: onnx.ModelProto = compose.merge_models(
        padded, crop, [("net/output", "uncropped"), ("starts", "first"), ("ends", "last")]
    )
    opsets = {opset.domain: opset for opset in model.opset_import}
    del whole.opset_import[:]  # merging repeats them
    whole.opset_import.extend(opsets.values())
    _rename_inputs(whole.graph)
    return whole


def _rename_inputs(graph: "onnx.GraphProto") -> None:
    """Remove the prefix from the names of the inputs."""
    names = {value.name: value.name.removeprefix("net/") for value in graph.input}
    for value in graph.input:
        value.name = names[value.name]
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
