"""Our search as a sampler of Optuna."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
import warnings
from itertools import pairwise, product
from pathlib import Path

import optuna
import pytest
from optuna.trial import Trial, TrialState

from clso.errors import ConfigError
from search import Search, SearchSettings
from search.tuning import CrystallineSampler

NAMES = [f"gene{number}" for number in range(6)]
FAST = SearchSettings.model_validate(
    {
        "population": 8,
        "mutation_rate": 0.2,
        "surrogate": {"kind": "ridge", "start": 1, "full_eval_fraction": 0.3, "pool_factor": 2},
        "local_search": {"every": 2, "neighbours": 2},
    }
)


def loss(genome: tuple[int, ...]) -> float:
    """Have the lowest value, 0, where each gene is its number modulo 4; neighbours interact."""
    wrong = [gene != number % 4 for number, gene in enumerate(genome)]
    return float(sum(wrong) + sum(a and b for a, b in pairwise(wrong)))


def genome_of(trial: Trial | optuna.trial.FrozenTrial) -> tuple[int, ...]:
    return tuple(trial.params[name] for name in NAMES)


def objective(trial: Trial) -> float:
    return loss(tuple(trial.suggest_int(name, 0, 4) for name in NAMES))


def new_study(
    settings: SearchSettings | None = FAST, *, seed: int = 3, **options: object
) -> optuna.Study:
    return optuna.create_study(sampler=CrystallineSampler(seed=seed, settings=settings), **options)


@pytest.fixture(scope="module")
def study() -> optuna.Study:
    """A study of one process."""
    study = new_study()
    study.optimize(objective, n_trials=60)
    return study


def test_a_study_of_one_process_is_the_search_of_its_seed(study: optuna.Study) -> None:
    genomes = [genome_of(trial) for trial in study.trials]
    search = Search([5] * 6, FAST, seed=3, start=genomes[:1])
    asked: list[tuple[int, ...]] = []
    while len(asked) < len(genomes):
        batch = search.ask()
        asked += batch.genomes
        search.tell(batch, [loss(genome) for genome in batch.genomes])
    assert genomes == asked[: len(genomes)]
    assert study.best_value < 2


@pytest.mark.parametrize("n_before", [20, 33])
def test_a_study_goes_on_in_another_process_as_if_unbroken(
    study: optuna.Study, n_before: int
) -> None:
    storage = optuna.storages.InMemoryStorage()
    broken = new_study(storage=storage, study_name="s")
    broken.optimize(objective, n_trials=n_before)
    # the seed is that of the search that is there already
    sampler = pickle.loads(pickle.dumps(CrystallineSampler(seed=99, settings=FAST)))
    resumed = optuna.load_study(study_name="s", storage=storage, sampler=sampler)
    resumed.optimize(objective, n_trials=40 - n_before)
    assert [t.params for t in resumed.trials] == [t.params for t in study.trials[:40]]


def test_the_largest_value_is_sought_where_the_study_says_so(study: optuna.Study) -> None:
    highest = new_study(direction="maximize")
    highest.optimize(lambda trial: -objective(trial), n_trials=40)
    assert [t.params for t in highest.trials] == [t.params for t in study.trials[:40]]


def test_open_trials_are_told_in_any_order_and_none_is_given_twice() -> None:
    study = new_study()
    study.optimize(objective, n_trials=1)
    running: list[Trial] = []
    for number in range(80):
        trial = study.ask()
        objective(trial)
        running.append(trial)
        if len(running) == 7:
            done = running.pop(3 * number % 7)
            study.tell(done, loss(genome_of(done)))
    genomes = [genome_of(trial) for trial in study.get_trials()]
    assert len(set(genomes)) == len(genomes)
    assert study.best_value < 2


def test_threads_share_one_search() -> None:
    study = new_study()
    study.optimize(objective, n_trials=1)
    study.optimize(objective, n_trials=60, n_jobs=4)
    genomes = [genome_of(trial) for trial in study.trials]
    assert len(set(genomes)) == len(genomes) == 61


def test_trials_without_a_value_never_win_and_are_not_given_again() -> None:
    study = new_study()

    def failing(trial: Trial) -> float:
        value = objective(trial)
        if trial.number % 5 == 1:
            raise optuna.TrialPruned
        if trial.number % 5 == 2:
            return float("nan")
        if trial.number % 5 == 3:
            return float("inf")
        trial.set_constraint("even", float(trial.number % 5 == 4 and trial.number > 4))
        return value

    study.optimize(failing, n_trials=70)
    genomes = [genome_of(trial) for trial in study.trials]
    assert len(set(genomes)) == len(genomes)
    states = {trial.state for trial in study.trials}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    assert study.best_value < 6


def test_trials_of_other_samplers_and_enqueued_ones_are_learned_from() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=30)
    best = tuple(number % 4 for number in range(6))
    near = (4, *best[1:])
    study.enqueue_trial(dict(zip(NAMES, near, strict=True)))
    study.sampler = CrystallineSampler(seed=0, settings=FAST)
    study.optimize(objective, n_trials=30)
    genomes = [genome_of(trial) for trial in study.trials[30:]]
    assert genomes[0] == near
    assert not set(genomes) & {genome_of(trial) for trial in study.trials[:30]}
    assert best in genomes


def test_a_trial_that_never_ends_holds_nothing_up(study: optuna.Study) -> None:
    stale = new_study()
    stale.optimize(objective, n_trials=5)
    lost = stale.ask()
    objective(lost)
    stale.sampler = CrystallineSampler(settings=FAST)
    stale.optimize(objective, n_trials=50)
    genomes = [genome_of(trial) for trial in stale.trials]
    assert len(set(genomes)) == len(genomes)
    assert stale.best_value < 2


def test_conditional_and_continuous_parameters_are_sampled_independently(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def mixed(trial: Trial) -> float:
        value = objective(trial) + trial.suggest_float("rate", 1e-3, 1.0, log=True)
        if trial.suggest_categorical("kind", ["a", "b"]) == "a":
            value += trial.suggest_int("depth", 1, 3)
        return value + trial.suggest_float("share", 0.0, 1.0, step=0.25)

    study = new_study()
    with caplog.at_level(logging.WARNING, "optuna"):
        logging.getLogger("optuna").addHandler(caplog.handler)
        try:
            study.optimize(mixed, n_trials=60)
        finally:
            logging.getLogger("optuna").removeHandler(caplog.handler)
    warned = [record.args[1] for record in caplog.records if record.name.endswith(".sampler")]
    assert sorted(set(warned)) == ["depth", "rate"]
    searched = [(*genome_of(t), t.params["kind"], t.params["share"]) for t in study.trials]
    assert len(set(searched)) == len(searched)
    assert study.best_value < 4


def test_a_space_that_is_exhausted_is_sampled_on() -> None:
    study = new_study()
    study.optimize(
        lambda trial: trial.suggest_int("x", 0, 2) + trial.suggest_int("y", 0, 1), n_trials=15
    )
    pairs = [(trial.params["x"], trial.params["y"]) for trial in study.trials]
    assert sorted(pairs[:6]) == sorted(product(range(3), range(2)))


def test_the_search_begins_anew_when_the_parameters_change() -> None:
    study = new_study()
    study.optimize(objective, n_trials=20)
    study.optimize(lambda trial: loss((*objective_of(trial, NAMES[:-1]), 1)), n_trials=40)
    shorter = [tuple(t.params[name] for name in NAMES[:-1]) for t in study.trials]
    assert len(set(shorter[21:])) == 39
    assert not set(shorter[21:]) & set(shorter[:21])


def objective_of(trial: Trial, names: list[str]) -> tuple[int, ...]:
    return tuple(trial.suggest_int(name, 0, 4) for name in names)


def test_one_sampler_serves_several_studies() -> None:
    sampler = CrystallineSampler(seed=3, settings=FAST)
    studies = [optuna.create_study(sampler=sampler) for _ in range(2)]
    for _ in range(2):
        for study in studies:
            study.optimize(objective, n_trials=15)
    first, second = ([trial.params for trial in study.trials] for study in studies)
    assert first == second


def reported(trial: Trial) -> float:
    value = objective(trial)
    for step in range(9):
        trial.report(value, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return value


@pytest.mark.parametrize("n_before", [0, 12])
def test_the_brackets_of_hyperband_share_a_search_that_gives_no_trial_twice(n_before: int) -> None:
    study = new_study(pruner=optuna.pruners.NopPruner(), study_name="s")
    study.optimize(reported, n_trials=n_before)
    study.pruner = optuna.pruners.HyperbandPruner(1, 9)
    study.optimize(reported, n_trials=60 - n_before)
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    assert len({study.pruner._get_bracket_id(study, trial) for trial in complete}) > 1
    # trials are sampled independently until one is complete
    genomes = [genome_of(trial) for trial in study.trials[complete[0].number + 1 :]]
    assert len(set(genomes)) == len(genomes) > 40
    assert study.best_value < 2


def test_the_values_of_a_running_trial_are_given_to_no_other() -> None:
    def pair(trial: Trial) -> tuple[int, int]:
        return trial.suggest_int("x", 0, 2), trial.suggest_int("y", 0, 1)

    study = new_study()
    study.optimize(lambda trial: sum(pair(trial)), n_trials=1)
    study.enqueue_trial({"x": 1, "y": 1})
    study.enqueue_trial({"x": 2})
    pairs = [tuple(study.trials[0].params.values()), *(pair(study.ask()) for _ in range(4))]
    assert pairs[1] == (1, 1)
    assert pairs[2][0] == 2
    assert all(pairs[place] not in pairs[:place] for place in (3, 4))


def test_choices_that_only_a_study_in_memory_can_have_are_searched() -> None:
    study = new_study()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's, that no other storage can have them
        study.optimize(
            lambda trial: (
                float(trial.suggest_categorical("kind", [int, str, float]) is int)
                + trial.suggest_int("x", 0, 1)
            ),
            n_trials=6,
        )
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 6


def test_studies_with_several_objectives_and_wrong_settings_are_refused() -> None:
    study = optuna.create_study(
        directions=["minimize", "minimize"], sampler=CrystallineSampler(seed=0)
    )
    with pytest.raises(ValueError, match="the study has 2 objectives"):
        study.optimize(lambda trial: (trial.suggest_int("x", 0, 3), 0.0), n_trials=1)
    with pytest.raises(ConfigError, match="of Optuna is evaluated as a whole"):
        CrystallineSampler(settings=SearchSettings(fidelity={"kind": "racing"}))
    with pytest.raises(ConfigError, match="seed is -1"):
        CrystallineSampler(seed=-1)


WORKER = """
import sys
import optuna
from search.tuning import CrystallineSampler

study = optuna.load_study(study_name="s", storage=sys.argv[1], sampler=CrystallineSampler(seed=3))
study.optimize(
    lambda trial: sum((trial.suggest_int(f"x{i}", 0, 4) - i % 4) ** 2 for i in range(6)),
    n_trials=int(sys.argv[2]),
)
"""


@pytest.mark.slow
def test_processes_share_one_search(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(study_name="s", storage=url)
    begin, *workers = (
        [sys.executable, "-c", WORKER, url, str(n_trials)] for n_trials in (25, 15, 15, 15)
    )
    subprocess.run(begin, check=True, timeout=600)
    running = [subprocess.Popen(command) for command in workers]
    try:
        assert [process.wait(600) for process in running] == [0, 0, 0]
    finally:
        for process in running:
            process.kill()
            process.wait()
    study = optuna.load_study(study_name="s", storage=url)
    genomes = [tuple(trial.params.values()) for trial in study.trials]
    assert len(set(genomes)) == len(genomes) == 70
    assert study.best_value <= 2
