"""The commands of studies: each runs many searches and prints the outcome."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.flow_command import run_command
from pipelines.options import (
    DEFAULT_OUT,
    Config,
    Fresh,
    NoPrefect,
    Out,
    Overrides,
    interruptible,
)

if TYPE_CHECKING:
    from clso.artifacts import Run

__all__ = ["add_commands"]


def add_commands(app: typer.Typer) -> None:
    """Add every study to the command line."""
    app.command("rivals")(_rivals)
    app.command("tune")(_tune)
    for study, text in _ARMS_HELP.items():
        app.command(study, help=text)(_arms_command(study))
    app.command("pareto")(_pareto)
    app.command("transfer")(_transfer)
    app.command("multitask")(_multitask)
    app.command("continual")(_continual)
    app.command("finetune")(_finetune)


_ARMS_HELP = {
    "ablate": "Change one thing about the search at a time, and say what each change is worth.\n\n"
    "The configuration's section `ablate` lists the changes. The same command again resumes and "
    "reuses what is finished.",
    "savings": "Count the evaluations and joules that a surrogate saves a search for the same "
    "loss.\n\nThe section `savings`, if there is one, lists the ways to save that are compared: "
    "surrogates, acquisitions, ladders, adaptive populations. The same command again resumes and "
    "reuses what is finished.",
}


def _arms_command(study: str) -> Callable[..., None]:
    def command(
        config: Config,
        overrides: Overrides = None,
        family: Annotated[
            list[str] | None,
            typer.Option(
                "--family",
                metavar="FAMILY",
                help="Search this family only; may be given again. By default all of the "
                "configuration.",
            ),
        ] = None,
        seeds: Annotated[
            int | None,
            typer.Option(
                "--seeds", min=2, help="Searches of each arm, instead of the configuration's."
            ),
        ] = None,
        evaluations: Annotated[
            int | None,
            typer.Option(
                "--evaluations",
                min=1,
                metavar="N",
                help="Budget of each search, instead of the configuration's.",
            ),
        ] = None,
        out: Out = DEFAULT_OUT,
        no_prefect: NoPrefect = False,
    ) -> None:
        options = {"families": family or (), "seeds": seeds, "evaluations": evaluations}
        run = run_command(study, config, overrides, out=out, no_prefect=no_prefect, **options)
        _show(run, "ablations" if study == "ablate" else "savings")

    return command


def _show(run: Run, study: str, family: str | None = None) -> None:
    from clso.studies import study_sections
    from pipelines.console import console
    from pipelines.inspect import show_sections

    show_sections(study_sections(run, study, family))
    console.print(str(run.path), soft_wrap=True)


def _rivals(
    config: Config,
    overrides: Overrides = None,
    family: Annotated[
        str | None,
        typer.Option(
            "--family",
            metavar="FAMILY",
            help="The model family; by default the first whose genomes pick sets (the mixture), or "
            "else the first.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=2, help="Searches of each kind.")] = 10,
    evaluations: Annotated[
        list[int] | None,
        typer.Option(
            "--evaluations",
            min=1,
            metavar="N",
            help="A budget to compare at; may be given again. By default 100, 150, 300, 600, "
            "1,200 and as many as the greedy method needs.",
        ),
    ] = None,
    out: Out = DEFAULT_OUT,
    no_prefect: NoPrefect = False,
) -> None:
    """Compare a search with random search, greedy selection and a family's other methods.

    The same command again resumes and reuses what is finished.
    """
    options = {"family": family, "seeds": seeds, "evaluations": evaluations or ()}
    run = run_command("rivals", config, overrides, out=out, no_prefect=no_prefect, **options)
    _show(run, "rivals")


def _pareto(
    config: Config,
    overrides: Overrides = None,
    family: Annotated[
        str | None,
        typer.Option(
            "--family",
            metavar="FAMILY",
            help="The model family; by default the last that counts the costs of its models.",
        ),
    ] = None,
    objectives: Annotated[
        str,
        typer.Option(
            "--objectives", metavar="A,B,...", help="What to minimise: loss, stored_bytes, flops."
        ),
    ] = "loss,stored_bytes,flops",
    generations: Annotated[
        int,
        typer.Option("--generations", min=1, help="Number of NSGA-II generations, with the first."),
    ] = 15,
    population: Annotated[
        int, typer.Option("--population", min=2, help="Models that each generation evaluates.")
    ] = 40,
    out: Out = DEFAULT_OUT,
    no_prefect: NoPrefect = False,
) -> None:
    """Search for the models that are best for their size and work: a Pareto front.

    Joules per token are measured for these models afterwards; no search reads them.

    The same command again resumes and reuses what is finished.
    """
    names = [name.strip() for name in objectives.split(",")]
    options = {"objectives": names, "population": population, "generations": generations}
    options["family"] = family
    run = run_command("pareto", config, overrides, out=out, no_prefect=no_prefect, **options)
    _show(run, "pareto", family)


_TextFamily = Annotated[
    str | None,
    typer.Option(
        "--family", metavar="FAMILY", help="The model family; by default the first of the run."
    ),
]
_TextSeeds = Annotated[
    int, typer.Option("--seeds", min=1, help="Repetitions of everything, each with its own seed.")
]


def _transfer(
    config: Config,
    overrides: Overrides = None,
    sources: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="TEXT",
            help="A text whose library and genome are used on others; may be given again. By "
            "default all of the section `texts`.",
        ),
    ] = None,
    targets: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            metavar="TEXT",
            help="A text that they are used on; may be given again. By default all.",
        ),
    ] = None,
    family: _TextFamily = None,
    seeds: _TextSeeds = 5,
    out: Out = DEFAULT_OUT,
    no_prefect: NoPrefect = False,
) -> None:
    """Use the library and the genome of one text on another: what is lost, what is saved.

    The section `texts` names the texts. The same command again resumes.
    """
    options = {"family": family, "sources": sources or (), "targets": targets or (), "seeds": seeds}
    run = run_command("transfer", config, overrides, out=out, no_prefect=no_prefect, **options)
    _show(run, "transfer", family)


_TextNames = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        metavar="TEXT",
        help="A text of the section `texts`; may be given again. By default all, in its order.",
    ),
]


def _multitask(
    config: Config,
    overrides: Overrides = None,
    texts: _TextNames = None,
    family: _TextFamily = None,
    share: Annotated[
        float,
        typer.Option(
            "--share",
            metavar="S",
            help="Share of the bytes of all libraries that the joined library may take.",
        ),
    ] = 0.6,
    seeds: _TextSeeds = 5,
    out: Out = DEFAULT_OUT,
    no_prefect: NoPrefect = False,
) -> None:
    """Give several texts one library and a genome each: what is lost, and the bytes it saves.

    The same command again resumes and reuses what is finished.
    """
    options = {"family": family, "texts": texts or (), "share": share, "seeds": seeds}
    run = run_command("multitask", config, overrides, out=out, no_prefect=no_prefect, **options)
    _show(run, "multitask", family)


def _continual(
    config: Config,
    overrides: Overrides = None,
    texts: _TextNames = None,
    family: _TextFamily = None,
    seeds: _TextSeeds = 3,
    out: Out = DEFAULT_OUT,
    no_prefect: NoPrefect = False,
) -> None:
    """Learn the texts in turn: switch genomes, or train one AdamW GPT-2 further, which forgets.

    The same command again resumes and reuses what is finished.
    """
    options = {"family": family, "texts": texts or (), "seeds": seeds}
    run = run_command("continual", config, overrides, out=out, no_prefect=no_prefect, **options)
    _show(run, "continual", family)


def _tune(
    config: Config,
    overrides: Overrides = None,
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, help="In place of tune.trials.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="URL",
            help="Where the study is kept: postgresql://user@host/name, or journal:PATH for a "
            "shared disk; by default an SQLite file beside the results.",
        ),
    ] = None,
    out: Out = DEFAULT_OUT,
    fresh: Fresh = False,
    no_prefect: NoPrefect = False,
) -> None:
    """Tune a search's hyperparameters with Optuna, and check the best on other seeds.

    The same command again continues the study. Several processes at a time share it.
    """
    from clso.studies.tuning import TuningReport
    from pipelines.console import console
    from pipelines.inspect import show_sections

    options = {"trials": trials, "fresh": fresh}
    if storage is not None:
        # in the configuration, which is never stored with a password, and Prefect stores options
        overrides = [*(overrides or ()), f"tune.storage={json.dumps(storage, ensure_ascii=False)}"]
    run = run_command("tune", config, overrides, out=out, no_prefect=no_prefect, **options)
    show_sections(TuningReport(run).sections())
    console.print(f"report: {run.folder.report_path}", soft_wrap=True)
    console.print(f"tuned configuration: {run.path / 'best.yaml'}", soft_wrap=True)


def _finetune(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN|CONFIG",
            help="A finished run, as for `clso show`, or the configuration that made it.",
        ),
    ],
    tasks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TASK",
            help="kjv_books, sst2, cola, a name in finetune.tasks, or a folder with the files "
            "train and dev (tsv, csv, jsonl, parquet). By default those of finetune.tasks, or "
            "else kjv_books.",
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="A.B=C",
            help="Override a value of the sections finetune and runtime, such as "
            "finetune.epochs=3.",
        ),
    ] = None,
    out: Out = DEFAULT_OUT,
) -> None:
    """Fine-tune a run's GPT-2 models to classify texts, and random weights beside them.

    AdamW trains classifiers from each GPT-2 of the run, with several seeds.
    The same command again resumes and reuses what is finished.
    """
    from pipelines.config.load import parse_override
    from pipelines.console import RichReporter
    from pipelines.repeats import repeated_run

    changed = dict(map(parse_override, overrides or ()))
    found = repeated_run(run, out)
    with interruptible():
        from pipelines.studies.finetune import finetune

        studied = finetune(found, tasks or (), changed, reporter=RichReporter())
    _show(studied, "finetunings")
