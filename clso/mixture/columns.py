"""The probabilities of all targets of a split under every function, computed once.

Notation: N functions besides the uniform one, n targets of a split in the order of its blocks.
Column i is p_i(y_1 | h_1) .. p_i(y_n | h_n), with h_t the context of target t. A search reads the
columns only, never the functions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from clso.artifacts import read_table, write_table
from clso.errors import ArtifactError
from clso.mixture.arrays import Float32Array
from clso.mixture.function import BasisFunction
from clso.mixture.plain import PlainFunction
from clso.mixture.together import Together
from clso.progress import SILENT, Reporter
from clso.scoring import Int64Array

__all__ = ["Columns"]

_BLOCKS_AT_ONCE = 256
_REMEDY = "delete the folder; the functions are fitted again"


@dataclass(frozen=True)
class Columns:
    """The columns of a library on some blocks, a row in memory per function.

    Attributes:
        names: the names of the functions, `(N,)`.
        families: the families of the functions, `(N,)`.
        values: the columns, `(N, n)` float32.
        vocab_size: V, for the uniform function.
    """

    names: tuple[str, ...]
    families: tuple[str, ...]
    values: Float32Array
    vocab_size: int

    @classmethod
    def of(
        cls,
        functions: Sequence[BasisFunction],
        inputs: Int64Array,
        targets: Int64Array,
        vocab_size: int,
        *,
        split: str,
        reporter: Reporter = SILENT,
    ) -> Self:
        """Compute the probability of every target of blocks `(B, T)` under every function.

        Raises:
            WorkError: a function of another package does not return distributions.
        """
        values = np.empty((len(functions), targets.size), dtype=np.float32)
        together = Together(functions)
        block_size = targets.shape[1]
        with reporter.task(f"columns of {split}", len(functions)) as task:
            for start in range(0, len(inputs), _BLOCKS_AT_ONCE):
                stop = min(start + _BLOCKS_AT_ONCE, len(inputs))
                place = slice(start * block_size, stop * block_size)
                x, y = inputs[start:stop], targets[start:stop]
                for index, scored in together.prices(x, y):
                    function = functions[index]
                    if isinstance(function, PlainFunction):
                        function.check(x, y, scored)
                    values[index, place] = scored.ravel()
                task.update(len(functions) * stop // len(inputs))
        return cls(
            tuple(function.name for function in functions),
            tuple(function.family for function in functions),
            values,
            vocab_size,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # without the cached copies of all values
        return type(self), (self.names, self.families, self.values, self.vocab_size)

    def chosen(self, names: Sequence[str]) -> Columns:
        """Return the columns of some functions, in the order of `names`."""
        rows = [self.names.index(name) for name in names]
        families = tuple(self.families[row] for row in rows)
        return Columns(tuple(names), families, self.values[rows], self.vocab_size)

    def joined(self, others: Columns) -> Columns:
        """Return these columns, then the columns of other functions on the same targets."""
        return Columns(
            self.names + others.names,
            self.families + others.families,
            np.concatenate([self.values, others.values]),
            self.vocab_size,
        )

    @cached_property
    def with_uniform(self) -> Float32Array:
        """The column of the uniform function, then the others, `(N + 1, n)`."""
        uniform = np.full((1, self.values.shape[1]), 1.0 / self.vocab_size, dtype=np.float32)
        return np.concatenate([uniform, self.values])

    @cached_property
    def fingerprint(self) -> str:
        """64 hexadecimal digits that follow from vocabulary size, names and values."""
        digest = hashlib.sha256("\n".join((str(self.vocab_size), *self.names)).encode())
        digest.update(np.ascontiguousarray(self.values).tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write the table `columns` as Parquet, a row per function.

        Raises:
            ArtifactError: the file cannot be written.
        """
        n_functions, n_targets = self.values.shape
        offsets = np.arange(n_functions + 1, dtype=np.int64) * n_targets
        table = pa.table(
            {
                "index": pa.array(np.arange(1, n_functions + 1, dtype=np.int32)),
                "name": pa.array(self.names, pa.string()),
                "family": pa.array(self.families, pa.string()),
                "vocab_size": pa.array(np.full(n_functions, self.vocab_size, dtype=np.int64)),
                "probabilities": pa.LargeListArray.from_arrays(offsets, self.values.ravel()),
            }
        )
        write_table(path, table, "columns")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a table that `save` wrote.

        Raises:
            ArtifactError: the file is missing, damaged or of another version.
        """
        table = read_table(path, "columns").combine_chunks()
        n_functions = table.num_rows
        values = table["probabilities"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        if not n_functions or len(values) % n_functions:
            raise ArtifactError(f"the columns in {path} differ in length", remedy=_REMEDY)
        return cls(
            tuple(table["name"].to_pylist()),
            tuple(table["family"].to_pylist()),
            values.reshape(n_functions, -1),
            int(table["vocab_size"][0].as_py()),
        )
