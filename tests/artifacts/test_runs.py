"""All runs as one table: what is flattened, and what becomes of folders that are no whole run."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clso.artifacts import RunFolder, load_runs, schema
from clso.artifacts.seal import PLACEHOLDER
from clso.artifacts.store import atomic_write_sealed


def result(model: str, loss: float) -> dict[str, object]:
    values = dict.fromkeys(schema("results").names)
    return {
        **values,
        "run_id": "r",
        "seed": 0,
        "model": model,
        "test_loss": loss,
        "perplexity": 2.0,
        "test_tokens": 128,
        "test_documents": 2,
        "test_blocks": 1,
    }


def store(out: Path, name: str, config: dict[str, object], losses: dict[str, float]) -> RunFolder:
    folder = RunFolder(out / "runs" / name)
    stages = {"search": {"status": "done", "at": "2026-01-01"}}
    folder.write_manifest({"run_id": name, "config": config, "stages": stages})
    if losses:
        folder.write_rows("results", [result(*entry) for entry in losses.items()])
    return folder


def test_a_row_has_the_flattened_configuration_and_every_models_results(tmp_path: Path) -> None:
    config = {"name": "a", "seed": 3, "families": ["gpt"], "search": {"population": 8}}
    store(tmp_path, "a-1", config, {"mixture": 4.5, "toy": 5.0})
    store(tmp_path, "b-2", {"name": "b", "seed": 4, "search": {"rate": 0.5}}, {"gpt": 6.0})
    first, second = load_runs(tmp_path).to_pylist()
    assert (first["run_id"], first["name"], first["seed"]) == ("a-1", "a", 3)
    assert first["families"] == '["gpt"]'
    assert (first["search.population"], second["search.population"]) == (8, None)
    assert (first["mixture.test_loss"], first["toy.test_loss"]) == (4.5, 5.0)
    assert (second["gpt.test_loss"], second["mixture.test_loss"]) == (6.0, None)
    assert {"mixture.perplexity", "mixture.energy_j"} <= first.keys()
    assert load_runs(tmp_path / "runs").to_pylist() == [first, second]


def test_values_of_several_types_share_a_column(tmp_path: Path) -> None:
    for number, value in enumerate((1, 0.5, None)):
        store(tmp_path, f"a-{number}", {"rate": value, "kind": value or "auto"}, {})
    table = load_runs(tmp_path)
    assert table["rate"].to_pylist() == [1.0, 0.5, None]
    assert table["kind"].to_pylist() == ["1", "0.5", "auto"]


def test_a_run_is_finished_when_it_has_results_and_all_stages_are_done(tmp_path: Path) -> None:
    store(tmp_path, "a", {}, {"gpt": 6.0})
    store(tmp_path, "b", {}, {})
    folder = store(tmp_path, "c", {}, {"gpt": 6.0})
    stages = {"analyze": {"status": "running", "at": "2026-01-01"}}
    folder.write_manifest({"run_id": "c", "config": {}, "stages": stages})
    status = {row["run_id"]: row["status"] for row in load_runs(tmp_path).to_pylist()}
    assert status == {"a": "finished", "b": "unfinished", "c": "unfinished"}


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"run_id": "x", "schema_version": 1e9}'])
def test_a_damaged_run_has_a_row_that_says_why(tmp_path: Path, text: str) -> None:
    store(tmp_path, "whole", {}, {"gpt": 6.0})
    store(tmp_path, "damaged", {}, {}).manifest_path.write_text(text)
    rows = {row["run_id"]: row for row in load_runs(tmp_path).to_pylist()}
    assert rows["damaged"]["status"] == "damaged"
    assert "manifest.json" in rows["damaged"]["error"]
    assert rows["damaged"]["gpt.test_loss"] is None
    assert rows["whole"]["error"] is None


def test_a_damaged_table_is_told_and_the_configuration_kept(tmp_path: Path) -> None:
    folder = store(tmp_path, "a", {"name": "a"}, {"gpt": 6.0})
    folder.table("results").write_bytes(b"no Parquet")
    (row,) = load_runs(tmp_path).to_pylist()
    assert (row["status"], row["name"]) == ("damaged", "a")
    assert "results" in row["error"]


def test_stages_of_a_foreign_form_are_damage(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs" / "odd")
    folder.write_manifest({"run_id": "odd", "stages": {"search": 1}})
    (row,) = load_runs(tmp_path).to_pylist()
    assert row["status"] == "damaged"


def test_folders_that_are_no_runs_are_left_out_and_nothing_is_an_empty_table(
    tmp_path: Path,
) -> None:
    (tmp_path / "runs" / "notes").mkdir(parents=True)
    table = load_runs(tmp_path)
    assert table.num_rows == 0
    assert table.column_names[:3] == ["run_id", "name", "seed"]
    assert load_runs(tmp_path / "nowhere").num_rows == 0


def test_it_becomes_a_pandas_frame(tmp_path: Path) -> None:
    store(tmp_path, "a", {"name": "a", "seed": 1}, {"gpt": 6.0})
    frame = load_runs(tmp_path).to_pandas()
    assert frame.loc[0, "gpt.test_loss"] == 6.0
    assert frame.loc[0, "path"].endswith("a")


WRONG = st.sampled_from(
    [None, 1, "x", "", [], {}, [1], {"a": 1}, True, 10**30, "\ud800", [[[]]], "-"]
)
MANIFEST = {
    "run_id": "bad-1",
    "seed": 0,
    "uid": "0",
    "data_fingerprint": "0",
    "schema_version": 2,
    "shared": {"prepare": "datasets/0"},
    "stages": {"search": {"status": "done", "at": "2026-01-01"}},
    "config": {"name": "bad", "seed": 0, "families": ["gpt"], "search": {"population": 8}},
    "models": {"gpt": {"title": "crystalline GPT", "family": "gpt"}},
}
PLACES = [
    (name, *inner)
    for name, value in MANIFEST.items()
    for inner in ([()] + [(key,) for key in value] if isinstance(value, dict) else [()])
]


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with a good run."""
    out = tmp_path_factory.mktemp("out")
    store(out, "good-1", {"name": "good", "seed": 3, "families": ["gpt"]}, {"gpt": 5.0})
    return out


@given(st.sampled_from(PLACES), WRONG)
def test_a_run_is_listed_beside_one_with_any_manifest(
    beside: Path, place: tuple[str, ...], wrong: object
) -> None:
    manifest: dict[str, Any] = json.loads(json.dumps(MANIFEST))
    section = manifest
    for name in place[:-1]:
        section = section[name]
    section[place[-1]] = wrong
    text = json.dumps({**manifest, "seal": PLACEHOLDER})
    atomic_write_sealed(beside / "sealed.json", text.encode())
    check_listed(beside, (beside / "sealed.json").read_bytes())


@given(st.binary(max_size=30) | st.sampled_from([b"[" * 100_000, b"9" * 5000, b"null", b"{}"]))
def test_a_run_is_listed_beside_one_whose_manifest_is_none(beside: Path, content: bytes) -> None:
    check_listed(beside, content)


def check_listed(out: Path, content: bytes) -> None:
    path = out / "runs" / "bad-1" / "manifest.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    rows = {Path(row["path"]).name: row for row in load_runs(out).to_pylist()}
    assert rows["good-1"]["status"] == "finished"
    assert rows["bad-1"]["status"] in ("damaged", "unfinished")
    if rows["bad-1"]["status"] == "damaged":
        assert str(path) in rows["bad-1"]["error"]
