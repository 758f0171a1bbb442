from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interrupts import Interrupts
from transformers import GPT2LMHeadModel

from clso.baseline import (
    AdamwGpt2,
    BaselineSettings,
    Blocks,
    TrainingPlan,
    Trial,
    TrialResult,
    train_trial,
)
from clso.energy import CpuModelMeter, EnergyMonitor
from clso.errors import ArtifactError, ConfigError, DataError
from clso.gpt import GptShape
from clso.progress import SILENT, Reporter
from clso.threads import torch_threads

N_BLOCKS = 46
SETTINGS = BaselineSettings(passes=2, eval_points=4)
Train = Callable[..., tuple[GPT2LMHeadModel, TrialResult]]


@pytest.fixture
def run(shape: GptShape, train: list[Blocks], validation: Blocks, tmp_path: Path) -> Train:
    def run(
        trial: Trial,
        state: str = "state",
        settings: BaselineSettings = SETTINGS,
        splits: list[Blocks] = train,
        monitor: EnergyMonitor | None = None,
        reporter: Reporter = SILENT,
    ) -> tuple[GPT2LMHeadModel, TrialResult]:
        network = AdamwGpt2.new(shape, dropout=trial.dropout, end_token_id=0, seed=5)
        result = train_trial(
            network,
            TrainingPlan(trial, settings, N_BLOCKS, seed=5),
            splits,
            validation,
            state=tmp_path / state,
            monitor=monitor or EnergyMonitor(),
            reporter=reporter,
        )
        return network.model, result

    return run


def without_measurements(rows: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    return [{key: row[key] for key in row if key != "duration_s"} for row in rows]


def losses(result: TrialResult, key: str = "validation_loss") -> list[float]:
    return [row[key] for row in result.rows if row[key] is not None]


def test_learns_what_there_is_to_learn(run: Train) -> None:
    _, result = run(Trial(2e-2))
    assert losses(result, "train_loss")[0] == pytest.approx(math.log(264), rel=0.05)
    assert result.loss is not None
    assert result.loss < 2.7  # knowing the 20 tokens alone gives log 20 = 3.0
    assert result.n_steps == 24


def test_the_model_ends_with_the_weights_of_the_best_evaluation(
    run: Train, validation: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingPlan, "lr", lambda plan, step: 1e-2 if step <= 12 else 1.0)
    model, result = run(Trial(1e-2))
    evaluations = losses(result)
    assert result.loss == min(evaluations) != evaluations[-1]
    (best,) = [row for row in result.rows if row["validation_loss"] == result.loss]
    assert result.best_step == best["step"]
    nll = AdamwGpt2(model).token_nll(*validation.blocks(np.arange(validation.n_blocks)))
    assert nll.mean() == pytest.approx(result.loss, abs=1e-6)


def test_rows_count_steps_and_tokens(run: Train, train: list[Blocks]) -> None:
    _, result = run(Trial(1e-2, batch_size=4))
    steps = [row["step"] for row in result.rows]
    assert steps == list(range(1, 25))
    evaluated = [row["step"] for row in result.rows if row["validation_loss"] is not None]
    assert evaluated == [6, 12, 18, 24]
    # 46 blocks: eleven batches of 4, one of 2
    tokens = {row["step"]: row["tokens"] for row in result.rows}
    assert (tokens[1], tokens[11], tokens[12]) == (4 * 12, 44 * 12, 46 * 12)
    assert (tokens[13], tokens[24]) == (50 * 12, 92 * 12)


def test_a_row_s_training_loss_is_the_mean_since_the_last_row(
    run: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, each = run(Trial(1e-2), state="each")
    monkeypatch.setattr(TrainingPlan, "is_logged", lambda plan, step: step in plan.eval_steps)
    _, few = run(Trial(1e-2), state="few")
    single = losses(each, "train_loss")
    means = [np.mean(single[start : start + 6]) for start in range(0, 24, 6)]
    assert losses(few, "train_loss") == pytest.approx(means)


@pytest.mark.parametrize("stop", [1, 7, 24])
@pytest.mark.parametrize("trial", [Trial(1e-2), Trial(1e-2, "constant", 5, dropout=0.2)])
def test_an_interrupted_run_ends_as_an_unbroken_one(run: Train, stop: int, trial: Trial) -> None:
    model, result = run(trial)
    with pytest.raises(KeyboardInterrupt):
        run(trial, state="broken", reporter=Interrupts(min(stop, result.n_steps)))
    resumed_model, resumed = run(trial, state="broken")
    assert without_measurements(resumed.rows) == without_measurements(result.rows)
    assert (resumed.loss, resumed.best_step) == (result.loss, result.best_step)
    for mine, theirs in zip(resumed_model.parameters(), model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_resumed_run_has_the_threads_that_it_began_with(run: Train) -> None:
    with torch_threads(1):
        model, result = run(Trial(1e-2))
        with pytest.raises(KeyboardInterrupt):
            run(Trial(1e-2), state="broken", reporter=Interrupts(7))
    with torch_threads(2):
        resumed_model, resumed = run(Trial(1e-2), state="broken")
        assert torch.get_num_threads() == 2
    assert result.threads == resumed.threads == 1
    assert {row["threads"] for row in resumed.rows} == {1}
    for mine, theirs in zip(resumed_model.parameters(), model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_finished_run_is_not_trained_again(run: Train, tmp_path: Path) -> None:
    model, result = run(Trial(1e-2))
    again_model, again = run(Trial(1e-2), reporter=Interrupts(0))
    assert again == result
    assert all(map(torch.equal, again_model.parameters(), model.parameters()))


def test_how_the_blocks_are_divided_among_splits_does_not_matter(
    run: Train, train: list[Any]
) -> None:
    class Joined:
        name, block_size, n_blocks = "joined", train[0].block_size, N_BLOCKS

        def blocks(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            parts = [split.blocks(np.arange(split.n_blocks)) for split in train]
            inputs, targets = (np.concatenate(column) for column in zip(*parts, strict=True))
            return inputs[index], targets[index]

    _, result = run(Trial(1e-2))
    _, joined = run(Trial(1e-2), state="joined", splits=[Joined()])
    assert without_measurements(joined.rows) == without_measurements(result.rows)


def test_global_random_numbers_are_left_alone(run: Train) -> None:
    torch.manual_seed(123)
    expected = torch.rand(3)
    torch.manual_seed(123)
    run(Trial(1e-2, dropout=0.1))
    assert torch.equal(torch.rand(3), expected)


class TestDivergence:
    TRIAL = Trial(1e30, "constant")

    def test_is_on_record_without_losses(self, run: Train) -> None:
        _, result = run(self.TRIAL)
        assert (result.loss, result.best_step) == (None, None)
        assert 1 <= result.rows[-1]["step"] < result.n_steps
        assert losses(result) == losses(result, "train_loss") == []

    def test_stays_so_when_resumed(self, run: Train) -> None:
        _, result = run(self.TRIAL)
        _, again = run(self.TRIAL)
        assert again == result

    def test_may_show_at_validation_only(self, run: Train, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            AdamwGpt2, "token_nll", lambda self, inputs, targets: np.full(inputs.shape, np.nan)
        )
        _, result = run(Trial(1e-2))
        assert result.loss is None
        assert result.rows[-1]["step"] == 6


class TestEnergy:
    def test_rows_carry_what_the_trial_took_so_far(self, run: Train) -> None:
        _, result = run(Trial(1e-2), monitor=EnergyMonitor([CpuModelMeter(10.0)]))
        joules = [row["energy_j"] for row in result.rows]
        assert joules == sorted(joules)
        assert joules[-1] == pytest.approx(result.measurement.energy_j)
        assert result.rows[-1]["duration_s"] == pytest.approx(result.measurement.duration_s)
        assert {row["energy_source"] for row in result.rows} == {"cpu_model"}
        assert {row["estimated"] for row in result.rows} == {True}

    def test_steps_and_validation_are_told_apart(self, run: Train) -> None:
        _, result = run(Trial(1e-2), monitor=EnergyMonitor([CpuModelMeter(10.0)]))
        parts = (result.training.energy_j, result.validation.energy_j)
        assert all(part is not None and part > 0 for part in parts)
        assert sum(filter(None, parts)) == pytest.approx(result.measurement.energy_j)

    def test_a_resumed_trial_counts_what_came_before(self, run: Train) -> None:
        monitor = EnergyMonitor([CpuModelMeter(10.0)])
        with pytest.raises(KeyboardInterrupt):
            run(Trial(1e-2), monitor=monitor, reporter=Interrupts(20))
        _, result = run(Trial(1e-2), monitor=monitor)
        joules = [row["energy_j"] for row in result.rows]
        assert joules == sorted(joules)
        assert joules[0] > 0

    def test_without_meters_it_is_null(self, run: Train) -> None:
        _, result = run(Trial(1e-2))
        assert {row["energy_j"] for row in result.rows} == {None}
        assert result.measurement.energy_j is None
        assert result.measurement.duration_s > 0


@pytest.mark.parametrize("content", [b"", b"not tensors", b"\x02\0\0\0\0\0\0\0{}"])
def test_a_damaged_state_is_refused_by_name(run: Train, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"state has no seal(.|\n)*delete it"):
        run(Trial(1e-2))


def test_a_batch_larger_than_the_text_is_refused(run: Train) -> None:
    with pytest.raises(ConfigError, match="a batch has 47 blocks, the training text only 46"):
        run(Trial(1e-2, batch_size=47))


def test_a_split_without_blocks_is_refused(run: Train, train: list[Any]) -> None:
    empty = type(train[0])("tune", train[0].stream[:5])
    with pytest.raises(DataError, match="tune has no blocks of 12 tokens"):
        run(Trial(1e-2), splits=[train[0], empty])
