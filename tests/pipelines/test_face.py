"""The commands as functions: `from pipelines import run`."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml

import pipelines
from clso.artifacts import Run
from clso.errors import ConfigError
from pipelines import ablate, prepare, run, savings, tune
from pipelines.config import load_config, read_config
from pipelines.studies import STUDIES


def test_a_function_reuses_what_the_command_has_made(
    smoke: Run, out: Path, smoke_yaml: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(out.parent)
    again = run(smoke_yaml, out=out.name)
    assert again.path == smoke.path
    assert again.results.equals(smoke.results)


def test_a_path_a_mapping_and_a_configuration_are_the_same_run(
    smoke: Run, out: Path, smoke_yaml: str
) -> None:
    sections = yaml.safe_load(Path(smoke_yaml).read_text())
    for source in (smoke_yaml, Path(smoke_yaml), load_config(smoke_yaml)):
        assert prepare(source, out=out).path == smoke.path
    made = prepare(sections, out=out)
    assert made.run_id == smoke.run_id.replace("smoke-", "run-")
    assert "name" not in sections


def test_overrides_are_given_by_dotted_path_and_leave_the_mapping_alone() -> None:
    sections = MappingProxyType({"data": MappingProxyType({"block_size": 64})})
    config = read_config(sections, {"seed": 3, "data.train_tokens": 16_000, "name": "mine"})
    assert (config.name, config.seed, config.data.block_size) == ("mine", 3, 64)
    assert config.data.train_tokens == 16_000
    assert "train_tokens" not in sections["data"]
    assert read_config(config, {"seed": 4}).seed == 4
    assert read_config(config) is config


@pytest.mark.parametrize(
    ("source", "overrides", "said"),
    [
        (7, None, "is of type int, expected the path of a YAML file"),
        (["seed"], None, "is of type list, expected"),
        ({}, ["seed=1"], "expected a mapping of dotted paths"),
        ({}, {1: 2}, "expected a mapping of dotted paths"),
        ({}, {"sed": 1}, "sed: unknown key; did you mean 'seed'"),
        ({"seed": 1}, {"seed.a": 1}, "seed is a value, not a section"),
        ("nowhere.yaml", None, "there is no configuration nowhere.yaml"),
    ],
)
def test_mistakes_are_told_before_any_work(
    tmp_path: Path,
    source: Any,  # noqa: ANN401 - mistakes of any type
    overrides: Any,  # noqa: ANN401 - mistakes of any type
    said: str,
) -> None:
    with pytest.raises(ConfigError, match=said):
        run(source, overrides, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_study_takes_a_mapping_and_returns_the_run_with_its_table(
    smoke: Run, out: Path, smoke_yaml: str
) -> None:
    del smoke  # its data set and library are there already
    sections = yaml.safe_load(Path(smoke_yaml).read_text())
    heat = {"base": 0.1, "levels": {0.1: {}, 0.3: {"search.mutation_rate": 0.3}}}
    overrides = {
        "families": ["gpt"],
        "search.mutation_rate": 0.1,
        "ablate": {"evaluations": 8, "factors": {"heat": heat}},
    }
    studied = ablate(sections, overrides, families=["gpt"], seeds=2, out=out)
    assert studied.path.parent == out / "runs"
    rows = studied.ablations.to_pylist()
    seed = studied.config["seed"]
    assert {(row["arm"], row["seed"]) for row in rows} == {
        (arm, seed + number) for arm in ("base", "heat=0.3") for number in (0, 1)
    }
    assert {row["evaluations"] for row in rows} == {8}


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_tells_mistakes_before_any_work(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="sed: unknown key; did you mean 'seed'"):
        getattr(pipelines, name)({}, {"sed": 1}, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_study_refuses_what_the_configuration_lacks(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ablate"):
        ablate({"families": ["mixture"]}, out=tmp_path)
    with pytest.raises(ConfigError, match="gpt"):
        savings({"families": ["mixture"]}, families=["gpt"], out=tmp_path)
    with pytest.raises(ConfigError, match="a study tunes one of them"):
        tune({"families": ["gpt", "mixture"]}, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_module_hides_a_function_of_the_face() -> None:
    for name in pipelines.__all__:
        assert importlib.util.find_spec(f"pipelines.{name}") is None, name


def test_every_name_of_the_face_is_a_function_even_after_the_modules_are_imported() -> None:
    for name in pipelines.__all__:
        assert callable(getattr(pipelines, name)), name
        assert getattr(pipelines, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pipelines.nothing  # noqa: B018 - the access is what is tested


def test_importing_the_face_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'prefect', 'transformers'} & {*sys.modules}"
    code = f"import sys; from pipelines import run; sys.exit(bool({heavy}))"
    subprocess.run([sys.executable, "-c", code], check=True)
