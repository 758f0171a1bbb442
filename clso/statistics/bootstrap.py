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
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from scipy import stats

from clso.section import Section
from clso.statistics.scores import Totals

__all__ = [
    "BASELINES",
    "FLOORS",
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

    def interval(self, nll: FloatArray, n_tokens: FloatArray, *, seed: int) -> Interval:
        """Return the percentile interval of `sum(nll) / sum(n_tokens)` over resampled units.

        Both arrays are `(n_units,)`; `nll` holds nats or differences of nats. Both ends are `None`
        for a single unit, which cannot be resampled.
        """
        if len(nll) < 2:
            return None, None

        def ratio(nats: FloatArray, tokens: FloatArray, axis: int = -1) -> FloatArray:
            return np.asarray(nats.sum(axis=axis) / tokens.sum(axis=axis))

        result = stats.bootstrap(
            (nll, n_tokens),
            ratio,
            paired=True,
            vectorized=True,
            method="percentile",
            confidence_level=self.confidence,
            n_resamples=self.resamples,
            batch=max(1, _RESAMPLED_AT_ONCE // len(nll)),
            rng=np.random.default_rng([seed, len(nll)]),
        )
        return float(result.confidence_interval.low), float(result.confidence_interval.high)

    def _of_loss(self, units: pa.Table, seed: int) -> Interval:
        nll, n_tokens = units["nll_sum"].to_numpy(), units["n_tokens_sum"].to_numpy()
        return self.interval(nll, n_tokens.astype(np.float64), seed=seed)

    def compare(
        self, scores: pa.Table, model_a: str, model_b: str, *, seed: int = 0
    ) -> list[dict[str, Any]]:
        """Return two rows of `comparisons`, over documents and over blocks: loss of a minus b.

        Raises:
            ValueError: the two were not scored on the same test targets.
        """
        rows = []
        for unit in _UNITS:
            a, b = _per_unit(scores, model_a, unit), _per_unit(scores, model_b, unit)
            same = a.num_rows > 0 and a.drop_columns("nll_sum").equals(b.drop_columns("nll_sum"))
            if not same:
                raise ValueError(f"{model_a!r} and {model_b!r} were not scored on the same targets")
            difference = a["nll_sum"].to_numpy() - b["nll_sum"].to_numpy()
            n_tokens = a["n_tokens_sum"].to_numpy().astype(np.float64)
            low, high = self.interval(difference, n_tokens, seed=seed)
            rows.append(
                {
                    **_origin(scores),
                    "model_a": model_a,
                    "model_b": model_b,
                    "difference": float(difference.sum() / n_tokens.sum()),
                    "ci_low": low,
                    "ci_high": high,
                    "unit": unit,
                    "n_units": a.num_rows,
                    "resamples": self.resamples,
                    "confidence": self.confidence,
                }
            )
        return rows

    def summarize(
        self,
        scores: pa.Table,
        costs: Mapping[str, ModelCost] | None = None,
        *,
        searched: Sequence[str] = (),
        seed: int = 0,
    ) -> list[dict[str, Any]]:
        """Return a row of `results` for each model that was scored on the test split.

        `ci_low` and `ci_high` are over documents, `block_ci_low` and `block_ci_high` over blocks.
        Models that were also scored on the validation split have a `validation_loss`. A model
        without a cost has nulls for it.
        """
        rows = []
        for model in ordered_models(scores["model"].unique().to_pylist(), searched):
            test, validation = (Totals.of(scores, model, split) for split in ("test", "validation"))
            if test is None:
                continue
            documents, blocks = (_per_unit(scores, model, unit) for unit in _UNITS)
            low, high = self._of_loss(documents, seed)
            block_low, block_high = self._of_loss(blocks, seed)
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
                    "test_documents": documents.num_rows,
                    "test_blocks": blocks.num_rows,
                    **asdict((costs or {}).get(model, ModelCost())),
                }
            )
        return rows


def ordered_models(names: Sequence[str], searched: Sequence[str] = ()) -> list[str]:
    """Return model names in the order of the result table.

    Floors come first, then the built-in families in a fixed order, then the `searched` models in
    the order of the run, then others by alphabet, then baselines.
    """
    order = dict.fromkeys((*FLOORS, *_FAMILIES, *searched))
    others = sorted(set(names) - {*order, *BASELINES})
    return [name for name in (*order, *others, *BASELINES) if name in names]


def _per_unit(scores: pa.Table, model: str, unit: Unit) -> pa.Table:
    chosen = scores.filter((pc.field("model") == model) & (pc.field("split") == "test"))
    # one thread, because the order of float sums decides their last digits
    grouped = chosen.group_by(unit, use_threads=False).aggregate(
        [("nll", "sum"), ("n_tokens", "sum")]
    )
    return grouped.sort_by(unit)


def _origin(scores: pa.Table) -> dict[str, Any]:
    return {name: scores[name][0].as_py() for name in ("run_id", "seed")}
