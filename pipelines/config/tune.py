"""The section `tune`: the dimensions of a study with Optuna, its budget and objectives."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from clso.addresses import Address
from clso.section import Count, Positive, Section
from pipelines.families import FamilyName
from search.settings import (
    BETWEEN_GENERATIONS,
    Budget,
    LocalSearchSettings,
    PrunerName,
    SamplerName,
    SearchSettings,
    SurrogateSettings,
)
from search.surrogates.factory import OWN_SURROGATES

__all__ = [
    "FunctionGroup",
    "SectionSpace",
    "TuneDimension",
    "TuneSettings",
    "TuneSpace",
]

Scalar = bool | int | float | str
FunctionGroup = Literal[
    "patterns",
    "class_patterns",
    "cache_half_lives",
    "gated_maps",
    "induction_lengths",
    "functions",
]

# Signed ranks over n seeds have p of at least 1 / 2^n, and the pruner asks for less than 0.1.
_WILCOXON_SEEDS = 5


class TuneDimension(Section):
    """The values of one hyperparameter: a range, a list to choose from, or one fixed value.

    In YAML `{low: 8, high: 64, log: true}`, `[uniform, two_point]` or `0.75`.

    Attributes:
        low: the least value, included.
        high: the greatest value, included.
        log: whether the range is searched by factors instead of differences.
        choices: the values to choose from; a single value is fixed.
    """

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: Annotated[tuple[Scalar, ...], Field(min_length=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: object) -> object:
        if isinstance(value, dict | TuneDimension):
            return value
        return {"choices": value if isinstance(value, list | tuple) else [value]}

    @model_validator(mode="after")
    def _one_form(self) -> TuneDimension:
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("a list of values has no low, high or log")
        elif self.low is None or self.high is None:
            raise ValueError("a range needs both low and high")
        elif self.low > self.high:
            raise ValueError(f"the range from {self.low:g} to {self.high:g} is empty")
        elif self.log and self.low <= 0:
            raise ValueError(f"a range by factors begins above 0, not at {self.low:g}")
        return self


Dimension = TuneDimension | None


def _range(low: float, high: float, *, log: bool = False) -> TuneDimension:
    return TuneDimension(low=low, high=high, log=log)


def _every(section: type[Section], field: str) -> TuneDimension:
    return TuneDimension(choices=get_args(section.model_fields[field].annotation))


class SectionSpace(Section):
    """Dimensions with the names of another section's fields, and with the ranges of these.

    Attributes:
        tuned: the class of the other section.
    """

    tuned: ClassVar[type[Section]]

    @classmethod
    def over(cls, section: type[Section]) -> type[SectionSpace]:
        """Return a space with a dimension, by default left out, for each field of a section."""
        dimensions: dict[str, Any] = {name: (Dimension, None) for name in section.model_fields}
        space = create_model(f"{section.__name__}Space", __base__=SectionSpace, **dimensions)
        space.tuned = section
        return space

    @model_validator(mode="before")
    @classmethod
    def _fixed_truth_values(cls, values: object) -> object:
        # a section refuses truth values for other fields; here they are fixed dimensions
        if not isinstance(values, dict):
            return values
        return {key: [value] if isinstance(value, bool) else value for key, value in values.items()}

    @field_validator("*")
    @classmethod
    def _values_fit(cls, value: object, info: ValidationInfo) -> object:
        field = cls.tuned.model_fields.get(info.field_name or "")
        if field is None or not isinstance(value, TuneDimension):
            return value
        kind: Any = Annotated[field.annotation, field]
        return _typed(value, TypeAdapter(kind))


def _typed(dimension: TuneDimension, adapter: TypeAdapter[Any]) -> TuneDimension:
    """Return the dimension with its values converted to the type of the field."""
    kind = adapter.json_schema().get("type")
    if dimension.choices is None and kind not in ("integer", "number"):
        raise ValueError("it is no number, so it has no range; expected a list of values")
    try:
        if dimension.choices is not None:
            for choice in dimension.choices:
                # YAML reads `on` as true, which pydantic would take for the number 1
                if isinstance(choice, bool) and kind != "boolean":
                    raise ValueError(f"{str(choice).lower()} is not a value of it")
            typed = tuple(adapter.validate_python(choice) for choice in dimension.choices)
            return dimension.model_copy(update={"choices": typed})
        ends = (adapter.validate_python(dimension.low), adapter.validate_python(dimension.high))
    except ValidationError as error:
        detail = error.errors()[0]
        raise ValueError(f"{detail['input']!r}: {detail['msg'].lower()}") from None
    return dimension.model_copy(update=dict(zip(("low", "high"), ends, strict=True)))


class _SurrogateSpace(SectionSpace):
    """Dimensions of the surrogate; all but `kind` are drawn only with a surrogate."""

    tuned = SurrogateSettings

    kind: Dimension = TuneDimension(choices=(*OWN_SURROGATES, "none"))
    start: Dimension = _range(1, 6)
    full_eval_fraction: Dimension = _range(0.05, 0.6, log=True)
    random_fraction: Dimension = None
    pool_factor: Dimension = _range(1.0, 16.0, log=True)
    optimism: Dimension = _range(0.0, 2.0)
    features: Dimension = TuneDimension(choices=(True, False))
    distinct_steps: Dimension = TuneDimension(choices=(True, False))


class _LocalSearchSpace(SectionSpace):
    """Dimensions of local search; all but `enabled` are drawn only if it is enabled."""

    tuned = LocalSearchSettings

    enabled: Dimension = TuneDimension(choices=(True, False))
    every: Dimension = _range(1, 4)
    neighbours: Dimension = _range(1, 16, log=True)


class TuneSpace(SectionSpace):
    """The dimensions that may be tuned; `null` leaves one out: the run's own value stays.

    A plug-in family adds a field of its own name, with a dimension for each field of its section.

    Attributes:
        slots: number of functions that a mixture may pick.
        groups: lists of `mixture.library` that are kept or left out as a whole.
        shares: shares of matrix families in `gpt.library`, by their names.
    """

    tuned = SearchSettings

    population: Dimension = _range(8, 48, log=True)
    mutation_rate: Dimension = _range(0.01, 0.5, log=True)
    crossover: Dimension = _every(SearchSettings, "crossover")
    crossover_rate: Dimension = _range(0.2, 1.0)
    tournament_size: Dimension = _range(2, 6)
    elites: Dimension = _range(0, 4)
    surrogate: _SurrogateSpace = _SurrogateSpace()
    local_search: _LocalSearchSpace = _LocalSearchSpace()
    slots: Dimension = None
    groups: tuple[FunctionGroup, ...] = ()
    shares: dict[str, TuneDimension] = Field(default_factory=dict)

    @field_validator("slots")
    @classmethod
    def _slots_are_counted(cls, value: Dimension) -> Dimension:
        whole: TypeAdapter[Any] = TypeAdapter(Annotated[int, Field(ge=1, le=256)])
        return None if value is None else _typed(value, whole)

    @field_validator("shares")
    @classmethod
    def _shares_are_positive(cls, value: dict[str, TuneDimension]) -> dict[str, TuneDimension]:
        share: TypeAdapter[Any] = TypeAdapter(Positive)
        return {name: _typed(dimension, share) for name, dimension in value.items()}


class TuneSettings(Section):
    """A study of the evolution's hyperparameters, for one model family.

    Attributes:
        family: the family whose search is tuned; `None`: the only one in `families`.
        trials: settings to try, pruned ones included.
        seeds: searches per trial, with the run's seed and the seeds after it.
        check_seeds: searches of the best settings and of the run's own, with further seeds.
        budget: of every search.
        objectives: to minimize; the outcome for two is their Pareto set.
        sampler: Optuna's sampler that draws the values of trials.
        pruner: `hyperband` or `median` between generations, `wilcoxon` between seeds; `None`:
            hyperband for one objective, none for two.
        pruner_patience: reports without improvement before a trial may be pruned, for hyperband
            and median; 0: it may be pruned at any report.
        parallel: trials that are asked for at once, and judged by the workers of
            `runtime.engine`; a study depends on it, and not on engine or workers.
        retries: attempts after a trial failed or its process died.
        storage: an SQLAlchemy URL, or `journal:PATH`; `None`: an SQLite file in the study's folder.
        space: the dimensions.
    """

    family: FamilyName | None = None
    trials: Count = 30
    seeds: Annotated[int, Field(ge=1, le=1000)] = 3
    check_seeds: Annotated[int, Field(ge=2, le=1000)] = 5
    budget: Budget = Budget(evaluations=150)
    objectives: Annotated[tuple[Literal["loss", "energy_j"], ...], Field(min_length=1)] = ("loss",)
    sampler: SamplerName = "tpe"
    pruner: PrunerName | None = None
    pruner_patience: Annotated[int, Field(ge=0, le=1000)] = 0
    parallel: Annotated[int, Field(ge=1, le=1000)] = 1
    retries: Annotated[int, Field(ge=0, le=100)] = 2
    storage: Address | None = None
    space: TuneSpace = TuneSpace()

    @model_validator(mode="after")
    def _pruning_fits(self) -> TuneSettings:
        if "loss" not in self.objectives:
            raise ValueError("objectives must have loss in them")
        if len(self.objectives) > 1 and self.pruner not in (None, "none"):
            raise ValueError(
                f"pruner is {self.pruner}, but a study of several objectives prunes nothing; "
                "leave pruner out"
            )
        if len(self.objectives) > 1 and self.sampler == "cmaes":
            raise ValueError(
                "sampler is cmaes, which has one objective; give tpe, gp or nsgaii for several"
            )
        if self.pruner_patience and self.used_pruner not in BETWEEN_GENERATIONS:
            raise ValueError(
                f"pruner_patience is of {' and '.join(BETWEEN_GENERATIONS)}, and pruner is "
                f"{self.used_pruner}; leave pruner_patience out"
            )
        if self.pruner == "wilcoxon" and self.seeds < _WILCOXON_SEEDS:
            raise ValueError(
                f"the wilcoxon pruner is sure of nothing before {_WILCOXON_SEEDS - 1} seeds, so "
                f"seeds must be at least {_WILCOXON_SEEDS} for it to spare any"
            )
        return self

    @property
    def used_pruner(self) -> PrunerName:
        """The pruner, or the one that stands for `None`."""
        return self.pruner or ("none" if len(self.objectives) > 1 else "hyperband")
