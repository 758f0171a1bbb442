"""The study `clso transfer`: libraries and genomes of one text, used on another.

Arms, for a source and a target text:

    scratch   library and genome of the target
    library   library of the source, genome searched on the target
    genome    library of the target, genome of the source; nothing is searched
    model     library and genome of the source; nothing of the target is read
    random    library of the target, a genome drawn at random
    bigram    the floor, counted on the target

An arm is charged for the work on the target alone: the source's library and genome are there. For
the arm `library` this begins with the preparation of the library for the target's text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clso.artifacts import Run, table_from_rows
from clso.errors import ConfigError
from clso.floors import Bigram
from clso.progress import SILENT, Reporter
from pipelines.config import ConfigSource, RunConfig, read_config, text_configs
from pipelines.families import AnyFamily
from pipelines.studies.engine import Row
from pipelines.studies.texts import (
    Text,
    TextPart,
    TextStudy,
    chosen_family,
    spent_columns,
    study_texts,
    tested,
)

__all__ = ["check", "transfer"]

_UNSEARCHED: Row = {"loss": None, "held_back_loss": None, "evaluations": 0}
# Separates this random stream from other uses of the same seed.
_RANDOM_STREAM = int.from_bytes(b"rand")


def transfer(
    config: ConfigSource,
    overrides: Mapping[str, Any] | None = None,
    *,
    out: str | Path = "artifacts",
    family: str | None = None,
    sources: Sequence[str] = (),
    targets: Sequence[str] = (),
    seeds: int = 5,
    reporter: Reporter = SILENT,
) -> Run:
    """Use the library and the genome of one text on another, and measure what it loses and saves.

    Args:
        config, overrides, out, reporter: as for `pipelines.run`; the section `texts` has the texts.
        family: name of the model family; `None`: the first of the configuration.
        sources: names of the texts whose libraries and genomes are used on others; none: all.
        targets: names of the texts that they are used on; none: all.
        seeds: repetitions of everything, from the run's own seed upwards.

    Returns:
        The run, with the table `transfer`.

    Raises:
        ConfigError: the texts are missing, equal or of several vocabularies, or the family's
            libraries follow from no text.
        ClsoError: the work cannot be done.
    """
    config = read_config(config, overrides)
    searched, configs, pairs = check(config, family, sources, targets)
    return study_texts(
        "transfer",
        searched,
        config,
        configs,
        partial(_of_seed, pairs=pairs),
        seeds=seeds,
        note={"pairs": [list(pair) for pair in pairs]},
        out=out,
        reporter=reporter,
    )


def check(
    config: RunConfig,
    family: str | None = None,
    sources: Sequence[str] = (),
    targets: Sequence[str] = (),
    **unchecked: object,
) -> tuple[AnyFamily, dict[str, RunConfig], list[tuple[str, str]]]:
    """Return the family, the configurations of the texts, and the pairs of source and target.

    Raises:
        ConfigError: as for `transfer`.
    """
    configs = text_configs(config)
    text_configs(config, sources, asked_by="--from")
    text_configs(config, targets, asked_by="--to")
    pairs = [
        (source, target)
        for source, target in permutations(configs, 2)
        if source in (sources or configs) and target in (targets or configs)
    ]
    if not pairs:
        raise ConfigError(
            f"--from and --to name one text, {', '.join(targets)}, and nothing is transferred",
            remedy="name another text with one of them",
        )
    named = {name for pair in pairs for name in pair}
    kept = {name: own for name, own in configs.items() if name in named}
    return chosen_family(config, family), kept, pairs


def _of_seed(study: TextStudy, seed: int, pairs: Sequence[tuple[str, str]]) -> list[pa.Table]:
    """Return the rows of all pairs with one seed; each text's own search comes first."""
    texts = study.texts(seed)
    own = study.own(texts)
    parts = []
    for source, target in pairs:
        pair = texts[source], texts[target]
        for arm in ("library", "genome", "model"):
            rows = partial(_row, study, arm, *pair, own[source]["genome"])
            label = f"{source} to {target}, {arm}"
            parts.append(TextPart(pair[1], label, [arm, pair[0].key, pair[1].key], rows))
    targets = dict.fromkeys(target for _, target in pairs)
    for name in targets:
        for arm, row in (("random", _random_row), ("bigram", _bigram_row)):
            rows = partial(row, study, texts[name])
            parts.append(TextPart(texts[name], f"{name}, {arm}", [arm, texts[name].key], rows))
    scratch = [table_from_rows([own[name]], "transfer") for name in targets]
    return [*scratch, *study.tables("transfer", parts)]


def _row(
    study: TextStudy, arm: str, source: Text, target: Text, genome: Sequence[int]
) -> list[Row]:
    """Return the row of an arm in which something of the source is used on the target."""
    names: Row = {"source": source.name, "target": target.name, "arm": arm}
    if arm == "library":
        library = source.library
        with study.run.monitor.window() as window:
            halves = target.on(library)  # a mixture's functions are scored on the target
        found = study.searched(target, library, halves)
        spent = spent_columns(window.measurement, found.spent)
        return [study.row(target, **names, **found.columns, **spent, **tested(target, found.model))]
    own = target if arm == "genome" else source
    model = own.model(own.library, own.halves.searched, tuple(genome))
    names["genome"] = list(genome)
    spent = spent_columns(target.library_cost if arm == "genome" else None, None)
    return [study.row(target, **names, **_UNSEARCHED, **spent, **tested(target, model))]


def _random_row(study: TextStudy, text: Text) -> list[Row]:
    """Return the row of a genome drawn at random: what the target's library does unsearched."""
    space = text.halves.searched.space
    rng = np.random.default_rng([text.seed, _RANDOM_STREAM])
    genome = space.canonical([int(rng.integers(slot.cardinality)) for slot in space.slots])
    model = text.model(text.library, text.halves.searched, genome)
    names: Row = {"source": None, "target": text.name, "arm": "random", "genome": list(genome)}
    spent = spent_columns(text.library_cost, None)
    return [study.row(text, **names, **_UNSEARCHED, **spent, **tested(text, model))]


def _bigram_row(study: TextStudy, text: Text) -> list[Row]:
    """Return the row of the floor: a bigram that is counted on the target."""
    experiment = text.run.experiment
    splits = [experiment.budget[name] for name in ("train", "tune")]
    with study.run.monitor.window() as window:
        model = Bigram.fit(splits, experiment.dataset.vocab_size)
    names: Row = {"source": None, "target": text.name, "arm": "bigram", "genome": []}
    spent = spent_columns(window.measurement, None)
    return [study.row(text, **names, **_UNSEARCHED, **spent, **tested(text, model))]
