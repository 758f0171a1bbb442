"""The individuals of a generation, and their rows in the tables.

Origins say how a genome came into its generation:

    init          drawn uniformly for generation 0
    crossover     bred from two parents, no gene mutated; a copy of one if no gene was swapped
    mutation      bred from two parents, at least one gene mutated
    random        drawn uniformly later, where breeding only repeated genomes
    local_search  one gene away from the incumbent
    elite         one of the best evaluated genomes, taken over unchanged

Statuses say where the loss of an individual comes from:

    evaluated     scored now; `evaluated_loss` is the measurement
    failed        scored now, and the loss was not finite; `evaluated_loss` is null
    cached        scored in an earlier generation; `evaluated_loss` repeats that measurement
    predicted     never scored so far; `predicted_loss` is a prediction, `evaluated_loss` is null
    screened      scored now, and ruled out by a part of the batches (`search.ladder`);
                  `screening_loss` is the loss on that part, `evaluated_loss` is null

A prediction made before an evaluation stays beside it in `predicted_loss`. The loss on the last
part of the batches before all of them stays in `screening_loss`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict

from clso.energy import Measurement
from clso.genome import Genome, genome_hash
from clso.problem import Evaluation
from search.archive import Finalist, Scored
from search.screening import rank_correlation, topk_recall

__all__ = ["Generation", "Individual", "SearchCounts"]

Origin = Literal["init", "crossover", "mutation", "random", "local_search", "elite"]
Status = Literal["evaluated", "failed", "cached", "predicted", "screened"]
_UNMEASURED = Measurement(0.0)


@dataclass(slots=True)
class Individual:
    """One genome in a generation.

    Attributes:
        genome: its slots as bred.
        canonical: the representative that is evaluated.
        origin, status: see above; the status is `None` while the individual has no loss.
        predicted_loss, predicted_std: mean and spread of the surrogate's prediction.
        evaluated_loss: nats per token on all batches.
        evaluation: the work of this generation at all fidelities; `None`: nothing was scored.
        screening_loss: nats per token on a part of the batches.
        fidelity: share of the batches that the genome was scored on.
        step: of a neighbour of the incumbent, the changed slot and its new option. The first
            exchangeable slot stands for all of them; option 0 there means that a pick was dropped.
    """

    genome: Genome
    canonical: Genome
    origin: Origin
    status: Status | None = None
    predicted_loss: float | None = None
    predicted_std: float | None = None
    evaluated_loss: float | None = None
    evaluation: Evaluation | None = None
    screening_loss: float | None = None
    fidelity: float | None = None
    step: tuple[int, int] | None = None

    @classmethod
    def cached(cls, scored: Scored | Finalist, origin: Origin) -> Individual:
        """Return an individual whose genome was evaluated before."""
        return cls(
            scored.genome,
            scored.canonical,
            origin,
            status="cached",
            evaluated_loss=scored.loss,
            fidelity=1.0,
        )

    def predict(self, mean: float, std: float) -> None:
        """Note the surrogate's prediction."""
        self.predicted_loss, self.predicted_std = float(mean), float(std)

    def row(self) -> dict[str, Any]:
        """Return the individual's columns of the table `evaluations`.

        `tokens`, `duration_s` and `energy_j` are of all scoring for this row, at every fidelity.
        Cached and predicted rows have null there, not 0.
        """
        scored = self.evaluation
        # an evaluation that was told as a loss alone has no cost
        cost = dict.fromkeys(_UNMEASURED.columns)
        if scored is not None and scored.measurement != _UNMEASURED:
            cost = scored.measurement.columns
        return {
            "genome": list(self.canonical),
            "genome_hash": genome_hash(self.canonical),
            "origin": self.origin,
            "status": self.status,
            "predicted_loss": self.predicted_loss,
            "predicted_std": self.predicted_std,
            "screening_loss": self.screening_loss,
            "evaluated_loss": self.evaluated_loss,
            "fidelity": self.fidelity,
            "tokens": None if scored is None else scored.tokens,
            **cost,
        }


@dataclass(frozen=True, slots=True)
class SearchCounts:
    """Individuals by status, over all generations.

    `n_discarded` counts bred candidates that a prediction ruled out before they became individuals
    (only with `pool_factor` above 1). They have no rows and are not in `total`.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")  # of a saved state

    n_evaluated: int = 0
    n_predicted: int = 0
    n_cached: int = 0
    n_failed: int = 0
    n_discarded: int = 0
    n_screened: int = 0

    @property
    def total(self) -> int:
        """Rows of the table `evaluations`."""
        known = self.n_evaluated + self.n_cached + self.n_failed
        return known + self.n_predicted + self.n_screened

    @classmethod
    def of(cls, statuses: Iterable[str | None]) -> SearchCounts:
        """Count the column `status` of rows of the table `evaluations`."""
        counted = Counter(statuses)
        kinds = ("evaluated", "predicted", "cached", "failed", "screened")
        return cls(**{f"n_{kind}": counted[kind] for kind in kinds})

    def __add__(self, other: SearchCounts) -> SearchCounts:
        names = [field.name for field in fields(self)]
        return SearchCounts(*(getattr(self, name) + getattr(other, name) for name in names))


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation whose individuals are all scored.

    Attributes:
        number: from 0.
        population: places without those of local search.
        measurement: of the whole generation, the surrogate included.
        surrogate: kind of the surrogate that chose candidates; `None`: there was none.
        n_random: evaluations of the random control.
        n_discarded: candidates that the surrogate ruled out before they became individuals.
    """

    number: int
    individuals: list[Individual]
    population: int
    measurement: Measurement
    surrogate: str | None = None
    n_random: int = 0
    n_discarded: int = 0

    def evaluation_rows(self) -> list[dict[str, Any]]:
        """Return the rows of the table `evaluations`."""
        return [
            {"generation": self.number, "individual": index, **individual.row()}
            for index, individual in enumerate(self.individuals)
        ]

    def row(self, best_loss: float | None) -> dict[str, Any]:
        """Return the row of the table `generations`.

        `best_loss` is the incumbent's, over this and all earlier generations. `mean_loss` and
        `std_loss` (of the population, not a sample's estimate) are over measured losses, evaluated
        and cached. `spearman` and `topk_recall` compare the predictions of this generation with the
        evaluations that followed.
        """
        individuals = self.individuals
        measured = [i.evaluated_loss for i in individuals if i.evaluated_loss is not None]
        both = [
            (individual.predicted_loss, individual.evaluated_loss)
            for individual in individuals
            if individual.predicted_loss is not None and individual.evaluated_loss is not None
        ]
        predicted, evaluated = [pair[0] for pair in both], [pair[1] for pair in both]
        genomes = [individual.canonical for individual in individuals]
        return {
            "generation": self.number,
            "best_loss": best_loss,
            "mean_loss": float(np.mean(measured)) if measured else None,
            "std_loss": float(np.std(measured)) if measured else None,
            **asdict(SearchCounts.of(individual.status for individual in individuals)),
            "population": self.population,
            "tokens": sum(i.evaluation.tokens for i in individuals if i.evaluation is not None),
            "n_unique": len(set(genomes)),
            "mean_hamming": _mean_hamming(genomes),
            "surrogate": self.surrogate,
            "n_discarded": self.n_discarded,
            "n_random": self.n_random,
            "spared_share": self.spared_share,
            "spearman": rank_correlation(predicted, evaluated),
            "topk_recall": topk_recall(predicted, evaluated),
            **self.measurement.columns,
        }

    @property
    def spared_share(self) -> float | None:
        """Share of the bred candidates ranked by the surrogate that were not scored.

        Neighbours of local search do not count: as many are scored without a surrogate. `None`:
        the surrogate ranked no candidates.
        """
        if self.surrogate is None:
            return None
        spared = [
            individual.status == "predicted"
            for individual in self.individuals
            if individual.predicted_loss is not None and individual.origin != "local_search"
        ]
        ranked = len(spared) + self.n_discarded
        return (sum(spared) + self.n_discarded) / ranked if ranked else None


def _mean_hamming(genomes: list[Genome]) -> float | None:
    """Return the mean number of differing genes over all pairs; `None` for fewer than two."""
    count = len(genomes)
    if count < 2:
        return None
    columns = np.asarray(genomes, dtype=np.int64).T
    equal_pairs = 0
    for column in columns:
        repeats = np.unique(column, return_counts=True)[1]
        equal_pairs += int((repeats * (repeats - 1) // 2).sum())
    return len(columns) - equal_pairs / (count * (count - 1) // 2)
