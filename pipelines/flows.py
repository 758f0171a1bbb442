"""The commands that do work as Prefect flows: what is run, retried and shown, and no logic.

Each flow takes the arguments of the function of its name in `pipelines` and returns the run:

    from pipelines.flows import FLOWS
    FLOWS["run"]("configs/quick.yaml", {"seed": 1}, out="artifacts")

Prefect stores the parameters as JSON and draws a form from their types and descriptions. A path
becomes a text, and a configuration the mapping of its sections.

A flow runs whole stages or a whole study, never single genomes: a task costs some milliseconds, an
evaluation may cost less. Prefect's own cache is off, because the stages' completion markers alone
decide on reuse. `pipelines.prefect_pages` fills Prefect's pages.

Importing this module imports Prefect; call `prepare_environment` before.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from prefect import Flow, flow
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import deployment
from prefect.tasks import Task
from pydantic import Field, PlainValidator

import pipelines
from clso.artifacts import Run
from clso.errors import ConfigError, DownloadError
from clso.progress import SILENT, Reporter
from pipelines.commands import STAGE_COMMANDS, StageCommand
from pipelines.config import ConfigSource, RunConfig, read_config
from pipelines.context import RunContext
from pipelines.flow_link import FlowLink, attend, tell
from pipelines.folders import output_folder
from pipelines.prefect_pages import RunPage
from pipelines.stage import Stage

__all__ = ["FLOWS", "listener"]

R = TypeVar("R")

_DOWNLOAD_RETRIES = 2
_RETRY_DELAY_S = 5

# Shows the progress besides Prefect; the command line sets its terminal here.
listener: ContextVar[Reporter] = ContextVar("listener", default=SILENT)


def _storable(value: Any) -> Any:  # noqa: ANN401 - what a caller gives; `read_config` checks it
    """Return a parameter as JSON has it; what has no such form is returned as it is.

    A configuration stays what it is: in JSON it has no passwords.
    """
    if isinstance(value, Path):
        return str(value.absolute())  # with a folder, so that it is not the name of a shipped one
    if isinstance(value, Mapping):
        return {key: _storable(inner) for key, inner in value.items()}
    return value


def _folder_text(value: object) -> str:
    text = str(value)
    if not text.strip():
        raise ValueError("the folder has no name")
    return text


# Any value passes: `read_config` says in one sentence what is wrong with it.
_Config = Annotated[
    ConfigSource, PlainValidator(_storable, json_schema_input_type=str | dict[str, Any])
]
_Overrides = Annotated[
    Mapping[str, Any] | None,
    PlainValidator(_storable, json_schema_input_type=dict[str, Any] | None),
]
_Out = Annotated[str | Path, PlainValidator(_folder_text, json_schema_input_type=str)]
_Count = Annotated[int, Field(ge=1)]
_Several = Annotated[int, Field(ge=2)]

_DESCRIPTIONS = {
    "config": "The name of a shipped configuration, such as quick; the path of a YAML file on the "
    "machine that runs the flow; or a mapping of its sections.",
    "overrides": "Values that replace the configuration's, by dotted path, such as "
    '`{"seed": 1, "data.train_tokens": 64000}`.',
    "out": "The folder of all artifacts. Runs of a deployment need an absolute one, or one that "
    "begins with ~, because a worker starts them in a temporary folder.",
    "fresh": "Delete this run's earlier results and start anew; data sets and libraries stay.",
    "family": "The model family, such as mixture. By default the study chooses one.",
    "sources": "Texts whose libraries and genomes are used on others. By default all.",
    "targets": "Texts that they are used on. By default all.",
    "texts": "Texts of the configuration's section `texts`. By default all.",
    "share": "Share of the bytes of all libraries that the joined library may take.",
    "families": "The model families to search. By default all of the configuration.",
    "seeds": "Searches of each arm, in place of the configuration's.",
    "evaluations": "Budget of each search, in place of the configuration's.",
}
"""What the form says of a parameter, where the flow itself says nothing else."""


def _stage_flow(command: StageCommand) -> Flow[..., Run]:
    def stages(
        config: _Config,
        overrides: _Overrides = None,
        *,
        out: _Out = "artifacts",
        fresh: bool = False,
    ) -> Run:
        def work(link: FlowLink) -> Run:
            settings, folder, page = _begin(config, overrides, out)

            def do(stage: Stage, run: RunContext) -> None:
                # The run stays in a closure: Prefect would search a parameter for futures.
                _as_task(link, stage.name, lambda: page.run_stage(stage, run))

            run = command.execute(settings, folder, fresh, page.reporter, do)
            tell(page.publish_run, run)
            return run

        return attend(work)

    stages.__name__ = command.name
    return _flow(command.help)(stages)


def _flow(help: str, **descriptions: str) -> Callable[[Callable[..., Run]], Flow[..., Run]]:
    """Make a function a flow, with a description of each parameter for the form."""

    def made(function: Callable[..., Run]) -> Flow[..., Run]:
        texts = _DESCRIPTIONS | descriptions
        arguments = inspect.signature(function).parameters
        # Prefect reads the descriptions here and nowhere else
        function.__doc__ = "\n".join(
            [help, "", "Args:", *(f"    {name}: {texts[name]}" for name in arguments)]
        )
        # Two processes share the folder of results: the stages' markers alone decide on reuse.
        named = flow(name=f"clso-{function.__name__}", description=help, persist_result=False)
        return named(function)

    return made


def _begin(
    config: ConfigSource, overrides: Mapping[str, Any] | None, out: str | Path
) -> tuple[RunConfig, Path, RunPage]:
    """Return configuration, output folder and page of the flow run that begins.

    Raises:
        ConfigError: the configuration is wrong, or the folder is relative to a worker's.
    """
    settings, folder = read_config(config, overrides), output_folder(out)
    if deployment.id is not None and not folder.is_absolute():
        raise ConfigError(
            f"out is {str(out)!r}, a relative folder, and a worker's own folder is temporary",
            remedy="give an absolute folder, or one that begins with ~",
        )
    return settings, folder, RunPage.begin(settings, listener.get())


def _as_task(link: FlowLink, name: str, work: Callable[[], R]) -> R:
    return link.do(
        name,
        work,
        task_run_name=name,
        retries=_DOWNLOAD_RETRIES,
        retry_delay_seconds=_RETRY_DELAY_S,
        retry_condition_fn=_is_download_error,
    )


def _is_download_error(task: Task[..., object], run: TaskRun, state: State[object]) -> bool:
    """Return whether a retry may help; it does not help against a user's mistake."""
    return isinstance(state.result(raise_on_failure=False), DownloadError)


def _studied(
    name: str,
    config: ConfigSource,
    overrides: Mapping[str, Any] | None,
    out: str | Path,
    **options: Any,  # noqa: ANN401 - the study's own
) -> Run:
    """Run a study as one task, and show what it found."""

    def work(link: FlowLink) -> Run:
        settings, folder, page = _begin(config, overrides, out)

        def study() -> Run:
            function: Callable[..., Run] = getattr(pipelines, name)
            with page.study(name):
                return function(settings, out=folder, reporter=page.reporter, **options)

        run = _as_task(link, name, study)
        tell(page.publish_study, name, run)
        return run

    return attend(work)


@_flow("Change one thing about the search at a time, and measure the worth of each change.")
def ablate(
    config: _Config,
    overrides: _Overrides = None,
    *,
    out: _Out = "artifacts",
    families: Sequence[str] = (),
    seeds: _Several | None = None,
    evaluations: _Count | None = None,
) -> Run:
    options = {"families": families, "seeds": seeds, "evaluations": evaluations}
    return _studied("ablate", config, overrides, out, **options)


@_flow("Count the evaluations and joules that a surrogate saves a search for the same loss.")
def savings(
    config: _Config,
    overrides: _Overrides = None,
    *,
    out: _Out = "artifacts",
    families: Sequence[str] = (),
    seeds: _Several | None = None,
    evaluations: _Count | None = None,
) -> Run:
    options = {"families": families, "seeds": seeds, "evaluations": evaluations}
    return _studied("savings", config, overrides, out, **options)


@_flow(
    "Compare a search with random search, greedy selection and all functions at once.",
    seeds="Searches of each kind.",
    evaluations="Budgets to compare at. By default 100, 150, 300, 600, 1,200 and as many as greedy "
    "selection needs.",
)
def rivals(
    config: _Config,
    overrides: _Overrides = None,
    *,
    out: _Out = "artifacts",
    family: str | None = None,
    seeds: _Several = 10,
    evaluations: Sequence[_Count] = (),
) -> Run:
    options = {"family": family, "seeds": seeds, "evaluations": evaluations}
    return _studied("rivals", config, overrides, out, **options)


@_flow(
    "Search for the models that are best for their size and work: a Pareto front.",
    objectives="What to minimise.",
    population="Models that each generation evaluates.",
    generations="Generations of NSGA-II, the first one included.",
)
def pareto(
    config: _Config,
    overrides: _Overrides = None,
    *,
    out: _Out = "artifacts",
    family: str | None = None,
    objectives: Sequence[Literal["loss", "stored_bytes", "flops"]] = (
        "loss",
        "stored_bytes",
        "flops",
    ),
    population: _Several = 40,
    generations: _Count = 15,
) -> Run:
    options = {"objectives": objectives, "population": population, "generations": generations}
    return _studied("pareto", config, overrides, out, family=family, **options)


@_flow(
    "Tune a search's hyperparameters with Optuna, and check the best on other seeds.",
    trials="In place of the configuration's tune.trials.",
    storage="Optuna's storage, such as postgresql://host/name, in place of tune.storage. By "
    "default an SQLite file beside the results.",
    fresh="Delete the study first.",
)
def tune(
    config: _Config,
    overrides: _Overrides = None,
    *,
    out: _Out = "artifacts",
    trials: _Count | None = None,
    storage: str | None = None,
    fresh: bool = False,
) -> Run:
    options = {"trials": trials, "storage": storage, "fresh": fresh}
    return _studied("tune", config, overrides, out, **options)


@_flow(
    "Use the library and the genome of one text on another: what is lost, what is saved.",
    seeds="Repetitions of everything, each with its own seed.",
)
def transfer(
    config: _Config,
    overrides: _Overrides = None,
    *,
    out: _Out = "artifacts",
    family: str | None = None,
    sources: Sequence[str] = (),
    targets: Sequence[str] = (),
    seeds: _Count = 5,
) -> Run:
    options = {"family": family, "sources": sources, "targets": targets, "seeds": seeds}
    return _studied("transfer", config, overrides, out, **options)


@_flow(
    "Give several texts one library and a genome each: what is lost, and the bytes it saves.",
    seeds="Repetitions of everything, each with its own seed.",
)
def multitask(
    config: _Config,
    overrides: _Overrides = None,
    *,
    out: _Out = "artifacts",
    family: str | None = None,
    texts: Sequence[str] = (),
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.6,
    seeds: _Count = 5,
) -> Run:
    options = {"family": family, "texts": texts, "share": share, "seeds": seeds}
    return _studied("multitask", config, overrides, out, **options)


@_flow(
    "Learn the texts in turn: switch genomes, or train one AdamW GPT-2 further, which forgets.",
    seeds="Repetitions of everything, each with its own seed.",
)
def continual(
    config: _Config,
    overrides: _Overrides = None,
    *,
    out: _Out = "artifacts",
    family: str | None = None,
    texts: Sequence[str] = (),
    seeds: _Count = 3,
) -> Run:
    options = {"family": family, "texts": texts, "seeds": seeds}
    return _studied("continual", config, overrides, out, **options)


# Deployments name a flow as an attribute of this module.
run, prepare, library, search, baseline, analyze = map(_stage_flow, STAGE_COMMANDS)

FLOWS = {
    made.fn.__name__: made
    for made in (
        *(run, prepare, library, search, baseline, analyze),
        *(rivals, tune, ablate, savings, pareto),
        *(transfer, multitask, continual),
    )
}
"""A flow for each command that does work, by the command's name."""
