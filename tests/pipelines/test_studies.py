"""The studies of arms: `clso ablate` and `clso savings`, on libraries of a few entries."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from data_columns import data_columns
from table_problem import TableProblem
from tiny_studies import TINY

from clso.artifacts import Run, load_run
from clso.energy import CpuModelMeter, DeviceEnergy, EnergyMonitor, Measurement
from clso.genome import Genome
from clso.problem import Evaluation
from clso.progress import SILENT
from clso.report.run import report_page
from pipelines.cli import main
from pipelines.config import Arm, RunConfig, ablation_arms, load_config
from pipelines.context import RunContext
from pipelines.disposal import Leftovers
from pipelines.families import FAMILIES
from pipelines.studies import engine
from pipelines.studies.arms import ArmSearches
from pipelines.studies.engine import JudgedSearch
from search.records import MemorySink
from search.run import run_search
from search.settings import SearchSettings, SurrogateSettings
from search.validated import Halves
from search.watched import WatchedProblem

Invoke = Callable[..., str]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(TINY)
    return str(path)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, tiny: str, invoke: Invoke) -> Run:
    out = tmp_path_factory.mktemp("studies")
    # the run is there before the sections of its studies are
    bare = ("--set", "ablate=null", "--set", "savings=null")
    invoke("prepare", tiny, *bare, "--no-prefect", "--out", str(out))
    printed = invoke("ablate", tiny, "--no-prefect", "--out", str(out))
    assert "Held-back loss of 2 arms against the base" in printed
    assert "quantized low rank" in printed
    printed = invoke("savings", tiny, "--no-prefect", "--family", "mixture", "--out", str(out))
    assert "the write-up says" in printed or "No arm reaches" in printed
    (path,) = (out / "runs").iterdir()
    return load_run(path)


def rows_of(run: Run, table: str, **where: object) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = run.table(table).to_pylist()
    return [row for row in rows if all(row[name] == value for name, value in where.items())]


def test_every_arm_has_a_row_per_seed_and_its_whole_budget(study: Run) -> None:
    arms = {"gpt": ["base", "surrogate=ridge", "size=16"]}
    arms["mixture"] = ["base", "surrogate=ridge", "slots=2"]
    for family, names in arms.items():
        for arm in names:
            rows = rows_of(study, "ablations", family=family, arm=arm)
            assert [row["seed"] for row in rows] == [0, 1, 2]
            assert {row["evaluations"] for row in rows} == {14}
            assert all(row["tokens"] % 14 == 0 and row["tokens"] for row in rows)
            assert all((row["predictions"] > 0) == ("ridge" in arm) for row in rows)
    assert {row["arm"] for row in rows_of(study, "ablations")} == {*arms["gpt"], *arms["mixture"]}


def test_the_configuration_of_a_run_has_the_sections_of_its_studies(study: Run) -> None:
    ablate, savings = study.config["ablate"], study.config["savings"]
    assert (ablate["seeds"], savings["beyond_target"]) == (3, True)


def test_what_a_run_and_its_arms_use_is_not_left_over(study: Run) -> None:
    out = study.path.parents[1]
    run = load_run(study.path)
    arms = {name for names in run.manifest["arms"].values() for name in names}
    manifests = [run.manifest, *(load_run(run.path / "state" / "arms" / a).manifest for a in arms)]
    used = {out / home for manifest in manifests for home in manifest["shared"].values()}
    leftovers = Leftovers(out)
    assert len(arms) > 1
    assert len(used) > 2
    assert all(path.is_dir() for path in used)
    assert leftovers.unknown == []
    assert not used & {leftover.path for leftover in leftovers.find()}


def test_an_arm_pays_for_what_another_had_evaluated_before(study: Run) -> None:
    base, ridge = (
        rows_of(study, "ablations", family="mixture", arm=arm, seed=0)[0]
        for arm in ("base", "surrogate=ridge")
    )
    # both begin with the same genomes, which were computed for the base alone
    assert ridge["tokens"] == base["tokens"]
    assert ridge["energy_j"] is not None
    assert base["surrogate_energy_j"] is None
    assert 0 < ridge["surrogate_energy_j"] < ridge["energy_j"]


def halves_of(context: RunContext, config: RunConfig, family: str) -> Halves:
    searches = ArmSearches(context, "ablations", FAMILIES.get(family), 14, lambda *_: {})
    return searches.problem(Arm("arm", config))


@pytest.mark.parametrize("family", ["gpt", "mixture"])
def test_the_base_is_a_plain_search_bit_for_bit(study: Run, tiny: str, family: str) -> None:
    config = load_config(tiny)
    base = ablation_arms(config, family)[0]
    settings = base.config.search.lasting(14)
    with RunContext.open(config, study.path.parents[1], SILENT) as context:
        problem = halves_of(context, base.config, family)
        for row in rows_of(study, "ablations", family=family, arm="base"):
            plain = run_search(
                problem.searched,
                settings,
                seed=row["seed"],
                family=family,
                run_id="plain",
                sink=MemorySink(),
            )
            assert plain.best.loss == row["loss"]
            assert [gene for one in plain.finalists for gene in one.canonical] == row["finalists"]
            assert problem.judged(plain.best.canonical) == row["held_back_loss"]
            assert row["held_back_loss"] != row["loss"]


def test_the_first_half_is_searched_and_the_second_held_back(study: Run, tiny: str) -> None:
    config = load_config(tiny)
    with RunContext.open(config, study.path.parents[1], SILENT) as context:
        for family in ("gpt", "mixture"):
            problem = halves_of(context, config, family)
            assert problem.searched.fingerprint != problem.held_back.fingerprint


def test_counting_predictions_and_sharing_evaluations_change_no_search(
    study: Run, tiny: str
) -> None:
    config = load_config(tiny)
    arm = next(one for one in ablation_arms(config, "mixture") if one.name == "surrogate=ridge")
    settings = arm.config.search.lasting(14)
    with RunContext.open(config, study.path.parents[1], SILENT) as context:
        problem = WatchedProblem(halves_of(context, arm.config, "mixture").searched)
        plain = run_search(
            problem, settings, seed=1, family="mixture", run_id="plain", sink=MemorySink()
        )
    (row,) = rows_of(study, "ablations", family="mixture", arm=arm.name, seed=1)
    assert [gene for one in plain.finalists for gene in one.canonical] == row["finalists"]
    (row,) = rows_of(study, "savings", arm="ridge", seed=1)
    lowest = [standing.loss for standing in problem.standings]
    assert [lowest[at - 1] for at in row["steps"]] == row["step_losses"]


def test_a_killed_study_goes_on_where_it_stopped(
    study: Run, tiny: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    searches: list[int] = []

    def killed(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as run_search has them
        if len(searches) == 4:
            raise KeyboardInterrupt
        searches.append(options["seed"])
        return run_search(*arguments, **options)

    for shared in ("datasets", "libraries"):
        shutil.copytree(study.path.parents[1] / shared, tmp_path / shared)
    command = ["savings", tiny, "--no-prefect", "--family", "mixture", "--out", str(tmp_path)]
    monkeypatch.setattr(engine, "run_search", killed)
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 130
    monkeypatch.setattr(engine, "run_search", run_search)
    parts = list(tmp_path.rglob("state/savings/*/part-*.parquet"))
    stamps = {part: part.stat().st_mtime_ns for part in parts}
    assert len(stamps) == 4
    invoke(*command)
    assert {part: part.stat().st_mtime_ns for part in parts} == stamps
    (path,) = (tmp_path / "runs").iterdir()
    assert data_columns(load_run(path).savings).equals(data_columns(study.savings))


def test_more_seeds_and_arms_keep_what_is_there(study: Run, tiny: str, invoke: Invoke) -> None:
    parts = {
        part: part.stat().st_mtime_ns for part in study.path.rglob("state/savings/*/part-*.parquet")
    }
    before = study.savings
    more = (
        "savings.arms={unfiltered: {surrogate.kind: none}, ridge: {surrogate.kind: ridge}, "
        "pool: {surrogate.kind: ridge, surrogate.pool_factor: 4}}"
    )
    invoke(
        "savings", tiny, "--no-prefect",
        "--family", "mixture", "--out", str(study.path.parents[1]), "--seeds", "4",
        "--set", more,
    )  # fmt: skip
    after = load_run(study.path).savings
    assert {part: part.stat().st_mtime_ns for part in parts} == parts
    kept = after.filter((pc.field("seed") < 3) & (pc.field("arm") != "pool"))
    assert kept.equals(before)
    assert after.num_rows == 12


def test_the_steps_joules_rise_to_those_of_the_search(study: Run) -> None:
    for row in study.savings.to_pylist():
        joules = row["step_energy_j"]
        assert len(joules) == len(row["steps"])
        assert joules == sorted(joules)
        assert joules[0] > 0
        # the last step is the last evaluation, and the surrogate was asked before it
        assert row["steps"][-1] == row["evaluations"]
        assert row["energy_j"] / 2 < joules[-1] <= row["energy_j"]


def test_ladders_and_populations_can_be_what_spares(study: Run, tiny: str, invoke: Invoke) -> None:
    out = study.path.parents[1]
    arms = (
        "{unfiltered: {surrogate.kind: none}, "
        "halving: {fidelity.kind: successive_halving}, "
        "adaptive: {adaptive_population: {enabled: true, min: 4, max: 8}}, "
        "both: {surrogate.kind: ridge, fidelity.kind: racing}}"
    )
    invoke(
        "savings", tiny, "--no-prefect",
        "--family", "gpt", "--out", str(out), "--seeds", "2",
        "--set", "name=ladder", "--set", f"savings.arms={arms}",
        "--set", "savings.reference=halving",
    )  # fmt: skip
    (path,) = (out / "runs").glob("ladder-*")
    run = load_run(path)
    plain, halving = (
        rows_of(run, "savings", arm=arm, seed=0)[0] for arm in ("unfiltered", "halving")
    )
    assert halving["evaluations"] <= 14
    # a part of the batches for many, all of them for few
    assert halving["tokens"] <= plain["tokens"]
    assert all(row["step_energy_j"][-1] > 0 for row in run.savings.to_pylist())
    assert "halving" in invoke("show", str(path))
    shutil.rmtree(path)


def test_other_methods_are_arms_of_the_same_comparison(
    study: Run, tiny: str, invoke: Invoke
) -> None:
    out = study.path.parents[1]
    arms = (
        "{unfiltered: {surrogate.kind: none}, "
        "predicted: {method: predicted_best, surrogate.kind: ridge}, "
        "tpe: {method: tpe}, mutation: {crossover_rate: 0.0}}"
    )
    invoke(
        "savings", tiny, "--no-prefect",
        "--family", "mixture", "--out", str(out), "--seeds", "2",
        "--set", "name=methods", "--set", f"savings.arms={arms}",
    )  # fmt: skip
    (path,) = (out / "runs").glob("methods-*")
    run = load_run(path)
    for row in run.savings.to_pylist():
        own = row["surrogate_energy_j"]
        assert row["evaluations"] == 14
        assert (row["predictions"] > 0) == (row["arm"] == "predicted")
        assert (own is not None) == (row["arm"] in ("predicted", "tpe"))
        assert row["step_energy_j"] == sorted(row["step_energy_j"])
        assert (own or 0.0) < row["step_energy_j"][-1] <= row["energy_j"]
    # what an arm without a method does, and where it is stored, is as before
    for seed in range(2):
        (plain,) = rows_of(study, "savings", arm="unfiltered", seed=seed)
        (again,) = rows_of(run, "savings", arm="unfiltered", seed=seed)
        assert (again["steps"], again["step_losses"]) == (plain["steps"], plain["step_losses"])
    stored = [
        {part.parent.name for part in one.path.glob("state/savings/*/*")} for one in (study, run)
    ]
    assert stored[0] & stored[1]
    noted = run.manifest["savings"]["mixture"]["arms"]
    assert noted["tpe"]["method"] == "tpe"
    assert noted["mutation"]["crossover_rate"] == 0.0
    page = report_page(run).html()
    assert "the same operators but for crossover, except those without a genetic" in page
    assert "algorithm: predicted, tpe." in page
    shutil.rmtree(path)


def test_a_method_pays_for_its_own_work_once_and_for_what_it_reuses() -> None:
    halves = Halves(*(_Costly([5] * 5, interaction=0.5, seed=seed) for seed in (1, 2)))
    settings = SearchSettings(surrogate=SurrogateSettings(kind="ridge")).lasting(20)
    monitor = EnergyMonitor([CpuModelMeter(10.0)])
    for method in ("predicted_best", "tpe"):
        for _ in range(2):  # the second search reuses all evaluations of the first
            judged = JudgedSearch.run(
                "run", halves, settings, seed=3, family="t", monitor=monitor, method=method
            )
            assert judged.watched.measurement.energy_j == pytest.approx(20 * 7.0)
            own = judged.columns["surrogate_energy_j"]
            assert 0 < own < 7.0
            assert judged.spent.energy_j == pytest.approx(20 * 7.0 + own)
            joules = [judged.energy_j_at(standing) or 0.0 for standing in judged.watched.standings]
            assert all(later - earlier >= 7.0 - 1e-9 for earlier, later in pairwise(joules))
            assert joules[-1] <= 20 * 7.0 + own + 1e-9
        assert len(judged.watched.reused) == 20


def test_a_method_ends_at_the_floor() -> None:
    halves = Halves(*(_Costly([5] * 5, interaction=0.5, seed=seed) for seed in (1, 2)))
    settings = SearchSettings().lasting(60)
    whole, ended = (
        JudgedSearch.run(
            "run", halves, settings, seed=0, family="t", monitor=EnergyMonitor(), method="tpe",
            floor=floor,
        )
        for floor in (None, 9.0)
    )  # fmt: skip
    losses = [standing.loss or 0.0 for standing in ended.watched.standings]
    assert losses[-1] <= 9.0 < losses[-2]
    assert len(losses) < 60
    assert ended.watched.standings == whole.watched.standings[: len(losses)]


class _Costly(TableProblem):
    """Evaluations that take 7 J each."""

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        cost = Measurement(1.0, (DeviceEnergy("cpu", 7.0, "cpu_model", True),))
        return [
            replace(evaluation, measurement=cost)
            for evaluation in super().evaluate(genomes, fidelity)
        ]


def test_searches_may_end_where_there_is_nothing_left_to_count(
    study: Run, tiny: str, invoke: Invoke
) -> None:
    out = study.path.parents[1]
    invoke(
        "savings", tiny, "--no-prefect",
        "--family", "mixture", "--out", str(out), "--set", "name=early",
        "--set", "savings.beyond_target=false",
    )  # fmt: skip
    (path,) = (out / "runs").glob("early-*")
    early = load_run(path)
    floor = min(row["loss"] for row in rows_of(early, "savings", arm="unfiltered"))
    ended = 0
    for row in rows_of(early, "savings", arm="ridge"):
        (whole,) = rows_of(study, "savings", arm="ridge", seed=row["seed"])
        shared = sum(at <= row["evaluations"] for at in whole["steps"])
        assert row["step_losses"][:shared] == whole["step_losses"][:shared]
        assert row["evaluations"] == 14 or row["loss"] <= floor
        ended += row["evaluations"] < 14
    assert ended
    assert "never" not in invoke("show", str(path))
    shutil.rmtree(path)


def test_an_ablation_lets_an_arm_end_by_its_own_patience(
    study: Run, tiny: str, invoke: Invoke
) -> None:
    out = study.path.parents[1]
    factor = "{patience: {base: none, levels: {none: {}, 1: {search.patience: 1}}}}"
    invoke(
        "ablate", tiny, "--no-prefect",
        "--family", "mixture", "--out", str(out), "--set", "name=patience",
        "--set", f"ablate.factors={factor}", "--set", "search.population=3",
        "--set", "search.elites=1", "--set", "search.local_search.enabled=false",
    )  # fmt: skip
    (path,) = (out / "runs").glob("patience-*")
    ablations = load_run(path).ablations.to_pylist()
    base = {row["seed"]: row for row in ablations if row["arm"] == "base"}
    patient = [row for row in ablations if row["arm"] != "base"]
    assert all(row["evaluations"] == 14 for row in base.values())
    assert any(row["evaluations"] < 14 for row in patient)
    assert all(row["loss"] >= base[row["seed"]]["loss"] for row in patient)
    assert all(row["energy_j"] <= base[row["seed"]]["energy_j"] for row in patient)
    shutil.rmtree(path)


def test_figures_report_and_show_tell_of_it(study: Run, invoke: Invoke) -> None:
    names = ("ablations-gpt", "ablations-mixture", "selections-gpt", "savings-mixture")
    for name in (*names, "arrivals-mixture"):
        assert (study.folder.figures / f"{name}.svg").read_text().startswith("<svg")
    page = report_page(study).html()
    assert "The crystalline GPT&#39;s search, ablated" in page
    assert "What the crystalline mixture&#39;s search can save" in page
    assert "quantized low rank" in page
    shown = invoke("show", str(study.path))
    assert "Held-back loss of 2 arms against the base" in shown
    assert "Evaluations of the crystalline mixture" in shown


def test_the_searches_of_arms_are_no_runs_of_their_own(study: Run) -> None:
    assert list(study.path.parent.iterdir()) == [study.path]
    assert study.config["gpt"]["library"]["size"] == 8


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("ablate", ["ablate=null"], "no section `ablate`"),
        ("ablate", ["ablate.factors.size.levels={8: {}, 9: {gpt.libary: 1}}"], "did you mean"),
        ("ablate", ["ablate.factors.size.levels={8: {}, 9: {}}"], "are the same search"),
        ("ablate", ["mixture.search={population: 6}"], "stands in for search"),
        ("savings", ["savings.arms={unfiltered: {}, a: {}}"], "are the same search"),
        ("savings", ["savings.arms={unfiltered: {}, a: {elites: 1}}"], "`ablate` compares"),
        ("savings", ["savings.arms={unfiltered: {}, a: {method: bo}}"], "has method 'bo'"),
        (
            "savings",
            ["savings.arms={unfiltered: {}, a: {method: predicted_best}}"],
            "needs a surrogate",
        ),
        (
            "savings",
            [
                "savings.arms={unfiltered: {}, a: {method: tpe}, "
                "b: {method: tpe, surrogate.kind: ridge}}"
            ],
            "'a' and 'b' are the same search",
        ),
    ],
)
def test_mistakes_end_with_status_2_before_any_search(
    study: Run,
    tiny: str,
    capsys: pytest.CaptureFixture[str],
    command: str,
    options: list[str],
    said: str,
) -> None:
    values = [part for option in options for part in ("--set", option)]
    with pytest.raises(SystemExit) as ended:
        main([command, tiny, "--no-prefect", "--out", str(study.path.parents[1]), *values])
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_family_that_the_configuration_has_not_is_refused(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["savings", tiny, "--family", "gtp", "--out", str(tmp_path)])
    assert ended.value.code == 2
    assert "--family is gtp, but families has only" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())  # Prefect has not started: it would have a home there
