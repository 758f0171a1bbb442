import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from clso.mixture.counts.rows import Rows, symbol_bits

RAGGED = st.lists(st.sets(st.integers(0, 20)), min_size=1, max_size=8)


def rows_of(ragged: list[set[int]]) -> Rows:
    parts = []
    # in two ranges of rows, each counted from its own first
    for part in (ragged[:2], ragged[2:]):
        keys = [r << symbol_bits(21) | s for r, symbols in enumerate(part) for s in sorted(symbols)]
        parts.append((len(part), np.array(keys, dtype=np.uint64)))
    return Rows.from_parts(parts, 21)


@settings(max_examples=30)
@given(RAGGED)
def test_rows_hold_what_was_added(ragged: list[set[int]]) -> None:
    rows = rows_of(ragged)
    assert rows.n_rows == len(ragged)
    assert len(rows) == sum(map(len, ragged))
    assert rows.occupied.tolist() == [bool(symbols) for symbols in ragged]
    assert [rows.symbols[rows.entries_of(r)].tolist() for r in range(rows.n_rows)] == [
        sorted(symbols) for symbols in ragged
    ]


@settings(max_examples=30)
@given(RAGGED)
def test_an_entry_is_found_by_row_and_symbol(ragged: list[set[int]]) -> None:
    rows = rows_of(ragged)
    wanted = [(r, s) for r in range(len(ragged)) for s in range(21)]
    entries = rows.find(np.array([r for r, _ in wanted]), np.array([s for _, s in wanted]))
    assert entries.dtype == np.int64
    for (r, s), entry in zip(wanted, entries, strict=True):
        assert (entry >= 0) == (s in ragged[r])
        assert entry == rows.find_one(r, s)
        if entry >= 0:
            assert rows.symbols[entry] == s
            assert rows.row_of_entries()[entry] == r


@settings(max_examples=30)
@given(RAGGED)
def test_rows_are_read_back(ragged: list[set[int]]) -> None:
    rows = rows_of(ragged)
    arrays = {f"r.{name}": array for name, array in rows.to_arrays().items()}
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.uint8)}
    reloaded = Rows.from_arrays(arrays, "r", 21)
    assert np.array_equal(reloaded.starts, rows.starts)
    assert np.array_equal(reloaded.symbols, rows.symbols)
