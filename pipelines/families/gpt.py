"""The crystalline GPT: its genomes pick a library's matrices for the slots of a GPT-2."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clso.baseline import AdamwGpt2
from clso.data import TokenSplit
from clso.data.batches import Precision
from clso.errors import ConfigError
from clso.floors import Unigram
from clso.genome import Genome
from clso.gpt import CrystallineGpt, GptFrame, GptProblem
from clso.gpt.export import save_checkpoint, to_gpt2
from clso.gpt.genome import GENE_BYTES
from clso.library import BasisLibrary
from clso.library import similarity as cosines
from clso.library.joined import distinct_bytes, joined
from clso.problem import CostedProblem
from clso.scoring import Int64Array, LanguageModel
from clso.statistics.picks import Genes, Similarity, mean_similarity
from pipelines.config import RunConfig
from pipelines.context import RunContext
from pipelines.experiment import Experiment
from pipelines.families.base import Halves, ModelFamily, Params, ScoredFinalist
from pipelines.stages.gpt_library import LIBRARY, GptLibrary
from pipelines.stages.warm_start import warm_start_stage

if TYPE_CHECKING:
    from pipelines.config.tune import TuneDimension, TuneSpace
    from search.archive import Finalist

__all__ = ["GPT"]

_SHARE = "gpt.library."


class _GptFamily(ModelFamily[GptProblem]):
    name = "gpt"
    title = "crystalline GPT"
    foundations = (LIBRARY,)
    search_stage = "search"
    continued = (warm_start_stage(name, search_stage),)
    tuned_fields = frozenset({"shares"})

    def problem(self, experiment: Experiment) -> GptProblem:
        return self._problem(experiment, experiment.dataset.splits["validation"])

    def searched_problem(self, run: RunContext) -> GptProblem:
        """Return the problem in the precision, and with the screening, of the configuration."""
        experiment = run.experiment
        evaluation = experiment.config.evaluation
        problem = self._problem(
            experiment,
            experiment.dataset.splits["validation"],
            precision=evaluation.precision,
            screening=evaluation.screening,
        )
        run.note(evaluation={self.name: {"precision": problem.precision}})
        if evaluation.precision == "auto" and problem.precision == "float32":
            with run.reporter.task("precision of the search", total=1) as task:
                task.update(1, "float32: no units here that compute bfloat16 faster")
        return problem

    def keep(
        self, run: RunContext, problem: GptProblem, finalists: Sequence[Finalist]
    ) -> list[ScoredFinalist]:
        """Keep the best finalist as any family does, all with losses in float32."""
        if problem.precision != "float32":
            losses = problem.exact_losses([finalist.canonical for finalist in finalists])
            pairs = zip(finalists, losses, strict=True)
            exact = [replace(found, loss=loss) for found, loss in pairs if loss is not None]
            finalists = sorted(exact, key=lambda finalist: finalist.loss)
        return super().keep(run, problem, finalists)

    def halves(self, experiment: Experiment) -> Halves[GptProblem]:
        return self._halves(experiment, GptLibrary(experiment).load())

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

    def start(self, problem: GptProblem) -> list[Genome]:
        return problem.assembled()

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
        """Return the model of the genome that the search found, rebuilt from the library."""
        return self._built(run, GptLibrary(run.experiment).load(), ("train", "tune"))

    def library_of(self, experiment: Experiment) -> BasisLibrary:
        return GptLibrary(experiment).load()

    def pooled(self, experiments: Sequence[Experiment]) -> BasisLibrary:
        return GptLibrary(experiments[0]).generate(others=experiments[1:])

    def joined(self, libraries: Sequence[BasisLibrary], share: float) -> BasisLibrary:
        held, _ = self.shared_bytes(libraries, [])
        return joined(libraries, round(share * held))

    def halves_on(self, experiment: Experiment, library: BasisLibrary) -> Halves[GptProblem]:
        return self._halves(experiment, library)

    def models_on(
        self,
        experiment: Experiment,
        library: BasisLibrary,
        problem: GptProblem,
        genomes: Sequence[Genome],
    ) -> Iterator[LanguageModel]:
        del library  # the problem has it
        return self.models(experiment, problem, genomes)

    def shared_bytes(
        self, libraries: Sequence[BasisLibrary], models: Sequence[CrystallineGpt]
    ) -> tuple[int, int]:
        held = (entry for library in libraries for slot in library.values() for entry in slot)
        used = [model.library[slot][index] for model in models for slot, index in model.entries]
        frames = {model.frame.fingerprint: model.frame.stored_bytes for model in models}
        genomes = sum(GENE_BYTES * len(model.genome) for model in models)
        return distinct_bytes(held), distinct_bytes(used) + sum(frames.values()) + genomes

    def check_texts(self, config: RunConfig, *, shares: bool = False) -> None:
        del shares
        if not config.gpt.spectral.enabled:
            raise ConfigError(
                "gpt.spectral.enabled is false, so the library is drawn from the seed alone and "
                "is the same for all texts: there is none to transfer or to share",
                remedy="--set gpt.spectral.enabled=true",
            )

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

    def variants(self, experiment: Experiment) -> Callable[[Params], Halves[GptProblem]]:
        """Return a function that draws the matrices again in a trial's shares."""

        def variant(params: Params) -> Halves[GptProblem]:
            varied = experiment.varied(self.with_library(experiment.config, params))
            library = GptLibrary(varied)
            return self._halves(varied, library.generate() if params else library.load())

        return variant

    def as_function(self, run: RunContext) -> AdamwGpt2:
        """Return the found genome's model, computed from the split `train` alone.

        A mixture uses it on tune and validation like its other functions, so its weight must not
        be fitted on text that the model has seen.
        """
        model = self._built(run, GptLibrary(run.experiment).generate(("train",)), ("train",))
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
        total, middle = validation.n_blocks, validation.n_blocks // 2
        first = _Half("the first half of validation", validation, 0, middle)
        second = _Half("the second half of validation", validation, middle, total - middle)
        return (
            self._problem(experiment, first, library),
            self._problem(experiment, second, library),
        )

    def _problem(
        self,
        experiment: Experiment,
        blocks: TokenSplit | _Half,
        library: BasisLibrary | None = None,
        *,
        precision: Precision = "float32",
        screening: bool = False,
    ) -> GptProblem:
        """Return the problem on fixed batches of the blocks; by default with the stored library."""
        config = experiment.config
        inputs, targets = config.evaluation.fixed_batches(blocks, config.seed)
        return GptProblem(
            GptLibrary(experiment).load() if library is None else library,
            _frame(experiment),
            inputs,
            targets,
            share_layers=config.gpt.share_layers,
            monitor=experiment.monitor,
            workers=experiment.workers,
            precision=precision,
            screening=screening,
        )


GPT = _GptFamily()


@dataclass(frozen=True)
class _Half:
    """Consecutive blocks of a split, which `fixed_batches` draws from."""

    name: str
    split: TokenSplit
    start: int
    n_blocks: int

    def blocks(self, index: Int64Array) -> tuple[Int64Array, Int64Array]:
        return self.split.blocks(self.start + index)


def _library_slot(gene: str) -> str:
    return gene.rpartition(".")[2]


def _frame(experiment: Experiment, counted: Sequence[str] = ("train", "tune")) -> GptFrame:
    """Return the parts of a crystalline GPT that its genome does not pick.

    The unigram bias, if there is one, is counted on the splits `counted`.
    """
    config = experiment.config
    vocab_size = experiment.dataset.vocab_size
    bias = positions = None
    if config.gpt.spectral.enabled:
        positions = GptLibrary(experiment).layout.positions()
    elif config.gpt.unigram_bias:
        splits = [experiment.budget[split] for split in counted]
        bias = Unigram.fit(splits, vocab_size).log_p
    return GptFrame(
        experiment.gpt_shape,
        seed=config.seed,
        log_unigram=bias,
        positions=positions,
        device=experiment.device,
    )
