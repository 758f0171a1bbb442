"""Stored results: Parquet tables with a versioned schema, written atomically, reloaded typed."""

from clso.artifacts.run import Run, RunFolder, list_runs, load_run
from clso.artifacts.runs import load_runs
from clso.artifacts.schemas import (
    SCHEMA_VERSION,
    SCHEMAS,
    data_columns,
    empty_table,
    schema,
    table_from_rows,
)
from clso.artifacts.store import (
    append_part,
    atomic_file,
    atomic_write_bytes,
    atomic_write_json,
    compact,
    mark_done,
    part_path,
    read_done,
    read_json,
    read_parts,
    read_table,
    remove,
    write_error,
    write_table,
)

__all__ = [
    "SCHEMAS",
    "SCHEMA_VERSION",
    "Run",
    "RunFolder",
    "append_part",
    "atomic_file",
    "atomic_write_bytes",
    "atomic_write_json",
    "compact",
    "data_columns",
    "empty_table",
    "list_runs",
    "load_run",
    "load_runs",
    "mark_done",
    "part_path",
    "read_done",
    "read_json",
    "read_parts",
    "read_table",
    "remove",
    "schema",
    "table_from_rows",
    "write_error",
    "write_table",
]
