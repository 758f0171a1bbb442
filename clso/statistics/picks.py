r"""Which families of a library a search picked, against picking at random.

A manifest's `genes` say how the library of each gene is made up: runs of `[family, entries]` in the
order of the options. Genes in a row that pick from one library and together make a set are
described once, with their number. *Chance* is a family's share of the library. The best genomes of
one search descend from each other, so their picks are not independent and have no p-value.

Searches with different seeds are independent, given the library. So a seed counts once: it gives
the share s of its finalists' genes that picked a family. Of one gene, with k = sum of s over n
seeds, the interval is Clopper and Pearson's,

.. math:: \left[B^{-1}(\alpha/2;\, k,\, n - k + 1),\; B^{-1}(1 - \alpha/2;\, k + 1,\, n - k)\right]

exact where each seed picks the family in all of its finalists or in none, and wider than necessary
for other shares, which vary less. Of several genes together it is Student's t over the seeds'
shares, unless all shares are the same.

Sources: Clopper and Pearson 1934; Korn and Graubard 1998 (counts that are not whole numbers).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clso.statistics.paired import CONFIDENCE, Difference, FloatArray

__all__ = ["Genes", "Similarity", "mean_similarity"]

Row = dict[str, Any]
Genomes = npt.NDArray[np.int64]
Similarity = Callable[[str, Sequence[int]], float | None]
"""Mean similarity of a slot's entries at these options, over all pairs."""


@dataclass(frozen=True)
class _Gene:
    """Genes in a row, at the places `genes` of a genome, that pick from one library.

    `slot` is their name; `entries` has the family of each option, `(n_options,)`.
    """

    slot: str
    entries: npt.NDArray[np.str_]
    genes: slice

    @property
    def n_genes(self) -> int:
        return int(self.genes.stop - self.genes.start)

    @property
    def families(self) -> list[str]:
        return list(dict.fromkeys(self.entries.tolist()))

    def picked(self, genomes: Genomes, family: str) -> float:
        """Return the share of these genes that picked a family, of `(n_genomes, n_genes)`."""
        return float((self.entries[genomes[:, self.genes]] == family).mean())

    def chance(self, family: str) -> float:
        return float((self.entries == family).mean())


class Genes:
    """The genes of a model family as the manifest describes them (see `describe`)."""

    def __init__(self, described: Iterable[Mapping[str, Any]]) -> None:
        self._genes: list[_Gene] = []
        start = 0
        for gene in described:
            families, counts = zip(*gene["families"], strict=True)
            genes = slice(start, start + int(gene.get("genes", 1)))
            self._genes.append(_Gene(gene["slot"], np.repeat(families, counts), genes))
            start = genes.stop

    @staticmethod
    def describe(genes: Iterable[tuple[str, Sequence[str]]], *, repeats: int = 1) -> list[Row]:
        """Describe genes for a manifest: each a slot's name and the family of every entry.

        They are the first genes of a genome, in its order; later ones may be left out. Each
        description stands for `repeats` genes in a row.
        """
        return [
            {
                "slot": slot,
                "genes": repeats,
                "families": [[family, len(list(run))] for family, run in groupby(entries)],
            }
            for slot, entries in genes
        ]

    def picks(self, genomes: Sequence[Sequence[int]]) -> list[Row]:
        """Return, per gene and family of the library, the share of genomes that picked it.

        A row has `slot`, `entry_family`, `picked` and `chance`.
        """
        if not genomes:
            return []
        options = np.asarray(genomes, dtype=np.int64)
        return [
            {
                "slot": gene.slot,
                "entry_family": family,
                "picked": gene.picked(options, family),
                "chance": gene.chance(family),
            }
            for gene in self._genes
            for family in gene.families
        ]

    def selections(self, searches: pa.Table, similarity: Similarity | None = None) -> list[Row]:
        """Return, per gene and family of the library, how often the finalists picked it.

        `searches` are rows of the table `ablations`, one per seed. `similarity` is of the library's
        entries; `None`: unknown.
        """
        finalists = [
            np.asarray(row["finalists"], dtype=np.int64).reshape(row["n_finalists"], -1)
            for row in searches.select(["n_finalists", "finalists"]).to_pylist()
        ]
        rows = []
        for gene in self._genes:
            best = np.concatenate([genomes[0, gene.genes] for genomes in finalists])
            for family in gene.families:
                row = _selection(gene.slot, family, [gene], finalists)
                if similarity is not None:
                    chosen = best[gene.entries[best] == family].tolist()
                    options = np.flatnonzero(gene.entries == family).tolist()
                    row["similarity"] = similarity(gene.slot, chosen)
                    row["library_similarity"] = similarity(gene.slot, options)
                rows.append(row)
        if len(self._genes) > 1:
            every = dict.fromkeys(name for gene in self._genes for name in gene.families)
            rows += [_selection(None, family, self._genes, finalists) for family in every]
        return rows


def _selection(
    slot: str | None, family: str, genes: Sequence[_Gene], finalists: Sequence[Genomes]
) -> Row:
    weights = [gene.n_genes for gene in genes]
    by_gene = [[gene.picked(genomes, family) for genomes in finalists] for gene in genes]
    shares = np.average(by_gene, axis=0, weights=weights)
    low, high = _interval(shares, sum(weights))
    return {
        "slot": slot,
        "entry_family": family,
        "picked": float(shares.mean()),
        "ci_low": low,
        "ci_high": high,
        "chance": float(np.average([gene.chance(family) for gene in genes], weights=weights)),
        "n_seeds": len(shares),
        "similarity": None,
        "library_similarity": None,
    }


def _interval(shares: FloatArray, n_genes: int) -> tuple[float, float]:
    spread = Difference.of(shares)
    if n_genes == 1 or not np.ptp(shares) or spread.low is None or spread.high is None:
        return _binomial_interval(float(shares.sum()), len(shares))
    return max(0.0, spread.low), min(1.0, spread.high)


def _binomial_interval(successes: float, n: int) -> tuple[float, float]:
    """Return Clopper and Pearson's interval for a share; see the module's equation."""
    tail = (1 - CONFIDENCE) / 2
    from scipy import stats  # takes half a second, which `clso ls` need not

    low = stats.beta.ppf(tail, successes, n - successes + 1) if successes > 0 else 0.0
    high = stats.beta.ppf(1 - tail, successes + 1, n - successes) if successes < n else 1.0
    return float(low), float(high)


def mean_similarity(cosines: FloatArray) -> float | None:
    """Return the mean absolute cosine over all pairs of N matrices, from their `(N, N)` cosines.

    A zero matrix has no direction: its cosines are NaN and are left out. `None` for fewer than two
    matrices that are not zero.
    """
    pairs = cosines[np.triu_indices(len(cosines), 1)]
    known = pairs[~np.isnan(pairs)]
    return float(np.abs(known).mean()) if known.size else None
