"""Counting at scale: n-grams of orders 1 to 5 of a generated text, with seconds and memory.

It is no part of `make bench`: `python -m benchmarks.bench_counts --tokens 10000000`; with
`--library`, many patterns of a short text instead.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.stand_ins import Stream
from clso.mixture.counts import KneserNey, Pattern
from clso.mixture.text import DEFAULT_MEMORY_BYTES, FittingText
from clso.scoring import Int64Array

_GIB = 1 << 30
_SUCCESSORS = 64
_WALKERS = 1 << 12
_BLOCK = 128
_BLOCKS = 235  # 30,000 tokens


def generate(path: Path, n_tokens: int, vocab_size: int, seed: int = 0) -> np.ndarray:
    """Write a text to a file and return it memory-mapped, `(n_tokens,)`.

    Each token has 64 successors, of which the first are the likeliest. Three tokens of four
    follow from the one before, the others and the successors are drawn by frequency (Zipf). Many
    walkers write a stretch each, so that no step is a Python step per token.
    """
    rng = np.random.default_rng(seed)
    shares = np.cumsum(1.0 / np.arange(1, vocab_size + 1) ** 1.05)
    shares /= shares[-1]

    def draw(*shape: int) -> Int64Array:
        return np.minimum(np.searchsorted(shares, rng.random(shape)), vocab_size - 1)

    successors = draw(vocab_size, _SUCCESSORS)
    n_walkers = min(_WALKERS, n_tokens)
    n_steps = -(-n_tokens // n_walkers)
    dtype = np.min_scalar_type(vocab_size - 1)
    out = np.lib.format.open_memmap(path, "w+", dtype, (n_walkers, n_steps))
    tokens = draw(n_walkers)
    for step in range(n_steps):
        likely = np.minimum(rng.geometric(0.12, n_walkers) - 1, _SUCCESSORS - 1)
        follows = rng.random(n_walkers) < 0.75
        tokens = np.where(follows, successors[tokens, likely], draw(n_walkers))
        out[:, step] = tokens
    out.flush()
    return np.load(path, mmap_mode="r").reshape(-1)[:n_tokens]


def scale(arguments: argparse.Namespace, folder: Path, console: Console) -> None:
    """Count all orders of a long text; score held-out blocks with each."""
    n_tokens = arguments.tokens + 1 + _BLOCK * _BLOCKS
    text = generate(folder / "text.npy", n_tokens, arguments.vocab)
    console.print(f"text of {n_tokens:,} tokens generated, peak {_peak_bytes() / _GIB:.2f} GiB")
    lengths = range(arguments.order - 1 if arguments.top_only else 0, arguments.order)
    clock = _Clock()
    functions = KneserNey.fit(
        FittingText(
            [Stream(text[: arguments.tokens + 1])],
            arguments.vocab,
            {},
            workspace=folder,
            memory_bytes=int(arguments.memory_gib * _GIB),
        ),
        [Pattern.contiguous(length) for length in lengths],
    )
    console.print(f"{arguments.tokens:,} tokens, orders 1 to {arguments.order}: {clock}")
    blocks = text[arguments.tokens :].astype(np.int64)
    inputs, targets = blocks[:-1].reshape(-1, _BLOCK), blocks[1:].reshape(-1, _BLOCK)
    table = Table("function", "n-grams", "stored, MiB", "nats", "first, ms", "again, ms")
    for function in functions:
        table.add_row(*_scores(function, inputs, targets))
    console.print(table)
    console.print(f"peak after scoring {_peak_bytes() / _GIB:.2f} GiB")


def library(arguments: argparse.Namespace, folder: Path, console: Console) -> None:
    """Count 200 patterns of a short text; score 40,000 tokens with each."""
    n_tokens, n_scored = 256_000, 40_000
    text = generate(folder / "text.npy", n_tokens + n_scored + 1, arguments.vocab)
    rng = np.random.default_rng(0)
    class_maps = {f"k{k}": rng.integers(0, k, arguments.vocab) for k in (16, 64, 256, 1024)}
    clock = _Clock()
    functions = KneserNey.fit(
        FittingText([Stream(text[: n_tokens + 1])], arguments.vocab, class_maps),
        _library(class_maps),
    )
    console.print(f"{len(functions)} patterns of {n_tokens:,} tokens: {clock}")
    blocks = text[n_tokens:].astype(np.int64)
    inputs, targets = blocks[:-1].reshape(-1, 100), blocks[1:].reshape(-1, 100)
    for turn in ("first", "again"):
        clock = _Clock()
        for function in functions:
            function.target_probabilities(inputs, targets)
        console.print(f"{n_scored:,} tokens with each, {turn}: {clock}")


def _library(class_names: Iterable[str]) -> list[str]:
    places = [str(Pattern.contiguous(n)) for n in range(6)]
    places += [f"kn({offset})" for offset in range(2, 11)]
    places += [f"kn(1,{offset})" for offset in range(3, 11)]
    places += [f"kn(1,2,{offset})" for offset in range(4, 10)]
    places += [f"kn({a},{b})" for a, b in itertools.permutations(range(2, 8), 2)]
    for k in class_names:
        places += [f"kn({offset}:{k})" for offset in range(1, 7)]
        places += [f"kn({offset}:{k}->{k})" for offset in range(1, 7)]
        places += [f"kn(1,{offset}:{k})" for offset in range(2, 9)]
        places += [f"kn(1,2,3:{k})", f"kn(1,2:{k},3:{k})", f"kn(1:{k},1)", f"kn(1:{k},1,2)"]
        for n in range(2, 9):
            run = ",".join(f"{offset}:{k}" for offset in range(1, n + 1))
            places += [f"kn({run})", f"kn({run}->{k})"]
    return places[:200]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench_counts", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--library", action="store_true", help="200 patterns of a short text")
    parser.add_argument("--tokens", type=int, default=10_000_000)
    parser.add_argument("--vocab", type=int, default=50_257)
    parser.add_argument("--order", type=int, default=5, help="of the longest n-grams")
    parser.add_argument("--top-only", action="store_true", help="fit the longest pattern alone")
    parser.add_argument("--memory-gib", type=float, default=DEFAULT_MEMORY_BYTES / _GIB)
    parser.add_argument("--folder", type=Path, help="for text and temporary files")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        (library if arguments.library else scale)(arguments, Path(folder), Console())


class _Clock:
    def __init__(self) -> None:
        self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()

    def __str__(self) -> str:
        wall_s, cpu_s = time.perf_counter() - self._wall_s, time.process_time() - self._cpu_s
        return f"{wall_s:.1f} s ({cpu_s:.1f} s CPU), peak {_peak_bytes() / _GIB:.2f} GiB"


def _scores(function: KneserNey, inputs: Int64Array, targets: Int64Array) -> list[str]:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        probabilities = function.target_probabilities(inputs, targets)
        times.append(1000 * (time.perf_counter() - started))
    return [
        function.name,
        f"{len(function.levels[-1].rows):,}",
        f"{function.stored_bytes / (1 << 20):.1f}",
        f"{-np.log(probabilities).mean():.4f}",
        f"{times[0]:.0f}",
        f"{min(times):.0f}",
    ]


def _peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
