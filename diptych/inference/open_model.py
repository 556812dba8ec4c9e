"""Load a trained model of any kind: a run folder, a model folder, a hub id, or an ONNX file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.errors import CheckpointError, ConfigError
from diptych.inference.image_translator import ImageTranslator

if TYPE_CHECKING:
    from diptych.contract import Method
    from diptych.networks.user_code import Network

NO_NETWORKS = (
    "an ONNX file has no PyTorch networks; it is for `diptych translate`, `diptych generate` and `diptych.load`; for "
    "anything else give the run or model folder that it was exported from"
)


def is_onnx(source: str | Path) -> bool:
    """Return whether a model is an ONNX file, by its name."""
    return Path(source).suffix.lower() == ".onnx" and not Path(source).expanduser().is_dir()


def load(
    source: str | Path,
    *,
    device: str = "auto",
    which: str = "last",
    method: "type[Method] | None" = None,
    allow_code: "Iterable[str | Network]" = (),
) -> ImageTranslator:
    """Return a translator from a run folder, a model folder, a hub id such as `someone/facades`, or `model.onnx`.

    An ONNX file of `diptych export` is run by onnxruntime, without torch: the result is an `OnnxTranslator`. Otherwise
    it is a `Translator`. `which` selects the `last` or the `best` checkpoint of a run folder. A file may name only the
    methods of Diptych; for a model of any other method give its class as `method`, and for one with a network of your
    own its class, or the name `package.module:Class`, in `allow_code`. Raises CheckpointError, ConfigError or RunError.
    """
    if not is_onnx(source):
        from diptych.inference.load import load as load_networks

        return load_networks(source, device=device, which=which, method=method, allow_code=allow_code)
    if which != "last" or method is not None or tuple(allow_code):
        raise ConfigError(
            f"{source}: an ONNX file holds one checkpoint and no classes: leave out which, method and allow_code"
        )
    from diptych.inference.onnx_translator import load_onnx

    path = Path(source).expanduser()
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    return load_onnx(path, device)


@dataclass(frozen=True)
class ModelSource:
    """What `load` and `with_options` are given, to load a model again in another process.

    `allow_code` names classes as `package.module:Class`.
    """

    source: str
    device: str = "auto"
    which: str = "last"
    method: "type[Method] | None" = None
    allow_code: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> ImageTranslator:
        """Return the translator. Raises the errors of `load` and `with_options`."""
        if self.allow_code:
            from diptych.networks.user_code import allow_all

            allow_all(self.allow_code)
        translator = load(self.source, device=self.device, which=self.which, method=self.method)
        return translator.with_options(**self.options)
