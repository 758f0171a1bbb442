"""Seconds of the mixture's whole library: counted on a text, and scored on as many targets.

    python -m benchmarks.library [--tokens N] [--workers 2] [--out artifacts]

The text is the King James text's train split. Targets are of the text that was counted, so every
context occurs: other text takes less. The second figure compares functions of counts that are
scored together with the same functions one by one.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from benchmarks.timing import in_turn
from clso.engine import open_engine
from clso.mixture.classes import fit_class_maps
from clso.mixture.counts import CountedTogether, KneserNey
from clso.mixture.parts import FittedLibrary, LibraryInputs
from clso.mixture.specification import fit_functions
from clso.progress import SILENT
from clso.scoring import Int64Array
from clso.threads import one_thread
from pipelines import prepare
from pipelines.config import read_config
from pipelines.context import RunContext

_CONFIG = "quick"
_BLOCKS_AT_ONCE = 256  # as columns are computed


def main() -> None:
    """Print the seconds of all columns, and what sharing brings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=1_000_000, help="at most those of the split")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("artifacts"))
    arguments = parser.parse_args()
    settings = {"name": "library-benchmark"}
    prepare(_CONFIG, settings, out=arguments.out)
    config = read_config(_CONFIG, settings)
    with RunContext.open(config, arguments.out, SILENT) as context:
        dataset, library = context.experiment.dataset, config.mixture.library
    split = dataset.splits["train"]
    train = split.head(min(arguments.tokens, split.n_tokens))
    began_s = time.process_time()
    maps = fit_class_maps(
        [train],
        dataset.vocab_size,
        library.needed_class_maps(),
        seed=0,
        token_texts=dataset.tokenizer.token_texts,
    )
    print(f"{len(maps)} class maps: {time.process_time() - began_s:.1f} CPU s")
    blocks = {"train": train.blocks(slice(0, train.n_blocks))}
    inputs = LibraryInputs(train, blocks, dataset.vocab_size, maps)
    names = library.function_names()
    began_s, wall_s = time.process_time(), time.perf_counter()
    with open_engine("local", workers=arguments.workers) as engine:
        FittedLibrary.fit(inputs, names, engine, "benchmark")
    print(
        f"{len(names)} functions, {train.n_tokens:,} tokens, {blocks['train'][0].size:,} targets, "
        f"{arguments.workers} workers: {time.perf_counter() - wall_s:.1f} s, "
        f"{time.process_time() - began_s:.1f} CPU s of the command"
    )
    counted = [name for name in names if name.startswith("kn(")]
    with one_thread():
        functions = [
            function
            for function in fit_functions(counted, [train], dataset.vocab_size, maps)
            if isinstance(function, KneserNey)
        ]
        x, y = (part[:_BLOCKS_AT_ONCE] for part in blocks["train"])
        together = CountedTogether(functions)
        compared = in_turn(
            "",
            ("", lambda: together.target_probabilities(x, y)),
            ("", lambda: _alone(functions, x, y)),
            repeats=7,
        )
    print(
        f"{len(functions)} functions of counts, {x.size:,} targets, together: "
        f"{compared.ratio:.2f} times faster than one by one "
        f"({min(compared.ratios):.2f} to {max(compared.ratios):.2f})"
    )


def _alone(functions: list[KneserNey], x: Int64Array, y: Int64Array) -> None:
    for function in functions:
        function.target_probabilities(x, y)


if __name__ == "__main__":
    main()
