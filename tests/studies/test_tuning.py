"""What the report of a tuning study says, from its stored tables."""

import json
from pathlib import Path
from typing import Any

import pytest

from clso.artifacts import Run, RunFolder, load_run
from clso.report.html import Block
from clso.studies.tuning import TuningReport

SHARED = {"run_id": "tune-1", "seed": 0, "study": "tune"}
METER = {"duration_s": 1.0, "energy_j": 2.0, "energy_source": "rapl", "estimated": False}
DEFAULT = {"population": 24, "crossover": "uniform"}


def study(path: Path, tuned: dict[str, Any], seeds: int = 1) -> Run:
    folder = RunFolder(path / "studies" / "tune")
    trial = {
        **{**SHARED, **METER, "state": "complete", "seed_losses": [4.2], "search_losses": [4.2]},
        **{"searches": seeds, "evaluations": 50, "retry_of": None, "error": None},
    }
    folder.write_rows(
        "trials",
        [
            {**trial, "number": 0, "is_best": False, "loss": 4.3, "params": json.dumps(DEFAULT)},
            {**trial, "number": 1, "is_best": True, "loss": 4.2, "params": json.dumps(tuned)},
        ],
    )
    folder.write_rows(
        "importances",
        [
            {
                **{**SHARED, "objective": "loss", "evaluator": "ped_anova", "n_trials": 2},
                **{"parameter": name, "importance": importance},
            }
            for name, importance in (("population", 0.625), ("crossover", 0.375))
        ],
    )
    check = {"run_id": "tune-1", "study": "tune", "search_loss": 4.0, "evaluations": 50, **METER}
    losses = {"default": 4.3, "tuned": 4.3 if tuned == DEFAULT else 4.2}
    folder.write_rows(
        "checks",
        [
            {**check, "arm": arm, "seed": seed, "loss": loss + 0.01 * seed}
            for arm, loss in losses.items()
            for seed in (1, 2, 3)
        ],
    )
    (folder.path / "best.yaml").write_text("seed: 0\n")
    folder.figures.mkdir()
    for name in ("history", "importances"):
        (folder.figures / f"{name}.svg").write_text(f"<svg>{name}</svg>")
    note = {
        **{"family": "mixture", "trial": 1, "tuned": tuned, "default": DEFAULT},
        **{"storage": "sqlite", "budget": {"evaluations": 50, "energy_j": None}},
        **{"objectives": ["loss"], "pruner": "none", "seeds": list(range(seeds))},
    }
    config = {"name": "tune", "seed": 0, "tune": {"trials": 40}}
    folder.write_manifest({"run_id": "tune-1", "seed": 0, "config": config, "tune": note})
    return load_run(folder.path)


@pytest.mark.parametrize(
    ("seeds", "told"),
    [(1, "A trial is one search of 50 evaluations. "), (5, "50 evaluations for each of 5 seeds. ")],
)
def test_a_trial_is_described_by_its_number_of_seeds(tmp_path: Path, seeds: int, told: str) -> None:
    report = TuningReport(study(tmp_path, {**DEFAULT, "population": 17}, seeds))
    assert told in report.count_sentence()
    assert "each of 1" not in report.count_sentence()


def test_only_what_differs_from_the_default_has_an_importance(tmp_path: Path) -> None:
    report = TuningReport(study(tmp_path, {**DEFAULT, "population": 17}))
    rows = {row.cells[0]: row.cells[3] for row in report._settings_table().rows}
    assert rows == {"population": "62\u00a0%", "crossover": "\u2014"}
    assert "<svg>importances</svg>" in report.page().html()


def test_a_study_that_found_the_default_itself_shows_no_importances(tmp_path: Path) -> None:
    report = TuningReport(study(tmp_path, dict(DEFAULT)))
    table = report._settings_table()
    assert [column.header for column in table.columns] == ["hyperparameter", "tuned", "default"]
    html = report.page().html()
    assert "<svg>history</svg>" in html
    assert "importances" not in html
    assert "The best trial is the default itself." in html


def test_the_command_says_how_many_trials_were_asked_for(tmp_path: Path) -> None:
    run = study(tmp_path, {**DEFAULT, "population": 17})
    (command,) = (
        block.content
        for section in TuningReport(run).page().sections
        for block in section.blocks
        if isinstance(block, Block) and block.kind == "command"
    )
    assert command == f"clso tune {run.path}/config.yaml --trials 2 --out {tmp_path}"
