"""The search space: named slots, each with a number of options.

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
    """The place of one gene: its name (`"layer0.attn_qkv"`) and its number of options."""

    name: str
    cardinality: int


def _identity(genome: Genome) -> Genome:
    return genome


def genome_hash(canonical: Sequence[int]) -> str:
    """Return 16 hexadecimal digits that name a canonical genome, the same on every machine."""
    return hashlib.sha256(",".join(map(str, canonical)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class GenomeSpace:
    """The set of genomes that a problem accepts.

    Args:
        slots: the places of the genes, in order.
        canonicalize: maps a genome to the representative of its equivalence class (must be
            idempotent). By default every genome means another model.
        exchangeable: slots that together pick a set; option 0 is "none". Neither their order
            nor repetitions among them change the model.
        describe: returns features of the options of the exchangeable slots, `(c, d)`: a row of d
            numbers for each option, known before any genome is scored. Options with similar rows
            are expected to give similar losses. The row of option 0 is zero. `None`: no features.

    Raises:
        GenomeError: no slots, a slot with fewer than one option, exchangeable slots that do
            not exist or differ in their options, or `describe` without exchangeable slots.
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

    @classmethod
    def of(cls, space: Sequence[int] | GenomeSpace) -> GenomeSpace:
        """Return a space as it is, or make one from the number of options of each gene.

        The slots of a new space are called `gene0`, `gene1`, ...

        Raises:
            GenomeError: no sequence, no genes, or a number of options that is no integer from 1.
        """
        if isinstance(space, GenomeSpace):
            return space
        if not isinstance(space, Iterable):
            raise GenomeError(
                f"the space is {space!r}, expected the number of options of each gene",
                remedy="give a list, such as [8] * 12",
            )
        slots = []
        for index, options in enumerate(space):
            if isinstance(options, bool) or not hasattr(options, "__index__"):
                raise GenomeError(
                    f"gene {index} has {options!r} options, expected an integer of at least 1",
                    remedy="give the number of options of each gene, such as [8] * 12",
                )
            slots.append(Slot(f"gene{index}", int(options.__index__())))
        return cls(tuple(slots))

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
        """Return the features that `describe` gives, `(c, d)`; `None` without `describe`.

        Raises:
            GenomeError: not one row for each option, a number that is not finite, or a row of
                option 0 that is not zero.
        """
        if self.describe is None:
            return None
        features = self.describe()
        options = self.slots[self.exchangeable[0]].cardinality
        if features.ndim != 2 or len(features) != options:
            raise GenomeError(
                f"features have shape {features.shape}, expected a row for each of {options} "
                "options of the exchangeable slots"
            )
        if not np.isfinite(features).all() or features[:1].any():
            raise GenomeError("features must be finite, and those of option 0, none, zero")
        return features

    def validate(self, genome: Iterable[object]) -> Genome:
        """Return the genome as a tuple of ints.

        Raises:
            GenomeError: wrong length, or a gene that is no integer or out of range; the message
                names the slot, the value and the range.
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
