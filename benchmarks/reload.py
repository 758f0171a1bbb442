"""Reloading a million evaluations: the run's Parquet table against the same rows as CSV."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.timing import Comparison, in_turn
from clso.artifacts import read_table, schema, write_table

_ROWS = 1_000_000


def run() -> list[Comparison]:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        parquet, csv = Path(folder, "evaluations.parquet"), Path(folder, "evaluations.csv")
        table = _evaluations(rng)
        write_table(parquet, table, "evaluations")
        table.drop_columns(["genome"]).to_pandas().to_csv(csv, index=False)
        return [
            in_turn(
                "reload a million evaluations",
                ("read_table, all columns", lambda: read_table(parquet, "evaluations")),
                ("pandas.read_csv, without genomes", lambda: pd.read_csv(csv)),
                repeats=3,
            )
        ]


def _evaluations(rng: np.random.Generator) -> pa.Table:
    genes = rng.integers(64, size=(_ROWS, 8), dtype=np.int32)
    made = {
        "run_id": np.repeat("bench", _ROWS),
        "seed": np.zeros(_ROWS, np.int64),
        "family": np.repeat("gpt", _ROWS),
        "generation": np.arange(_ROWS, dtype=np.int32) // 32,
        "individual": np.arange(_ROWS, dtype=np.int32) % 32,
        "genome": list(genes),
        "genome_hash": np.array([f"{value:016x}" for value in range(_ROWS)]),
        "origin": np.repeat("mutation", _ROWS),
        "status": np.repeat("evaluated", _ROWS),
        "energy_source": np.repeat("cpu_model", _ROWS),
        "estimated": np.repeat(True, _ROWS),
    }
    arrays = [
        pa.array(made[field.name], field.type)
        if field.name in made
        else pa.array(rng.random(_ROWS)).cast(field.type, safe=False)
        for field in schema("evaluations")
    ]
    return pa.Table.from_arrays(arrays, schema=schema("evaluations"))
