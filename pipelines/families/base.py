"""What a model family offers to runs and studies.

A family is a subclass of `ModelFamily`; its five abstract methods make it work in `clso run`,
`tune`, `ablate`, `savings` and the report. What else it can do (counted costs for `clso pareto`, a
library whose size is tuned) has a default that says that it cannot.

Notation: a *genome* is a tuple of integers; the *foundations* are the stages that make what a
problem is built on; a *finalist* is one of the best genomes of a search.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from clso.digest import digest_of
from clso.errors import ConfigError
from clso.genome import Genome
from clso.problem import CostedProblem, Problem
from clso.scoring import LanguageModel
from clso.section import Section
from clso.statistics.picks import Genes, Similarity

if TYPE_CHECKING:  # a configuration is checked without all that a run under way needs
    from pipelines.config import RunConfig
    from pipelines.config.tune import TuneDimension, TuneSpace
    from pipelines.context import RunContext
    from pipelines.experiment import Experiment
    from pipelines.stage import Stage
    from search.archive import Finalist
    from search.settings import SearchSettings
    from search.watched import Standing, WatchedProblem

__all__ = ["FamilySettings", "ModelFamily", "Rivals", "ScoredFinalist"]

P = TypeVar("P", bound=Problem)
Params = Mapping[str, bool | int | float | str]
Halves = tuple[P, P]
ScoredFinalist = tuple["Finalist", float | None]


class FamilySettings(Section):
    """The section of a family, at the top of the configuration under the family's name."""

    def misfits(self, config: RunConfig) -> list[str]:
        """Return what does not fit the other sections, a sentence each; asked of searched ones."""
        del config
        return []


@dataclass(frozen=True)
class Rivals:
    """Methods of a family's own that `clso rivals` compares with a search.

    Attributes:
        methods: by name; given the searched problem and the most evaluations, a method yields its
            standings.
        held_back: problems that judge what a method finds, where it is not the half held back.
        identity: fingerprints of what the methods read besides, by name.
    """

    methods: Mapping[str, Callable[[WatchedProblem, int | None], Iterator[Standing]]] = field(
        default_factory=dict
    )
    held_back: Mapping[str, Problem] = field(default_factory=dict)
    identity: Mapping[str, str] = field(default_factory=dict)


class ModelFamily(Protocol[P]):
    """A kind of model that genomes describe, `P` being its problem.

    Attributes:
        name: the word for it in `families`; also names its model, its rows and its folders.
        title: what tables and the report call its model.
        settings: its own section of the configuration, which stands there under `name`; `None`: it
            has none.
        foundations: stages that make what its problem is built on, besides `prepare`.
        continued: stages that go on from the model that its search has found.
        search_stage: the stored name of its search; empty: `name`.
        own_search: dotted path of the section that replaces `search` for this family where it is
            given; `None`: there is none.
        tuned_fields: fields of `tune.space` that vary this family's library.
        picks_sets: whether genomes have exchangeable slots, which settings of the surrogate are
            about.
    """

    name: str
    title: str
    settings: type[FamilySettings] | None = None
    foundations: tuple[Stage, ...] = ()
    continued: tuple[Stage, ...] = ()
    search_stage: str = ""
    own_search: str | None = None
    tuned_fields: frozenset[str] = frozenset()
    picks_sets: bool = False

    # ----- what every family has to say

    @abstractmethod
    def problem(self, experiment: Experiment) -> P:
        """Return the problem: which genomes there are, and what each one's loss is.

        `prepare` and the foundations are done.
        """

    @abstractmethod
    def halves(self, experiment: Experiment) -> Halves[P]:
        """Return the problem on the first half of the validation blocks, and on the second.

        Studies search the first and judge by the second. `prepare` and the foundations are done.

        Raises:
            DataError: too little validation text for two halves.
        """

    @abstractmethod
    def models(
        self, experiment: Experiment, problem: P, genomes: Sequence[Genome]
    ) -> Iterator[LanguageModel]:
        """Build the models that genomes stand for, one after the other, each called `name`."""

    @abstractmethod
    def save(self, model: LanguageModel, experiment: Experiment, folder: Path) -> None:
        """Write a model of `models` to a folder that does not exist yet."""

    @abstractmethod
    def load(self, folder: Path) -> LanguageModel:
        """Open a model that `save` wrote; one that is a `GenerativeModel` continues texts.

        Raises:
            ArtifactError: it is missing or damaged.
        """

    # ----- how its search is set

    def sections(self) -> tuple[str, ...]:
        """Return the sections of the configuration that a genome's loss follows from.

        Besides `seed`, `data` and `tokenizer`, which are the same for all families.
        """
        return () if self.settings is None else (self.name,)

    def key(self, config: RunConfig) -> str:
        """Return a digest of all that a genome's loss follows from."""
        values = config.model_dump(mode="json")
        return digest_of(
            {name: values[name] for name in ("seed", "data", "tokenizer", *self.sections())}
        )

    def search_needs(self, config: RunConfig) -> tuple[str, ...]:
        """Return the names of the stages that its search is built on."""
        del config
        return ("prepare", *(stage.name for stage in self.foundations))

    def search_path(self, config: RunConfig) -> str:
        """Return the dotted path of the section that sets its search."""
        if self.own_search is None or attrgetter(self.own_search)(config) is None:
            return "search"
        return self.own_search

    def search_settings(self, config: RunConfig) -> SearchSettings:
        """Return the settings of its search."""
        settings: SearchSettings = attrgetter(self.search_path(config))(config)
        return settings

    def searched_problem(self, run: RunContext) -> P:
        """Return the problem of a run's own search, which may use what earlier stages found."""
        return self.problem(run.experiment)

    # ----- what is told of its genomes

    def genes(self, problem: P) -> list[dict[str, Any]]:
        """Describe its genes and the kinds of their options, as `Genes.describe` does.

        By default every option is a kind of its own.
        """
        return Genes.describe(
            (slot.name, [str(option) for option in range(slot.cardinality)])
            for slot in problem.space.slots
        )

    def similarity(self, problem: P) -> Similarity | None:
        """Return how alike some options of a gene are, on average over pairs; `None`: unknown."""
        del problem
        return None

    def describe(self, problem: P, genome: Genome) -> dict[str, Any]:
        """Return what the manifest says of a finalist besides genome and losses."""
        del problem, genome
        return {}

    # ----- the model that a search has found

    def keep(
        self, run: RunContext, problem: P, finalists: Sequence[Finalist]
    ) -> list[ScoredFinalist]:
        """Score finalists on all of validation and save the best one's model.

        A single finalist leaves nothing to choose: it is not scored here, since the analysis
        scores its model with all others.

        Args:
            run: of the search.
            problem: that was searched.
            finalists: best first by the loss that was searched.

        Returns:
            Finalists with their losses; the lowest is the saved one's.

        Raises:
            WorkError: no finalist has a finite loss.
        """
        # Late, because it loads torch, and a configuration is checked without.
        from pipelines.stages.search import best_finalist, scored_finalists

        experiment = run.experiment
        genomes = [finalist.canonical for finalist in finalists]
        scored = scored_finalists(experiment, finalists, self.models(experiment, problem, genomes))
        best, _ = best_finalist(scored)
        (model,) = self.models(experiment, problem, [best.canonical])
        self.save(model, experiment, run.folder.model(self.name))
        return scored

    def found(self, run: RunContext) -> LanguageModel:
        """Return the model that a run's search has found."""
        return self.load(run.folder.model(self.name))

    # ----- studies

    def costed(self, experiment: Experiment, problem: P) -> CostedProblem:
        """Return the problem with counted costs of its models, for `clso pareto`.

        Raises:
            ConfigError: the family counts none.
        """
        raise ConfigError(
            f"the family {self.name} does not count what its models cost, so it has no front",
            remedy="name another with --family",
        )

    def library(self, config: RunConfig) -> Params:
        """Return the configuration's own values of all that `clso tune` may vary of a library."""
        del config
        return {}

    def dimensions(self, config: RunConfig, space: TuneSpace) -> Mapping[str, TuneDimension]:
        """Return what `tune.space` varies of this library, by the names in `library`.

        Raises:
            ConfigError: the library has nothing of that kind.
        """
        del config, space
        return {}

    def with_library(self, config: RunConfig, params: Params) -> RunConfig:
        """Return the configuration with a trial's values of `library`."""
        assert not params, f"the library of {self.name} has nothing to tune"
        return config

    def _check_there(self, names: Iterable[str], config: RunConfig) -> None:
        own = self.library(config)
        for name in names:
            if not own.get(name):
                raise ConfigError(
                    f"tune.space has {name}, but there is none in this library",
                    remedy="leave it out, or name one of "
                    + ", ".join(known for known in own if own[known]),
                )

    def variants(self, experiment: Experiment) -> Callable[[Params], Halves[P]]:
        """Return a function that gives the halves for a trial's values of `library`.

        What the variants share may be loaded once.
        """
        return lambda params: self.halves(
            experiment.varied(self.with_library(experiment.config, params))
        )

    def rivals(self, experiment: Experiment) -> Rivals:
        """Return what only this family's models allow, for `clso rivals`.

        Methods without randomness that find models otherwise than by a search of genomes.
        """
        del experiment
        return Rivals()
