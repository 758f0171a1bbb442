"""Run all benchmarks, or those named on the command line, and print one table of ratios."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from benchmarks import baseline, command_line, evaluation, reload
from benchmarks.timing import Comparison

BENCHMARKS: dict[str, Callable[[], list[Comparison]]] = {
    "evaluation": evaluation.run,
    "baseline": baseline.run,
    "command_line": command_line.run,
    "reload": reload.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names or list(BENCHMARKS)
    if unknown := set(names) - BENCHMARKS.keys():
        parser.error(f"unknown {sorted(unknown)}, expected some of {', '.join(BENCHMARKS)}")
    # Narrower, the names would be cut; a log file has no width of its own.
    console = Console(width=max(Console().width, 140))
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


main()
