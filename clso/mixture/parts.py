"""A library's columns in parts: groups of functions, fitted and scored one group at a time.

Functions of one group count their common contexts once, and pointers share their pairs of tokens.
A function does not depend on the others of its group. So a library's columns are the same, byte for
byte, whatever the groups and wherever they are fitted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from clso.counting import FloatArray, TokenStream
from clso.engine import Engine, Shared
from clso.mixture.columns import Columns
from clso.mixture.costed import FunctionCost
from clso.mixture.counts import Pattern
from clso.mixture.loglinear import LogLinear, LogLinearName
from clso.mixture.pointer import CacheName, GatedName, InductionName, ProductName
from clso.mixture.specification import Arrays, FunctionSpec, fit_functions
from clso.mixture.text import HeldOut
from clso.progress import SILENT, Reporter
from clso.scoring import Int64Array
from clso.threads import one_thread

__all__ = ["FittedLibrary", "LibraryInputs", "function_groups"]

# Groups per worker: enough that workers end together, few enough that contexts are counted once.
_GROUPS_PER_WORKER = {True: 2, False: 4}
# The counts of a group are in memory at once; those of all functions take 2 kB per token of text.
_TOKENS_PER_GROUP = 1 << 20
# The time of fitting and scoring a function, relative to a count function's.
_WEIGHTS = {"pointers": 0.1, "loglinear": 40.0}


@dataclass(frozen=True)
class LibraryInputs:
    """What the functions of a library are fitted and scored on.

    Attributes:
        train: the text that the functions count.
        blocks: inputs and targets, each `(B, T)`, by the name of the split.
        vocab_size: V.
        class_maps: the class of each token, `(V,)`, by name.
        held_out: text on which functions choose a few numbers.
        workspace: a folder for temporary files when the text is large; stays behind when the inputs
            are pickled, and a copy has one of its own.
        reporter: shows the progress; stays behind too.
    """

    train: TokenStream
    blocks: Mapping[str, tuple[Int64Array, Int64Array]]
    vocab_size: int
    class_maps: Arrays
    held_out: HeldOut | None = None
    workspace: Path | None = None
    reporter: Reporter = SILENT

    def __reduce__(self) -> tuple[Any, ...]:
        blocks, maps = dict(self.blocks), dict(self.class_maps)
        return type(self), (self.train, blocks, self.vocab_size, maps, self.held_out)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Give a folder for temporary files."""
        if self.workspace is not None:
            yield self.workspace
            return
        with TemporaryDirectory(prefix="clso-") as temporary:
            yield Path(temporary)


@dataclass(frozen=True)
class _Part:
    """A group of functions, scored.

    Attributes:
        columns: by the name of the split.
        costs: of the functions.
        chosen: the numbers that functions have chosen on held-out text, by name.
    """

    columns: Mapping[str, Columns]
    costs: tuple[FunctionCost, ...]
    chosen: Mapping[str, FloatArray]


def _fit_part(inputs: LibraryInputs, names: tuple[str, ...]) -> _Part:
    """Fit and score a group of functions; a task for an engine.

    Raises:
        ConfigError: no such function here, or its class map is missing.
        WorkError: a function of another package does not return distributions.
    """
    # the last digits of a product depend on the number of threads
    with inputs.folder() as workspace, one_thread():
        functions = fit_functions(
            names,
            [inputs.train],
            inputs.vocab_size,
            inputs.class_maps,
            workspace=workspace,
            reporter=inputs.reporter,
            held_out=inputs.held_out,
        )
        columns = {
            split: Columns.of(
                functions, x, y, inputs.vocab_size, split=split, reporter=inputs.reporter
            )
            for split, (x, y) in inputs.blocks.items()
        }
    block_size = next(iter(inputs.blocks.values()))[0].shape[1]
    return _Part(
        columns,
        tuple(FunctionCost.of(function, block_size) for function in functions),
        {f.name: f.exponents for f in functions if isinstance(f, LogLinear)},
    )


def function_groups(names: Sequence[str], most: int) -> list[tuple[str, ...]]:
    """Divide functions into at most `most` groups that take about equally long.

    Count functions of the same class maps stay together, and so do all pointers.
    """
    units: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in names:
        units[_unit(name)].append(name)
    weights = {unit: len(members) * _WEIGHTS.get(unit[0], 1.0) for unit, members in units.items()}
    total, before = sum(weights.values()), 0.0
    groups: dict[int, list[str]] = defaultdict(list)
    for unit in sorted(units):
        groups[int((before + weights[unit] / 2) * most / total)] += units[unit]
        before += weights[unit]
    return [tuple(group) for group in groups.values()]


def _unit(name: str) -> tuple[str, ...]:
    settings = FunctionSpec.parse(name).settings
    if isinstance(settings, Pattern):
        return ("counts", *sorted(settings.class_names), f"->{settings.target or ''}")
    if isinstance(settings, CacheName | GatedName | InductionName):
        return ("pointers",)
    if isinstance(settings, LogLinearName):
        return ("loglinear", settings.name)
    return ("products",) if isinstance(settings, ProductName) else ("others",)


@dataclass(frozen=True)
class FittedLibrary:
    """The columns and costs of all functions of a library, in the order of their names.

    Attributes:
        columns: by the name of the split.
        costs: of the functions as fitted.
        chosen: the numbers that functions have chosen on held-out text, by name.
    """

    columns: Mapping[str, Columns]
    costs: tuple[FunctionCost, ...] = field(repr=False)
    chosen: Mapping[str, FloatArray]

    @classmethod
    def fit(
        cls, inputs: LibraryInputs, names: Sequence[str], engine: Engine, fingerprint: str
    ) -> FittedLibrary:
        """Fit and score functions on an engine.

        Args:
            names: distinct; as `FunctionSpec.parse` reads them.
            fingerprint: names everything in the inputs.

        Raises:
            ConfigError: a name is wrong, or its class map is missing or not `(V,)`.
            DataError: a token is outside the vocabulary.
            ArtifactError: the workspace cannot be written or is full.
            WorkError: a function of another package does not return distributions, or the
                workers are lost.
        """
        n_workers = engine.n_workers
        most = _GROUPS_PER_WORKER[engine.is_local] * n_workers if n_workers > 1 else 1
        most = max(most, inputs.train.n_tokens // _TOKENS_PER_GROUP)
        groups = function_groups(names, most)
        rows = {name: row for row, name in enumerate(names)}
        values = {
            split: np.empty((len(names), y.size), dtype=np.float32)
            for split, (_, y) in inputs.blocks.items()
        }
        families: dict[str, str] = {}
        costs: dict[str, FunctionCost] = {}
        chosen: dict[str, FloatArray] = {}
        reporter = inputs.reporter
        if len(groups) > 1:
            inputs = replace(inputs, reporter=SILENT)
        with reporter.task("basis functions", len(names)) as task:
            for index, part in engine.map(_fit_part, Shared(fingerprint, inputs), groups):
                for split, columns in part.columns.items():
                    values[split][[rows[name] for name in groups[index]]] = columns.values
                    families |= dict(zip(columns.names, columns.families, strict=True))
                costs |= {cost.name: cost for cost in part.costs}
                chosen |= part.chosen
                task.update(len(costs))
        in_order = tuple(families[name] for name in names)
        fitted = {
            split: Columns(tuple(names), in_order, array, inputs.vocab_size)
            for split, array in values.items()
        }
        return cls(fitted, tuple(costs[name] for name in names), chosen)
