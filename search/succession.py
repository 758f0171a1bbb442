"""What a finished generation leaves to the next: who may breed, how many, and whether to go on."""

from __future__ import annotations

from collections.abc import Sequence

from search.checkpoint import Guess, SearchState, StopReason
from search.population import next_population
from search.records import Individual, SearchCounts
from search.settings import SearchSettings
from search.toolbox import WORST_LOSS, Parent

__all__ = ["stop_reason", "succeed"]


def succeed(
    state: SearchState, individuals: Sequence[Individual], settings: SearchSettings
) -> None:
    """Bring a state from a generation whose individuals all have their numbers to the next."""
    best_loss = state.archive.incumbent_loss
    state.parents = [
        Parent(individual.genome, _believed_loss(individual, state, best_loss))
        for individual in individuals
    ]
    for individual in individuals:
        guess, lowest = individual.predicted_loss, state.lowest_guess
        if guess is not None and (lowest is None or guess < lowest.predicted_loss):
            state.lowest_guess = Guess(individual.canonical, state.generations, guess)
    if best_loss is not None and (
        state.reference_loss is None or best_loss < state.reference_loss - settings.min_delta
    ):
        state.reference_loss, state.stale = best_loss, 0
    else:
        state.stale += 1
    state.counts += SearchCounts.of(individual.status for individual in individuals)
    state.population = next_population(
        state.population,
        settings.adaptive_population,
        generation=state.generations,
        stale=state.stale,
    )
    state.generations += 1


def stop_reason(
    state: SearchState, settings: SearchSettings, *, space_size: int, evaluations_left: int | None
) -> StopReason | None:
    """Return why the search is over; `None`: it goes on.

    Args:
        state: between two generations.
        settings: of the search.
        space_size: genomes, those that mean the same model included; only where none do is a
            space known to be exhausted.
        evaluations_left: genomes whose evaluation the budget still allows; `None`: any number.
    """
    if state.generations == settings.generations:
        return "generations"
    if evaluations_left == 0:
        return "max_evaluations"
    if state.archive.n_known >= space_size:
        return "exhausted"
    if settings.patience is not None and state.stale >= settings.patience:
        return "patience"
    return None


def _believed_loss(individual: Individual, state: SearchState, best_loss: float | None) -> float:
    """Return the finite loss that selection goes by; a guess never beats the incumbent."""
    if individual.evaluated_loss is not None:
        return individual.evaluated_loss
    guess = _guess(individual, state)
    if guess is None or best_loss is None:
        return WORST_LOSS
    return min(max(guess, best_loss), WORST_LOSS)


def _guess(individual: Individual, state: SearchState) -> float | None:
    if individual.status == "predicted" and individual.predicted_loss is not None:
        return individual.predicted_loss + (individual.predicted_std or 0.0)
    if individual.screening_loss is not None and individual.fidelity is not None:
        return state.archive.estimated_loss(individual.fidelity, individual.screening_loss)
    return None
