"""The crystalline GPT: its genomes pick a library's matrices for the slots of a GPT-2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clso.baseline import AdamwGpt2
from clso.data import TokenSplit
from clso.errors import ConfigError
from clso.floors import Unigram
from clso.genome import Genome
from clso.gpt import CrystallineGpt, GptFrame, GptProblem, GptShape
from clso.gpt.export import save_checkpoint, to_gpt2
from clso.library import BasisLibrary
from clso.library import similarity as cosines
from clso.problem import CostedProblem
from clso.scoring import Int64Array, LanguageModel
from clso.statistics.picks import Genes, Similarity, mean_similarity
from pipelines.config import RunConfig
from pipelines.context import RunContext
from pipelines.experiment import Experiment
from pipelines.families.base import Halves, ModelFamily, Params
from pipelines.stages.gpt_library import (
    LIBRARY,
    generate_library,
    open_library,
    residual_layout,
)
from pipelines.stages.warm_start import WARM_START

if TYPE_CHECKING:
    from pipelines.config.tune import TuneDimension, TuneSpace

__all__ = ["GPT"]

_SHARE = "gpt.library."


class _GptFamily(ModelFamily[GptProblem]):
    name = "gpt"
    title = "crystalline GPT"
    foundations = (LIBRARY,)
    continued = (WARM_START,)
    search_stage = "search"
    tuned_fields = frozenset({"shares"})

    def problem(self, experiment: Experiment) -> GptProblem:
        return self._problem(experiment, experiment.dataset.splits["validation"])

    def halves(self, experiment: Experiment) -> Halves[GptProblem]:
        return self._halves(experiment, open_library(experiment))

    def models(
        self, experiment: Experiment, problem: GptProblem, genomes: Sequence[Genome]
    ) -> Iterator[LanguageModel]:
        del experiment
        return map(problem.model, genomes)

    def save(self, model: LanguageModel, experiment: Experiment, folder: Path) -> None:
        assert isinstance(model, CrystallineGpt)
        save_checkpoint(model, experiment.dataset.tokenizer, folder)

    def load(self, folder: Path) -> AdamwGpt2:
        return AdamwGpt2.load(folder, name=self.name)

    def sections(self) -> tuple[str, ...]:
        return ("model", "gpt", "evaluation")

    def genes(self, problem: GptProblem) -> list[dict[str, Any]]:
        return Genes.describe(
            (slot.name, [entry.family for entry in problem.library[_library_slot(slot.name)]])
            for slot in problem.space.slots
        )

    def similarity(self, problem: GptProblem) -> Similarity:
        def similarity(slot: str, options: Sequence[int]) -> float | None:
            entries = problem.library[_library_slot(slot)]
            return mean_similarity(cosines([entries[option] for option in options]))

        return similarity

    def found(self, run: RunContext) -> CrystallineGpt:
        """Return the model rebuilt from the genome that the search found, and the library."""
        return self._built(run, open_library(run.experiment), ("train", "tune"))

    def costed(self, experiment: Experiment, problem: GptProblem) -> CostedProblem:
        del experiment
        return problem

    def library(self, config: RunConfig) -> Params:
        return {_SHARE + family.family: family.share for family in config.gpt.library.families}

    def dimensions(self, config: RunConfig, space: TuneSpace) -> Mapping[str, TuneDimension]:
        shares = {_SHARE + name: share for name, share in space.shares.items()}
        self._check_there(shares, config)
        if shares and config.gpt.spectral.enabled:
            raise ConfigError(
                "tune.space.shares asks for another library in every trial, and with gpt.spectral "
                "each would have to be fitted to the data",
                remedy="leave the shares out, or set gpt.spectral.enabled to false",
            )
        return shares

    def with_library(self, config: RunConfig, params: Params) -> RunConfig:
        values = config.model_dump()
        for family in values["gpt"]["library"]["families"]:
            family["share"] = params.get(_SHARE + family["family"], family["share"])
        return type(config).model_validate(values)

    def variants(self, experiment: Experiment) -> _Variants:
        return _Variants(self, experiment)

    def as_function(self, run: RunContext) -> AdamwGpt2:
        """Return the found genome's model as it follows from the split `train` alone.

        A mixture asks it on tune and validation like its other functions, so that its weight is
        not fitted on text that it has seen.
        """
        model = self._built(run, generate_library(run.experiment, ("train",)), ("train",))
        end_token_id = run.experiment.dataset.tokenizer.end_token_id
        return AdamwGpt2(to_gpt2(model, end_token_id=end_token_id), self.name)

    def _built(
        self, run: RunContext, library: BasisLibrary, counted: Sequence[str]
    ) -> CrystallineGpt:
        return CrystallineGpt(
            library,
            run.manifest["best"][self.name]["genome"],
            _frame(run.experiment, counted),
            share_layers=run.config.gpt.share_layers,
        )

    def _halves(self, experiment: Experiment, library: BasisLibrary) -> Halves[GptProblem]:
        validation = experiment.dataset.splits["validation"]
        middle = validation.n_blocks // 2
        first = _Half("the first half of validation", validation, 0, middle)
        rest = validation.n_blocks - middle
        second = _Half("the second half of validation", validation, middle, rest)
        return (
            self._problem(experiment, first, library),
            self._problem(experiment, second, library),
        )

    def _problem(
        self,
        experiment: Experiment,
        blocks: TokenSplit | _Half,
        library: BasisLibrary | None = None,
    ) -> GptProblem:
        """Return the problem on fixed batches of blocks; by default with the stored library."""
        config = experiment.config
        inputs, targets = config.evaluation.fixed_batches(blocks, config.seed)
        return GptProblem(
            open_library(experiment) if library is None else library,
            _frame(experiment),
            inputs,
            targets,
            share_layers=config.gpt.share_layers,
            monitor=experiment.monitor,
            workers=experiment.workers,
        )


GPT = _GptFamily()


@dataclass(frozen=True)
class _Variants:
    """Draws the matrices again in the shares of a trial, which takes a fraction of a second."""

    family: _GptFamily
    experiment: Experiment

    def __call__(self, params: Params) -> Halves[GptProblem]:
        experiment = self.experiment.varied(
            self.family.with_library(self.experiment.config, params)
        )
        library = (
            generate_library(experiment, ("train", "tune")) if params else open_library(experiment)
        )
        return self.family._halves(experiment, library)


@dataclass(frozen=True)
class _Half:
    """Some blocks of a split in a row, as `fixed_batches` draws from them."""

    name: str
    split: TokenSplit
    start: int
    n_blocks: int

    def blocks(self, index: Int64Array) -> tuple[Int64Array, Int64Array]:
        return self.split.blocks(self.start + index)


def _library_slot(gene: str) -> str:
    return gene.rpartition(".")[2]


def _frame(experiment: Experiment, counted: Sequence[str] = ("train", "tune")) -> GptFrame:
    """Return what a crystalline GPT has besides its genome's matrices.

    Args:
        experiment: shape and data set.
        counted: the splits that its unigram, if it has one, is counted on.
    """
    config = experiment.config
    vocab_size = experiment.dataset.vocab_size
    bias = positions = None
    if config.gpt.spectral.enabled:
        positions = residual_layout(config).positions()
    elif config.gpt.unigram_bias:
        splits = [experiment.budget[split] for split in counted]
        bias = Unigram.fit(splits, vocab_size).log_p
    return GptFrame(
        GptShape(
            **config.model.model_dump(), block_size=config.data.block_size, vocab_size=vocab_size
        ),
        seed=config.seed,
        log_unigram=bias,
        positions=positions,
        device=experiment.device,
    )
