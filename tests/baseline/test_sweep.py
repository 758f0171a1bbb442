from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from elsewhere import Elsewhere
from transformers import AutoModelForCausalLM, AutoTokenizer

from clso.artifacts import table_from_rows, write_sealed
from clso.baseline import (
    AdamwGpt2,
    BaselineSettings,
    Blocks,
    Sweep,
    SweepResult,
    TrainingPlan,
    Trial,
    TrialResult,
)
from clso.baseline import task as task_module
from clso.baseline.settings import Schedule
from clso.data.tokenizer import Tokenizer
from clso.energy import CpuModelMeter, EnergyMonitor, Measurement
from clso.errors import ArtifactError, ClsoError, ConfigError, DamageError, WorkError
from clso.gpt import GptShape

RunSweep = Callable[..., SweepResult]


def grids(
    learning_rates: tuple[float, ...],
    schedules: tuple[Schedule, ...] = ("cosine",),
    batch_sizes: tuple[int, ...] = (4,),
    dropouts: tuple[float, ...] = (0.0,),
    **others: Any,  # noqa: ANN401 - values of any field
) -> BaselineSettings:
    return BaselineSettings(
        learning_rates=learning_rates,
        schedules=schedules,
        batch_sizes=batch_sizes,
        dropouts=dropouts,
        **{"eval_points": 2, **others},
    )


def diverging(settings: BaselineSettings, *learning_rates: float) -> BaselineSettings:
    """Return settings with rates beyond what a configuration may hold."""
    return settings.model_copy(update={"learning_rates": learning_rates})


Parts = dict[int, list[dict[str, Any]]]


@pytest.fixture
def parts() -> Parts:
    """The rows of each trial by its number, as `on_result` gets them."""
    return {}


@pytest.fixture
def sweep(
    shape: GptShape,
    train: list[Blocks],
    validation: Blocks,
    tokenizer: Tokenizer,
    tmp_path: Path,
    parts: Parts,
) -> RunSweep:
    def store(number: int, trial: TrialResult) -> None:
        parts[number] = trial.table_rows(run_id="run", seed=1, passes=1)

    def sweep(
        settings: BaselineSettings,
        shape: GptShape = shape,
        **changes: Any,  # noqa: ANN401 - any argument
    ) -> SweepResult:
        arguments: dict[str, Any] = {
            "tokenizer": tokenizer,
            "seed": 1,
            "fingerprint": "data",
            "state": tmp_path / "state",
            "checkpoint": tmp_path / "models" / "adamw",
            "monitor": EnergyMonitor([CpuModelMeter(1.0)]),
            **changes,
        }
        trials = Sweep(train, validation, settings=settings, **arguments)
        return trials.from_scratch(shape, on_result=store)

    return sweep


@pytest.fixture
def landscape(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Trial], float | None]], None]:
    """Replace training by a given loss per trial."""

    def install(loss: Callable[[Trial], float | None]) -> None:
        def fake(model: object, plan: TrainingPlan, *_: object, **__: object) -> TrialResult:
            spent = Measurement(1.0)
            return TrialResult(plan.trial, loss(plan.trial), 1, 1, (), spent, spent, 1)

        monkeypatch.setattr(task_module, "train_trial", fake)

    return install


def rates(result: SweepResult) -> list[float]:
    return [trial.trial.lr for trial in result.trials]


class TestGrids:
    def test_their_product_is_trained_rates_varying_fastest(
        self, sweep: RunSweep, landscape: Callable[..., None]
    ) -> None:
        landscape(lambda trial: 1.0)
        settings = grids((1e-3, 2e-3), ("cosine", "constant"), (1, 4), (0.0, 0.1), extend=0)
        trials = [result.trial for result in sweep(settings).trials]
        assert len(trials) == len(set(trials)) == 16
        assert trials[:2] == [Trial(1e-3, "cosine", 1, 0.0), Trial(2e-3, "cosine", 1, 0.0)]

    @pytest.mark.parametrize("name", ["learning_rates", "schedules", "batch_sizes", "dropouts"])
    def test_an_empty_list_is_refused(self, name: str) -> None:
        with pytest.raises(ConfigError, match=f"BaselineSettings: {name}: .*at least 1 item"):
            BaselineSettings(**{name: ()})

    def test_a_negative_extension_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"extend: .*\(given -1\)"):
            BaselineSettings(extend=-1)


class TestExtension:
    @pytest.mark.parametrize(
        ("optimum", "grid", "extend", "expected"),
        [
            (2.0, (1.0, 2.0, 4.0), 3, [1.0, 2.0, 4.0]),
            (16.0, (1.0, 2.0, 4.0), 2, [1.0, 2.0, 4.0, 8.0, 16.0]),
            (16.0, (1.0, 2.0, 4.0), 5, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]),
            (16.0, (4.0, 1.0, 2.0), 1, [4.0, 1.0, 2.0, 8.0]),
            (0.5, (1.0, 2.0, 4.0), 2, [1.0, 2.0, 4.0, 0.5, 0.25]),
            (16.0, (1.0, 2.0, 4.0), 0, [1.0, 2.0, 4.0]),
            (1.0, (1.0,), 4, [1.0, 2.0, 0.5]),
        ],
    )
    def test_follows_the_best_rate_beyond_the_edge(
        self,
        sweep: RunSweep,
        landscape: Callable[..., None],
        optimum: float,
        grid: tuple[float, ...],
        extend: int,
        expected: list[float],
    ) -> None:
        landscape(lambda trial: abs(math.log(trial.lr / optimum)))
        result = sweep(grids(grid, extend=extend))
        assert rates(result) == expected
        assert result.best.trial.lr == min(expected, key=lambda lr: abs(math.log(lr / optimum)))

    def test_keeps_to_the_best_trial_s_other_settings(
        self, sweep: RunSweep, landscape: Callable[..., None]
    ) -> None:
        landscape(lambda trial: 1 / trial.lr + (trial.batch_size == 1) + trial.dropout)
        grid = grids((1.0, 2.0), batch_sizes=(1, 4), dropouts=(0.0, 0.1), extend=1)
        result = sweep(grid)
        assert [t.trial for t in result.trials[8:]] == [Trial(4.0, "cosine", 4, 0.0)]

    def test_stops_where_training_diverges(
        self, sweep: RunSweep, landscape: Callable[..., None]
    ) -> None:
        landscape(lambda trial: None if trial.lr > 4 else 1 / trial.lr)
        result = sweep(grids((1.0, 2.0, 4.0), extend=3))
        assert rates(result) == [1.0, 2.0, 4.0, 8.0]
        assert result.best.trial.lr == 4.0


class TestOneAtATime:
    GRID = grids(
        (2.0, 1.0, 4.0),
        ("cosine", "constant"),
        (4, 2, 8),
        (0.0, 0.1),
        extend=2,
        strategy="one_at_a_time",
    )

    def test_finds_the_best_of_each_list_with_far_fewer_trials_than_their_product(
        self, sweep: RunSweep, landscape: Callable[..., None]
    ) -> None:
        landscape(
            lambda trial: (
                abs(math.log(trial.lr / 8))
                + abs(trial.batch_size - 2)
                + (trial.schedule == "cosine")
                + trial.dropout
            )
        )
        result = sweep(self.GRID)
        assert result.best.trial == Trial(8.0, "constant", 2, 0.0)
        assert len(result.trials) < 3 * 2 * 3 * 2 / 2
        assert len({trial.trial for trial in result.trials}) == len(result.trials)

    def test_goes_round_again_where_a_later_list_moves_an_earlier_one(
        self, sweep: RunSweep, landscape: Callable[..., None]
    ) -> None:
        # the smaller the batch, the lower the best rate
        landscape(lambda trial: abs(math.log(trial.lr / (trial.batch_size / 2))) + trial.batch_size)
        assert sweep(self.GRID).best.trial.batch_size == 2
        assert sweep(self.GRID).best.trial.lr == 1.0

    def test_ends_when_everything_diverges(
        self, sweep: RunSweep, landscape: Callable[..., None]
    ) -> None:
        landscape(lambda trial: None)
        with pytest.raises(WorkError, match="diverged"):
            sweep(self.GRID)

    def test_refuses_another_strategy(self) -> None:
        with pytest.raises(ConfigError, match=r"strategy: .*\(given 'random'\)"):
            BaselineSettings(strategy="random")  # type: ignore[arg-type]  # what is tested


class TestResult:
    def test_the_checkpoint_is_the_best_trial_s_in_plain_transformers(
        self, sweep: RunSweep, validation: Blocks, tokenizer: Tokenizer, tmp_path: Path
    ) -> None:
        result = sweep(grids((1e-3, 2e-2), extend=0))
        checkpoint = tmp_path / "models" / "adamw"
        assert result.best.loss == min(trial.loss or math.inf for trial in result.trials)
        inputs, targets = validation.blocks(np.arange(validation.n_blocks))
        model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
        with torch.inference_mode():
            logits = model(input_ids=torch.from_numpy(inputs)).logits
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), torch.from_numpy(targets).flatten()
        )
        assert loss.item() == pytest.approx(result.best.loss, abs=1e-5)
        mine = AdamwGpt2.load(checkpoint).token_nll(inputs, targets)
        assert mine.mean() == pytest.approx(result.best.loss, abs=1e-6)
        text = "a rose is"
        encoded = AutoTokenizer.from_pretrained(checkpoint)(text)["input_ids"]
        assert encoded == tokenizer.backend.encode(text).ids
        assert model.config.eos_token_id == model.config.bos_token_id == tokenizer.end_token_id

    def test_rows_fit_the_schema_and_name_their_trial(self, sweep: RunSweep, parts: Parts) -> None:
        sweep(grids((1e-2, 2e-2), ("constant",), (8,), (0.1,), extend=0))
        table = table_from_rows([row for rows in parts.values() for row in rows], "baseline")
        assert set(table["lr"].to_pylist()) == {1e-2, 2e-2}
        assert set(table["batch_size"].to_pylist()) == {8}
        assert set(table["run_id"].to_pylist()) == {"run"}
        assert list(parts) == [0, 1]

    def test_energy_of_the_winner_and_of_all(self, sweep: RunSweep) -> None:
        result = sweep(grids((1e-3, 2e-2), extend=0))
        joules = [trial.measurement.energy_j for trial in result.trials]
        assert result.best.measurement.energy_j == joules[1]
        assert result.total.energy_j == pytest.approx(sum(filter(None, joules)))

    def test_a_diverged_trial_cannot_win_but_is_on_record(
        self, sweep: RunSweep, parts: Parts
    ) -> None:
        result = sweep(diverging(grids((1.0,), ("constant",), extend=0), 1e30, 1e-2))
        assert result.best.trial.lr == 1e-2
        assert {row["validation_loss"] for row in parts[0]} == {None}

    def test_all_diverged_is_an_error(self, sweep: RunSweep) -> None:
        with pytest.raises(ClsoError, match=r"all 1 AdamW trials diverged(.|\n)*learning_rates"):
            sweep(diverging(grids((1.0,), ("constant",)), 1e30))

    def test_another_vocabulary_is_refused(self, sweep: RunSweep, shape: GptShape) -> None:
        with pytest.raises(ConfigError, match="the tokenizer has 264 tokens, the model 99"):
            sweep(grids((1e-2,)), shape=replace(shape, vocab_size=99))

    def test_threads_are_set_and_given_back(
        self, sweep: RunSweep, landscape: Callable[..., None]
    ) -> None:
        before, seen = torch.get_num_threads(), []
        landscape(lambda trial: seen.append(torch.get_num_threads()) or 1.0)
        sweep(grids((1.0,), extend=0), threads=before + 1)
        assert seen == [before + 1]
        assert torch.get_num_threads() == before


class TestReuse:
    GRID = grids((1e-3, 2e-2), extend=0)

    @pytest.fixture
    def trained(self, monkeypatch: pytest.MonkeyPatch) -> list[Trial]:
        """Every trial that is really trained."""
        trained: list[Trial] = []
        train_trial = task_module.train_trial

        def watched(model: Any, plan: TrainingPlan, *args: Any, **kwargs: Any) -> TrialResult:  # noqa: ANN401
            trained.append(plan.trial)
            return train_trial(model, plan, *args, **kwargs)

        monkeypatch.setattr(task_module, "train_trial", watched)
        return trained

    def test_finished_trials_are_not_trained_again(
        self, sweep: RunSweep, trained: list[Trial], parts: Parts
    ) -> None:
        first, stored = sweep(self.GRID), dict(parts)
        del trained[:]
        assert sweep(self.GRID) == first
        assert trained == []
        assert parts == stored

    def test_a_larger_grid_trains_what_is_new(self, sweep: RunSweep, trained: list[Trial]) -> None:
        sweep(self.GRID)
        del trained[:]
        sweep(grids((1e-3, 2e-2, 4e-3), extend=0))
        assert [trial.lr for trial in trained] == [4e-3]

    def test_other_data_seed_or_settings_start_anew(
        self, sweep: RunSweep, trained: list[Trial]
    ) -> None:
        sweep(self.GRID)
        changes: list[tuple[BaselineSettings, dict[str, Any]]] = [
            (self.GRID, {"fingerprint": "other"}),
            (self.GRID, {"seed": 2}),
            (self.GRID.replaced(eval_points=3), {}),
        ]
        for settings, others in changes:
            del trained[:]
            sweep(settings, **others)
            assert len(trained) == 2

    def test_an_interrupted_sweep_goes_on(
        self, sweep: RunSweep, trained: list[Trial], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        unbroken = sweep(self.GRID, state=tmp_path / "a", checkpoint=tmp_path / "unbroken")
        write = TrialResult.write
        calls = []

        def interrupted(result: TrialResult, path: Path) -> None:
            calls.append(path)
            if len(calls) == 2:  # the second trial's result, after its checkpoint is written
                raise KeyboardInterrupt
            write(result, path)

        monkeypatch.setattr(TrialResult, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sweep(self.GRID)
        del trained[:]
        resumed = sweep(self.GRID)
        assert [trial.lr for trial in trained] == [2e-2]
        assert resumed.best.loss == unbroken.best.loss
        weights = [
            (folder / "model.safetensors").read_bytes()
            for folder in (tmp_path / "models" / "adamw", tmp_path / "unbroken")
        ]
        assert weights[0] == weights[1]

    def test_a_lost_checkpoint_is_trained_again(
        self, sweep: RunSweep, trained: list[Trial], tmp_path: Path
    ) -> None:
        first, checkpoint = sweep(self.GRID), tmp_path / "models" / "adamw"
        shutil.rmtree(checkpoint)
        del trained[:]
        sweep(self.GRID)
        assert [trial.lr for trial in trained] == [first.best.trial.lr]
        assert (checkpoint / "model.safetensors").exists()

    def test_states_are_removed_when_their_trial_ends(
        self, sweep: RunSweep, tmp_path: Path
    ) -> None:
        sweep(self.GRID)
        assert {path.suffix for path in (tmp_path / "state").iterdir()} == {".json"}

    def test_a_damaged_result_is_refused_by_name(self, sweep: RunSweep, tmp_path: Path) -> None:
        sweep(self.GRID)
        for path in (tmp_path / "state").iterdir():
            write_sealed(path, {}, belongs_to=path.stem)
        with pytest.raises(ArtifactError, match=r"\.json is damaged: KeyError"):
            sweep(self.GRID)

    def test_results_of_another_run_or_trial_are_not_reused(
        self, sweep: RunSweep, trained: list[Trial], tmp_path: Path
    ) -> None:
        sweep(self.GRID, belongs_to="this run")
        del trained[:]
        sweep(self.GRID, belongs_to="that run")
        assert len(trained) == 2
        results = sorted((tmp_path / "state").iterdir())
        for path in results[1:]:
            path.write_bytes(results[0].read_bytes())
        with pytest.raises(DamageError, match=rf"\.json .*belongs to {results[0].stem}"):
            sweep(self.GRID, belongs_to="that run")


class TestOnAnEngine:
    """Trials as tasks of other processes, which have no folder of the sweep."""

    GRID = grids((2e-2, 1e-3), batch_sizes=(8,), extend=1)

    def test_results_and_checkpoint_are_those_of_this_process(
        self, sweep: RunSweep, parts: Parts, tmp_path: Path
    ) -> None:
        alone = sweep(self.GRID, state=tmp_path / "a", checkpoint=tmp_path / "alone")
        own_parts = dict(parts)
        parts.clear()
        together = sweep(self.GRID, engine=Elsewhere())
        assert [_data(trial) for trial in together.trials] == [_data(one) for one in alone.trials]
        assert list(parts) == list(own_parts)
        for number, rows in parts.items():
            losses = [row["train_loss"] for row in rows]
            assert losses == [row["train_loss"] for row in own_parts[number]]
        for name in ("model.safetensors", "config.json", "training.json"):
            kept = [folder / name for folder in (tmp_path / "models" / "adamw", tmp_path / "alone")]
            assert kept[0].read_bytes() == kept[1].read_bytes()
        assert {path.suffix for path in (tmp_path / "state").iterdir()} == {".json"}

    def test_finished_trials_are_kept_when_the_others_are_lost(
        self, sweep: RunSweep, parts: Parts
    ) -> None:
        class Lost(Elsewhere):
            def map(self, *arguments: Any) -> Iterator[tuple[int, Any]]:  # noqa: ANN401
                yield next(super().map(*arguments))
                raise WorkError("the scheduler is gone")

        with pytest.raises(WorkError, match="the scheduler is gone"):
            sweep(self.GRID, engine=Lost())
        assert parts == {}
        engine = Elsewhere()
        resumed = sweep(self.GRID, engine=engine)
        # of the two trials of the grid one is known; the third lies beyond
        assert len(resumed.trials) == 3
        assert len(engine.arguments) == 2
        assert all(task.state is None for task in engine.arguments)

    def test_a_diverged_trial_is_on_record_and_cannot_win(
        self, sweep: RunSweep, tmp_path: Path
    ) -> None:
        wild = diverging(grids((1.0,), ("constant",), extend=0), 1e30, 1e-2)
        result = sweep(wild, engine=Elsewhere())
        assert [trial.loss is None for trial in result.trials] == [True, False]
        assert (tmp_path / "models" / "adamw" / "model.safetensors").exists()

    def test_of_equal_losses_the_first_trial_wins(
        self, sweep: RunSweep, landscape: Callable[..., None], tmp_path: Path
    ) -> None:
        landscape(lambda trial: float(trial.batch_size))
        sweep(grids((1.0, 2.0), batch_sizes=(8, 4), extend=0), engine=Elsewhere())
        kept = json.loads((tmp_path / "models" / "adamw" / "training.json").read_text())
        assert (kept["trial"]["lr"], kept["trial"]["batch_size"]) == (1.0, 4)


def _data(result: TrialResult) -> tuple[Any, ...]:
    return result.trial, result.loss, result.best_step, result.n_steps
