r"""Pest control: at each of 25 stations one of four pesticides, or none.

Pests spread along the stations. A pesticide has a price, which falls with its use, and it works
less the more often it was used. With :math:`z_i` the share of pests before station i, in each of
100 simulations, and u uses of the pesticide p that is applied there,

.. math::
    z_{i+1} = (1 - c_i) z_i \text{ with a pesticide}, \qquad z_i + s_i (1 - z_i) \text{ without},

where :math:`c_i` has Beta(1, b_p), b_p grows with every use, and :math:`s_i` has Beta(1, 17/3). The
loss is the sum of prices paid and, over stations, of the share of simulations with
:math:`z_i > 0.1`. The random numbers are those of the published code with a seed: the same
generator begins anew at every station.

The best genomes have one pesticide at all stations but the last ones. Pesticide 4 is the cheapest
at first and has no discount. Pesticide 3 costs less only where nearly all stations have it, so a
search that has settled for 4 would have to change 24 genes at once.

Source: Oh et al. 2019 (COMBO), section 4.2 and the supplement; the seed as in Papenmeier et al.
2023 (Bounce).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["PestControl"]

_SIMULATIONS = 100
_MOST_PESTS = 0.1
_START = 30.0  # the share at the first station has Beta(1, 30)
_SPREAD = 17 / 3
_PRICES = (1.0, 0.8, 0.7, 0.5)
_DISCOUNTS = (0.2, 0.3, 0.3, 0.0)  # at use at all stations
_RESISTANCES = (1 / 7, 2.5 / 7, 2 / 7, 0.5 / 7)  # added at use at all stations
_BETAS = (2 / 7, 3 / 7, 3 / 7, 5 / 7)  # of the Beta(1, b) that a pesticide kills


class PestControl:
    """The loss of the options of all stations; 0 is no pesticide."""

    def __init__(self, instance: int = 0, *, stations: int = 25) -> None:
        self.cardinalities = (1 + len(_PRICES),) * stations
        self._instance = instance
        self._start = self._draws(_START)
        self._spread = self._draws(_SPREAD)
        # by pesticide and earlier uses
        self._effects = [
            [self._draws(beta + resistance * uses / stations) for uses in range(stations)]
            for beta, resistance in zip(_BETAS, _RESISTANCES, strict=True)
        ]

    def _draws(self, b: float) -> npt.NDArray[np.float64]:
        """Return numbers of Beta(1, b) from a generator that begins anew."""
        # the published losses depend on this generator
        return np.random.RandomState(self._instance).beta(1.0, b, size=_SIMULATIONS)

    def __call__(self, genome: Sequence[int]) -> float:
        """Return the price paid and the stations with too many pests."""
        stations = len(self.cardinalities)
        uses = [sum(option == kind + 1 for option in genome) for kind in range(len(_PRICES))]
        used = [0] * len(_PRICES)
        pests, total = self._start, 0.0
        for option in genome:
            total += float(np.mean(pests > _MOST_PESTS))
            if option == 0:
                pests = pests + self._spread * (1.0 - pests)
                continue
            kind = option - 1
            pests = pests * (1.0 - self._effects[kind][used[kind]])
            used[kind] += 1
            total += _PRICES[kind] * (1.0 - _DISCOUNTS[kind] * uses[kind] / stations)
        return total
