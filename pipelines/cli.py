"""The command `clso`.

A user's mistake exits with status 2, a failure of the work with 1, an interruption with 130. Heavy
imports wait until a command needs them, so that `clso --help` answers at once.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from clso.errors import DISK_ERRORS, ClsoError
from pipelines import energy_commands, storage_commands, study_commands
from pipelines.commands import STAGE_COMMANDS, StageCommand
from pipelines.flow_command import prepare_process, run_command
from pipelines.options import (
    DEFAULT_OUT,
    Config,
    Fresh,
    NoPrefect,
    Out,
    Overrides,
    RunName,
    complete_run,
    interruptible,
)
from pipelines.serve_command import serve

__all__ = ["app", "main"]

app = typer.Typer(
    name="clso",
    help="Small language models picked from libraries, without gradients.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"clso {version('clso')}")
        except PackageNotFoundError:
            typer.echo("clso, not installed: run from its source folder")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    del version  # its callback has printed it


def _add_stage_command(stage_command: StageCommand) -> None:
    def command(
        config: Config,
        overrides: Overrides = None,
        out: Out = DEFAULT_OUT,
        fresh: Fresh = False,
        no_prefect: NoPrefect = False,
    ) -> None:
        run = run_command(
            stage_command.name, config, overrides, out=out, no_prefect=no_prefect, fresh=fresh
        )
        from pipelines.inspect import show_outcome

        show_outcome(run)

    text = f"{stage_command.help}\n\nThe same command again resumes and reuses what is finished."
    app.command(stage_command.name, help=text)(command)


for _command in STAGE_COMMANDS:
    _add_stage_command(_command)


@app.command("ls")
def _list(out: Out = DEFAULT_OUT) -> None:
    """List the runs, the newest first."""
    from clso.report.terminal import TerminalTable
    from pipelines.console import console
    from pipelines.inspect import runs_table

    console.print(TerminalTable(runs_table(out)))


@app.command("show")
def _show(run: RunName, out: Out = DEFAULT_OUT) -> None:
    """Show a run's stages, results and energy."""
    from pipelines.inspect import find_run, show_run

    show_run(find_run(run, out))


@app.command("watch")
def _watch(run: RunName, out: Out = DEFAULT_OUT) -> None:
    """Watch a run while it works: stages, losses, energy. Ends with the run."""
    from pipelines.console import console
    from pipelines.inspect import find_run
    from pipelines.watch import watch_run

    try:
        watch_run(find_run(run, out), console)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@app.command("report")
def _report(run: RunName, out: Out = DEFAULT_OUT) -> None:
    """Write a run's HTML report and figures again, or a study's report, named by its folder."""
    from clso.report.run import report_page
    from clso.studies.tuning import TuningReport
    from pipelines.console import console
    from pipelines.inspect import find_run

    stored = find_run(run, out)
    page = TuningReport(stored).page() if stored.has("trials") else report_page(stored)
    console.print(f"report: {page.write(stored.folder)}", soft_wrap=True)


@app.command("compare")
def _compare(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN RUN...", help="Two runs or more.", autocompletion=complete_run),
    ],
    out: Out = DEFAULT_OUT,
    figure: Annotated[
        Path | None,
        typer.Option("--figure", metavar="FILE", help="Draw loss against energy there, as SVG."),
    ] = None,
) -> None:
    """Compare runs: results side by side, paired intervals where the test text is the same."""
    from pipelines.inspect import compare_runs, find_run

    if len(runs) < 2:
        raise ClsoError("compare needs two runs or more", remedy="`clso ls` lists them")
    stored = {run.path.resolve(): run for run in (find_run(name, out) for name in runs)}
    if len(stored) < 2:
        (run,) = stored.values()
        names = list(dict.fromkeys(runs))
        are = "is" if len(names) == 1 else "are"
        raise ClsoError(
            f"{' and '.join(names)} {are} one run, {run.run_id}, and a run does not differ from "
            "itself",
            remedy="name another run beside it; `clso ls` lists them",
        )
    compare_runs(list(stored.values()), figure)


class _ExportFormat(StrEnum):
    """What `clso export` writes."""

    HUGGINGFACE = "huggingface"
    ARPA = "arpa"


@app.command("export")
def _export(
    run: RunName,
    to: Annotated[Path, typer.Option("--to", help="A folder that does not exist yet.")],
    model: Annotated[str, typer.Option("--model", help="Which of the run's models.")] = "gpt",
    form: Annotated[
        _ExportFormat,
        typer.Option(
            "--format",
            help="A Hugging Face checkpoint with its tokenizer, or a mixture's plain n-gram "
            "functions as ARPA files, one each.",
        ),
    ] = _ExportFormat.HUGGINGFACE,
    out: Out = DEFAULT_OUT,
) -> None:
    """Copy a model of a run: a Hugging Face checkpoint, or the ARPA files of its n-grams."""
    from pipelines.console import console
    from pipelines.inspect import find_run
    from pipelines.run_model import RunModel

    chosen = RunModel.find(find_run(run, out), model)
    done = chosen.export_arpa(to) if form is _ExportFormat.ARPA else chosen.export(to)
    console.print(done, soft_wrap=True)


@app.command("refit")
def _refit(
    run: RunName,
    to: Annotated[Path, typer.Option("--to", help="A folder that does not exist yet.")],
    model: Annotated[
        str | None, typer.Option("--model", help="Which of the run's models; else its mixture.")
    ] = None,
    out: Out = DEFAULT_OUT,
) -> None:
    """Count a mixture on all text, validation and test included: for use, not for proof."""
    from pipelines.console import RichReporter, console
    from pipelines.inspect import find_run
    from pipelines.refit import refit

    found = find_run(run, out)
    with interruptible():
        done = refit(found, to, model, reporter=RichReporter())
    console.print(done, soft_wrap=True)


@app.command("generate")
def _generate(
    run: RunName,
    prompt: Annotated[
        str, typer.Option("--prompt", metavar="TEXT", help="What is continued; may be empty.")
    ] = "",
    model: Annotated[
        str | None,
        typer.Option("--model", help="Which of the run's models; else the best on validation."),
    ] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", help="The longest text.")] = 100,
    temperature: Annotated[
        float,
        typer.Option("--temperature", help="1: as the model has it; 0: the most probable token."),
    ] = 0.8,
    top_p: Annotated[
        float, typer.Option("--top-p", help="Draw from the most probable tokens of this mass.")
    ] = 0.95,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random draws.")] = 0,
    out: Out = DEFAULT_OUT,
) -> None:
    """Continue a text with a model of a run; prints prompt and continuation as it is written."""
    from clso.generation import Sampling

    sampling = Sampling(max_tokens, temperature, top_p, seed)
    from pipelines.generate import continue_text
    from pipelines.inspect import find_run

    try:
        continue_text(find_run(run, out), model, prompt, sampling)
    except KeyboardInterrupt:
        typer.echo()
        raise typer.Exit(130) from None


@app.command("score")
def _score(
    run: RunName,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Text, or rows of text; compressed or not.")
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", help="Which of the run's models; else the best on validation."),
    ] = None,
    costliest: Annotated[
        int, typer.Option("--costliest", min=0, max=10_000, help="How many tokens are listed.")
    ] = 10,
    text_field: Annotated[
        str, typer.Option("--text-field", metavar="NAME", help="The field of a row with text.")
    ] = "text",
    out: Out = DEFAULT_OUT,
) -> None:
    """Score a file of any size with a model of a run: loss, bits per byte, costliest tokens."""
    from clso.report.terminal import TerminalTable
    from pipelines.console import RichReporter, console
    from pipelines.inspect import find_run
    from pipelines.score import score_file, score_table

    found = find_run(run, out)
    with interruptible():
        name, score = score_file(
            found,
            file,
            model,
            costliest=costliest,
            text_field=text_field,
            reporter=RichReporter(),
        )
    console.print(TerminalTable(score_table(found, file, name, score)))


study_commands.add_commands(app)
app.command("serve")(serve)
storage_commands.add_commands(app)
energy_commands.add_commands(app)


@app.command("doctor")
def _doctor(out: Out = DEFAULT_OUT) -> None:
    """Say what this machine can do: versions, meters, data, disk, network."""
    from pipelines.doctor import diagnose

    diagnose(out)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, by default the process's own, and exit with its status."""
    prepare_process()
    # The signal of a container or scheduler before it kills: end in order, as on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app(arguments)
    except ClsoError as error:
        _fail(str(error), error.exit_status)
    except OSError as error:
        if error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror}", 1 if error.errno in DISK_ERRORS else 2)


def _fail(message: str, status: int) -> NoReturn:
    from rich.text import Text

    from pipelines.console import error_console

    error_console.print(Text.assemble(("error:", "red"), f" {message}"), soft_wrap=True)
    sys.exit(status)
