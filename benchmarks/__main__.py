"""Run all benchmarks, or those named on the command line, and print their ratios."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from benchmarks import baseline, command_line, evaluation, reload, search
from benchmarks.timing import Comparison

BENCHMARKS: dict[str, Callable[[], list[Comparison]]] = {
    "evaluation": evaluation.run,
    "baseline": baseline.run,
    "command_line": command_line.run,
    "reload": reload.run,
}
GROWTH = "search"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    known = [*BENCHMARKS, GROWTH]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    arguments = parser.parse_args()
    names = arguments.names or known
    if unknown := set(names) - set(known):
        parser.error(f"unknown {sorted(unknown)}, expected some of {', '.join(known)}")
    # Narrower, the names would be cut; a log file has no width of its own.
    console = Console(width=max(Console().width, 140))
    if compared := [name for name in names if name in BENCHMARKS]:
        _print_comparisons(console, compared)
    if GROWTH in names:
        _print_growth(console)


def _print_comparisons(console: Console, names: list[str]) -> None:
    table = Table(title="medians over pairs of runs", title_justify="left")
    for column in ("work", "CLSO", "against", "CLSO, s", "against, s", "times faster", "range"):
        table.add_column(column, justify="right" if "s" in column[-2:] else "left")
    for name in names:
        with console.status(name):
            for result in BENCHMARKS[name]():
                table.add_row(
                    result.what,
                    result.ours,
                    result.plain,
                    f"{sorted(result.ours_s)[len(result.ours_s) // 2]:.3f}",
                    f"{sorted(result.plain_s)[len(result.plain_s) // 2]:.3f}",
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


main()
