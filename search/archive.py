"""The genomes that were scored, and what each scored.

The archive proper holds *whole* losses, on all fixed batches: neither a prediction nor a loss on
a part of the batches is among them, so what is read from it is a result. Losses of genomes that
were screened out on a part of the batches are kept apart. From them an estimate of the whole loss
follows, which surrogates learn from and selection uses.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass

from clso.genome import Genome
from search.ladder import Rung

__all__ = ["Archive", "Scored", "Screened"]


@dataclass(frozen=True, slots=True)
class Scored:
    """An evaluated genome.

    Attributes:
        genome: its slots as bred.
        canonical: the representative that was evaluated.
        loss: nats per token on all fixed batches; `None`: the evaluation failed.
    """

    genome: Genome
    canonical: Genome
    loss: float | None


@dataclass(frozen=True, slots=True)
class Screened:
    """A genome that a part of the batches ruled out.

    Attributes:
        canonical: the representative that was scored.
        fidelity: which part.
        loss: nats per token on it.
    """

    canonical: Genome
    fidelity: float
    loss: float


class Archive:
    """Scored genomes in the order of their evaluation, one entry for each canonical form.

    Adding a genome and asking for the best ones takes a time that hardly depends on how many
    there are.

    Attributes:
        incumbent_rungs: what the incumbent scored on parts of the batches.
    """

    def __init__(self) -> None:
        self._whole: dict[Genome, Scored] = {}
        self._screened: set[Genome] = set()
        self._order: list[Scored | Screened] = []
        # losses in ascending order, each with its place in `_order`
        self._ranking: list[tuple[float, int]] = []
        self.incumbent_rungs: tuple[Rung, ...] = ()

    def __len__(self) -> int:
        return len(self._whole)

    def __iter__(self) -> Iterator[Scored]:
        return iter(self._whole.values())

    def __contains__(self, canonical: object) -> bool:
        return canonical in self._whole

    def get(self, canonical: Genome) -> Scored | None:
        """Return a genome's entry, `None` if it was never evaluated."""
        return self._whole.get(canonical)

    def add(self, scored: Scored) -> None:
        """Enter a genome that was just evaluated.

        Raises:
            ValueError: it had been evaluated before.
        """
        if scored.canonical in self._whole:
            raise ValueError(f"genome {scored.canonical} was evaluated twice")
        self._whole[scored.canonical] = scored
        if scored.loss is not None:
            insort(self._ranking, (scored.loss, len(self._order)))
        self._order.append(scored)

    def screen_out(self, screened: Screened) -> None:
        """Enter a genome that a part of the batches ruled out; it is not scored again."""
        self._screened.add(screened.canonical)
        self._order.append(screened)

    def first(self, count: int) -> Archive:
        """Return an archive of the first `count` genomes that were scored."""
        if count == self.n_known:
            return self
        archive = Archive()
        for entry in self._order[:count]:
            if isinstance(entry, Scored):
                archive.add(entry)
            else:
                archive.screen_out(entry)
        return archive

    @property
    def in_order(self) -> tuple[Scored | Screened, ...]:
        """Every genome that was scored, on all batches or some, the earlier first."""
        return tuple(self._order)

    def estimated_loss(self, fidelity: float, loss: float) -> float | None:
        """Estimate a whole loss from one on a part; `None` without an incumbent scored there.

        A part of the batches is easier or harder than all of them, for every genome. The estimate
        assumes that a genome is as far behind the incumbent on all batches as on that part.
        """
        whole = self.incumbent_loss
        for rung in self.incumbent_rungs:
            if rung.fidelity == fidelity and whole is not None:
                return whole + (loss - rung.loss)
        return None

    def knows(self, canonical: Genome) -> bool:
        """Return whether a genome was scored, on all batches or some."""
        return canonical in self._whole or canonical in self._screened

    @property
    def n_known(self) -> int:
        """How many genomes were scored, on all batches or some."""
        return len(self._order)

    def best(self, count: int) -> list[Scored]:
        """Return the `count` lowest losses; of equals the earlier first, failures never."""
        entries = (self._order[place] for _, place in self._ranking[:count])
        return [entry for entry in entries if isinstance(entry, Scored)]

    @property
    def incumbent(self) -> Scored | None:
        """The genome with the lowest loss; `None` while every evaluation failed."""
        return next(iter(self.best(1)), None)

    @property
    def incumbent_loss(self) -> float | None:
        """The lowest loss evaluated so far."""
        return self._ranking[0][0] if self._ranking else None

    def training_set(self) -> tuple[list[Genome], list[float]]:
        """Return what a surrogate learns from, in the order of evaluation.

        Genomes that were screened out have their estimated losses, failed ones the worst loss or
        estimate of all.
        """
        known = [
            (entry, entry.loss if isinstance(entry, Scored) else self._estimate(entry))
            for entry in self._order
        ]
        # an estimate may be missing, which is no failure
        known = [
            (entry, loss) for entry, loss in known if isinstance(entry, Scored) or loss is not None
        ]
        worst = max((loss for _, loss in known if loss is not None), default=None)
        if worst is None:
            return [], []
        return [entry.canonical for entry, _ in known], [
            worst if loss is None else loss for _, loss in known
        ]

    def _estimate(self, screened: Screened) -> float | None:
        return self.estimated_loss(screened.fidelity, screened.loss)
