"""How time and memory grow: with population, library, tokens, vocabulary, functions, generations.

    python -m benchmarks.growth [--axes NAME ...] [--largest-tokens N] [--figure growth.svg]

Each size is measured in a process of its own, on one thread: CPU seconds, and by how much the
resident memory rises at its highest above what it was before the work. Preparations, such as the
text, do not count. The exponent b of :math:`c n^b` is fitted by least squares to the logarithms
of the largest half of the sizes, because constant costs hide the law of small ones.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.bench_counts import generate
from benchmarks.stand_ins import LossTable, Stream
from clso.artifacts import atomic_write_bytes
from clso.data.corpus import PackageCorpus
from clso.data.tokenizer import Tokenizer
from clso.gpt import GptFrame, GptProblem, GptShape
from clso.library import BasisLibrary, BlockSparse
from clso.mixture.classes import fit_class_maps
from clso.mixture.columns import Columns
from clso.mixture.counts import KneserNey, Pattern
from clso.mixture.settings import FunctionGridSettings
from clso.mixture.specification import FunctionSpec, fit_functions
from clso.mixture.text import FittingText
from clso.report.style import INK, PALETTE, figure_svg, plain_numbers, styled
from clso.threads import one_thread
from pipelines.context import processor
from search import Search, SearchSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["AXES", "Axis", "Cost", "exponent", "figure", "measured"]

_LENGTH, _BATCH_SIZE = 128, 4
_CARDINALITIES = [64] * 16
_TRAIN_TOKENS, _SCORED_TOKENS = 100_000, 16_384
_CLEAR_PEAK = "5"  # proc(5): resets the highest resident size

Work = Callable[[], object]


@dataclass(frozen=True)
class Cost:
    """What the work took at one size.

    Attributes:
        cpu_s: CPU seconds.
        memory_bytes: the highest resident size during the work less that before it; `None`: the
            system does not tell.
    """

    cpu_s: float
    memory_bytes: int | None


@dataclass(frozen=True)
class Axis:
    """One quantity that grows.

    Attributes:
        name: of the quantity.
        work: what is done at each size.
        sizes: from small to large.
        prepare: makes ready what does not count, given the size and a folder; returns the work.
    """

    name: str
    work: str
    sizes: tuple[int, ...]
    prepare: Callable[[int, Path], Work]


def _population(size: int, _: Path) -> Work:
    problem = _problem(8192, batches=2)
    genomes = _genomes(problem, size)
    return lambda: problem.evaluate(genomes)


def _vocabulary(size: int, _: Path) -> Work:
    problem = _problem(size, batches=2)
    genomes = _genomes(problem, 8)
    return lambda: problem.evaluate(genomes)


def _library(size: int, _: Path) -> Work:
    return lambda: _matrices(size)


def _tokens(size: int, folder: Path) -> Work:
    text = generate(folder / "text.npy", size + 1, 50_257)
    fitting = FittingText([Stream(text)], 50_257, {}, workspace=folder)
    return lambda: KneserNey.fit(fitting, [Pattern.contiguous(4)])


def _functions(size: int, _: Path) -> Work:
    pieces = PackageCorpus(PackageCorpus.Settings()).read("train")
    texts = [piece.text for piece in islice(pieces, 20_000)]
    tokenizer = Tokenizer.train(texts, 8192)
    encoded = [token for text in tokenizer.encode_many(texts) for token in text]
    tokens = np.array(encoded[: _TRAIN_TOKENS + _SCORED_TOKENS + 1], dtype=np.int64)
    streams = [Stream(tokens[:_TRAIN_TOKENS])]
    scored = tokens[_TRAIN_TOKENS:]
    inputs, targets = scored[:-1].reshape(-1, _LENGTH), scored[1:].reshape(-1, _LENGTH)
    every = FunctionGridSettings().function_names()
    names = [every[place] for place in np.random.default_rng(0).permutation(len(every))[:size]]
    specs = [FunctionSpec.parse(name) for name in every]
    needed = sorted(frozenset[str]().union(*(spec.settings.class_names for spec in specs)))
    maps = fit_class_maps(streams, 8192, needed, seed=0, token_texts=tokenizer.token_texts)

    def work() -> Columns:
        fitted = fit_functions(names, streams, 8192, maps)
        return Columns.of(fitted, inputs, targets, 8192, split="test")

    return work


def _generations(surrogate: str, population: int) -> Callable[[int, Path], Work]:
    def prepare(size: int, folder: Path) -> Work:
        table = LossTable(_CARDINALITIES)
        settings = SearchSettings.model_validate(
            {
                "population": population,
                "generations": size,
                "mutation_rate": 0.2,
                "surrogate": {"kind": surrogate, "full_eval_fraction": 0.15},
            }
        )

        def work() -> None:
            search = Search(_CARDINALITIES, settings, folder=folder)
            while batch := search.ask():
                search.tell(batch, table.losses(batch))

        return work

    return prepare


def _matrices(size: int) -> BasisLibrary:
    sparse = BlockSparse.Settings(block=16, density=0.25)
    return BasisLibrary.generate(128, size, [sparse], 1.0, 0)


def _problem(vocab_size: int, batches: int) -> GptProblem:
    frame = GptFrame(GptShape(2, 2, 128, _LENGTH, vocab_size), seed=0)
    rng = np.random.default_rng(0)
    tokens = rng.integers(vocab_size, size=(batches, _BATCH_SIZE, _LENGTH + 1))
    inputs, targets = tokens[..., :-1].copy(), tokens[..., 1:].copy()
    return GptProblem(_matrices(64), frame, inputs, targets, share_layers=False)


def _genomes(problem: GptProblem, size: int) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(1)
    return [tuple(map(int, rng.integers(problem.space.cardinalities))) for _ in range(size)]


def _doublings(first: int, last: int) -> tuple[int, ...]:
    return tuple(first << step for step in range((last // first).bit_length()))


AXES = (
    Axis("population", "score the genomes, 1,024 tokens", _doublings(8, 512), _population),
    Axis("library", "make the matrices, 128 wide", _doublings(32, 1024), _library),
    Axis(
        "tokens",
        "count 5-grams",
        (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000, 30_000_000, 100_000_000),
        _tokens,
    ),
    Axis("vocabulary", "score 8 genomes, 1,024 tokens", _doublings(2048, 65_536), _vocabulary),
    Axis("functions", "count and score, 116,000 tokens", (6, 13, 26, 52, 103, 206), _functions),
    Axis(
        "generations",
        "search, 64 individuals",
        _doublings(25, 1600),
        _generations("none", 64),
    ),
    Axis(
        "generations, surrogate",
        "search, 64 individuals, Gaussian process",
        _doublings(10, 160),
        _generations("gaussian_process", 64),
    ),
)


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Return b of c n^b, by least squares on the logarithms of the largest half of the sizes."""
    kept = max(2, (len(sizes) + 1) // 2)
    slope, _ = np.polyfit(np.log(sizes[-kept:]), np.log(values[-kept:]), 1)
    return float(slope)


def measured(axis: Axis, size: int) -> Cost:
    """Do the work of one size in this process."""
    with tempfile.TemporaryDirectory() as folder, one_thread():
        work = axis.prepare(size, Path(folder))
        before = _resident_bytes("VmRSS")
        if before is not None:
            Path("/proc/self/clear_refs").write_text(_CLEAR_PEAK)
        began_s = time.process_time()
        kept = work()
        cpu_s = time.process_time() - began_s
        peak = _resident_bytes("VmHWM")
        del kept
    return Cost(cpu_s, None if before is None or peak is None else peak - before)


def _resident_bytes(name: str) -> int | None:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith(f"{name}:"))
    return 1024 * int(kib)


def _costs(axis: Axis, sizes: Sequence[int]) -> Iterator[Cost]:
    for size in sizes:
        command = [sys.executable, "-m", "benchmarks.growth", "--one", axis.name, str(size)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{axis.name} {size:,} failed:\n{done.stderr}")
        yield Cost(**json.loads(done.stdout.splitlines()[-1]))


def _table(axis: Axis, sizes: Sequence[int], costs: Sequence[Cost]) -> Table:
    title = f"{axis.name}: {axis.work}, one thread of {processor()}"
    table = Table(title=title, title_justify="left")
    for column in (axis.name, "CPU s", "memory, MB"):
        table.add_column(column, justify="right")
    for size, cost in zip(sizes, costs, strict=True):
        memory = "" if cost.memory_bytes is None else f"{cost.memory_bytes / 1e6:,.1f}"
        table.add_row(f"{size:,}", f"{cost.cpu_s:,.3f}", memory)
    memories = [cost.memory_bytes for cost in costs]
    grown = [memory for memory in memories if memory is not None and memory > 0]
    time_exponent = exponent(sizes, [cost.cpu_s for cost in costs])
    # no growth that could be seen has no exponent
    of_memory = f"{exponent(sizes, grown):.2f}" if len(grown) == len(sizes) else ""
    table.add_row("exponent", f"{time_exponent:.2f}", of_memory, end_section=True)
    return table


@styled
def figure(found: Sequence[tuple[Axis, Sequence[int], Sequence[Cost]]]) -> Figure:
    """Draw CPU seconds and memory over the size, a panel per axis, both scales logarithmic."""
    from matplotlib.figure import Figure

    n_columns = min(4, len(found))
    n_rows = -(-len(found) // n_columns)
    drawn = Figure(figsize=(2.9 * n_columns, 2.7 * n_rows), layout="constrained")
    panels = drawn.subplots(n_rows, n_columns, squeeze=False).reshape(-1)
    for axes, (axis, sizes, costs) in zip(panels, found, strict=False):
        values = [("CPU s", "o", [cost.cpu_s for cost in costs])]
        if all(cost.memory_bytes for cost in costs):
            values.append(("memory, GB", "s", [(cost.memory_bytes or 0) / 1e9 for cost in costs]))
        for (label, marker, line), color in zip(values, PALETTE, strict=False):
            slope = exponent(sizes, line)
            axes.plot(
                sizes, line, color=color, marker=marker, ms=4, label=f"{label}, ~ n^{slope:.2f}"
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(axis.name, color=INK)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        for scale in (axes.xaxis, axes.yaxis):
            plain_numbers(scale)
            scale.set_minor_formatter("")
        axes.legend(loc="upper left")
        low, high = axes.get_ylim()
        axes.set_ylim(low, high * 12)  # room for the legend
    for axes in panels[len(found) :]:
        axes.set_visible(False)
    return drawn


def main() -> None:
    """Measure the axes that were asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description=__doc__.splitlines()[0]
    )
    names = [axis.name for axis in AXES]
    parser.add_argument("--axes", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument(
        "--largest-tokens", type=int, default=10**7, help="10^8 take minutes and 4 GB"
    )
    parser.add_argument("--figure", type=Path, help="an SVG file to write")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "SIZE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, size = arguments.one
        axis = next(axis for axis in AXES if axis.name == name)
        print(json.dumps(asdict(measured(axis, int(size)))))
        return
    console = Console(width=max(Console().width, 100))
    found = []
    for axis in AXES:
        if axis.name not in arguments.axes:
            continue
        sizes = [
            size for size in axis.sizes if axis.name != "tokens" or size <= arguments.largest_tokens
        ]
        with console.status(axis.name):
            costs = list(_costs(axis, sizes))
        console.print(_table(axis, sizes, costs))
        found.append((axis, sizes, costs))
    if arguments.figure:
        slopes = (
            f"{axis.name} {exponent(sizes, [cost.cpu_s for cost in costs]):.2f}"
            for axis, sizes, costs in found
        )
        description = f"CPU seconds and memory over sizes; exponents of time: {', '.join(slopes)}"
        atomic_write_bytes(
            arguments.figure, figure_svg(figure(found), "growth", description).encode()
        )


if __name__ == "__main__":
    main()
