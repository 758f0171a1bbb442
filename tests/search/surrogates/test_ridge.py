"""Ridge regression where LAPACK's fast decomposition gives up."""

from collections.abc import Callable

import numpy as np
import pytest

from clso.genome import Genome, GenomeSpace
from search.surrogates.ridge import RidgeSurrogate

Sampler = Callable[..., tuple[list[Genome], list[float]]]


def test_a_decomposition_that_does_not_converge_is_tried_again_and_changes_nothing(
    space: GenomeSpace, sample: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    genomes, losses = sample(60)
    plain, second = RidgeSurrogate(space, 0), RidgeSurrogate(space, 0)
    plain.fit(genomes[:40], losses[:40])
    fit, failures = second._ridge.fit, []

    def fails_once(rows: np.ndarray, observed: np.ndarray) -> None:
        if not failures:
            failures.append(rows)
            raise np.linalg.LinAlgError("SVD did not converge")
        fit(rows, observed)

    monkeypatch.setattr(second._ridge, "fit", fails_once)
    second.fit(genomes[:40], losses[:40])
    assert len(failures) == 1
    for expected, got in zip(plain.predict(genomes), second.predict(genomes), strict=True):
        assert np.allclose(expected, got, rtol=1e-6)
