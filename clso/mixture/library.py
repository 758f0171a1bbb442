"""The basis functions of a mixture, by name: fitted together, asked together, stored together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clso.counting import TokenStream
from clso.mixture.columns import Columns
from clso.mixture.function import BasisFunction, CountedFunction
from clso.mixture.plain import PlainFunction
from clso.mixture.pointer import BlockFunction
from clso.mixture.specification import parse
from clso.mixture.text import FittingText
from clso.progress import SILENT, Reporter
from clso.scoring import Int64Array

__all__ = ["compute_columns", "fit_functions"]

ClassMaps = Mapping[str, npt.NDArray[Any]]

_BLOCKS_AT_ONCE = 256


def fit_functions(
    names: Sequence[str],
    streams: Sequence[TokenStream],
    vocab_size: int,
    class_maps: ClassMaps,
    *,
    workspace: Path | None = None,
    reporter: Reporter = SILENT,
) -> list[CountedFunction]:
    """Fit functions on a text, in the order of their names; what they share is counted once.

    Args:
        names: as `clso.mixture.specification` reads them.
        streams: the text; nothing spans two streams.
        vocab_size: V.
        class_maps: the class of each token, `(V,)` integers per name.
        workspace: a folder for temporary files when the text is large.
        reporter: hears how counting goes.

    Raises:
        ConfigError: a name is wrong, or its class map is missing.
        DataError: a token is outside the vocabulary.
        ArtifactError: the workspace cannot be written or is full.
    """
    specs = [parse(name) for name in names]
    text = FittingText(
        streams,
        vocab_size,
        class_maps,
        wanted=[spec.settings for spec in specs],
        workspace=workspace,
        reporter=reporter,
    )
    return [spec.fit(text) for spec in specs]


def compute_columns(
    functions: Sequence[BasisFunction],
    inputs: Int64Array,
    targets: Int64Array,
    vocab_size: int,
    *,
    name: str,
    reporter: Reporter = SILENT,
) -> Columns:
    """Ask every function for the probability of every target.

    Args:
        functions: the library.
        inputs: `(B, T)`.
        targets: the next tokens, `(B, T)`.
        vocab_size: V.
        name: of the split, for the reporter.
        reporter: hears how many functions are done.

    Raises:
        WorkError: a function of another package is no distribution.
    """
    values = np.empty((len(functions), targets.size), dtype=np.float32)
    # functions of the block share their look-ups
    of_block = {i: f for i, f in enumerate(functions) if isinstance(f, BlockFunction)}
    others = {i: f for i, f in enumerate(functions) if i not in of_block}
    block_size = targets.shape[1]
    with reporter.task(f"columns of {name}", len(functions)) as task:
        for start in range(0, len(inputs), _BLOCKS_AT_ONCE):
            stop = min(start + _BLOCKS_AT_ONCE, len(inputs))
            place = slice(start * block_size, stop * block_size)
            x, y = inputs[start:stop], targets[start:stop]
            if of_block:
                scored = BlockFunction.score_together(list(of_block.values()), x, y)
                values[list(of_block), place] = scored.reshape(len(of_block), -1)
            for i, function in others.items():
                scored = function.target_probabilities(x, y)
                if isinstance(function, PlainFunction):
                    function.check(x, y, scored)
                values[i, place] = scored.ravel()
            task.update(len(functions) * stop // len(inputs))
    return Columns(
        tuple(function.name for function in functions),
        tuple(function.family for function in functions),
        values,
        vocab_size,
    )
