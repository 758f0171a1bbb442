"""What the arms of a study solve, and what is held back from them.

All searches see the first half of the validation blocks that genomes are scored on. The second
half is read once a search has ended, for the loss that it did not select by. The test split is
not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from clso.artifacts import RunFolder
from clso.data import Dataset, dataset_fingerprint
from clso.digest import digest_of
from clso.errors import WorkError
from clso.genome import Genome
from clso.gpt import GptProblem
from clso.mixture.evaluator import MixtureProblem
from clso.problem import Evaluation
from clso.statistics.selection import describe_genes
from pipelines.config import RunConfig
from pipelines.context import RunContext
from pipelines.stages import run_stage
from pipelines.stages.functions import scored
from pipelines.stages.halves import gpt_halves, mixture_halves
from pipelines.stages.problems import STAGES_BEFORE, Family
from pipelines.stages.shared import open_dataset, open_library

__all__ = ["ArmProblem", "open_arm", "problem_key"]

# what of the mixture's section does not show in a genome's loss
_LATER = {"search", "final_steps", "hybrid", "hybrid_tokens", "crystalline_gpt"}


@dataclass
class ArmProblem:
    """One problem, and what its searches have asked so far.

    Attributes:
        searched: what the searches see.
        held_back: the same genomes on validation blocks that they do not see.
        genes: families of the library by gene, as `describe_genes` gives them.
        known: evaluations of `searched` that any search paid for.
    """

    searched: GptProblem | MixtureProblem
    held_back: GptProblem | MixtureProblem
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


def problem_key(config: RunConfig, family: Family) -> str:
    """Return a digest of all that a genome's loss follows from."""
    values = config.model_dump(mode="json")
    sections = {"gpt": ("model", "gpt", "evaluation"), "mixture": ("mixture",)}[family]
    kept = {name: values[name] for name in ("seed", "data", "tokenizer", *sections)}
    if family == "mixture":
        kept["mixture"] = {
            name: value for name, value in values["mixture"].items() if name not in _LATER
        }
    return digest_of(kept)


def open_arm(context: RunContext, config: RunConfig, family: Family) -> ArmProblem:
    """Return an arm's problem, after making what it is built on, which runs share.

    Args:
        context: of the run that is studied.
        config: the arm's.
        family: the one searched.

    Raises:
        DataError: too little validation text for two halves.
    """
    own = _own_context(context, config, family)
    for stage in STAGES_BEFORE[family]:
        run_stage(stage, own)
    return (_gpt if family == "gpt" else _mixture)(own, open_dataset(own))


def _own_context(context: RunContext, config: RunConfig, family: Family) -> RunContext:
    """Return a context that notes an arm's stages apart from the run's own manifest."""
    same_text = all(
        getattr(config, name) == getattr(context.config, name)
        for name in ("data", "tokenizer", "seed")
    )
    fingerprint = (
        context.data_fingerprint
        if same_text
        else dataset_fingerprint(config.data, config.tokenizer, config.seed)
    )
    folder = context.folder.state / "arms" / problem_key(config, family)[:16]
    return replace(
        context,
        config=config,
        data_fingerprint=fingerprint,
        folder=RunFolder(folder),
        manifest={"run_id": context.run_id, "uid": context.uid},
        records={},
    )


def _mixture(context: RunContext, dataset: Dataset) -> ArmProblem:
    searched, held_back = mixture_halves(context, dataset, scored(context, dataset))
    families = ("none", *searched.families)
    genes = describe_genes([("functions", families)], repeats=context.config.mixture.slots)
    return ArmProblem(searched, held_back, genes)


def _gpt(context: RunContext, dataset: Dataset) -> ArmProblem:
    library = open_library(context)
    searched, held_back = gpt_halves(context, dataset, library)
    genes = describe_genes(
        (slot.name, [entry.family for entry in library[slot.name.rpartition(".")[2]]])
        for slot in searched.space.slots
    )
    return ArmProblem(searched, held_back, genes)
