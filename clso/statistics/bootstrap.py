r"""Which model is better, and how sure that is: a paired bootstrap over documents or blocks.

Notation: unit u (a document, or a block) has nll_u nats over n_u targets. A loss is a ratio of
sums, :math:`\sum_u \mathrm{nll}_u / \sum_u n_u`. Resampling draws units with replacement, all
models' scores of a unit together, and takes the percentiles of the ratio. Tokens of one document
depend on each other, so documents are the honest unit. Blocks stand beside them because a test
split may hold few documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from clso.section import Section
from clso.statistics.scores import Totals

__all__ = [
    "BASELINES",
    "FLOORS",
    "Bootstrap",
    "BootstrapSettings",
    "ModelCost",
    "ordered_models",
]

FloatArray = npt.NDArray[np.float64]
Unit = Literal["document", "block"]
Interval = tuple[float | None, float | None]
_UNITS: tuple[Unit, ...] = ("document", "block")

FLOORS = ("uniform", "unigram", "bigram", "kneser_ney")
"""Models that only count tokens, the weakest first."""
_FAMILIES = ("gpt", "mixture")
BASELINES = ("opponent", "adamw", "warm_start", "hybrid")
"""Models that gradients have trained, in whole or in part."""

_RESAMPLED_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class ModelCost:
    """The cost of making a model; `None` = not measured, or not applicable.

    Attributes:
        train_tokens: distinct tokens that the model may learn from; `None`: it learns nothing.
        stored_bytes: compact size, without the tokenizer.
        energy_j: all joules spent on the model; for AdamW, of the winning trial's training steps.
        energy_source: the meter, such as `"nvml+rapl"`.
        estimated: whether the meter estimates.
        duration_s: wall time.
        cpu_s: seconds of busy cores.
        scoring_j_per_token: joules to score one token with the finished model.
        generation_j_per_token: joules to write one token with it.
        use_energy_source: the meter of the two.
        use_estimated: whether that meter estimates.
    """

    train_tokens: int | None = None
    stored_bytes: int | None = None
    energy_j: float | None = None
    energy_source: str | None = None
    estimated: bool | None = None
    duration_s: float | None = None
    cpu_s: float | None = None
    scoring_j_per_token: float | None = None
    generation_j_per_token: float | None = None
    use_energy_source: str | None = None
    use_estimated: bool | None = None


class BootstrapSettings(Section):
    """Confidence intervals by bootstrap, and the tables that have them.

    Equal seeds draw equal units, whatever the values.
    """

    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    resamples: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000

    def of(self, scores: pa.Table, *, seed: int = 0) -> Bootstrap:
        """Return the bootstrap of a table `scores`, for several rows of results and comparisons."""
        return Bootstrap(self, scores, seed)

    def interval(self, nll: FloatArray, n_tokens: FloatArray, *, seed: int) -> Interval:
        """Return the percentile interval of `sum(nll) / sum(n_tokens)` over resampled units.

        Both arrays are `(n_units,)`; `nll` holds nats or differences of nats. Both ends are `None`
        for a single unit, which cannot be resampled.
        """
        if len(nll) < 2:
            return None, None
        nats, tokens = self.sums(np.stack([nll, n_tokens], axis=1), seed=seed).T
        return self.ends(nats / tokens)

    def sums(self, values: FloatArray, *, seed: int) -> FloatArray:
        """Return sums of values, `(n_units, m)`, over resampled units, `(resamples, m)`."""
        n_units = len(values)
        rng = np.random.default_rng([seed, n_units])
        at_once = max(1, _RESAMPLED_AT_ONCE // n_units)
        parts = []
        for start in range(0, self.resamples, at_once):
            rows = min(at_once, self.resamples - start)
            drawn = rng.integers(0, n_units, (rows, n_units))
            drawn += n_units * np.arange(rows)[:, None]
            times = np.bincount(drawn.ravel(), minlength=rows * n_units)
            parts.append(times.reshape(rows, n_units).astype(np.float64) @ values)
        return np.concatenate(parts)

    def ends(self, resampled: FloatArray) -> Interval:
        """Return the percentiles of resampled values that are the ends of their interval."""
        tail = (1.0 - self.confidence) / 2.0
        low, high = np.percentile(resampled, [100.0 * tail, 100.0 * (1.0 - tail)])
        return float(low), float(high)

    def compare(
        self, scores: pa.Table, model_a: str, model_b: str, *, seed: int = 0
    ) -> list[dict[str, Any]]:
        """Return two rows of `comparisons`, see `Bootstrap.compare`."""
        return self.of(scores, seed=seed).compare(model_a, model_b)

    def summarize(
        self,
        scores: pa.Table,
        costs: Mapping[str, ModelCost] | None = None,
        *,
        searched: Sequence[str] = (),
        seed: int = 0,
    ) -> list[dict[str, Any]]:
        """Return a row of `results` for each model, see `Bootstrap.summarize`."""
        return self.of(scores, seed=seed).summarize(costs, searched=searched)


@dataclass(frozen=True)
class _Units:
    """The units of models that were scored on the same targets, and sums over resamples of them.

    Attributes:
        n_units: documents or blocks.
        nll: summed nats over resampled units, `(resamples,)`, by model; empty for a single unit.
        n_tokens: summed targets over resampled units, `(resamples,)`.
    """

    n_units: int
    nll: Mapping[str, FloatArray]
    n_tokens: FloatArray


class Bootstrap:
    """Intervals of one table `scores`; models of the same targets are resampled together, once."""

    def __init__(self, settings: BootstrapSettings, scores: pa.Table, seed: int) -> None:
        self._settings = settings
        self._scores = scores
        self._seed = seed
        self._resampled: dict[tuple[Unit, bytes], _Units] = {}

    def compare(self, model_a: str, model_b: str) -> list[dict[str, Any]]:
        """Return two rows of `comparisons`, over documents and over blocks: loss of a minus b.

        Raises:
            ValueError: the two were not scored on the same test targets.
        """
        rows = []
        for unit in _UNITS:
            a, b = self._tables[unit].get(model_a), self._tables[unit].get(model_b)
            if a is None or b is None or not _same_targets(a, b):
                raise ValueError(f"{model_a!r} and {model_b!r} were not scored on the same targets")
            difference = a["nll_sum"].to_numpy() - b["nll_sum"].to_numpy()
            low, high = self._interval(unit, model_a, model_b)
            rows.append(
                {
                    **_origin(self._scores),
                    "model_a": model_a,
                    "model_b": model_b,
                    "difference": float(difference.sum() / a["n_tokens_sum"].to_numpy().sum()),
                    "ci_low": low,
                    "ci_high": high,
                    "unit": unit,
                    "n_units": a.num_rows,
                    "resamples": self._settings.resamples,
                    "confidence": self._settings.confidence,
                }
            )
        return rows

    def summarize(
        self, costs: Mapping[str, ModelCost] | None = None, *, searched: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """Return a row of `results` for each model that was scored on the test split.

        `ci_low` and `ci_high` are over documents, `block_ci_low` and `block_ci_high` over blocks.
        Models that were also scored on the validation split have a `validation_loss`. A model
        without a cost has nulls for it.
        """
        rows, scores = [], self._scores
        for model in ordered_models(scores["model"].unique().to_pylist(), searched):
            test, validation = (Totals.of(scores, model, split) for split in ("test", "validation"))
            if test is None:
                continue
            (low, high), (block_low, block_high) = (self._interval(unit, model) for unit in _UNITS)
            rows.append(
                {
                    **_origin(scores),
                    "model": model,
                    "validation_loss": None if validation is None else validation.loss,
                    "test_loss": test.loss,
                    "ci_low": low,
                    "ci_high": high,
                    "block_ci_low": block_low,
                    "block_ci_high": block_high,
                    "perplexity": test.perplexity,
                    "bits_per_byte": test.bits_per_byte,
                    "test_tokens": test.n_tokens,
                    "test_documents": self._tables["document"][model].num_rows,
                    "test_blocks": self._tables["block"][model].num_rows,
                    **asdict((costs or {}).get(model, ModelCost())),
                }
            )
        return rows

    @cached_property
    def _tables(self) -> dict[Unit, dict[str, pa.Table]]:
        """Sums over each unit of the test split, by unit and model."""
        test = self._scores.filter(pc.field("split") == "test")
        models = test["model"].unique().to_pylist()
        return {unit: {model: _per_unit(test, model, unit) for model in models} for unit in _UNITS}

    def _interval(self, unit: Unit, model: str, minus: str | None = None) -> Interval:
        """Return the interval of a model's loss, or of its difference to another model's."""
        units = self._units(unit, model)
        if units.n_units < 2:
            return None, None
        nll = units.nll[model] if minus is None else units.nll[model] - units.nll[minus]
        return self._settings.ends(nll / units.n_tokens)

    def _units(self, unit: Unit, model: str) -> _Units:
        tables = self._tables[unit]
        own = tables[model]
        n_tokens = own["n_tokens_sum"].to_numpy().astype(np.float64)
        key = unit, own[unit].to_numpy().tobytes() + n_tokens.tobytes()
        if key not in self._resampled:
            alike = {name: table for name, table in tables.items() if _same_targets(table, own)}
            columns = [*(table["nll_sum"].to_numpy() for table in alike.values()), n_tokens]
            values = np.stack(columns, axis=1)
            *nll, tokens = self._settings.sums(values, seed=self._seed).T
            self._resampled[key] = _Units(len(values), dict(zip(alike, nll, strict=True)), tokens)
        return self._resampled[key]


def _same_targets(a: pa.Table, b: pa.Table) -> bool:
    return bool(a.drop_columns("nll_sum").equals(b.drop_columns("nll_sum")))


def ordered_models(names: Sequence[str], searched: Sequence[str] = ()) -> list[str]:
    """Return model names in the order of the result table.

    Floors come first, then the built-in families in a fixed order, then the `searched` models in
    the order of the run, then others by alphabet, then baselines.
    """
    order = dict.fromkeys((*FLOORS, *_FAMILIES, *searched))
    others = sorted(set(names) - {*order, *BASELINES})
    return [name for name in (*order, *others, *BASELINES) if name in names]


def _per_unit(scores: pa.Table, model: str, unit: Unit) -> pa.Table:
    chosen = scores.filter(pc.field("model") == model)
    # one thread, because the order of float sums decides their last digits
    grouped = chosen.group_by(unit, use_threads=False).aggregate(
        [("nll", "sum"), ("n_tokens", "sum")]
    )
    return grouped.sort_by(unit)


def _origin(scores: pa.Table) -> dict[str, Any]:
    return {name: scores[name][0].as_py() for name in ("run_id", "seed")}
