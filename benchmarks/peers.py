"""Bits per byte of compressors on a run's test text, beside the run's models.

    make peers RUN=quick        (the same as: python -m benchmarks.peers quick)

Each compressor is primed with the text of the run's budget, train plus tune: what counts is by how
many bits it grows when the test text follows, size(train + test) - size(train). The bytes are those
of the targets that the models scored. A compressor sees more than a model of a run, as the table
says, and codes no end of a document.

Other runs may follow, such as one with longer blocks; their models are listed with their own test
bytes. Packages: pip install 'clso[peers]'.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from rich.console import Console

from clso.artifacts import Run
from clso.data import Dataset, TokenSplit
from clso.errors import ClsoError
from clso.report.formats import LOSS
from clso.report.models import Models
from clso.report.table import Column, Table
from clso.report.terminal import TerminalTable
from pipelines.inspect import find_run

Compressor = Callable[[bytes], bytes]

_PPMD_ORDERS = (5, 6, 8, 12, 16, 24)
_PPMD_MEMORY_BYTES = 1 << 30
_SEEN_BY_FLOORS = {
    "uniform": "nothing",
    "unigram": "nothing",
    "bigram": "the last token",
    "kneser_ney": "the last four tokens of its block",
}


@dataclass(frozen=True)
class Texts:
    """The text of a run's budget, its validation and its test targets, as bytes."""

    training: bytes
    validation: bytes
    test: bytes

    @classmethod
    def of(cls, run: Run) -> Texts:
        """Read the tokens that the run's models have learned from and were scored on."""
        data = run.config["data"]
        folder = run.path.parents[1] / "datasets" / run.manifest["data_fingerprint"]
        dataset = Dataset.load(folder, block_size=data["block_size"])
        splits = dataset.budget(data["train_tokens"])
        texts = dataset.tokenizer.token_texts

        def text(split: TokenSplit, first: int) -> bytes:
            tokens = split.tokens(first, split.n_tokens + 1)
            return b"".join(texts[token] for token in tokens.tolist())

        return cls(
            text(splits["train"], 0) + text(splits["tune"], 0),
            text(splits["validation"], 1),
            text(splits["test"], 1),
        )


class Primed:
    """A compressor that has read a training text."""

    def __init__(self, compress: Compressor, training: bytes) -> None:
        self._compress = compress
        self._training = training

    @cached_property
    def _training_size(self) -> int:
        return len(self._compress(self._training))

    def bits_per_byte(self, text: bytes) -> float:
        """Return the bits by which the compressed text grows per byte of a text after it."""
        return 8 * (len(self._compress(self._training + text)) - self._training_size) / len(text)


def zpaq_compressor() -> Compressor:
    """Return `zpaq -m5` with one block, and so one model, for the whole text."""
    import zpaq

    def compress(text: bytes) -> bytes:
        megabytes = -(-len(text) // (1 << 20))
        block = max(megabytes - 1, 15).bit_length()  # 2**block megabytes hold the text
        return zpaq.compress(text, method=f"5{block}", threads=1)

    return compress


def ppmd_compressors() -> Iterator[tuple[int, Compressor]]:
    """Yield the longest context in bytes and PPMd (variant I) with memory that never fills up."""
    import pyppmd

    for order in _PPMD_ORDERS:
        settings = {"max_order": order, "mem_size": _PPMD_MEMORY_BYTES, "variant": "I"}
        yield order, partial(pyppmd.compress, **settings)


def compare(runs: list[Run], console: Console) -> Table:
    """Return a row per compressor and per model of the runs, the fewest bits per byte first."""
    texts = Texts.of(runs[0])
    rows: list[tuple[float, str, str, str]] = []
    past = "all text before, test text too, and learns from it"
    n_bytes = f"{len(texts.test):,}"
    ppmd = {order: Primed(compress, texts.training) for order, compress in ppmd_compressors()}
    with console.status("PPMd's order, by validation"):
        order = min(ppmd, key=lambda order: ppmd[order].bits_per_byte(texts.validation))
    primed = {
        "zpaq -m5": Primed(zpaq_compressor(), texts.training),
        f"PPMd, order {order}": ppmd[order],
    }
    for name, compressor in primed.items():
        with console.status(name):
            rows.append((compressor.bits_per_byte(texts.test), name, past, n_bytes))
    for run in runs:
        size, models = run.config["data"]["block_size"], Models(run.manifest)
        n_bytes = f"{len(texts.test if run is runs[0] else Texts.of(run).test):,}"
        for result in run.results.to_pylist():
            sees = _SEEN_BY_FLOORS.get(result["model"], f"its block of {size} tokens")
            title = models.title(result["model"]) + f" ({run.run_id})" * (run is not runs[0])
            rows.append((result["bits_per_byte"], title, sees, n_bytes))
    table = Table(
        f"Test text of {runs[0].run_id}",
        ["model", "bits/byte", Column("sees of the test text", text=True), "test bytes"],
        [
            f"Compressors are primed with the training text of {len(texts.training):,} bytes.",
            "They do not code the ends of documents, whose bits the models pay.",
        ],
    )
    for bits, name, sees, n_bytes in sorted(rows):
        table.add(name, LOSS.text(bits), sees, n_bytes)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run, as `clso show` takes it")
    parser.add_argument("--out", type=Path, default=Path("artifacts"), help="the output folder")
    arguments = parser.parse_args()
    console = Console()
    try:
        runs = [find_run(name, arguments.out) for name in arguments.runs]
        console.print(TerminalTable(compare(runs, console)))
    except ModuleNotFoundError as error:
        if error.name not in ("zpaq", "pyppmd"):
            raise
        parser.exit(2, f"{error.name} is not installed\n  run: pip install 'clso[peers]'\n")
    except ClsoError as error:
        parser.exit(error.exit_status, f"{error}\n")


if __name__ == "__main__":
    main()
