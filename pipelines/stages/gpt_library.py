"""The stage `library`: structured matrices for every slot of the crystalline GPT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from threadpoolctl import threadpool_limits

from clso.artifacts import write_error
from clso.digest import digest_of
from clso.library import BasisLibrary, ResidualLayout
from clso.library.context_tables import reweighted_factors
from clso.library.cooccurrence import SpectralFactors
from clso.library.pair_counts import PairVectors
from clso.library.spectral_library import typical_rates, weight_of_previous, with_spectral
from clso.library.token_code import code_length
from pipelines.context import RunContext
from pipelines.experiment import Experiment
from pipelines.ledger import StageOutcome
from pipelines.stage import Stage

__all__ = ["LIBRARY", "GptLibrary"]

# Increased when a change of code changes the stored matrices of a configuration.
_VERSION = 3


def _work(run: RunContext) -> StageOutcome:
    """Generate and store the library; the stage's key is the fingerprint of its matrices."""
    stored = GptLibrary(run.experiment)
    with run.reporter.task("library", total=1) as task:
        library = stored.generate()
        try:
            stored.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(stored.home, error) from error
        library.save(stored.path, run.experiment.engine)
        task.update(1, f"{library.size} entries for each of {len(library)} slots")
    return StageOutcome((stored.path,), key=library.fingerprint)


LIBRARY = Stage(
    name="library",
    command="library",
    work=_work,
    needs=("prepare",),
    home=lambda experiment: GptLibrary(experiment).home,
)


class GptLibrary:
    """The matrices of an experiment's crystalline GPTs, and their stored file."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment

    @property
    def home(self) -> Path:
        """The folder of the library, named by all settings that its matrices follow from."""
        config = self._experiment.config
        key = {
            "version": _VERSION,
            "n_embd": config.model.n_embd,
            "seed": config.seed,
            "library": config.gpt.library.model_dump(mode="json"),
        }
        # matrices that are drawn from a seed alone are the same for all data
        if config.gpt.spectral.enabled:
            key |= {
                "spectral": config.gpt.spectral.model_dump(mode="json"),
                "n_head": config.model.n_head,
                "data": self._experiment.data_fingerprint,
                "train_tokens": config.data.train_tokens,
                "block_size": config.data.block_size,
            }
        return self._experiment.libraries / digest_of(key)[:16]

    @property
    def path(self) -> Path:
        """The stored library."""
        return self.home / "library.parquet"

    @property
    def layout(self) -> ResidualLayout:
        """The use that spectral entries make of each coordinate."""
        config = self._experiment.config
        spectral = config.gpt.spectral
        return ResidualLayout(
            config.model.n_embd,
            spectral.recent_width,
            spectral.topic_width,
            config.data.block_size,
            code_length(self._experiment.dataset.vocab_size) if spectral.memory.sets else 0,
            spectral.near_width,
        )

    def load(self) -> BasisLibrary:
        """Load the stored library."""
        return BasisLibrary.load(self.path)

    def generate(
        self, counted: Sequence[str] = ("train", "tune"), others: Sequence[Experiment] = ()
    ) -> BasisLibrary:
        """Return the library, its spectral entries computed from some splits of the budget.

        `others` are texts with the same vocabulary whose splits are counted too.
        """
        config = self._experiment.config
        # matrices this small take a second thread's joules and none of the time
        with threadpool_limits(1):
            library = BasisLibrary.generate(
                config.model.n_embd,
                config.gpt.library.size,
                config.gpt.library.families,
                config.gpt.library.gain,
                config.seed,
            )
            spectral = config.gpt.spectral
            if not spectral.enabled:
                return library
            texts = (self._experiment, *others)
            splits = [text.budget[split] for text in texts for split in counted]
            source = " ".join(text.data_fingerprint for text in texts)
            vocab_size = self._experiment.dataset.vocab_size
            factors = SpectralFactors.fit(
                splits,
                vocab_size,
                self.layout,
                recent_reach=spectral.recent_reach,
                topic_reach=spectral.topic_reach,
                seed=config.seed,
                source=source,
            )
            reweighted = memories = None
            if spectral.reweighted.rounds:
                reweighted = reweighted_factors(
                    splits,
                    vocab_size,
                    self.layout,
                    spectral.reweighted,
                    rates=typical_rates(spectral),
                    seed=config.seed,
                    source=source,
                )
            if reweighted is not None and spectral.memory.sets:
                memories = PairVectors.fit(
                    splits,
                    reweighted,
                    spectral.memory.sets * 4 * config.model.n_embd,
                    recent_weight=weight_of_previous(spectral),
                )
            return with_spectral(
                library,
                factors,
                spectral,
                n_head=config.model.n_head,
                seed=config.seed,
                reweighted=reweighted,
                memories=memories,
            )
