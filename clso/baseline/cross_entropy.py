r"""Cross-entropy of a softmax over V tokens and its gradients, computed without autograd.

Notation: n positions, d coordinates; h `(n, d)`, W `(V, d)`, b `(V,)`, y the n targets. With
P = softmax(h W^T + b), `(n, V)`, and one-hot targets Y,

    loss = -1/n sum_i log P_{i, y_i},   dloss/dh = (P - Y) W / n,   dloss/dW = (P - Y)^T h / n,

and dloss/db is the sum of the rows of (P - Y) / n.

Autograd allocates several `(n, V)` arrays: logits, their log-softmax, its gradient. Here one buffer
holds the logits and is reused in every step. Each tile is exponentiated while it is in the cache of
the processor; the normaliser is applied as a factor per row and tile.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["Biases", "TiledCrossEntropy"]

# Measured on two cores for d = 128: tiles of 1024 to 4096 tokens are equally fast. The start
# of threads slows smaller tiles, memory larger ones. The rows bound the buffer: V x 2 KiB.
_ROWS = 512
_COLUMNS = 2048


@dataclass(frozen=True)
class Biases:
    """The biases b of a readout, `(V,)` float32, and the array that dloss/db overwrites."""

    values: torch.Tensor
    gradient: torch.Tensor


class TiledCrossEntropy:
    """The loss of a linear softmax readout of V tokens and its gradients; exact, in float32."""

    def __init__(self, vocab_size: int, *, device: str | torch.device = "cpu") -> None:
        self.vocab_size = vocab_size
        self._device = torch.device(device)
        self._buffer = torch.empty(0, device=self._device)

    @torch.no_grad()
    def __call__(
        self,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        targets: torch.Tensor,
        weight_gradient: torch.Tensor,
        biases: Biases | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean loss in nats (float64, a scalar) and dloss/dh, `(n, d)`.

        h `(n, d)` and W `(V, d)` are float32, the targets `(n,)` int64 from 0 to V - 1.
        `weight_gradient`, `(V, d)` float32, is overwritten with dloss/dW. Without `biases`, b is 0.
        """
        hidden, n = hidden.detach(), hidden.shape[0]
        hidden_gradient = torch.empty_like(hidden)
        losses = []
        for start in range(0, n, _ROWS):
            rows = slice(start, start + _ROWS)
            losses.append(
                self._rows(
                    hidden[rows],
                    weight,
                    targets[rows],
                    hidden_gradient[rows],
                    weight_gradient,
                    biases,
                    share=1.0 / n,
                    accumulate=start > 0,
                )
            )
        return torch.cat(losses).mean(), hidden_gradient

    def _rows(
        self,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        targets: torch.Tensor,
        hidden_gradient: torch.Tensor,
        weight_gradient: torch.Tensor,
        biases: Biases | None,
        *,
        share: float,
        accumulate: bool,
    ) -> torch.Tensor:
        """Compute losses, `(rows,)` float64, and gradients of up to `_ROWS` positions."""
        starts = range(0, self.vocab_size, _COLUMNS)
        tiles = self._tiles(hidden.shape[0])
        largest = hidden.new_empty(len(starts), hidden.shape[0])
        total = torch.empty_like(largest)
        for index, (start, tile) in enumerate(zip(starts, tiles, strict=True)):
            columns = slice(start, start + _COLUMNS)
            if biases is None:
                torch.mm(hidden, weight[columns].t(), out=tile)
            else:
                torch.addmm(biases.values[columns], hidden, weight[columns].t(), out=tile)
            torch.amax(tile, 1, out=largest[index])
            tile.sub_(largest[index][:, None]).exp_()
            torch.sum(tile, 1, out=total[index])
        log_normaliser = torch.logsumexp(largest.double() + total.double().log_(), 0)
        # Row i of tile t holds P * exp(log Z_i - largest_ti); the factor undoes this and averages.
        factors = (largest - log_normaliser).exp_().mul_(share).float()

        hidden_gradient.zero_()
        for index, (start, tile) in enumerate(zip(starts, tiles, strict=True)):
            columns = slice(start, start + _COLUMNS)
            factor = factors[index][:, None]
            hidden_gradient.addcmul_(tile @ weight[columns], factor)
            if accumulate:
                weight_gradient[columns].addmm_(tile.t(), hidden * factor)
            else:
                torch.mm(tile.t(), hidden * factor, out=weight_gradient[columns])
            if biases is not None:
                of_tile = biases.gradient[columns]
                of_tile.addmv_(tile.t(), factors[index], beta=float(accumulate))
        target_weight = weight[targets]
        hidden_gradient.sub_(target_weight, alpha=share)
        weight_gradient.index_add_(0, targets, hidden, alpha=-share)
        target_logit = (hidden * target_weight).sum(1, dtype=torch.float64)
        if biases is not None:
            biases.gradient.index_add_(0, targets, hidden.new_ones(len(targets)), alpha=-share)
            target_logit += biases.values[targets]
        return log_normaliser - target_logit

    def _tiles(self, rows: int) -> list[torch.Tensor]:
        """Return the buffer as one contiguous `(rows, columns)` array per tile of tokens."""
        if self._buffer.numel() < rows * self.vocab_size:
            self._buffer = torch.empty(rows * self.vocab_size, device=self._device)
        return [
            self._buffer[rows * start : rows * min(start + _COLUMNS, self.vocab_size)].view(
                rows, -1
            )
            for start in range(0, self.vocab_size, _COLUMNS)
        ]
