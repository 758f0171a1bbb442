"""What a search really did: who was evaluated, who was only guessed, and what looked too good.

A *prediction* is the surrogate's guess of a loss. It steers the search and is never a result;
the figures here set each guess beside the evaluation that followed, if any did.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from scipy import stats

__all__ = [
    "Filtered",
    "LowestPrediction",
    "SearchCounts",
    "best_evaluated_loss",
    "count_individuals",
    "families",
    "filtered",
    "lowest_prediction",
    "paired_predictions",
    "prediction_rank_correlation",
]


@dataclass(frozen=True)
class SearchCounts:
    """The individuals of a search by what happened to them.

    Attributes:
        generations: generations recorded.
        individuals: rows; an individual that survives is counted in each of its generations.
        evaluated: scored for real, in that generation.
        cached: scored before, so not again.
        predicted: never scored, only guessed.
        failed: scored, but the loss was not a finite number.
        screened: scored on a part of the batches, and ruled out there.
        tokens: targets scored, at every fidelity.
        distinct_evaluated: different models among the evaluated.
        surrogate_generation: the first generation with a prediction; `None`: never.
    """

    generations: int
    individuals: int
    evaluated: int
    cached: int
    predicted: int
    failed: int
    screened: int
    tokens: int
    distinct_evaluated: int
    surrogate_generation: int | None


@dataclass(frozen=True)
class LowestPrediction:
    """The most hopeful guess, and what became of it.

    Attributes:
        predicted_loss: the lowest prediction of the whole search.
        predicted_std: its spread.
        generation: when it was made.
        evaluated_loss: what the same model scored, then or later; `None`: it has no such loss.
        failed: whether it has none because its evaluation gave no finite one.
        screened: whether it has none because a part of the batches ruled it out.
    """

    predicted_loss: float
    predicted_std: float | None
    generation: int
    evaluated_loss: float | None
    failed: bool
    screened: bool


@dataclass(frozen=True)
class Filtered:
    """What a surrogate kept from being evaluated.

    Attributes:
        generations: generations it filtered, by its kind, the most frequent first.
        seen: new candidates that it saw, those of local search apart.
        spared: those of them that were not scored.
        n_random: evaluations of the random control.
        evaluation_energy_j: mean joules of an evaluation; `None`: not measured.
    """

    generations: dict[str, int]
    seen: int
    spared: int
    n_random: int
    evaluation_energy_j: float | None


def families(table: pa.Table) -> list[str]:
    """Return the model families that a table of a search speaks of, sorted."""
    return sorted(table["family"].unique().to_pylist())


def _of(table: pa.Table, family: str) -> pa.Table:
    return table.filter(pc.field("family") == family)


def count_individuals(evaluations: pa.Table, family: str) -> SearchCounts:
    """Count a family's individuals by status."""
    rows = _of(evaluations, family)
    status = {
        entry["values"]: entry["counts"] for entry in rows["status"].value_counts().to_pylist()
    }
    evaluated = rows.filter(pc.field("status") == "evaluated")
    guessed = rows.filter(pc.field("predicted_loss").is_valid())
    return SearchCounts(
        generations=len(rows["generation"].unique()),
        individuals=rows.num_rows,
        evaluated=status.get("evaluated", 0),
        cached=status.get("cached", 0),
        predicted=status.get("predicted", 0),
        failed=status.get("failed", 0),
        screened=status.get("screened", 0),
        tokens=pc.sum(rows["tokens"]).as_py() or 0,
        distinct_evaluated=len(evaluated["genome_hash"].unique()),
        surrogate_generation=pc.min(guessed["generation"]).as_py(),
    )


def filtered(evaluations: pa.Table, generations: pa.Table, family: str) -> Filtered:
    """Sum up what the surrogate did over a family's generations."""
    rows, own = _of(evaluations, family), _of(generations, family)
    kinds = own["surrogate"].drop_null().value_counts().to_pylist()
    bred = rows.filter(
        pc.field("predicted_loss").is_valid() & (pc.field("origin") != "local_search")
    )
    n_discarded = pc.sum(own["n_discarded"]).as_py() or 0
    whole = rows.filter(pc.field("status") == "evaluated")
    return Filtered(
        generations={
            kind["values"]: kind["counts"]
            for kind in sorted(kinds, key=lambda kind: (-kind["counts"], kind["values"]))
        },
        seen=bred.num_rows + n_discarded,
        spared=bred.filter(pc.field("status") == "predicted").num_rows + n_discarded,
        n_random=pc.sum(own["n_random"]).as_py() or 0,
        evaluation_energy_j=pc.mean(whole["energy_j"]).as_py(),
    )


def best_evaluated_loss(
    evaluations: pa.Table, family: str, genome_hash: str | None = None
) -> float | None:
    """Return the lowest evaluated loss, of one model if it is named; `None` if there is none."""
    rows = _of(evaluations, family)
    if genome_hash is not None:
        rows = rows.filter(pc.field("genome_hash") == genome_hash)
    loss: float | None = pc.min(rows["evaluated_loss"]).as_py()
    return loss


def lowest_prediction(evaluations: pa.Table, family: str) -> LowestPrediction | None:
    """Return the lowest prediction and its later evaluation; `None` without predictions."""
    rows = _of(evaluations, family)
    guessed = rows.filter(pc.field("predicted_loss").is_valid())
    if guessed.num_rows == 0:
        return None
    ranked = guessed.sort_by([("predicted_loss", "ascending"), ("generation", "ascending")])
    lowest = ranked.slice(0, 1).to_pylist()[0]
    own = rows.filter(pc.field("genome_hash") == lowest["genome_hash"])
    return LowestPrediction(
        predicted_loss=lowest["predicted_loss"],
        predicted_std=lowest["predicted_std"],
        generation=lowest["generation"],
        evaluated_loss=pc.min(own["evaluated_loss"]).as_py(),
        failed="failed" in own["status"].to_pylist(),
        screened="screened" in own["status"].to_pylist(),
    )


def paired_predictions(evaluations: pa.Table, family: str) -> pa.Table:
    """Return the rows that were predicted first and evaluated then."""
    return _of(evaluations, family).filter(
        pc.field("predicted_loss").is_valid()
        & pc.field("evaluated_loss").is_valid()
        & (pc.field("status") == "evaluated")
    )


def prediction_rank_correlation(evaluations: pa.Table, family: str) -> float | None:
    """Return Spearman's correlation of predictions and evaluations; `None` if it is undefined."""
    pairs = paired_predictions(evaluations, family)
    columns = [pairs[name].to_numpy() for name in ("predicted_loss", "evaluated_loss")]
    if pairs.num_rows < 3 or any((column == column[0]).all() for column in columns):
        return None
    return float(stats.spearmanr(*columns).statistic)
