"""`diptych methods`."""

from typing import TYPE_CHECKING, Annotated

import typer

from diptych.cli.json_output import Json, method_json, print_json

if TYPE_CHECKING:
    from rich.console import Console


def methods(
    name: Annotated[
        str | None, typer.Argument(help="a method, to see its settings and controls", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """List the methods and shipped recipes, or everything that can be set in one."""
    if as_json:
        _print_json(name)
        return
    from rich.console import Console

    console = Console()
    if name is None:
        _list(console)
    else:
        _explain(console, name)


def _list(console: "Console") -> None:
    from rich.table import Table

    from diptych.methods import EVALUATORS, METHODS

    for kind, names in (("method", METHODS), ("judge", EVALUATORS)):
        table = Table(kind, "what it is", box=None, header_style="bold")
        for name, where in names.items():
            table.add_row(name, _first_line(where))
        console.print(table, "")
    console.print("shipped recipes: " + ", ".join(_recipes()), highlight=False)
    console.print("shipped experiments: " + ", ".join(_recipes("experiments")), highlight=False)


def _print_json(name: str | None) -> None:
    """One method, or all there is, each with its settings."""
    from diptych.methods import EVALUATORS, METHODS, find

    known = {**METHODS, **EVALUATORS}
    if name is not None:
        print_json(method_json(name, find(name), _first_line(known.get(name, name))))
        return
    listed = {
        kind: [method_json(each, find(each), _first_line(where)) for each, where in names.items()]
        for kind, names in (("methods", METHODS), ("judges", EVALUATORS))
    }
    print_json({**listed, "recipes": _recipes(), "experiments": _recipes("experiments")})


def _first_line(where: str) -> str:
    """The first line of a method's module, read as text: no torch for a list of names."""
    import ast
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec(where.partition(":")[0])
    assert spec is not None
    assert spec.origin is not None
    return (ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or "").partition("\n")[0]


def _recipes(folder: str = "") -> list[str]:
    from pathlib import Path

    return sorted(path.stem for path in (Path(__file__).parents[1] / "settings" / "recipes" / folder).glob("*.yaml"))


def _explain(console: "Console", name: str) -> None:
    import inspect

    from rich.markup import escape
    from rich.table import Table

    from diptych.methods import find
    from diptych.settings.recipe import SETTINGS

    cls = find(name)
    say = console.print
    say(escape(inspect.getdoc(inspect.getmodule(cls)) or name), highlight=False)
    say("\n[bold]presets[/] (the first is the default)")
    for preset, values in cls.presets.items():
        say(
            f"  {preset}: " + (", ".join(f"{key}={value}" for key, value in values.items()) or "as below"),
            highlight=False,
        )
    for title, model in {"model": cls.Config, **SETTINGS}.items():
        table = Table(f"{title} setting", "default", "", box=None, header_style="bold")
        for key, field in model.model_fields.items():
            usual = "to be given" if field.is_required() else str(field.default)
            usual = "crop_size" if key == cls.image_size_field() else usual
            table.add_row(key, escape(usual), escape(field.description or ""))
        say(table, "")
    controls = Table("control", "default", "", box=None, header_style="bold")
    for control in cls.controls:
        controls.add_row(control.name, escape(str(control.default)), escape(control.help))
    say(controls)
