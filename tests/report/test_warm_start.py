from __future__ import annotations

import pytest

from clso.report.baseline import _warm_start_sentence

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
