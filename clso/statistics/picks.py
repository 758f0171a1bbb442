r"""Which families of a library a search picked, against picking blindly.

A manifest's `genes` say, per gene, how its library is made up: runs of `[family, entries]` in the
order of the indices; genes in a row that pick from one library and together make a set are
described once, with their number. *Chance* is a family's share of the library. The best genomes of
one search descend from each other, so their picks are no independent draws and carry no p-value.

Searches with different seeds are independent draws, given the library. So a seed counts once: it
gives the share s of its finalists' genes that picked a family. Of one gene, with k = sum of s over
n seeds, the interval is Clopper and Pearson's,

.. math:: \left[B^{-1}(\alpha/2;\, k,\, n - k + 1),\; B^{-1}(1 - \alpha/2;\, k + 1,\, n - k)\right]

exact for seeds that all or none pick the family, and wider than need be for shares, which vary
less. Of several genes together it is Student's t over the seeds' shares, unless all are the same.

Sources: Clopper and Pearson 1934; Korn and Graubard 1998 (counts that are no whole numbers).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import stats

from clso.statistics.paired import CONFIDENCE, Difference, FloatArray

__all__ = [
    "FamilyPick",
    "Similarity",
    "best_individuals",
    "describe_genes",
    "mean_similarity",
    "picked_families",
    "selection_rows",
]

Row = dict[str, Any]
Similarity = Callable[[str, Sequence[int]], float | None]
"""Mean similarity of a slot's entries at these indices, over all pairs."""


@dataclass(frozen=True)
class FamilyPick:
    """How often the best genomes took one family in one gene.

    Attributes:
        slot: the gene's name.
        family: the family of matrices.
        picked: share of the best genomes.
        chance: the family's share of that gene's library.
    """

    slot: str
    family: str
    picked: float
    chance: float


def describe_genes(
    genes: Iterable[tuple[str, Sequence[str]]], *, repeats: int = 1
) -> list[dict[str, Any]]:
    """Describe genes for a manifest: each a slot's name and the family of every entry.

    Args:
        genes: in the order of the genome; what follows them there is not described.
        repeats: how many genes in a row each description stands for.
    """
    return [
        {
            "slot": slot,
            "genes": repeats,
            "families": [[family, len(list(run))] for family, run in groupby(entries)],
        }
        for slot, entries in genes
    ]


def best_individuals(evaluations: pa.Table, family: str, share: float = 0.1) -> pa.Table:
    """Return the best share of the different models that were evaluated, at least one."""
    rows = evaluations.filter(
        (pc.field("family") == family)
        & (pc.field("status") == "evaluated")
        & pc.field("evaluated_loss").is_valid()
    ).sort_by([("evaluated_loss", "ascending"), ("genome_hash", "ascending")])
    hashes = rows["genome_hash"].to_numpy()
    _, first = np.unique(hashes, return_index=True)
    return rows.take(np.sort(first)[: math.ceil(share * len(first))])


def picked_families(
    evaluations: pa.Table,
    genes: Sequence[Mapping[str, Any]],
    family: str,
    share: float = 0.1,
) -> list[FamilyPick]:
    """Return, per gene and family, the best genomes' share and the library's.

    Args:
        evaluations: a run's table.
        genes: as `describe_genes` makes them, one per gene.
        family: the model family searched.
        share: how many of the evaluated models count as the best.
    """
    best = best_individuals(evaluations, family, share)["genome"].to_pylist()
    if not best:
        return []
    picks = []
    start = 0
    for gene in genes:
        stop = start + int(gene.get("genes", 1))
        entries = _entries(gene)
        chosen = entries[[option for genome in best for option in genome[start:stop]]]
        start = stop
        picks += [
            FamilyPick(
                slot=gene["slot"],
                family=str(name),
                picked=float((chosen == name).mean()),
                chance=float((entries == name).mean()),
            )
            for name in dict.fromkeys(entries)
        ]
    return picks


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
        described_genes = [
            _Gene(gene["slot"], _entries(gene), [genomes[:, start:stop] for genomes in finalists])
            for gene, start, stop in zip(described, [0, *stops], stops, strict=False)
        ]
        compare = similarity if arm == "base" else None
        for gene in described_genes:
            rows += [_row(arm, gene.slot, name, [gene], compare) for name in gene.families]
        if len(described_genes) > 1:
            every = dict.fromkeys(name for gene in described_genes for name in gene.families)
            rows += [_row(arm, None, name, described_genes, None) for name in every]
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
        return _binomial_interval(float(shares.sum()), len(shares))
    return max(0.0, spread.low), min(1.0, spread.high)


def _binomial_interval(successes: float, n: int) -> tuple[float, float]:
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
