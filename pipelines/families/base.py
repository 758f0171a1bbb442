"""The interface of a model family to runs and studies.

A family is a subclass of `ModelFamily`. Its five abstract methods are enough for `clso run`,
`tune`, `ablate`, `savings` and the report. All other methods have defaults; some defaults say that
the family lacks a feature, such as counted costs for `clso pareto`.

Notation: a *genome* is a tuple of integers; the *foundations* are the stages that a problem is
built on; a *finalist* is one of the best genomes of a search.
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

if TYPE_CHECKING:  # a configuration is checked without the libraries that a run needs
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
        """Return a sentence for each value of a searched family that contradicts other sections."""
        del config
        return []


@dataclass(frozen=True)
class Rivals:
    """A family's own methods that `clso rivals` compares with a search.

    Attributes:
        methods: by name. A method takes the searched problem and the most evaluations, and yields
            its standings.
        held_back: problems that judge the genomes of a method, by its name; by default the half
            that is held back.
        identity: fingerprints of other inputs of the methods, by name.
    """

    methods: Mapping[str, Callable[[WatchedProblem, int | None], Iterator[Standing]]] = field(
        default_factory=dict
    )
    held_back: Mapping[str, Problem] = field(default_factory=dict)
    identity: Mapping[str, str] = field(default_factory=dict)


class ModelFamily(Protocol[P]):
    """A kind of model that genomes describe; `P` is the type of its problem.

    Attributes:
        name: the family's name in `families`, which is also that of its model, rows and folders.
        title: the name of its model in tables and in the report.
        settings: the class of its section, which has the family's name; `None`: there is none.
        foundations: the stages that its problem is built on, besides `prepare`.
        continued: the stages that use the model of its search.
        search_stage: the stored name of its search; empty: `name`.
        own_search: dotted path of an optional section that replaces `search` for this family.
        tuned_fields: fields of `tune.space` that vary its library, besides the field of its name.
        counts: whether its models learn by counting alone, so that `counted_again` is there.
        picks_sets: whether genomes have exchangeable slots. Only then settings of the surrogate
            that concern sets are tuned.
    """

    name: str
    title: str
    settings: type[FamilySettings] | None = None
    foundations: tuple[Stage, ...] = ()
    continued: tuple[Stage, ...] = ()
    search_stage: str = ""
    own_search: str | None = None
    tuned_fields: frozenset[str] = frozenset()
    counts: bool = False
    picks_sets: bool = False

    # ----- every family must define these

    @abstractmethod
    def problem(self, experiment: Experiment) -> P:
        """Return the problem: the space of genomes, and their losses.

        `prepare` and the foundations are finished.
        """

    @abstractmethod
    def halves(self, experiment: Experiment) -> Halves[P]:
        """Return the problem on the first half of the validation blocks, and on the second.

        Studies search on the first half and judge on the second. `prepare` and the foundations
        are finished.

        Raises:
            DataError: too little validation text for two halves.
        """

    @abstractmethod
    def models(
        self, experiment: Experiment, problem: P, genomes: Sequence[Genome]
    ) -> Iterator[LanguageModel]:
        """Yield the models of genomes, built one at a time, each with the family's `name`."""

    @abstractmethod
    def save(self, model: LanguageModel, experiment: Experiment, folder: Path) -> None:
        """Write a model of `models` to a folder that does not exist yet."""

    @abstractmethod
    def load(self, folder: Path) -> LanguageModel:
        """Open a model that `save` wrote; a `GenerativeModel` continues texts in `clso generate`.

        Raises:
            ArtifactError: the model is missing or damaged.
        """

    # ----- the search

    def prepare(self, run: RunContext) -> None:
        """Run the stages that the problem is built on, and reuse finished ones."""
        # Late: stages import families.
        from pipelines.stages.data import PREPARE

        for stage in (PREPARE, *self.foundations):
            stage.run(run)

    def sections(self) -> tuple[str, ...]:
        """Return the sections that a genome's loss follows from, besides those of the data."""
        return () if self.settings is None else (self.name,)

    def key(self, config: RunConfig) -> str:
        """Return a digest of all values that a genome's loss follows from."""
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
        """Return the problem of a run's own search, which may use results of earlier stages."""
        return self.problem(run.experiment)

    def start(self, problem: P) -> Sequence[Genome]:
        """Return genomes that are good to begin with, the best first; by default there are none."""
        return ()

    def first_genomes(self, problem: P, settings: SearchSettings) -> tuple[Genome, ...]:
        """Return what a search evaluates first: of `start` as many as half of the population."""
        return tuple(self.start(problem))[: settings.population // 2]

    # ----- descriptions of genomes

    def genes(self, problem: P) -> list[dict[str, Any]]:
        """Describe genes and the kinds of their options; by default each option is a kind."""
        return Genes.describe(
            (slot.name, [str(option) for option in range(slot.cardinality)])
            for slot in problem.space.slots
        )

    def similarity(self, problem: P) -> Similarity | None:
        """Return a function for the mean similarity of some options of a gene; `None`: unknown."""
        del problem
        return None

    def describe(self, problem: P, genome: Genome) -> dict[str, Any]:
        """Return the manifest's entries about a finalist, besides genome and losses."""
        del problem, genome
        return {}

    # ----- the model that a search has found

    def keep(
        self, run: RunContext, problem: P, finalists: Sequence[Finalist]
    ) -> list[ScoredFinalist]:
        """Score finalists on all of validation and save the model of the best one.

        A single finalist is not scored here: there is no choice to make, and the analysis scores
        all models.

        Args:
            run: of the search.
            problem: the searched problem.
            finalists: best searched loss first.

        Returns:
            Finalists with their losses; the saved model has the lowest.

        Raises:
            WorkError: no finalist has a finite loss.
        """
        # Late: it loads torch, and a configuration is checked without torch.
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

    def counted_again(
        self, experiment: Experiment, model: LanguageModel, splits: Sequence[str]
    ) -> LanguageModel:
        """Return a model with its functions counted on splits of the budget, its weights as before.

        Raises:
            ConfigError: the family's models do not count.
        """
        raise ConfigError(
            f"the models of the family {self.name} do not count", remedy="count a mixture's"
        )

    # ----- libraries of other texts

    def library_of(self, experiment: Experiment) -> Any:  # noqa: ANN401 - the family's own
        """Return the library of a text, which `halves_on` may use on another text.

        `prepare` and the foundations are finished.
        """
        raise self._keeps_its_library()

    def pooled(self, experiments: Sequence[Experiment]) -> Any:  # noqa: ANN401 - the family's own
        """Return one library that is made from the budgets of several texts."""
        raise self._keeps_its_library()

    def joined(self, libraries: Sequence[Any], share: float) -> Any:  # noqa: ANN401 - its own
        """Return one library with entries of several, in a share of their bytes."""
        raise self._keeps_its_library()

    def halves_on(self, experiment: Experiment, library: Any) -> Halves[P]:  # noqa: ANN401 - its own
        """Return `halves` of a text with a library that may be of another text."""
        raise self._keeps_its_library()

    def models_on(
        self,
        experiment: Experiment,
        library: Any,  # noqa: ANN401 - the family's own
        problem: P,
        genomes: Sequence[Genome],
    ) -> Iterator[LanguageModel]:
        """Yield `models` of a problem that `halves_on` made with a library."""
        raise self._keeps_its_library()

    def shared_bytes(
        self,
        libraries: Sequence[Any],
        models: Sequence[Any],
    ) -> tuple[int, int]:
        """Return the bytes of libraries, and of what models use of them, each array once."""
        raise self._keeps_its_library()

    def check_texts(self, config: RunConfig, *, shares: bool = False) -> None:
        """Check that libraries follow from the text, so that it matters which text they are of.

        Args:
            shares: whether one library is made for several texts.

        Raises:
            ConfigError: they do not, or the family gives no library to other texts.
        """
        raise self._keeps_its_library()

    def _keeps_its_library(self) -> ConfigError:
        return ConfigError(
            f"the family {self.name} has no library that another text could use",
            remedy="name another with --family",
        )

    # ----- studies

    def costed(self, experiment: Experiment, problem: P) -> CostedProblem:
        """Return the problem with counted costs of its models, for `clso pareto`.

        Raises:
            ConfigError: the family does not count them.
        """
        raise ConfigError(
            f"the family {self.name} does not count what its models cost, so it has no front",
            remedy="name another with --family",
        )

    def library(self, config: RunConfig) -> Params:
        """Return the run's own values of all that `clso tune` may vary besides the search.

        By default these are the single values of the family's section, as `toy.temperatures`.
        """
        own = {} if self.settings is None else getattr(config, self.name).model_dump()
        return {
            f"{self.name}.{field}": value
            for field, value in own.items()
            if isinstance(value, bool | int | float | str)
        }

    def dimensions(self, config: RunConfig, space: TuneSpace) -> Mapping[str, TuneDimension]:
        """Return the dimensions that `tune.space` has for this family, by the names in `library`.

        By default these are the fields of `tune.space.<name>`, which are those of its section.

        Raises:
            ConfigError: the library has no such value.
        """
        del config
        return {
            f"{self.name}.{field}": dimension
            for field, dimension in getattr(space, self.name, ())
            if dimension is not None
        }

    def with_library(self, config: RunConfig, params: Params) -> RunConfig:
        """Return the configuration with a trial's values of `library`."""
        return config.with_overrides(params, where="tune.space") if params else config

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
        """Return a function from a trial's values of `library` to the two halves of the problem."""
        return lambda params: self.halves(
            experiment.varied(self.with_library(experiment.config, params))
        )

    def rivals(self, experiment: Experiment) -> Rivals:
        """Return this family's own methods, without randomness, for `clso rivals`."""
        del experiment
        return Rivals()
