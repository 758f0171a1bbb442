"""Columns that several tables share."""

from __future__ import annotations

import pyarrow as pa

__all__ = ["DURATION", "ENERGY", "INTERVAL", "RUN", "always"]


def always(name: str, kind: pa.DataType) -> pa.Field:
    """Return a column that is never null."""
    return pa.field(name, kind, nullable=False)


RUN = [always("run_id", pa.string()), always("seed", pa.int64())]
DURATION = [pa.field("duration_s", pa.float64())]
ENERGY = [
    pa.field("energy_j", pa.float64()),
    pa.field("energy_source", pa.string()),
    pa.field("estimated", pa.bool_()),
]
INTERVAL = [pa.field("ci_low", pa.float64()), pa.field("ci_high", pa.float64())]
