"""The columns of every stored table, and how rows become a table.

A schema's name and version stand in the Parquet footer, so that a file says what it is. Units
are in the names (`energy_j`, `duration_s`, `stored_bytes`); losses are nats per token. A null is
"not measured"; a column that is never unmeasured is declared not null.

*Data columns* are all but `duration_s`, `energy_j`, `energy_j_per_token`, `step_energy_j`,
`surrogate_energy_j` and `mean_power_w`: two runs with one seed agree in them, not in what a clock
or a meter read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from clso.artifacts.fields import DURATION, ENERGY, INTERVAL, RUN, always
from clso.artifacts.study_schemas import STUDY_FIELDS

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
MEASURED_COLUMNS = frozenset(
    {
        "duration_s",
        "energy_j",
        "energy_j_per_token",
        "mean_power_w",
        "step_energy_j",
        "surrogate_energy_j",
    }
)


_ARRAY = pa.struct(
    [
        always("name", pa.string()),
        always("dtype", pa.string()),
        always("shape", pa.list_(pa.int32())),
        # 64-bit offsets: a library of large matrices passes 2 GiB in one column
        always("data", pa.large_binary()),
    ]
)

# one row per logged step of each AdamW trial; duration and energy are the trial's so far
_TRAINING = [
    *RUN,
    always("lr", pa.float64()),
    always("schedule", pa.string()),
    always("batch_size", pa.int32()),
    always("dropout", pa.float64()),
    always("passes", pa.int32()),
    always("step", pa.int64()),
    always("tokens", pa.int64()),
    pa.field("train_loss", pa.float64()),
    pa.field("validation_loss", pa.float64()),
    *DURATION,
    *ENERGY,
]

_FIELDS: dict[str, list[pa.Field]] = {
    # one row per individual and generation
    "evaluations": [
        *RUN,
        always("family", pa.string()),
        always("generation", pa.int32()),
        always("individual", pa.int32()),
        always("genome", pa.list_(pa.int32())),
        always("genome_hash", pa.string()),
        always("origin", pa.string()),
        always("status", pa.string()),
        pa.field("predicted_loss", pa.float64()),
        pa.field("predicted_std", pa.float64()),
        pa.field("screening_loss", pa.float64()),
        pa.field("evaluated_loss", pa.float64()),
        pa.field("fidelity", pa.float64()),
        pa.field("tokens", pa.int64()),
        *DURATION,
        *ENERGY,
    ],
    # one row per generation: best_loss is the incumbent's, mean and std are of the generation
    "generations": [
        *RUN,
        always("family", pa.string()),
        always("generation", pa.int32()),
        pa.field("best_loss", pa.float64()),
        pa.field("mean_loss", pa.float64()),
        pa.field("std_loss", pa.float64()),
        always("n_evaluated", pa.int32()),
        always("n_predicted", pa.int32()),
        always("n_cached", pa.int32()),
        always("n_failed", pa.int32()),
        always("n_screened", pa.int32()),
        always("population", pa.int32()),
        always("tokens", pa.int64()),
        always("n_unique", pa.int32()),
        pa.field("mean_hamming", pa.float64()),
        pa.field("surrogate", pa.string()),
        always("n_discarded", pa.int32()),
        always("n_random", pa.int32()),
        pa.field("spared_share", pa.float64()),
        pa.field("spearman", pa.float64()),
        pa.field("topk_recall", pa.float64()),
        *DURATION,
        *ENERGY,
    ],
    "baseline": _TRAINING,
    # the same of AdamW from the found crystalline GPT
    "warm_start": _TRAINING,
    # one row per model
    "results": [
        *RUN,
        always("model", pa.string()),
        pa.field("validation_loss", pa.float64()),
        always("test_loss", pa.float64()),
        *INTERVAL,
        always("perplexity", pa.float64()),
        pa.field("bits_per_byte", pa.float64()),
        pa.field("train_tokens", pa.int64()),
        always("test_tokens", pa.int64()),
        *ENERGY,
        *DURATION,
        pa.field("stored_bytes", pa.int64()),
    ],
    # one row per pair of models and unit: test loss of a minus test loss of b
    "comparisons": [
        *RUN,
        always("model_a", pa.string()),
        always("model_b", pa.string()),
        always("difference", pa.float64()),
        *INTERVAL,
        always("unit", pa.string()),
        always("n_units", pa.int64()),
        always("resamples", pa.int64()),
        always("confidence", pa.float64()),
    ],
    # one row per model and (document, block) piece of a split; nll is the sum over its targets
    "scores": [
        *RUN,
        always("model", pa.string()),
        always("split", pa.string()),
        always("document", pa.int64()),
        always("block", pa.int64()),
        always("n_tokens", pa.int32()),
        always("n_bytes", pa.int64()),
        always("nll", pa.float64()),
    ],
    # one row per stage and device; a reused stage keeps its original joules
    "energy": [
        *RUN,
        always("stage", pa.string()),
        always("device", pa.string()),
        pa.field("energy_j", pa.float64()),
        *DURATION,
        pa.field("mean_power_w", pa.float64()),
        pa.field("energy_source", pa.string()),
        pa.field("estimated", pa.bool_()),
        always("reused", pa.bool_()),
    ],
    # one row per structured matrix; `arrays` is its payload, bytes in C order
    "library": [
        always("slot", pa.string()),
        always("index", pa.int32()),
        always("family", pa.string()),
        always("rows", pa.int32()),
        always("columns", pa.int32()),
        always("parameters", pa.string()),
        always("arrays", pa.list_(_ARRAY)),
        always("stored_bytes", pa.int64()),
        always("flops", pa.int64()),
        always("density", pa.float64()),
        always("rank", pa.int32()),
        always("spectral_norm", pa.float64()),
    ],
    # one row per basis function: the targets' probabilities on one split, in order
    "columns": [
        always("index", pa.int32()),
        always("name", pa.string()),
        always("family", pa.string()),
        always("vocab_size", pa.int64()),
        always("probabilities", pa.large_list(pa.float32())),
    ],
    # one row per basis function: what it keeps and what asking it takes
    "function_costs": [
        always("index", pa.int32()),
        always("name", pa.string()),
        always("flops_per_token", pa.int64()),
        always("array_names", pa.list_(pa.string())),
        always("array_bytes", pa.list_(pa.int64())),
    ],
    # one row per document of a data set, in the order of its split's token stream
    "splits": [
        always("document", pa.int64()),
        always("split", pa.string()),
        always("n_bytes", pa.int64()),
        always("n_tokens", pa.int64()),
        always("token_offset", pa.int64()),
    ],
    **STUDY_FIELDS,
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
