"""`--help` of every command: plain words, one example, no torch; former names are refused with the present ones."""

import re
import resource
import shlex
import subprocess
import sys

import pytest
import typer
from commands import diptych

from diptych import __version__
from diptych.cli import app, common
from diptych.cli.former_names import COMMANDS
from diptych.errors import ConfigError
from diptych.evaluation import runner

ROOT = typer.main.get_command(app)
RIDDLES = re.compile(r"\b(judges?|judged|heaps?|sheets?|shall|asked|told|made|looks?|sights?|truths?)\b", re.IGNORECASE)


def commands(group=ROOT, names=()):
    """Yield the names and the object of every command, also of groups."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*names, name))
        else:
            yield (*names, name), command


ALL = dict(commands())


def test_help_brings_no_torch():
    heavy = ("torch", "numpy", "PIL", "pydantic")
    code = f"import sys; from diptych.cli import app; import diptych; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_is_fast():
    """Less than 0.5 s of CPU time in the best of five processes, as other programs may run at the same time."""
    times = []
    for _ in range(5):
        start = children_seconds()
        subprocess.run([sys.executable, "-m", "diptych", "--help"], capture_output=True, check=True)
        times.append(children_seconds() - start)
    assert min(times) < 0.5


def children_seconds():
    """Return the CPU time of all processes that this one started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_the_version_needs_no_torch():
    code = (
        "import sys; from diptych.cli import main; sys.argv = ['diptych', '--version']\n"
        "try:\n    main()\nfinally:\n    assert 'torch' not in sys.modules"
    )
    for words in (["-c", code], ["-m", "diptych", "--version"]):
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == (f"diptych {__version__}\n", "")


@pytest.mark.parametrize("names", ALL, ids=" ".join)
def test_every_command_explains_itself(names):
    """A description, a text for each argument and option, no private words, and one example of this command."""
    command = ALL[names]
    texts = [command.help, *(param.help for param in command.params if not param.hidden)]
    assert all(text and text[0].isupper() and text.rstrip().endswith((".", ")")) for text in texts if text is not None)
    assert None not in texts
    assert not [text for text in texts if RIDDLES.search(text)]
    assert command.epilog.count("Example: ") == 1
    shown = diptych(*names, "--help", env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert command.epilog in shown.stdout


@pytest.mark.parametrize("names", ALL, ids=" ".join)
def test_the_example_can_be_parsed(names):
    words = shlex.split(ALL[names].epilog.removeprefix("Example: "))
    assert words[: 1 + len(names)] == ["diptych", *names]
    ALL[names].make_context(" ".join(names), words[1 + len(names) :])  # raises a usage error for unknown options


def test_choices_are_listed_in_help():
    for names, choices in (
        (("translate",), ("last|best", "image|training", "auto|left|right|none", "8|16|float", "white|keep")),
        (("predict",), ("auto|train|val|test|all", "last|best")),
        (("evaluator", "train"), ("classifier|segmenter",)),
    ):
        shown = diptych(*names, "--help", env={"COLUMNS": "200"}).stdout
        assert all(choice in shown for choice in choices), shown


def test_choices_are_those_of_the_library():
    assert common.SplitName.__args__ == runner.SPLITS
    assert common.Checkpoint.__args__ == runner.WHICH


def test_a_wrong_choice_is_refused_with_the_right_ones(tmp_path):
    done = diptych("predict", tmp_path, "-o", tmp_path / "out", "--split", "tset")
    assert done.exit_code == 2
    assert all(word in done.stderr for word in ("--split", "tset", "train", "val", "test"))


@pytest.mark.parametrize(("old", "new"), COMMANDS.items())
def test_a_former_command_is_answered_with_the_present_one(old, new):
    assert (new,) in ALL or new in ROOT.commands
    assert old not in ROOT.commands
    done = subprocess.run([sys.executable, "-m", "diptych", old, "x"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: `diptych {old}` is now `diptych {new}`\n"


def test_a_former_option_is_answered_with_the_present_one():
    with pytest.raises(ConfigError, match="--judge is now --evaluator: give --evaluator runs/c"):
        diptych("evaluate", "runs/x", "--judge", "runs/c")
    assert "--judge" not in diptych("evaluate", "--help").stdout
