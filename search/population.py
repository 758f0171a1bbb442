"""How many individuals a generation has room for, when that follows the search's progress."""

from __future__ import annotations

import math

from search.settings import AdaptivePopulationSettings

__all__ = ["next_population"]

_ROUNDING = 1e-9  # a product such as 10 * 1.1, a little above 11, must not become 12


def next_population(
    population: int, settings: AdaptivePopulationSettings, *, generation: int, stale: int
) -> int:
    r"""Return the places of the next generation: fewer on progress, more on stagnation.

    .. math::
        n' = \max(n_{min}, \lfloor shrink \cdot n \rfloor) \text{ after an improvement}, \qquad
        n' = \min(n_{max}, \lceil grow \cdot n \rceil)
        \text{ after every } patience \text{ generations without}

    and n otherwise. While few individuals suffice for progress, more only cost; without progress
    more are tried at once. Generation 0 has nothing to improve on and changes nothing. Diversity
    has no say: the individuals of a generation are distinct anyway, and they become alike just
    when progress ends, which asks for more of them, not fewer.

    Args:
        population: places of the generation that has ended, n.
        settings: of the rule.
        generation: its number, from 0.
        stale: generations in a row without an improvement, it included.

    Source: the success rule for population sizes of Doerr and Doerr 2018 (Optimal static and
    self-adjusting parameter choices for the (1+(lambda, lambda)) genetic algorithm, section 1).
    """
    if not settings.enabled or generation == 0:
        return population
    if stale == 0:
        return max(settings.min, math.floor(settings.shrink * population + _ROUNDING))
    if stale % settings.patience == 0:
        return min(settings.max, math.ceil(settings.grow * population - _ROUNDING))
    return population
