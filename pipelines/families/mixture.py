"""The crystalline mixture: its genomes pick basis functions, and a division into buckets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clso.digest import digest_of
from clso.genome import Genome
from clso.mixture.columns import Columns
from clso.mixture.costed import CostedMixtures
from clso.mixture.evaluator import MixtureProblem, SplitColumns
from clso.mixture.function import BasisFunction, Neural
from clso.mixture.history import HistoryCounts
from clso.mixture.model import CrystallineMixture
from clso.mixture.specification import fit_functions
from clso.mixture.weights import BucketOrder, MixtureWeights
from clso.progress import SILENT, Reporter
from clso.scoring import LanguageModel
from clso.statistics.picks import Genes
from clso.threads import one_thread
from pipelines.config import RunConfig
from pipelines.config.tune import TuneDimension, TuneSpace
from pipelines.context import RunContext
from pipelines.experiment import Experiment
from pipelines.families.base import Halves, ModelFamily, Params, Rivals, ScoredFinalist
from pipelines.families.gpt import GPT
from pipelines.families.mixture_rivals import AllAtOnce
from pipelines.stages.hybrid import HYBRID
from pipelines.stages.mixture_functions import FUNCTIONS, FunctionLibrary
from pipelines.stages.search import best_finalist

if TYPE_CHECKING:
    from search.archive import Finalist

__all__ = ["MIXTURE"]

_SLOTS = "mixture.slots"
_GROUP = "mixture.library."
_GROUPS = (
    "patterns",
    "class_patterns",
    "cache_half_lives",
    "gated_maps",
    "induction_lengths",
    "functions",
)
# what of the section does not show in a genome's loss
_LATER = {"search", "final_steps", "hybrid", "hybrid_tokens", "crystalline_gpt"}


class _MixtureFamily(ModelFamily[MixtureProblem]):
    name = "mixture"
    title = "crystalline mixture"
    foundations = (FUNCTIONS,)
    continued = (HYBRID,)
    own_search = "mixture.search"
    tuned_fields = frozenset({"slots", "groups"})
    picks_sets = True

    def problem(self, experiment: Experiment) -> MixtureProblem:
        return _problem(experiment, FunctionLibrary(experiment).scored())

    def halves(self, experiment: Experiment) -> Halves[MixtureProblem]:
        return _halves(experiment, FunctionLibrary(experiment).scored())

    def models(
        self, experiment: Experiment, problem: MixtureProblem, genomes: Sequence[Genome]
    ) -> Iterator[LanguageModel]:
        """Build the mixtures as the search knows them.

        Their functions are counted on train alone, and their weights are fitted on the searched
        blocks of tune with the steps of an evaluation.
        """
        names = dict.fromkeys(name for one in genomes for name in problem.functions(one))
        functions, history = _fitted(experiment, names, ("train",), (), experiment.reporter)
        for genome in genomes:
            yield CrystallineMixture(
                self.name,
                [functions[name] for name in problem.functions(genome)],
                problem.weights(genome),
                problem.bucketing(genome),
                history,
                experiment.dataset.vocab_size,
            )

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
        """Fit the finalists on train and tune, and save the best one on all of validation.

        The kept model counts train and tune. Its weights stay those of tune, where functions
        fitted on train alone were asked: a function that has seen tune would be trusted too much.
        """
        experiment = run.experiment
        networks = (
            [Neural(GPT.load(run.folder.model(GPT.name)))]
            if run.config.mixture.crystalline_gpt
            else []
        )
        names = dict.fromkeys(
            name for finalist in finalists for name in problem.functions(finalist.canonical)
        )
        functions, history = _fitted(
            experiment, names, ("train", "tune"), networks, experiment.reporter
        )
        # a single finalist leaves nothing to choose; the analysis scores it with all other models
        losses: list[float] | list[None] = (
            [None]
            if len(finalists) == 1
            else _validation_losses(experiment, problem, finalists, functions, history)
        )
        scored: list[ScoredFinalist] = list(zip(finalists, losses, strict=True))
        best, _ = best_finalist(scored)
        genome = best.canonical
        picked, bucketing = problem.functions(genome), problem.bucketing(genome)
        model = CrystallineMixture(
            self.name,
            [functions[name] for name in picked],
            _final_weights(experiment, picked, _networks_on_train(run), bucketing),
            bucketing,
            history,
            experiment.dataset.vocab_size,
        )
        self.save(model, experiment, run.folder.model(self.name))
        return scored

    def costed(self, experiment: Experiment, problem: MixtureProblem) -> CostedMixtures:
        library = FunctionLibrary(experiment)
        return CostedMixtures(
            problem,
            library.costs(),
            library.history(),
            block_size=experiment.config.data.block_size,
        )

    def rivals(self, experiment: Experiment) -> Rivals:
        """Return EM on all functions at once, and their heaviest."""
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
        """Return a function that picks a trial's columns from those that are there."""
        columns = FunctionLibrary(experiment).scored()

        def variant(params: Params) -> Halves[MixtureProblem]:
            varied = experiment.varied(self.with_library(experiment.config, params))
            names = varied.config.mixture.library.function_names()
            chosen = {
                split: SplitColumns(scored.columns.chosen(names), scored.history)
                for split, scored in columns.items()
            }
            return _halves(varied, chosen)

        return variant


MIXTURE = _MixtureFamily()


def _problem(experiment: Experiment, columns: Mapping[str, SplitColumns]) -> MixtureProblem:
    """Return the problem: weights on tune, the loss on validation."""
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
    """Return the networks that mixtures may pick, as they follow from train alone."""
    return [Neural(GPT.as_function(run))] if run.config.mixture.crystalline_gpt else []


def _with_network(
    experiment: Experiment, columns: Mapping[str, SplitColumns], network: Neural
) -> dict[str, SplitColumns]:
    """Return columns of tune and validation with those of a network after them."""
    library = FunctionLibrary(experiment)

    def asked(split: str) -> Columns:
        inputs, targets = library.searched_blocks(split)
        # its sums decide on genomes, so they must not depend on the number of cores
        with one_thread():
            return Columns.of(
                [network],
                inputs,
                targets,
                experiment.dataset.vocab_size,
                split=split,
                reporter=experiment.reporter,
            )

    return {
        split: SplitColumns(scored.columns.joined(asked(split)), scored.history)
        for split, scored in columns.items()
    }


def _fitted(
    experiment: Experiment,
    names: Iterable[str],
    splits: Sequence[str],
    networks: Sequence[Neural],
    reporter: Reporter = SILENT,
) -> tuple[dict[str, BasisFunction], HistoryCounts]:
    """Fit functions and bucket counts on some splits of the budget; networks stay as they are."""
    streams = [experiment.budget[split] for split in splits]
    vocab_size = experiment.dataset.vocab_size
    fitted: dict[str, BasisFunction] = {network.name: network for network in networks}
    counted = [name for name in names if name not in fitted]
    library = FunctionLibrary(experiment)
    functions = fit_functions(
        counted,
        streams,
        vocab_size,
        library.class_maps(),
        workspace=library.home.parent,
        reporter=reporter,
    )
    history = HistoryCounts.fit(streams, vocab_size)
    fitted |= dict(zip(counted, functions, strict=True))
    return fitted, history


def _validation_losses(
    experiment: Experiment,
    problem: MixtureProblem,
    finalists: Sequence[Finalist],
    functions: Mapping[str, BasisFunction],
    history: HistoryCounts,
) -> list[float]:
    """Return nats per token of the refitted finalists on all of validation."""
    inputs, targets = experiment.dataset.splits["validation"].blocks(slice(None))
    with one_thread():
        columns = Columns.of(
            list(functions.values()),
            inputs,
            targets,
            experiment.dataset.vocab_size,
            split="validation",
        )
    number = {name: index for index, name in enumerate(columns.names, 1)}
    features = history.of(inputs)
    losses = []
    with one_thread():
        for finalist in finalists:
            genome = finalist.canonical
            bucketing = problem.bucketing(genome)
            rows = [0, *(number[name] for name in problem.functions(genome))]
            order = BucketOrder.by(bucketing, features)
            weights = problem.weights(genome, steps=experiment.config.mixture.final_steps)
            losses.append(weights.mean_nll(columns.with_uniform[rows], order))
    return losses


def _final_weights(
    experiment: Experiment, picked: Sequence[str], networks: Sequence[Neural], bucketing: str
) -> MixtureWeights:
    """Fit the found model's weights on all of tune, its functions asked as fitted on train."""
    config = experiment.config.mixture
    functions, counts = _fitted(experiment, picked, ("train",), networks)
    inputs, targets = experiment.budget["tune"].blocks(slice(None))
    with one_thread():
        columns = Columns.of(
            [functions[name] for name in picked],
            inputs,
            targets,
            experiment.dataset.vocab_size,
            split="tune",
        )
    with one_thread():
        return MixtureWeights.fit(
            columns.with_uniform,
            BucketOrder.by(bucketing, counts.of(inputs)),
            smoothing=config.smoothing,
            steps=config.final_steps,
        )
