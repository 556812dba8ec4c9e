"""`diptych serve`."""

from pathlib import Path
from typing import Annotated

import typer

from diptych.cli.common import AlreadySource, Device, MethodClass, Which

EXAMPLE = "diptych serve runs/facades"
INSTALL = "serving needs FastAPI, uvicorn, python-multipart and prometheus-client: pip install 'diptych[serve]'"


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Run folders, model folders, ONNX files, or hub ids user/name@revision.", show_default=False
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    token: Annotated[
        str, typer.Option(help="Token that requests must have.", envvar="DIPTYCH_TOKEN", show_default=False)
    ] = "",
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(help="Name under which clients reach the server. Repeatable.", show_default=False),
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(help="Folder of example images for the page.", show_default="held-out images of a run"),
    ] = None,
    max_batch: Annotated[int, typer.Option(min=1, max=256, help="Images that are translated together.")] = 8,
    max_latency: Annotated[
        float, typer.Option(min=0, max=1000, help="Milliseconds that a request waits for others like it.")
    ] = 2.0,
    max_megapixels: Annotated[float, typer.Option(min=0.001, max=100, help="Size of an image.")] = 2.0,
    max_megabytes: Annotated[float, typer.Option(min=0.01, max=1000, help="Size of a request.")] = 20.0,
    max_queue: Annotated[int, typer.Option(min=1, max=100_000, help="Requests that wait or are computed.")] = 128,
    timeout: Annotated[float, typer.Option(min=0.1, max=86_400, help="Seconds from a request to its answer.")] = 60.0,
    already_source: AlreadySource = False,
    which: Which = "last",
    device: Device = "auto",
    method: MethodClass = None,
    allow_code: Annotated[
        list[str] | None,
        typer.Option(
            help="Custom network class that a model may use; its module is imported. Repeatable.",
            metavar="PACKAGE.MODULE:CLASS",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Serve models over HTTP: a page to try them in the browser, and a REST API.

    On this machine only, unless --host and --token are given. Images are never written to disk.
    """
    from diptych.errors import ConfigError

    try:
        from diptych.serving.run_server import serve as run_server
        from diptych.serving.server_options import ServerOptions, named_sources
        from diptych.web.uvicorn_server import check_host
    except ImportError as error:
        raise ConfigError(INSTALL) from error
    check_host(host, token)
    options = ServerOptions(
        models=named_sources(models),
        device=device,
        which=which,
        method=method,
        allow_code=tuple(allow_code or ()),
        already_source=already_source,
        examples=str(examples) if examples else None,
        max_batch=max_batch,
        max_latency=max_latency,
        max_megapixels=max_megapixels,
        max_megabytes=max_megabytes,
        max_queue=max_queue,
        timeout=timeout,
    )
    run_server(options, host, port, tuple(allowed_host or ()), token, log=typer.echo)
