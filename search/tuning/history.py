"""An Optuna study over genomes, read as the history of a search.

    genomes, losses = known_genomes(study, space)
    search = Search(space, settings, start=genomes[: settings.population])

The search asks for its start genomes as for all others. Their losses can be told at once:

    asked = set(search.ask())
    for genome, loss in zip(genomes, losses):
        if genome in asked:
            search.tell([genome], [loss])
"""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from clso.errors import ConfigError
from clso.genome import Genome, GenomeSpace

__all__ = ["known_genomes"]


def known_genomes(
    study: optuna.Study, space: Sequence[int] | GenomeSpace
) -> tuple[list[Genome], list[float]]:
    """Return the genomes that a study evaluated and their losses, the lowest first.

    Each slot is a parameter of the same name (`gene0`, `gene1`, ... if only the numbers of options
    are given). An integer is the option's index; a categorical value stands for its place among
    the choices. Genomes are in canonical form, each with its lowest loss. Only complete trials
    count. The study minimises one value, the loss; the space is as for `Search`.

    Raises:
        ConfigError: the study has another objective, or a trial lacks a slot.
        GenomeError: an option outside the space.
    """
    if study.directions != [StudyDirection.MINIMIZE]:
        directions = ", ".join(direction.name.lower() for direction in study.directions)
        raise ConfigError(
            f"the study's directions are {directions}, expected minimize alone",
            remedy="make a study with direction='minimize' whose value is the loss",
        )
    space = GenomeSpace.of(space)
    losses: dict[Genome, float] = {}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        genes: list[object] = []
        for slot in space.slots:
            if slot.name not in trial.params:
                raise ConfigError(
                    f"trial {trial.number} has no parameter {slot.name!r}",
                    remedy="name the study's parameters as the space's slots are",
                )
            value, distribution = trial.params[slot.name], trial.distributions[slot.name]
            if isinstance(distribution, CategoricalDistribution):
                value = int(distribution.to_internal_repr(value))
            genes.append(value)
        genome, loss = space.canonical(genes), float(trial.values[0])
        losses[genome] = min(loss, losses.get(genome, loss))
    best_first = sorted(losses, key=lambda genome: (losses[genome], genome))
    return best_first, [losses[genome] for genome in best_first]
