"""Codes of tokens keep their distance."""

import numpy as np
import pytest

from clso.library.token_code import code_length, least_difference, token_codes


@pytest.mark.parametrize(("vocab_size", "length"), [(2, 8), (128, 8), (129, 16), (2049, 32)])
def test_any_two_codes_differ_enough(vocab_size: int, length: int) -> None:
    assert code_length(vocab_size) == length
    codes = token_codes(np.arange(vocab_size), length)
    assert set(np.unique(codes)) == {-1.0, 1.0}
    products = codes @ codes.T
    np.testing.assert_array_equal(np.diagonal(products), length)
    np.fill_diagonal(products, 0)
    assert products.max() <= length - least_difference(length)


def test_the_vocabulary_of_gpt2_has_codes_of_32() -> None:
    length = code_length(50_257)
    assert length == 32
    some = np.random.default_rng(0).choice(50_257, 2000, replace=False)
    products = token_codes(some, length) @ token_codes(np.arange(50_257), length).T
    products[np.arange(len(some)), some] = 0
    assert products.max() <= length - least_difference(length)


def test_a_vocabulary_beyond_all_codes_is_refused() -> None:
    with pytest.raises(ValueError, match="no codes for"):
        code_length(2**40)
