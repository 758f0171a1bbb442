"""The texts of a study: each prepared with its own library, and searched once for its own genome.

Each seed sets everything: how the texts are divided, the libraries, and the searches. All texts of
one seed draw the parameters of their libraries alike. So gene by gene, a genome makes the same
choices in the library of any text.

A search reads the first half of the validation blocks, and its genome is judged on the second. The
model of its genome then scores the test split once. No choice is made by that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from clso.artifacts import Run
from clso.energy import Measurement
from clso.engine import Shared
from clso.errors import ConfigError
from clso.genome import Genome
from clso.problem import Problem
from clso.progress import Reporter
from clso.scoring import LanguageModel
from clso.statistics.scores import score_split
from pipelines.config import RunConfig, text_configs
from pipelines.context import RunContext
from pipelines.families import AnyFamily
from pipelines.studies.arms import note_arms, prepared_arm
from pipelines.studies.engine import JudgedSearch, Part, Row, Study, with_figures
from search.evolution import SEARCH_VERSION
from search.validated import Halves

__all__ = [
    "Searched",
    "Text",
    "TextPart",
    "TextStudy",
    "chosen_family",
    "several_texts",
    "spent_columns",
    "study_texts",
    "tested",
]

# Raised whenever a change of code changes the rows of a part.
_VERSION = 1


def several_texts(config: RunConfig, names: Sequence[str], needed: str) -> dict[str, RunConfig]:
    """Return the configurations of the texts with some names; none: of all.

    `needed` ends the sentence that one text is too few.

    Raises:
        ConfigError: as for `text_configs`, or there is one text only.
    """
    configs = text_configs(config, names)
    if len(configs) < 2:
        raise ConfigError(
            f"--text names one text, {', '.join(configs)}, and {needed}",
            remedy="name another text too",
        )
    return configs


def study_texts(
    table: str,
    family: AnyFamily,
    config: RunConfig,
    configs: Mapping[str, RunConfig],
    of_seed: Callable[[TextStudy, int], list[pa.Table]],
    *,
    seeds: int,
    note: Mapping[str, Any],
    out: str | Path,
    reporter: Reporter,
) -> Run:
    """Prepare the texts, compute the rows of every seed, and write the table and its figures.

    Args:
        table: the name of the study and of its table.
        configs: of the texts, as `text_configs` returns them.
        of_seed: the tables of one seed, finished parts from their stored rows.
        note: what the manifest says besides the number of seeds.
    """
    numbers = range(config.seed, config.seed + seeds)
    with RunContext.open(config, out, reporter) as run:
        run.note_work()  # a finished run knows nothing of this study's section
        study = TextStudy(run, table, family, configs)
        study.prepare(numbers)
        tables = [part for seed in numbers for part in of_seed(study, seed)]
        run.note(**{table: {family.name: {"seeds": seeds, **note}}})
        run.folder.replace_family(table, family.name, pa.concat_tables(tables))
        return with_figures(run, table, family.name)


def chosen_family(config: RunConfig, name: str | None, *, shares: bool = False) -> AnyFamily:
    """Return the family with a name, or the first of the run, if it lends its library.

    Raises:
        ConfigError: the run does not have it, or its libraries are of no text.
    """
    family = config.searched_families([] if name is None else [name])[0]
    family.check_texts(config, shares=shares)
    return family


def _of_seed(configs: Mapping[str, RunConfig], seed: int) -> dict[str, RunConfig]:
    """Return the configurations of texts with another seed."""
    return {
        name: config.with_overrides({"seed": seed}, where=f"seed {seed}")
        for name, config in configs.items()
    }


@dataclass(frozen=True)
class Text:
    """One text with one seed: its library and its problem, opened when first used.

    Attributes:
        run: the arm whose stages have made data set and library.
    """

    name: str
    run: RunContext
    family: AnyFamily

    @property
    def seed(self) -> int:
        """The seed of division, library and search."""
        return self.run.config.seed

    @cached_property
    def library(self) -> Any:  # noqa: ANN401 - the family's own
        """Its own library."""
        return self.family.library_of(self.run.experiment)

    @cached_property
    def halves(self) -> Halves:
        """Its problem with its own library, on both halves of validation."""
        return self.on(self.library)

    def on(self, library: Any) -> Halves:  # noqa: ANN401 - the family's own
        """Return its problem with a library, which may be of another text."""
        return Halves(*self.family.halves_on(self.run.experiment, library))

    def model(self, library: Any, problem: Problem, genome: Genome) -> LanguageModel:  # noqa: ANN401
        """Return the model of a genome of a problem of this text with a library."""
        (model,) = self.family.models_on(self.run.experiment, library, problem, [genome])
        return model

    @property
    def library_cost(self) -> Measurement:
        """The cost of its library, also if it was made earlier."""
        return Measurement.total(
            self.run.records[stage.name].measurement for stage in self.family.foundations
        )

    @property
    def key(self) -> list[str]:
        """Digests of all that its losses follow from, besides a search."""
        records = self.run.records
        names = ("prepare", *(stage.name for stage in self.family.foundations))
        return [self.family.key(self.run.config), *(records[name].key for name in names)]


class TextPart(NamedTuple):
    """A part of a study of texts, computed in this process.

    Attributes:
        label: names it in the progress, with the text's seed.
        of: JSON values that its rows follow from, besides the settings of the text's search.
        rows: computes its rows.
    """

    text: Text
    label: str
    of: Sequence[Any]
    rows: Callable[[], Sequence[Row]]

    def computed(self, _: None) -> Sequence[Row]:
        """Return the rows; parts of texts share no value."""
        return self.rows()


class Searched(NamedTuple):
    """The outcome of a text's search in a library.

    Attributes:
        model: of the best genome.
        columns: the genome, its losses on both halves of validation, and the evaluations.
        spent: the cost of the search.
    """

    model: LanguageModel
    columns: Row
    spent: Measurement


class TextStudy:
    """The texts of a study, and the search of each for its own genome.

    Args:
        configs: by name, as `text_configs` returns them.
    """

    def __init__(
        self, run: RunContext, table: str, family: AnyFamily, configs: Mapping[str, RunConfig]
    ) -> None:
        self.run = run
        self.family = family
        self._configs = configs
        self.study = Study(run, table, [_VERSION, SEARCH_VERSION], shown="test_loss")
        self._own = Study(run, "transfer", [_VERSION, SEARCH_VERSION], shown="test_loss")

    def prepare(self, seeds: Sequence[int]) -> None:
        """Note the arms of all seeds, before their shared folders are used."""
        arms = [config for seed in seeds for config in _of_seed(self._configs, seed).values()]
        note_arms(self.run, self.study.table, self.family, arms)

    def texts(self, seed: int) -> dict[str, Text]:
        """Return the texts with a seed, after making their data sets and libraries."""
        return {
            name: Text(name, prepared_arm(self.run, config, self.family), self.family)
            for name, config in _of_seed(self._configs, seed).items()
        }

    def own(self, texts: Mapping[str, Text]) -> dict[str, Row]:
        """Return the row of each text's own search, of the table `transfer`."""
        parts = [
            TextPart(text, text.name, ["own", *text.key], partial(_own_row, self, text))
            for text in texts.values()
        ]
        tables = self.tables("own genomes", parts, self._own)
        return {name: table.to_pylist()[0] for name, table in zip(texts, tables, strict=True)}

    def tables(
        self, title: str, parts: Sequence[TextPart], study: Study | None = None
    ) -> list[pa.Table]:
        """Return the rows of each part, computing those that are not stored.

        They are computed here, one after the other: what they cost is measured, and other work
        would be measured with it.
        """
        study = study or self.study
        stored = []
        for part in parts:
            key = study.key(of=part.of, settings=self._settings_key(part.text))
            label = f"{part.label}, seed {part.text.seed}"
            stored.append(Part(f"{study.table}/{key}", part.text.seed, part.computed, label))
        return study.rows(title, stored, Shared("texts", None), here=True)

    def _settings_key(self, text: Text) -> Any:  # noqa: ANN401 - a JSON value
        """Return the settings of a text's search and of its intervals."""
        config = text.run.config
        settings = self.family.search_settings(config)
        return [settings.model_dump(mode="json"), config.analysis.model_dump(mode="json")]

    def searched(
        self,
        text: Text,
        library: Any,  # noqa: ANN401 - the family's own
        halves: Halves | None = None,
    ) -> Searched:
        """Search a text's genome in a library, as a run with this seed does.

        `halves` are the text's problem with the library, if it is open.
        """
        if halves is None:
            halves = text.halves if library is text.library else text.on(library)
        settings = self.family.search_settings(text.run.config)
        judged = JudgedSearch.run(
            self.run.run_id,
            halves,
            settings,
            seed=text.seed,
            family=self.family.name,
            monitor=self.run.monitor,
            start=self.family.start(halves.searched)[: settings.population // 2],
        )
        genome = judged.result.best.canonical
        columns = judged.columns
        return Searched(
            text.model(library, halves.searched, genome),
            {
                "genome": list(genome),
                "loss": columns["loss"],
                "held_back_loss": columns["held_back_loss"],
                "evaluations": columns["evaluations"],
            },
            judged.spent,
        )

    def row(self, of: Text, **columns: Any) -> Row:  # noqa: ANN401 - values of columns
        """Return columns of a row, with those that name run, seed and family."""
        return {
            "run_id": self.run.run_id,
            "seed": of.seed,
            "family": self.family.name,
            **columns,
        }


def _own_row(study: TextStudy, text: Text) -> list[Row]:
    found = study.searched(text, text.library)
    names = {"source": None, "target": text.name, "arm": "scratch"}
    spent = spent_columns(text.library_cost, found.spent)
    return [study.row(text, **names, **found.columns, **spent, **tested(text, found.model))]


def spent_columns(library: Measurement | None, search: Measurement | None) -> Row:
    """Return the columns of costs; `None`: no such work was done.

    Joules of work that was not done are 0. Joules that no meter measured are `None`.
    """
    done = [spent for spent in (library, search) if spent is not None]
    total = Measurement.total(done).columns
    if not done:
        total |= {"duration_s": 0.0, "energy_j": 0.0}
    return {
        "library_energy_j": 0.0 if library is None else library.energy_j,
        "search_energy_j": 0.0 if search is None else search.energy_j,
        **total,
    }


def tested(text: Text, model: LanguageModel) -> Row:
    """Score the test split of a text once; return loss, intervals and the model's bytes."""
    experiment, config = text.run.experiment, text.run.config
    dataset = experiment.dataset
    scores = score_split(
        model,
        dataset.splits["test"],
        dataset.tokenizer.token_bytes,
        run_id=text.run.run_id,
        seed=config.seed,
        reporter=experiment.reporter,
    )
    (result,) = config.analysis.summarize(scores, seed=config.seed, searched=[model.name])
    names = ("test_loss", "ci_low", "ci_high", "block_ci_low", "block_ci_high", "test_tokens")
    return {name: result[name] for name in names} | {"stored_bytes": model.stored_bytes}
