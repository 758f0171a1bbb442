from pathlib import Path

import pytest

from clso.errors import ConfigError
from pipelines.config import Arm, RunConfig, ablation_arms, load_config, savings_arms

GRID = """
families: [gpt, mixture]
ablate:
  evaluations: 20
  factors:
    size: {family: gpt, base: 64, levels: {32: {gpt.library.size: 32}, 64: {}}}
    slots: {family: mixture, base: 16, levels: {16: {}, 8: {mixture.slots: 8}}}
    spectral: {family: gpt, base: 'off', levels: {'on': {gpt.spectral.enabled: true}, 'off': {}}}
    rate: {base: 0.08, levels: {0.02: {search.mutation_rate: 0.02}, 0.08: {}}}
"""


def load(tmp_path: Path, text: str) -> RunConfig:
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    return load_config(path)


def by_name(arms: list[Arm]) -> dict[str, Arm]:
    return {arm.name: arm for arm in arms}


def test_one_factor_varies_at_a_time_around_the_base(tmp_path: Path) -> None:
    arms = by_name(ablation_arms(load(tmp_path, GRID), "gpt"))
    assert list(arms) == ["base", "size=32", "spectral=on", "rate=0.02"]
    assert (arms["base"].factor, arms["base"].level) == (None, None)
    assert (arms["size=32"].factor, arms["size=32"].level) == ("size", "32")
    assert arms["size=32"].config.gpt.library.size == 32
    assert not arms["size=32"].config.gpt.spectral.enabled
    assert arms["spectral=on"].config.gpt.library.size == 64


def test_a_product_has_every_combination_once(tmp_path: Path) -> None:
    config = load(tmp_path, GRID.replace("evaluations: 20", "evaluations: 20\n  design: product"))
    arms = by_name(ablation_arms(config, "mixture"))
    assert list(arms) == ["base", "rate=0.02", "slots=8, rate=0.02", "slots=8"]
    both = arms["slots=8, rate=0.02"]
    assert (both.factor, both.level) == ("slots + rate", "8 + 0.02")
    assert (both.config.mixture.slots, both.config.search.mutation_rate) == (8, 0.02)


def test_an_arm_is_the_run_with_its_overrides_and_nothing_else(tmp_path: Path) -> None:
    config = load(tmp_path, GRID)
    base, *_ = ablation_arms(config, "gpt")
    assert base.config == config.model_copy(update={"ablate": None})


def test_studies_do_not_change_which_run_it_is(tmp_path: Path) -> None:
    plain = load(tmp_path, "families: [gpt, mixture]")
    assert load(tmp_path, GRID).digest() == plain.digest()
    savings = "families: [gpt, mixture]\nsavings: {seeds: 3}"
    assert load(tmp_path, savings).digest() == plain.digest()


def test_surrogates_are_compared_in_the_search_that_the_family_has(tmp_path: Path) -> None:
    own = load(tmp_path, "families: [gpt, mixture]\nmixture: {search: {population: 7}}")
    for arm in savings_arms(own, "mixture"):
        assert arm.config.mixture.search is not None
        assert arm.config.mixture.search.population == 7
    kinds = [arm.config.search.surrogate.kind for arm in savings_arms(own, "gpt")]
    assert kinds == ["none", "gaussian_process", "ridge", "random_forest", "mlp"]


def test_the_reference_comes_first(tmp_path: Path) -> None:
    text = """
savings:
  reference: plain
  arms: {ridge: {surrogate.kind: ridge}, plain: {surrogate.kind: none}}
"""
    assert [arm.name for arm in savings_arms(load(tmp_path, text), "gpt")] == ["plain", "ridge"]


def test_an_arm_may_concern_one_family(tmp_path: Path) -> None:
    text = """
families: [gpt, mixture]
savings:
  reference: plain
  arms: {plain: {surrogate.kind: none}, sees: {family: mixture, surrogate.features: true}}
"""
    config = load(tmp_path, text)
    assert [arm.name for arm in savings_arms(config, "gpt")] == ["plain"]
    assert [arm.name for arm in savings_arms(config, "mixture")] == ["plain", "sees"]
    assert savings_arms(config, "mixture")[1].config.search.surrogate.features


def test_an_arm_may_have_a_method_or_mutate_alone(tmp_path: Path) -> None:
    text = """
families: [gpt, mixture]
savings:
  reference: plain
  arms:
    plain: {surrogate.kind: none}
    predicted: {method: predicted_best, surrogate.kind: ridge, surrogate.normal_scores: true}
    tpe: {family: mixture, method: tpe}
    mutation: {crossover_rate: 0.0}
"""
    config = load(tmp_path, text)
    arms = by_name(savings_arms(config, "mixture"))
    assert [arm.method for arm in arms.values()] == [None, "predicted_best", "tpe", None]
    assert arms["predicted"].config.search.surrogate.normal_scores
    assert arms["mutation"].config.search.crossover_rate == 0.0
    assert "tpe" not in by_name(savings_arms(config, "gpt"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("size: 32}", "siz: 32}", r"ablate.factors.size.levels.32: .*\n.*did you mean 'size'"),
        ("gpt.library.size: 32", "gpt.library.size.x: 32", "is a value, not a section"),
        ("size: 32}", "size: 1}", "levels.32: 1 mistake"),
        ("64: {}", "32: {}", "given twice"),
        ("64: {}", "'32': {}", "two entries have the same name"),
        ("base: 64", "base: 63", "base is '63', expected one of the levels 32, 64"),
        ("base: 64, ", "", "ablate.factors.size.base: missing"),
        ("{'on':", "{on:", "a name is read as true; quote it"),
        ("evaluations: 20", "seeds: 3", "ablate.evaluations: missing"),
        ("evaluations: 20", "evaluations: 20\n  seeds: 1", "ablate.seeds: .*2"),
        (", 64: {}", "", "levels: .*at least 2"),
    ],
)
def test_a_grid_that_is_wrong_is_refused_by_name(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in GRID
    with pytest.raises(ConfigError, match=said):
        ablation_arms(load(tmp_path, GRID.replace(old, new, 1)), "gpt")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("{arms: {a: {population: 8}, b: {}}, reference: a}", r"only surrogate\.\*, fidelity\.\*"),
        ("{reference: nobody}", "reference is 'nobody', expected one of the arms unfiltered"),
        ("{seeds: 1}", "savings.seeds: .*2"),
        ("{arms: {a: {}, b: {family: bert}}, reference: a}", "arm 'b' has family 'bert', expected"),
        ("{arms: {a: {family: gpt}, b: {}}, reference: a}", "arm 'a' is the reference, of every"),
        ("{arms: {a: {surrogate.knd: mlp}, b: {}}, reference: a}", "did you mean 'kind'"),
        ("{arms: {a: {mutation_rate: 0.1}, b: {}}, reference: a}", "and crossover_rate may differ"),
        (
            "{arms: {a: {}, b: {method: annealing}}, reference: a}",
            "arm 'b' has method 'annealing', expected predicted_best or tpe or smac",
        ),
        ("{arms: {a: {}, b: {method: [tpe]}}, reference: a}", r"arm 'b' has method \['tpe'\]"),
        ("{arms: {a: {method: tpe}, b: {}}, reference: a}", "drop its `method`"),
        (
            "{arms: {a: {}, b: {method: tpe, fidelity.kind: racing}}, reference: a}",
            "'fidelity.kind', but its method tpe ignores the settings of the genetic algorithm",
        ),
        (
            "{arms: {a: {}, b: {method: tpe, crossover_rate: 0.0}}, reference: a}",
            r"only surrogate\.\* may stand beside `method`",
        ),
    ],
)
def test_a_comparison_of_what_spares_that_is_wrong_is_refused(
    tmp_path: Path, section: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        savings_arms(load(tmp_path, f"savings: {section}"), "gpt")


def test_without_a_grid_or_a_factor_there_is_nothing_to_vary(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no section `ablate`"):
        ablation_arms(load(tmp_path, ""), "gpt")
    only = "ablate: {evaluations: 9, factors: {s: {family: gpt, base: a, levels: {a: {}, b: {}}}}}"
    with pytest.raises(ConfigError, match=r"no factor of .* concerns the family mixture"):
        ablation_arms(load(tmp_path, only), "mixture")


def test_the_shipped_grid_makes_valid_arms() -> None:
    config = load_config(Path(__file__).parents[2] / "configs" / "ablate.yaml")
    gpt, mixture = (by_name(ablation_arms(config, family)) for family in ("gpt", "mixture"))
    sizes = [gpt[f"library size={size}"].config.gpt.library.size for size in (32, 128, 256)]
    assert sizes == [32, 128, 256]
    assert gpt["families=block sparse"].config.gpt.library.families[0].family == "block_sparse"
    assert mixture["class functions=off"].config.mixture.library.class_maps == ()
    assert len(savings_arms(config, "mixture")) >= 3
