"""The search space: named slots, each with so many options.

Notation: a *genome* g is a list of n integers; slot i has cardinality c_i and 0 <= g_i < c_i.
The *canonical form* of a genome is the one representative of all genomes that mean the same
model; hash, cache and records use it, while crossover works on the raw slots.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from clso.errors import GenomeError

__all__ = ["Genome", "GenomeSpace", "Slot", "genome_hash"]

Genome = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """One gene: its name (`"layer0.attn_qkv"`) and how many options it picks from."""

    name: str
    cardinality: int


def _identity(genome: Genome) -> Genome:
    return genome


def genome_hash(canonical: Sequence[int]) -> str:
    """Return 16 hexadecimal digits that name a canonical genome, the same on every machine."""
    return hashlib.sha256(",".join(map(str, canonical)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class GenomeSpace:
    """The set of genomes a problem accepts.

    Args:
        slots: the genes in order.
        canonicalize: maps a genome to the representative of its equivalence class (must be
            idempotent); the default says that every genome means a model of its own.
        exchangeable: slots that together pick a set, option 0 being none: neither their order
            nor repetitions among them change the model. Whoever learns from genomes may see
            them as one multi-hot vector.
        describe: returns what is known of those options before any genome is scored, a row of d
            numbers for each, `(c, d)`; options with like rows are expected to do alike. The row
            of none is zero. Asked where it is wanted. `None`: nothing is known.

    Raises:
        GenomeError: no slots, a slot with fewer than one option, exchangeable slots that do
            not exist or differ in their options, or `describe` without any.
    """

    slots: tuple[Slot, ...]
    canonicalize: Callable[[Genome], Genome] = field(default=_identity, repr=False)
    exchangeable: tuple[int, ...] = ()
    describe: Callable[[], npt.NDArray[np.float64]] | None = field(
        default=None, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not self.slots:
            raise GenomeError("the genome has no slots", remedy="give at least one slot")
        for slot in self.slots:
            if slot.cardinality < 1:
                raise GenomeError(
                    f"slot {slot.name!r} has {slot.cardinality} options, expected at least 1"
                )
        if any(not 0 <= slot < len(self.slots) for slot in self.exchangeable):
            raise GenomeError(f"slots {self.exchangeable} are exchangeable, but not all exist")
        if len({self.slots[slot].cardinality for slot in self.exchangeable}) > 1:
            raise GenomeError("exchangeable slots differ in the number of their options")
        if self.describe is not None and not self.exchangeable:
            raise GenomeError("describe is about exchangeable slots, and there are none")

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Options per slot, `(n,)`."""
        return tuple(slot.cardinality for slot in self.slots)

    @property
    def size(self) -> int:
        r"""The number of raw genomes, :math:`\prod_i c_i`."""
        return math.prod(self.cardinalities)

    def features(self) -> npt.NDArray[np.float64] | None:
        """Return what `describe` says; `None`: nothing is known.

        Raises:
            GenomeError: it is not about the exchangeable slots' options.
        """
        if self.describe is None:
            return None
        found = self.describe()
        options = self.slots[self.exchangeable[0]].cardinality
        if found.ndim != 2 or len(found) != options:
            raise GenomeError(
                f"features have shape {found.shape}, expected a row for each of {options} options "
                "of the exchangeable slots"
            )
        if not np.isfinite(found).all() or found[:1].any():
            raise GenomeError("features must be finite, and those of option 0, none, zero")
        return found

    def validate(self, genome: Iterable[object]) -> Genome:
        """Return the genome as a tuple of ints.

        Raises:
            GenomeError: wrong length, a gene that is no integer, or one out of range; the
                message names the slot, the value and the range.
        """
        genes = tuple(genome)
        if len(genes) != len(self.slots):
            raise GenomeError(
                f"the genome has {len(genes)} genes, expected {len(self.slots)}",
                remedy="slots are: " + ", ".join(slot.name for slot in self.slots),
            )
        checked: list[int] = []
        for slot, gene in zip(self.slots, genes, strict=True):
            if isinstance(gene, bool) or not hasattr(gene, "__index__"):
                raise GenomeError(f"gene {slot.name!r} is {gene!r}, expected an integer")
            index = int(gene.__index__())
            if not 0 <= index < slot.cardinality:
                raise GenomeError(
                    f"gene {slot.name!r} is {index}, expected 0 to {slot.cardinality - 1}"
                )
            checked.append(index)
        return tuple(checked)

    def canonical(self, genome: Iterable[object]) -> Genome:
        """Validate a genome and return its canonical form."""
        return self.canonicalize(self.validate(genome))
