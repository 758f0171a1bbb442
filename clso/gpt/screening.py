r"""A loss that costs little more than the body of a model, for screening genomes.

Notation: h `(n, d)`, W `(V, d)`; b_v = the last column of W, by which h is 1, if the readout has a
bias, and 0 otherwise; A the tokens of the `EXACT` largest biases (none without a bias), B the rest.

    log sum_v exp(h . W_v) = log( sum_A exp(h . W_v) + sum_B exp(h . W_v) )

The first sum is exact. The second is that of a Gaussian: with p_v = exp(b_v) / P on B, P the sum of
its numerators, and m and S mean and covariance of W_v without its last coordinate under p,

.. math::
    \log \sum_B \exp(h \cdot W_v) \approx \log P + h \cdot m + \tfrac{1}{2} h^T S h

the first two cumulants of the logits. The logits of the targets are exact. The cost does not
depend on V. The error is small where logits are nearly Gaussian (random readouts); readouts that
are fitted to counts give some tokens much larger logits, mostly frequent ones, which are in A.
"""

from __future__ import annotations

import torch

from clso.gpt.head import TiledHead

__all__ = ["EXACT", "ScreeningHead"]

# Rank correlation with exact losses over 116 random genomes of configs/quick.yaml: 0.991 for 256,
# 0.997 for 512, and 0.997 for 768. Several Gaussians, by bands of the bias, are no better.
EXACT = 512
_ROWS = 4096  # of W at a time, in float64


class ScreeningHead:
    """A readout that gives approximate losses.

    Args:
        head: the exact readout.
        has_bias: whether the last coordinate of h is 1.
    """

    def __init__(self, head: TiledHead, *, has_bias: bool) -> None:
        self._head = head
        weight = head.weight
        bias = weight[:, -1] if has_bias else weight.new_zeros(len(weight))
        order = bias.argsort(descending=True, stable=True)
        n_exact = min(EXACT, len(weight)) if has_bias else 0
        self._exact = weight[order[:n_exact]]
        self._mean, self._covariance, self._log_mass = _moments(
            weight, bias, order[n_exact:], has_bias=has_bias
        )

    @property
    def nbytes(self) -> int:
        """Size of all tensors, those of the exact head included."""
        return self._head.nbytes + self._exact.nbytes + self._covariance.nbytes

    def nll(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return approximate losses in nats, `(n,)` float64; arguments as for `TiledHead.nll`."""
        quadratic = torch.mul(hidden @ self._covariance, hidden).sum(1)
        log_sum = torch.addmv(0.5 * quadratic, hidden, self._mean) + self._log_mass
        if len(self._exact):
            log_sum = torch.logaddexp(log_sum, torch.logsumexp(hidden @ self._exact.t(), 1))
        return log_sum.double() - self._head.target_logits(hidden, targets)


def _moments(
    weight: torch.Tensor, bias: torch.Tensor, tokens: torch.Tensor, *, has_bias: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return m `(d,)`, S `(d, d)` and log P of the tokens, in float32."""
    width = weight.shape[1]
    log_mass = torch.logsumexp(bias[tokens].double(), 0)
    mean = torch.zeros(width, dtype=torch.float64, device=weight.device)
    square = mean.new_zeros(width, width)
    for part in torch.split(tokens, _ROWS):
        rows = weight[part].double()
        if has_bias:
            rows[:, -1] = 0.0
        weighted = rows * (bias[part].double() - log_mass).exp()[:, None]
        mean += weighted.sum(0)
        square.addmm_(weighted.t(), rows)
    covariance = square - torch.outer(mean, mean)
    return mean.float(), covariance.float(), log_mass.float()
