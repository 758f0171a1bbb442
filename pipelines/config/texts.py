"""The section `texts`: several texts with one vocabulary, for the studies of libraries and genomes.

A text is the run's configuration with other values of `data`; its overrides map dotted paths to
values, `{data.source: files, data.files: {train: mine.txt}}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from clso.digest import digest_of
from clso.errors import ConfigError
from pipelines.config.arms import Named, Overrides, without_studies

if TYPE_CHECKING:
    from pipelines.config.run import RunConfig

__all__ = ["TextsSettings", "text_configs"]


def _of_data_alone(texts: dict[str, Overrides]) -> dict[str, Overrides]:
    """Refuse overrides besides the text itself: its models could not be compared or exchanged."""
    for name, overrides in texts.items():
        for path in overrides:
            if not path.startswith("data.") or path == "data.block_size":
                raise ValueError(
                    f"text {name!r} sets {path!r}, but texts may differ in data.* alone, and not "
                    "in data.block_size"
                )
    return texts


TextsSettings = Annotated[
    dict[str, Overrides], Named, Field(min_length=2), AfterValidator(_of_data_alone)
]
"""Texts by name, in order; a text without overrides is the run's own."""


def text_configs(
    config: RunConfig, names: Sequence[str] = (), *, asked_by: str = "--text"
) -> dict[str, RunConfig]:
    """Return the configuration of each text, or of those with some names, in the section's order.

    In messages, `asked_by` is the option that gave the names.

    Raises:
        ConfigError: there is no such section, an override is wrong, a name is unknown, two texts
            are equal, or each text would have a vocabulary of its own.
        DataError: a text cannot be found.
    """
    texts = config.texts
    if texts is None:
        raise ConfigError(
            "the configuration has no section `texts`, which names the texts that are compared",
            remedy="see configs/texts.yaml",
        )
    for name in names:
        if name not in texts:
            raise ConfigError(
                f"{asked_by} is {name}, but texts has only {', '.join(texts)}",
                remedy="name one of them, or add the text to the section",
            )
    if config.tokenizer.kind == "bpe":
        raise ConfigError(
            "tokenizer.kind is bpe, which learns a vocabulary from each text: the same token would "
            "mean different bytes in each, so no library or model fits another text",
            remedy="--set tokenizer={kind: gpt2}, or bytes",
        )
    base = without_studies(config)
    configs = {
        name: base.with_overrides(overrides, where=f"texts.{name}")
        for name, overrides in texts.items()
        if not names or name in names
    }
    seen: dict[str, str] = {}
    for name, own in configs.items():
        # not the fingerprint of the data set, which other shares of the splits change
        text = digest_of(own.data.corpus(Path()).identity())
        other = seen.setdefault(text, name)
        if other != name:
            raise ConfigError(
                f"texts.{other} and texts.{name} are the same text",
                remedy="give each its own data.source or files, or drop one of them",
            )
    return configs
