"""`diptych predict`."""

from pathlib import Path
from typing import Annotated

import typer

from diptych.cli.allow_code import AllowCode
from diptych.cli.common import (
    Count,
    Device,
    EvaluationControls,
    EvaluationData,
    MethodClass,
    ModelFolder,
    Protocol,
    Split,
    Which,
    progress_bar_on_terminal,
)

EXAMPLE = "diptych predict runs/facades -o predictions/ --split test"


def predict(
    run: ModelFolder,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to create.", show_default=False)],
    data: EvaluationData = None,
    protocol: Protocol = None,
    control: EvaluationControls = None,
    split: Split = "auto",
    count: Count = None,
    which: Which = "last",
    device: Device = "auto",
    method: MethodClass = None,
    allow_code: AllowCode = None,
) -> None:
    """Write the translations of a split with their sources and targets: the input of `diptych evaluate`.

    The protocol decides which images are translated with which controls.
    """
    from diptych.cli.controls import split_controls
    from diptych.evaluation.runner import SampleRequest, open_trained, sample_run

    controls = split_controls(control)
    request = SampleRequest(protocol, data, split, count, which, device, method, controls=controls)
    with progress_bar_on_terminal("translating") as progress:
        samples = sample_run(open_trained(run), out, request, progress)
    typer.echo(f"{len(samples.rows)} translations in {out}")
