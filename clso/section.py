"""The base class of all settings: frozen values; every mistake is reported with its path."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from clso.errors import ConfigError, shown

__all__ = [
    "Count",
    "NotNegative",
    "Positive",
    "Probability",
    "Section",
    "Share",
    "Threads",
    "mistakes",
    "validate_as",
]

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
# The bound keeps products of such values finite; realistic values are far below it.
Positive = Annotated[float, Field(gt=0.0, le=1e6)]
NotNegative = Annotated[float, Field(ge=0.0, le=1e6)]
Count = Annotated[int, Field(ge=1, le=10**15)]
Threads = Annotated[int, Field(ge=1, le=1024)]

# plainer messages for some of pydantic's error types
_PLAIN = {
    "model_type": "expected a section with keys of its own; to keep its defaults, leave it out",
    "tuple_type": "expected a list, such as [1, 2]",
    "string_pattern_mismatch": "expected letters, digits, '.', '_' or '-', 64 at most",
}
_UNKNOWN_KEY = "unknown_key"

S = TypeVar("S", bound=BaseModel)


class Section(BaseModel):
    """Frozen settings that refuse unknown names.

    Raises:
        ConfigError: a section that is constructed in Python has wrong values; all are listed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    if not TYPE_CHECKING:  # type checkers know the fields from the class

        def __init__(self, **values: Any) -> None:  # noqa: ANN401 - values of any field
            try:
                super().__init__(**values)
            except ValidationError as error:
                section = type(self)
                listed = "; ".join(mistakes(error, section))
                raise ConfigError(f"{section.__qualname__}: {listed}") from error

        # pydantic validates nested sections itself, so that it collects all mistakes
        __init__.__pydantic_base_init__ = True

    def replaced(self, **values: Any) -> Self:  # noqa: ANN401 - values of any field
        """Return these settings with some values replaced; the new values are checked.

        Raises:
            ConfigError: a value is wrong.
        """
        return type(self)(**{**dict(self), **values})

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_no_truth_values(cls, values: object) -> object:
        # YAML reads `yes` and `on` as true, which pydantic would accept as the number 1
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


def mistakes(error: ValidationError, section: type[BaseModel]) -> list[str]:
    """Return a sentence for each mistake in a section's values, with its dotted path."""
    details = error.errors()
    locations = [detail["loc"] for detail in details]
    # "too short" may only mean that wrong items were not counted
    return [
        _describe(detail, section)
        for detail in details
        if detail["type"] != "too_short"
        or not any(
            len(location) > len(detail["loc"]) and location[: len(detail["loc"])] == detail["loc"]
            for location in locations
        )
    ]


def validate_as(section: type[S], values: object, tag: str) -> S:
    """Validate plain values as a section that one of them chose, such as a plug-in's name.

    `tag` begins the location of every mistake.

    Raises:
        ValidationError: values are wrong. A field's validator may pass the error on; then the
            mistakes are listed with those of the other fields.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        details = []
        for detail in error.errors():
            kind: str | PydanticCustomError = detail["type"]
            if kind == "extra_forbidden":
                hint = _hint(detail["loc"][-1], _fields_at(section, detail["loc"][:-1]))
                kind = PydanticCustomError(_UNKNOWN_KEY, "{hint}", {"hint": hint})
            details.append(
                InitErrorDetails(
                    type=kind,
                    loc=(tag, *detail["loc"]),
                    input=detail["input"],
                    ctx=detail.get("ctx", {}),
                )
            )
        raise ValidationError.from_exception_data(section.__name__, details) from None


def _hint(key: object, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(key), known, n=1)
    return "unknown key; " + (
        f"did you mean {near[0]!r}?" if near else "known here: " + ", ".join(known)
    )


def _describe(detail: ErrorDetails, section: type[BaseModel]) -> str:
    location = detail["loc"]
    dotted = ".".join(str(part) for part in location)
    where = f"{dotted}: " if dotted else ""
    if detail["type"] == "extra_forbidden":
        return where + _hint(location[-1], _fields_at(section, location[:-1]))
    if detail["type"] == _UNKNOWN_KEY:
        return where + detail["msg"]
    if detail["type"] == "missing":
        return f"{where}missing; add it"
    if detail["type"] in _PLAIN:
        message = _PLAIN[detail["type"]]
    else:
        message = detail["msg"].removeprefix("Value error, ")
    value = detail["input"]
    given = "" if isinstance(value, dict | BaseModel) else f" (given {shown(value)})"
    return f"{where}{message[0].lower()}{message[1:]}{given}"


def _fields_at(section: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the known names of the section at a location, for the hint at a misspelt name."""
    sections = [section]
    for part in location:
        if isinstance(part, int):
            continue
        # A member of a union is in the location by its tag, without a field of that name.
        tagged = [section for section in sections if _tag(section) == part]
        sections = tagged or [
            inner
            for section in sections
            if part in section.model_fields
            for inner in _sections_in(section.model_fields[part].annotation)
        ]
    return sorted({name for section in sections for name in section.model_fields})


def _tag(section: type[BaseModel]) -> object:
    field = section.model_fields.get("family")
    return field.default if field else None


def _sections_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for inner in get_args(annotation) for section in _sections_in(inner)]
