from typing import Any

import pytest

from clso.errors import ConfigError
from clso.mixture.settings import FunctionGridSettings, MixtureSettings
from clso.mixture.specification import FunctionSpec

EMPTY: dict[str, Any] = dict.fromkeys(FunctionGridSettings.model_fields, ())


def test_the_default_grid_has_200_functions_or_more_each_once() -> None:
    names = FunctionGridSettings().function_names()
    assert len(names) >= 200
    assert len(set(names)) == len(names)
    assert all(FunctionSpec.parse(name).name == name for name in names)


def test_every_class_map_in_use_is_configured() -> None:
    grid = FunctionGridSettings()
    assert set(grid.needed_class_maps()) <= set(grid.class_maps)


def test_the_grid_is_a_product() -> None:
    grid = FunctionGridSettings(
        **EMPTY
        | {
            "patterns": ((1,), (1, 3)),
            "class_maps": ("k8",),
            "class_patterns": ((1, 2),),
            "exact": (0, 1, 2),
            "cache_half_lives": (16.0, "inf"),
            "cache_idf": (0.0,),
            "induction_lengths": (2,),
            "induction_decays": (0.9, 1.0),
            "functions": ("kn( 1, 2:k8 )", "kn(1)"),
        }
    )
    assert grid.function_names() == (
        "unigram",
        "kn(1)",
        "kn(1,3)",
        "kn(1:k8,2:k8)",
        "kn(1,2:k8)",
        "cache(16)",
        "cache(inf)",
        "induction(2)",
        "induction(2,decay=1)",
    )
    assert grid.needed_class_maps() == ("k8",)


@pytest.mark.parametrize("name", ["knn(1)", "kn(0)", "cache()", "", "induction(2,decay=7)"])
def test_a_function_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        FunctionSpec.parse(name)
    with pytest.raises(ConfigError):
        FunctionGridSettings(**EMPTY | {"functions": (name,)})


def test_gated_caches_need_their_classes() -> None:
    functions = ("gated(k64)", "cache(8)", "unigram", "kn(1:k32)")
    grid = FunctionGridSettings(**EMPTY | {"functions": functions})
    assert grid.needed_class_maps() == ("k32", "k64")
    with pytest.raises(ConfigError, match="used but not in class_maps"):
        MixtureSettings(library=FunctionGridSettings(class_maps=("k32",), gated_maps=("k64",)))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"trees": ["count1>k96"], "folds": 2}, "k96, which no function needs"),
        ({"trees": ["count1>match"]}, "trees are given, but folds is 0"),
        ({"trees": ["k256>k256.1>k256.2"], "folds": 2}, "16,777,216 buckets, expected 1,000,000"),
        ({"library": {"functions": ["loglinear(shape2)"]}}, "'shape2' is no class map"),
        ({"trees": ["count1>colour"]}, "'colour' is no feature of contexts"),
        ({"folds": 1}, "folds is 1, expected 0, or 2 and more"),
        ({"folds": 2, "crystalline_gpt": True}, "crystalline_gpt needs folds: 0"),
    ],
)
def test_weights_that_cannot_be_fitted_are_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        MixtureSettings(**values)


def test_trees_may_have_the_class_maps_of_functions() -> None:
    assert MixtureSettings(trees=["count1*count2>match>k64"], folds=2).folds == 2
