"""The smallest configuration with every stage and study, and the data that its commands make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from data_columns import data_columns
from tiny_studies import TINY

from clso.artifacts import load_run

__all__ = ["COMMANDS", "difference", "tables", "write_config"]

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "run": (),
    "tune": (),
    "ablate": ("--family", "gpt"),
    "savings": ("--family", "mixture"),
    "pareto": ("--family", "mixture", "--population", "8", "--generations", "3"),
}
"""Commands that resume, with their options for this configuration."""

_MORE = """
data: {fractions: {train: 0.97, tune: 0.01, validation: 0.01, test: 0.01}}
search: {generations: 3, finalists: 2}
mixture:
  search: {population: 6, generations: 3, surrogate: {kind: ridge, start: 1}}
baseline:
  learning_rates: [3.0e-3]
  batch_sizes: [16]
  eval_points: 2
  extend: 0
  warm_start: {enabled: true, learning_rates: [2.0e-3], eval_points: 2}
opponents:
  models:
    - {network: lstm, n_layer: 1, n_embd: 8, learning_rates: [2.0e-2], batch_sizes: [16],
       dropouts: [0.1], weight_decays: [0.1], passes: [1], extend: 0}
analysis: {resamples: 100}
"""
_METERS = frozenset({"energy", "importances"})
_MEASURED = frozenset({"wall_s", "datetime_start", "datetime_complete"})


def write_config(path: Path, **sections: object) -> Path:
    """Write the configuration as a YAML file, with other sections in place of its own."""
    values = yaml.safe_load(TINY)
    for name, section in yaml.safe_load(_MORE).items():
        values[name] = {**values.get(name, {}), **section}
    path.write_text(yaml.safe_dump(values | sections))
    return path


def tables(out: Path) -> dict[str, pa.Table]:
    """Return the data of every table of an output folder's only run and study, by name."""
    found = {}
    for kind in ("runs", "studies"):
        for folder in sorted((out / kind).glob("[!.]*/")):
            run = load_run(folder)
            for path in sorted(folder.glob("*.parquet")):
                if path.stem not in _METERS:
                    table = data_columns(run.table(path.stem))
                    if path.stem == "trials":
                        table = _without_repeated(table)
                    kept = [name for name in table.column_names if name not in _MEASURED]
                    found[f"{kind}/{path.stem}"] = table.select(kept)
    return found


def _without_repeated(trials: pa.Table) -> pa.Table:
    """Return trials without those that died and were repeated under another number."""
    lasting = trials.filter(pc.field("state") != "fail")
    return lasting.sort_by("params").drop_columns(["number", "retry_of"])


def difference(
    found: Mapping[str, pa.Table], expected: Mapping[str, pa.Table], *, rounding: float = 0.0
) -> str:
    """Return how the data of two output folders differ; empty: they do not.

    `rounding` is the share by which numbers may differ.
    """
    if found.keys() != expected.keys():
        return f"tables {sorted(found)} instead of {sorted(expected)}"
    for name, table in expected.items():
        if found[name].num_rows != table.num_rows:
            return f"{name}: {found[name].num_rows} rows instead of {table.num_rows}"
        for column in table.column_names:
            own, other = (one[name][column].combine_chunks() for one in (found, expected))
            if rounding and pa.types.is_floating(own.type):
                pairs = (one.to_numpy(zero_copy_only=False) for one in (own, other))
                is_same = np.allclose(*pairs, rtol=rounding, equal_nan=True)
            else:
                is_same = own.equals(other)
            if not is_same:
                return f"{name}.{column} differs"
    return ""
