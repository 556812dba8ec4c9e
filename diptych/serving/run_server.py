"""Run a server of models until it is stopped."""

import asyncio
from collections.abc import Callable
from urllib.parse import quote

from diptych.serving.http_api import application
from diptych.serving.server_metrics import ServerMetrics
from diptych.serving.server_options import ServerOptions
from diptych.serving.worker_process import WorkerProcess
from diptych.web.uvicorn_server import address_of, listen, server_of

EXTRA_SECONDS = 5  # beyond the time limit of a request, to send its answer


def serve(
    options: ServerOptions, host: str, port: int, hosts: tuple[str, ...], token: str, log: Callable[[str], None]
) -> None:
    """Serve until SIGINT or SIGTERM; requests that were accepted are answered first. Raises DiptychError."""
    asyncio.run(_serve(options, host, port, hosts, token, log))


async def _serve(
    options: ServerOptions, host: str, port: int, hosts: tuple[str, ...], token: str, log: Callable[[str], None]
) -> None:
    listener = listen(host, port)
    worker = WorkerProcess(options, ServerMetrics())
    try:
        await worker.start()
        fragment = f"#token={quote(token)}" if token else ""
        log(f"{', '.join(worker.models)}: {address_of(listener, host)}/{fragment}")
        log("Ctrl+C stops the server; accepted requests are answered first")
        app = application(worker, (host, *hosts), token)
        await server_of(app, int(options.timeout) + EXTRA_SECONDS).serve(sockets=[listener])
        log(f"stopped: {worker.accepted} requests accepted, {worker.given_up} of them given up by clients")
    finally:
        listener.close()
        await worker.stop()
