"""What compiled loops may rely on, whatever they compute."""

import subprocess
import sys

import numba
import numpy as np
import pytest

from clso.mixture.compiled import Handles, compiled, find_entry, inner, read, read_float


@compiled
def elements(places: np.ndarray, numbers: np.ndarray, values: np.ndarray) -> None:
    for table in range(len(places) - 1):
        for index in range(values.shape[1]):
            numbers[table, index] = read(places[table], index)
    for index in range(values.shape[1]):
        values[0, index] = read_float(places[len(places) - 1], index)


def test_arrays_of_all_widths_are_read_where_they_are() -> None:
    rng = np.random.default_rng(0)
    kinds = (np.uint8, np.uint16, np.uint32)
    arrays = [rng.integers(0, np.iinfo(kind).max, 9, dtype=kind, endpoint=True) for kind in kinds]
    arrays[2][0] = np.iinfo(np.uint32).max
    floats, numbers, values = rng.random(9), np.empty((3, 9), dtype=np.int64), np.empty((1, 9))
    handles = Handles([*arrays, floats])
    elements(handles.places, numbers, values)
    assert numbers.tolist() == [array.tolist() for array in arrays]
    assert values[0].tolist() == floats.tolist()


@compiled
def entries(places: np.ndarray, rows: np.ndarray, symbols: np.ndarray, found: np.ndarray) -> None:
    for index in range(len(rows)):
        found[index] = find_entry(places[0], places[1], rows[index], symbols[index])


def test_every_symbol_of_a_row_is_found_and_no_other() -> None:
    lines = [[0, 3, 4], [], [2], [0, 1, 2, 3, 4]]
    starts = np.cumsum([0, *map(len, lines)]).astype(np.uint32)
    table = Handles([starts, np.concatenate(lines).astype(np.uint16)])
    rows, symbols = (part.reshape(-1) for part in np.indices((4, 6)))
    found = np.empty(len(rows), dtype=np.int64)
    entries(table.places, rows, symbols, found)
    for row, symbol, entry in zip(rows, symbols, found, strict=True):
        line = lines[row]
        assert entry == (starts[row] + line.index(symbol) if symbol in line else -1)


@inner
def twice(value: int) -> int:
    return 2 * value


def test_a_cache_that_cannot_be_written_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    make = numba.njit

    def without_folder(*arguments: object, **options: object) -> object:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available for file")
        return make(*arguments, **options)

    monkeypatch.setattr(numba, "njit", without_folder)

    @compiled
    def four_times(value: int) -> int:
        return twice(twice(value))

    assert four_times(3) == 12


def test_numba_is_imported_by_the_first_call_alone() -> None:
    script = "import sys, clso.mixture.model; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
