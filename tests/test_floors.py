"""The house rule: a floor imports only from floors below it, and rooms that serve all methods know none by name."""

import ast
import re
from pathlib import Path

import diptych
from diptych.methods import METHODS

ROOT = Path(diptych.__file__).parent
FLOORS = [
    {"errors", "seeds", "files", "plain", "metric", "colours"},
    {"nn"},
    {"losses"},
    {"contract"},
    {"labels"},
    {"methods"},
    {"data"},
    {"engine"},
    {"recipe", "card"},
    {"model_folder"},
    {"translator"},
    {"loading"},
    {"importers", "report", "provenance"},
    {"evaluate", "study", "serve", "export"},
    {"protocols", "sights"},
    {"beginning"},
    {"launch"},
    {"check", "compare", "demo", "doctor", "judge"},
    {"experiment"},
    {"cli"},
    {"__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
ALONE = {
    "nn",
    "losses",
    "methods",
    "data",
    "engine",
    "importers",
    "check",
    "cli",
    "compare",
    "evaluate",
    "protocols",
}  # rooms of many files, which know each other
NEVER_METHODS = {"data", "engine"}
NAMELESS = {"engine", "data", "evaluate", "study", "serve", "export"}


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        inside = path.relative_to(ROOT)
        if inside.name != "__init__.py" or len(inside.parts) > 1:
            yield inside.parts[0].removesuffix(".py"), path


def imported_rooms(path):
    """The rooms that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "diptych" else [node.module]
            )
        else:
            continue
        yield from (name.split(".")[1] for name in names if name and name.startswith("diptych."))


WORDS = {"cut"}  # which English needs too
SPLIT = "celeba-stargan"  # a split of a data set, which has the name of the paper that it is of


def test_every_room_is_on_a_floor():
    assert {room for room, _ in modules()} <= set(LEVEL)


def test_imports_go_down_only():
    wrong = [
        f"{path.relative_to(ROOT)} imports {other}"
        for room, path in modules()
        for other in imported_rooms(path)
        if not (LEVEL[other] < LEVEL[room] or (other == room and room in ALONE))
        or (other == "methods" and room in NEVER_METHODS)
    ]
    assert not wrong


def test_no_method_is_named_where_all_are_served():
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for room, path in modules()
        if room in NAMELESS
        for name in METHODS
        if re.search(
            rf"[\"']{name}[\"']" if name in WORDS else rf"\b{name}\b",
            path.read_text(encoding="utf-8").lower().replace(SPLIT, ""),
        )
    ]
    assert not wrong


def test_no_string_is_resolved_to_an_attribute():
    """No `getattr(thing, name)` with a name computed at run time, as the house rules have it."""
    wrong = []
    for _, path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "getattr"
                and not isinstance(node.args[1], ast.Constant)
            ):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not wrong
