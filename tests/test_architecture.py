"""The layout of docs/architecture.md: imports go only to lower levels, and shared packages name no method."""

import ast
import re
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import diptych
from diptych.methods import METHODS

ROOT = Path(diptych.__file__).parent
LEVELS = [
    {"errors", "seeds", "setting"},
    {"contract", "system", "networks", "losses"},
    {"methods", "evaluators", "data", "web"},
    {"settings"},
    {"runs"},
    {"inference"},
    {"importers"},
    {"evaluation", "training"},
    {"studies", "serving", "workflows", "testing"},
    {"cli"},
]
LEVEL = {package: level for level, packages in enumerate(LEVELS) for package in packages}
MODULES = {"errors", "seeds", "setting"}  # the modules beside `__init__` and `__main__` at the root
SERVES_ALL = {"data", "settings", "runs", "training", "inference"}  # these use methods only through their interface
SERVERS = {"studies/serve.py", "studies/server.py", "studies/store.py"}  # imported inside functions, with their extra
SERVERS |= {f"{path.parent.name}/{path.name}" for part in ("web", "serving") for path in (ROOT / part).glob("*.py")}
FORMER_NAMES = "settings/renamed.py"  # the table of former settings, by method: saved runs are translated by it


def modules():
    """Yield (package or root module, path) of each file except `diptych/__init__.py` and `diptych/__main__.py`."""
    for path in sorted(ROOT.rglob("*.py")):
        first = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if first not in ("__init__", "__main__"):
            yield first, path


def imported(path):
    """Yield the packages and root modules of `diptych` that a file imports, also inside of functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "diptych":
            names = [f"diptych.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("diptych."))


def test_every_package_has_a_level():
    assert {package for package, _ in modules()} == set(LEVEL)
    assert len(LEVELS) <= 10
    assert {path.stem for path in ROOT.glob("*.py")} == MODULES | {"__init__", "__main__"}


def test_a_package_imports_only_from_lower_levels():
    wrong = [
        f"{path.relative_to(ROOT)} imports {other}"
        for package, path in modules()
        for other in imported(path)
        if other != package and LEVEL[other] >= LEVEL[package]
    ]
    assert not wrong


def test_two_files_of_one_name_are_about_one_method():
    """Such as `methods/cut.py` and `importers/cut.py`."""
    places = defaultdict(set)
    for package, path in modules():
        if path.stem not in ("__init__", "__main__") and package != "cli":
            places[path.stem].add(str(path.relative_to(ROOT).parent))
    methods = {*METHODS, "classifier", "segmenter"}
    assert not {name: folders for name, folders in places.items() if len(folders) > 1 and name not in methods}


def test_no_method_is_named_where_all_are_served():
    served = [path for package, path in modules() if package in SERVES_ALL]
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.value}"
        for path in served
        if str(path.relative_to(ROOT)) != FORMER_NAMES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in METHODS
    ]
    assert not wrong


def test_no_string_is_resolved_to_an_attribute():
    """No `getattr(thing, name)` with a name computed at run time."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for _, path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "getattr"
        and not isinstance(node.args[1], ast.Constant)
    ]
    assert not wrong


def test_outside_of_functions_only_dependencies_are_imported():
    """At most twelve of them, and no module that only some systems have."""
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    dependencies = {re.split(r"[^\w-]", each)[0] for each in project["dependencies"]}
    assert len(dependencies) <= 12
    names = {"pillow": "PIL", "pyyaml": "yaml", "huggingface-hub": "huggingface_hub"}
    allowed = {names.get(each, each) for each in dependencies} | sys.stdlib_module_names | {"diptych", "pydantic_core"}
    allowed -= {"resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "msvcrt", "winreg", "winsound"}
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for _, path in modules()
        if path.relative_to(ROOT).as_posix() not in SERVERS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom) and node.col_offset == 0
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.partition(".")[0] not in allowed
    ]
    assert not wrong
