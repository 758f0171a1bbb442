"""Run all benchmarks, or those named on the command line, and print their ratios."""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.table import Table

from benchmarks import (
    baseline,
    command_line,
    evaluation,
    mixture_use,
    reload,
    search,
    soak,
    structured,
)
from benchmarks.timing import Comparison
from clso.energy import Measurement
from pipelines.context import processor

BENCHMARKS: dict[str, Callable[[], list[Comparison]]] = {
    "evaluation": evaluation.run,
    "baseline": baseline.run,
    "command_line": command_line.run,
    "reload": reload.run,
    "mixture_use": mixture_use.run,
}
GROWTH = "search"
STRUCTURED = "structured"
SOAK = "soak"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    known = [*BENCHMARKS, GROWTH, STRUCTURED]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*known, SOAK]))
    parser.add_argument("--tokens", type=int, default=2048, help="of each product in structured")
    parser.add_argument(
        "--widths", type=int, nargs="+", default=structured.WIDTHS, help="of models in structured"
    )
    parser.add_argument("--generations", type=int, default=1000, help="of the search in soak")
    parser.add_argument("--population", type=int, default=256, help="of the search in soak")
    parser.add_argument("--surrogate", default="none", help="of the search in soak")
    parser.add_argument("--runs", type=int, default=300, help="that soak lists")
    arguments = parser.parse_args()
    names = arguments.names or known  # a soak takes minutes, and is asked for by name
    if unknown := set(names) - {*known, SOAK}:
        parser.error(f"unknown {sorted(unknown)}, expected some of {', '.join([*known, SOAK])}")
    # Narrower, the names would be cut; a log file has no width of its own.
    console = Console(width=max(Console().width, 140))
    if compared := [name for name in names if name in BENCHMARKS]:
        results: list[Comparison] = []
        for name in compared:
            with console.status(name):
                results += BENCHMARKS[name]()
        _print_table(console, results)
    if GROWTH in names:
        _print_growth(console)
    if STRUCTURED in names:
        _print_structured(console, arguments.tokens, arguments.widths)
    if SOAK in names:
        _print_soak(console, arguments)


def _print_table(console: Console, results: Iterable[Comparison]) -> None:
    table = Table(title="medians over pairs of runs", title_justify="left")
    for column in ("work", "CLSO", "against", "CLSO, s", "against, s", "times faster", "range"):
        table.add_column(column, justify="right" if "s" in column[-2:] else "left")
    for result in results:
        table.add_row(
            result.what,
            result.ours,
            result.plain,
            f"{sorted(result.ours_s)[len(result.ours_s) // 2]:.3g}",
            f"{sorted(result.plain_s)[len(result.plain_s) // 2]:.3g}",
            f"{result.ratio:.2f}",
            f"{min(result.ratios):.2f} to {max(result.ratios):.2f}",
        )
    console.print(table)


def _print_growth(console: Console) -> None:
    with console.status(GROWTH):
        first_s, last_s = search.run()
    table = Table(title="a search's own cost as it grows older", title_justify="left")
    table.add_column("work")
    for column in (f"first {search.SHARE}, s", f"last {search.SHARE}, s", "last over first"):
        table.add_column(column, justify="right")
    table.add_row(search.WORK, f"{first_s:.2f}", f"{last_s:.2f}", f"{last_s / first_s:.2f}")
    console.print(table)
    with console.status(f"{GROWTH}: original_full"):
        outside = search.outside_evaluation()
    console.print(
        f"original_full: {outside.share:.1%} of the CPU time is outside of evaluation: "
        f"{outside.outside_s:.1f} s beside {outside.evaluations} evaluations of "
        f"{outside.evaluation_s:.2f} s; ten generations with a surrogate take "
        f"{outside.first_s:.2f} s first and {outside.last_s:.2f} s last"
    )
    with console.status(f"{GROWTH}: surrogate"):
        compared = search.surrogate()
    _print_table(console, compared)


def _print_soak(console: Console, arguments: argparse.Namespace) -> None:
    sizes = f"{arguments.generations:,} generations of {arguments.population:,} genomes"
    title = f"a long search, {sizes}, surrogate {arguments.surrogate}"
    table = Table(title=title, title_justify="left")
    for column in ("generations", "CPU ms each", "evaluated", "memory, MB", "journal, MB"):
        table.add_column(column, justify="right")
    for column in ("state, kB", "files"):
        table.add_column(column, justify="right")
    with console.status(SOAK):
        for stretch in soak.search_stretches(
            arguments.generations, arguments.population, arguments.surrogate
        ):
            table.add_row(
                f"{stretch.generations:,}",
                f"{stretch.cpu_s * 1e3:,.1f}",
                f"{stretch.evaluated:,}",
                f"{stretch.resident_bytes / 1e6:,.0f}",
                f"{stretch.journal_bytes / 1e6:,.1f}",
                f"{stretch.state_bytes / 1e3:,.1f}",
                f"{stretch.folder_files:,}",
            )
    console.print(table)
    if arguments.runs:
        with console.status(f"{SOAK}: runs"):
            seconds = soak.listed_s(arguments.runs)
        console.print(f"clso ls with {arguments.runs:,} runs: {seconds:.2f} s")


def _print_structured(console: Console, tokens: int, widths: Sequence[int]) -> None:
    rows = []
    with console.status(STRUCTURED) as status:
        for row in structured.run(tokens, widths):
            rows.append(row)
            status.update(f"{STRUCTURED}: {row.name}, {row.width}")
    sources = {measurement.energy_source for row in rows for measurement in row.dense}
    table = Table(
        title=f"one layer's matrices for {tokens:,} tokens, structured / dense, one thread of "
        f"{processor()}; joules by {', '.join(map(str, sources))}",
        title_justify="left",
    )
    for column in ("width", "family"):
        table.add_column(column)
    for column in ("kflop a token", "KiB moved a token", "KiB of W", "ms", "mJ"):
        table.add_column(column, justify="right")
    for column in ("times less CPU time", "range", "counted"):
        table.add_column(column, justify="right")
    table.add_column("applied as")
    for row in rows:
        works, weights = (row.work, row.dense_work), (row.weight_bytes, row.dense_weight_bytes)
        sides = (row.structured, row.dense)
        table.add_row(
            str(row.width),
            row.name,
            _both(work.flops / 1e3 for work in works),
            _both(work.moved_bytes / 1024 for work in works),
            _both(size / 1024 for size in weights),
            _both(_median(side, "duration_s") * 1e3 for side in sides),
            _both(_median(side, "energy_j") * 1e3 for side in sides),
            *(("", "") if row.is_skipped else _median_and_range(row.ratios)),
            "" if row.is_skipped or row.counted is None else f"{row.counted:.2f}",
            row.use,
        )
    console.print(table)
    table = Table(title="16 genomes scored, structured / dense", title_justify="left")
    for column in ("width", "ms", "mJ", "times less CPU time", "range"):
        table.add_column(column, justify="right")
    with console.status(f"{STRUCTURED}: populations"):
        for scored in structured.evaluations(widths):
            sides = (scored.structured, scored.dense)
            table.add_row(
                str(scored.width),
                _both(_median(side, "duration_s") * 1e3 for side in sides),
                _both(_median(side, "energy_j") * 1e3 for side in sides),
                *_median_and_range(structured.ratios(*sides)),
            )
    console.print(table)


def _median_and_range(values: Sequence[float]) -> tuple[str, str]:
    return f"{statistics.median(values):.2f}", f"{min(values):.2f} to {max(values):.2f}"


def _both(values: Iterable[float]) -> str:
    return " / ".join(f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" for value in values)


def _median(side: Sequence[Measurement], name: str) -> float:
    values = [getattr(measurement, name) for measurement in side]
    return math.nan if None in values else statistics.median(values)


main()
