"""The basis functions of a mixture, by name: fitted together, asked together, stored together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clso.counting import TokenStream
from clso.errors import ArtifactError
from clso.mixture.columns import Columns
from clso.mixture.constant import Uniform, Unigram
from clso.mixture.counts import KneserNey, fit_patterns
from clso.mixture.function import BasisFunction
from clso.mixture.grid import UNIGRAM
from clso.mixture.pointer import BlockFunction, fit_pointers, load_pointer, pointer_probabilities
from clso.progress import SILENT, Reporter
from clso.scoring import Int64Array

__all__ = ["compute_columns", "fit_functions", "load_function"]

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
) -> list[BasisFunction]:
    """Fit functions on a text, in the order of their names; what they share is counted once.

    Args:
        names: canonical, of `clso.mixture.grid`.
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
    unigram = Unigram.fit(streams, vocab_size)
    patterns = [name for name in names if name.startswith("kn(")]
    pointers = [name for name in names if name != UNIGRAM and not name.startswith("kn(")]
    fitted: dict[str, BasisFunction] = {UNIGRAM: unigram}
    if patterns:
        counted = fit_patterns(
            streams, vocab_size, patterns, class_maps, workspace=workspace, reporter=reporter
        )
        fitted |= {function.name: function for function in counted}
    made = fit_pointers(pointers, streams, unigram.probabilities, dict(class_maps))
    fitted |= {function.name: function for function in made}
    return [fitted[name] for name in names]


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
    """
    values = np.empty((len(functions), targets.size), dtype=np.float32)
    pointers = [i for i, function in enumerate(functions) if isinstance(function, BlockFunction)]
    others = [i for i in range(len(functions)) if i not in set(pointers)]
    block_size = targets.shape[1]
    with reporter.task(f"columns of {name}", len(functions)) as task:
        for start in range(0, len(inputs), _BLOCKS_AT_ONCE):
            stop = min(start + _BLOCKS_AT_ONCE, len(inputs))
            place = slice(start * block_size, stop * block_size)
            x, y = inputs[start:stop], targets[start:stop]
            if pointers:
                chosen = [functions[i] for i in pointers]
                found = pointer_probabilities(chosen, x, y)  # type: ignore[arg-type]  # all are
                values[pointers, place] = found.reshape(len(pointers), -1)
            for i in others:
                values[i, place] = functions[i].target_probabilities(x, y).ravel()
            task.update(len(functions) * stop // len(inputs))
    return Columns(
        tuple(function.name for function in functions),
        tuple(function.family for function in functions),
        values,
        vocab_size,
    )


def load_function(spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> BasisFunction:
    """Make a stored count, pointer or constant function again.

    Raises:
        ArtifactError: an array is missing or does not fit, or the name is no function's.
    """
    name = str(spec.get("name"))
    if name == Uniform.name:
        return Uniform.from_arrays(spec, arrays)
    if name == UNIGRAM:
        return Unigram.from_arrays(spec, arrays)
    if name.startswith("kn("):
        return KneserNey.from_arrays(spec, arrays)
    if "(" in name:
        return load_pointer(spec, arrays)
    raise ArtifactError(
        f"a stored function is named {name!r}", remedy="make the model again with its run's command"
    )
