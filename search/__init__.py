"""Search for the genome with the lowest loss, for any problem.

    from search import minimize

    best = minimize(loss, [8] * 12, evaluations=400, seed=0)
    best.genome, best.loss, best.evaluations.to_pandas()

The names below are imported when they are first used, a surrogate's libraries when it is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clso.lazy import lazy_names

if TYPE_CHECKING:
    from clso.genome import GenomeSpace, Slot
    from clso.problem import Evaluation, Problem
    from search.ladder import Batch
    from search.loop import Search
    from search.result import SearchResult
    from search.run import minimize
    from search.settings import SearchSettings

__all__ = [
    "Batch",
    "Evaluation",
    "GenomeSpace",
    "Problem",
    "Search",
    "SearchResult",
    "SearchSettings",
    "Slot",
    "minimize",
]

_MODULES = {
    "Batch": "search.ladder",
    "Evaluation": "clso.problem",
    "GenomeSpace": "clso.genome",
    "Problem": "clso.problem",
    "Search": "search.loop",
    "SearchResult": "search.result",
    "SearchSettings": "search.settings",
    "Slot": "clso.genome",
    "minimize": "search.run",
}


if not TYPE_CHECKING:  # or a misspelt name would have a type
    __getattr__, __dir__ = lazy_names(__name__, _MODULES)
