from pathlib import Path

import numpy as np
import pytest

from clso.errors import ArtifactError
from clso.mixture.columns import Columns
from clso.mixture.specification import fit_functions

NAMES = ("unigram", "kn(1)", "cache(8)", "kn(1,2)", "induction(1)")


@pytest.fixture
def columns(text_stream: type) -> Columns:
    rng = np.random.default_rng(0)
    functions = fit_functions(NAMES, [text_stream(rng.integers(0, 9, 400))], 9, {})
    stream = rng.integers(0, 9, (300, 5))
    return Columns.of(functions, stream[:, :-1], stream[:, 1:], 9, split="tune")


def test_each_column_is_what_its_function_says_alone(columns: Columns, text_stream: type) -> None:
    rng = np.random.default_rng(0)
    stream_tokens = rng.integers(0, 9, 400)
    stream = rng.integers(0, 9, (300, 5))
    assert columns.names == NAMES
    assert columns.values.shape == (5, 1200)
    for name, values in zip(columns.names, columns.values, strict=True):
        (function,) = fit_functions([name], [text_stream(stream_tokens)], 9, {})
        alone = function.target_probabilities(stream[:, :-1], stream[:, 1:])
        assert np.allclose(values, alone.ravel(), rtol=1e-6)


def test_the_uniform_function_comes_first(columns: Columns) -> None:
    assert np.allclose(columns.with_uniform[0], 1 / 9)
    assert np.array_equal(columns.with_uniform[1:], columns.values)


def test_reloaded_columns_are_equal(columns: Columns, tmp_path: Path) -> None:
    columns.save(tmp_path / "columns.parquet")
    reloaded = Columns.load(tmp_path / "columns.parquet")
    assert reloaded.fingerprint == columns.fingerprint
    assert (reloaded.names, reloaded.families) == (columns.names, columns.families)


def test_a_damaged_file_is_refused_by_name(columns: Columns, tmp_path: Path) -> None:
    path = tmp_path / "columns.parquet"
    columns.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match=r"columns\.parquet"):
        Columns.load(path)


def test_columns_are_chosen_and_joined_by_name(columns: Columns) -> None:
    chosen = columns.chosen(["cache(8)", "kn(1)"])
    assert chosen.names == ("cache(8)", "kn(1)")
    assert np.array_equal(chosen.values, columns.values[[2, 1]])
    joined = chosen.joined(columns.chosen(["unigram"]))
    assert joined.names == ("cache(8)", "kn(1)", "unigram")
    assert joined.families == ("pointer", "count", "constant")
