"""A long search and a folder of many runs: whether time, memory and files stay in proportion.

    python -m benchmarks soak [--generations N] [--population N] [--surrogate KIND] [--runs N]

The search is of a table, so all of its time is the search's own. Everything is kept in a folder.
Memory grows with the evaluated genomes alone, which the search must know. A surrogate is fitted to
all of them, so with one a generation takes the longer the more there are.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.stand_ins import LossTable
from clso.artifacts import load_run
from search import Search, SearchSettings

__all__ = ["Stretch", "listed_s", "search_stretches"]

_CARDINALITIES = [64] * 16
_SHARES = 10


@dataclass(frozen=True)
class Stretch:
    """A tenth of a search's generations.

    Attributes:
        generations: the last one of them, counted from 1.
        cpu_s: CPU seconds of one generation.
        evaluated: genomes so far.
        resident_bytes: of memory at the end.
        journal_bytes, state_bytes, folder_files: of the search's folder at the end.
    """

    generations: int
    cpu_s: float
    evaluated: int
    resident_bytes: int
    journal_bytes: int
    state_bytes: int
    folder_files: int


def search_stretches(generations: int, population: int, surrogate: str) -> Iterator[Stretch]:
    """Search, and yield what each tenth of the generations took."""
    table = LossTable(_CARDINALITIES)
    settings = SearchSettings.model_validate(
        {
            "population": population,
            "generations": generations,
            "mutation_rate": 0.2,
            "surrogate": {"kind": surrogate, "full_eval_fraction": 0.1},
        }
    )
    share = max(1, generations // _SHARES)
    with tempfile.TemporaryDirectory() as folder:
        done = 0

        def count(*_: object) -> None:
            nonlocal done
            done += 1

        search = Search(_CARDINALITIES, settings, folder=folder, callbacks=[count])
        began_s, told, evaluated = time.process_time(), 0, 0
        while batch := search.ask():
            evaluated += len(batch)
            search.tell(batch, table.losses(batch))
            if done >= told + share:
                took_s = time.process_time() - began_s
                files = [path for path in Path(folder).rglob("*") if path.is_file()]
                sizes = {path.suffix: path.stat().st_size for path in files}
                yield Stretch(
                    done,
                    took_s / (done - told),
                    evaluated,
                    resident_bytes(),
                    sizes.get(".journal", 0),
                    sizes.get(".json", 0),
                    len(files),
                )
                began_s, told = time.process_time(), done


def resident_bytes() -> int:
    """Return the memory that this process has in use."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:  # no Linux: the most so far
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def listed_s(runs: int) -> float:
    """Return the seconds of `clso ls` over a folder with so many finished runs."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        base = [sys.executable, "-m", "pipelines"]
        made = [*base, "run", "configs/smoke.yaml", "--no-prefect", "--out", str(out)]
        subprocess.run(made, check=True, capture_output=True)
        (first,) = (out / "runs").iterdir()
        for number in range(1, runs):
            _copied(first, number)
        began_s = time.perf_counter()
        listed = subprocess.run([*base, "ls", "--out", str(out)], check=True, capture_output=True)
        took_s = time.perf_counter() - began_s
        assert listed.stdout.count(b"smoke-") == runs
        assert b"damaged" not in listed.stdout
        return took_s


def _copied(run: Path, number: int) -> None:
    """Copy a run under another id; it stays the same run by its `uid`, which its tables carry."""
    run_id = f"{run.name.rpartition('-')[0]}-{number:010x}"
    copy = run.with_name(run_id)
    shutil.copytree(run, copy)
    stored = load_run(copy)
    stored.folder.write_manifest({**stored.manifest, "run_id": run_id})
