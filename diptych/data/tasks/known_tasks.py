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
        problems = []
        for problem in error.errors():
            option, message = ".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, ")
            problems.append(f"{option}: {message}" if option else message)
        raise ValueError(f"task_options of {name}: {listed(problems, 5)}") from error
