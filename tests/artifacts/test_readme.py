import re
import shutil
from pathlib import Path

import pytest

from clso.artifacts import SCHEMAS, RunFolder, load_run

README = Path(__file__).parents[2] / "artifacts" / "README.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_the_snippet_runs_beside_a_folder_of_runs(
    snippet: str, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(runs.parent)
    for path in runs.iterdir():
        for table in ("evaluations", "generations"):
            load_run(path).folder.compact(table)
    exec(compile(snippet, str(README), "exec"), {})
    assert re.search(r"quick-000[12]|6\.5", capsys.readouterr().out)


ACROSS = [snippet for snippet in SNIPPETS if "load_runs" in snippet]


@pytest.mark.parametrize("snippet", ACROSS, ids=range(len(ACROSS)))
def test_validation_picks_the_best_run_of_each_budget_and_joules_are_shown(
    snippet: str, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second run is best on validation and worst on test; the third has a budget of its own."""
    shutil.copytree(runs / "quick-0001", runs / "quick-0003")
    for number, budget, validation, test in ((2, 1000, 6.25, 6.875), (3, 2000, 6.125, 6.1875)):
        folder = RunFolder(runs / f"quick-000{number}")
        run = load_run(folder.path)
        losses = {"validation_loss": validation, "test_loss": test}
        rows = [row | losses if row["model"] == "gpt" else row for row in run.results.to_pylist()]
        folder.write_rows("results", [{**row, "energy_j": 20.0 * number} for row in rows])
        config = {"seed": 1, "data": {"train_tokens": budget}}
        folder.write_manifest({"run_id": folder.path.name, "config": config})
    monkeypatch.chdir(runs.parent)
    exec(compile(snippet, str(README), "exec"), {})
    printed = re.sub(r"[^\w.\n-]+", " ", capsys.readouterr().out)
    best, against = printed.split("adamw", 1)[0], printed
    assert re.search(r"1000 quick-0002 6\.875", best)
    assert re.search(r"2000 quick-0003 6\.18", best)
    joules = [float(found) for found in re.findall(r"\b(20\.0|40\.0|60\.0)\b", against)]
    assert joules == sorted(joules)
    assert len(joules) == 6


def test_every_language_asks_both_questions() -> None:
    for module in ("pandas", "polars", "duckdb"):
        (snippet,) = (snippet for snippet in ACROSS if f"import {module}" in snippet)
        assert "validation_loss" in snippet
        assert "energy_j" in snippet


def test_every_way_to_reload_is_shown() -> None:
    imports = "\n".join(SNIPPETS)
    for module in ("clso.artifacts", "pyarrow", "pandas", "polars", "duckdb"):
        assert re.search(rf"(import|from) {module}", imports), module


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_column_is_described(name: str) -> None:
    section = re.search(rf"### {name}\n(.*?)(?=\n### |\Z)", README.read_text(), flags=re.DOTALL)
    assert section is not None
    first_cells = re.findall(r"^\| (`.*?`) \|", section[1], flags=re.MULTILINE)
    described = [column for cell in first_cells for column in re.findall(r"`(\w+)`", cell)]
    assert sorted(described) == sorted(SCHEMAS[name].names)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("train_tokens", "null for `uniform`"),
        ("energy_j", "for `adamw` the training steps of the winning trial alone"),
        ("stored_bytes", "smaller than the exported checkpoint"),
    ],
)
def test_what_a_cost_leaves_out_is_said(column: str, said: str) -> None:
    section = README.read_text().split("### results\n")[1].split("\n### ")[0]
    row = next(line for line in section.splitlines() if line.startswith("|") and column in line)
    assert said in row
