"""The exact softmax loss over a large vocabulary, without all logits in memory at once.

Notation: n positions, d coordinates, V tokens; h `(n, d)` float32, W `(V, d)` float32.

    nll_i = log sum_v exp(h_i . W_v) - h_i . W_target(i)

A tile of logits is computed, exponentiated and summed while it is in the processor's cache, so the
cost is little more than that of the matrix product. The product may be of bfloat16 numbers; what
comes after it, the bias, and the logits of the targets are float32 even then.
"""

from __future__ import annotations

import torch

__all__ = ["TiledHead"]

# Measured for d = 128 on one thread with 1 MiB of second-level cache: a flat optimum from 512 x 512
# to 512 x 2048, 1.0 to 1.3 times the bare matrix product on a quiet core; tiles of 64 rows take
# half as long again. All logits and `cross_entropy` take 3 times as long for V = 50257.
ROWS = 512
COLUMNS = 1024

# Below this sum the exponentials that underflowed might matter; above it they add < 1e-12.
_SMALLEST_SUM = 1e-20


class TiledHead:
    """A readout matrix W that gives the loss of targets.

    Args:
        weight: its rows, `(V, d)` float32; or its distinct rows, `(m, d)`.
        row_of_token: the row of each token, `(V,)` int64; `None`: each token has its own. A row of
            n tokens is computed once, and its exponential counts n times.
        columns: the columns of W that `weight` has, `(c,)` int64; the others are zero. `None`: all.
        width: d, where `columns` are given.
        dtype: of the factors of the product, float32 or bfloat16.
        has_bias: whether the last column is a bias, by which h is 1. A bias such as a log unigram
            is too large for 8 bits, so it is no factor of a product in bfloat16.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        row_of_token: torch.Tensor | None = None,
        columns: torch.Tensor | None = None,
        width: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        has_bias: bool = False,
    ) -> None:
        if weight.ndim != 2 or weight.dtype != torch.float32:
            raise ValueError(f"weight is {weight.dtype} {tuple(weight.shape)}, expected (V, d)")
        self._rows = weight.contiguous()
        self._row_of_token = row_of_token
        self._columns = columns
        self._width = weight.shape[1] if width is None else width
        self._counts: torch.Tensor | None = None
        if row_of_token is not None:
            counts = torch.zeros(len(weight), dtype=torch.int64, device=weight.device)
            # `bincount` waits for the device
            self._counts = counts.index_add_(0, row_of_token, torch.ones_like(row_of_token)).float()
        self._factors, self._bias = self._rows, None
        if dtype != torch.float32:
            self._factors = self._rows.to(dtype)
            if has_bias:
                self._bias = self._rows[:, -1].contiguous()
                self._factors[:, -1] = 0.0

    @property
    def nbytes(self) -> int:
        """Size of all tensors."""
        parts = {self._rows, self._factors, self._row_of_token, self._columns, self._counts}
        return sum(part.nbytes for part in {*parts, self._bias} if part is not None)

    @property
    def weight(self) -> torch.Tensor:
        """W, `(V, d)` float32."""
        rows = self._rows if self._row_of_token is None else self._rows[self._row_of_token]
        if self._columns is None:
            return rows
        return rows.new_zeros(len(rows), self._width).index_copy_(1, self._columns, rows)

    def scratch(self, earlier: torch.Tensor | None = None) -> torch.Tensor:
        """Return memory for one tile, which calls of `nll` on one thread can share.

        It is that of an earlier head, if that suffices.
        """
        size = ROWS * min(COLUMNS, self._rows.shape[0])
        if self._factors is not self._rows:
            size += -(-size // 2)  # the product, before it becomes float32
        if earlier is not None and earlier.numel() >= size:
            return earlier
        return torch.empty(size, device=self._rows.device)

    def nll(
        self,
        hidden: torch.Tensor,
        targets: torch.Tensor,
        scratch: torch.Tensor | None = None,
        *,
        deferred: bool = False,
    ) -> torch.Tensor:
        """Return `-log softmax(h W^T)[target]` in nats, `(n,)` float64.

        Exponentials are float32, sums over tiles and positions float64. The value of a position
        depends only on its chunk of `ROWS` positions. There are no gradients: call it in inference
        mode if W is a parameter. h is `(n, d)` float32, the targets are `(n,)` int64 from 0 to
        V - 1; `scratch` comes from `scratch()`. If `deferred`, nothing returns to the host, and
        positions whose exponentials leave the range of float32 are NaN.
        """
        scratch = self.scratch() if scratch is None else scratch
        parts = []
        for start in range(0, hidden.shape[0], ROWS):
            rows = self._read(hidden[start : start + ROWS])
            logits = self._target_logits(rows, targets[start : start + ROWS])
            parts.append(self._log_sum_exp(rows, scratch, deferred=deferred) - logits)
        return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=torch.float64)

    def target_logits(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return `(h W^T)[target]`, `(n,)` float64; arguments as for `nll`."""
        return self._target_logits(self._read(hidden), targets)

    def _read(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden if self._columns is None else hidden.index_select(1, self._columns)

    def _target_logits(self, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if self._row_of_token is not None:
            targets = self._row_of_token[targets]
        return (rows * self._rows[targets]).sum(1, dtype=torch.float64)

    def _log_sum_exp(
        self, rows: torch.Tensor, scratch: torch.Tensor, *, deferred: bool
    ) -> torch.Tensor:
        factors = rows if self._factors is self._rows else rows.to(self._factors.dtype)
        total = rows.new_zeros(rows.shape[0], dtype=torch.float64)
        for start in range(0, self._rows.shape[0], COLUMNS):
            total += self._summed(self._tile(factors, start, scratch).exp_(), start)
        # A shift is needed only if a sum overflowed or is close to underflow, which shows in the
        # result. To find the maximum first would cost another pass over every tile.
        in_range = (total > _SMALLEST_SUM) & (total < torch.inf)
        if deferred:
            return total.log_().masked_fill_(~in_range, torch.nan)
        if bool(in_range.all()):
            return total.log_()
        return self._shifted_log_sum_exp(factors, scratch)

    def _shifted_log_sum_exp(self, factors: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
        total = factors.new_zeros(factors.shape[0], dtype=torch.float64)
        largest = self._rows.new_full((factors.shape[0],), -torch.inf)
        for start in range(0, self._rows.shape[0], COLUMNS):
            tile = self._tile(factors, start, scratch)
            new_largest = torch.maximum(largest, tile.amax(1))
            total *= (largest - new_largest).double().exp_()
            total += self._summed(tile.sub_(new_largest[:, None]).exp_(), start)
            largest = new_largest
        return total.log_().add_(largest)

    def _summed(self, exponentials: torch.Tensor, start: int) -> torch.Tensor:
        """Return the sums over a tile, `(n,)`."""
        if self._counts is None:
            return exponentials.sum(1)
        return exponentials @ self._counts[start : start + COLUMNS]

    def _tile(self, factors: torch.Tensor, start: int, scratch: torch.Tensor) -> torch.Tensor:
        columns = self._factors[start : start + COLUMNS]
        n, width = factors.shape[0], columns.shape[0]
        tile = scratch[: n * width].view(n, width)
        if columns.dtype == torch.float32:
            return torch.mm(factors, columns.t(), out=tile)
        rounded = scratch[n * width :].view(columns.dtype)[: n * width].view(n, width)
        torch.mm(factors, columns.t(), out=rounded)
        if self._bias is None:
            return tile.copy_(rounded)
        return torch.add(rounded, self._bias[start : start + COLUMNS], out=tile)
