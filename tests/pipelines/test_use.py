"""The joules of a model in use, over the attempts of an analysis."""

from pathlib import Path

import pytest

from clso.artifacts import RunFolder
from clso.energy import EnergyMonitor
from pipelines.use import ModelUse


class Meter:
    device, estimated = "cpu", False

    def __init__(self, source: str = "rapl") -> None:
        self.source, self.joules = source, 0.0

    def read_j(self) -> float:
        return self.joules


def spend(use: ModelUse, kind: str, joules: float, n_tokens: int, source: str = "rapl") -> None:
    meter = Meter(source)
    with use.measured(kind, EnergyMonitor([meter])) as counted:  # type: ignore[arg-type]
        meter.joules += joules
        counted.append(n_tokens)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_joules_and_tokens_of_all_attempts_make_the_rate(folder: RunFolder) -> None:
    spend(ModelUse(folder, "mixture"), "scoring", 3.0, 100)
    spend(ModelUse(folder, "mixture"), "scoring", 5.0, 100)
    spend(ModelUse(folder, "mixture"), "generation", 2.0, 10)
    spend(ModelUse(folder, "adamw"), "scoring", 1000.0, 1)
    assert ModelUse(folder, "mixture").columns() == {
        "scoring_j_per_token": pytest.approx(0.04),
        "generation_j_per_token": pytest.approx(0.2),
        "use_energy_source": "rapl",
        "use_estimated": False,
    }


def test_what_was_not_measured_is_none(folder: RunFolder) -> None:
    use = ModelUse(folder, "mixture")
    assert set(use.columns().values()) == {None}
    spend(use, "scoring", 3.0, 100)
    assert use.columns()["generation_j_per_token"] is None
    spend(use, "generation", 2.0, 0)  # it wrote nothing
    assert use.columns()["generation_j_per_token"] is None


def test_figures_of_two_meters_are_not_put_side_by_side(folder: RunFolder) -> None:
    use = ModelUse(folder, "mixture")
    spend(use, "scoring", 3.0, 100, "rapl")
    spend(use, "generation", 2.0, 10, "cpu_model")
    assert set(use.columns().values()) == {None}


def test_a_new_analysis_forgets(folder: RunFolder) -> None:
    spend(ModelUse(folder, "mixture"), "scoring", 3.0, 100)
    ModelUse.forget(folder)
    assert set(ModelUse(folder, "mixture").columns().values()) == {None}
