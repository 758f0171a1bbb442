"""The values that `artifacts/README.md` lists are those that the code writes and the files hold."""

import re
from pathlib import Path
from typing import get_args

import pytest

from clso.artifacts import Run
from clso.baseline.settings import Schedule
from clso.data import SPLITS
from clso.library import DERIVED_FAMILIES
from clso.library import FAMILIES as MATRICES
from clso.statistics.bootstrap import BASELINES, FLOORS, Unit
from clso.studies.rivals import METHODS
from pipelines.config import load_config
from pipelines.families import FAMILIES
from pipelines.stages import through
from search.generation import Origin, Status
from search.surrogates.factory import OWN_SURROGATES
from search.tuning.settings import Objective

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "artifacts" / "README.md").read_text()
SECTION = TEXT.split("## Values of the columns that name something\n")[1].split("\n## ")[0]
CELLS = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", SECTION, flags=re.MULTILINE))
DOCUMENTED = {column: set(re.findall(r"`(\w+)`", cell)) for column, cell in CELLS.items()}

BUILT_IN = {name for name in FAMILIES.names() if FAMILIES.is_builtin(name)}
FUNCTIONS = {"constant", "count", "class", "pointer", "neural", "plain"}
QUICK = load_config(ROOT / "configs" / "quick.yaml")  # both families, warm start and hybrid
WRITTEN = {
    "family": BUILT_IN,
    "model": {*FLOORS, *BUILT_IN, *BASELINES},
    "split": set(SPLITS),
    "stage": {stage.name for stage in through("run", QUICK)},
    "origin": set(get_args(Origin)),
    "status": set(get_args(Status)),
    "surrogate": {kind for kind in OWN_SURROGATES if kind != "auto"},
    "entry_family": {*MATRICES.names(), *DERIVED_FAMILIES, *FUNCTIONS, "none"},
    "schedule": set(get_args(Schedule)),
    "unit": set(get_args(Unit)),
    "method": set(METHODS),
    "objective": set(get_args(Objective)),
}
# other columns, tables and settings that a cell speaks of
MENTIONED = {"families", "model_a", "model_b", "scores", "auto", "family", "library", "columns"}


@pytest.mark.parametrize("column", WRITTEN)
def test_the_documented_values_are_those_of_the_code(column: str) -> None:
    assert WRITTEN[column] <= DOCUMENTED[column]
    assert DOCUMENTED[column] - WRITTEN[column] <= MENTIONED


def test_the_table_results_names_every_model() -> None:
    section = TEXT.split("\n### results\n")[1].split("\n### ")[0]
    row = next(line for line in section.splitlines() if line.startswith("| `model` |"))
    assert WRITTEN["model"] <= set(re.findall(r"`(\w+)`", row))


def test_the_files_of_a_run_hold_documented_values_alone(smoke: Run) -> None:
    names = ("evaluations", "generations", "baseline", "results", "comparisons", "scores")
    checked = set()
    for name in (*names, "samples", "energy"):
        table = smoke.table(name)
        for column in table.column_names:
            documented = DOCUMENTED.get("model" if column.startswith("model_") else column)
            if documented is not None:
                values = {value for value in table[column].unique().to_pylist() if value}
                parts = {part for value in values for part in value.split("+")}
                assert parts <= documented, (name, column)
                checked.add(column)
    assert checked >= {"family", "model", "model_a", "origin", "status", "split", "stage", "unit"}
