"""The mixtures that genomes stand for: as a search scores them, and as a run keeps the best one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from clso.genome import Genome
from clso.mixture.columns import Columns
from clso.mixture.evaluator import MixtureProblem, SplitColumns
from clso.mixture.function import BasisFunction, Neural
from clso.mixture.history import History, HistoryCounts
from clso.mixture.model import CrystallineMixture
from clso.mixture.weights import BucketOrder, MixtureWeights
from clso.threads import one_thread
from pipelines.experiment import Experiment
from pipelines.families.base import ScoredFinalist
from pipelines.stages.mixture_functions import FunctionLibrary
from pipelines.stages.search import best_finalist
from search.archive import Finalist

__all__ = ["MixtureModels"]


class MixtureModels:
    """Builds mixtures from the genomes of a searched problem.

    `library` has the functions; `None`: the experiment's own.
    """

    def __init__(
        self,
        name: str,
        experiment: Experiment,
        problem: MixtureProblem,
        library: FunctionLibrary | None = None,
    ) -> None:
        self._name = name
        self._experiment = experiment
        self._problem = problem
        self._library = library or FunctionLibrary(experiment)

    def searched(self, genomes: Sequence[Genome]) -> Iterator[CrystallineMixture]:
        """Yield the mixtures as the search scores them.

        Functions are fitted on train alone. Weights are fitted on the searched blocks of tune,
        with the steps of an evaluation.
        """
        functions, history = self._library.fit(
            self._picked(genomes), ("train",), reporter=self._experiment.reporter
        )
        for genome in genomes:
            weighed = _Weighed(self._problem.bucketing(genome), self._problem.weights(genome))
            yield self._mixture(genome, functions, weighed, history)

    def best(
        self,
        finalists: Sequence[Finalist],
        networks: Sequence[Neural],
        networks_on_train: Sequence[Neural],
    ) -> tuple[list[ScoredFinalist], CrystallineMixture]:
        """Fit the finalists on train and tune, and return their losses and the best mixture.

        The weights of the best mixture are fitted on tune with functions that were fitted on train
        alone. A function that has seen tune would get too much weight. So there are two forms of
        the networks that mixtures may pick: `networks` are trained on train and tune,
        `networks_on_train` on train alone. The loss of a single finalist is `None`: nothing is to
        choose.
        """
        genomes = [finalist.canonical for finalist in finalists]
        functions, history = self._library.fit(
            self._picked(genomes), ("train", "tune"), networks, self._experiment.reporter
        )
        losses: Sequence[float | None] = (
            [None] if len(genomes) == 1 else self._validation_losses(genomes, functions, history)
        )
        scored = list(zip(finalists, losses, strict=True))
        genome = best_finalist(scored)[0].canonical
        if self._experiment.config.mixture.folds:
            weighed = self._cross_fitted(genome, functions, history)
        else:
            weighed = self._fitted_on_tune(genome, networks_on_train)
        return scored, self._mixture(genome, functions, weighed, history)

    def _picked(self, genomes: Iterable[Genome]) -> list[str]:
        return list(
            dict.fromkeys(name for genome in genomes for name in self._problem.functions(genome))
        )

    def _mixture(
        self,
        genome: Genome,
        functions: Mapping[str, BasisFunction],
        weighed: _Weighed,
        history: HistoryCounts,
    ) -> CrystallineMixture:
        return CrystallineMixture(
            self._name,
            [functions[name] for name in self._problem.functions(genome)],
            weighed.weights,
            weighed.bucketing,
            history,
            self._experiment.dataset.vocab_size,
        )

    def _validation_losses(
        self,
        genomes: Sequence[Genome],
        functions: Mapping[str, BasisFunction],
        history: HistoryCounts,
    ) -> list[float]:
        """Return nats per token on all of validation."""
        inputs, targets = self._experiment.dataset.splits["validation"].blocks(slice(None))
        columns = self._library.columns(functions.values(), (inputs, targets), "validation")
        features, steps = history.of(inputs), self._experiment.config.mixture.final_steps
        losses = []
        with one_thread():
            for genome in genomes:
                weights = self._problem.weights(genome, steps=steps)
                picked = columns.chosen(self._problem.functions(genome))
                weighed = _Weighed(self._problem.bucketing(genome), weights)
                losses.append(weighed.loss(picked, features))
        return losses

    def _fitted_on_tune(self, genome: Genome, networks: Sequence[Neural]) -> _Weighed:
        """Fit a mixture's weights on all of tune, with functions that were fitted on train."""
        picked, bucketing = self._problem.functions(genome), self._problem.bucketing(genome)
        functions, history = self._library.fit(picked, ("train",), networks)
        inputs, targets = self._experiment.budget["tune"].blocks(slice(None))
        columns = self._library.columns(
            [functions[name] for name in picked], (inputs, targets), "tune"
        )
        return self._weighed(bucketing, SplitColumns(columns, history.of(inputs)))

    def _cross_fitted(
        self, genome: Genome, functions: Mapping[str, BasisFunction], history: HistoryCounts
    ) -> _Weighed:
        """Fit a mixture's weights on train and tune, by folds.

        The bucketing is the genome's or one of the configured trees, by the loss on the searched
        blocks of validation.
        """
        experiment, names = self._experiment, self._problem.functions(genome)
        text = self._library.cross_fitted(names, experiment.reporter)
        bucketings = (self._problem.bucketing(genome), *experiment.config.mixture.trees)
        weighed = [self._weighed(name, text) for name in dict.fromkeys(bucketings)]
        if len(weighed) == 1:
            return weighed[0]
        blocks = self._library.searched_blocks("validation")
        columns = self._library.columns(
            [functions[name] for name in names], blocks, "validation", experiment.reporter
        )
        features = history.of(blocks[0])
        with one_thread():
            return min(weighed, key=lambda one: one.loss(columns, features))

    def _weighed(self, bucketing: str, split: SplitColumns) -> _Weighed:
        config = self._experiment.config.mixture
        with one_thread():
            weights = MixtureWeights.fit(
                split.columns.with_uniform,
                BucketOrder.by(bucketing, split.history),
                smoothing=config.smoothing,
                steps=config.final_steps,
            )
        return _Weighed(bucketing, weights)


class _Weighed(NamedTuple):
    """A bucketing and the weights of its buckets."""

    bucketing: str
    weights: MixtureWeights

    def loss(self, columns: Columns, history: History) -> float:
        """Return nats per token of targets with these columns and features."""
        order = BucketOrder.by(self.bucketing, history)
        return self.weights.mean_nll(columns.with_uniform, order)
