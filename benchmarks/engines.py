"""Seconds of a baseline's sweep and of a library's columns on each engine.

    python -m benchmarks.engines [--out artifacts] [--runs local:1 local:2 dask:2 ray:2]

The workers of a cluster start before the clock does, those of `local` at need; what they read
reaches them while it runs. The results of all engines are checked to be equal.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from clso.digest import digest_of
from clso.mixture.classes import fit_class_maps
from clso.mixture.parts import FittedLibrary, LibraryInputs
from clso.progress import SILENT
from pipelines import prepare
from pipelines.config import read_config
from pipelines.context import RunContext
from pipelines.experiment import Experiment
from pipelines.stages.baseline import sweep_of
from pipelines.stages.mixture_functions import FunctionLibrary

_CONFIG = "quick"
_SETTINGS = {
    "name": "engines",
    "data.train_tokens": 16_000,
    "mixture.search_tokens": 12_288,
    "runtime.threads": 1,  # so that trials on one machine can share its cores
    "baseline.learning_rates": [5e-4, 1e-3, 2e-3, 4e-3],
    "baseline.extend": 0,
}


def main() -> None:
    """Print a row per engine."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("artifacts"))
    parser.add_argument("--runs", nargs="+", default=["local:1", "local:2", "dask:2", "ray:2"])
    arguments = parser.parse_args()
    prepare(_CONFIG, _SETTINGS, out=arguments.out)
    print("engine workers: seconds of 4 trials, seconds of 205 columns, digest of the results")
    for run in arguments.runs:
        engine, _, workers = run.partition(":")
        settings = _SETTINGS | {"runtime.engine": engine, "runtime.workers": int(workers)}
        config = read_config(_CONFIG, settings)
        with RunContext.open(config, arguments.out, SILENT) as context:
            sweep_s, losses = _sweep(context)
            columns_s, columns = _columns(context.experiment)
        result = digest_of([losses, columns])[:12]
        print(f"{engine} {workers}: {sweep_s:.1f}, {columns_s:.1f}, {result}", flush=True)


def _sweep(context: RunContext) -> tuple[float, list[float | None]]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        sweep = sweep_of(context, "benchmark", home / "state", home / "adamw")
        began_s = time.perf_counter()
        result = sweep.from_scratch(context.experiment.gpt_shape)
        return time.perf_counter() - began_s, [trial.loss for trial in result.trials]


def _columns(experiment: Experiment) -> tuple[float, list[str]]:
    library, dataset = FunctionLibrary(experiment), experiment.dataset
    train = dataset.splits["train"].head(128_000)  # not the budget of the sweep
    maps = fit_class_maps(
        [train],
        dataset.vocab_size,
        experiment.config.mixture.library.needed_class_maps(),
        seed=0,
        token_texts=dataset.tokenizer.token_texts,
    )
    blocks = {name: library.searched_blocks(name) for name in ("tune", "validation")}
    inputs = LibraryInputs(train, blocks, dataset.vocab_size, maps)
    began_s = time.perf_counter()
    fitted = FittedLibrary.fit(inputs, library.names, experiment.engine, "benchmark")
    duration_s = time.perf_counter() - began_s
    return duration_s, [columns.fingerprint for columns in fitted.columns.values()]


if __name__ == "__main__":
    main()
