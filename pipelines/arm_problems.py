"""What the arms of a study solve, and what is held back from them.

All searches see the first half of the validation blocks that genomes are scored on. The second
half is read once a search has ended, for the loss that it did not select by. The test split is
not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clso.artifacts import RunFolder
from clso.errors import WorkError
from clso.genome import Genome
from clso.problem import Evaluation, Problem
from pipelines.config import RunConfig
from pipelines.context import RunContext
from pipelines.families import AnyFamily
from pipelines.stages import run_foundations

__all__ = ["ArmProblem", "open_arm"]


@dataclass
class ArmProblem:
    """One problem, and what its searches have asked so far.

    Attributes:
        searched: what the searches see.
        held_back: the same genomes on validation blocks that they do not see.
        genes: families of the library by gene, as `describe_genes` gives them.
        known: evaluations of `searched` that any search paid for.
    """

    searched: Problem
    held_back: Problem
    genes: list[dict[str, Any]]
    known: dict[Genome, Evaluation] = field(default_factory=dict)
    _unread: dict[Genome, float] = field(default_factory=dict)

    def held_back_losses(self, genomes: Sequence[Genome]) -> list[float]:
        """Return the losses of canonical genomes on the blocks held back.

        Raises:
            WorkError: one of them is no finite number.
        """
        new = [one for one in dict.fromkeys(genomes) if one not in self._unread]
        for genome, evaluation in zip(new, self.held_back.evaluate(new), strict=True):
            if evaluation.loss is None:
                raise WorkError(
                    f"genome {genome} has a finite loss on the first half of the validation "
                    "blocks, but none on the second",
                    remedy="the library makes models overflow: lower gpt.library.gain",
                )
            self._unread[genome] = evaluation.loss
        return [self._unread[genome] for genome in genomes]


def open_arm(run: RunContext, config: RunConfig, family: AnyFamily) -> ArmProblem:
    """Return an arm's problem, after making what it is built on, which runs share.

    Args:
        run: the run that is studied.
        config: the arm's.
        family: the one searched.

    Raises:
        DataError: too little validation text for two halves.
    """
    arm = _own_context(run, config, family)
    run_foundations(arm, family)
    searched, held_back = family.halves(arm.experiment)
    return ArmProblem(searched, held_back, family.genes(searched))


def _own_context(run: RunContext, config: RunConfig, family: AnyFamily) -> RunContext:
    """Return a context that notes an arm's stages apart from the run's own manifest."""
    folder = run.folder.state / "arms" / family.key(config)[:16]
    return RunContext(
        run.experiment.varied(config),
        run.run_id,
        RunFolder(folder),
        manifest={"run_id": run.run_id, "uid": run.uid},
    )
