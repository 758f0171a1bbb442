"""The strongest gradient model: sweeps of several networks; the best by validation is kept."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from clso.artifacts import CHECKSUMS, RunFolder, remove
from clso.baseline import AdamwGpt2, Trial, TrialResult
from clso.baseline.network_model import NetworkModel, load_network
from clso.baseline.opponents import Opponent, Opponents, TrainedOpponent, only
from clso.baseline.seen_tokens import SeenTokens
from clso.baseline.state import read_tensors
from clso.baseline.task import set_weights
from clso.checkpoint import new_folder
from clso.data.tokenizer import Tokenizer
from clso.energy import Measurement
from pipelines.config import RunConfig
from pipelines.context import RunContext
from pipelines.ledger import StageOutcome
from pipelines.stage import ModelAndCost, Stage
from pipelines.stages.baseline import BASELINE, sweep_of

__all__ = ["OPPONENTS", "networks", "strongest"]

_TABLE = "opponents"
_NAME = "opponent"
_AGAIN = "put back the file that was there, or run again with --fresh"


def _clear(folder: RunFolder) -> None:
    folder.remove_table(_TABLE)
    remove(folder.model(_NAME))
    remove(_state(folder))


def _work(run: RunContext) -> StageOutcome:
    """Sweep every model, average the best over seeds, and keep the best of all."""
    config, experiment = run.config.opponents, run.experiment
    shape = experiment.gpt_shape
    models = [Opponent.of(index, model, shape) for index, model in enumerate(config.models)]
    splits = experiment.budget
    sweep = sweep_of(run, experiment.data_fingerprint, _state(run.folder), run.folder.model(_NAME))
    # More threads make steps of this size slower and several times dearer: they wait for one
    # another at every step of an LSTM. Trials that do not depend on one another use the cores.
    sweep = replace(sweep, threads=1)
    seen = SeenTokens.fit(sweep.train, splits["validation"], experiment.dataset.vocab_size)
    opponents = Opponents(sweep, _state(run.folder), seen)
    sink = run.folder.sink(_NAME)
    trials = 0

    def store(columns: dict[str, Any], trial: TrialResult) -> None:
        nonlocal trials
        named = {"run_id": run.run_id, "seed": run.config.seed, **columns}
        sink.append(_TABLE, trials, trial.table_rows(**named))
        trials += 1

    trained, costs = zip(*(opponents.train(model, store) for model in models), strict=True)
    candidates, spent = list(trained), list(costs)
    if config.seeds > 1:
        best = min(candidates, key=lambda model: model.loss)
        average, cost = opponents.average(best, config.seeds, store)
        candidates.append(average)
        spent.append(cost)
    run.folder.compact(_TABLE)
    winner = _keep(run, min(candidates, key=lambda model: model.loss), sweep.tokenizer)
    notes = {
        "opponents": {
            "winner": winner,
            "candidates": [model.to_record() for model in candidates],
            "trials": trials,
            "sweep": Measurement.total(spent).to_record(),
        }
    }
    path = run.folder.model(_NAME)
    present = (run.folder.table(_TABLE), path / "model.safetensors")
    return StageOutcome((path / CHECKSUMS,), notes, present)


def _keep(run: RunContext, best: TrainedOpponent, tokenizer: Tokenizer) -> dict[str, Any]:
    """Save the best model, which may be AdamW's GPT-2; return what the manifest says of it."""
    path = run.folder.model(_NAME)
    baseline = run.manifest.get("baseline", {}).get("winner")
    if baseline is None or baseline["validation_loss"] > best.loss:
        best.load().save(path, tokenizer)
        return best.to_record()
    with new_folder(path) as folder:
        shutil.copytree(run.folder.model("adamw"), folder, dirs_exist_ok=True)
    passes = run.config.baseline.passes
    times = "1 pass" if passes == 1 else f"{passes} passes"
    return {**baseline, "kind": f"GPT-2, AdamW, {times}", "members": 1}


def strongest(run: RunContext) -> ModelAndCost:
    """Load the strongest gradient model with the cost of its training steps alone."""
    record = run.manifest["opponents"]["winner"]["training"]
    model = load_network(run.folder.model(_NAME), name=_NAME, device=run.experiment.device)
    return model, Measurement.from_record(record)


def networks(run: RunContext) -> Iterator[tuple[int | None, AdamwGpt2 | NetworkModel]]:
    """Yield the strongest network as it is saved, and as it was at each evaluation, with the step.

    Of an average, all members are those of one step. Steps are there where the state is.
    """
    path = run.folder.model(_NAME)
    yield None, load_network(path, name=_NAME, device=run.experiment.device)
    winner = run.manifest["opponents"]["winner"]
    snapshots = winner.get("snapshots", {})
    folders = {_state(run.folder) / name: trial for name, trial in snapshots.items()}
    files = [{file.name for file in folder.glob("*.safetensors")} for folder in folders]
    for name in sorted(set.intersection(*files) if files else ()):
        network = NetworkModel.load(path, name=_NAME, device=run.experiment.device)
        for member, (folder, trial) in zip(network.members, folders.items(), strict=True):
            _, weights = read_tensors(folder / name, belongs_to=trial, remedy=_AGAIN)
            set_weights(member, weights)
        yield int(name.partition(".")[0]), network


def _winner_alone(config: RunConfig, manifest: Mapping[str, Any]) -> RunConfig:
    """Return the configuration that trains the winner of a finished run and nothing else.

    If AdamW's GPT-2 was the strongest, its best trial, and the first other model's.
    """
    found = manifest["opponents"]
    winner = found["winner"]
    is_baseline = "index" not in winner
    model = found["candidates"][0] if is_baseline else winner
    settings = only(config.opponents.models[model["index"]], Trial(**model["settings"]))
    values = {
        "opponents.models": [settings.model_dump(mode="json")],
        "opponents.seeds": model["members"],
        "baseline.enabled": is_baseline,
    }
    alone = config.with_overrides(values, where="the strongest gradient model")
    return BASELINE.winner_alone(alone, manifest) if is_baseline else alone


def _state(folder: RunFolder) -> Path:
    return folder.state / _TABLE


OPPONENTS = Stage(
    name="opponents",
    command="baseline",
    work=_work,
    needs=lambda config: ("prepare", *(["baseline"] if config.baseline.enabled else [])),
    wanted=lambda config: bool(config.opponents.models),
    clear=_clear,
    model=strongest,
    makes=_NAME,
    winner_alone=_winner_alone,
)
