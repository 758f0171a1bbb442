"""The time of a search without its evaluations, and whether it grows with the generations.

Everything is kept in a folder: the state, the journal of evaluations and the records.
"""

from __future__ import annotations

import tempfile
import time

import numpy as np

from search import Search, SearchSettings

__all__ = ["SHARE", "WORK", "run"]

_POPULATION, _GENES, _OPTIONS, _GENERATIONS = 128, 16, 64, 500
SHARE = 100
"""Number of generations that are timed at the beginning and at the end."""

WORK = f"{_GENERATIONS} generations of {_POPULATION} genomes, {_GENES} genes of {_OPTIONS}"


def run() -> tuple[float, float]:
    """Return the seconds of the first `SHARE` generations and of the last."""
    table = np.random.default_rng(0).normal(size=(_GENES, _OPTIONS)).tolist()
    settings = SearchSettings.model_validate(
        {
            "population": _POPULATION,
            "generations": _GENERATIONS,
            "surrogate": {"kind": "none"},
        }
    )
    ends: list[float] = []

    def note_end(*_: object) -> None:
        ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        search = Search([_OPTIONS] * _GENES, settings, folder=folder, callbacks=[note_end])
        started = time.perf_counter()
        while batch := search.ask():
            search.tell(
                batch,
                [
                    sum(losses[gene] for losses, gene in zip(table, genome, strict=True))
                    for genome in batch
                ],
            )
    assert len(ends) == _GENERATIONS
    return ends[SHARE - 1] - started, ends[-1] - ends[-SHARE - 1]
