"""`diptych export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diptych.cli.allow_code import AllowCode
from diptych.cli.common import Controls, MethodClass, Model, Which

if TYPE_CHECKING:
    from diptych.inference.translator import Translator

EXAMPLE = "diptych export runs/facades -o facades.onnx"


def export(
    model: Model,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write: NAME.onnx. With --web a folder.", show_default=False)
    ],
    web: Annotated[
        bool, typer.Option("--web", help="Write a page that computes in the browser: a folder for any web server.")
    ] = False,
    examples: Annotated[
        str | None, typer.Option(help="Folder of example images for the page of --web.", show_default="none")
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(
            help="Package onnxruntime-web for --web, as `npm pack` writes it.", show_default="downloaded from npm"
        ),
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Store weights in half precision.")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantise to 8-bit integers, with ranges measured on --calibrate.")
    ] = False,
    calibrate: Annotated[
        Path | None, typer.Option(help="Folder of typical source images for --int8.", show_default=False)
    ] = None,
    control: Controls = None,
    which: Which = "last",
    method: MethodClass = None,
    allow_code: AllowCode = None,
) -> None:
    """Export a model as ONNX, for onnxruntime and other programs without PyTorch.

    The file takes any number of images of any size. It is compared with PyTorch before it is written.
    """
    from diptych.cli.controls import parse_controls
    from diptych.errors import ConfigError
    from diptych.inference.load import load
    from diptych.methods import find

    if fp16 and int8:
        raise ConfigError("--fp16 and --int8 are two precisions: give one")
    if int8 != (calibrate is not None):
        raise ConfigError("--int8 and --calibrate FOLDER go together: give both, with a folder of source images")
    if not web and (examples or runtime):
        raise ConfigError("--examples and --runtime are for --web: leave them out")
    if web and (fp16 or int8):
        raise ConfigError("--web: the page computes in full precision; leave out --fp16 and --int8")
    translator = load(model, device="cpu", which=which, method=find(method) if method else None)
    controls = parse_controls(translator, control or [])
    if web:
        _write_site(translator, model, out, controls, examples, runtime)
        return
    exported = translator.export_onnx(
        out,
        name=Path(model).name,
        precision="fp16" if fp16 else "int8" if int8 else "fp32",
        calibrate=calibrate,
        **controls,
    )
    for file in exported.files:
        typer.echo(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    typer.echo(f"largest difference from PyTorch: {exported.max_difference:.1e} of values in [-1, 1]")
    if exported.psnr is not None:
        typer.echo(f"{'fp16' if fp16 else 'int8'}: PSNR {exported.psnr:.1f} dB to full precision")
    if exported.quantised and (kept := exported.quantised.kept):
        count = f"{len(kept)} of {exported.quantised.layers}"
        typer.echo(f"float32: {count} layers, whose quantisation costs most: {', '.join(kept)}")
    if exported.fixed:
        typer.echo(f"fixed: {', '.join(f'{name}={value}' for name, value in exported.fixed.items())}")


def _write_site(
    translator: "Translator",
    model: str,
    out: Path,
    controls: dict[str, Any],
    examples: str | None,
    runtime: Path | None,
) -> None:
    """Write the page of a model and say how it is opened."""
    from diptych.serving.static_site import write_site

    name = Path(model).name
    exported = write_site(
        translator, out, name=name, source=model, controls=controls, examples=examples, runtime=runtime
    )
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    typer.echo(f"{out}: {size / 1e6:.0f} MB; largest difference from PyTorch: {exported.max_difference:.1e} in [-1, 1]")
    typer.echo(f"open it with: python -m http.server --directory {out}")
