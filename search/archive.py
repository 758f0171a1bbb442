"""Every genome that was really evaluated; the hall of fame is its best.

Neither a prediction nor a loss on a part of the batches enters here, so what is read from here is
a result. Of genomes that were screened out the loss on that part is kept apart: an estimate of
the whole one follows from it, for the surrogate to learn from and for selection to go by.
"""

from __future__ import annotations

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
    """Evaluated genomes in the order of their evaluation, one entry per canonical form.

    Attributes:
        incumbent_rungs: what the incumbent scored on parts of the batches.
    """

    def __init__(self) -> None:
        self._entries: dict[Genome, Scored] = {}
        self._screened: dict[Genome, Screened] = {}
        self._order: list[Scored | Screened] = []
        self.incumbent_rungs: tuple[Rung, ...] = ()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Scored]:
        return iter(self._entries.values())

    def __contains__(self, canonical: Genome) -> bool:
        return canonical in self._entries

    def get(self, canonical: Genome) -> Scored | None:
        """Return a genome's entry, `None` if it was never evaluated."""
        return self._entries.get(canonical)

    def add(self, scored: Scored) -> None:
        """Enter a genome that was just evaluated.

        Raises:
            ValueError: it had been evaluated before.
        """
        if scored.canonical in self._entries:
            raise ValueError(f"genome {scored.canonical} was evaluated twice")
        self._entries[scored.canonical] = scored
        self._order.append(scored)

    def screen_out(self, screened: Screened) -> None:
        """Note a genome that a part of the batches ruled out; it is not scored again."""
        self._screened[screened.canonical] = screened
        self._order.append(screened)

    @property
    def in_order(self) -> tuple[Scored | Screened, ...]:
        """Every genome that was scored, on all batches or some, the earlier first."""
        return tuple(self._order)

    def estimated_loss(self, fidelity: float, loss: float) -> float | None:
        """Estimate a whole loss from one on a part; `None` without an incumbent scored there.

        A part of the batches is easier or harder than all of them, for every genome: what is
        taken over is how far the incumbent was ahead on the same part.
        """
        whole = self.incumbent_loss
        for rung in self.incumbent_rungs:
            if rung.fidelity == fidelity and whole is not None:
                return whole + (loss - rung.loss)
        return None

    def knows(self, canonical: Genome) -> bool:
        """Return whether a genome was scored, on all batches or some."""
        return canonical in self._entries or canonical in self._screened

    @property
    def n_known(self) -> int:
        """How many genomes were scored, on all batches or some."""
        return len(self._entries) + len(self._screened)

    def best(self, count: int) -> list[Scored]:
        """Return the `count` lowest losses; of equals the earlier first, failures never."""
        finite = [(entry.loss, entry) for entry in self if entry.loss is not None]
        return [entry for _, entry in sorted(finite, key=lambda pair: pair[0])[:count]]

    @property
    def incumbent(self) -> Scored | None:
        """The lowest loss; `None` while every evaluation failed."""
        return next(iter(self.best(1)), None)

    @property
    def incumbent_loss(self) -> float | None:
        """The lowest loss evaluated so far."""
        incumbent = self.incumbent
        return None if incumbent is None else incumbent.loss

    def training_set(self) -> tuple[list[Genome], list[float]]:
        """Return what a surrogate learns from, in the order of evaluation.

        Genomes that were screened out count with their estimates, failures with the worst loss or
        estimate there is.
        """
        known = [
            (one, one.loss if isinstance(one, Scored) else self._estimate(one))
            for one in self._order
        ]
        # an estimate may be missing, which is no failure
        known = [(one, loss) for one, loss in known if isinstance(one, Scored) or loss is not None]
        worst = max((loss for _, loss in known if loss is not None), default=None)
        if worst is None:
            return [], []
        return [one.canonical for one, _ in known], [
            worst if loss is None else loss for _, loss in known
        ]

    def _estimate(self, screened: Screened) -> float | None:
        return self.estimated_loss(screened.fidelity, screened.loss)
