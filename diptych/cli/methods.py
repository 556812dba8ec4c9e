"""`diptych methods`."""

from typing import TYPE_CHECKING, Annotated

import typer

from diptych.cli.completion import complete_method, recipe_names
from diptych.cli.json_output import Json, default_text, method_json, print_json, symbol_of

if TYPE_CHECKING:
    from rich.console import Console

    from diptych.contract import Method

EXAMPLE = "diptych methods cyclegan"


def methods(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Method or evaluator whose settings and controls to show.",
            show_default="all",
            autocompletion=complete_method,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List methods, evaluators, recipes and experiments, or all settings and controls of one method.

    Settings are listed with their default, the symbol in the method's paper, and a description.
    """
    if as_json:
        _print_json(name)
        return
    from rich.console import Console

    console = Console()
    if name is None:
        _print_all(console)
    else:
        _print_method(console, name)


def _print_all(console: "Console") -> None:
    from rich.table import Table

    from diptych.methods import EVALUATORS, METHODS

    for kind, names in (("method", METHODS), ("evaluator", EVALUATORS)):
        table = Table(kind, "description", box=None, header_style="bold")
        for name, path in names.items():
            table.add_row(name, _description(path))
        console.print(table, "")
    console.print("shipped recipes: " + ", ".join(recipe_names()), highlight=False)
    console.print("shipped experiments: " + ", ".join(recipe_names("experiments")), highlight=False)


def _print_json(name: str | None) -> None:
    """Print one method, or all methods and evaluators, each with its settings."""
    from diptych.methods import EVALUATORS, METHODS, find

    known = {**METHODS, **EVALUATORS}
    if name is not None:
        print_json(method_json(name, find(name), _description(known.get(name, name))))
        return
    groups = {
        group: [method_json(key, find(key), _description(path)) for key, path in names.items()]
        for group, names in (("methods", METHODS), ("evaluators", EVALUATORS))
    }
    print_json({**groups, "recipes": recipe_names(), "experiments": recipe_names("experiments")})


def _description(path: str) -> str:
    """Return the first line of the docstring of `module:Class`'s module, without importing it (and torch)."""
    import ast
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec(path.partition(":")[0])
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def _print_method(console: "Console", name: str) -> None:
    import inspect

    from rich.markup import escape

    from diptych.methods import find

    cls = find(name)
    console.print(escape(inspect.getdoc(inspect.getmodule(cls)) or name), highlight=False)
    console.print("\n[bold]presets[/] (the first is the default)")
    for preset, values in cls.presets.items():
        text = ", ".join(f"{key}={value}" for key, value in values.items()) or "the defaults below"
        console.print(escape(f"  {preset}: {text}"), highlight=False)
    _print_settings(console, cls)
    _print_controls(console, cls)


def _print_settings(console: "Console", cls: "type[Method]") -> None:
    from rich.markup import escape
    from rich.table import Column, Table

    from diptych.settings.recipe import SETTINGS

    for section, config in {"model": cls.Config, **SETTINGS}.items():
        fields = config.model_fields
        symbols = {key: symbol_of(field) for key, field in fields.items()}
        has_symbols = any(symbols.values())
        name_column = Column(f"{section} setting", no_wrap=True)
        symbol_columns = ["paper"] if has_symbols else []
        table = Table(name_column, "default", *symbol_columns, "description", box=None, header_style="bold")
        for key, field in fields.items():
            default = "= crop_size" if key == cls.image_size_field() else default_text(field)
            symbol_cells = [escape(symbols[key])] if has_symbols else []
            table.add_row(key, escape(default), *symbol_cells, escape(field.description or ""))
        console.print(table, "")


def _print_controls(console: "Console", cls: "type[Method]") -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table("control", "default", "description", box=None, header_style="bold")
    for control in cls.controls:
        table.add_row(control.name, escape(str(control.default)), escape(control.help))
    console.print(table)
