"""What a long search and a folder of many runs keep."""

from __future__ import annotations

import gc
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from clso.artifacts import RunFolder
from pipelines.inspect import runs_table
from search import Search, SearchSettings

_GENES, _OPTIONS = 16, 64


def _bytes_by_generation(generations: int, folder: Path) -> dict[int, tuple[int, int]]:
    """Return the traced bytes and evaluated genomes at some generations of a search."""
    table = np.random.default_rng(0).normal(size=(_GENES, _OPTIONS)).tolist()
    settings = SearchSettings.model_validate(
        {
            "population": 64,
            "generations": generations,
            "mutation_rate": 0.2,
            "surrogate": {"kind": "none"},
        }
    )
    found: dict[int, tuple[int, int]] = {}
    evaluated = 0

    def note(row: object, _: object) -> None:
        assert isinstance(row, dict)
        if (row["generation"] + 1) % (generations // 4) == 0:
            gc.collect()
            found[row["generation"]] = tracemalloc.get_traced_memory()[0], evaluated

    tracemalloc.start(1)
    try:
        search = Search([_OPTIONS] * _GENES, settings, folder=folder, callbacks=[note])
        while batch := search.ask():
            evaluated += len(batch)
            search.tell(
                batch,
                [sum(losses[g] for losses, g in zip(table, one, strict=True)) for one in batch],
            )
    finally:
        tracemalloc.stop()
    return found


@pytest.mark.slow
def test_a_search_keeps_a_few_hundred_bytes_of_an_evaluated_genome_and_none_of_a_generation(
    tmp_path: Path,
) -> None:
    notes = list(_bytes_by_generation(400, tmp_path).values())
    (first, _), *_, (last, _) = notes
    kept = (last - first) / (notes[-1][1] - notes[0][1])
    # genome 168 bytes, its entry 64, four numbers and pointers to it
    assert kept < 450
    # no stretch grows by more of a genome than another
    growths = [(after[0] - before[0]) / (after[1] - before[1]) for before, after in pairwise(notes)]
    assert max(growths) < 2 * min(growths)


def test_runs_are_listed_without_what_only_their_reports_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        RunFolder(tmp_path / "runs" / f"many-{number}").write_manifest(
            {"run_id": f"many-{number}", "seed": 0, "config": {"name": "many"}}
        )
    reads: list[Path] = []
    read = RunFolder.read

    def count(folder: RunFolder, name: str) -> object:
        reads.append(folder.path / name)
        return read(folder, name)

    monkeypatch.setattr(RunFolder, "read", count)
    assert len(runs_table(tmp_path).rows) == 3
    assert all(path.name == "results" for path in reads)
