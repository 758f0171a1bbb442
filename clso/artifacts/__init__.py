"""Stored results: Parquet tables with versioned schemas, written atomically, and run folders."""

from clso.artifacts.folder import CHECKSUMS, check_folder, write_checksums
from clso.artifacts.run import Run, RunFolder, load_run
from clso.artifacts.runs import load_runs, run_rows
from clso.artifacts.schemas import SCHEMA_VERSION, SCHEMAS, schema
from clso.artifacts.store import (
    atomic_file,
    atomic_write_bytes,
    atomic_write_json,
    read_json,
    read_sealed,
    remove,
    write_error,
    write_sealed,
)
from clso.artifacts.tables import Parts, read_table, table_from_rows, table_name, write_table

__all__ = [
    "CHECKSUMS",
    "SCHEMAS",
    "SCHEMA_VERSION",
    "Parts",
    "Run",
    "RunFolder",
    "atomic_file",
    "atomic_write_bytes",
    "atomic_write_json",
    "check_folder",
    "load_run",
    "load_runs",
    "read_json",
    "read_sealed",
    "read_table",
    "remove",
    "run_rows",
    "schema",
    "table_from_rows",
    "table_name",
    "write_checksums",
    "write_error",
    "write_sealed",
    "write_table",
]
