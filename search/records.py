"""What a search writes down: one row per individual, one per generation.

Origins say how a genome came to be in its generation:

    init          drawn uniformly for generation 0
    crossover     bred from two parents, no gene mutated; a copy of one where no gene was swapped
    mutation      bred from two parents, at least one gene mutated
    random        drawn uniformly later, where breeding only repeated what is there
    local_search  one gene away from the incumbent
    elite         one of the best evaluated genomes, taken over unchanged

Statuses say where its number comes from:

    evaluated     scored now; `evaluated_loss` is the measurement
    failed        scored now, and the loss was no finite number; `evaluated_loss` is null
    cached        scored in an earlier generation; `evaluated_loss` repeats that measurement
    predicted     never scored so far; `predicted_loss` is a guess, `evaluated_loss` is null
    screened      scored now, and ruled out by a part of the batches (`search.ladder`);
                  `screening_loss` is the loss on that part, `evaluated_loss` is null

A prediction that was made before an evaluation stays beside it in `predicted_loss`, and the loss
on the last part of the batches before all of them in `screening_loss`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from clso.artifacts.tables import Parts, table_from_rows
from clso.energy import Measurement
from clso.genome import Genome, genome_hash
from clso.problem import Evaluation
from search.screening import rank_correlation, topk_recall

__all__ = [
    "Filtering",
    "FolderSink",
    "Individual",
    "MemorySink",
    "Origin",
    "RecordSink",
    "Records",
    "RunIdentity",
    "SearchCounts",
    "Status",
    "evaluation_row",
    "generation_row",
    "mean_hamming",
]

Origin = Literal["init", "crossover", "mutation", "random", "local_search", "elite"]
Status = Literal["evaluated", "failed", "cached", "predicted", "screened"]
_UNMEASURED = Measurement(0.0)


class RecordSink(Protocol):
    """Receives a search's tables in parts, one part per generation."""

    def append(self, table: str, part: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Store a part of a table whole; the same part again replaces what it held."""


class MemorySink:
    """Keeps the tables in memory."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[int, list[dict[str, Any]]]] = {}

    def append(self, table: str, part: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Store a part of a table; see `RecordSink.append`."""
        self._parts.setdefault(table, {})[part] = [dict(row) for row in rows]

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return a table's rows in the order of its parts."""
        parts = self._parts.get(table, {})
        return [row for part in sorted(parts) for row in parts[part]]

    def table(self, name: str) -> Any:  # noqa: ANN401 - pyarrow has no types
        """Return a table as a `pyarrow.Table`."""
        return table_from_rows(self.rows(name), name)


class FolderSink:
    """Keeps the tables as Parquet parts below a folder.

    Args:
        folder: has a folder for each table.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def append(self, table: str, part: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Store a part of a table; see `RecordSink.append`."""
        Parts(self._folder / table, table).write(part, rows)

    def table(self, name: str) -> Any:  # noqa: ANN401 - pyarrow has no types
        """Return a table as a `pyarrow.Table`."""
        return Parts(self._folder / name, name).read()


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """The columns that say whose row it is."""

    run_id: str
    seed: int
    family: str


@dataclass(frozen=True, slots=True)
class Records:
    """Where a search writes what it did.

    Attributes:
        run: the columns that every row has.
        sink: receives every generation's rows before its state is saved.
        state_path: of the state; the journal of evaluations is the file beside it that ends in
            `.journal`. `None`: both are in memory.
    """

    run: RunIdentity
    sink: RecordSink
    state_path: Path | None = None

    @classmethod
    def kept_in(cls, folder: str | Path | None, seed: int) -> Records:
        """Return the records of a search that is no part of a run; `None`: in memory."""
        run = RunIdentity("search", seed, "search")
        if folder is None:
            return cls(run, MemorySink())
        return cls(run, FolderSink(Path(folder)), Path(folder) / "state.json")


@dataclass(slots=True)
class Individual:
    """One place of a generation; `status` is `None` until its number is known."""

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

    def guess(self, mean: float, std: float) -> None:
        """Note what the surrogate says."""
        self.predicted_loss, self.predicted_std = float(mean), float(std)


@dataclass(frozen=True, slots=True)
class SearchCounts:
    """How many individuals got their number in which way, over all generations.

    `n_discarded` are bred candidates that a prediction ruled out before they became
    individuals (only with `pool_factor` above 1); they have no rows and are not in `total`.
    """

    n_evaluated: int = 0
    n_predicted: int = 0
    n_cached: int = 0
    n_failed: int = 0
    n_discarded: int = 0
    n_screened: int = 0

    @property
    def total(self) -> int:
        """Rows of the evaluations table."""
        known = self.n_evaluated + self.n_cached + self.n_failed
        return known + self.n_predicted + self.n_screened

    @classmethod
    def of(cls, statuses: Iterable[str | None], n_discarded: int = 0) -> SearchCounts:
        """Count the `status` column of evaluations rows."""
        counted = Counter(statuses)
        return cls(
            n_evaluated=counted["evaluated"],
            n_predicted=counted["predicted"],
            n_cached=counted["cached"],
            n_failed=counted["failed"],
            n_discarded=n_discarded,
            n_screened=counted["screened"],
        )

    def __add__(self, other: SearchCounts) -> SearchCounts:
        return SearchCounts(
            self.n_evaluated + other.n_evaluated,
            self.n_predicted + other.n_predicted,
            self.n_cached + other.n_cached,
            self.n_failed + other.n_failed,
            self.n_discarded + other.n_discarded,
            self.n_screened + other.n_screened,
        )


@dataclass(frozen=True, slots=True)
class Filtering:
    """What the surrogate did in one generation.

    Attributes:
        surrogate: the kind that chose; `None`: none did.
        n_random: evaluations of the random control.
        n_discarded: bred candidates that it ruled out before they became individuals.
    """

    surrogate: str | None = None
    n_random: int = 0
    n_discarded: int = 0

    def spared_share(self, individuals: Iterable[Individual]) -> float | None:
        """Return the share of the bred candidates it saw that were not scored.

        Local search's neighbours are not among them: it spares none of those, as without it as
        many would be tried. `None`: it saw none.
        """
        if self.surrogate is None:
            return None
        bred = [
            individual.status == "predicted"
            for individual in individuals
            if individual.predicted_loss is not None and individual.origin != "local_search"
        ]
        seen = len(bred) + self.n_discarded
        return (sum(bred) + self.n_discarded) / seen if seen else None


def evaluation_row(
    identity: RunIdentity, generation: int, number: int, individual: Individual
) -> dict[str, Any]:
    """Return an individual's row of the evaluations table.

    Costs (`tokens`, `duration_s`, `energy_j`) are those of all scoring that took place for this
    row, at every fidelity; cached and predicted rows have null there, not 0.
    """
    scored = individual.evaluation
    # an evaluation that was told as a loss alone says nothing of its cost
    cost = None if scored is None or scored.measurement == _UNMEASURED else scored.measurement
    return {
        "run_id": identity.run_id,
        "seed": identity.seed,
        "family": identity.family,
        "generation": generation,
        "individual": number,
        "genome": list(individual.canonical),
        "genome_hash": genome_hash(individual.canonical),
        "origin": individual.origin,
        "status": individual.status,
        "predicted_loss": individual.predicted_loss,
        "predicted_std": individual.predicted_std,
        "screening_loss": individual.screening_loss,
        "evaluated_loss": individual.evaluated_loss,
        "fidelity": individual.fidelity,
        "tokens": scored.tokens if scored is not None else None,
        "duration_s": None if cost is None else cost.duration_s,
        "energy_j": None if cost is None else cost.energy_j,
        "energy_source": None if cost is None else cost.energy_source,
        "estimated": None if cost is None else cost.estimated,
    }


def generation_row(
    identity: RunIdentity,
    generation: int,
    individuals: Sequence[Individual],
    best_loss: float | None,
    measurement: Measurement,
    *,
    filtering: Filtering,
    population: int,
) -> dict[str, Any]:
    """Return a generation's row of the generations table.

    Args:
        identity: whose row it is.
        generation: its number, from 0.
        individuals: all of its rows in the evaluations table.
        best_loss: the incumbent's, over this and all earlier generations.
        measurement: of the whole generation, the surrogate included.
        filtering: what the surrogate did.
        population: places that it had, local search's apart.

    `mean_loss` and `std_loss` (of the population, not a sample's estimate) are over measured
    losses, evaluated and cached; `spearman` and `topk_recall` compare the predictions of this
    generation with the evaluations that followed them.
    """
    measured = [one.evaluated_loss for one in individuals if one.evaluated_loss is not None]
    pairs = [
        (one.predicted_loss, one.evaluated_loss)
        for one in individuals
        if one.predicted_loss is not None and one.evaluated_loss is not None
    ]
    predicted, evaluated = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    counts = SearchCounts.of(one.status for one in individuals)
    genomes = [one.canonical for one in individuals]
    return {
        "run_id": identity.run_id,
        "seed": identity.seed,
        "family": identity.family,
        "generation": generation,
        "best_loss": best_loss,
        "mean_loss": float(np.mean(measured)) if measured else None,
        "std_loss": float(np.std(measured)) if measured else None,
        "n_evaluated": counts.n_evaluated,
        "n_predicted": counts.n_predicted,
        "n_cached": counts.n_cached,
        "n_failed": counts.n_failed,
        "n_screened": counts.n_screened,
        "population": population,
        "tokens": sum(one.evaluation.tokens for one in individuals if one.evaluation is not None),
        "n_unique": len(set(genomes)),
        "mean_hamming": mean_hamming(genomes),
        "surrogate": filtering.surrogate,
        "n_discarded": filtering.n_discarded,
        "n_random": filtering.n_random,
        "spared_share": filtering.spared_share(individuals),
        "spearman": rank_correlation(predicted, evaluated),
        "topk_recall": topk_recall(predicted, evaluated),
        "duration_s": measurement.duration_s,
        "energy_j": measurement.energy_j,
        "energy_source": measurement.energy_source,
        "estimated": measurement.estimated,
    }


def mean_hamming(genomes: Sequence[Genome]) -> float | None:
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
