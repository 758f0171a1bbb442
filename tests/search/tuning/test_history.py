"""A study over genomes, read as the history of a search."""

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clso.errors import ConfigError, GenomeError
from search import GenomeSpace, Search, SearchSettings, Slot
from search.tuning import known_genomes

OPTIONS = ["red", "green", "blue"]
SPACE = GenomeSpace((Slot("size", 4), Slot("colour", 3)))


def study_of(rows: list[tuple[int, int, float | None]]) -> optuna.Study:
    """Return a study whose trials have these genomes; without a loss a trial failed."""
    study = optuna.create_study()
    distributions = {
        "size": optuna.distributions.IntDistribution(0, 9),
        "colour": optuna.distributions.CategoricalDistribution(OPTIONS),
    }
    for size, colour, loss in rows:
        state = optuna.trial.TrialState.FAIL if loss is None else None
        study.add_trial(
            optuna.create_trial(
                value=loss,
                state=state or optuna.trial.TrialState.COMPLETE,
                params={"size": size, "colour": OPTIONS[colour]},
                distributions=distributions,
            )
        )
    return study


ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.none() | st.floats(-5, 5)), max_size=12
)


@given(rows=ROWS)
def test_each_genome_has_its_lowest_loss_and_the_best_is_first(
    rows: list[tuple[int, int, float | None]],
) -> None:
    genomes, losses = known_genomes(study_of(rows), SPACE)
    assert losses == sorted(losses)
    assert len(set(genomes)) == len(genomes)
    for genome, loss in zip(genomes, losses, strict=True):
        assert loss == min(row[2] for row in rows if row[:2] == genome and row[2] is not None)
    assert set(genomes) == {row[:2] for row in rows if row[2] is not None}


def test_a_search_starts_from_a_study_and_is_told_its_losses() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    names = [f"gene{number}" for number in range(3)]
    study.optimize(lambda trial: float(sum(trial.suggest_int(n, 0, 6) for n in names)), n_trials=5)
    genomes, losses = known_genomes(study, [7] * 3)
    assert losses == [float(sum(genome)) for genome in genomes]
    search = Search([7] * 3, SearchSettings(population=8), start=genomes)
    assert search.ask().genomes[: len(genomes)] == tuple(genomes)
    search.tell(genomes, losses)
    assert not set(search.ask()) & set(genomes)


def test_a_study_of_something_else_is_refused() -> None:
    with pytest.raises(ConfigError, match="directions are maximize"):
        known_genomes(optuna.create_study(direction="maximize"), SPACE)
    with pytest.raises(ConfigError, match="trial 0 has no parameter 'gene0'"):
        known_genomes(study_of([(1, 1, 0.0)]), [4, 3])
    with pytest.raises(GenomeError, match="gene 'size' is 8"):
        known_genomes(study_of([(8, 1, 0.0)]), SPACE)
