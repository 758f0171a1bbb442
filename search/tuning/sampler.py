"""Our search as an Optuna sampler.

    study = optuna.create_study(sampler=CrystallineSampler(seed=0))

Optuna's other samplers choose each trial from the trials before. A search has a state besides. It
is not stored, but follows from the trials (`search.tuning.replay`). Two attributes of the trials
keep what no one could see in them later: the genome that a trial was given, and which trials were
finished when the search took a step. So the search of a study goes on in any process, and several
processes work on one search. If two processes take the same step at once, the trial with the lower
number decides for both. Hyperband's brackets share the search, because only trials that ran to
their end have a loss for it, and their losses compare in all brackets.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Mapping, Sequence
from threading import RLock
from typing import Any
from zlib import crc32

import numpy as np
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.samplers import BaseSampler, TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from clso.digest import digest_of
from clso.errors import ConfigError
from search.evolution import SEARCH_VERSION
from search.settings import LocalSearchSettings, SearchSettings, SurrogateSettings
from search.tuning.genes import Genes, is_finite
from search.tuning.shared_search import SharedSearch

__all__ = ["CrystallineSampler"]

_VERSION = 1  # raised when a change of the code changes the trials of a study
_MUTATIONS = 1.5  # changed genes of a child by the default settings
_MOST_MUTATION = 0.5

_logger = logging.getLogger(f"optuna.{__name__}")  # below Optuna's own, which sets the verbosity


class CrystallineSampler(BaseSampler):
    """Samples trials by a genetic algorithm with a surrogate, for `optuna.create_study`.

    It searches the categorical parameters, the integers, and the floats with a step that all
    complete trials of a study have in common. All others are sampled independently. The first
    trials are sampled independently too, until one is complete and shows the parameters.

    - Every set of values is given to one trial, in any number of threads and processes. Once all
      sets were given, trials are sampled independently.
    - Trials of other samplers, and enqueued ones, are learned from like its own.
    - A trial that failed, was pruned, is infeasible by its constraints or has an infinite value
      never wins, and its values are not given again.
    - A study goes on in another process with the trials that one process would have had.
    - The time per trial does not depend on the objective. With the default settings it grows up to
      some hundred trials, then stays.

    Args:
        seed: of a search that this sampler begins; `None`: drawn. A search that the study has
            already goes on with its own.
        settings: of the search. Its limits (generations, evaluations, patience) do not hold here.
        independent_sampler: samples all other parameters; `None`: TPE with the same seed.
        warn_independent_sampling: whether to log, once for each parameter, that it is sampled
            independently.

    Raises:
        ConfigError: settings with a fidelity ladder, or a seed that is no integer from 0.
        ValueError: in trials of a study with several objectives, as Optuna's samplers for one
            objective do.
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        settings: SearchSettings | None = None,
        independent_sampler: BaseSampler | None = None,
        warn_independent_sampling: bool = True,
    ) -> None:
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or seed < 0):
            raise ConfigError(f"seed is {seed!r}, expected an integer from 0, or None")
        if settings is not None and settings.fidelity.kind != "none":
            raise ConfigError(
                f"settings.fidelity.kind is {settings.fidelity.kind!r}, expected 'none': a trial "
                "of Optuna is evaluated as a whole",
                remedy="give the study a pruner, which stops bad trials early",
            )
        self._seed = seed
        self._settings = settings
        self._independent_sampler = independent_sampler
        self._warn_independent_sampling = warn_independent_sampling
        self._warned: set[str] = set()
        self._forget()

    def _forget(self) -> None:
        """Forget what was read of a study."""
        self._lock = RLock()
        self._study: tuple[weakref.ref[Any], int] | None = None
        self._intersection = IntersectionSearchSpace()
        self._spaces: dict[str, SharedSearch] = {}

    def __getstate__(self) -> dict[str, Any]:
        kept = ("_seed", "_settings", "_independent_sampler", "_warn_independent_sampling")
        return {name: getattr(self, name) for name in (*kept, "_warned")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def reseed_rng(self) -> None:
        """Reseed the independent sampler; the search itself is one for all threads."""
        if self._independent_sampler is not None:
            self._independent_sampler.reseed_rng()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the parameters that the search samples."""
        with self._lock:
            self._turn_to(study)
            common = self._intersection.calculate(study)
        return {
            name: distribution for name, distribution in common.items() if is_finite(distribution)
        }

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the values of the parameters that the search samples.

        Raises:
            ValueError: the study has several objectives.
        """
        _refuse_several_objectives(study)
        # the contract of samplers allows spaces with parameters that the search does not take
        finite = {name: of for name, of in search_space.items() if is_finite(of)}
        if not finite:
            return self._sampled_independently(study, trial, search_space)
        with self._lock:
            self._turn_to(study)
            space = self._space_of(finite)
            genome = space.next_genome(study, trial)
        rest = search_space if genome is None else search_space.keys() - finite.keys()
        params = {} if genome is None else space.genes.params_of(genome)
        return params | self._sampled_independently(
            study, trial, {name: search_space[name] for name in search_space if name in rest}
        )

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:  # noqa: ANN401 - of any parameter
        """Return the value of a parameter that the search does not sample.

        Raises:
            ValueError: the study has several objectives.
        """
        _refuse_several_objectives(study)
        if self._warn_independent_sampling:
            self._warn(study, trial, param_name, param_distribution)
        return self._sampler_of(trial, param_name).sample_independent(
            study, trial, param_name, param_distribution
        )

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Let the independent sampler prepare for a trial."""
        if self._independent_sampler is not None:
            self._independent_sampler.before_trial(study, trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Let the independent sampler finish a trial."""
        if self._independent_sampler is not None:
            self._independent_sampler.after_trial(study, trial, state, values)

    def _sampler_of(self, trial: FrozenTrial, name: str) -> BaseSampler:
        """Return the sampler of a parameter that is sampled independently."""
        if self._independent_sampler is not None:
            return self._independent_sampler
        if self._seed is None:
            return TPESampler()
        # seeded for each trial, so that two processes and a resumed study draw other values
        seeds = np.random.SeedSequence([self._seed, trial.number, crc32(name.encode())])
        return TPESampler(seed=int(seeds.generate_state(1)[0]))

    def _sampled_independently(
        self, study: Study, trial: FrozenTrial, parameters: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {
            name: self._sampler_of(trial, name).sample_independent(study, trial, name, distribution)
            for name, distribution in parameters.items()
        }

    def _turn_to(self, study: Study) -> None:
        """Forget another study."""
        storage, study_id = study._storage, study._study_id
        if self._study is None or self._study[0]() is not storage or self._study[1] != study_id:
            self._forget_study(storage, study_id)

    def _forget_study(self, storage: object, study_id: int) -> None:
        self._study = (weakref.ref(storage), study_id)
        self._intersection = IntersectionSearchSpace()
        self._spaces = {}

    def _space_of(self, search_space: Mapping[str, BaseDistribution]) -> SharedSearch:
        settings = self._settings or _default_settings(Genes(search_space))
        identity = {
            "version": [_VERSION, SEARCH_VERSION],
            "settings": settings.model_dump(mode="json", exclude=_LIMITS),
            "space": {name: _described(of) for name, of in search_space.items()},
        }
        name = digest_of(identity)[:12]
        if name not in self._spaces:
            # the search does not end by itself
            unlimited = settings.replaced(patience=None, max_evaluations=None)
            self._spaces[name] = SharedSearch(name, Genes(search_space), unlimited, self._seed)
        return self._spaces[name]

    def _warn(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> None:
        with self._lock:
            if name in self._warned or distribution.single():
                return
            self._turn_to(study)
            common = self._intersection.calculate(study)
            if not common and not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
                return  # the first trials show the parameters
            if name not in common:
                reason = "not all complete trials have it with this distribution"
            elif not is_finite(distribution):
                reason = "it is a float without a step"
            else:
                return  # all sets of values were tried
            self._warned.add(name)
        _logger.warning(
            "Trial %d: %s is sampled by %s, not by CrystallineSampler, because %s. "
            "warn_independent_sampling=False leaves this out.",
            trial.number,
            name,
            type(self._sampler_of(trial, name)).__name__,
            reason,
        )


def _described(distribution: BaseDistribution) -> str:
    try:
        return distribution_to_json(distribution)
    except TypeError:
        return repr(distribution)  # choices that only a study in memory can have


_LIMITS = {"generations", "max_evaluations", "patience", "min_delta", "finalists", "fidelity"}


def _refuse_several_objectives(study: Study) -> None:
    if len(study.directions) > 1:
        raise ValueError(
            f"the study has {len(study.directions)} objectives, and CrystallineSampler is for one: "
            "take optuna.samplers.NSGAIISampler for several"
        )


def _default_settings(genes: Genes) -> SearchSettings:
    """Return the settings that docs/search.md compares with Optuna's samplers."""
    return SearchSettings(
        population=20,
        mutation_rate=min(_MOST_MUTATION, _MUTATIONS / len(genes.space)),
        surrogate=SurrogateSettings(
            kind="gaussian_process",
            start=1,
            full_eval_fraction=0.15,
            pool_factor=8.0,
            optimism=1.0,
        ),
        local_search=LocalSearchSettings(every=2),
    )
