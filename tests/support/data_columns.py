"""The columns in which two runs with one seed agree."""

import pyarrow as pa

_MEASURED = {
    "cpu_s",
    "duration_s",
    "energy_j",
    "energy_j_per_token",
    "generation_j_per_token",
    "mean_power_w",
    "reason",
    "scoring_j_per_token",
    "step_energy_j",
    "surrogate_energy_j",
}


def data_columns(table: pa.Table) -> pa.Table:
    """Return a table without the columns that a clock or a meter read."""
    return table.select([name for name in table.column_names if name not in _MEASURED])
