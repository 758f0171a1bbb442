"""The configuration of a run: the settings of all its parts, each beside what it is for.

Every field is checked on its own and against its neighbours when the file is read, so that a
run never fails late for a value that was wrong from the start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from clso.baseline.settings import BaselineSettings
from clso.data.settings import DataSettings, EvaluationSettings, TokenizerSettings
from clso.digest import digest_of
from clso.energy.select import EnergySettings
from clso.errors import ConfigError
from clso.gpt.settings import GptSettings, ModelSettings
from clso.mixture.settings import MixtureSettings
from clso.section import Section, Threads, mistakes
from clso.statistics.bootstrap import BootstrapSettings
from pipelines.config.arms import AblateSettings, SavingsSettings
from pipelines.config.tune import TuneSettings
from search.settings import SearchSettings

__all__ = ["RunConfig", "RuntimeSettings", "assign", "validated"]


class RuntimeSettings(Section):
    """Where work runs; nothing here changes a loss on one kind of processor.

    Attributes:
        workers: genomes evaluated at once; `None`: one per core.
        threads: cores that AdamW uses; `None`: all.
    """

    workers: Threads | None = None
    threads: Threads | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"


class SearchedMixtureSettings(MixtureSettings):
    """The crystalline mixture family and its search.

    Attributes:
        search: the genetic algorithm for this family; `None`: the run's `search`.
    """

    search: SearchSettings | None = None


class RunConfig(Section):
    """One run, end to end."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    families: Annotated[tuple[Literal["gpt", "mixture"], ...], Field(min_length=1)] = ("gpt",)
    data: DataSettings = DataSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()
    model: ModelSettings = ModelSettings()
    gpt: GptSettings = GptSettings()
    mixture: SearchedMixtureSettings = SearchedMixtureSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    search: SearchSettings = SearchSettings()
    baseline: BaselineSettings = BaselineSettings()
    energy: EnergySettings = EnergySettings()
    analysis: BootstrapSettings = BootstrapSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    ablate: AblateSettings | None = None
    savings: SavingsSettings | None = None
    tune: TuneSettings | None = None

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

    def with_overrides(self, overrides: Mapping[str, Any], *, where: str) -> RunConfig:
        """Return the configuration with some values replaced.

        Args:
            overrides: by dotted path; values as plain as YAML gives them.
            where: what gave the overrides, for messages.

        Raises:
            ConfigError: a path that does not exist, or a value that is wrong.
        """
        values = self.model_dump()
        for path, value in overrides.items():
            assign(values, path.split("."), value, f"{where}: {path}")
        return validated(values, where, "correct the override")


def validated(values: dict[str, Any], where: str, remedy: str) -> RunConfig:
    """Return the configuration that nested values describe.

    Args:
        values: plain ones, by section.
        where: what gave the values, for messages.
        remedy: what to do about mistakes, for messages.

    Raises:
        ConfigError: some values are wrong; all are listed, each with its dotted path.
    """
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        lines = mistakes(error, RunConfig)
        count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        raise ConfigError(
            f"{where}: {count} in the configuration\n" + "\n".join(f"  - {line}" for line in lines),
            remedy=remedy,
        ) from error


def assign(values: dict[str, Any], keys: Sequence[str], value: object, where: str) -> None:
    """Set the value at a path in nested values, in place.

    Raises:
        ConfigError: the path goes through a value that is no section.
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
