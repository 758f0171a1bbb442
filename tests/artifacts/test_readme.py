import re
from pathlib import Path

import pytest

from clso.artifacts import SCHEMAS, load_run

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
