"""Compressors beside the models of a run, with zlib in the place of stronger ones."""

import zlib

import pytest
from rich.console import Console

from benchmarks import peers
from clso.artifacts import Run
from clso.data import Dataset


@pytest.fixture
def _zlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "zpaq_compressor", lambda: zlib.compress)
    monkeypatch.setattr(peers, "ppmd_compressors", lambda: iter([(6, zlib.compress)]))


def test_what_was_read_before_costs_little_again() -> None:
    text = bytes(range(256)) * 2
    primed = peers.Primed(zlib.compress, text)
    assert primed.bits_per_byte(text[:256]) < 0.5
    assert peers.Primed(zlib.compress, b"").bits_per_byte(text[:256]) > 7


def test_the_texts_are_those_of_the_models(smoke: Run) -> None:
    dataset = Dataset.load(
        smoke.path.parents[1] / "datasets" / smoke.manifest["data_fingerprint"], block_size=32
    )
    texts = peers.Texts.of(smoke)
    test = smoke.table("scores")
    for name, text in (("validation", texts.validation), ("test", texts.test)):
        rows = [row for row in test.to_pylist() if row["split"] == name]
        scored = sum(row["n_bytes"] for row in rows if row["model"] == "uniform")
        assert len(text) == scored
        assert text.decode(errors="ignore")[10:200] in dataset.tokenizer.decode(
            dataset.splits[name].tokens(0, 200).tolist()
        ).replace("<|endoftext|>", "")
    learned = dataset.manifest["tokenizer"]["learned_bytes"]
    assert abs(len(texts.training) - sum(learned.values())) < 200


@pytest.mark.usefixtures("_zlib")
def test_models_and_compressors_stand_in_one_table(smoke: Run) -> None:
    table = peers.compare([smoke, smoke], Console(quiet=True))
    rows = {row.texts()[0][0]: row.texts()[1][0] for row in table.rows}
    assert {"zpaq -m5", "PPMd, order 6", "uniform", "Kneser-Ney 5-gram"} <= rows.keys()
    losses = list(map(float, rows.values()))
    assert losses == sorted(losses)
