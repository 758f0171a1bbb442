"""What a search did: which individuals were evaluated, which only predicted, what looked too good.

A *prediction* is the surrogate's estimate of a loss. It steers the search and is never a result.
Here each prediction stands beside the later evaluation of the same model, if there is one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["LowestPrediction", "SearchSummary", "winners_optimism"]


@dataclass(frozen=True)
class _Counts:
    """The individuals of a search by their status.

    Attributes:
        individuals: rows; an individual that survives is counted in each of its generations.
        evaluated: scored in this generation.
        cached: scored before, so not scored again.
        predicted: never scored, only predicted.
        failed: scored, but the loss was not a finite number.
        screened: scored on a part of the batches and then ruled out.
        tokens: targets scored, at every fidelity.
        distinct_evaluated: different models among the evaluated.
        surrogate_generation: the first generation with a prediction; `None`: there is none.
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
    """The lowest prediction of a search, and the evaluation of its model.

    Attributes:
        predicted_std: the spread of the prediction.
        evaluated_loss: of the same model, then or later; `None`: the model has no loss.
        failed: whether the model's evaluation gave no finite loss.
        screened: whether a part of the batches ruled the model out.
    """

    predicted_loss: float
    predicted_std: float | None
    generation: int
    evaluated_loss: float | None
    failed: bool
    screened: bool


@dataclass(frozen=True)
class _Filtered:
    """The candidates that a surrogate filtered.

    Attributes:
        generations: number of filtered generations by kind of surrogate, the most frequent first.
        seen: new candidates that the surrogate ranked, without those of local search.
        spared: ranked candidates that were not scored.
        n_random: evaluations of the random control.
        evaluation_energy_j: mean joules of an evaluation; `None`: not measured.
    """

    generations: dict[str, int]
    seen: int
    spared: int
    n_random: int
    evaluation_energy_j: float | None


class SearchSummary:
    """One family's search, from tables of all families; only `filtered` needs `generations`."""

    def __init__(
        self, evaluations: pa.Table, family: str, generations: pa.Table | None = None
    ) -> None:
        own = pc.field("family") == family
        self._rows = evaluations.filter(own)
        self._generations = None if generations is None else generations.filter(own)

    @cached_property
    def counts(self) -> _Counts:
        """The individuals by status."""
        rows = self._rows
        status = {
            entry["values"]: entry["counts"] for entry in rows["status"].value_counts().to_pylist()
        }
        evaluated = rows.filter(pc.field("status") == "evaluated")
        predicted = rows.filter(pc.field("predicted_loss").is_valid())
        return _Counts(
            generations=len(rows["generation"].unique()),
            individuals=rows.num_rows,
            evaluated=status.get("evaluated", 0),
            cached=status.get("cached", 0),
            predicted=status.get("predicted", 0),
            failed=status.get("failed", 0),
            screened=status.get("screened", 0),
            tokens=pc.sum(rows["tokens"]).as_py() or 0,
            distinct_evaluated=len(evaluated["genome_hash"].unique()),
            surrogate_generation=pc.min(predicted["generation"]).as_py(),
        )

    def filtered(self) -> _Filtered:
        """Return what the surrogate filtered over all generations."""
        rows, own = self._rows, self._generations
        assert own is not None, "the table `generations` says what was filtered"
        kinds = own["surrogate"].drop_null().value_counts().to_pylist()
        bred = rows.filter(
            pc.field("predicted_loss").is_valid() & (pc.field("origin") != "local_search")
        )
        n_discarded = pc.sum(own["n_discarded"]).as_py() or 0
        whole = rows.filter(pc.field("status") == "evaluated")
        return _Filtered(
            generations={
                kind["values"]: kind["counts"]
                for kind in sorted(kinds, key=lambda kind: (-kind["counts"], kind["values"]))
            },
            seen=bred.num_rows + n_discarded,
            spared=bred.filter(pc.field("status") == "predicted").num_rows + n_discarded,
            n_random=pc.sum(own["n_random"]).as_py() or 0,
            evaluation_energy_j=pc.mean(whole["energy_j"]).as_py(),
        )

    def best_loss(self, genome_hash: str | None = None) -> float | None:
        """Return the lowest evaluated loss, of all models or of one; `None` without one."""
        rows = self._rows
        if genome_hash is not None:
            rows = rows.filter(pc.field("genome_hash") == genome_hash)
        loss: float | None = pc.min(rows["evaluated_loss"]).as_py()
        return loss

    def best(self, share: float) -> pa.Table:
        """Return the best share of the different models that were evaluated, at least one."""
        rows = self._rows.filter(
            (pc.field("status") == "evaluated") & pc.field("evaluated_loss").is_valid()
        ).sort_by([("evaluated_loss", "ascending"), ("genome_hash", "ascending")])
        _, first = np.unique(rows["genome_hash"].to_numpy(), return_index=True)
        return rows.take(np.sort(first)[: math.ceil(share * len(first))])

    def lowest_prediction(self) -> LowestPrediction | None:
        """Return the lowest prediction and its later evaluation; `None` without predictions."""
        predicted = self._rows.filter(pc.field("predicted_loss").is_valid())
        if predicted.num_rows == 0:
            return None
        ranked = predicted.sort_by([("predicted_loss", "ascending"), ("generation", "ascending")])
        lowest = ranked.slice(0, 1).to_pylist()[0]
        own = self._rows.filter(pc.field("genome_hash") == lowest["genome_hash"])
        return LowestPrediction(
            predicted_loss=lowest["predicted_loss"],
            predicted_std=lowest["predicted_std"],
            generation=lowest["generation"],
            evaluated_loss=pc.min(own["evaluated_loss"]).as_py(),
            failed="failed" in own["status"].to_pylist(),
            screened="screened" in own["status"].to_pylist(),
        )

    def pairs(self) -> pa.Table:
        """Return the rows that were predicted first and then evaluated."""
        return self._rows.filter(
            pc.field("predicted_loss").is_valid()
            & pc.field("evaluated_loss").is_valid()
            & (pc.field("status") == "evaluated")
        )

    def rank_correlation(self) -> float | None:
        """Return Spearman's correlation of predictions and evaluations; `None` if undefined."""
        pairs = self.pairs()
        columns = [pairs[name].to_numpy() for name in ("predicted_loss", "evaluated_loss")]
        if pairs.num_rows < 3 or any((column == column[0]).all() for column in columns):
            return None
        from scipy import stats  # takes half a second, which `clso ls` need not

        return float(stats.spearmanr(*columns).statistic)


def winners_optimism(
    best: Mapping[str, Mapping[str, Any]], results: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, float | None]]:
    """Return, per family, the winner's losses from the search to test, and their differences.

    `best` is a manifest's. A family has `search_loss` (fixed batches), `validation_loss`,
    `test_loss`, nats per token; `validation_minus_search`, `test_minus_search`; `None` = not
    measured. Families without a result are left out.
    """
    rows = {row["model"]: row for row in results}
    optimism = {}
    for family, winner in best.items():
        if family not in rows or winner.get("search_loss") is None:
            continue
        search = float(winner["search_loss"])
        losses = {name: rows[family][f"{name}_loss"] for name in ("validation", "test")}
        optimism[family] = {
            "search_loss": search,
            **{f"{name}_loss": loss for name, loss in losses.items()},
            **{
                f"{name}_minus_search": None if loss is None else loss - search
                for name, loss in losses.items()
            },
        }
    return optimism
