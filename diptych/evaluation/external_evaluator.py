"""Evaluator networks from elsewhere: ONNX files, files of torch.export, and torchvision models with given weights.

evaluator = load_external(Path("fcn.yaml"), torch.device("cpu"))
evaluator.method.logits(images)     # (N, C, H, W) in [-1, 1] -> (N, K), or (N, K, H, W) of a segmentation network
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from diptych.contract import DataKind, Evaluator, MethodConfig, Setting, Traits
from diptych.errors import EvaluationError, ImportRefused, nearest, shown
from diptych.evaluation.network_file import NetworkFile, read_network_file
from diptych.importers import import_model, pretrained
from diptych.importers.exported_program import load_exported
from diptych.importers.sandbox import first_line
from diptych.inference.translator import Translator
from diptych.system.colours import name_of

Network = Callable[[Tensor], Sequence[Tensor]]  # a batch of inputs -> its outputs
INSTALL_ONNX = "networks in ONNX files need onnxruntime: pip install 'diptych[onnx]'"


class ExternalEvaluator(Evaluator):
    """An evaluator whose network, input and classes are those of a network file. It cannot be trained."""

    class Config(MethodConfig):
        in_channels: Annotated[int, Setting(channels_of=("image",))] = Field(3, ge=1, description="input channels")

    data = DataKind.IMAGES
    batch = ("image",)
    routes = ()
    inference_networks = ()
    has_features = False

    def __init__(self, description: NetworkFile, network: Network, digest: str) -> None:
        super().__init__(self.Config(in_channels=description.input.channels))
        self.description, self.network = description, network
        self.traits = Traits(size_multiple=description.input.size_multiple)
        # Files and description, as bytes: they make the digest of the evaluator in results.
        self.register_buffer("identity", torch.frombuffer(bytearray.fromhex(digest), dtype=torch.uint8))

    def classes(self) -> tuple[str, ...]:
        return self.description.labels()

    def ignored_classes(self) -> tuple[str, ...]:
        return tuple(map(name_of, self.description.ignore))

    def kind(self) -> Literal["class", "attributes"]:
        return "attributes" if self.description.task == "attributes" else "class"

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        inputs = self.prepare(x)
        size = self.description.input.batch_size or len(inputs)
        parts = [self._run(part, size) for part in inputs.split(size)]
        logits = self._by_class(torch.cat(parts))
        if logits.dim() == 4 and logits.shape[-2:] != x.shape[-2:]:
            logits = F.interpolate(logits, x.shape[-2:], mode="bilinear", align_corners=False)
        return logits

    def prepare(self, x: Tensor) -> Tensor:
        """Return images (N, C, H, W) in [-1, 1] as the network takes them."""
        settings = self.description.input
        if settings.size and x.shape[-2:] != settings.size:
            x = F.interpolate(x, settings.size, mode="bilinear", antialias=True, align_corners=False)
        if settings.order == "bgr":
            x = x.flip(1)
        low, high = settings.range
        mean, std = (x.new_tensor(values)[:, None, None] for values in (settings.mean, settings.std))
        return ((x + 1) / 2 * (high - low) + low - mean) / std

    def _run(self, x: Tensor, size: int) -> Tensor:
        """Return the logits of at most `size` inputs, filled up to a batch of that size. EvaluationError."""
        count = len(x)
        if self.description.input.batch_size:
            x = torch.cat([x, x[-1:].expand(size - count, -1, -1, -1)])
        shape = "x".join(map(str, x.shape))
        try:
            outputs = self.network(x)
        except Exception as error:  # of onnxruntime, or of an operator with sizes that it does not support
            raise EvaluationError(
                f"{self.description.file}: fails on inputs of {shape} ({first_line(error)}); set size, size_multiple "
                f"or batch_size under input"
            ) from error
        if len(outputs) <= self.description.output:
            raise EvaluationError(
                f"{self.description.file}: has {len(outputs)} outputs, and none of number {self.description.output}"
            )
        logits = outputs[self.description.output]
        dimensions = 4 if self.description.task == "segmentation" else 2
        if logits.dim() != dimensions or len(logits) != len(x) or not logits.is_floating_point():
            wanted = "(N, K, H, W)" if dimensions == 4 else "(N, K)"
            raise EvaluationError(
                f"{self.description.file}: expected logits {wanted} of {len(x)} images, got {logits.dtype} of "
                f"{tuple(logits.shape)}; output: NUMBER chooses another output"
            )
        return logits[:count].float()

    def _by_class(self, logits: Tensor) -> Tensor:
        """Return logits of classes: the log of the summed exponentials of the outputs of each class."""
        groups, count = self.description.groups(), logits.shape[1]
        if self.description.is_complete and count != len(groups):
            raise EvaluationError(
                f"{self.description.file}: has {count} outputs, and {len(groups)} classes are listed: give each class "
                f"its `outputs`"
            )
        if (last := max(map(max, groups))) >= count:
            raise EvaluationError(f"{self.description.file}: has {count} outputs, so there is no output {last}")
        return torch.stack([logits[:, list(group)].logsumexp(1) for group in groups], 1)


def load_external(path: Path, device: torch.device) -> Translator:
    """Return the evaluator that a network file describes. EvaluationError, ImportRefused."""
    description, file = read_network_file(path)
    text = description.model_dump_json(exclude={"file"})
    digest = hashlib.sha256(f"{pretrained.digest_of(file)} {text}".encode()).hexdigest()
    if description.torchvision:
        network = _torchvision(description, file, device)
    elif file.suffix.lower() == ".onnx":
        network = _onnx(file, device)
    else:
        network = load_exported(file).to(device)
    method = ExternalEvaluator(description, network, digest)
    return Translator(method.to(device), file.stem, (), {}, device)


def _torchvision(description: NetworkFile, file: Path, device: torch.device) -> Network:
    """Return a torchvision model with the weights of a file, which is read as foreign weights are."""
    models, name = pretrained.models(), str(description.torchvision)
    module = models.segmentation if description.task == "segmentation" else models
    if name not in (known := models.list_models(module)):
        raise EvaluationError(
            f"torchvision: {shown(name)}{nearest(name, known)}; it has no {description.task} model of this name"
        )
    state = import_model.read(file)
    options: dict[str, Any] = {"weights": None}
    if description.task == "segmentation":
        options |= {"weights_backbone": None, "aux_loss": any(key.startswith("aux_classifier.") for key in state)}
    if description.num_outputs:
        options["num_classes"] = description.num_outputs
    with torch.device("meta"):
        model = models.get_model(name, **options)
    pretrained.fill(model, state, str(file))
    model.to(device)
    return lambda x: _outputs(model(x))


def _outputs(result: Any) -> Sequence[Tensor]:
    """Return the outputs of a torchvision model, which are a tensor or a dict."""
    return list(result.values()) if isinstance(result, dict) else [result]


def _onnx(file: Path, device: torch.device) -> Network:
    """Return the network of an ONNX file, which onnxruntime runs on the CPU. EvaluationError."""
    try:
        import onnxruntime
    except ImportError as error:
        raise EvaluationError(f"{file}: {INSTALL_ONNX}") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    try:
        session = onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the classes of onnxruntime have no common base
        raise ImportRefused(f"{file}: not a network that onnxruntime reads ({first_line(error)})") from error
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise ImportRefused(f"{file}: has {len(inputs)} inputs; expected one, a batch of images")

    def run(x: Tensor) -> list[Tensor]:
        results = session.run(None, {inputs[0].name: x.cpu().numpy()})
        return [torch.from_numpy(result).to(device) for result in results]

    return run
