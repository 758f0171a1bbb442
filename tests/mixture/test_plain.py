"""Basis functions that other packages add."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from installed_package import install_package
from own_functions import Echo

from clso.errors import ArtifactError, ConfigError, WorkError
from clso.mixture import FittingText, PlainFunction
from clso.mixture.columns import Columns
from clso.mixture.costed import FunctionCost
from clso.mixture.function import CountedFunction
from clso.mixture.specification import FunctionSpec, fit_functions

GROUP = "clso.basis_functions"
VOCAB = 7
TEXT = [0, 1, 2, 1, 0, 1, 2, 1, 4, 5, 4, 6]
SOURCE = """
    from own_functions import Echo
    from clso.mixture import PlainFunction
    import numpy as np

    class Wrong(Echo):
        def __init__(self, how: str) -> None:
            super().__init__(1)
            self.how = how

        def distribution(self, history):
            p = super().distribution(history)
            return {"sum": 2 * p, "negative": p - p[-1] * 2, "short": p[1:], "fine": p}[self.how]

        def target_probabilities(self, inputs, targets):
            p = super().target_probabilities(inputs, targets)
            return p * 0.9 if self.how == "fine" else p

    class Classes(Echo):
        def __init__(self, classes: str = "k3", back: int = 1, rate: float = 0.5) -> None:
            super().__init__(back)
            self.class_maps = (classes,)

        def fit(self, text):
            (name,) = self.class_maps
            return {**super().fit(text), "classes": text.class_map(name)}

    class NoFunction:
        pass
    """


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        "echo": "own_functions:Echo",
        "wrong": "plugin_functions:Wrong",
        "classes": "plugin_functions:Classes",
        "nothing": "plugin_functions:NoFunction",
    }
    install_package(
        monkeypatch, tmp_path, "plugin-functions", {"plugin_functions": SOURCE}, {GROUP: points}
    )


def fit(name: str, text_stream: type, text: list[int] = TEXT) -> CountedFunction:
    maps = {"k3": np.arange(VOCAB, dtype=np.uint8) % 3}
    (function,) = fit_functions([name], [text_stream(text)], VOCAB, maps)
    return function


@pytest.mark.parametrize("name", ["echo(1)", "echo(3)", "classes", "classes(back=2)"])
@pytest.mark.parametrize("text", [TEXT, [], [3]])
def test_a_plugins_function_is_under_contract(
    name: str, text: list[int], text_stream: type, hold_to_contract: Callable[..., None]
) -> None:
    hold_to_contract(lambda: fit(name, text_stream, text), VOCAB, load=FunctionSpec.load)


def test_a_plugins_function_has_columns_and_a_cost(text_stream: type) -> None:
    functions = fit_functions(["unigram", "echo(1)", "kn(1)"], [text_stream(TEXT)], VOCAB, {})
    inputs, targets = np.array([[0, 1, 2]]), np.array([[1, 2, 1]])
    columns = Columns.of(functions, inputs, targets, VOCAB, split="tune")
    assert columns.names == ("unigram", "echo(1)", "kn(1)")
    assert columns.families == ("constant", "plain", "count")
    np.testing.assert_allclose(
        columns.values[1], functions[1].target_probabilities(inputs, targets)[0], rtol=1e-6
    )
    cost = FunctionCost.of(functions[1], 16)
    assert (cost.name, cost.flops_per_token) == ("echo(1)", 3)
    assert cost.arrays == {"echo(1).share": 8, "echo(1).unigram": 8 * VOCAB}


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("echo( 2 )", "echo(2)"),
        ("echo(back=2)", "echo(2)"),
        ("classes()", "classes"),
        ("classes(k3)", "classes"),
        ("classes(k9,rate=1)", "classes(classes=k9,rate=1)"),
        ("classes(rate=1.0,back=2)", "classes(back=2,rate=1)"),
    ],
)
def test_names_are_canonical(written: str, name: str) -> None:
    assert FunctionSpec.parse(written).name == name
    assert FunctionSpec.parse(name).name == name


def test_the_class_maps_it_needs_depend_on_its_arguments() -> None:
    for name, class_maps in (("classes", {"k3"}), ("classes(k9)", {"k9"}), ("echo(1)", set())):
        assert FunctionSpec.parse(name).class_names == class_maps


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("echo", "missing a required argument|missing 1 required positional"),
        ("echo(0)", "back is 0"),
        ("echo(1,2)", "positional argument"),
        ("echo(1,rate=2)", "rate"),
        ("echo(1", "is no function"),
        ("ecko(1)", r"'ecko' is not known.*unigram, kn.*\(CLSO\).*echo \(plugin-functions 1\.0\)"),
        ("nothing(1)", r"'nothing' of plugin-functions.*derive from PlainFunction"),
    ],
)
def test_a_wrong_name_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FunctionSpec.parse(name)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("sum", "sums to 2"),
        ("negative", "has a distribution from -"),
        ("short", r"has a distribution \(6,\), not \(7,\)"),
        ("fine", "gives a target .* and then"),
    ],
)
def test_a_function_that_is_no_distribution_is_refused(
    how: str, message: str, text_stream: type
) -> None:
    function = fit(f"wrong({how})", text_stream)
    inputs = np.array([[1, 2], [3, 1]])
    with pytest.raises(WorkError, match=rf"basis function wrong\({how}\).*{message}"):
        Columns.of([function], inputs, np.array([[2, 3], [1, 1]]), VOCAB, split="tune")


def test_a_stored_function_whose_package_is_gone_or_whose_arrays_are_others_is_refused(
    text_stream: type,
) -> None:
    function = fit("echo(2)", text_stream)
    with pytest.raises(ArtifactError, match="'gone' is not known"):
        FunctionSpec.load({"name": "gone(2)", "vocab_size": VOCAB}, {})
    with pytest.raises(ArtifactError, match=r"not those of echo\(3\)"):
        FunctionSpec.load({"name": "echo(3)", "vocab_size": VOCAB}, function.to_arrays())


def test_the_base_class_alone_is_no_function() -> None:
    with pytest.raises(TypeError, match="abstract"):
        PlainFunction()  # type: ignore[abstract]
    assert issubclass(Echo, PlainFunction)
    assert isinstance(FittingText([], VOCAB, {}).unigram.p, np.ndarray)
