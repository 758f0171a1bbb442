r"""Contamination control: a food supply chain of 25 stages, at each a prevention or none.

With :math:`z_i` the contaminated share after stage i in each of 100 simulations and :math:`x_i` 1
if stage i prevents,

.. math::
    z_i = \lambda_i (1 - x_i)(1 - z_{i-1}) + (1 - \gamma_i x_i) z_{i-1}

with :math:`z_{-1}` from Beta(1, 30), :math:`\lambda_i` from Beta(1, 17/3) and :math:`\gamma_i` from
Beta(1, 3/7). The loss is

.. math::
    \sum_i \left( x_i - \rho \left( P(z_i < 0.1) - 0.95 \right) + 0.01 x_i \right), \qquad \rho = 1.

Source: Hu, Hu, Xu, Wang and Cao 2010; Oh et al. 2019 (COMBO), section 4.1, its regularisation 1e-2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["ContaminationControl"]

_SIMULATIONS = 100
_MOST_CONTAMINATED, _CERTAINTY = 0.1, 0.95
_PRICE, _REGULARISATION = 1.0, 0.01


class ContaminationControl:
    """The loss of a prevention (1) or none (0) at each stage."""

    def __init__(self, instance: int = 0, *, stages: int = 25) -> None:
        rng = np.random.default_rng(instance)
        self.cardinalities = (2,) * stages
        self._start = rng.beta(1.0, 30.0, size=_SIMULATIONS)
        self._spread = rng.beta(1.0, 17 / 3, size=(stages, _SIMULATIONS))
        self._effects = rng.beta(1.0, 3 / 7, size=(stages, _SIMULATIONS))

    def __call__(self, genome: Sequence[int]) -> float:
        """Return the price of all preventions and the shortfall of all stages."""
        contaminated, total = self._start, 0.0
        for stage, prevents in enumerate(genome):
            if prevents:
                contaminated = (1.0 - self._effects[stage]) * contaminated
                total += _PRICE + _REGULARISATION
            else:
                contaminated = self._spread[stage] * (1.0 - contaminated) + contaminated
            total -= float(np.mean(contaminated < _MOST_CONTAMINATED)) - _CERTAINTY
        return total
