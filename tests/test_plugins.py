"""Names that other packages add, found through entry points."""

from pathlib import Path

import pytest
from installed_package import install_package

from clso.errors import ConfigError
from clso.plugins import Registry

GROUP = "clso.test_group"


@pytest.fixture
def registry() -> Registry[int]:
    return Registry(GROUP, {"two": 2, "one": 1})


def test_builtins_need_no_entry_point(registry: Registry[int]) -> None:
    assert registry.get("one") == 1
    assert registry.names() == ("two", "one")
    assert registry.origin("one") == "CLSO"


def test_a_plugin_is_found_by_its_name(
    registry: Registry[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {GROUP: {"seven": "plugin_numbers:SEVEN", "five": "plugin_numbers:FIVE"}}
    source = {"plugin_numbers": "SEVEN, FIVE = 7, 5"}
    install_package(monkeypatch, tmp_path, "plugin-numbers", source, points)
    assert registry.names() == ("two", "one", "five", "seven")
    assert registry.get("seven") == 7
    assert registry.origin("seven") == "plugin-numbers 1.0"


def test_a_plugin_is_imported_once_and_only_when_its_name_is_asked_for(
    registry: Registry[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = {
        "plugin_lazy": f"""
        with open({str(tmp_path / "imports")!r}, "a") as log:
            log.write("x")
        NINE = object()
        """
    }
    points = {GROUP: {"nine": "plugin_lazy:NINE"}}
    install_package(monkeypatch, tmp_path, "plugin-lazy", source, points)
    assert "nine" in registry.names()
    assert not (tmp_path / "imports").exists()
    assert registry.get("nine") is registry.get("nine")
    assert (tmp_path / "imports").read_text() == "x"


def test_an_unknown_name_lists_the_known_ones_and_where_each_comes_from(
    registry: Registry[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {GROUP: {"eleven": "nowhere:ELEVEN"}}
    install_package(monkeypatch, tmp_path, "plugin-unused", {}, points)
    with pytest.raises(ConfigError, match=r"'three'.*two, one \(CLSO\), eleven \(plugin-unused 1"):
        registry.get("three")
    with pytest.raises(ConfigError, match=r"'three' is not known in clso\.test_group"):
        registry.origin("three")


def test_a_misspelt_name_comes_with_the_nearest_known_one(registry: Registry[int]) -> None:
    with pytest.raises(ConfigError) as raised:
        registry.get("tow")
    assert raised.value.remedy == "did you mean 'two'?"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({}, "ModuleNotFoundError"),
        ({"plugin_broken": "raise RuntimeError('no licence')"}, "RuntimeError: no licence"),
        ({"plugin_broken": ""}, "AttributeError"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_named(
    registry: Registry[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: dict[str, str],
    told: str,
) -> None:
    monkeypatch.delitem(__import__("sys").modules, "plugin_broken", raising=False)
    points = {GROUP: {"broken": "plugin_broken:OBJECT"}}
    install_package(monkeypatch, tmp_path, "plugin-broken", source, points)
    assert registry.get("one") == 1  # it harms only the runs that use it
    with pytest.raises(ConfigError, match=rf"'broken' of plugin-broken 1\.0.*{told}"):
        registry.get("broken")


def test_a_plugin_of_the_wrong_kind_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(name: str, loaded: object) -> None:
        assert name == "three"
        if not callable(loaded):
            raise TypeError("expected something to call")

    points = {GROUP: {"three": "plugin_kind:THREE"}}
    install_package(monkeypatch, tmp_path, "plugin-kind", {"plugin_kind": "THREE = 3"}, points)
    with pytest.raises(ConfigError, match=r"'three' of plugin-kind 1\.0.*something to call"):
        Registry(GROUP, {"one": print}, check=check).get("three")


def test_a_plugin_with_the_name_of_a_builtin_is_refused(
    registry: Registry[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {GROUP: {"one": "plugin_clash:ONE"}}
    install_package(monkeypatch, tmp_path, "plugin-clash", {"plugin_clash": "ONE = 3"}, points)
    with pytest.raises(ConfigError, match=r"plugin-clash 1\.0 offers 'one'.*that CLSO already has"):
        registry.get("one")


def test_two_plugins_with_one_name_are_refused(
    registry: Registry[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("plugin-first", "plugin-second"):
        install_package(monkeypatch, tmp_path, name, {}, {GROUP: {"six": "nowhere:SIX"}})
    with pytest.raises(ConfigError, match=r"plugin-(first|second) 1\.0 offers 'six'.*plugin-"):
        registry.names()
