"""Matrices applied by their structure, and as dense ones: operations, bytes, seconds, joules.

A row is all matrices of one GPT-2 layer from one family (`attn_qkv`, `attn_out`, `mlp_up`,
`mlp_down`), or of a part of it, on one thread. Both sides take turns, so that a drifting machine
hits both alike. Then populations are scored with matrices in the form that the count prefers, at
any width, and with dense ones.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple
from unittest import mock

import numpy as np
import torch
from scipy.linalg import hadamard

from clso.energy import EnergyMonitor, EnergySettings, Measurement
from clso.gpt import GptFrame, GptProblem, GptShape
from clso.gpt.head import TiledHead
from clso.library import (
    FAMILIES,
    BasisLibrary,
    BlockSparse,
    Circulant,
    Hadamard,
    Kronecker,
    LibraryEntry,
    Monarch,
    Permutation,
    QuantizedLowRank,
    ResidualLayout,
    Weight,
    Zero,
)
from clso.library.derived import HeadMerge, RecencyAttention
from clso.library.entry import Work
from clso.library.linear_map import LinearMap
from clso.library.pair_memory import PairDetector, PairMemory
from clso.library.spectral import SpectralReadout
from clso.library.weight import RowsOfTokens, counted_gain, is_structured
from clso.threads import one_thread

__all__ = ["WIDTHS", "Row", "Scored", "evaluations", "ratios", "run"]

WIDTHS = (128, 256, 512, 1024)
_REPEATS = 7
_LEAST_S = 0.03  # of one side of a pair, far above what a meter resolves
_VOCABULARY, _OCCURRING = 50257, 8192  # tokens of GPT-2, and those of a text of a million tokens
_BLOCK_SIZE = 128
_WIDEST_POPULATION = 512  # a wider one takes minutes

Product = Callable[[torch.Tensor], object]


@dataclass(frozen=True)
class Row:
    """One family at one width.

    Attributes:
        name: the family, with what is not its default.
        use: what evaluation does: `structured`, `dense`, or for some matrices only.
        work: per token, in structured form; the same of the dense form.
        weight_bytes: what the structured form reads of W, once for all tokens.
        counted: how many times as fast the count says that the structured form is.
        structured: one pass over the tokens, `(repeats,)`; the same of the dense form.
    """

    name: str
    width: int
    tokens: int
    use: str
    work: Work
    dense_work: Work
    weight_bytes: int
    dense_weight_bytes: int
    counted: float | None
    structured: list[Measurement]
    dense: list[Measurement]

    @property
    def is_skipped(self) -> bool:
        """Whether the structured form does nothing at all."""
        return self.work.flops == 0

    @property
    def ratios(self) -> list[float]:
        """Dense over structured CPU seconds, pair by pair."""
        return ratios(self.structured, self.dense)


class Scored(NamedTuple):
    """A population of one width that is scored twice: structured, and with dense matrices."""

    width: int
    structured: list[Measurement]
    dense: list[Measurement]


class _Side(NamedTuple):
    products: list[tuple[Product, torch.Tensor]]
    work: Work
    weight_bytes: int

    def __call__(self) -> None:
        for product, x in self.products:
            product(x)


class _Case(NamedTuple):
    name: str
    use: str
    structured: _Side
    dense: _Side
    counted: float | None = None


def run(tokens: int, widths: Sequence[int] = WIDTHS) -> Iterator[Row]:
    """Yield the rows of each width, family after family."""
    with EnergySettings().open() as monitor, one_thread(), torch.inference_mode():
        for width in widths:
            for case in _cases(width, tokens):
                ours, dense = _in_turn(case.structured, case.dense, monitor)
                yield Row(
                    case.name,
                    width,
                    tokens,
                    case.use,
                    case.structured.work,
                    case.dense.work,
                    case.structured.weight_bytes,
                    case.dense.weight_bytes,
                    case.counted,
                    ours,
                    dense,
                )


def evaluations(widths: Sequence[int] = WIDTHS) -> Iterator[Scored]:
    """Yield 16 genomes of two layers over matrices of all families, 1,024 targets of 8,192."""
    rng = np.random.default_rng(0)
    families = [FAMILIES.get(name).Settings() for name in FAMILIES.names()]
    tokens = rng.integers(8192, size=(2, 4, _BLOCK_SIZE + 1))
    batches = tokens[..., :-1].copy(), tokens[..., 1:].copy()
    with EnergySettings().open() as monitor:
        for width in (width for width in widths if width <= _WIDEST_POPULATION):
            library = BasisLibrary.generate(width, 16, families, 1.0, 0)
            frame = GptFrame(GptShape(2, width // 64, width, _BLOCK_SIZE, 8192), seed=0)
            problem = GptProblem(library, frame, *batches, share_layers=False)
            plain = GptProblem(library, frame, *batches, share_layers=False)
            genomes = [
                tuple(map(int, rng.integers(problem.space.cardinalities))) for _ in range(16)
            ]
            # what a problem has applied once it keeps
            with mock.patch("clso.library.weight._LEAST_SIDE", 1):
                losses = [found.loss for found in problem.evaluate(genomes)]
            with mock.patch("clso.library.weight.is_structured", return_value=False):
                dense_losses = [found.loss for found in plain.evaluate(genomes)]
            np.testing.assert_allclose(losses, dense_losses, atol=1e-5)
            sides = (partial(part.evaluate, genomes) for part in (problem, plain))
            yield Scored(width, *_in_turn(*sides, monitor))


def _cases(width: int, tokens: int) -> Iterator[_Case]:
    rng = np.random.default_rng(0)
    shapes = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
    families: list[tuple[str, type[LibraryEntry], dict[str, float]]] = [
        ("zero", Zero, {}),
        ("quantized low-rank, rank 8", QuantizedLowRank, {"rank": 8, "bits": 4}),
        ("permutation", Permutation, {}),
        ("circulant", Circulant, {}),
        ("Hadamard", Hadamard, {}),
        ("Kronecker, block 8", Kronecker, {"block": 8}),
        ("Monarch, 8 blocks", Monarch, {"blocks": 8}),
        ("block-sparse, 25 %, block 16", BlockSparse, {"block": 16, "density": 0.25}),
        ("block-sparse, 25 %, block 64", BlockSparse, {"block": 64, "density": 0.25}),
    ]
    for name, family, parameters in families:
        entries = [family.generate(rng, shape, gain=1.0, **parameters) for shape in shapes]
        inputs = _inputs(rng, entries, tokens)
        maps = [entry.structured() for entry in entries]
        _check(maps, entries, inputs)
        work = _sum([entry.work for entry in entries if entry.work is not None])
        n_used = sum(map(is_structured, entries))
        use = {0: "dense", len(entries): "structured"}.get(n_used, f"{n_used} of {len(entries)}")
        dense = _dense(entries, inputs)
        counted = statistics.median(counted_gain(entry) or math.nan for entry in entries)
        yield _Case(name, use, _mapped(maps, inputs, work), dense, counted)
        if family is Hadamard:
            yield _Case("Hadamard, stages of radix 2", "dense", _radix_2(width, inputs[1]), dense)
    yield from _blocks(width, tokens, rng)
    yield _readout(width, tokens, rng)


def _blocks(width: int, tokens: int, rng: np.random.Generator) -> Iterator[_Case]:
    """Yield the derived entries, which are applied as a block of rows and columns."""
    part = width // 8
    layout = ResidualLayout(width, part, part, _BLOCK_SIZE, code=32)
    pairs = rng.integers(_VOCABULARY, size=(4 * width, 2))
    vectors = rng.standard_normal((4 * width, layout.near)).astype(np.float32)
    groups: list[tuple[str, list[LibraryEntry]]] = [
        (
            "recency attention, head merge",
            [RecencyAttention.of(layout, 4, [0.5, 0.05]), HeadMerge.of(layout, 4, 1.0)],
        ),
        (
            "pair detector, pair memory",
            [PairDetector.of(layout, pairs, 1.0), PairMemory.of(layout, vectors, "drawn")],
        ),
    ]
    for name, entries in groups:
        inputs = _inputs(rng, entries, tokens)
        maps = [Weight(entry.dense()) for entry in entries]
        _check(maps, entries, inputs)
        work = _sum([_block_work(entry) for entry in entries])
        ours, dense = _mapped(maps, inputs, work), _dense(entries, inputs)
        yield _Case(name, "block", ours, dense)


def _block_work(entry: LibraryEntry) -> Work:
    nonzero = entry.dense() != 0
    block = int(nonzero.any(1).sum()), int(nonzero.any(0).sum())
    if block[0] * block[1] > entry.shape[0] * entry.shape[1] / 2:
        return Work.of_dense(entry.shape)
    dense = Work.of_dense(block)
    # the coordinates are gathered and scattered, and what is not written is zero
    return Work(dense.flops, 2 * dense.moved_bytes + 4 * (block[0] + block[1] + entry.shape[1]))


def _readout(width: int, tokens: int, rng: np.random.Generator) -> _Case:
    """Return the loss over a vocabulary of which most tokens do not occur in the text."""
    seen = np.sort(rng.choice(_VOCABULARY, _OCCURRING, replace=False)).astype(np.int32)
    log_prior = np.full(_VOCABULARY, -14.0, dtype=np.float32)
    log_prior[seen] = -9.0
    widths = (width - 3 - 2 * (width // 8), width // 8, width // 8)
    entry = SpectralReadout(
        (_VOCABULARY, width),
        {"gains": [1.0, 1.0, 1.0], "source": "drawn"},
        {
            "tokens": seen,
            "vectors": (rng.standard_normal((_OCCURRING, width - 3)) / width).astype(np.float16),
            "gains": np.ones(3, dtype=np.float32),
            "widths": np.array(widths, dtype=np.int32),
            "log_prior": log_prior,
        },
    )
    hidden = torch.from_numpy(rng.standard_normal((tokens, width)).astype(np.float32))
    hidden[:, -1] = 1.0
    targets = torch.from_numpy(rng.integers(_VOCABULARY, size=tokens))
    rows = RowsOfTokens.of(entry)
    heads = TiledHead(*rows), TiledHead(torch.from_numpy(entry.dense()))
    losses = [head.nll(hidden, targets) for head in heads]
    torch.testing.assert_close(*losses, atol=1e-4, rtol=1e-5)

    def side(head: TiledHead, n_rows: int) -> _Side:
        work = Work.of_dense((width, n_rows))
        return _Side([(lambda x: head.nll(x, targets), hidden)], work, 4 * n_rows * width)

    ours, dense = (
        side(head, n) for head, n in zip(heads, (len(rows.rows), _VOCABULARY), strict=True)
    )
    return _Case("spectral readout, 8,192 of 50,257 tokens", "distinct rows", ours, dense)


def _radix_2(width: int, x: torch.Tensor) -> _Side:
    """Return the transforms of a layer in log2 n stages of additions; n is a power of two.

    The layer has 3 + 1 + 4 + 4 tiles. Their signs and orders of lines are left out.
    """
    tiles, stages = 12, width.bit_length() - 1

    def transform(x: torch.Tensor) -> torch.Tensor:
        half = 1
        while half < width:
            pairs = x.view(-1, width // (2 * half), 2, half)
            first, second = pairs[:, :, 0], pairs[:, :, 1]
            x = torch.stack((first + second, first - second), 2)
            half *= 2
        return x.view(-1, width)

    expected = x @ torch.from_numpy(hadamard(width).astype(np.float32))
    torch.testing.assert_close(transform(x), expected, atol=1e-2, rtol=1e-4)
    work = Work(tiles * stages * width, 4 * tiles * stages * 3 * width)
    return _Side([(transform, x)] * tiles, work, 0)


def _inputs(
    rng: np.random.Generator, entries: Sequence[LibraryEntry], tokens: int
) -> list[torch.Tensor]:
    shapes = [(tokens, entry.shape[0]) for entry in entries]
    return [torch.from_numpy(rng.standard_normal(shape).astype(np.float32)) for shape in shapes]


def _mapped(maps: Sequence[LinearMap], inputs: list[torch.Tensor], work: Work) -> _Side:
    products = [(part.product, x) for part, x in zip(maps, inputs, strict=True) if not part.is_zero]
    return _Side(products, work, sum(part.nbytes for part in maps))


def _dense(entries: Sequence[LibraryEntry], inputs: list[torch.Tensor]) -> _Side:
    weights = [torch.from_numpy(entry.dense()) for entry in entries]
    products = [
        (lambda x, weight=weight: x @ weight, x) for weight, x in zip(weights, inputs, strict=True)
    ]
    work = _sum([Work.of_dense(entry.shape) for entry in entries])
    return _Side(products, work, sum(weight.nbytes for weight in weights))


def _check(
    maps: Sequence[LinearMap], entries: Sequence[LibraryEntry], inputs: list[torch.Tensor]
) -> None:
    for part, entry, x in zip(maps, entries, inputs, strict=True):
        expected = x @ torch.from_numpy(entry.dense())
        tolerance = 1e-4 * float(expected.abs().max())
        torch.testing.assert_close(part.product(x), expected, atol=tolerance, rtol=1e-4)


def _sum(works: Sequence[Work]) -> Work:
    return Work(sum(work.flops for work in works), sum(work.moved_bytes for work in works))


def ratios(structured: Sequence[Measurement], dense: Sequence[Measurement]) -> list[float]:
    """Return dense over structured CPU seconds, pair by pair."""
    return [_cpu_s(plain) / _cpu_s(ours) for plain, ours in zip(dense, structured, strict=True)]


def _in_turn(
    ours: Callable[[], object], plain: Callable[[], object], monitor: EnergyMonitor
) -> tuple[list[Measurement], list[Measurement]]:
    """Return both sides' measurements of one pass, taking turns; the first pair does not count."""
    times = []
    for side in (ours, plain):
        side()
        with monitor.window() as window:
            side()
        times.append(max(1, math.ceil(_LEAST_S / max(1e-6, window.measurement.duration_s))))
    taken: tuple[list[Measurement], list[Measurement]] = ([], [])
    for repeat in range(_REPEATS + 1):
        for side, n, measurements in zip((ours, plain), times, taken, strict=True):
            with monitor.window() as window:
                for _ in range(n):
                    side()
            if repeat:
                measurements.append(window.measurement.split([1.0] * n)[0])
    return taken


def _cpu_s(measurement: Measurement) -> float:
    assert measurement.cpu_s is not None  # there is a process
    return max(measurement.cpu_s, 1e-9)
