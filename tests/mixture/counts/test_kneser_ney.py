from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clso.errors import ArtifactError, DataError
from clso.mixture.counts import KneserNey, Pattern
from clso.mixture.text import FittingText

Walked = Callable[[KneserNey, np.ndarray], tuple[np.ndarray, np.ndarray]]
VOCAB = 12
MAPS = {
    "three": np.arange(VOCAB) % 3,
    # classes 1 and 4 have no member, class 5 has one
    "odd": np.array([0, 2, 2, 3, 3, 3, 0, 0, 5, 2, 2, 3]),
}
PATTERNS = [
    "kn()",
    "kn(1)",
    "kn(2)",
    "kn(1,2)",
    "kn(1,2,3)",
    "kn(1,3)",
    "kn(1,9)",
    "kn(3,1)",
    "kn(1,2:three)",
    "kn(1:odd,2:three,3:three)",
    "kn(1:three,1)",
    "kn(1:three->three)",
    "kn(1,2:odd->odd)",
    "kn(->odd)",
]

Texts = list[list[int]]
texts = st.lists(
    st.lists(st.integers(0, VOCAB - 2), max_size=60) | st.lists(st.just(3), max_size=40),
    max_size=3,
)


def fit(streams: Texts, patterns: list[str], make_stream: type) -> list[KneserNey]:
    return KneserNey.fit(FittingText([make_stream(s) for s in streams], VOCAB, MAPS), patterns)


@pytest.mark.parametrize("name", PATTERNS)
@settings(max_examples=20, deadline=None)
@given(streams=texts, history=st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=5))
def test_a_distribution_follows_the_definition(
    name: str, streams: Texts, history: list[int], make_stream: type, reference: type
) -> None:
    (function,) = fit(streams, [name], make_stream)
    plain = reference(streams, VOCAB, Pattern.parse(name), MAPS)
    distribution = function.distribution(np.array(history))
    np.testing.assert_allclose(distribution, plain.distribution(history), rtol=1e-12)
    assert abs(distribution.sum() - 1) < 1e-12
    assert (distribution > 0).all()


@pytest.fixture(scope="module")
def text(markov: Callable[..., np.ndarray]) -> np.ndarray:
    return markov(VOCAB, 3000)


@pytest.fixture(scope="module")
def functions(text: np.ndarray, make_stream: type) -> dict[str, KneserNey]:
    made = fit([text[:2000], text[2000:]], PATTERNS, make_stream)
    return {function.name: function for function in made}


@pytest.fixture(scope="module")
def blocks() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    tokens = rng.integers(0, VOCAB, (6, 9))
    return tokens[:, :-1], tokens[:, 1:]


@pytest.mark.parametrize("name", PATTERNS)
class TestContract:
    def test_a_target_has_its_entry_of_the_distribution(
        self, name: str, functions: dict[str, KneserNey], blocks: tuple[np.ndarray, np.ndarray]
    ) -> None:
        inputs, targets = blocks
        probabilities = functions[name].target_probabilities(inputs, targets)
        assert probabilities.shape == inputs.shape
        assert probabilities.dtype == np.float64
        for (b, t), probability in np.ndenumerate(probabilities):
            distribution = functions[name].distribution(inputs[b, : t + 1])
            assert probability == pytest.approx(distribution[targets[b, t]], rel=1e-12)

    def test_the_targets_of_a_position_share_all_mass(
        self, name: str, functions: dict[str, KneserNey], blocks: tuple[np.ndarray, np.ndarray]
    ) -> None:
        inputs, _ = blocks
        total = sum(
            functions[name].target_probabilities(inputs, np.full_like(inputs, y))
            for y in range(VOCAB)
        )
        np.testing.assert_allclose(total, 1.0, rtol=0, atol=1e-12)

    def test_counts_and_levels_follow_the_definition(
        self,
        name: str,
        functions: dict[str, KneserNey],
        text: np.ndarray,
        blocks: tuple[np.ndarray, np.ndarray],
        reference: type,
        walked: Walked,
    ) -> None:
        inputs, _ = blocks
        plain = reference([text[:2000], text[2000:]], VOCAB, Pattern.parse(name), MAPS)
        counts, levels = walked(functions[name], inputs)
        for (b, t), count in np.ndenumerate(counts):
            history = inputs[b, : t + 1].tolist()
            assert count == plain.count(history)
            assert levels[b, t] == plain.matched(history)

    def test_a_position_sees_neither_later_tokens_nor_other_blocks(
        self, name: str, functions: dict[str, KneserNey], blocks: tuple[np.ndarray, np.ndarray]
    ) -> None:
        inputs, targets = blocks
        whole = functions[name].target_probabilities(inputs, targets)
        part = functions[name].target_probabilities(inputs[2:3, :4], targets[2:3, :4])
        assert np.array_equal(whole[2:3, :4], part)

    def test_stored_and_read_again_it_is_the_same_to_the_last_bit(
        self, name: str, functions: dict[str, KneserNey], blocks: tuple[np.ndarray, np.ndarray]
    ) -> None:
        function = functions[name]
        arrays = function.to_arrays()
        reloaded = KneserNey.from_arrays(function.spec(), arrays)
        assert reloaded.name == name
        assert reloaded.stored_bytes == sum(array.nbytes for array in arrays.values())
        assert np.array_equal(
            reloaded.target_probabilities(*blocks), function.target_probabilities(*blocks)
        )
        assert arrays.keys() == reloaded.to_arrays().keys()
        for key, array in reloaded.to_arrays().items():
            assert array.dtype == arrays[key].dtype
            assert np.array_equal(array, arrays[key])

    def test_name_and_family_follow_from_the_pattern(
        self, name: str, functions: dict[str, KneserNey]
    ) -> None:
        function = functions[name]
        assert function.name == name
        assert function.family == ("class" if "three" in name or "odd" in name else "count")
        assert function.stored_bytes > 0

    @pytest.mark.parametrize("outside", [-1, VOCAB])
    def test_a_token_outside_the_vocabulary_is_refused(
        self, name: str, outside: int, functions: dict[str, KneserNey]
    ) -> None:
        with pytest.raises(DataError, match="expected 0 to 11"):
            functions[name].target_probabilities(np.array([[1, outside]]), np.array([[1, 1]]))
        with pytest.raises(DataError, match="expected 0 to 11"):
            functions[name].distribution(np.array([outside]))

    def test_no_blocks_have_no_probabilities(
        self, name: str, functions: dict[str, KneserNey]
    ) -> None:
        none = np.zeros((0, 4), dtype=np.int64)
        assert functions[name].target_probabilities(none, none).shape == (0, 4)


def test_functions_that_were_fitted_together_share_their_arrays(
    functions: dict[str, KneserNey],
) -> None:
    store: dict[str, np.ndarray] = {}
    for function in functions.values():
        for name, array in function.to_arrays().items():
            assert np.array_equal(store.setdefault(name, array), array)
    assert functions["kn(1,2)"].levels[1] is functions["kn(1,2,3)"].levels[1]
    assert functions["kn(1,2)"].levels[2] is not functions["kn(1,2,3)"].levels[2]


def test_a_context_before_the_start_of_the_block_is_not_seen(
    functions: dict[str, KneserNey], walked: Walked
) -> None:
    inputs, targets = np.array([[4, 2]]), np.array([[2, 7]])
    assert walked(functions["kn(2)"], inputs)[1].tolist() == [[0, 1]]
    first = functions["kn(1,2,3)"].target_probabilities(inputs, targets)[0, 0]
    assert first == functions["kn(1,2)"].target_probabilities(inputs, targets)[0, 0]
    # the continuation counts of the prefix, not the occurrences of the shorter pattern
    assert first != functions["kn(1)"].target_probabilities(inputs, targets)[0, 0]


def test_longer_contexts_predict_better(functions: dict[str, KneserNey], markov: Callable) -> None:
    held_out = markov(VOCAB, 1000, seed=0)[:801].reshape(1, -1)
    losses = [
        -np.log(functions[name].target_probabilities(held_out[:, :-1], held_out[:, 1:])).mean()
        for name in ("kn()", "kn(1)", "kn(1,2)")
    ]
    assert losses[0] > losses[1] > losses[2]


class TestDamage:
    def test_a_missing_array_is_named(self, functions: dict[str, KneserNey]) -> None:
        function = functions["kn(1,2)"]
        arrays = function.to_arrays()
        del arrays["counts(1,2).counts"]
        with pytest.raises(ArtifactError, match=r"counts\(1,2\).counts is missing"):
            KneserNey.from_arrays(function.spec(), arrays)

    def test_arrays_that_do_not_fit_are_refused(self, functions: dict[str, KneserNey]) -> None:
        function = functions["kn(1,2)"]
        arrays = function.to_arrays()
        short = {**arrays, "contexts(1).symbols": arrays["contexts(1).symbols"][:-1]}
        with pytest.raises(ArtifactError, match=r"contexts\(1\) has 11 symbols"):
            KneserNey.from_arrays(function.spec(), short)
        zeros = {**arrays, "counts(1|2).counts": 0 * arrays["counts(1|2).counts"]}
        with pytest.raises(ArtifactError, match="none below 1"):
            KneserNey.from_arrays(function.spec(), zeros)
        real = {**arrays, "counts(1|2).counts": arrays["counts(1|2).counts"].astype(float)}
        with pytest.raises(ArtifactError, match="float64"):
            KneserNey.from_arrays(function.spec(), real)

    def test_tables_of_another_fit_are_refused(
        self, functions: dict[str, KneserNey], make_stream: type
    ) -> None:
        (other,) = fit([[0, 1, 2, 1, 0]], ["kn(1,2)"], make_stream)
        arrays = functions["kn(1,2)"].to_arrays()
        other_arrays = {k: v for k, v in other.to_arrays().items() if k.startswith("counts(1,2)")}
        with pytest.raises(ArtifactError, match="contexts, expected"):
            KneserNey.from_arrays(other.spec(), {**arrays, **other_arrays})
