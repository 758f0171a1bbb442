"""The genomes that were scored, and their losses.

Results are read from *whole* losses alone, those on all fixed batches. Neither a prediction nor a
loss on a part of the batches is among them. A genome that was screened out on a part of the
batches has only an estimate of its whole loss, which surrogates learn from and selection uses.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass

from clso.genome import Genome
from search.ladder import Rung

__all__ = ["Archive", "Finalist", "Scored"]

_RANKED = 256  # genomes whose order is kept; more are sorted when they are asked for


@dataclass(frozen=True, slots=True)
class Scored:
    """A scored genome.

    Attributes:
        genome: its slots as bred.
        canonical: the representative that was evaluated.
        loss: nats per token; `None`: the evaluation failed.
        fidelity: below 1 where a part of the batches ruled the genome out.
    """

    genome: Genome
    canonical: Genome
    loss: float | None
    fidelity: float = 1.0


@dataclass(frozen=True, slots=True)
class Finalist:
    """One of the best evaluated genomes.

    Attributes:
        genome: its slots as bred.
        canonical: the representative that was evaluated.
        loss: nats per token on the search's fixed batches, measured, never predicted.
    """

    genome: Genome
    canonical: Genome
    loss: float


class Archive:
    """Scored genomes in the order of their evaluation, each canonical form once.

    The time to add a genome and to find the best ones hardly depends on their number. Length,
    iteration and membership are of the genomes scored on all batches.

    Attributes:
        incumbent_rungs: losses of the incumbent on parts of the batches.
    """

    def __init__(self) -> None:
        self._scored: dict[Genome, Scored] = {}
        self._n_whole = 0
        # the lowest losses in ascending order, equal losses in the order of evaluation; a list of
        # all would be moved in memory for every genome
        self._ranking: list[Scored] = []
        self.incumbent_rungs: tuple[Rung, ...] = ()

    def __len__(self) -> int:
        return self._n_whole

    def __iter__(self) -> Iterator[Scored]:
        return (scored for scored in self._scored.values() if scored.fidelity == 1.0)

    def __contains__(self, canonical: object) -> bool:
        return isinstance(canonical, tuple) and self.get(canonical) is not None

    def get(self, canonical: Genome) -> Scored | None:
        """Return a genome's entry; `None` if it was never scored on all batches."""
        scored = self._scored.get(canonical)
        return None if scored is None or scored.fidelity < 1.0 else scored

    def add(self, scored: Scored) -> None:
        """Enter a genome that was just scored; it is not scored again.

        Raises:
            ValueError: it is there already.
        """
        if scored.canonical in self._scored:
            raise ValueError(f"genome {scored.canonical} was evaluated twice")
        if scored.fidelity == 1.0:
            self._n_whole += 1
            if scored.loss is not None:
                # a later one comes after equal losses
                insort(self._ranking, scored, key=_loss)
                del self._ranking[_RANKED:]
        self._scored[scored.canonical] = scored

    def first(self, count: int) -> Archive:
        """Return an archive of the first `count` genomes that were scored."""
        if count == self.n_known:
            return self
        archive = Archive()
        for scored in self.in_order[:count]:
            archive.add(scored)
        return archive

    @property
    def in_order(self) -> tuple[Scored, ...]:
        """Every genome that was scored, on all batches or some, the earlier first."""
        return tuple(self._scored.values())

    def estimated_loss(self, fidelity: float, loss: float) -> float | None:
        """Estimate a whole loss from the loss on a part of the batches.

        A part of the batches is easier or harder than all of them, for every genome. The estimate
        assumes that a genome is as far behind the incumbent on all batches as on that part.
        `None`: the incumbent was not scored on that part.
        """
        whole = self.incumbent_loss
        for rung in self.incumbent_rungs:
            if rung.fidelity == fidelity and whole is not None:
                return whole + (loss - rung.loss)
        return None

    def knows(self, canonical: Genome) -> bool:
        """Return whether a genome was scored, on all batches or some."""
        return canonical in self._scored

    @property
    def n_known(self) -> int:
        """Number of genomes that were scored, on all batches or some."""
        return len(self._scored)

    def best(self, count: int) -> list[Finalist]:
        """Return the genomes of the `count` lowest losses; of equal losses the earlier first."""
        ranking = self._ranking
        if count > _RANKED:
            ranking = sorted((scored for scored in self if scored.loss is not None), key=_loss)
        return [_finalist(scored) for scored in ranking[:count]]

    @property
    def incumbent(self) -> Finalist | None:
        """The genome with the lowest loss; `None` while there is no finite loss."""
        return _finalist(self._ranking[0]) if self._ranking else None

    @property
    def incumbent_loss(self) -> float | None:
        """The lowest loss so far."""
        return self._ranking[0].loss if self._ranking else None

    def training_set(self) -> tuple[list[Genome], list[float]]:
        """Return genomes and losses that a surrogate learns from, in the order of evaluation.

        Genomes that were screened out have their estimated losses, and are left out without an
        estimate. Failed genomes have the highest loss or estimate of all.
        """
        genomes: list[Genome] = []
        losses: list[float | None] = []
        for scored in self._scored.values():
            loss = scored.loss
            if scored.fidelity < 1.0 and loss is not None:
                loss = self.estimated_loss(scored.fidelity, loss)
                if loss is None:
                    continue
            genomes.append(scored.canonical)
            losses.append(loss)
        worst = max((loss for loss in losses if loss is not None), default=None)
        if worst is None:
            return [], []
        return genomes, [worst if loss is None else loss for loss in losses]


def _loss(scored: Scored) -> float:
    assert scored.loss is not None  # as in the ranking
    return scored.loss


def _finalist(scored: Scored) -> Finalist:
    return Finalist(scored.genome, scored.canonical, _loss(scored))
