"""The commands that run stages, as functions: `run`, `prepare`, `library`, `search`, ..."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clso.progress import SILENT, Reporter

if TYPE_CHECKING:  # the command line reads this module for every command, `--help` too
    from clso.artifacts import Run
    from pipelines.config import ConfigSource, RunConfig
    from pipelines.context import RunContext
    from pipelines.stage import Stage

__all__ = ["STAGE_COMMANDS", "StageCommand"]


class StageCommand:
    """A command that runs its stages, and the stages that they are built on."""

    def __init__(self, name: str, help: str) -> None:
        self.name = self.__name__ = name
        self.help = self.__doc__ = help

    def __repr__(self) -> str:
        return f"pipelines.{self.name}"

    def __call__(
        self,
        config: ConfigSource,
        overrides: Mapping[str, Any] | None = None,
        *,
        out: str | Path = "artifacts",
        fresh: bool = False,
        reporter: Reporter = SILENT,
    ) -> Run:
        """Run the stages that are not finished, and return the stored run.

        Args:
            config: a YAML file, the name of a shipped configuration, a mapping of sections (named
                `run` if it has no `name`), or a configuration.
            overrides: values that replace the configuration's, by dotted path.
            out: the output folder.
            fresh: delete this run's earlier results first; data sets and libraries, which other
                runs share, stay.
            reporter: shows the progress.

        Raises:
            ConfigError: the configuration or an override is wrong.
            ClsoError: the work cannot be done; the message says what to do.
        """
        from pipelines.config import read_config

        return self.execute(read_config(config, overrides), out, fresh, reporter)

    def execute(
        self,
        config: RunConfig,
        out: str | Path,
        fresh: bool,
        reporter: Reporter,
        do: Callable[[Stage, RunContext], None] = lambda stage, run: stage.run(run),
    ) -> Run:
        """Run the stages of a configuration, each by `do`."""
        from clso.artifacts import load_run
        from pipelines.context import RunContext

        with RunContext.open(config, out, reporter, fresh=fresh) as context:
            # Late, because it takes seconds: mistakes about the data are reported before.
            from pipelines.stages import through

            for stage in through(self.name, config):
                do(stage, context)
        return load_run(context.folder.path)


run = StageCommand(
    "run", "Run everything, end to end: data, library, search, baseline, energy and report."
)
prepare = StageCommand("prepare", "Prepare the data set: read, split by document, tokenize, pack.")
library = StageCommand("library", "Generate the libraries of structured matrices.")
search = StageCommand("search", "Search for the best genome; prepares data and library if needed.")
baseline = StageCommand("baseline", "Train the AdamW GPT-2 of the same shape on the same tokens.")
analyze = StageCommand(
    "analyze", "Score the test split once per model, compare, and write the report."
)

STAGE_COMMANDS = (run, prepare, library, search, baseline, analyze)
