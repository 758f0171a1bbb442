"""Searches without ladder and with a fixed population, as they were before there were such."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from table_problem import TableProblem

from clso.genome import Genome, GenomeSpace
from search.records import MemorySink
from search.run import run_search
from search.settings import LocalSearchSettings, SearchSettings, SurrogateSettings
from search.surrogates import FloatArray

EVALUATION_COLUMNS = (
    "generation individual genome origin status predicted_loss predicted_std screening_loss "
    "evaluated_loss fidelity tokens"
)
GENERATION_COLUMNS = (
    "generation best_loss mean_loss std_loss n_evaluated n_predicted n_cached n_failed n_unique "
    "mean_hamming spearman topk_recall"
)


def digest(rows: list[dict[str, Any]], columns: str) -> str:
    """Return a digest of some columns, floats to 9 digits: processors differ in the last ones."""
    names = columns.split()
    kept = [
        [round(row[name], 9) if isinstance(row[name], float) else row[name] for name in names]
        for row in rows
    ]
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:32]


class Additive:
    """Guesses the sum of each option's mean deviation."""

    kind = "ridge"

    def __init__(self, space: GenomeSpace, seed: int) -> None:
        self.deviations: dict[tuple[int, int], list[float]] = {}
        self.mean = 0.0

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        self.mean = sum(losses) / len(losses)
        for genome, loss in zip(genomes, losses, strict=True):
            for gene in enumerate(genome):
                self.deviations.setdefault(gene, []).append(loss - self.mean)

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        known = [
            [self.deviations[gene] for gene in enumerate(genome) if gene in self.deviations]
            for genome in genomes
        ]
        guesses = [self.mean + sum(sum(one) / len(one) for one in own) for own in known]
        return np.array(guesses, dtype=np.float64), np.full(len(genomes), 0.1)


@pytest.mark.parametrize(
    ("kind", "evaluations", "generations"),
    [
        ("none", "6ac4cc861f0d957f80319c6469370e26", "2e0821837ac39c204bf75a51d34e7dfb"),
        ("ridge", "b4cf3d9fe4c8998e29bc5f85e72a3a95", "5f3bde4954d0c375eae98efed6e47dd2"),
    ],
)
def test_without_a_ladder_the_records_are_those_of_searches_before_there_was_one(
    kind: str, evaluations: str, generations: str
) -> None:
    asked = SearchSettings(
        population=12,
        generations=8,
        mutation_rate=0.15,
        max_evaluations=60,
        surrogate=SurrogateSettings(kind=kind, start=2, full_eval_fraction=0.3, pool_factor=2.0),
        local_search=LocalSearchSettings(neighbours=2),
    )
    sink = MemorySink()
    run_search(
        TableProblem((12,) * 4, interaction=0.4, seed=3),
        asked,
        seed=1,
        family="gpt",
        run_id="run",
        sink=sink,
        surrogate=None if kind == "none" else Additive,
    )
    assert digest(sink.rows("evaluations"), EVALUATION_COLUMNS) == evaluations
    assert digest(sink.rows("generations"), GENERATION_COLUMNS) == generations
