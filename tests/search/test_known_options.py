"""Searches over sets of options of which something is known, or that must differ."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from picked_set import canonical_set

from clso.genome import Genome, GenomeSpace, Slot
from clso.problem import Evaluation
from search.records import MemorySink
from search.run import run_search
from search.settings import LocalSearchSettings, SearchSettings, SurrogateSettings
from search.surrogates import FloatArray
from search.surrogates.gaussian_process import GaussianProcessSurrogate
from search.surrogates.ridge import RidgeSurrogate
from search.watched import WatchedProblem

N_PICKS, N_OPTIONS = 5, 81
SETTINGS = SearchSettings(
    population=16,
    generations=12,
    surrogate=SurrogateSettings(kind="ridge", start=1, full_eval_fraction=0.25, pool_factor=4),
    local_search=LocalSearchSettings(neighbours=4),
)


class Described:
    """Sets whose options are worth about what is known of them."""

    fidelities = (1.0,)
    fingerprint = "described"

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        known = np.concatenate([np.zeros((1, 3)), rng.normal(size=(N_OPTIONS - 1, 3))])
        self.worth = known @ np.array([1.0, -0.5, 0.25]) + 0.2 * rng.normal(size=N_OPTIONS)
        self.worth[0] = 0.0
        slots = tuple(Slot(f"pick{number}", N_OPTIONS) for number in range(N_PICKS))
        self.space = GenomeSpace(
            slots,
            canonical_set,
            exchangeable=tuple(range(N_PICKS)),
            describe=lambda: known / np.sqrt(3),
        )

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        losses = [10.0 - float(self.worth[sorted(set(genome))].sum()) for genome in genomes]
        return [Evaluation(loss, "evaluated", 1) for loss in losses]


def search(settings: SearchSettings, seed: int = 0) -> tuple[MemorySink, list[float]]:
    """Return a search's rows, and the lowest loss after every evaluation."""
    sink, watched = MemorySink(), WatchedProblem(Described())
    run_search(watched, settings, seed=seed, family="set", run_id="r", sink=sink)
    return sink, [one.loss for one in watched.standings if one.loss is not None]


def with_surrogate(**changes: bool | int) -> SearchSettings:
    return SETTINGS.replaced(surrogate=SETTINGS.surrogate.replaced(**changes))


def test_chosen_steps_that_must_differ_bring_an_option_each() -> None:
    # the control, which may repeat an option, is drawn ahead of local search here
    for distinct in (False, True):
        rows = search(with_surrogate(distinct_steps=distinct))[0].rows("evaluations")
        repeated = steps = 0
        for generation in range(1, SETTINGS.generations):
            best = min(
                (
                    row
                    for row in rows
                    if row["evaluated_loss"] is not None
                    and (row["generation"], row["origin"] == "local_search") <= (generation, False)
                ),
                key=lambda row: row["evaluated_loss"],
            )
            tried = [
                row
                for row in rows
                if row["generation"] == generation and row["origin"] == "local_search"
            ]
            brought = [frozenset(row["genome"]) - frozenset(best["genome"]) for row in tried]
            assert all(len(options) <= 1 for options in brought)
            repeated += len(brought) - len(set(brought))
            steps += len(brought)
        assert steps > 20
        assert (repeated > 0) == (not distinct)


def test_no_more_neighbours_are_ranked_than_the_pool_has_room_for() -> None:
    few = search(with_surrogate(neighbour_pool=20))[0].rows("evaluations")
    steps = Counter(row["generation"] for row in few if row["origin"] == "local_search")
    assert set(steps.values()) == {SETTINGS.local_search.neighbours}
    asked: list[int] = []

    class Asked(RidgeSurrogate):
        def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
            asked.append(len(genomes))
            return super().predict(genomes)

    settings = with_surrogate(neighbour_pool=20)
    run_search(
        Described(), settings, seed=0, family="set", run_id="r", sink=MemorySink(), surrogate=Asked
    )
    assert asked[1::2] == [20] * (settings.generations - 1)


def test_the_pool_has_the_neighbours_of_the_lowest_means_and_some_drawn_ones() -> None:
    pools: list[tuple[set[Genome], Genome, list[FloatArray]]] = []

    class Asked(GaussianProcessSurrogate):
        ranked: tuple[Genome, list[FloatArray]] | None = None

        def neighbour_means(self, genome: Genome) -> list[FloatArray]:
            means = super().neighbour_means(genome)
            self.ranked = (genome, means)
            return means

        def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
            if self.ranked is not None:
                pools.append((set(genomes), *self.ranked))
            return super().predict(genomes)

    settings = with_surrogate(neighbour_pool=20)
    sink = MemorySink()
    problem = Described()
    run_search(problem, settings, seed=0, family="set", run_id="r", sink=sink, surrogate=Asked)
    count = settings.local_search.neighbours
    assert len(pools) == settings.generations - 1
    for pool, genome, means in pools:
        assert 20 <= len(pool) <= 20 + 2 * count
        best = min(
            (means[slot][option], slot, option)
            for slot, options in enumerate(means)
            for option in range(len(options))
            if option == 0 or option not in genome
        )
        changed = (*genome[: best[1]], best[2], *genome[best[1] + 1 :])
        assert problem.space.canonical(changed) in pool | {
            tuple(row["genome"]) for row in sink.rows("evaluations")
        }
    rows = sink.rows("generations")
    control = sum(row["n_random"] for row in rows)
    chosen = sum(row["n_evaluated"] for row in rows if row["generation"] > 0)
    assert control >= 0.1 * chosen


def test_a_surrogate_that_sees_what_is_known_gets_there_sooner() -> None:
    lengths = []
    for features in (False, True):
        settings = with_surrogate(features=features)
        courses = [search(settings, seed)[1] for seed in range(3)]
        goal = 10.0 - 0.9 * float(np.sort(Described().worth)[-N_PICKS:].sum())
        lengths.append([sum(loss > goal for loss in course) for course in courses])
    assert np.mean(lengths[1]) < 0.8 * np.mean(lengths[0])


def test_what_is_known_is_asked_once_by_a_search_and_only_where_it_is_wanted() -> None:
    for features in (False, True):
        problem = Described()
        asked: list[int] = []
        describe = problem.space.describe
        assert describe is not None
        problem.space = replace(
            problem.space, describe=lambda asked=asked, ask=describe: asked.append(0) or ask()
        )
        for _ in range(2):
            run_search(
                problem,
                with_surrogate(features=features),
                seed=0,
                family="set",
                run_id="r",
                sink=MemorySink(),
                surrogate=RidgeSurrogate,
            )
        assert len(asked) == 2 * features


def test_a_search_that_sees_what_is_known_resumes_as_if_unbroken(tmp_path: Path) -> None:
    settings = with_surrogate(features=True, distinct_steps=True, neighbour_pool=60)
    whole = search(settings)[0]
    sink = MemorySink()
    while True:
        stops = iter([False, False, True])
        result = run_search(
            Described(),
            settings,
            seed=0,
            family="set",
            run_id="r",
            sink=sink,
            state_path=tmp_path / "state",
            should_stop=lambda stops=stops: next(stops),
        )
        if result.stop_reason != "interrupted":
            break
    for table in ("evaluations", "generations"):
        kept = [
            [{k: v for k, v in row.items() if k != "duration_s"} for row in one.rows(table)]
            for one in (whole, sink)
        ]
        assert kept[0] == kept[1]


def test_a_search_is_the_same_without_the_setting_whatever_is_known() -> None:
    known = search(SETTINGS)[1]
    problem = Described()
    problem.space = replace(problem.space, describe=None)
    watched = WatchedProblem(problem)
    run_search(watched, SETTINGS, seed=0, family="set", run_id="r", sink=MemorySink())
    assert [one.loss for one in watched.standings] == known
