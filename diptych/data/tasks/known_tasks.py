"""The table of tasks, by the value of the setting `task`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from diptych.data.tasks.colorize import Colorize
from diptych.data.tasks.degrade import Deblur, Denoise, Jpeg, Lowlight, SuperResolution
from diptych.data.tasks.edges import Edges, Sketch
from diptych.data.tasks.inpaint import Inpaint
from diptych.data.tasks.task import Task
from diptych.errors import listed, nearest, shown

NOT_A_RANGE = ("tuple_type", "missing", "too_long", "too_short")  # errors of pydantic about the form of a pair

TASKS: Mapping[str, type[Task]] = MappingProxyType(
    {task.name: task for task in (Colorize, Edges, Sketch, Inpaint, Deblur, Denoise, Jpeg, SuperResolution, Lowlight)}
)


def task_of(name: str, options: Mapping[str, Any]) -> Task:
    """Return a task with its options. Raises ValueError for an unknown task or option, or a value out of range."""
    if name not in TASKS:
        raise ValueError(f"task={shown(name)}: unknown task{nearest(name, TASKS)}; choose one of {', '.join(TASKS)}")
    cls = TASKS[name]
    for key in options:
        if key not in cls.model_fields:
            raise ValueError(
                f"task_options: {name} has no option {shown(key)}{nearest(str(key), cls.model_fields)}; it has "
                f"{', '.join(cls.model_fields)}"
            )
    try:
        return cls(**options)
    except ValidationError as error:
        problems = dict.fromkeys(_describe(cls, options, problem) for problem in error.errors())
        raise ValueError(f"task_options of {name}: {listed(list(problems), 5, '; ')}") from error


def _describe(cls: type[Task], options: Mapping[str, Any], problem: Mapping[str, Any]) -> str:
    """Return what is wrong with an option. The range of an option is [LOW,HIGH], of two numbers."""
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:  # of options together
        return message
    key = str(problem["loc"][0])
    if problem["type"] in NOT_A_RANGE and "tuple" in str(cls.model_fields[key].annotation):
        default = cls.model_fields[key].default
        example = f", such as {list(default)}" if default else ""
        message = f"expected [LOW,HIGH], two numbers{example}"
    return f"{key}={shown(options[key])}: {message}"
