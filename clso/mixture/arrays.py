"""Array types of the mixture, and checks of arrays that were stored or given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from clso.errors import ArtifactError, DataError
from clso.scoring import Int64Array

__all__ = ["Float32Array", "UnsignedArray", "check_tokens", "narrow", "stored_array"]

Float32Array = npt.NDArray[np.float32]
UnsignedArray = npt.NDArray[np.unsignedinteger[Any]]


def narrow(values: npt.NDArray[Any]) -> UnsignedArray:
    """Return non-negative integers in the smallest unsigned type that holds all of them."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))), copy=False)


def stored_array(
    arrays: Mapping[str, npt.NDArray[Any]], name: str, shape: tuple[int, ...] | None = None
) -> npt.NDArray[Any]:
    """Return a stored array; `shape` `None`: unsigned integers, `(n,)` for any n.

    Raises:
        ArtifactError: the array is missing, or has another shape or type.
    """
    array = arrays.get(name)
    if array is not None:
        is_counts = array.ndim == 1 and array.dtype.kind == "u"
        if array.shape == shape or (shape is None and is_counts):
            return array
    actual = "missing" if array is None else f"{array.dtype} {array.shape}"
    raise ArtifactError(
        f"the stored array {name} is {actual}, expected {shape or 'unsigned integers (n,)'}",
        remedy="delete the stored functions and build the library again",
    )


def check_tokens(tokens: npt.NDArray[Any], vocab_size: int, function: str) -> Int64Array:
    """Return tokens as an array, checked to be 0 to V - 1, before a function scores them.

    Raises:
        DataError: a token is outside the vocabulary of the function with this name.
    """
    tokens = np.asarray(tokens)
    if tokens.size and (int(tokens.min()) < 0 or int(tokens.max()) >= vocab_size):
        raise DataError(
            f"tokens {tokens.min()} to {tokens.max()} were given to {function}, expected 0 to "
            f"{vocab_size - 1}",
            remedy="score text with the vocabulary that the function was fitted with",
        )
    return tokens
