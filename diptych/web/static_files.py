"""Style sheets and scripts of pages, from the templates of the package."""

from importlib.resources import files

from starlette.responses import Response

from diptych.web.problem import Problem

TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".mjs": "text/javascript"}


def static_file(folder: str, name: str) -> Response:
    """Return the file of a folder in `diptych/templates`. Raises Problem 404 for any other name, also for paths."""
    place = files("diptych") / "templates" / folder
    found = {file.name: file for file in place.iterdir() if file.is_file()} if place.is_dir() else {}
    suffix = name[name.rfind(".") :]
    if name not in found or suffix not in TYPES:
        raise Problem(404, "no such file")
    return Response(found[name].read_bytes(), media_type=TYPES[suffix])
