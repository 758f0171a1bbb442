from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clso.baseline import BaselineSettings, TrainingPlan, Trial
from clso.errors import ConfigError

plans = st.builds(
    TrainingPlan,
    trial=st.builds(
        Trial,
        lr=st.floats(1e-6, 1.0),
        schedule=st.sampled_from(["constant", "cosine"]),
        batch_size=st.integers(1, 9),
    ),
    settings=st.builds(
        BaselineSettings,
        passes=st.integers(1, 3),
        warmup_fraction=st.floats(0, 1),
        eval_points=st.integers(1, 12),
    ),
    n_blocks=st.integers(1, 40),
    seed=st.integers(0, 3),
)


@given(plans)
def test_every_pass_takes_every_block_once(plan: TrainingPlan) -> None:
    batches = list(plan.batches())
    assert [step for step, _ in batches] == list(range(1, plan.n_steps + 1))
    for number in range(plan.passes):
        mine = batches[number * plan.steps_per_pass : (number + 1) * plan.steps_per_pass]
        blocks = np.concatenate([index for _, index in mine])
        assert sorted(blocks) == list(range(plan.n_blocks))
        assert all(len(index) == plan.trial.batch_size for _, index in mine[:-1])


@given(plans, st.integers(0, 200))
def test_batches_after_a_step_are_the_rest(plan: TrainingPlan, after: int) -> None:
    rest = list(plan.batches())[after:]
    assert [step for step, _ in plan.batches(after)] == [step for step, _ in rest]
    for (_, mine), (_, theirs) in zip(plan.batches(after), rest, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@given(plans)
def test_rates_rise_then_never_rise_again(plan: TrainingPlan) -> None:
    rates = [plan.lr(step) for step in range(1, plan.n_steps + 1)]
    warmup = math.ceil(plan.settings.warmup_fraction * plan.n_steps)
    assert all(0 < rate <= plan.trial.lr for rate in rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    if plan.trial.schedule == "constant":
        assert set(rates[warmup:]) <= {plan.trial.lr}


@given(plans)
def test_the_last_step_is_evaluated_and_evaluations_are_logged(plan: TrainingPlan) -> None:
    assert plan.n_steps in plan.eval_steps
    assert len(plan.eval_steps) == min(plan.settings.validations(plan.passes), plan.n_steps)
    assert all(1 <= step <= plan.n_steps for step in plan.eval_steps)
    assert all(plan.is_logged(step) for step in plan.eval_steps)


def test_about_one_step_in_a_hundred_is_logged() -> None:
    plan = TrainingPlan(Trial(1e-3, batch_size=1), BaselineSettings(), n_blocks=5000, seed=0)
    assert sum(map(plan.is_logged, range(1, 5001))) == 100


def test_cosine_ends_near_zero_and_passes_through_half() -> None:
    settings = BaselineSettings(warmup_fraction=0.0)
    plan = TrainingPlan(Trial(2.0, batch_size=1), settings, n_blocks=999, seed=0)
    assert plan.lr(500) == pytest.approx(1.0)
    assert 0 < plan.lr(999) < 1e-5


def test_orders_differ_by_seed_and_pass() -> None:
    plan = TrainingPlan(Trial(1.0), BaselineSettings(passes=2), n_blocks=40, seed=0)
    first, second = (
        np.concatenate([index for step, index in plan.batches() if (step > 10) == later])
        for later in (False, True)
    )
    other = np.concatenate([index for _, index in replace(plan, seed=1).batches()][:10])
    assert (first != second).any()
    assert (first != other).any()


def test_dropout_seeds_differ_by_seed_and_step() -> None:
    plan = TrainingPlan(Trial(1.0), BaselineSettings(), n_blocks=40, seed=0)
    seeds = {replace(plan, seed=s).dropout_seed(step) for s in range(3) for step in range(1, 9)}
    assert len(seeds) == 24


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lr": 0.0}, "learning rate is 0.0, expected a positive number"),
        ({"lr": math.nan}, "learning rate is nan"),
        ({"schedule": "linear"}, "schedule is 'linear', expected one of constant, cosine"),
        ({"batch_size": 0}, "batch size is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"weight_decay": -0.1}, "weight decay is -0.1"),
        ({"passes": 0}, "passes is 0"),
    ],
)
def test_a_trial_out_of_range_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Trial(**{"lr": 1e-3, **wrong})


@pytest.mark.parametrize(
    "wrong",
    [
        {"passes": 0},
        {"warmup_fraction": 1.5},
        {"weight_decay": -1.0},
        {"grad_clip": 0.0},
        {"eval_points": 0},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=f"^BaselineSettings: {name}: input should be "):
        BaselineSettings(**wrong)
