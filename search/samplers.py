"""Samplers of other packages as searches, to compare with the genetic algorithm.

As in `search.rivals`, each search evaluates no canonical form twice, depends on its seed alone, and
yields its standing after every evaluation. A sampler that proposes a known genome is told the known
loss, which is no evaluation. After 100 such proposals in a row the search ends.

Sources: Bergstra et al. 2011 and Watanabe 2023 (the tree-structured Parzen estimator); Lindauer et
al. 2022 (SMAC3).
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from clso.errors import ConfigError
from clso.genome import Genome, GenomeSpace
from clso.problem import Problem
from search.archive import Archive
from search.own_work import OwnWork
from search.watched import Standing, WatchedProblem

if TYPE_CHECKING:
    from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator

__all__ = ["check_smac", "smac", "tpe"]

_REPEATS = 100  # known genomes that a sampler may propose in a row
_NO_LOSS = 1e6  # nats per token, of a failure before any finite loss


class _Sampler(Protocol):
    """Proposes genomes, one at a time."""

    def ask(self) -> Genome | None:
        """Return the next proposal, which may be a known genome; `None`: there is none."""

    def tell(self, loss: float) -> None:
        """Learn the loss of the proposal."""

    def add(self, genome: Genome, loss: float) -> None:
        """Learn the loss of a genome that was not proposed."""


def tpe(
    problem: Problem,
    *,
    seed: int,
    limit: int,
    start: Sequence[Genome] = (),
    work: OwnWork | None = None,
) -> Generator[Standing, None, None]:
    """Search with Optuna's tree-structured Parzen estimator, a categorical parameter per slot.

    Options of exchangeable slots with features (`GenomeSpace.features`) are the more alike, the
    smaller the Euclidean distance of their features.

    Args:
        seed: of the sampler.
        limit: evaluations at most.
        start: genomes to evaluate first.
        work: notes the costs of all proposals.
    """
    import optuna  # noqa: F401 - it takes long, and once a process, so no search is charged for it

    return _searched(problem, lambda _: _Tpe(problem.space, seed), limit, start, work)


def smac(
    problem: Problem,
    *,
    seed: int,
    limit: int,
    start: Sequence[Genome] = (),
    work: OwnWork | None = None,
) -> Generator[Standing, None, None]:
    """Search with SMAC3's facade for hyperparameters: a random forest and expected improvement.

    Args:
        seed, limit, start, work: see `tpe`.

    Raises:
        ConfigError: the package is not installed.
    """
    check_smac()
    import smac  # noqa: F401 - as above

    return _searched(
        problem, lambda stack: _Smac(problem.space, seed, limit, stack), limit, start, work
    )


def check_smac() -> None:
    """Check that SMAC3 is installed, without importing it.

    Raises:
        ConfigError: it is not.
    """
    for package in ("smac", "ConfigSpace"):
        if find_spec(package) is None:
            raise ConfigError(
                f"{package} is not installed, which SMAC3 needs",
                remedy="pip install 'clso[samplers]'",
            )


def _searched(
    problem: Problem,
    make: Callable[[ExitStack], _Sampler],
    limit: int,
    start: Sequence[Genome],
    work: OwnWork | None,
) -> Generator[Standing, None, None]:
    """Evaluate `start`, then what a sampler proposes.

    `make` returns the sampler; what it enters into the stack is left when the search ends.
    """
    watched, work = WatchedProblem(problem), OwnWork() if work is None else work
    archive = watched.archive
    with ExitStack() as stack:
        first = dict.fromkeys(map(problem.space.canonical, start))
        for genome in list(first)[:limit]:
            watched.evaluate([genome])
            yield watched.standings[-1]
        with work.after(len(archive)):
            sampler = make(stack)
            for scored in archive:
                sampler.add(scored.canonical, _loss(archive, scored.canonical))
        proposal = None
        while len(archive) < limit:
            with work.after(len(archive)):
                if proposal is not None:
                    sampler.tell(_loss(archive, proposal))
                proposal = _new_proposal(sampler, problem.space, archive)
            if proposal is None:
                return
            watched.evaluate([proposal])
            yield watched.standings[-1]


def _new_proposal(sampler: _Sampler, space: GenomeSpace, archive: Archive) -> Genome | None:
    """Return the canonical form of the first proposal that was not evaluated."""
    for _ in range(_REPEATS):
        genome = sampler.ask()
        if genome is None:
            return None
        canonical = space.canonical(genome)
        if canonical not in archive:
            return canonical
        sampler.tell(_loss(archive, canonical))
    return None


def _loss(archive: Archive, canonical: Genome) -> float:
    """Return the loss of a known genome; of a failure the highest of all, as surrogates learn."""
    scored = archive.get(canonical)
    if scored is not None and scored.loss is not None:
        return scored.loss
    return max((one.loss for one in archive if one.loss is not None), default=_NO_LOSS)


# -- Optuna


class _Tpe:
    def __init__(self, space: GenomeSpace, seed: int) -> None:
        import optuna
        from optuna.distributions import BaseDistribution, CategoricalDistribution

        sampler = optuna.samplers.TPESampler(seed=seed)
        features = space.features()
        if features is not None:
            described = {_parameter(slot) for slot in space.exchangeable}
            # Optuna 5 has dropped `categorical_distance_func`, and this hook remains
            sampler._parzen_estimator_cls = _by_distance(described, features)
        with _without_messages("optuna"):
            self._study = optuna.create_study(sampler=sampler)
        self._space: dict[str, BaseDistribution] = {
            _parameter(slot): CategoricalDistribution(range(options))
            for slot, options in enumerate(space.cardinalities)
        }

    def ask(self) -> Genome:
        self._trial = self._study.ask(self._space)
        return tuple(self._trial.params[name] for name in self._space)

    def tell(self, loss: float) -> None:
        self._study.tell(self._trial, loss)

    def add(self, genome: Genome, loss: float) -> None:
        from optuna.trial import create_trial

        params = dict(zip(self._space, genome, strict=True))
        self._study.add_trial(create_trial(params=params, distributions=self._space, value=loss))


def _parameter(slot: int) -> str:
    # SMAC3's first design depends on these names: others change its searches
    return f"gene{slot:02d}"


def _by_distance(
    names: Collection[str], features: npt.NDArray[np.float64]
) -> type[_ParzenEstimator]:
    r"""Return Optuna's Parzen estimator with kernels over features `(c, d)` of these parameters.

    An observation of option i among n gives option j the weight

    .. math:: \exp\left(-\ln\frac{n + 1}{w} \frac{\ln c}{\ln 6} \frac{d_{ij}^2}{\max_k d_{ik}^2}
        \right)

    with distances d and the prior's weight w. These are the kernels that TPESampler had for
    `categorical_distance_func` until Optuna 4.9.
    """
    from optuna.samplers._tpe import parzen_estimator, probability_distributions
    from scipy.spatial.distance import cdist

    squares = cdist(features, features, "sqeuclidean")
    farthest = squares.max(axis=1, keepdims=True)
    squares /= np.where(farthest > 0, farthest, 1.0)

    class ByDistance(parzen_estimator._ParzenEstimator):
        def _calculate_categorical_distributions(
            self,
            observations: npt.NDArray[Any],
            param_name: str,
            search_space: Any,  # noqa: ANN401 - as in the base class
            parameters: Any,  # noqa: ANN401
        ) -> Any:  # noqa: ANN401
            if param_name not in names or len(observations) == 0:
                return super()._calculate_categorical_distributions(
                    observations, param_name, search_space, parameters
                )
            kernels = len(observations) + 1  # the last one is the prior
            sharpness = math.log(kernels / parameters.prior_weight) * math.log(len(squares), 6)
            near = np.exp(-sharpness * squares[observations.astype(np.int64)])
            weights = np.vstack([near, np.ones(len(squares))])
            weights /= weights.sum(axis=1, keepdims=True)
            return probability_distributions._BatchedCategoricalDistributions(weights)

    return ByDistance


@contextmanager
def _without_messages(logger: str) -> Iterator[None]:
    """Keep notes of a package's progress from standard error."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)


# -- SMAC3


class _Smac:
    def __init__(self, space: GenomeSpace, seed: int, limit: int, stack: ExitStack) -> None:
        import smac
        from ConfigSpace import Categorical, ConfigurationSpace

        self._names = [_parameter(slot) for slot in range(len(space))]
        self._space = ConfigurationSpace(seed=seed)
        self._space.add(
            [
                Categorical(name, list(range(options)))
                for name, options in zip(self._names, space.cardinalities, strict=True)
            ]
        )
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        scenario = smac.Scenario(
            self._space,
            deterministic=True,
            n_trials=limit,
            seed=seed,
            output_directory=Path(folder),
        )
        self._facade = smac.HyperparameterOptimizationFacade(scenario, _never, logging_level=40)

    def ask(self) -> Genome | None:
        from smac.main.exceptions import ConfigurationSpaceExhaustedException

        try:
            self._asked = self._facade.ask()
        except (ConfigurationSpaceExhaustedException, StopIteration):
            return None
        return self._genome(self._asked.config)

    def tell(self, loss: float) -> None:
        from smac.runhistory import TrialValue

        self._facade.tell(self._asked, TrialValue(cost=loss), save=False)

    def add(self, genome: Genome, loss: float) -> None:
        from ConfigSpace import Configuration
        from smac.runhistory import TrialInfo, TrialValue

        values = dict(zip(self._names, genome, strict=True))
        # the seed of a loss without randomness; SMAC3 goes on with that of the first trial
        info = TrialInfo(Configuration(self._space, values=values), seed=0)
        self._facade.tell(info, TrialValue(cost=loss), save=False)

    def _genome(self, config: Mapping[str, Any]) -> Genome:
        return tuple(int(config[name]) for name in self._names)


def _never(config: Mapping[str, Any], seed: int = 0) -> float:
    """Stand for the loss, which SMAC3 is told."""
    raise AssertionError
