"""`diptych study`: people judge translations in the browser."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from diptych.studies.study_folder import StudyFolder

EXAMPLE = "diptych study new samples/l1 samples/gan -o studies/loss --preset pix2pix-2017"
INSTALL = "studies need FastAPI, uvicorn, SQLAlchemy and SciPy: pip install 'diptych[study]'"
app = typer.Typer(
    no_args_is_help=True,
    help="Human studies in the browser: real or fake, A/B, best of N, mean opinion score.",
    epilog=f"Example: {EXAMPLE}",
)

StudyPath = Annotated[Path, typer.Argument(help="Folder of the study.", show_default=False)]
Database = Annotated[
    str | None,
    typer.Option(
        help="Address of the database, such as postgresql+psycopg://user@host/name.",
        show_default="answers.sqlite in the folder",
    ),
]
Simulated = Annotated[bool, typer.Option("--simulated", help="Use the answers of `diptych study simulate`.")]
SIMULATED = "simulated.sqlite"


@app.command(epilog=f"Example: {EXAMPLE}")
def new(
    methods: Annotated[
        list[str],
        typer.Argument(
            help="Sample folders of `diptych predict` or folders of images, one for each method; NAME=FOLDER names it.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to create.", show_default=False)],
    preset: Annotated[str, typer.Option(help="Published study whose design to use.")] = "pix2pix-2017",
    design: Annotated[
        Path | None, typer.Option(help="YAML file with values of the design.", show_default=False)
    ] = None,
    real: Annotated[
        Path | None, typer.Option(help="Folder of real images.", show_default="those of the samples")
    ] = None,
    input_: Annotated[
        Path | None, typer.Option("--input", help="Folder of input images.", show_default="those of the samples")
    ] = None,
    reference: Annotated[Path | None, typer.Option(help="Folder of reference images.", show_default=False)] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="Value of the design, such as trials=20. Repeatable.", show_default=False),
    ] = None,
) -> None:
    """Create a study: a folder with the design and the images, all encoded alike.

    Images of the methods are matched by name. The design never changes afterwards.
    """
    from diptych.errors import ConfigError, StudyError
    from diptych.settings.validate import read_mapping
    from diptych.studies.arms import read_arms
    from diptych.studies.design import design_of
    from diptych.studies.power import planned
    from diptych.studies.study_folder import create
    from diptych.studies.trials import inputs_each
    from diptych.system.safe_parse import parse_yaml

    values = read_mapping(design, error=StudyError, what="the design of a study") if design else {}
    for pair in settings or []:
        key, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set {pair}: expected KEY=VALUE")
        try:
            values[key] = parse_yaml(text)
        except ValueError as error:
            raise ConfigError(f"--set {pair}: not a YAML value ({error})") from error
    chosen = design_of(**{"preset": preset, **values})
    arms = read_arms(methods, {"real": real, "input": input_, "reference": reference})
    study = create(out, chosen, arms.files, arms.origin, arms.translations)
    names = study.table.methods
    typer.echo(
        f"{out}: {len(names)} methods ({', '.join(names)}), {len(study.table.images)} images, "
        f"{inputs_each(chosen, study.table.stimuli()) + chosen.practice} for each participant"
    )
    typer.echo(f"planned: {planned(chosen, len(names))}")
    typer.echo(f"start it with: diptych study serve {out}")


@app.command(epilog="Example: diptych study serve studies/loss")
def serve(
    study: StudyPath,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    token: Annotated[str, typer.Option(help="Token that the link of participants must have.", show_default=False)] = "",
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(help="Name under which participants reach the server. Repeatable.", show_default=False),
    ] = None,
    database: Database = None,
) -> None:
    """Serve a study to participants, on this machine unless --host and --token are given."""
    from diptych.errors import ConfigError

    opened = _open(study)
    try:
        from diptych.studies.serve import serve as run_server
        from diptych.web.uvicorn_server import check_host
    except ImportError as error:
        raise ConfigError(INSTALL) from error
    check_host(host, token)
    store = opened.store(database)
    try:
        run_server(opened, store, host, port, (host, *(allowed_host or ())), token, log=typer.echo)
    finally:
        store.close()


@app.command(epilog="Example: diptych study simulate studies/loss --truth l1=0.1 --truth gan=0.3")
def simulate(
    study: StudyPath,
    truth: Annotated[
        list[str],
        typer.Option(help="True value of a method: rate fooled, strength or score. Repeatable.", metavar="NAME=VALUE"),
    ],
    raters: Annotated[int, typer.Option(min=1, max=10_000, help="Number of honest participants.")] = 25,
    clickers: Annotated[int, typer.Option(min=0, max=10_000, help="Number of participants who click at random.")] = 0,
    icc: Annotated[float, typer.Option(min=0, max=0.9, help="How alike the answers of one participant are.")] = 0.05,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 0,
) -> None:
    """Simulate participants of known ability, whose answers are kept apart from those of people."""
    from diptych.errors import ConfigError
    from diptych.studies.simulate import Population
    from diptych.studies.simulate import simulate as run_simulation

    opened = _open(study)
    try:
        values = {name: float(value) for name, _, value in (pair.partition("=") for pair in truth)}
    except ValueError as error:
        raise ConfigError(f"--truth: expected NAME=VALUE with a number ({error})") from error
    store = opened.store(_simulated(opened))
    run_simulation(opened, store, Population(values, raters, clickers, icc, seed=seed))
    joined, _, answers = store.counts()
    store.close()
    typer.echo(f"{answers} simulated answers of {joined} participants in {opened.path / SIMULATED}")


@app.command(epilog="Example: diptych study analyze studies/loss")
def analyze(
    study: StudyPath,
    simulated: Simulated = False,
    database: Database = None,
    metrics: Annotated[
        list[Path] | None,
        typer.Option(
            help="Evaluated run of a method, found by its name, to correlate votes and metrics. Repeatable.",
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option("--protocol", "-p", help="Protocol of --metrics.", show_default="the one that all have"),
    ] = None,
) -> None:
    """Analyse the answers: intervals over participants, with and without excluded ones; a report, CSV and LaTeX.

    `diptych compare RUN... --study STUDY` then shows the votes beside metrics.
    """
    from diptych.evaluation.compare.read import read_runs
    from diptych.evaluation.compare.study_votes import with_votes
    from diptych.studies.analysis import analyse
    from diptych.studies.study_report import write_report
    from diptych.studies.vote_scores import vote_results, write_votes

    opened = _open(study)
    store = opened.store(_simulated(opened) if simulated else database)
    analysis = analyse(opened, store.answers(), store.counts()[0])
    store.close()
    votes = vote_results(analysis, simulated)
    evaluated = with_votes(read_runs(metrics, protocol), votes) if metrics else []
    page = write_report(analysis, opened.path / "report", simulated, evaluated)
    write_votes(votes, opened.path)
    for row in analysis.included.rows:
        typer.echo(f"{row.question}  {row.measure}  {row.method}  {row.estimate}")
    typer.echo(f"{len(analysis.reasons)} participants excluded; report: {page}")


@app.command(epilog="Example: diptych study export studies/loss -o answers.csv")
def export(
    study: StudyPath,
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV file to write.", show_default=False)],
    simulated: Simulated = False,
    database: Database = None,
) -> None:
    """Write all answers as CSV: a row for each, with method, side, times and measured exposures."""
    from diptych.studies.study_report import answers_csv
    from diptych.system.atomic_files import write_text

    opened = _open(study)
    store = opened.store(_simulated(opened) if simulated else database)
    write_text(out, answers_csv(opened, store.answers()))
    store.close()
    typer.echo(f"{out}")


@app.command(epilog="Example: diptych study plan --raters 50 --votes-each 20")
def plan(
    raters: Annotated[int, typer.Option(min=2, max=1_000_000, help="Number of participants.")] = 25,
    votes_each: Annotated[int, typer.Option(min=1, max=10_000, help="Trials of each participant.")] = 40,
    icc: Annotated[float, typer.Option(min=0, max=1, help="How alike the answers of one participant are.")] = 0.05,
) -> None:
    """Print what a number of votes can show: width of the interval of a rate, and power against 50 %."""
    from diptych.studies.power import Budget, half_width, power, votes_needed

    budget = Budget(raters, votes_each, icc)
    typer.echo(f"{raters * votes_each} votes count as {budget.effective_votes:.0f} independent ones")
    typer.echo(f"a rate near 50 % is known to within {100 * half_width(budget):.1f} percentage points (95 %)")
    for rate in (0.55, 0.6, 0.65, 0.7):
        needed = votes_needed(rate, votes_each=votes_each, icc=icc)
        typer.echo(f"power for {rate:.0%} against 50 %: {power(budget, rate):.0%} (80 % needs {needed} votes)")
    typer.echo("more participants with fewer trials each say more than fewer with more trials")


@app.command(epilog="Example: diptych study delete studies/loss --participant 5f3c")
def delete(
    study: StudyPath,
    participant: Annotated[str, typer.Option(help="Number, or id on a panel.", show_default=False)],
    database: Database = None,
) -> None:
    """Delete a participant with all answers. What was exported or analysed before is not changed."""
    from diptych.errors import StudyError

    opened = _open(study)
    store = opened.store(database)
    found = store.forget(participant)
    store.close()
    if not found:
        raise StudyError(f"{study}: no participant {participant}")
    typer.echo("deleted")


def _open(path: Path) -> "StudyFolder":
    from diptych.errors import ConfigError
    from diptych.studies.study_folder import StudyFolder

    try:
        import scipy  # noqa: F401
        import sqlalchemy  # noqa: F401
    except ImportError as error:
        raise ConfigError(INSTALL) from error
    return StudyFolder.open(path)


def _simulated(study: "StudyFolder") -> str:
    return f"sqlite:///{study.path.absolute() / SIMULATED}"
