"""What a configuration takes: about right where it was measured, and refused where it is absurd."""

from itertools import product
from pathlib import Path

import pytest

from clso.errors import ConfigError
from pipelines import run
from pipelines.config import RunConfig, load_config
from pipelines.extent import Extent, check_extent, usable_memory

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
# gigabytes at the peak of all processes: smoke and quick measured, the other as its file says
MEMORY_GB = {"smoke": 0.58, "quick": 1.15, "gpt2_medium": 6.0}
# on 2 cores, as the files say, smoke measured; the constants of the estimate were fitted to these
MINUTES = {
    "budgets": 8,
    "characters": 15,
    "gpt2_medium": 30,
    "gpt_wide": 30,
    "original_full": 30,
    "original_quick": 15,
    "quick": 4,
    "smoke": 0.4,
}


def shipped(name: str) -> RunConfig:
    return load_config(next(path for path in CONFIGS if path.stem == name))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_no_shipped_configuration_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.extent.usable_memory", lambda: 8_000_000_000)
    check_extent(load_config(path))


@pytest.mark.parametrize("name", MEMORY_GB)
def test_the_estimate_of_memory_is_within_a_factor_of_two(name: str) -> None:
    estimated = Extent.of(shipped(name), 2).memory_bytes / 1e9
    assert 0.5 < estimated / MEMORY_GB[name] < 2


def test_of_models_that_are_trained_in_turn_the_largest_counts() -> None:
    many = [{"network": "lstm", "n_layer": 1, "n_embd": 256 - step} for step in range(20)]
    estimated = [
        Extent.of(shipped("quick").with_overrides({"opponents.models": models}, where="test"), 2)
        for models in (many[:1], many)
    ]
    assert estimated[0].memory_bytes == estimated[1].memory_bytes
    assert estimated[0].duration_s < estimated[1].duration_s


def test_on_a_gpu_trainings_take_no_time_of_cores() -> None:
    config = shipped("gpt_wide")
    hours = [
        Extent.of(config.with_overrides({"runtime.device": device}, where="test"), 2).duration_s
        for device in ("cuda", "cpu")
    ]
    assert hours[0] < 0.5 * hours[1]


@pytest.mark.parametrize("name", MINUTES)
def test_the_estimate_of_time_is_within_a_factor_of_three(name: str) -> None:
    estimated = Extent.of(shipped(name), 2).duration_s / 60
    assert 1 / 3 < estimated / MINUTES[name] < 3


ABSURD = {
    "model.n_embd=100000000": "n_embd",
    "model.n_layer=1000000000": "baseline",
    "search.population=1000000000000": "search.population",
    "gpt.library.size=1000000000": "gpt.library.size",
    "evaluation.batch_size=1000000000": "evaluation.batch_size",
    "baseline.batch_sizes=[1000000000]": "baseline: batch_sizes",
    "{families: [mixture], search: {population: 1000000000000}}": "mixture: population",
}


@pytest.mark.parametrize("override", ABSURD)
def test_what_no_machine_has_is_refused_before_any_work(override: str, tmp_path: Path) -> None:
    if override.startswith("{"):
        values = {"families": ["mixture"], "search.population": 10**12}
    else:
        path, _, text = override.partition("=")
        values = {path: [10**9] if text.startswith("[") else int(text)}
    with pytest.raises(ConfigError, match="this takes about") as told:
        run("smoke", values, out=tmp_path)
    assert ABSURD[override] in str(told.value)
    assert [path.name for path in tmp_path.iterdir()] in ([], [".locks"])


def test_too_long_is_refused_and_the_limits_are_settings() -> None:
    smoke = shipped("smoke")
    long = {"search.generations": 10**9, "search.patience": None}
    with pytest.raises(ConfigError, match=r"this takes about [\d,.e+]+ (GB|hours)"):
        check_extent(smoke.with_overrides(long, where="here"))
    for name in ("memory_gb", "hours"):
        tight = smoke.with_overrides({f"runtime.{name}": 1e-9}, where="here")
        with pytest.raises(ConfigError, match=rf"runtime\.{name} sets another limit"):
            check_extent(tight)
        assert tight.digest() == smoke.digest()


def test_a_limit_of_addresses_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = usable_memory()
    for addresses, expected in ((10**20, machine), (2_900_000_000, 500_000_000), (1000, 0)):
        monkeypatch.setattr(
            "pipelines.extent.resource.getrlimit", lambda _, most=addresses: (most, most)
        )
        assert usable_memory() == expected


def test_the_memory_of_a_control_group_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = usable_memory()
    monkeypatch.setattr("clso.control_groups._PROCESS_GROUPS", tmp_path / "self")
    monkeypatch.setattr("clso.control_groups._GROUPS", tmp_path)
    places = (
        ("0::/job/step", "memory.max"),
        ("0::/job/step", "job/memory.max"),
        ("5:memory:/job", "memory/job/memory.limit_in_bytes"),
    )
    limits = (("max\n", machine), ("1000000\n", 1_000_000), (f"{2**63}\n", machine))
    for (groups, place), (text, expected) in product(places, limits):
        (tmp_path / "self").write_text(groups)
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(text)
        assert usable_memory() == expected
