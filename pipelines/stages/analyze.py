"""The analysis: test is read once per model, then everything follows from the stored scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import TypedDict

from clso.artifacts import load_run, part_path, write_table
from clso.data import Dataset
from clso.energy import DeviceEnergy, Measurement
from clso.floors import Bigram, Uniform, Unigram
from clso.mixture.checkpoint import load_mixture
from clso.progress import Reporter
from clso.report.optimism import winners_optimism
from clso.report.run_report import write_report
from clso.scoring import LanguageModel
from clso.statistics.bootstrap import (
    FLOORS,
    ModelCost,
    compare_models,
    ordered_models,
    summarize_scores,
)
from clso.statistics.scores import score_split
from pipelines.context import RunContext
from pipelines.ledger import StageOutcome
from pipelines.stages.baseline import winner
from pipelines.stages.search import found_model
from pipelines.stages.shared import open_dataset
from pipelines.stages.warm_start import warm_started

__all__ = ["clear", "conclude", "run"]

_TABLES = ("scores", "results", "comparisons")


class Bootstrap(TypedDict):
    """How intervals are drawn, the same for all of them."""

    confidence: float
    resamples: int
    seed: int


def clear(context: RunContext) -> None:
    """Delete what an earlier analysis left, scores of other models above all."""
    for table in _TABLES:
        context.folder.remove_table(table)


def run(context: RunContext, reporter: Reporter) -> StageOutcome:
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
    # Floors among themselves, and anything against uniform, decide nothing.
    pairs = [
        (model_a, model_b)
        for model_a, model_b in combinations(reversed(ordered_models(list(costs))), 2)
        if model_a not in FLOORS and model_b != "uniform"
    ]
    with reporter.task("confidence intervals", total=1 + len(pairs)) as task:
        results = summarize_scores(scores, costs, **options)
        context.folder.write_rows("results", results)
        rows = []
        for done, (model_a, model_b) in enumerate(pairs, 1):
            task.update(done, f"{model_a} against {model_b}")
            rows += compare_models(scores, model_a, model_b, **options)
        context.folder.write_rows("comparisons", rows)
    notes = {"optimism": winners_optimism(context.manifest.get("best", {}), results)}
    return StageOutcome(tuple(context.folder.table(table) for table in _TABLES), notes)


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
    # All of a search's joules are the found model's: library, surrogate, rejected genomes.
    if "gpt" in context.config.families:
        yield found_model(context, dataset), _spent(context, "library", "search")
    if "mixture" in context.config.families:
        mixture = load_mixture(context.folder.model("mixture"))
        yield mixture, _spent(context, *_mixture_stages(context))
    if context.config.baseline.enabled:
        yield winner(context)
    if "warm_start" in context.records:
        continued, trained = warm_started(context)
        yield continued, Measurement.total([_spent(context, "library", "search"), trained])
    if "hybrid" in context.records:
        _, trained = winner(context)
        found = _spent(context, *_mixture_stages(context), "hybrid")
        yield load_mixture(context.folder.model("hybrid")), Measurement.total([found, trained])


def _mixture_stages(context: RunContext) -> tuple[str, ...]:
    """Return what the found mixture follows from."""
    network = ("library", "search") if context.config.mixture.crystalline_gpt else ()
    return (*network, "functions", "mixture")


def _spent(context: RunContext, *stages: str) -> Measurement:
    return Measurement.total(context.records[stage].measurement for stage in stages)


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
        train_tokens=None if model.name == "uniform" else train_tokens,
        stored_bytes=model.stored_bytes,
        energy_j=spent.energy_j,
        energy_source=spent.energy_source,
        estimated=spent.estimated,
        duration_s=spent.duration_s,
    )


def conclude(context: RunContext) -> None:
    """Write the energy of all stages, and the report; both follow from what is stored."""
    rows = []
    for stage, record in context.records.items():
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
                    "reused": record.owner != context.uid,
                }
            )
    context.folder.write_rows("energy", rows)
    write_report(load_run(context.folder.path))
