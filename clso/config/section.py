"""What all sections of a configuration share: their base class and the ranges of numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = [
    "Count",
    "Globs",
    "NotNegative",
    "Positive",
    "Probability",
    "Section",
    "Share",
    "Threads",
]

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
# The bound keeps products of such values finite; nothing sensible comes near it.
Positive = Annotated[float, Field(gt=0.0, le=1e6)]
NotNegative = Annotated[float, Field(ge=0.0, le=1e6)]
Count = Annotated[int, Field(ge=1, le=10**15)]
Threads = Annotated[int, Field(ge=1, le=1024)]
Globs = Annotated[tuple[str, ...], Field(min_length=1)]


class Section(BaseModel):
    """A frozen part of the configuration that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_no_truth_values(cls, values: object) -> object:
        # YAML reads `yes` and `on` as true, which would pass for the number 1
        if isinstance(values, dict):
            for name, value in values.items():
                field = cls.model_fields.get(name)
                if isinstance(value, bool) and field and field.annotation is not bool:
                    raise ValueError(f"{name} is {str(value).lower()}, expected another value")
        return values

    @field_validator("*")
    @classmethod
    def _lists_repeat_nothing(cls, value: object) -> object:
        if isinstance(value, tuple) and len({repr(item) for item in value}) < len(value):
            raise ValueError("the list has an item twice")
        return value
