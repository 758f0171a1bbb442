from __future__ import annotations

import numpy as np
import pytest

from clso.interpolation import best_share, mixed_nll


@pytest.mark.parametrize(
    ("second", "end"),
    [
        ([0.1, 0.1, 0.1], 0.0),
        ([0.4, 0.5, 0.6], 1.0),
        ([0.8, 0.05, 0.2], None),
        ([0.9, 0.9, 0.0], None),
    ],
)
def test_the_share_is_the_likeliest(second: list[float], end: float | None) -> None:
    first, asked = np.array([0.2, 0.2, 0.2]), np.array(second)
    found = best_share(first, asked)
    tried = np.linspace(0.0, 1.0, 1001)[:-1]
    likelihood = np.log(np.outer(1 - tried, first) + np.outer(tried, asked)).mean(axis=1)
    assert -mixed_nll(first, asked, found) >= likelihood.max() - 1e-9
    assert found == end if end is not None else 0.0 < found < 1.0
