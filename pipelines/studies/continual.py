r"""The study `clso continual`: a stream of texts, learned one after the other.

Methods:
    genomes     a library and a genome for each text, kept; the genome of the text is switched on
    adamw       one GPT-2 of the same shape, which AdamW trains further on each text
    adamw_each  such a GPT-2 for each text, kept, which AdamW trains from random weights

After each stage every text is scored on blocks spread over its test split. What is kept cannot be
forgotten, but it must be known which text it is. A block's own first half can tell:

.. math:: \hat k = argmin_k \sum_{t \le T/2} nll_k(t), \quad
          inferred = mean_{t > T/2} nll_{\hat k}(t)

or the models are averaged by what they predicted of the block so far, which gives the whole block:

.. math:: averaged = -\frac{1}{T} \log \frac{1}{K} \sum_{k=1}^K \exp(-\sum_t nll_k(t))
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clso.artifacts import Run, remove
from clso.baseline import AdamwGpt2
from clso.baseline.task import FromTrained
from clso.energy import Measurement
from clso.progress import SILENT, Reporter
from clso.scoring import LanguageModel, NllArray
from pipelines.config import ConfigSource, RunConfig, read_config
from pipelines.families import AnyFamily
from pipelines.stages.baseline import sweep_of
from pipelines.studies.engine import Row
from pipelines.studies.texts import (
    Text,
    TextPart,
    TextStudy,
    chosen_family,
    several_texts,
    study_texts,
)

__all__ = ["averaged_loss", "check", "continual", "inferred"]

# Test targets that every model scores, spread evenly; all, if there are fewer.
_SCORED_TOKENS = 16_384
_NOT_INFERRED: Row = {"inferred_loss": None, "inferred_share": None, "averaged_loss": None}
_COSTS = tuple(Measurement(0.0).columns)


def continual(
    config: ConfigSource,
    overrides: Mapping[str, Any] | None = None,
    *,
    out: str | Path = "artifacts",
    family: str | None = None,
    texts: Sequence[str] = (),
    seeds: int = 3,
    reporter: Reporter = SILENT,
) -> Run:
    """Learn texts one after the other, and measure what is forgotten.

    Args:
        config, overrides, out, family, seeds, reporter: as for `transfer`. The section `baseline`
            sets the training of AdamW, which `baseline.enabled: false` leaves out.
        texts: names of the texts; none: all of the section `texts`. Their order is the section's.

    Returns:
        The run, with the table `continual`.

    Raises:
        ConfigError: as for `transfer`, or there is one text only.
        ClsoError: the work cannot be done.
    """
    config = read_config(config, overrides)
    searched, configs = check(config, family, texts)
    return study_texts(
        "continual",
        searched,
        config,
        configs,
        _of_seed,
        seeds=seeds,
        note={"texts": list(configs)},
        out=out,
        reporter=reporter,
    )


def check(
    config: RunConfig,
    family: str | None = None,
    texts: Sequence[str] = (),
    **unchecked: object,
) -> tuple[AnyFamily, dict[str, RunConfig]]:
    """Return the family, and the configurations of the texts in the order of the stream.

    Raises:
        ConfigError: as for `continual`.
    """
    configs = several_texts(config, texts, "a stream has several")
    return chosen_family(config, family), configs


def _of_seed(study: TextStudy, seed: int) -> list[pa.Table]:
    """Return the rows of all methods with one seed, a part for each method."""
    texts = list(study.texts(seed).values())
    own = study.own({text.name: text for text in texts})
    keys: list[Any] = [text.key for text in texts]
    parts = [TextPart(texts[0], "genomes", ["genomes", keys], partial(_genomes, study, texts, own))]
    state = study.run.folder.state / "continual-adamw" / str(seed)
    if study.run.config.baseline.enabled:
        settings = study.run.config.baseline.model_dump(mode="json")
        for method, train in (("adamw", _adamw), ("adamw_each", _adamw_each)):
            of = [method, keys, settings, study.run.experiment.threads]
            rows = partial(train, study, texts, state)
            parts.append(TextPart(texts[0], method, of, rows))
    tables = study.tables("stream", parts)
    remove(state)  # the networks, whose scores are stored now
    return tables


def _genomes(study: TextStudy, texts: Sequence[Text], own: Mapping[str, Row]) -> list[Row]:
    """Return the rows of a genome for each text."""
    models = [
        text.model(text.library, text.halves.searched, tuple(own[text.name]["genome"]))
        for text in texts
    ]
    costs = [{name: own[text.name][name] for name in _COSTS} for text in texts]
    sizes = [study.family.shared_bytes([], models[:count])[1] for count in _stages(texts)]
    return _kept_rows(study, "genomes", texts, models, costs, sizes)


def _adamw_each(study: TextStudy, texts: Sequence[Text], state: Path) -> list[Row]:
    """Return the rows of a network for each text, trained from random weights."""
    trained = [_trained(text, state, [text]) for text in texts]
    models = [model for model, _ in trained]
    sizes = [sum(model.stored_bytes for model in models[:count]) for count in _stages(texts)]
    costs = [spent.columns for _, spent in trained]
    return _kept_rows(study, "adamw_each", texts, models, costs, sizes)


def _adamw(study: TextStudy, texts: Sequence[Text], state: Path) -> list[Row]:
    """Return the rows of one network that is trained on the texts in turn."""
    rows = []
    after_own: dict[str, float] = {}
    for stage in _stages(texts):
        learned = texts[stage - 1]
        model, spent = _trained(learned, state, texts[:stage])
        for text in texts:
            nll = _test_nll(model, text)
            loss = float(nll.mean())
            if text is learned:
                after_own[text.name] = loss
            before = after_own.get(text.name)
            rows.append(
                study.row(
                    text,
                    method="adamw",
                    stage=stage,
                    learned=learned.name,
                    text=text.name,
                    test_loss=loss,
                    forgetting=None if before is None else loss - before,
                    second_half_loss=float(_second_half(nll).mean()),
                    test_tokens=nll.size,
                    stored_bytes=model.stored_bytes,
                    **_NOT_INFERRED,
                    **spent.columns,
                )
            )
    return rows


def _trained(text: Text, state: Path, stream: Sequence[Text]) -> tuple[AdamwGpt2, Measurement]:
    """Return a network trained on the texts of a stream in turn, and the cost of the last one.

    Trained networks are kept in `state`, so an interrupted stream goes on where it stopped. The
    cost is that of the winning trial's steps, as in the baseline of a run.
    """
    homes = [
        state / "-".join(str(number) + earlier.name for number, earlier in enumerate(stream[:stop]))
        for stop in _stages(stream)
    ]
    sweep = sweep_of(
        text.run, text.run.experiment.data_fingerprint, homes[-1] / "trials", homes[-1] / "model"
    )
    if len(stream) == 1:
        result = sweep.from_scratch(text.run.experiment.gpt_shape)
    else:
        start = FromTrained(homes[-2] / "model", text.seed, text.run.experiment.device)
        result = sweep.of(start, {"start": start.fingerprint}, "baseline")
    model = AdamwGpt2.load(homes[-1] / "model", device=text.run.experiment.device)
    return model, result.best.training


def _kept_rows(
    study: TextStudy,
    method: str,
    texts: Sequence[Text],
    models: Sequence[LanguageModel],
    costs: Sequence[Row],
    sizes: Sequence[int],
) -> list[Row]:
    """Return the rows of models that are kept, one for each text, in the order of the stream."""
    nll = {text.name: [_test_nll(model, text) for model in models] for text in texts}
    rows = []
    for stage in _stages(texts):
        for place, text in enumerate(texts):
            known = np.stack(nll[text.name][:stage])
            told = nll[text.name][place] if place < stage else None
            loss, share = inferred(known, place if place < stage else None)
            rows.append(
                study.row(
                    text,
                    method=method,
                    stage=stage,
                    learned=texts[stage - 1].name,
                    text=text.name,
                    test_loss=None if told is None else float(told.mean()),
                    forgetting=None if told is None else 0.0,
                    second_half_loss=None if told is None else float(_second_half(told).mean()),
                    inferred_loss=loss,
                    inferred_share=share,
                    averaged_loss=averaged_loss(known),
                    test_tokens=known[0].size,
                    stored_bytes=sizes[stage - 1],
                    **costs[stage - 1],
                )
            )
    return rows


def inferred(nll: NllArray, right: int | None) -> tuple[float, float | None]:
    """Return the loss on second halves of blocks by the model that is best on their first halves.

    Args:
        nll: of K models, `(K, B, T)`.
        right: the number of the model of this text; `None`: there is none yet.

    Returns:
        Nats per token, and the share of blocks for which the right model was chosen; `None`
        without a right one.
    """
    chosen = nll[:, :, : nll.shape[2] // 2].sum(axis=2).argmin(axis=0)
    loss = float(_second_half(nll)[chosen, np.arange(len(chosen))].mean())
    return loss, None if right is None else float((chosen == right).mean())


def averaged_loss(nll: NllArray) -> float:
    """Return nats per token of models `(K, B, T)` averaged by what they predicted of a block."""
    log_likelihoods = -nll.sum(axis=2)
    averaged = np.logaddexp.reduce(log_likelihoods, axis=0) - math.log(len(nll))
    return float(-averaged.mean() / nll.shape[2])


def _second_half(nll: NllArray) -> NllArray:
    return nll[..., nll.shape[-1] // 2 :]


def _stages(texts: Sequence[Text]) -> range:
    return range(1, len(texts) + 1)


def _test_nll(model: LanguageModel, text: Text) -> NllArray:
    """Return the nats of the scored targets of a text's test split, `(B, T)`."""
    inputs, targets = text.run.experiment.dataset.splits["test"].spread_blocks(_SCORED_TOKENS)
    with text.run.reporter.task(f"scoring {model.name} on {text.name}", len(inputs)) as task:
        nll = model.token_nll(inputs, targets)
        task.update(len(inputs))
    return nll
