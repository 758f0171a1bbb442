"""The configuration of a run, composed of the settings of all parts.

Every field is checked, alone and against other fields, when the configuration is read. So a run
never fails late because of a wrong value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, create_model, model_validator

from clso.baseline.settings import BaselineSettings, OpponentsSettings
from clso.data import DatasetRecipe, DataSettings, EvaluationSettings, TokenizerSettings
from clso.digest import digest_of
from clso.energy.settings import EnergySettings
from clso.engine import EngineKind
from clso.errors import ConfigError
from clso.finetune import FinetuneSettings
from clso.gpt.settings import GptSettings, ModelSettings
from clso.mixture.settings import MixtureSettings
from clso.section import Positive, Section, Threads, mistakes
from clso.statistics.bootstrap import BootstrapSettings
from clso.watch import TrackingSettings
from pipelines.config.arms import AblateSettings, SavingsSettings
from pipelines.config.texts import TextsSettings
from pipelines.config.tune import SectionSpace, TuneSettings, TuneSpace
from pipelines.families import FAMILIES, AnyFamily, FamilyName, FamilySettings
from search.settings import SearchSettings

__all__ = ["STUDY_SECTIONS", "RunConfig", "assign"]

STUDY_SECTIONS = ("ablate", "finetune", "savings", "texts", "tune")
"""The sections of studies, which change nothing of a run itself."""


class _RuntimeSettings(Section):
    """How a run works and is watched.

    On one kind of processor nothing here but `threads` changes a loss, and `threads` only the last
    digits of networks (by about 1e-9 nats). The tables of trainings have the number.

    Attributes:
        engine: where tasks run: processes of this machine, or the workers of a cluster.
        address: of a Dask scheduler or a Ray cluster; `None`: `workers` processes of this machine.
        workers: genomes evaluated at once on this machine; `None`: one per core that the command
            may use (`clso.cores`).
        threads: cores that AdamW uses; `None`: all. A training that is resumed goes on with as many
            as it began with.
        memory_gb: a run that is estimated to take more is refused before it begins; `None`: what
            this process may use, of its control group or of the machine.
        hours: the same for the time that searches and trainings take; `None`: 720.
        tracking: programs that the run's curves go to while it works.
    """

    engine: EngineKind = "local"
    address: Annotated[str, Field(min_length=1)] | None = None
    workers: Threads | None = None
    threads: Threads | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    memory_gb: Positive | None = None
    hours: Positive | None = None
    tracking: TrackingSettings = TrackingSettings()

    @property
    def on_gpu(self) -> bool:
        """Whether the work goes to a GPU: `device` says so, or is `auto` and torch finds one."""
        import torch

        return self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available())

    @model_validator(mode="after")
    def _address_has_an_engine(self) -> Self:
        if self.address is not None and self.engine == "local":
            raise ValueError(
                f"address is {self.address}, but engine is local; set engine to dask or ray, or "
                "leave out the address"
            )
        return self


class _GptFamilySettings(FamilySettings, GptSettings):
    """The crystalline GPT family, checked against the shape that the run gives it."""

    def misfits(self, config: RunConfig) -> list[str]:
        """Return the matrix families that do not exist in the width of `model`."""
        return [
            f"gpt.library.families.{index}: {misfit}"
            for index, family in enumerate(self.library.families)
            if (misfit := family.misfit(config.model.n_embd))
        ]


class _MixtureFamilySettings(FamilySettings, MixtureSettings):
    """The crystalline mixture family and its search.

    Attributes:
        search: the genetic algorithm for this family; `None`: the run's `search`.
    """

    search: SearchSettings | None = None

    def misfits(self, config: RunConfig) -> list[str]:
        """Return a sentence if mixtures may pick the crystalline GPT and no search finds one."""
        if self.crystalline_gpt and "gpt" not in config.families:
            return ["mixture.crystalline_gpt asks for a found crystalline GPT; add gpt to families"]
        return []


class RunConfig(Section):
    """One run, end to end."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    families: Annotated[tuple[FamilyName, ...], Field(min_length=1)] = ("gpt",)
    data: DataSettings = DataSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()
    model: ModelSettings = ModelSettings()
    gpt: _GptFamilySettings = _GptFamilySettings()
    mixture: _MixtureFamilySettings = _MixtureFamilySettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    search: SearchSettings = SearchSettings()
    baseline: BaselineSettings = BaselineSettings()
    opponents: OpponentsSettings = OpponentsSettings()
    energy: EnergySettings = EnergySettings()
    analysis: BootstrapSettings = BootstrapSettings()
    runtime: _RuntimeSettings = _RuntimeSettings()
    ablate: AblateSettings | None = None
    finetune: FinetuneSettings | None = None
    savings: SavingsSettings | None = None
    texts: TextsSettings | None = None
    tune: TuneSettings | None = None

    def __new__(cls, **values: Any) -> RunConfig:  # noqa: ANN401 - values of any field
        """Make an instance of the class that has the sections of the plug-in families."""
        return super().__new__(_schema_of(values, cls))

    @model_validator(mode="wrap")
    @classmethod
    def _with_sections_of_plugins(cls, values: Any, handler: Any) -> RunConfig:  # noqa: ANN401 - as pydantic has them
        schema = _schema_of(values, cls) if isinstance(values, dict) else cls
        config: RunConfig = handler(values) if schema is cls else schema.model_validate(values)
        return config

    @model_validator(mode="after")
    def _families_fit_the_rest(self) -> RunConfig:
        sections = [getattr(self, name, None) for name in self.families]
        misfits = [
            misfit
            for section in sections
            if isinstance(section, FamilySettings)
            for misfit in section.misfits(self)
        ]
        if misfits:
            raise ValueError("; ".join(misfits))
        return self

    @model_validator(mode="after")
    def _evaluation_fits_the_rest(self) -> RunConfig:
        evaluation = self.evaluation
        asked = {
            f"precision is {evaluation.precision}": evaluation.precision == "bfloat16",
            "screening is true": evaluation.screening,
        }
        misfits = [
            f"evaluation.{setting}, which the evaluations of a crystalline GPT alone have, and "
            f"families is {', '.join(self.families)}; add gpt to families, or leave it out"
            for setting, is_asked in asked.items()
            if is_asked and "gpt" not in self.families
        ]
        if not misfits and evaluation.screening and self.search.fidelity.kind == "none":
            misfits.append(
                "evaluation.screening is true, but search.fidelity.kind is none, so that every "
                "genome is evaluated on all batches; choose successive_halving or racing"
            )
        if misfits:
            raise ValueError("; ".join(misfits))
        return self

    @model_validator(mode="after")
    def _opponents_fit_the_rest(self) -> RunConfig:
        misfits = []
        for index, model in enumerate(self.opponents.models):
            where = f"opponents.models.{index}"
            width, heads = model.n_embd or self.model.n_embd, model.n_head or self.model.n_head
            if model.network == "gpt" and width % heads:
                misfits.append(
                    f"{where}: n_embd {width} is not divisible by n_head {heads}; choose n_embd as "
                    "a multiple of n_head"
                )
            tokens = self.tokenizer.most_tokens
            if tokens is not None and (model.classes or 1) > tokens:
                misfits.append(
                    f"{where}: classes is {model.classes}, but the vocabulary has {tokens} tokens; "
                    "give fewer classes, or leave their number out"
                )
        if misfits:
            raise ValueError("; ".join(misfits))
        return self

    @classmethod
    def parsed(cls, values: dict[str, Any], where: str, remedy: str) -> Self:
        """Return the configuration that nested values describe, by section as YAML has them.

        In messages, `where` names the source of the values, and `remedy` says how to correct them.

        Raises:
            ConfigError: some values are wrong; all are listed, each with its dotted path.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            lines = mistakes(error, _schema_of(values, cls))
            count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
            raise ConfigError(
                "\n  - ".join([f"{where}: {count} in the configuration", *lines]), remedy=remedy
            ) from error

    @property
    def recipe(self) -> DatasetRecipe:
        """The recipe of the data set."""
        return DatasetRecipe(self.data, self.tokenizer, self.seed)

    def digest(self) -> str:
        """Return 64 hexadecimal digits of everything that can change a result.

        `runtime` is left out: it changes how long a run takes, and the last digits of networks at
        most. So are the studies: they add tables to a run or compare other runs, and change none of
        its own.
        `data.duplicates` is left out: it says whether there is a run.
        """
        exclude: dict[str, bool | set[str]] = {"runtime": True, "name": True}
        exclude |= dict.fromkeys(STUDY_SECTIONS, True)
        exclude["data"] = {"duplicates"}
        return digest_of(self.model_dump(mode="json", exclude=exclude))

    def run_id(self, data_fingerprint: str) -> str:
        """Return the run's id on a data set: its name and a hash of configuration and data."""
        key = hashlib.sha256(f"{self.digest()}:{data_fingerprint}".encode()).hexdigest()[:10]
        return f"{self.name}-{key}"

    def searched_families(
        self, names: Sequence[str] = (), *, asked_by: str = "--family"
    ) -> list[AnyFamily]:
        """Return the model families of the run, or those with some names, built-in ones first.

        In messages, `asked_by` is the option or key that gave the names.

        Raises:
            ConfigError: the run does not have one of the names.
        """
        for name in names:
            if name not in self.families:
                raise ConfigError(
                    f"{asked_by} is {name}, but families has only {', '.join(self.families)}",
                    remedy=f"--set families=[{name}]",
                )
        wanted = names or self.families
        return [
            FAMILIES.get(name)
            for name in FAMILIES.names()
            if name in self.families and name in wanted
        ]

    def with_overrides(self, overrides: Mapping[str, Any], *, where: str) -> RunConfig:
        """Return the configuration with some values replaced, by dotted path, as YAML has them.

        `where` names the source of the overrides in messages.

        Raises:
            ConfigError: a path that does not exist, or a value that is wrong.
        """
        values = self.model_dump()
        for path, value in overrides.items():
            assign(values, path.split("."), value, f"{where}: {path}")
        return RunConfig.parsed(values, where, "correct the override")


def _schema_of(values: Mapping[str, Any], base: type[RunConfig]) -> type[RunConfig]:
    """Return the class of a configuration with the sections of its plug-in families.

    Raises:
        ConfigError: a plug-in cannot be loaded, or has the name of another section.
    """
    families = values.get("families")
    searched = families if isinstance(families, list | tuple) else ()
    sections = []
    for name in FAMILIES.names():
        if FAMILIES.is_builtin(name) or not (name in searched or name in values):
            continue
        settings = FAMILIES.get(name).settings
        if name in _TAKEN:
            raise ConfigError(
                f"the family {name!r} of {FAMILIES.origin(name)} has the name of a section",
                remedy="rename its entry point",
            )
        if settings is not None:
            sections.append((name, settings))
    return _extended(tuple(sections)) if sections else base


@lru_cache(maxsize=16)
def _extended(sections: tuple[tuple[str, type[FamilySettings]], ...]) -> type[RunConfig]:
    fields: dict[str, Any] = {}
    spaces: dict[str, Any] = {}
    for name, settings in sections:
        needed = any(field.is_required() for field in settings.model_fields.values())
        fields[name] = (settings, ... if needed else settings())
        space = SectionSpace.over(settings)
        spaces[name] = (space, space())
    tune_space = create_model("TuneSpace", __base__=TuneSpace, **spaces)
    tune = create_model("TuneSettings", __base__=TuneSettings, space=(tune_space, tune_space()))
    fields["tune"] = (Annotated[tune | None, BeforeValidator(_values_of)], None)
    return create_model("RunConfig", __base__=RunConfig, **fields)


def _values_of(settings: object) -> object:
    """Return the values of settings, so that a class with more fields can take them."""
    return settings.model_dump() if isinstance(settings, TuneSettings) else settings


# sections, and the keys of `tune.space`
_TAKEN = {*RunConfig.model_fields, *TuneSpace.model_fields, *SearchSettings.model_fields}


def assign(values: dict[str, Any], keys: Sequence[str], value: object, where: str) -> None:
    """Set the value at a path in nested values, in place.

    Raises:
        ConfigError: the path leads through a value that is no section.
    """
    section = values
    for depth, key in enumerate(keys[:-1]):
        inner = section.get(key)
        if inner is None:
            inner = section[key] = {}
        if not isinstance(inner, dict):
            raise ConfigError(
                f"{where}: {'.'.join(keys[: depth + 1])} is a value, not a section",
                remedy="set the value itself, or a key of another section",
            )
        section = inner
    section[keys[-1]] = value
