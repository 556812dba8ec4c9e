"""Run the server of a study until it is stopped."""

import socket
from collections.abc import Callable
from urllib.parse import quote

import uvicorn

from diptych.errors import StudyError
from diptych.studies.server import application
from diptych.studies.store import Store
from diptych.studies.study_folder import StudyFolder

MAX_CONNECTIONS = 2000
KEEP_ALIVE_SECONDS = 30


def serve(
    study: StudyFolder,
    store: Store,
    host: str,
    port: int,
    hosts: tuple[str, ...],
    token: str,
    log: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM, which end running requests first. StudyError if the port is taken."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StudyError(f"{host}:{port}: cannot listen there ({error.strerror}); choose another --port") from error
    query = f"?token={quote(token)}" if token else ""
    log(f"participants open http://{host}:{listener.getsockname()[1]}/{query}")
    log("Ctrl+C stops the server; all answers are kept")
    config = uvicorn.Config(
        application(study, store, hosts, token),
        log_level="warning",
        server_header=False,
        access_log=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listener])
