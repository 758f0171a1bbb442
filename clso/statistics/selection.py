"""Which families of the library the best genomes picked, against picking blindly.

A manifest's `genes` say, per gene, how its library is made up: runs of `[family, entries]` in
the order of the indices; genes in a row that pick from one library and together make a set are
described once, with their number. *Chance* is a family's share of the library. The best genomes
of one search descend from each other, so their picks are no independent draws and carry no
p-value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["FamilyPick", "best_individuals", "describe_genes", "picked_families"]


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
        entries = np.repeat(
            [name for name, _ in gene["families"]], [count for _, count in gene["families"]]
        )
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
