"""The mixtures that genomes stand for: as a search scores them, and as a run keeps the best one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from clso.genome import Genome
from clso.mixture.evaluator import MixtureProblem
from clso.mixture.function import BasisFunction, Neural
from clso.mixture.history import HistoryCounts
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
    """Builds mixtures from the genomes of a searched problem."""

    def __init__(self, name: str, experiment: Experiment, problem: MixtureProblem) -> None:
        self._name = name
        self._experiment = experiment
        self._problem = problem
        self._library = FunctionLibrary(experiment)

    def searched(self, genomes: Sequence[Genome]) -> Iterator[CrystallineMixture]:
        """Yield the mixtures as the search scores them.

        Functions are fitted on train alone. Weights are fitted on the searched blocks of tune,
        with the steps of an evaluation.
        """
        functions, history = self._library.fit(
            self._picked(genomes), ("train",), reporter=self._experiment.reporter
        )
        for genome in genomes:
            yield self._mixture(genome, functions, self._problem.weights(genome), history)

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
        weights = self._final_weights(genome, networks_on_train)
        return scored, self._mixture(genome, functions, weights, history)

    def _picked(self, genomes: Iterable[Genome]) -> list[str]:
        return list(
            dict.fromkeys(name for genome in genomes for name in self._problem.functions(genome))
        )

    def _mixture(
        self,
        genome: Genome,
        functions: Mapping[str, BasisFunction],
        weights: MixtureWeights,
        history: HistoryCounts,
    ) -> CrystallineMixture:
        return CrystallineMixture(
            self._name,
            [functions[name] for name in self._problem.functions(genome)],
            weights,
            self._problem.bucketing(genome),
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
        rows = {name: row for row, name in enumerate(columns.names, 1)}
        features = history.of(inputs)
        losses = []
        with one_thread():
            for genome in genomes:
                bucketing = self._problem.bucketing(genome)
                picked = [0, *(rows[name] for name in self._problem.functions(genome))]
                order = BucketOrder.by(bucketing, features)
                weights = self._problem.weights(
                    genome, steps=self._experiment.config.mixture.final_steps
                )
                losses.append(weights.mean_nll(columns.with_uniform[picked], order))
        return losses

    def _final_weights(self, genome: Genome, networks: Sequence[Neural]) -> MixtureWeights:
        """Fit a mixture's weights on all of tune, with functions that were fitted on train."""
        config = self._experiment.config.mixture
        picked, bucketing = self._problem.functions(genome), self._problem.bucketing(genome)
        functions, history = self._library.fit(picked, ("train",), networks)
        inputs, targets = self._experiment.budget["tune"].blocks(slice(None))
        columns = self._library.columns(
            [functions[name] for name in picked], (inputs, targets), "tune"
        )
        order = BucketOrder.by(bucketing, history.of(inputs))
        with one_thread():
            return MixtureWeights.fit(
                columns.with_uniform,
                order,
                smoothing=config.smoothing,
                steps=config.final_steps,
            )
