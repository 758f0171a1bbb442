r"""A Gaussian process over genomes: the effects of options, and their interactions.

Notation: n genomes as rows x (`search.surrogates.encoding`), centred rows c; h(x, y) the squared
distance of two rows, which for zeros and ones counts the entries that differ. The prior covariance
of two standardised losses is

.. math::
    k(x, y) = s \left( a \frac{c_x \cdot c_y}{m} + (1 - a) e^{-h(x, y) / (2 \ell^2)} \right)

with m the mean of :math:`c \cdot c`, so that both parts have variance about 1, and noise of
variance s r. The linear part is ridge regression. By the other part, genomes that share most of
their options have similar losses. Share a, length l and noise r come from a grid by the highest
marginal likelihood; s follows in closed form.

Source: Rasmussen and Williams 2006, chapters 2 and 5; the kernel of Hamming distance as in
Hutter, Hoos and Leyton-Brown 2011 (SMAC).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, cholesky, lapack, solve_triangular

from clso.genome import Genome, GenomeSpace
from clso.threads import one_thread
from search.surrogates.encoding import MultiHot
from search.surrogates.interface import FloatArray

__all__ = ["GaussianProcessSurrogate"]

_LINEAR_SHARES = (0.0, 0.3, 0.6, 0.9, 1.0)
_LENGTHS = (2.0, 4.0, 8.0)
_NOISES = (1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
_ROUNDING = 1e-9
_ROWS_AT_ONCE = 32  # whose centred copies stay in the cache of a core
_WORKSPACE = 4096  # numbers that LAPACK may use while it applies reflections to one column


_Rows = npt.NDArray[np.float32] | FloatArray


class _Prior(NamedTuple):
    linear_share: float
    length: float
    noise: float


class GaussianProcessSurrogate:
    """Predicts the posterior mean and standard deviation of a Gaussian process.

    Time grows with the cube of the number of genomes. Of more than `most` genomes it learns from
    the best `most / 2` and from others that are evenly spaced by rank: the best alone do not show
    what makes a genome bad. The prior is chosen on at most `tuned_on` genomes. Nothing is random:
    the seed is not used.
    """

    kind = "gaussian_process"

    def __init__(
        self, space: GenomeSpace, seed: int, *, most: int = 512, tuned_on: int = 192
    ) -> None:
        self._encode = MultiHot(space)
        self._most = most
        self._tuned_on = tuned_on

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        """Learn from evaluated genomes; see `Surrogate.fit`."""
        observed = np.asarray(losses, dtype=np.float64)
        kept = _thinned(np.argsort(observed, kind="stable"), self._most)
        observed = observed[kept]
        rows = self._encoded([genomes[index] for index in kept])
        self._mean, self._scale = float(observed.mean()), float(observed.std()) or 1.0
        standard = (observed - self._mean) / self._scale
        self._center = rows.mean(axis=0, dtype=np.float64)
        self._rows = rows
        self._power = max(float(self._powers(rows).mean()), _ROUNDING)
        with one_thread():
            step = -(-len(rows) // self._tuned_on)
            self._prior = self._most_likely(rows[::step], standard[::step])
            covariance = self._covariance(rows, rows)
            covariance[np.diag_indices_from(covariance)] += self._prior.noise
            self._factor = cholesky(covariance, lower=True)
            self._weights = cho_solve((self._factor, True), standard)
        self._variance = float(standard @ self._weights) / len(standard)

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        """Predict losses; see `Surrogate.predict`."""
        if not genomes:
            return np.empty(0), np.empty(0)
        rows = self._encoded(genomes)
        with one_thread():
            shared = self._covariance(rows, self._rows)
            mean = shared @ self._weights
            known = np.square(
                solve_triangular(self._factor, shared.T, lower=True, check_finite=False)
            ).sum(axis=0)
        share = self._prior.linear_share
        power = self._powers(rows) / self._power
        variance = np.maximum(share * power + 1.0 - share - known, 0.0) * self._variance
        return mean * self._scale + self._mean, np.sqrt(variance) * self._scale

    def neighbour_means(self, genome: Genome) -> list[FloatArray]:
        r"""Predict the means of all one-gene changes; see `neighbour_means`.

        A change from option a to o moves the row by :math:`r_o - r_a`, so with t a row of the
        training set the kernel of distance is a product of one factor for each of t, (t, a), (t, o)
        and (a, o): all options of a slot take one product of a matrix and a vector.
        """
        row = self._encode([genome]).astype(np.float64)
        prior, lengths = self._prior, self._prior.length**2
        centred = (self._rows - self._center).T @ self._weights
        effect = (prior.linear_share / self._power) * centred
        base = float((row - self._center)[0] @ effect)
        effects = self._encode.products(effect[None])
        weights, toward = np.empty(0), list[FloatArray]()
        with one_thread():
            if prior.linear_share < 1.0:
                distances = _distances(row, self._rows, _products(row, self._rows))
                near = _near(distances, prior.length)[0]
                weights = (1.0 - prior.linear_share) * near * self._weights
                shift = self._encode.products(self._rows - row)
                # exchangeable slots share one array, of which the exponential is taken once
                known = {id(part): np.exp(part / lengths) for part in shift}
                toward = [known[id(part)] for part in shift]
            means = []
            for slot, option in enumerate(self._encode.replaced(genome)):
                mean = base + effects[slot][:, 0] - effects[slot][option, 0]
                if toward:
                    apart = np.exp(self._encode.distances(slot, option) / (-2.0 * lengths))
                    mean = mean + apart * (toward[slot] @ (weights / toward[slot][option]))
                means.append(mean * self._scale + self._mean)
        return means

    def _encoded(self, genomes: Sequence[Genome]) -> _Rows:
        """Return the rows, `(n, width)`; zeros and ones have exact products in half the bytes."""
        rows = self._encode(genomes)
        return rows if self._encode.is_binary else rows.astype(np.float64)

    def _powers(self, rows: _Rows) -> FloatArray:
        """Return the squared norms of centred rows, `(n,)`."""
        parts = np.split(rows, range(_ROWS_AT_ONCE, len(rows), _ROWS_AT_ONCE))
        return np.concatenate([np.square(part - self._center).sum(axis=1) for part in parts])

    def _covariance(self, left: _Rows, right: _Rows) -> FloatArray:
        """Return k / s of the chosen prior without noise, `(n_left, n_right)`."""
        products, prior = _products(left, right), self._prior
        near = linear = products  # of a part with the share 0, anything
        if prior.linear_share < 1.0:
            near = _near(_distances(left, right, products), prior.length)
        if prior.linear_share > 0.0:
            linear = self._linear(left, right, products)
        return _mixed(linear, near, prior.linear_share)

    def _linear(self, left: _Rows, right: _Rows, products: FloatArray) -> FloatArray:
        """Return the linear part of k / s, of the products of the uncentred rows."""
        center = self._center
        toward = right @ center
        shifts = (toward if left is right else left @ center)[:, None] + (toward - center @ center)
        linear: FloatArray = np.subtract(products, shifts, out=shifts)
        linear /= self._power
        return linear

    def _most_likely(self, rows: _Rows, standard: FloatArray) -> _Prior:
        best, best_prior = -np.inf, _Prior(1.0, _LENGTHS[0], _NOISES[-1])
        products = _products(rows, rows)
        linear = self._linear(rows, rows, products)
        distances = _distances(rows, rows, products)
        nears = {length: _near(distances, length) for length in _LENGTHS}
        for share, length in product(_LINEAR_SHARES, _LENGTHS):
            if share == 1.0 and length != _LENGTHS[0]:
                continue  # without the second part its length has no effect
            # one decomposition serves all noises
            covariance = _Tridiagonal(_mixed(linear, nears[length], share), standard)
            for noise in _NOISES:
                quadratic, log_determinant = covariance.with_noise(noise)
                scale = max(quadratic / len(rows), _ROUNDING)
                likelihood = -len(rows) * np.log(scale) - log_determinant
                if likelihood > best:
                    best, best_prior = likelihood, _Prior(share, length, noise)
        return best_prior


class _Tridiagonal:
    r"""A covariance K and losses y as :math:`K = Q T Q^T` with T tridiagonal, and :math:`Q^T y`.

    Both figures of the likelihood follow from T and take n steps for each noise. The reduction
    takes a third of the time of all eigenvectors.
    """

    def __init__(self, covariance: FloatArray, losses: FloatArray) -> None:
        reduced, self._diagonal, self._beside, scales, _ = lapack.dsytrd(covariance, lower=1)
        self._losses = losses[:, None].copy()
        # reflections of all entries but the first, in the form of a QR decomposition's
        self._losses[1:], _, _ = lapack.dormqr(
            "L", "T", reduced[1:, :-1], scales, self._losses[1:], _WORKSPACE
        )

    def with_noise(self, noise: float) -> tuple[float, float]:
        r"""Return :math:`y^T (K + r I)^{-1} y` and :math:`\log \det (K + r I)`."""
        pivots, _, solved, info = lapack.dptsv(self._diagonal + noise, self._beside, self._losses)
        if info != 0:  # rounding has made it indefinite
            return math.inf, math.inf
        return float(self._losses[:, 0] @ solved[:, 0]), float(np.log(pivots).sum())


def _products(left: _Rows, right: _Rows) -> FloatArray:
    """Return the inner products of uncentred rows, `(n_left, n_right)`; all else follows."""
    return np.asarray(left @ right.T, dtype=np.float64)


def _distances(left: _Rows, right: _Rows, products: FloatArray) -> FloatArray:
    """Return the squared distances of rows, `(n_left, n_right)`."""
    norms: FloatArray = np.square(left).sum(axis=1)[:, None] + np.square(right).sum(axis=1)
    distances = norms - 2.0 * products
    return np.maximum(distances, 0.0, out=distances)


def _near(distances: FloatArray, length: float) -> FloatArray:
    near: FloatArray = distances / (-2.0 * length**2)
    return np.exp(near, out=near)


def _mixed(linear: FloatArray, near: FloatArray, share: float) -> FloatArray:
    if share in (0.0, 1.0):
        return linear if share else near
    covariance: FloatArray = share * linear
    covariance += (1.0 - share) * near
    return covariance


def _thinned(ranked: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    if len(ranked) <= most:
        return ranked
    best, others = np.split(ranked, [most // 2])
    spaced = np.linspace(0, len(others) - 1, most - len(best)).astype(np.int64)
    return np.concatenate([best, others[spaced]])
