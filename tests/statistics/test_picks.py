import json
from itertools import groupby
from typing import Any

import pyarrow as pa
import pytest

from clso.artifacts import Run, table_from_rows
from clso.statistics.picks import Genes
from clso.statistics.search_summary import SearchSummary


def picks_of(
    evaluations: pa.Table, genes: list[dict[str, Any]], share: float = 0.1
) -> list[dict[str, Any]]:
    best = SearchSummary(evaluations, "gpt").best(share)
    return Genes(genes).picks(best["genome"].to_pylist())


def test_genes_are_described_by_runs_of_families() -> None:
    genes = Genes.describe([("attn_qkv", ["a", "a", "b", "a"])])
    runs = [["a", 2], ["b", 1], ["a", 1]]
    assert genes == [{"slot": "attn_qkv", "genes": 1, "families": runs}]
    assert json.loads(json.dumps(genes)) == genes


def test_genes_that_make_a_set_are_counted_together() -> None:
    genes = Genes.describe([("functions", ["none", "a", "a", "b"])], repeats=3)
    row = {name: None for name in table_from_rows([], "evaluations").column_names}
    row |= {"run_id": "r", "seed": 0, "family": "gpt", "generation": 0, "individual": 0}
    row |= {"origin": "init", "status": "evaluated", "evaluated_loss": 1.0}
    # the last gene, a bucketing, is not described
    rows = [
        {**row, "genome": genome, "genome_hash": name}
        for name, genome in (("x", [1, 2, 3, 0]), ("y", [0, 1, 1, 1]))
    ]
    picks = picks_of(table_from_rows(rows, "evaluations"), genes, 1.0)
    found = {pick["entry_family"]: (pick["picked"], pick["chance"]) for pick in picks}
    assert found == {"none": (1 / 6, 0.25), "a": (4 / 6, 0.5), "b": (1 / 6, 0.25)}


def test_the_best_are_different_models_that_were_evaluated(run: Run) -> None:
    best = SearchSummary(run.evaluations, "gpt").best(0.1)
    hashes = best["genome_hash"].to_pylist()
    assert len(set(hashes)) == len(hashes) == 12
    losses = best["evaluated_loss"].to_pylist()
    assert losses == sorted(losses)
    assert set(best["status"].to_pylist()) == {"evaluated"}


def test_a_model_evaluated_twice_counts_once(run: Run) -> None:
    rows = run.evaluations.slice(0, 2).to_pylist() * 3
    table = table_from_rows(rows, "evaluations")
    assert SearchSummary(table, "gpt").best(1.0).num_rows == 2
    assert SearchSummary(table, "gpt").best(0.01).num_rows == 1


def test_shares_sum_to_one_and_chance_is_the_librarys_share(run: Run) -> None:
    genes = run.manifest["genes"]["gpt"]
    picks = picks_of(run.evaluations, genes)
    groups = {slot: list(group) for slot, group in groupby(picks, key=lambda pick: pick["slot"])}
    assert list(groups) == [gene["slot"] for gene in genes]
    for group in groups.values():
        assert sum(pick["picked"] for pick in group) == pytest.approx(1.0)
        assert [pick["chance"] for pick in group] == [0.5, 0.5]


def test_picks_follow_the_genes_of_the_best() -> None:
    genes = Genes.describe([("one", ["a", "b", "b", "b"]), ("two", ["a", "b", "b", "b"])])
    row = {name: None for name in table_from_rows([], "evaluations").column_names}
    row |= {"run_id": "r", "seed": 0, "family": "gpt", "generation": 0, "individual": 0}
    row |= {"origin": "init", "status": "evaluated", "genome_hash": "x", "genome": [0, 3]}
    table = table_from_rows([{**row, "evaluated_loss": 5.0}], "evaluations")
    picked = {
        (pick["slot"], pick["entry_family"]): (pick["picked"], pick["chance"])
        for pick in picks_of(table, genes)
    }
    assert picked == {
        ("one", "a"): (1.0, 0.25),
        ("one", "b"): (0.0, 0.75),
        ("two", "a"): (0.0, 0.25),
        ("two", "b"): (1.0, 0.75),
    }


def test_without_evaluations_nothing_was_picked() -> None:
    genes = Genes.describe([("one", ["a", "b"])])
    assert picks_of(table_from_rows([], "evaluations"), genes) == []
