r"""Which families of the library searches of many seeds end on, against picking blindly.

Searches with different seeds are independent draws, given the library, where the best genomes of
one search descend from each other. So a seed counts once: it gives the share s of its finalists'
genes that picked a family. Of one gene, with k = sum of s over n seeds, the interval is Clopper
and Pearson's,

.. math:: \left[B^{-1}(\alpha/2;\, k,\, n - k + 1),\; B^{-1}(1 - \alpha/2;\, k + 1,\, n - k)\right]

exact for seeds that say yes or no and wider than need be for shares, which vary less. Of several
genes together it is Student's t over the seeds' shares, unless they are all the same.

Sources: Clopper and Pearson 1934; Korn and Graubard 1998 (counts that are no whole numbers).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from rich.table import Table
from scipy import stats

from clso.report.formats import NOT_MEASURED, format_share, model_label
from clso.report.plain_table import plain_table
from clso.statistics.paired import CONFIDENCE, Difference, FloatArray
from clso.studies.ablations import BASE

__all__ = [
    "ALL_GENES",
    "SelectionLine",
    "binomial_interval",
    "mean_similarity",
    "selection_lines",
    "selection_rows",
    "selections_table",
]

ALL_GENES = "all genes"

Row = dict[str, Any]
Similarity = Callable[[str, Sequence[int]], float | None]
"""Mean similarity of a slot's entries at these indices, over all pairs."""


@dataclass(frozen=True)
class SelectionLine:
    """One gene and family as it is printed."""

    slot: str
    family: str
    picked: str
    interval: str
    chance: str
    similarity: str
    verdict: str


@dataclass(frozen=True)
class _Gene:
    """Genes in a row that pick from one library, and what the finalists of each seed picked.

    Attributes:
        slot: their name.
        entries: family of each option.
        picks: per seed, options `(n_finalists, n_genes)`, the best genome first.
    """

    slot: str
    entries: npt.NDArray[np.str_]
    picks: list[npt.NDArray[np.int64]]

    @property
    def families(self) -> list[str]:
        return list(dict.fromkeys(self.entries.tolist()))

    @property
    def n_genes(self) -> int:
        return int(self.picks[0].shape[1])

    def shares(self, family: str) -> FloatArray:
        return np.array([(self.entries[picked] == family).mean() for picked in self.picks])

    def chance(self, family: str) -> float:
        return float((self.entries == family).mean())

    def best(self, family: str) -> list[int]:
        """Return the options of a family in the best genome of each seed."""
        picked = np.concatenate([picks[0] for picks in self.picks])
        return [option for option in picked.tolist() if self.entries[option] == family]


def selection_rows(
    ablations: pa.Table,
    family: str,
    genes: Mapping[str, Sequence[Mapping[str, Any]]],
    similarity: Similarity | None = None,
) -> list[Row]:
    """Return, per arm, gene and family of the library, how often searches picked it.

    Args:
        ablations: the searches.
        family: the model family searched.
        genes: by arm, as `describe_genes` makes them.
        similarity: of entries of the base's library; `None`: there is no such thing.
    """
    rows = []
    for arm, described in genes.items():
        own = ablations.filter((pc.field("family") == family) & (pc.field("arm") == arm))
        finalists = [
            np.asarray(row["finalists"], dtype=np.int64).reshape(row["n_finalists"], -1)
            for row in own.select(["n_finalists", "finalists"]).to_pylist()
        ]
        stops = np.cumsum([gene["genes"] for gene in described]).tolist()
        found = [
            _Gene(gene["slot"], _entries(gene), [one[:, start:stop] for one in finalists])
            for gene, start, stop in zip(described, [0, *stops], stops, strict=False)
        ]
        compare = similarity if arm == BASE else None
        for gene in found:
            rows += [_row(arm, gene.slot, name, [gene], compare) for name in gene.families]
        if len(found) > 1:
            every = dict.fromkeys(name for gene in found for name in gene.families)
            rows += [_row(arm, None, name, found, None) for name in every]
    return rows


def _entries(gene: Mapping[str, Any]) -> npt.NDArray[np.str_]:
    return np.repeat(
        [name for name, _ in gene["families"]], [count for _, count in gene["families"]]
    )


def _row(
    arm: str, slot: str | None, family: str, genes: Sequence[_Gene], compare: Similarity | None
) -> Row:
    weights = [gene.n_genes for gene in genes]
    shares = np.average([gene.shares(family) for gene in genes], axis=0, weights=weights)
    low, high = _interval(shares, sum(weights))
    similar = library_similar = None
    if compare is not None and slot is not None:
        (gene,) = genes
        similar = compare(slot, gene.best(family))
        library_similar = compare(slot, np.flatnonzero(gene.entries == family).tolist())
    return {
        "arm": arm,
        "slot": slot,
        "entry_family": family,
        "picked": float(shares.mean()),
        "ci_low": low,
        "ci_high": high,
        "chance": float(np.average([gene.chance(family) for gene in genes], weights=weights)),
        "n_seeds": len(shares),
        "similarity": similar,
        "library_similarity": library_similar,
    }


def _interval(shares: FloatArray, n_genes: int) -> tuple[float, float]:
    spread = Difference.of(shares)
    if n_genes == 1 or not np.ptp(shares) or spread.low is None or spread.high is None:
        return binomial_interval(float(shares.sum()), len(shares))
    return max(0.0, spread.low), min(1.0, spread.high)


def binomial_interval(successes: float, n: int) -> tuple[float, float]:
    """Return Clopper and Pearson's interval for a share; see the module's equation."""
    tail = (1 - CONFIDENCE) / 2
    low = stats.beta.ppf(tail, successes, n - successes + 1) if successes > 0 else 0.0
    high = stats.beta.ppf(1 - tail, successes + 1, n - successes) if successes < n else 1.0
    return float(low), float(high)


def mean_similarity(cosines: FloatArray) -> float | None:
    """Return the mean absolute cosine over all pairs of different matrices.

    Args:
        cosines: of `clso.library.similarity`, `(N, N)`; NaN where a matrix is zero, which has no
            direction and is left out. `None` for fewer than two others.
    """
    pairs = cosines[np.triu_indices(len(cosines), 1)]
    known = pairs[~np.isnan(pairs)]
    return float(np.abs(known).mean()) if known.size else None


def selection_lines(selections: pa.Table, family: str) -> list[SelectionLine]:
    """Return the base's selections as they are printed: all genes, then each that has a choice."""
    rows = selections.filter((pc.field("family") == family) & (pc.field("arm") == BASE)).to_pylist()
    rows.sort(key=lambda row: row["slot"] is not None)
    return [
        SelectionLine(
            slot=row["slot"] or ALL_GENES,
            family=row["entry_family"].replace("_", " "),
            picked=format_share(row["picked"]),
            interval=f"{format_share(row['ci_low'])} to {format_share(row['ci_high'])}",
            chance=format_share(row["chance"]),
            similarity=_similarity(row),
            verdict=_verdict(row),
        )
        for row in rows
        if row["chance"] < 1
    ]


def _similarity(row: Row) -> str:
    both = (row["similarity"], row["library_similarity"])
    return " / ".join(NOT_MEASURED if one is None else f"{one:.2f}" for one in both)


def _verdict(row: Row) -> str:
    if row["ci_low"] > row["chance"]:
        return "more"
    return "less" if row["ci_high"] < row["chance"] else ""


def selections_table(selections: pa.Table, family: str) -> Table:
    """Return the base's selections as a table for the terminal; it fits 80 columns."""
    table = plain_table(
        f"families of the library that the {model_label(family)}'s finalists picked",
        f"share of genes, mean over seeds; {format_share(CONFIDENCE)} intervals, exact binomial "
        "for one gene and t for several, a seed counts once; similarity: mean absolute cosine "
        "between what two seeds picked / between any two entries",
    )
    for name in ("gene", "family"):
        table.add_column(name, overflow="fold")
    for name in ("picked", "interval", "chance", "", "similarity"):
        table.add_column(name, justify="right", no_wrap=True)
    last = None
    for line in selection_lines(selections, family):
        gene = "" if line.slot == last else line.slot
        last = line.slot
        cells = (line.picked, line.interval, line.chance, line.verdict, line.similarity)
        table.add_row(gene, line.family, *cells)
    return table
