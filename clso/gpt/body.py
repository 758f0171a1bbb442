"""The body of a GPT-2 without trained parameters, cut into steps of one matrix each.

Notation: n = B T positions, d = `n_embd`. Each step applies one matrix to a state and gives the
next state. Steps are pure: two genomes that agree in their first genes agree in the states after
them, so a population can share these states. LayerNorm has weight 1 and bias 0, linear layers have
no bias, the activation is `gelu_new`.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import torch
from torch.nn import functional

from clso.library.linear_map import LinearMap

__all__ = ["State"]

_CHUNK = 128  # rows of an activation that stay in the second-level cache
_SQRT_2_BY_PI = math.sqrt(2.0 / math.pi)


class State(NamedTuple):
    """The forward pass between two matrices.

    Attributes:
        residual: the residual stream, `(n, d)`.
        branch: the input of the next matrix, `(n, in)`. After a layer's `mlp_down` it is the
            normalised residual: the next layer's input, or the final LayerNorm's output. `None`
            inside a layer's attention or MLP: zeros, after a zero matrix.
    """

    residual: torch.Tensor
    branch: torch.Tensor | None

    @classmethod
    def first(cls, embedded: torch.Tensor) -> Self:
        """Return the state before the first layer, from `(n, d)` embeddings."""
        return cls(embedded, _layer_norm(embedded))

    def step(self, slot: str, weight: LinearMap, *, n_head: int, length: int) -> State:
        """Return the state after the matrix of the next slot, `(in, out)`.

        Slots come in the order of `clso.library.SLOTS`, layer after layer. `length` is T, positions
        per block.
        """
        residual, branch = self
        if slot in ("attn_qkv", "mlp_up"):
            if branch is None or weight.is_zero:
                return State(residual, None)
            product = weight.product(branch)
            if slot == "mlp_up":
                return State(residual, _twice_gelu_new_(product))
            return State(residual, _attention(product, n_head, length))
        if branch is not None and not weight.is_zero:
            # halving is exact, so this is gelu_new(branch) times the matrix to the last bit
            alpha = 0.5 if slot == "mlp_down" else 1.0
            residual = weight.added(residual, branch, alpha)
        return State(residual, _layer_norm(residual))

    @property
    def normed(self) -> torch.Tensor:
        """The output of the final LayerNorm, after the last layer, `(n, d)`."""
        assert self.branch is not None  # that of a whole layer
        return self.branch


def _layer_norm(residual: torch.Tensor) -> torch.Tensor:
    return functional.layer_norm(residual, residual.shape[1:], eps=1e-5)


def _attention(qkv: torch.Tensor, n_head: int, length: int) -> torch.Tensor:
    """Causal softmax attention; `(n, 3 d)` to `(n, d)`."""
    n, width = qkv.shape
    heads = qkv.view(n // length, length, 3, n_head, width // (3 * n_head))
    query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (B, heads, T, d / heads)
    mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    return mixed.transpose(1, 2).reshape(n, width // 3)


def _twice_gelu_new_(values: torch.Tensor) -> torch.Tensor:
    """Replace x by 2 gelu_new(x) = x + x tanh(sqrt(2/pi) (x + 0.044715 x^3)), in place.

    Twice as fast as `gelu(approximate="tanh")`, whose CPU kernel does not use the vectorised tanh.
    """
    for rows in torch.split(values, _CHUNK):
        inner = torch.square(rows).mul_(0.044715 * _SQRT_2_BY_PI).add_(_SQRT_2_BY_PI)
        inner.mul_(rows).tanh_()
        rows.addcmul_(rows, inner)
    return values
