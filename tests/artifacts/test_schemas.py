import numpy as np
import pyarrow as pa
import pytest
from data_columns import data_columns

from clso.artifacts import SCHEMA_VERSION, SCHEMAS, schema, table_from_rows
from clso.artifacts.schemas import NAME_KEY, VERSION_KEY, schema_version

COMPARISON = {
    "run_id": "quick-1234",
    "seed": 0,
    "model_a": "gpt",
    "model_b": "adamw",
    "difference": 0.5,
    "ci_low": None,
    "ci_high": None,
    "unit": "document",
    "n_units": 1,
    "resamples": 1000,
    "confidence": 0.95,
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_says_what_it_is(name: str) -> None:
    metadata = schema(name).metadata
    assert metadata[NAME_KEY] == name.encode()
    assert metadata[VERSION_KEY] == schema_version(name).encode()
    assert int(schema_version(name)) >= SCHEMA_VERSION
    assert table_from_rows([], name).num_rows == 0


@pytest.mark.parametrize(
    "name", sorted(set(SCHEMAS) - {"columns", "function_costs", "library", "splits", "standings"})
)
def test_every_table_of_a_run_names_its_run_and_seed(name: str) -> None:
    assert schema(name).names[:2] == ["run_id", "seed"]
    assert not schema(name).field("run_id").nullable


@pytest.mark.parametrize("name", [name for name in SCHEMAS if "energy_j" in schema(name).names])
def test_joules_never_come_without_their_source_and_may_be_unmeasured(name: str) -> None:
    for column in ("energy_j", "energy_source", "estimated"):
        assert schema(name).field(column).nullable


def test_predicted_and_evaluated_losses_are_two_columns() -> None:
    assert {"predicted_loss", "evaluated_loss"} <= set(schema("evaluations").names)


def test_an_unknown_schema_is_named() -> None:
    with pytest.raises(ValueError, match="'trees', expected one of evaluations"):
        schema("trees")


def test_rows_become_a_table_of_the_schema() -> None:
    table = table_from_rows([COMPARISON, {**COMPARISON, "seed": np.int64(3)}], "comparisons")
    assert table.schema.equals(schema("comparisons"), check_metadata=True)
    assert table["seed"].to_pylist() == [0, 3]
    assert table["ci_low"].to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, r"row 1 of 'comparisons'.*unknown \['extra'\]"),
        ({"seed": None}, "'seed' of 'comparisons' has a None"),
        ({"seed": "zero"}, "value of another type"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        table_from_rows([COMPARISON, {**COMPARISON, **change}], "comparisons")


def test_a_missing_column_is_refused_although_it_could_be_null() -> None:
    row = {key: value for key, value in COMPARISON.items() if key != "ci_low"}
    with pytest.raises(ValueError, match=r"missing \['ci_low'\]"):
        table_from_rows([row], "comparisons")


def test_data_columns_leave_out_what_a_clock_or_a_meter_read() -> None:
    left = data_columns(table_from_rows([], "energy")).column_names
    assert left == ["run_id", "seed", "stage", "device", "energy_source", "estimated", "reused"]


def test_schemas_hold_no_unsigned_or_nested_surprises() -> None:
    # what DuckDB, Polars and pandas all read: plain numbers, strings, lists
    for name in set(SCHEMAS) - {"library"}:
        for field in schema(name):
            kind = getattr(field.type, "value_type", field.type)
            plain = {pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string(), pa.bool_()}
            assert kind in plain
