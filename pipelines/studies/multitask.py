"""The study `clso multitask`: several texts with one library, and a genome for each.

Kinds of libraries:

    own       each text has its own library
    pooled    one library, computed from the counts of all texts together
    joined    one library, with entries of each text's own, in a share of their bytes

Bytes are those of all texts together: two own libraries count as two. Joules are those of one text:
its part of the library, and its search. A pooled library is charged in equal parts. For a joined
one, every own library must be made first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from clso.artifacts import Run
from clso.energy import Measurement
from clso.errors import ConfigError
from clso.progress import SILENT, Reporter
from pipelines.config import ConfigSource, RunConfig, read_config
from pipelines.families import AnyFamily
from pipelines.studies.engine import Row
from pipelines.studies.texts import (
    Text,
    TextPart,
    TextStudy,
    chosen_family,
    several_texts,
    spent_columns,
    study_texts,
    tested,
)

__all__ = ["check", "multitask"]

# Half of the bytes would lack some: what the models of two texts have in common is little.
_SHARE = 0.6
_OF_TRANSFER = ("source", "target", "arm")


def multitask(
    config: ConfigSource,
    overrides: Mapping[str, Any] | None = None,
    *,
    out: str | Path = "artifacts",
    family: str | None = None,
    texts: Sequence[str] = (),
    share: float = _SHARE,
    seeds: int = 5,
    reporter: Reporter = SILENT,
) -> Run:
    """Give several texts one library and a genome each; measure the loss and the bytes saved.

    Args:
        config, overrides, out, family, seeds, reporter: as for `transfer`.
        texts: names of the texts; none: all of the section `texts`.
        share: of the bytes of all libraries, which the joined library may take.

    Returns:
        The run, with the table `multitask`.

    Raises:
        ConfigError: as for `transfer`, or there is one text only.
        ClsoError: the work cannot be done.
    """
    config = read_config(config, overrides)
    searched, configs = check(config, family, texts, share)
    return study_texts(
        "multitask",
        searched,
        config,
        configs,
        partial(_of_seed, share=share),
        seeds=seeds,
        note={"texts": list(configs), "share": share},
        out=out,
        reporter=reporter,
    )


def check(
    config: RunConfig,
    family: str | None = None,
    texts: Sequence[str] = (),
    share: float = _SHARE,
    **unchecked: object,
) -> tuple[AnyFamily, dict[str, RunConfig]]:
    """Return the family, and the configurations of the texts.

    Raises:
        ConfigError: as for `multitask`.
    """
    configs = several_texts(config, texts, "a library is shared by several")
    if not 0.0 < share <= 1.0:
        raise ConfigError(
            f"--share is {share:g}, expected above 0 and at most 1",
            remedy="give such as --share 0.6",
        )
    return chosen_family(config, family, shares=True), configs


def _of_seed(study: TextStudy, seed: int, share: float) -> list[pa.Table]:
    """Return the rows of all kinds of libraries with one seed, a part for each kind."""
    texts = list(study.texts(seed).values())
    own = study.own({text.name: text for text in texts})
    keys: list[Any] = [text.key for text in texts]
    parts = [
        TextPart(texts[0], "own", ["own", keys], partial(_own_rows, study, texts, own)),
        TextPart(texts[0], "pooled", ["pooled", keys], partial(_pooled_rows, study, texts)),
        TextPart(
            texts[0], "joined", ["joined", keys, share], partial(_joined_rows, study, texts, share)
        ),
    ]
    return study.tables("libraries", parts)


def _own_rows(study: TextStudy, texts: Sequence[Text], own: Mapping[str, Row]) -> list[Row]:
    """Return the rows of own libraries: those of own searches, and the bytes."""
    models = [
        text.model(text.library, text.halves.searched, tuple(own[text.name]["genome"]))
        for text in texts
    ]
    libraries = [text.library for text in texts]
    kept = [
        {name: value for name, value in own[text.name].items() if name not in _OF_TRANSFER}
        for text in texts
    ]
    return _with_bytes(study, "own", texts, libraries, models, kept)


def _pooled_rows(study: TextStudy, texts: Sequence[Text]) -> list[Row]:
    with study.run.monitor.window() as window:
        library = study.family.pooled([text.run.experiment for text in texts])
    costs = window.measurement.split([1.0] * len(texts))
    return _searched_rows(study, "pooled", texts, library, costs)


def _joined_rows(study: TextStudy, texts: Sequence[Text], share: float) -> list[Row]:
    library = study.family.joined([text.library for text in texts], share)
    return _searched_rows(study, "joined", texts, library, [text.library_cost for text in texts])


def _searched_rows(
    study: TextStudy,
    kind: str,
    texts: Sequence[Text],
    library: Any,  # noqa: ANN401 - the family's own
    costs: Sequence[Measurement],
) -> list[Row]:
    """Return the rows of one library in which each text searches its genome."""
    found = [study.searched(text, library) for text in texts]
    rows = [
        study.row(
            text,
            **own.columns,
            **spent_columns(cost, own.spent),
            **tested(text, own.model),
        )
        for text, own, cost in zip(texts, found, costs, strict=True)
    ]
    return _with_bytes(study, kind, texts, [library], [own.model for own in found], rows)


def _with_bytes(
    study: TextStudy,
    kind: str,
    texts: Sequence[Text],
    libraries: Sequence[Any],
    models: Sequence[Any],
    rows: Sequence[Row],
) -> list[Row]:
    library_bytes, used_bytes = study.family.shared_bytes(libraries, models)
    sizes = {"library_bytes": library_bytes, "used_bytes": used_bytes}
    return [
        {**row, "library": kind, "text": text.name, **sizes}
        for text, row in zip(texts, rows, strict=True)
    ]
