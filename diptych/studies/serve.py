"""Run the server of a study until it is stopped."""

from collections.abc import Callable
from urllib.parse import quote

from diptych.studies.server import application
from diptych.studies.store import Store
from diptych.studies.study_folder import StudyFolder
from diptych.web.uvicorn_server import address_of, listen, server_of


def serve(
    study: StudyFolder,
    store: Store,
    host: str,
    port: int,
    hosts: tuple[str, ...],
    token: str,
    log: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM, which end running requests first. ConfigError if the port is taken."""
    listener = listen(host, port)
    query = f"?token={quote(token)}" if token else ""
    log(f"participants open {address_of(listener, host)}/{query}")
    log("Ctrl+C stops the server; all answers are kept")
    server_of(application(study, store, hosts, token)).run(sockets=[listener])
