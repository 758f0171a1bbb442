"""Ways to search that are compared with the genetic algorithm inside a study, by name.

A method reads the number of evaluations, and `predicted_best` what its surrogate is. The settings
of the genetic algorithm's operators and screening are nothing to it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from importlib.metadata import version
from typing import Any

from clso.errors import ConfigError
from clso.genome import Genome
from search.generation import SearchCounts
from search.own_work import OwnWork
from search.result import SearchResult
from search.rivals import predicted_best, predictor
from search.samplers import check_smac, smac, tpe
from search.settings import METHODS, SearchSettings
from search.state import StopReason
from search.watched import Standing, WatchedProblem

__all__ = ["check_method", "method_identity", "run_method"]

# Raised whenever a change of code changes what a method evaluates.
_VERSION = 1
_PACKAGES = {"tpe": "optuna", "smac": "smac"}


def check_method(name: str, settings: SearchSettings) -> None:
    """Check that a method can search with these settings on this machine.

    Raises:
        ConfigError: it cannot.
    """
    if name not in METHODS:
        raise ConfigError(f"there is no method {name!r}, expected {' or '.join(METHODS)}")
    if name == "predicted_best":
        predictor(settings.surrogate)
    if name == "smac":
        check_smac()


def method_identity(name: str, settings: SearchSettings) -> dict[str, Any]:
    """Return JSON values of all that a method's evaluations follow from, besides problem and seed.

    Settings that it does not read are left out, so they part no two searches.
    """
    package = _PACKAGES.get(name)
    read = {}
    if name == "predicted_best":
        surrogate = settings.surrogate
        read = surrogate.model_dump(include={"kind", "features", "normal_scores"}, mode="json")
        if surrogate.kind == "auto":
            read["min_correlation"] = surrogate.min_correlation
    return {
        "method": name,
        "version": _VERSION,
        "package": None if package is None else version(package),
        "evaluations": settings.max_evaluations,
        "surrogate": read,
    }


def run_method(
    name: str,
    problem: WatchedProblem,
    settings: SearchSettings,
    *,
    seed: int,
    start: Sequence[Genome] = (),
    work: OwnWork | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> SearchResult:
    """Search a problem's genomes by a method until `settings.max_evaluations` are spent.

    Args:
        name: one of `search.settings.METHODS`.
        start: genomes to evaluate first.
        work: notes the costs and predictions of the method; the result sums them up.
        should_stop: asked at every standing; true ends the search as `"interrupted"`.

    Raises:
        ConfigError: see `check_method`.
    """
    check_method(name, settings)
    limit = settings.max_evaluations
    assert limit is not None
    work = OwnWork() if work is None else work
    methods: dict[str, Callable[..., Generator[Standing, None, None]]] = {
        "predicted_best": partial(predicted_best, surrogate=settings.surrogate),
        "tpe": tpe,
        "smac": smac,
    }
    stopped = False
    search = methods[name](problem, seed=seed, limit=limit, start=start, work=work)
    with closing(search) as standings:
        for _ in standings:
            if should_stop():
                stopped = True
                break
    stop_reason: StopReason = "max_evaluations" if problem.spent >= limit else "exhausted"
    return _result(problem, settings, work, "interrupted" if stopped else stop_reason)


def _result(
    problem: WatchedProblem, settings: SearchSettings, work: OwnWork, stop_reason: StopReason
) -> SearchResult:
    failed = sum(scored.loss is None for scored in problem.archive)
    return SearchResult(
        finalists=tuple(problem.archive.best(settings.finalists)),
        n_generations=0,
        stop_reason=stop_reason,
        counts=SearchCounts(n_evaluated=len(problem.archive) - failed, n_failed=failed),
        surrogate_start=None,
        surrogate_cost=work.cost if work.costs else None,
        n_predictions=work.n_predictions,
        n_random=0,
        lowest_prediction=None,
    )
