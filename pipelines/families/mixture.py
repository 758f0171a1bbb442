"""The crystalline mixture: its genomes pick basis functions and a bucketing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from clso.digest import digest_of
from clso.errors import ConfigError
from clso.genome import Genome
from clso.mixture.costed import CostedMixtures
from clso.mixture.evaluator import MixtureProblem, SplitColumns
from clso.mixture.function import Neural
from clso.mixture.model import CrystallineMixture
from clso.scoring import LanguageModel
from clso.statistics.picks import Genes
from pipelines.config import RunConfig
from pipelines.config.tune import FunctionGroup, TuneDimension, TuneSpace
from pipelines.context import RunContext
from pipelines.experiment import Experiment
from pipelines.families.base import Halves, ModelFamily, Params, Rivals, ScoredFinalist
from pipelines.families.gpt import GPT
from pipelines.families.mixture_models import MixtureModels
from pipelines.families.mixture_rivals import AllAtOnce
from pipelines.stages.hybrid import hybrid_stage
from pipelines.stages.mixture_functions import FUNCTIONS, FunctionLibrary

if TYPE_CHECKING:
    from search.archive import Finalist

__all__ = ["MIXTURE"]

_SLOTS = "mixture.slots"
_GROUP = "mixture.library."
_GROUPS = get_args(FunctionGroup)
# settings of the section that change no genome's loss
_LATER = {
    "search",
    "folds",
    "weight_tokens",
    "trees",
    "final_steps",
    "hybrid",
    "hybrid_tokens",
    "crystalline_gpt",
}


class _MixtureFamily(ModelFamily[MixtureProblem]):
    name = "mixture"
    title = "crystalline mixture"
    foundations = (FUNCTIONS,)
    continued = (hybrid_stage(name, foundations),)
    own_search = "mixture.search"
    tuned_fields = frozenset({"slots", "groups"})
    counts = True
    picks_sets = True

    def problem(self, experiment: Experiment) -> MixtureProblem:
        return _problem(experiment, FunctionLibrary(experiment).scored())

    def halves(self, experiment: Experiment) -> Halves[MixtureProblem]:
        return _halves(experiment, FunctionLibrary(experiment).scored())

    def models(
        self, experiment: Experiment, problem: MixtureProblem, genomes: Sequence[Genome]
    ) -> Iterator[LanguageModel]:
        return MixtureModels(self.name, experiment, problem).searched(genomes)

    def save(self, model: LanguageModel, experiment: Experiment, folder: Path) -> None:
        assert isinstance(model, CrystallineMixture)
        block_size = experiment.config.data.block_size
        model.save(folder, experiment.dataset.tokenizer, block_size=block_size)

    def load(self, folder: Path) -> CrystallineMixture:
        return CrystallineMixture.load(folder)

    def key(self, config: RunConfig) -> str:
        values = config.model_dump(mode="json")
        own = {name: value for name, value in values["mixture"].items() if name not in _LATER}
        shared = {name: values[name] for name in ("seed", "data", "tokenizer")}
        return digest_of({**shared, "mixture": own})

    def search_needs(self, config: RunConfig) -> tuple[str, ...]:
        network = (*GPT.search_needs(config), GPT.search_stage)
        own = super().search_needs(config)
        return (*own, *network) if config.mixture.crystalline_gpt else own

    def searched_problem(self, run: RunContext) -> MixtureProblem:
        columns = FunctionLibrary(run.experiment).scored()
        for network in _networks_on_train(run):
            columns = _with_network(run.experiment, columns, network)
        return _problem(run.experiment, columns)

    def genes(self, problem: MixtureProblem) -> list[dict[str, Any]]:
        families = ("none", *problem.families)
        return Genes.describe([("functions", families)], repeats=len(problem.space) - 1)

    def describe(self, problem: MixtureProblem, genome: Genome) -> dict[str, Any]:
        return {
            "functions": list(problem.functions(genome)),
            "bucketing": problem.bucketing(genome),
            "refitted_on": ["tune"],
        }

    def keep(
        self, run: RunContext, problem: MixtureProblem, finalists: Sequence[Finalist]
    ) -> list[ScoredFinalist]:
        """Fit the finalists on train and tune, and save the best one on all of validation."""
        networks = (
            [Neural(GPT.load(run.folder.model(GPT.name)))]
            if run.config.mixture.crystalline_gpt
            else []
        )
        models = MixtureModels(self.name, run.experiment, problem)
        scored, model = models.best(finalists, networks, _networks_on_train(run))
        self.save(model, run.experiment, run.folder.model(self.name))
        return scored

    def counted_again(
        self, experiment: Experiment, model: LanguageModel, splits: Sequence[str]
    ) -> CrystallineMixture:
        """Fit the functions and the counts of contexts; networks stay, and so do token classes."""
        assert isinstance(model, CrystallineMixture)
        picked = model.functions[1:]
        networks = [function for function in picked if isinstance(function, Neural)]
        names = [function.name for function in picked]
        library = FunctionLibrary(experiment)
        functions, history = library.fit(names, splits, networks, experiment.reporter)
        return CrystallineMixture(
            self.name,
            [functions[name] for name in names],
            model.weights,
            model.bucketing,
            history,
            model.vocab_size,
        )

    def library_of(self, experiment: Experiment) -> FunctionLibrary:
        return FunctionLibrary(experiment)

    def halves_on(self, experiment: Experiment, library: FunctionLibrary) -> Halves[MixtureProblem]:
        """Return the halves with the library's functions; their weights are fitted on this text."""
        if library.home == FunctionLibrary(experiment).home:
            return self.halves(experiment)
        return _halves(experiment, library.scored_on(experiment))

    def models_on(
        self,
        experiment: Experiment,
        library: FunctionLibrary,
        problem: MixtureProblem,
        genomes: Sequence[Genome],
    ) -> Iterator[LanguageModel]:
        return MixtureModels(self.name, experiment, problem, library).searched(genomes)

    def check_texts(self, config: RunConfig, *, shares: bool = False) -> None:
        """Check that functions are not to be counted on several texts, which is not done here."""
        del config
        if shares:
            raise ConfigError(
                "the mixture's functions are counted on one text, so texts share no library of "
                "functions",
                remedy="--family gpt",
            )

    def costed(self, experiment: Experiment, problem: MixtureProblem) -> CostedMixtures:
        library = FunctionLibrary(experiment)
        return CostedMixtures(
            problem,
            library.costs(),
            library.history(),
            block_size=experiment.config.data.block_size,
        )

    def rivals(self, experiment: Experiment) -> Rivals:
        """Return expectation maximisation on all functions at once, and on the heaviest."""
        config, columns = experiment.config.mixture, FunctionLibrary(experiment).scored()
        first, second = columns["validation"].halves()

        def unlimited(validation: SplitColumns) -> MixtureProblem:
            return MixtureProblem(
                columns["tune"],
                validation,
                slots=len(validation.columns.names),
                bucketings=config.bucketings,
                smoothing=config.smoothing,
                steps=config.final_steps,
            )

        searched, _ = _halves(experiment, columns)
        weighed = AllAtOnce(searched, unlimited(first), config.steps, config.final_steps)
        return Rivals(
            methods={"all_at_once": weighed.take_all, "top_weight": weighed.take_heaviest},
            held_back={"all_at_once": unlimited(second)},
            identity={"unlimited": weighed.unlimited.fingerprint},
        )

    def library(self, config: RunConfig) -> Params:
        grid = config.mixture.library.model_dump()
        return {
            _SLOTS: config.mixture.slots,
            **{_GROUP + name: bool(grid[name]) for name in _GROUPS},
        }

    def dimensions(self, config: RunConfig, space: TuneSpace) -> Mapping[str, TuneDimension]:
        groups = {_GROUP + group: TuneDimension(choices=(True, False)) for group in space.groups}
        self._check_there(groups, config)
        return {**({} if space.slots is None else {_SLOTS: space.slots}), **groups}

    def with_library(self, config: RunConfig, params: Params) -> RunConfig:
        values = config.model_dump()
        values["mixture"]["slots"] = params.get(_SLOTS, values["mixture"]["slots"])
        for name, kept in params.items():
            if name.startswith(_GROUP) and not kept:
                values["mixture"]["library"][name.removeprefix(_GROUP)] = ()
        return type(config).model_validate(values)

    def variants(self, experiment: Experiment) -> Callable[[Params], Halves[MixtureProblem]]:
        """Return a function that picks a trial's columns from the stored columns."""
        columns = FunctionLibrary(experiment).scored()

        def variant(params: Params) -> Halves[MixtureProblem]:
            varied = experiment.varied(self.with_library(experiment.config, params))
            names = FunctionLibrary(varied).names
            return _halves(
                varied,
                {
                    split: SplitColumns(scored.columns.chosen(names), scored.history)
                    for split, scored in columns.items()
                },
            )

        return variant


MIXTURE = _MixtureFamily()


def _problem(experiment: Experiment, columns: Mapping[str, SplitColumns]) -> MixtureProblem:
    """Return the problem: weights are fitted on tune, the loss is that of validation."""
    config = experiment.config.mixture
    return MixtureProblem(
        columns["tune"],
        columns["validation"],
        slots=config.slots,
        bucketings=config.bucketings,
        smoothing=config.smoothing,
        steps=config.steps,
        monitor=experiment.monitor,
    )


def _halves(experiment: Experiment, columns: Mapping[str, SplitColumns]) -> Halves[MixtureProblem]:
    first, second = columns["validation"].halves()
    return (
        _problem(experiment, {"tune": columns["tune"], "validation": first}),
        _problem(experiment, {"tune": columns["tune"], "validation": second}),
    )


def _networks_on_train(run: RunContext) -> list[Neural]:
    """Return the networks that mixtures may pick, computed from train alone."""
    return [Neural(GPT.as_function(run))] if run.config.mixture.crystalline_gpt else []


def _with_network(
    experiment: Experiment, columns: Mapping[str, SplitColumns], network: Neural
) -> dict[str, SplitColumns]:
    """Return columns of tune and validation, followed by those of a network."""
    library = FunctionLibrary(experiment)
    return {
        split: SplitColumns(
            scored.columns.joined(
                library.columns(
                    [network], library.searched_blocks(split), split, experiment.reporter
                )
            ),
            scored.history,
        )
        for split, scored in columns.items()
    }
