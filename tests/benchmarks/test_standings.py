"""Arms that search published problems, and the tables of their outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import standings
from benchmarks.arms import ARMS, Arm, Loss
from benchmarks.problems import NkLandscape
from benchmarks.standings import Outcome, Standings, run, searched, standings_table
from clso.errors import ArtifactError, ConfigError

PROBLEM = "nk_20_2"
QUICK = sorted(name for name, arm in ARMS.items() if not arm.slow)


def first_options(loss: Loss, cardinalities: Sequence[int], evaluations: int, seed: int) -> None:
    """Ask more often than it may."""
    for number in range(evaluations + 5):
        loss([number % 2] * len(cardinalities))


@pytest.mark.parametrize("name", QUICK)
def test_an_arm_spends_its_budget_within_the_space_and_repeats_by_its_seed(name: str) -> None:
    asked: list[list[tuple[int, ...]]] = []
    for _ in range(2):
        problem = NkLandscape(0, genes=6, others=1, options=3)
        genomes: list[tuple[int, ...]] = []

        def loss(
            genome: Sequence[int],
            problem: NkLandscape = problem,
            genomes: list[tuple[int, ...]] = genomes,
        ) -> float:
            genomes.append(tuple(genome))
            return problem(genome)

        ARMS[name].search(loss, problem.cardinalities, 30, 7)
        asked.append(genomes)
    assert asked[0] == asked[1]
    assert len(asked[0]) == 30
    assert name != "iterated" or len(set(asked[0])) == 30
    assert all(gene in (0, 1, 2) for genome in asked[0] for gene in genome)
    assert len(set(asked[0])) > 5


@pytest.mark.slow
@pytest.mark.skipif(find_spec("smac") is None, reason="SMAC3 is an extra")
@pytest.mark.filterwarnings("ignore")  # of its dependencies
def test_smac_spends_its_budget_within_the_space() -> None:
    problem = NkLandscape(0, genes=6, others=1, options=3)
    genomes: list[tuple[int, ...]] = []

    def loss(genome: Sequence[int]) -> float:
        genomes.append(tuple(genome))
        return problem(genome)

    ARMS["smac"].search(loss, problem.cardinalities, 30, 7)
    assert len(genomes) == 30
    assert all(gene in (0, 1, 2) for genome in genomes for gene in genome)


@pytest.mark.skipif(find_spec("smac") is not None, reason="SMAC3 is installed")
def test_a_missing_package_is_named_with_its_remedy() -> None:
    with pytest.raises(ConfigError, match=r"clso\[samplers\]"):
        ARMS["smac"].search(lambda _: 0.0, (2, 2), 5, 0)


def test_evaluations_beyond_the_budget_do_not_count() -> None:
    arm = Arm("greedy", "greedy", first_options)
    outcome = searched(arm, PROBLEM, 3, 10)
    problem = NkLandscape(3, genes=20, others=2)
    assert outcome.losses == [problem([number % 2] * 20) for number in range(10)]
    assert outcome.cpu_s >= 0


def test_what_was_searched_is_not_searched_again_unless_the_arm_has_changed(tmp_path: Path) -> None:
    kept = Standings(tmp_path)
    calls: list[str] = []
    options = {"seeds": range(2), "slow_seeds": 1, "evaluations": 10, "report": calls.append}
    arms = [Arm("a", "A", first_options), Arm("b", "B", first_options, slow=True)]
    run(kept, arms, [PROBLEM], **options)
    assert calls == [f"a, {PROBLEM}, seed 0", f"a, {PROBLEM}, seed 1", f"b, {PROBLEM}, seed 0"]
    stored = kept.outcomes(arms, [PROBLEM], range(2), 10)
    run(kept, arms, [PROBLEM], **options)
    assert len(calls) == 3
    assert kept.outcomes(arms, [PROBLEM], range(2), 10) == stored
    changed = Arm("a", "A", first_options, {"settings": "others"})
    run(kept, [changed], [PROBLEM], **options)
    assert len(calls) == 5
    assert kept.outcome(changed, PROBLEM, 0, 11) is None


def test_a_torn_file_is_named(tmp_path: Path) -> None:
    kept, arm = Standings(tmp_path), Arm("a", "A", first_options)
    kept.keep(searched(arm, PROBLEM, 0, 5))
    (path,) = tmp_path.rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArtifactError, match=r"seed-000\.parquet is damaged.*\n.*delete it"):
        kept.outcome(arm, PROBLEM, 0, 5)


def outcome(arm: str, seed: int, losses: list[float]) -> Outcome:
    return Outcome(PROBLEM, arm, seed, "", losses, 1.0, 0.0)


def test_the_table_has_means_of_the_lowest_losses_and_the_error_of_their_excess() -> None:
    outcomes = [
        outcome("gaussian_process", 0, [9.0, 1.0]),
        outcome("gaussian_process", 1, [9.0, 5.5]),
        outcome("random", 0, [2.0, 3.0]),
        outcome("random", 1, [8.0, 5.0]),
    ]
    records = {row["search"]: row for row in standings_table(outcomes, 2).records()}
    assert records["lowest of all"][PROBLEM] == "3.000"
    # excess 0 and 0.5; 1 and 0
    assert records["our search, Gaussian process"][PROBLEM] == "3.250 ± 0.250"
    assert records["random"][PROBLEM] == "3.500 ± 0.500"
    early = {row["search"]: row for row in standings_table(outcomes, 1).records()}
    assert early["random"][PROBLEM].startswith("5.000")


def test_a_mean_over_fewer_seeds_is_put_on_the_level_of_all() -> None:
    outcomes = [
        outcome("gaussian_process", 0, [1.0]),
        outcome("gaussian_process", 1, [5.0]),
        outcome("random", 1, [5.5]),
    ]
    records = {row["search"]: row for row in standings_table(outcomes, 1).records()}
    assert records["random"][PROBLEM] == "3.500"
    assert records["random"]["seeds"] == "1"


def test_an_unknown_name_is_answered_with_the_known_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["standings", "--problems", "knapsack"])
    with pytest.raises(SystemExit) as stopped:
        standings.main()
    assert stopped.value.code == 2
    assert "expected some of pest_control, contamination" in capsys.readouterr().err


def test_an_arm_of_more_evaluations_counts_all_of_them() -> None:
    more = ARMS["iterated"]
    outcome = searched(more, PROBLEM, 0, 10)
    assert len(outcome.losses) == 10 * more.times
    assert outcome.best(10) == min(outcome.losses) < min(outcome.losses[:10])
