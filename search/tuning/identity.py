"""What makes two studies the same: a study continues only with the settings that it began with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.study import StudyDirection

from clso.errors import ArtifactError
from search.evolution import SEARCH_VERSION
from search.tuning.settings import TuningSettings
from search.tuning.space import SearchSpace
from search.validated import Halves

__all__ = ["check_identity", "check_origin", "claim", "identity_of"]

# the attribute of a study in the storage
_IDENTITY = "clso"
_VERSION = 1  # raised when a change of the code changes the values of trials
# studies that began before there were these settings had these values
_FORMERLY = {"sampler": "tpe", "pruner_patience": 0, "parallel": 1}


def identity_of(
    space: SearchSpace, settings: TuningSettings, halves: Halves | None = None
) -> dict[str, Any]:
    """Return all that the values of trials follow from; without halves, the problem is left out."""
    identity: dict[str, Any] = {
        "version": [_VERSION, SEARCH_VERSION],
        "family": settings.family,
        **space.to_json(),
        "seeds": list(settings.seeds),
        "budget": settings.budget.model_dump(),
        "objectives": list(settings.objectives),
        "sampler": settings.sampler,
        "pruner": settings.pruner,
        "pruner_patience": settings.pruner_patience,
        "parallel": settings.parallel,
        "seed": settings.seed,
    }
    if halves is not None:
        identity["problem"] = [halves.searched.fingerprint, halves.held_back.fingerprint]
    return identity


def claim(study: optuna.Study, identity: Mapping[str, Any], place: str) -> None:
    """Store the identity of a new study; refuse an existing study with another identity.

    The caller has the storage's turn.
    """
    check_identity(study, identity, place)
    if _IDENTITY not in study.user_attrs:
        study.set_user_attr(_IDENTITY, dict(identity))


def check_identity(study: optuna.Study, identity: Mapping[str, Any], place: str) -> None:
    """Refuse a study that was made by other software, or that differs in what is given.

    Raises:
        ArtifactError: with what differs.
    """
    stored = study.user_attrs.get(_IDENTITY)
    if stored is None:
        check_origin(study, place)
        objectives = identity["objectives"]
        if study.directions != [StudyDirection.MINIMIZE] * len(objectives):
            directions = ", ".join(direction.name.lower() for direction in study.directions)
            raise ArtifactError(
                f"the study {study.study_name!r} in {place} is to {directions}, expected minimize "
                f"for each of {', '.join(objectives)}",
                remedy="give this one a name of its own (--set name=...)",
            )
        return
    stored = {**_FORMERLY, **stored}
    differing = sorted(key for key in identity if stored.get(key) != identity[key])
    if differing:
        raise ArtifactError(
            f"{place} holds another study called {study.study_name!r}: it differs in "
            + ", ".join(differing),
            remedy="give this one a name of its own (--set name=...), or replace it with --fresh",
        )


def check_origin(study: optuna.Study, place: str) -> None:
    """Refuse a study that has trials of other software.

    Raises:
        ArtifactError: with the number of its trials.
    """
    n_trials = len(study.get_trials(deepcopy=False))
    if n_trials and _IDENTITY not in study.user_attrs:
        raise ArtifactError(
            f"{place} holds a study called {study.study_name!r} with {n_trials} trials that "
            "`clso tune` did not make",
            remedy="give this one a name of its own (--set name=...), or another --storage",
        )
