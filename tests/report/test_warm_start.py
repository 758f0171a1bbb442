from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from clso.energy import DeviceEnergy, Measurement
from clso.report.baseline import _strongest_sentence, _warm_start_sentence

NOTE = {
    "start_loss": 5.5,
    "scratch_loss": 5.25,
    "validation_loss": 5.125,
    "steps_to_scratch_loss": 100,
    "n_steps": 1000,
    "trial": "rate 0.001",
}


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (100, "reaches the 5.250 of its best run from scratch within 100 of 1,000 steps"),
        (0, "begins below the 5.250"),
        (None, "does not reach the 5.250 of its best run from scratch in 1,000 steps"),
    ],
)
def test_it_says_how_soon_the_loss_from_scratch_is_reached(steps: int | None, said: str) -> None:
    told = _warm_start_sentence({"warm_start": {**NOTE, "steps_to_scratch_loss": steps}})
    assert said in told
    assert "Its best loss is 5.125 (rate 0.001)" in told


def test_a_run_without_one_says_nothing() -> None:
    assert _warm_start_sentence({}) == ""


def with_opponent(spent_j: float | None, whole_j: float | None) -> Any:  # noqa: ANN401 - a stand-in
    """A run whose warm start passes its strongest gradient model after 40 steps."""
    device = DeviceEnergy("cpu", whole_j, "rapl", estimated=False)
    winner = {
        "kind": "LSTM",
        "validation_loss": 5.4,
        "training": Measurement(2.0, (device,)).to_record(),
    }
    rows = [
        {"step": 20, "tokens": 200, "validation_loss": 5.45, "energy_j": 1.0},
        {"step": 40, "tokens": 400, "validation_loss": 5.35, "energy_j": spent_j},
    ]
    return SimpleNamespace(
        manifest={"warm_start": NOTE, "opponents": {"winner": winner}},
        warm_start=pa.Table.from_pylist(rows),
    )


def test_it_says_what_share_of_the_joules_passes_the_strongest_gradient_model() -> None:
    told = _strongest_sentence(with_opponent(3.0, 6.0))
    assert "is below the 5.400 of the strongest gradient model (LSTM) after 40 steps." in told
    assert "take 50\xa0% of the joules" in told


@pytest.mark.parametrize(("spent_j", "whole_j"), [(None, 6.0), (3.0, None)])
def test_without_joules_it_says_the_steps_alone(
    spent_j: float | None, whole_j: float | None
) -> None:
    told = _strongest_sentence(with_opponent(spent_j, whole_j))
    assert told.endswith("after 40 steps.")
