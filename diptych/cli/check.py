"""`diptych check`."""

from typing import TYPE_CHECKING, Annotated

import typer

from diptych.cli.completion import complete_method

if TYPE_CHECKING:
    from collections.abc import Callable

    from diptych.testing import MethodUnderTest

EXAMPLE = "diptych check my_package.unit:UNIT"
REMEDIES = {
    "batch_entries_match_data_kind": "declare `data`, and in `batch` as many image and label entries as that kind of "
    "data has",
    "updates_change_only_named_players": "list in a Player only its own networks, and detach generated images in the "
    "discriminator "
    "loss; every network of a Player must get a gradient when that player is updated",
    "training_is_deterministic": "draw random numbers only from torch's global generator inside the update rule, and "
    "keep no state outside of parameters and buffers",
    "resume_is_exact": "keep everything that changes between steps in parameters and buffers of the method, so that "
    "`state_dict` holds it",
    "gradient_accumulation_is_exact": "make each loss a mean over samples; put settings without noise and batch "
    "statistics into "
    "`checks.independent`",
    "ranks_match_one_process": "make each loss a mean over samples; put settings without noise and batch statistics "
    "into "
    "`checks.independent`",
    "translate_is_pure": "compute in `translate` under no_grad, in eval mode, with an output in [-1, 1] and the size "
    "of the input times `traits.upscale_factor`; restore the training mode",
    "samples_depend_on_seed_and_number": "derive the latent code of each image in `sample` from the seed and its "
    "number",
    "saved_files_round_trip": "list in `inference_networks` every network that `translate` uses, and keep settings "
    "in Config "
    "as plain numbers, strings and tuples",
    "player_order_depends_on_clock": "choose players by the clock (step and stage) alone, never by values in the batch",
    "updates_never_wait_for_device": "avoid `.item()`, `float(tensor)` and `if tensor:` in the update rule; use "
    "torch.where",
    "cuda_graph_replay_is_exact": "compute what changes from step to step on the device: from clock tensors and "
    "buffers, not from Python numbers kept between steps",
    "short_run_learns": "check the signs and weights of the loss terms and the learning rate in `checks.tiny` or "
    "`checks.learning`",
}  # what to change in a method, by the name of the check that fails


def check(
    method: Annotated[
        str,
        typer.Argument(
            help="Method to check: package.module:Class, or the name of a method of Diptych.",
            metavar="PACKAGE.MODULE:CLASS",
            show_default=False,
            autocompletion=complete_method,
        ),
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(help="Name of a check to run, instead of all. Repeatable.", metavar="CHECK", show_default=False),
    ] = None,
) -> None:
    """Check that a method class keeps the contract of a method: exact resume, pure translation, learning, and more.

    Each check trains the config `checks.tiny` of the class on embedded letters at 32 pixels. A failed check prints what
    it found and what to change. Exit code 0: all checks passed. Exit code 1: at least one failed.
    """
    from diptych.methods import find
    from diptych.testing import MethodUnderTest

    checks = _selected(only)
    cls = find(method)
    failed = []
    for number, (name, run_check) in enumerate(checks.items(), 1):
        typer.echo(f"{number:2}/{len(checks)} {name}: ", nl=False)
        if not _passes(name, run_check, MethodUnderTest(cls)):
            failed.append(name)
    if failed:
        typer.echo(f"{len(failed)} of {len(checks)} checks failed: {', '.join(failed)}")
        raise typer.Exit(1)
    typer.echo(f"all {len(checks)} checks passed")


def _selected(names: list[str] | None) -> "dict[str, Callable[[MethodUnderTest], None]]":
    """Return the checks of these names, or all of them. Raises ConfigError for an unknown name."""
    from diptych.errors import ConfigError, nearest
    from diptych.testing import CHECKS

    for name in names or []:
        if name not in CHECKS:
            raise ConfigError(f"--only {name}: no such check{nearest(name, CHECKS)}; there are {', '.join(CHECKS)}")
    return {name: run_check for name, run_check in CHECKS.items() if not names or name in names}


def _passes(name: str, run_check: "Callable[[MethodUnderTest], None]", subject: "MethodUnderTest") -> bool:
    """Run a check and print its time, or what it found and the remedy. Return whether it passed."""
    import time
    import traceback

    start = time.perf_counter()
    try:
        run_check(subject)
    except AssertionError as error:
        reason = str(error)
    except Exception as error:  # the code of the method itself failed
        frame = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"
    else:
        typer.echo(f"passed ({time.perf_counter() - start:.1f} s)")
        return True
    promise = (run_check.__doc__ or "").strip().partition("\n")[0]
    typer.echo(
        f"FAILED\n    expected: {promise}\n    found: {reason}\n    remedy: {REMEDIES.get(name, 'see the check')}"
    )
    return False
