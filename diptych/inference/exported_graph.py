"""A method as graphs of tensors, by `torch.export`: any number of images, of any height and width that it accepts."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from diptych.contract import Method, Route
from diptych.errors import ConfigError
from diptych.networks.layers import evaluating

IMAGE = "image"  # the name of the source image among the inputs of a graph
BATCH = 3  # images of the example: other than 1, which torch.export takes for a constant
LEAST = 32  # pixels: heights and widths of the example are at least this
FIXED_BATCH = (
    f"it draws random numbers for each image, as dropout does, or takes the number of images for a constant, so that "
    f"only {BATCH} could be translated at a time. Give another control; or, in a method of your own, write "
    f"`x.shape[0]` instead of `len(x)`, and move what depends on controls to `encode_controls`"
)


@dataclass(frozen=True)
class Graph:
    """A function of tensors to export: `forward` of a method, or one of its `companions`.

    `role` is "forward" or the name of the companion. `inputs` are example tensors by name, `arguments` the argument of
    each, and `fixed` further arguments.
    """

    method: Method
    role: str
    function: Callable[..., Tensor]
    inputs: Mapping[str, Tensor]
    arguments: Mapping[str, str]
    fixed: Mapping[str, Any]

    @property
    def is_image(self) -> bool:
        """Whether it returns images; a style otherwise."""
        return self.role in ("forward", "generate")

    def program(self) -> ExportedProgram:
        """Return the exported program, whose inputs have any number of images. Raises ConfigError."""
        module, shapes = _AsModule(self), tuple(self._dynamic(name) for name in self.inputs)
        try:
            with torch.no_grad(), evaluating(self.method):
                return export(module, tuple(self.inputs.values()), dynamic_shapes=(shapes,), strict=False)
        except Exception as error:  # torch.export raises errors of many kinds
            given = "".join(f" with {name}={value}" for name, value in self.fixed.items() if self._is_chosen(name))
            raise ConfigError(f"{self.name}{given} cannot be exported: {self._reason(str(error))}") from error

    @property
    def name(self) -> str:
        """The function with its class, for messages."""
        return f"{type(self.method).__name__}.{self.role}"

    def routes(self) -> list[Route]:
        """Return the routes of the method that the fixed controls leave."""
        routes = self.method.routes
        return [r for r in routes if all(self.fixed.get(key, value) == value for key, value in r.controls.items())]

    def __call__(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the function of tensors of the names of `inputs`; images within [-1, 1]."""
        arguments = {self.arguments[name]: tensor for name, tensor in inputs.items()}
        output = self.function(**arguments, **self.fixed)
        return output.clamp(-1, 1) if self.is_image else output

    def _dynamic(self, name: str) -> dict[int, Any]:
        """Return the dimensions of an input that are free."""
        free: dict[int, Any] = {0: Dim("batch", min=1)}
        traits = self.method.traits
        if name == IMAGE and not traits.fixed_size:
            for dim, side in ((2, "height"), (3, "width")):
                free[dim] = Dim(side, min=1) if traits.size_multiple == 1 else traits.size_multiple * Dim(side, min=1)
        return free

    def _is_chosen(self, name: str) -> bool:
        """Return whether a fixed argument is a control of another value than its default."""
        return any(each.name == name and each.default != self.fixed[name] for each in self.method.controls)

    def _reason(self, text: str) -> str:
        """Return what is wrong and the remedy, from the message of torch.export."""
        if "batch" in text and f"constant ({BATCH})" in text:
            return FIXED_BATCH
        sides = self.inputs[IMAGE].shape[2:] if IMAGE in self.inputs else ()
        for name, side in zip(("height", "width"), sides, strict=False):
            if name in text and f"constant ({side})" in text:
                return f"it accepts only images with a {name} of {side}: set `traits.fixed_size`, or correct it"
        return f"torch.export reports: {(text.strip().splitlines() or ['no reason'])[0][:300]}"


class _AsModule(nn.Module):
    """A graph as a module of positional tensors: what `torch.export` takes."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.method, self.graph = graph.method, graph

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.graph(dict(zip(self.graph.inputs, tensors, strict=True)))


def translation_graph(method: Method, route: Route, controls: Mapping[str, Any]) -> Graph:
    """Return `forward` on a route, with example images; controls that do not become tensors are fixed."""
    x = example_image(method, method.channels()[route.source])
    defaults = {control.name: control.default for control in method.controls}
    with torch.no_grad():
        encoded = method.encode_controls(x, **{**defaults, **route.controls, **controls})
    tensors = {name: value.contiguous() for name, value in encoded.items() if isinstance(value, Tensor)}
    fixed = {name: value for name, value in encoded.items() if name not in tensors}
    return Graph(
        method,
        "forward",
        method.forward,
        {IMAGE: x, **tensors},
        {IMAGE: "x", **{name: name for name in tensors}},
        fixed,
    )


def generation_graph(method: Method) -> Graph:
    """Return `forward` of latent codes, for a method without routes."""
    assert method.latent is not None
    latent = torch.zeros(BATCH, method.latent.dim)
    return Graph(method, "forward", method.forward, {"latent": latent}, {"latent": "latent"}, {})


def companion_graph(method: Method, role: str, route: Route, fixed: Mapping[str, Any]) -> Graph:
    """Return a companion, with examples of those inputs that its arguments name."""
    size, control = method.image_size() or LEAST, next((c for c in method.controls if c.name == "reference"), None)
    like = next(method.parameters())
    examples = {"domain": torch.arange(BATCH, device=like.device) % 2}
    if method.latent is not None:
        examples["latent"] = torch.zeros(BATCH, method.latent.dim, device=like.device)
    if control is not None:
        channels = method.channels()[control.entry(route)]
        examples["reference"] = torch.zeros(BATCH, channels, size, size, device=like.device)
    parameters = inspect.signature(method.companions[role]).parameters
    inputs = {name: examples[name] for name in parameters if name in examples}
    constants = {name: value for name, value in fixed.items() if name in parameters}
    return Graph(method, role, method.companions[role], inputs, {name: name for name in inputs}, constants)


def example_image(method: Method, channels: int) -> Tensor:
    """Return a batch of images whose height and width differ, unless the method has a fixed size."""
    traits, like = method.traits, next(method.parameters())
    side = method.image_size() or LEAST
    if traits.fixed_size:
        return torch.zeros(BATCH, channels, side, side, device=like.device)
    times = max(2, -(-LEAST // traits.size_multiple))
    height, width = times * traits.size_multiple, (times + 1) * traits.size_multiple
    return torch.zeros(BATCH, channels, height, width, device=like.device)
