"""The columns of every stored table, and how rows become a table.

A schema's name and version stand in the Parquet footer, so that a file says what it is. Units
are in the names (`energy_j`, `duration_s`, `stored_bytes`); losses are nats per token. A null is
"not measured"; a column that is never unmeasured is declared not null.

*Data columns* are all but `duration_s`, `energy_j` and `mean_power_w`: two runs with one seed
agree in them, not in what a clock or a meter read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

__all__ = [
    "MEASURED_COLUMNS",
    "NAME_KEY",
    "SCHEMAS",
    "SCHEMA_VERSION",
    "VERSION_KEY",
    "data_columns",
    "empty_table",
    "schema",
    "table_from_rows",
]

SCHEMA_VERSION = 1
NAME_KEY = b"clso.schema"
VERSION_KEY = b"clso.schema_version"
MEASURED_COLUMNS = frozenset({"duration_s", "energy_j", "mean_power_w"})


def _always(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


_RUN = [_always("run_id", pa.string()), _always("seed", pa.int64())]
_DURATION = [pa.field("duration_s", pa.float64())]
_ENERGY = [
    pa.field("energy_j", pa.float64()),
    pa.field("energy_source", pa.string()),
    pa.field("estimated", pa.bool_()),
]
_INTERVAL = [pa.field("ci_low", pa.float64()), pa.field("ci_high", pa.float64())]
_ARRAY = pa.struct(
    [
        _always("name", pa.string()),
        _always("dtype", pa.string()),
        _always("shape", pa.list_(pa.int32())),
        # 64-bit offsets: a library of large matrices passes 2 GiB in one column
        _always("data", pa.large_binary()),
    ]
)

_FIELDS: dict[str, list[pa.Field]] = {
    # one row per individual and generation
    "evaluations": [
        *_RUN,
        _always("family", pa.string()),
        _always("generation", pa.int32()),
        _always("individual", pa.int32()),
        _always("genome", pa.list_(pa.int32())),
        _always("genome_hash", pa.string()),
        _always("origin", pa.string()),
        _always("status", pa.string()),
        pa.field("predicted_loss", pa.float64()),
        pa.field("predicted_std", pa.float64()),
        pa.field("screening_loss", pa.float64()),
        pa.field("evaluated_loss", pa.float64()),
        pa.field("fidelity", pa.float64()),
        pa.field("tokens", pa.int64()),
        *_DURATION,
        *_ENERGY,
    ],
    # one row per generation: best_loss is the incumbent's, mean and std are of the generation
    "generations": [
        *_RUN,
        _always("family", pa.string()),
        _always("generation", pa.int32()),
        pa.field("best_loss", pa.float64()),
        pa.field("mean_loss", pa.float64()),
        pa.field("std_loss", pa.float64()),
        _always("n_evaluated", pa.int32()),
        _always("n_predicted", pa.int32()),
        _always("n_cached", pa.int32()),
        _always("n_failed", pa.int32()),
        _always("n_unique", pa.int32()),
        pa.field("mean_hamming", pa.float64()),
        pa.field("spearman", pa.float64()),
        pa.field("topk_recall", pa.float64()),
        *_DURATION,
        *_ENERGY,
    ],
    # one row per logged step of each AdamW trial; duration and energy are the trial's so far
    "baseline": [
        *_RUN,
        _always("lr", pa.float64()),
        _always("schedule", pa.string()),
        _always("batch_size", pa.int32()),
        _always("dropout", pa.float64()),
        _always("passes", pa.int32()),
        _always("step", pa.int64()),
        _always("tokens", pa.int64()),
        pa.field("train_loss", pa.float64()),
        pa.field("validation_loss", pa.float64()),
        *_DURATION,
        *_ENERGY,
    ],
    # the same of AdamW from the found crystalline GPT
    "warm_start": [
        *_RUN,
        _always("lr", pa.float64()),
        _always("schedule", pa.string()),
        _always("batch_size", pa.int32()),
        _always("dropout", pa.float64()),
        _always("passes", pa.int32()),
        _always("step", pa.int64()),
        _always("tokens", pa.int64()),
        pa.field("train_loss", pa.float64()),
        pa.field("validation_loss", pa.float64()),
        *_DURATION,
        *_ENERGY,
    ],
    # one row per evaluation of a search that lowered its loss, and its last; held_back_loss is that
    # of the same genome on validation blocks that no search read
    "rivals": [
        *_RUN,
        _always("family", pa.string()),
        _always("method", pa.string()),
        _always("evaluations", pa.int64()),
        _always("loss", pa.float64()),
        _always("held_back_loss", pa.float64()),
    ],
    # one row per model
    "results": [
        *_RUN,
        _always("model", pa.string()),
        pa.field("validation_loss", pa.float64()),
        _always("test_loss", pa.float64()),
        *_INTERVAL,
        _always("perplexity", pa.float64()),
        pa.field("bits_per_byte", pa.float64()),
        pa.field("train_tokens", pa.int64()),
        _always("test_tokens", pa.int64()),
        *_ENERGY,
        *_DURATION,
        pa.field("stored_bytes", pa.int64()),
    ],
    # one row per pair of models and unit: test loss of a minus test loss of b
    "comparisons": [
        *_RUN,
        _always("model_a", pa.string()),
        _always("model_b", pa.string()),
        _always("difference", pa.float64()),
        *_INTERVAL,
        _always("unit", pa.string()),
        _always("n_units", pa.int64()),
        _always("resamples", pa.int64()),
        _always("confidence", pa.float64()),
    ],
    # one row per model and (document, block) piece of a split; nll is the sum over its targets
    "scores": [
        *_RUN,
        _always("model", pa.string()),
        _always("split", pa.string()),
        _always("document", pa.int64()),
        _always("block", pa.int64()),
        _always("n_tokens", pa.int32()),
        _always("n_bytes", pa.int64()),
        _always("nll", pa.float64()),
    ],
    # one row per stage and device; a reused stage keeps its original joules
    "energy": [
        *_RUN,
        _always("stage", pa.string()),
        _always("device", pa.string()),
        pa.field("energy_j", pa.float64()),
        *_DURATION,
        pa.field("mean_power_w", pa.float64()),
        pa.field("energy_source", pa.string()),
        pa.field("estimated", pa.bool_()),
        _always("reused", pa.bool_()),
    ],
    # one row per trial of a study
    "trials": [
        *_RUN,
        _always("study", pa.string()),
        _always("number", pa.int32()),
        _always("state", pa.string()),
        _always("is_best", pa.bool_()),
        pa.field("loss", pa.float64()),
        _always("seed_losses", pa.list_(pa.float64())),
        _always("search_losses", pa.list_(pa.float64())),
        _always("evaluations", pa.int64()),
        *_DURATION,
        *_ENERGY,
        _always("params", pa.string()),
        pa.field("retry_of", pa.int32()),
        pa.field("error", pa.string()),
    ],
    # one row per objective, method and tuned dimension of a study
    "importances": [
        *_RUN,
        _always("study", pa.string()),
        _always("objective", pa.string()),
        _always("evaluator", pa.string()),
        _always("parameter", pa.string()),
        _always("importance", pa.float64()),
        _always("n_trials", pa.int32()),
    ],
    # one row per search with the tuned settings or the run's own, on seeds that tuned nothing
    "checks": [
        *_RUN,
        _always("study", pa.string()),
        _always("arm", pa.string()),
        pa.field("loss", pa.float64()),
        pa.field("search_loss", pa.float64()),
        _always("evaluations", pa.int64()),
        *_DURATION,
        *_ENERGY,
    ],
    # one row per structured matrix; `arrays` is its payload, bytes in C order
    "library": [
        _always("slot", pa.string()),
        _always("index", pa.int32()),
        _always("family", pa.string()),
        _always("rows", pa.int32()),
        _always("columns", pa.int32()),
        _always("parameters", pa.string()),
        _always("arrays", pa.list_(_ARRAY)),
        _always("stored_bytes", pa.int64()),
        _always("flops", pa.int64()),
        _always("density", pa.float64()),
        _always("rank", pa.int32()),
        _always("spectral_norm", pa.float64()),
    ],
    # one row per document of a data set, in the order of its split's token stream
    # one row per basis function: the targets' probabilities on one split, in order
    "columns": [
        _always("index", pa.int32()),
        _always("name", pa.string()),
        _always("family", pa.string()),
        _always("vocab_size", pa.int64()),
        _always("probabilities", pa.large_list(pa.float32())),
    ],
    "splits": [
        _always("document", pa.int64()),
        _always("split", pa.string()),
        _always("n_bytes", pa.int64()),
        _always("n_tokens", pa.int64()),
        _always("token_offset", pa.int64()),
    ],
}

SCHEMAS: dict[str, pa.Schema] = {
    name: pa.schema(
        fields, metadata={NAME_KEY: name.encode(), VERSION_KEY: str(SCHEMA_VERSION).encode()}
    )
    for name, fields in _FIELDS.items()
}


def schema(name: str) -> pa.Schema:
    """Return a table's schema, its name and version in the metadata."""
    if name not in SCHEMAS:
        raise ValueError(f"no schema is called {name!r}, expected one of {', '.join(SCHEMAS)}")
    return SCHEMAS[name]


def empty_table(name: str) -> pa.Table:
    """Return a table of the schema without rows."""
    return schema(name).empty_table()


def table_from_rows(rows: Iterable[Mapping[str, Any]], name: str) -> pa.Table:
    """Turn rows into a table; every row has exactly the schema's columns, `None` where allowed.

    Raises:
        ValueError: a row with a column too many or too few, a `None` in a column that is never
            null, or a value of another type. These are mistakes of the program, not of a user.
    """
    expected = schema(name)
    names = set(expected.names)
    checked = []
    for number, row in enumerate(rows):
        if row.keys() != names:
            missing = sorted(names - row.keys())
            unknown = sorted(row.keys() - names)
            raise ValueError(
                f"row {number} of {name!r} does not fit its schema: "
                f"missing {missing}, unknown {unknown}"
            )
        checked.append(row)
    try:
        table = pa.Table.from_pylist(checked, schema=expected)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise ValueError(f"a row of {name!r} has a value of another type: {error}") from error
    for field in expected:
        if not field.nullable and table[field.name].null_count:
            raise ValueError(f"column {field.name!r} of {name!r} has a None, expected a value")
    return table


def data_columns(table: pa.Table) -> pa.Table:
    """Return the table without what a clock or a meter read."""
    return table.select([name for name in table.column_names if name not in MEASURED_COLUMNS])
