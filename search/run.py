"""Loops around a search: of a function or problem of your own, and as a part of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from clso.energy import EnergyMonitor
from clso.errors import ConfigError
from clso.genome import GenomeSpace
from clso.problem import Problem, Result
from clso.progress import SILENT, Reporter
from search.archive import Finalist
from search.function import Function
from search.loop import Callback, Search
from search.records import Records, RecordSink
from search.result import SearchResult
from search.settings import SearchSettings
from search.surrogates import SurrogateFactory

__all__ = ["minimize", "run_search"]


def minimize(
    loss: Callable[[list[int]], Result] | Problem,
    space: Sequence[int] | GenomeSpace | None = None,
    *,
    evaluations: int | None = None,
    settings: SearchSettings | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    start: Sequence[Sequence[int]] = (),
    callbacks: Sequence[Callback] = (),
    fingerprint: str = "",
) -> SearchResult:
    """Search for the genome with the lowest loss.

        best = minimize(loss, [8] * 12, evaluations=400, seed=0)
        best.genome, best.loss, best.evaluations.to_pandas()

    Args:
        loss: a function of a list of indices, or a `Problem`. A function returns a number, an
            `Evaluation`, or `None`, NaN or an infinity for a failure. An exception of the
            function ends the call; the same call later goes on from the folder.
        space: the number of options of each gene, or a `GenomeSpace`; a `Problem` has its own.
        evaluations: budget; `None`: as in `settings`.
        settings, seed, folder, start, callbacks, fingerprint: see `Search`.

    Raises:
        ClsoError: see `Search`; or a function without a space, or a problem with one.
    """
    settings = SearchSettings() if settings is None else settings
    if evaluations is not None:
        settings = settings.lasting(evaluations, patience=settings.patience)
    if isinstance(loss, Problem):
        if space is not None:
            raise ConfigError("a problem has a space of its own", remedy="leave out space")
        problem: Problem = loss
    elif space is None:
        raise ConfigError(
            "a function needs a space: the number of options of each gene",
            remedy="give it as the second argument, such as [8] * 12",
        )
    else:
        problem = Function(GenomeSpace.of(space), fingerprint, loss)
    search = Search(problem, settings, seed=seed, folder=folder, start=start, callbacks=callbacks)
    return search.run()


def run_search(
    problem: Problem,
    settings: SearchSettings,
    *,
    seed: int,
    family: str,
    run_id: str,
    sink: RecordSink,
    state_path: Path | None = None,
    monitor: EnergyMonitor | None = None,
    reporter: Reporter = SILENT,
    should_stop: Callable[[], bool] | None = None,
    surrogate: SurrogateFactory | None = None,
    start: Sequence[Sequence[int]] = (),
    belongs_to: str = "",
) -> SearchResult:
    """Search a problem's genomes as a part of a run.

    Args:
        family, run_id: columns of the records; the family is also shown to the reporter.
        sink: receives every generation's rows before the state is saved.
        state_path, belongs_to: see `Records`; the same call later goes on from there.
        monitor: measures generations and the surrogate; `None`: durations only.
        reporter: told the incumbent after every generation.
        should_stop: asked between generations; true ends the search as `"interrupted"`.
        surrogate: makes surrogates in place of `settings.surrogate.kind`.
        start: see `Search`.

    Raises:
        ClsoError: see `Search`.
    """
    with reporter.task(f"search {family}", total=settings.generations) as task:

        def report(generations: int, incumbent: Finalist | None) -> None:
            task.update(generations, "" if incumbent is None else f"best {incumbent.loss:.4f}")

        search = Search(
            problem,
            settings,
            start=start,
            callbacks=[lambda row, incumbent: report(row["generation"] + 1, incumbent)],
            surrogate=surrogate,
            monitor=monitor,
            should_stop=should_stop,
            records=Records(run_id, seed, family, sink, state_path, belongs_to),
        )
        report(search.result.n_generations, search.incumbent)
        return search.run()
