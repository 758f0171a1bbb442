"""The search beside the field's samplers, on problems that others publish.

    make standings            (the same as: python -m benchmarks.standings)

Every arm searches every problem with every seed, and the seed is also the number of the problem's
instance, so that all arms search the same functions. A search is kept as a Parquet file as soon as
it is over. The same command goes on where it was interrupted and searches again only what has
changed. `--print` makes the table of what is there.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.arms import ARMS, Arm
from benchmarks.problems import PROBLEMS, DiscreteProblem
from clso.artifacts import read_table, table_from_rows, write_table
from clso.digest import digest_of
from clso.errors import ClsoError, ConfigError
from clso.report.markdown import table_markdown
from clso.report.table import Table
from clso.report.terminal import TerminalTable

__all__ = ["Outcome", "Standings", "searched", "standings_table"]

_VERSION = 1  # raised when a change of a problem or of an arm's code changes outcomes


@dataclass(frozen=True)
class Outcome:
    """One search.

    Attributes:
        problem, arm: names.
        seed: of the search, and the number of the problem's instance.
        identity: a digest of what the outcome depends on besides.
        losses: of the evaluated genomes, in their order.
        cpu_s: CPU seconds of the search without its evaluations.
        evaluation_cpu_s: CPU seconds of its evaluations.
    """

    problem: str
    arm: str
    seed: int
    identity: str
    losses: list[float]
    cpu_s: float
    evaluation_cpu_s: float

    def best(self, evaluations: int) -> float:
        """Return the lowest loss after so many evaluations, times those of the arm."""
        return min(self.losses[: evaluations * ARMS[self.arm].times])


def _identity(arm: Arm, evaluations: int) -> str:
    return digest_of({"version": _VERSION, "evaluations": evaluations, **arm.identity})[:16]


def searched(arm: Arm, problem: str, seed: int, evaluations: int) -> Outcome:
    """Search an instance of a problem."""
    evaluate: DiscreteProblem = PROBLEMS[problem](seed)
    losses: list[float] = []
    spent_s = 0.0

    def loss(genome: Sequence[int]) -> float:
        nonlocal spent_s
        begun_s = time.process_time()
        value = evaluate(genome)
        spent_s += time.process_time() - begun_s
        losses.append(value)
        return value

    begun_s = time.process_time()
    arm.search(loss, evaluate.cardinalities, evaluations * arm.times, seed)
    cpu_s = time.process_time() - begun_s - spent_s
    identity = _identity(arm, evaluations)
    return Outcome(
        problem, arm.name, seed, identity, losses[: evaluations * arm.times], cpu_s, spent_s
    )


@dataclass(frozen=True)
class Standings:
    """Outcomes in a folder, a file each."""

    folder: Path

    def _path(self, problem: str, arm: str, seed: int) -> Path:
        return self.folder / problem / arm / f"seed-{seed:03d}.parquet"

    def outcome(self, arm: Arm, problem: str, seed: int, evaluations: int) -> Outcome | None:
        """Return a stored outcome; `None`: there is none, or the arm has changed since.

        Raises:
            ArtifactError: the file is torn, or of another version.
        """
        path = self._path(problem, arm.name, seed)
        if not path.exists():
            return None
        (row,) = read_table(path, "standings").to_pylist()
        outcome = Outcome(**row)
        return outcome if outcome.identity == _identity(arm, evaluations) else None

    def keep(self, outcome: Outcome) -> None:
        """Write an outcome."""
        table = table_from_rows([asdict(outcome)], "standings")
        path = self._path(outcome.problem, outcome.arm, outcome.seed)
        write_table(path, table, "standings")

    def outcomes(
        self, arms: Iterable[Arm], problems: Iterable[str], seeds: Sequence[int], evaluations: int
    ) -> list[Outcome]:
        """Return what is stored."""
        problems = list(problems)
        stored = (
            self.outcome(arm, problem, seed, evaluations)
            for arm in arms
            for problem in problems
            for seed in seeds
        )
        return [outcome for outcome in stored if outcome is not None]


def run(
    standings: Standings,
    arms: Sequence[Arm],
    problems: Sequence[str],
    *,
    seeds: Sequence[int],
    slow_seeds: int,
    evaluations: int,
    report: Callable[[str], None],
) -> None:
    """Search what is not stored, the arms that take minutes last and with `slow_seeds` seeds."""
    for arm in sorted(arms, key=lambda arm: arm.slow):
        for seed in seeds[:slow_seeds] if arm.slow else seeds:
            for problem in problems:
                if standings.outcome(arm, problem, seed, evaluations) is None:
                    report(f"{arm.name}, {problem}, seed {seed}")
                    standings.keep(searched(arm, problem, seed, evaluations))


def standings_table(outcomes: Sequence[Outcome], evaluations: int) -> Table:
    r"""Return the mean loss of each arm on each problem after so many evaluations.

    The standard error is that of the excess :math:`y_s - m_s` over seeds s, with :math:`m_s` the
    lowest loss of any search of that instance in the table. Instances differ more than arms do.
    Where an arm has fewer seeds, its mean is that of the lowest losses of all seeds plus its mean
    excess, so that means of the same column can be compared.
    """
    problems = [name for name in PROBLEMS if any(one.problem == name for one in outcomes)]
    lowest: dict[tuple[str, int], float] = {}
    for one in outcomes:
        key = (one.problem, one.seed)
        lowest[key] = min(lowest.get(key, one.best(evaluations)), one.best(evaluations))
    level = {
        problem: statistics.fmean(loss for (name, _), loss in lowest.items() if name == problem)
        for problem in problems
    }
    table = Table(
        f"Mean loss after {evaluations} evaluations",
        ["search", *problems, "CPU s a search", "seeds"],
        [
            "± is the standard error over seeds of the excess over the instance's lowest loss.",
            "CPU seconds are those of a whole search without its evaluations.",
        ],
    )
    table.add("lowest of all", *(_figure(level[problem]) for problem in problems), "", "")
    for arm in ARMS.values():
        own = [one for one in outcomes if one.arm == arm.name]
        if not own:
            continue
        cells = []
        for problem in problems:
            excess = [
                one.best(evaluations) - lowest[problem, one.seed]
                for one in own
                if one.problem == problem
            ]
            cells.append(_cell(level[problem], excess))
        seeds = {problem: sum(one.problem == problem for one in own) for problem in problems}
        counts = sorted(set(seeds.values()))
        table.add(
            arm.title,
            *cells,
            f"{statistics.fmean(one.cpu_s for one in own):.2g}",
            " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1]))),
        )
    return table


def _cell(level: float, excess: Sequence[float]) -> str:
    if not excess:
        return ""
    mean = _figure(level + statistics.fmean(excess))
    if len(excess) < 2:
        return mean
    return f"{mean} ± {_figure(statistics.stdev(excess) / len(excess) ** 0.5)}"


def _figure(value: float) -> str:
    return f"{value:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.standings",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), metavar="NAME")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--slow-seeds", type=int, default=2, help="of arms that take minutes")
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--at", type=int, help="show the losses after fewer evaluations")
    parser.add_argument("--print", action="store_true", help="search nothing, print what is there")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument("--out", type=Path, default=Path("artifacts/standings"))
    arguments = parser.parse_args()
    console = Console(width=max(Console().width, 160))
    try:
        problems = _known("problem", arguments.problems, PROBLEMS)
        arms = [ARMS[name] for name in _known("arm", arguments.arms, ARMS)]
        standings = Standings(arguments.out)
        seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
        if not arguments.print:
            with console.status("") as status:
                run(
                    standings,
                    arms,
                    problems,
                    seeds=seeds,
                    slow_seeds=arguments.slow_seeds,
                    evaluations=arguments.evaluations,
                    report=status.update,
                )
        outcomes = standings.outcomes(arms, problems, seeds, arguments.evaluations)
        table = standings_table(outcomes, arguments.at or arguments.evaluations)
    except ClsoError as error:
        parser.exit(error.exit_status, f"{error}\n")
    if arguments.markdown:
        print(table_markdown(table))
    else:
        console.print(TerminalTable(table))


def _known(what: str, names: Sequence[str], known: Iterable[str]) -> list[str]:
    known = list(known)
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(
            f"unknown {what} {', '.join(unknown)}", remedy=f"expected some of {', '.join(known)}"
        )
    return list(names)


if __name__ == "__main__":
    main()
