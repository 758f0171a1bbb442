"""The analysis: test is read once per model, then everything follows from the stored scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import TypedDict

from clso.analysis.comparison import (
    FLOORS,
    ModelCost,
    compare_models,
    ordered_models,
    summarize_scores,
)
from clso.analysis.floors import Bigram, Uniform, Unigram
from clso.analysis.report import write_report
from clso.analysis.scores import score_split
from clso.artifacts import load_run, part_path, write_table
from clso.data import Dataset
from clso.energy import DeviceEnergy, Measurement
from clso.progress import Reporter
from clso.scoring import LanguageModel
from pipelines.context import RunContext
from pipelines.stages.baseline import winner
from pipelines.stages.search import found_model
from pipelines.stages.shared import library_ledger, open_dataset, prepare_ledger

__all__ = ["conclude", "run"]


class Bootstrap(TypedDict):
    """How intervals are drawn, the same for all of them."""

    confidence: float
    resamples: int
    seed: int


def run(context: RunContext, reporter: Reporter) -> None:
    """Score every model, then write results and comparisons."""
    dataset = open_dataset(context)
    budget = dataset.budget(context.config.data.train_tokens)
    n_tokens = budget["train"].n_tokens + budget["tune"].n_tokens
    costs: dict[str, ModelCost] = {}
    for model, measurement in _models(context, dataset):
        _score(context, model, dataset, reporter)
        costs[model.name] = _cost(model, n_tokens, measurement)
    scores = context.folder.compact("scores")
    config = context.config
    options = Bootstrap(
        confidence=config.analysis.confidence,
        resamples=config.analysis.resamples,
        seed=config.seed,
    )
    with reporter.task("confidence intervals") as task:
        context.folder.write_rows("results", summarize_scores(scores, costs, **options))
        # Floors among themselves, and anything against uniform, decide nothing.
        pairs = [
            (model_a, model_b)
            for model_a, model_b in combinations(reversed(ordered_models(list(costs))), 2)
            if model_a not in FLOORS and model_b != "uniform"
        ]
        rows = []
        for done, (model_a, model_b) in enumerate(pairs, 1):
            rows += compare_models(scores, model_a, model_b, **options)
            task.update(done, f"{model_a} against {model_b}")
        context.folder.write_rows("comparisons", rows)


def _models(context: RunContext, dataset: Dataset) -> Iterator[tuple[LanguageModel, Measurement]]:
    """Yield every model with what making it took, one in memory at a time."""
    budget = dataset.budget(context.config.data.train_tokens)
    splits, vocab_size = (budget["train"], budget["tune"]), dataset.vocab_size
    fits: tuple[Callable[[], LanguageModel], ...] = (
        lambda: Uniform(vocab_size),
        lambda: Unigram.fit(splits, vocab_size),
        lambda: Bigram.fit(splits, vocab_size),
    )
    for fit in fits:
        with context.monitor.window() as window:
            model = fit()
        yield model, window.measurement
    # All of the search's joules are the found model's: library, surrogate, rejected genomes.
    records = [library_ledger(context).finished(), context.ledger("search").finished()]
    yield (
        found_model(context, dataset),
        Measurement.total(
            record.measurement for record in records if record and record.measurement
        ),
    )
    if context.config.baseline.enabled:
        yield winner(context)


def _score(context: RunContext, model: LanguageModel, dataset: Dataset, reporter: Reporter) -> None:
    """Score a model on validation and test unless its scores are stored."""
    if context.folder.table("scores").exists():
        return
    home = context.folder.parts("scores") / model.name
    for part, name in enumerate(("validation", "test")):
        if part_path(home, part).exists():
            continue
        scores = score_split(
            model,
            dataset.splits[name],
            dataset.token_bytes,
            run_id=context.run_id,
            seed=context.config.seed,
            reporter=reporter,
        )
        write_table(part_path(home, part), scores, "scores")


def _cost(model: LanguageModel, train_tokens: int, spent: Measurement) -> ModelCost:
    return ModelCost(
        train_tokens=train_tokens,
        stored_bytes=model.stored_bytes,
        energy_j=spent.energy_j,
        energy_source=spent.energy_source,
        estimated=spent.estimated,
        duration_s=spent.duration_s,
    )


def conclude(context: RunContext) -> None:
    """Write the energy of all stages, and the report; both follow from what is stored."""
    rows = []
    ledgers = {
        "prepare": prepare_ledger(context),
        "library": library_ledger(context),
        **{stage: context.ledger(stage) for stage in ("search", "baseline", "analyze")},
    }
    for stage, ledger in ledgers.items():
        record = ledger.finished()
        if record is None or record.measurement is None:
            continue
        duration_s = record.measurement.duration_s
        # A row without joules still says how long a stage took.
        devices = record.measurement.devices or (DeviceEnergy("none", None, "", False),)
        for device in devices:
            rows.append(
                {
                    "run_id": context.run_id,
                    "seed": context.config.seed,
                    "stage": stage,
                    "device": device.device,
                    "energy_j": device.energy_j,
                    "duration_s": duration_s,
                    "mean_power_w": None
                    if device.energy_j is None
                    else device.energy_j / duration_s,
                    "energy_source": device.source or None,
                    "estimated": device.estimated if device.source else None,
                    "reused": record.made_by != context.run_id,
                }
            )
    context.folder.write_rows("energy", rows)
    write_report(load_run(context.folder.path))
