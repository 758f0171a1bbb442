"""The analysis: each model scores test once; all results follow from the stored scores.

Each model also writes a sample of text, which the report shows. Scoring and writing are measured:
they are the joules of the model in use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

from clso.artifacts import RunFolder, load_run
from clso.energy import DeviceEnergy, Measurement
from clso.floors import Bigram, Uniform, Unigram
from clso.mixture.counts import KneserNeyFloor
from clso.report.run import report_page
from clso.scoring import LanguageModel
from clso.statistics.bootstrap import (
    FLOORS,
    ModelCost,
    ordered_models,
)
from clso.statistics.scores import score_split
from clso.statistics.search_summary import winners_optimism
from pipelines.context import RunContext
from pipelines.ledger import StageOutcome
from pipelines.samples import TextSampler
from pipelines.stage import ModelAndCost, Stage
from pipelines.use import ModelUse

if TYPE_CHECKING:
    from pipelines.families import AnyFamily

__all__ = ["analyze_stage", "energy_rows"]

_TABLES = ("scores", "results", "comparisons", "samples")


def analyze_stage(families: Sequence[AnyFamily], before: Sequence[Stage]) -> Stage:
    """Return the stage that scores the models of a run; `before` are all of its other stages."""
    titles = {family.name: {"title": family.title, "family": family.name} for family in families}
    return Stage(
        name="analyze",
        command="analyze",
        work=partial(_work, titles, before),
        needs=None,
        clear=_clear,
        conclude=_conclude,
    )


def _clear(folder: RunFolder) -> None:
    """Delete the tables of an earlier analysis, above all the scores of other models."""
    for table in _TABLES:
        folder.remove_table(table)
    ModelUse.forget(folder)


def _work(
    titles: Mapping[str, Mapping[str, str]], before: Sequence[Stage], run: RunContext
) -> StageOutcome:
    """Score and sample every model, then write results and comparisons."""
    budget = run.experiment.budget
    n_tokens = budget["train"].n_tokens + budget["tune"].n_tokens
    costs: dict[str, ModelCost] = {}
    sampler = TextSampler(run.experiment.dataset, run.config.data.block_size, run.config.seed)
    for model, measurement in _models(run, before):
        use = ModelUse(run.folder, model.name)
        _score(run, model, use)
        _sample(run, model, sampler, use)
        costs[model.name] = _cost(model, n_tokens, measurement, use)
    scores = run.folder.compact("scores")
    run.folder.compact("samples")
    config = run.config
    # Pairs of floors, and pairs with the uniform model, decide nothing.
    pairs = [
        (model_a, model_b)
        for model_a, model_b in combinations(
            reversed(ordered_models(list(costs), config.families)), 2
        )
        if model_a not in FLOORS and model_b != "uniform"
    ]
    with run.reporter.task("confidence intervals", total=1 + len(pairs)) as task:
        bootstrap = config.analysis.of(scores, seed=config.seed)
        results = bootstrap.summarize(costs, searched=config.families)
        run.folder.write_rows("results", results)
        rows = []
        for done, (model_a, model_b) in enumerate(pairs, 1):
            task.update(done, f"{model_a} against {model_b}")
            rows += bootstrap.compare(model_a, model_b)
        run.folder.write_rows("comparisons", rows)
    notes: dict[str, Any] = {"models": titles}
    notes |= {"optimism": winners_optimism(run.manifest.get("best", {}), results)}
    return StageOutcome((), notes, tuple(run.folder.table(table) for table in _TABLES))


def _models(run: RunContext, stages: Sequence[Stage]) -> Iterator[ModelAndCost]:
    """Yield every model with its cost, one in memory at a time."""
    budget, vocab_size = run.experiment.budget, run.experiment.dataset.vocab_size
    splits = (budget["train"], budget["tune"])
    fits: tuple[Callable[[], LanguageModel], ...] = (
        lambda: Uniform(vocab_size),
        lambda: Unigram.fit(splits, vocab_size),
        lambda: Bigram.fit(splits, vocab_size),
        lambda: KneserNeyFloor.fit(
            splits, vocab_size, workspace=run.experiment.libraries, reporter=run.reporter
        ),
    )
    for fit in fits:
        with run.monitor.window() as window:
            model = fit()
        yield model, window.measurement
    for stage in stages:
        if stage.model is not None and stage.name in run.records:
            yield stage.model(run)


def _score(run: RunContext, model: LanguageModel, use: ModelUse) -> None:
    """Score a model on validation and test unless its scores are stored."""
    if run.folder.table("scores").exists():
        return
    parts = run.folder.parts("scores", model.name)
    dataset = run.experiment.dataset
    for part, name in enumerate(("validation", "test")):
        if parts.path(part).exists():
            continue
        with use.measured("scoring", run.monitor) as n_tokens:
            scores = score_split(
                model,
                dataset.splits[name],
                dataset.tokenizer.token_bytes,
                run_id=run.run_id,
                seed=run.config.seed,
                reporter=run.reporter,
            )
            n_tokens.append(dataset.splits[name].n_tokens)
        parts.write_table(part, scores)


def _sample(run: RunContext, model: LanguageModel, sampler: TextSampler, use: ModelUse) -> None:
    """Let a model write its sample of text unless that is stored."""
    parts = run.folder.parts("samples", model.name)
    if run.folder.table("samples").exists() or parts.paths():
        return
    with run.reporter.task(f"text of {model.name}", total=1) as task:
        with use.measured("generation", run.monitor) as n_tokens:
            columns = sampler.columns(model)
            n_tokens.append(columns["n_tokens"])
        row = {"run_id": run.run_id, "seed": run.config.seed, **columns}
        parts.write(0, [row])
        task.update(1)


def _cost(model: LanguageModel, train_tokens: int, spent: Measurement, use: ModelUse) -> ModelCost:
    return ModelCost(
        train_tokens=None if model.name == "uniform" else train_tokens,
        stored_bytes=model.stored_bytes,
        energy_j=spent.energy_j,
        energy_source=spent.energy_source,
        estimated=spent.estimated,
        duration_s=spent.duration_s,
        cpu_s=spent.cpu_s,
        **use.columns(),
    )


def _conclude(run: RunContext) -> None:
    """Write the energy of all stages, and the report."""
    run.folder.write_rows("energy", energy_rows(run))
    report_page(load_run(run.folder.path)).write(run.folder)


def energy_rows(run: RunContext) -> list[dict[str, Any]]:
    """Return the rows of the table `energy`, one per stage and device."""
    rows: list[dict[str, Any]] = []
    for stage, record in run.records.items():
        duration_s = record.measurement.duration_s
        # A row without joules still says how long a stage took.
        devices = record.measurement.devices or (DeviceEnergy("none", None, "", False),)
        for device in devices:
            # not the processor's joules alone where the GPU's are missing
            energy_j = None if record.measurement.energy_j is None else device.energy_j
            rows.append(
                {
                    "run_id": run.run_id,
                    "seed": run.config.seed,
                    "stage": stage,
                    "device": device.device,
                    "energy_j": energy_j,
                    "duration_s": duration_s,
                    "mean_power_w": None if energy_j is None else energy_j / duration_s,
                    "energy_source": device.source or None,
                    "estimated": device.estimated if device.source else None,
                    "reason": device.reason or None,
                    "reused": record.owner != run.uid,
                }
            )
    return rows
