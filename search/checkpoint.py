"""The state of a search between two generations, as JSON.

It holds everything that the next generation depends on: a search resumed from it continues as
if it had never stopped, bit for bit. What can be made again from the archive and the seed (the
surrogate, the random control) is not in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from clso.artifacts.store import atomic_write_bytes, read_json
from clso.energy import Measurement
from clso.errors import ArtifactError
from clso.genome import Genome
from search.archive import Archive, Scored, Screened
from search.ladder import Rung
from search.records import SearchCounts
from search.toolbox import Parent

__all__ = [
    "Guess",
    "SearchState",
    "StopReason",
    "load_state",
    "read_identified",
    "save_state",
    "write_identified",
]

_VERSION = 3
_FRESH = "start the search anew with --fresh, or restore what the state was made with"

State = TypeVar("State")
StopReason = Literal["generations", "patience", "max_evaluations", "exhausted", "interrupted"]


@dataclass(frozen=True, slots=True)
class Guess:
    """A recorded prediction: for whom, when, and how low."""

    canonical: Genome
    generation: int
    predicted_loss: float


@dataclass(slots=True, kw_only=True)
class SearchState:
    """What a search carries from one generation to the next.

    Attributes:
        generations: how many are finished; also the number of the next one.
        parents: who may breed the next generation.
        archive: every genome evaluated so far.
        population: places of the next generation.
        spent: whole evaluations so far, screened genomes counted by what they cost.
        random_state: of the genetic operators.
        reference_loss: the last improvement that counted for patience.
        stale: generations in a row without one.
        counts: individuals so far.
        screened: evaluations where the surrogate could choose, local search included, and those
            of them that were drawn at random.
        surrogate_start: the first generation where it could; `None`: none so far.
        surrogate_cost: of fitting and predicting; `None`: it never ran.
        n_predictions: genomes that it was asked about, a genome once for every time.
        lowest_guess: the lowest prediction recorded; `None`: there is none.
        stop_reason: why the search is over; `None`: it goes on.
    """

    random_state: list[Any]
    population: int
    generations: int = 0
    parents: list[Parent] = field(default_factory=list)
    archive: Archive = field(default_factory=Archive)
    spent: float = 0.0
    reference_loss: float | None = None
    stale: int = 0
    counts: SearchCounts = field(default_factory=SearchCounts)
    screened: tuple[int, int] = (0, 0)
    surrogate_start: int | None = None
    surrogate_cost: Measurement | None = None
    n_predictions: int = 0
    lowest_guess: Guess | None = None
    stop_reason: StopReason | None = None

    def count_screened(self, n_best: int, n_random: int) -> None:
        """Add evaluations that the surrogate chose in this generation, and its random control."""
        evaluations, at_random = self.screened
        self.screened = (evaluations + n_best + n_random, at_random + n_random)
        if self.surrogate_start is None:
            self.surrogate_start = self.generations

    def charge_surrogate(self, measurement: Measurement, n_predictions: int = 0) -> None:
        """Add what fitting or predicting took, and how many genomes were asked about."""
        cost = self.surrogate_cost
        self.surrogate_cost = (
            measurement if cost is None else Measurement.total((cost, measurement))
        )
        self.n_predictions += n_predictions


def save_state(path: Path, state: SearchState, identity: Mapping[str, Any]) -> None:
    """Write a state whole or not at all.

    Args:
        path: the file; an older state in it is replaced.
        state: between two generations.
        identity: JSON values that name the search; `load_state` demands the same.

    Raises:
        ArtifactError: the file cannot be written.
    """
    cost = state.surrogate_cost
    value = {
        "random_state": state.random_state,
        "generations": state.generations,
        "parents": [[list(parent.genome), parent.loss] for parent in state.parents],
        "archive": [_entry(one) for one in state.archive.in_order],
        "population": state.population,
        "spent": state.spent,
        "incumbent_rungs": [asdict(rung) for rung in state.archive.incumbent_rungs],
        "reference_loss": state.reference_loss,
        "stale": state.stale,
        "counts": asdict(state.counts),
        "screened": list(state.screened),
        "surrogate_start": state.surrogate_start,
        "surrogate_cost": None if cost is None else cost.to_record(),
        "n_predictions": state.n_predictions,
        "lowest_guess": None if state.lowest_guess is None else asdict(state.lowest_guess),
        "stop_reason": state.stop_reason,
    }
    write_identified(path, value, identity)


def write_identified(path: Path, value: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Write JSON values and whose they are, whole or not at all.

    Raises:
        ArtifactError: the file cannot be written.
    """
    named = {"version": _VERSION, "identity": dict(identity), **value}
    # without indentation: the archive of a long search would take a line per gene
    text = json.dumps(named, separators=(",", ":"), allow_nan=False)
    atomic_write_bytes(path, text.encode())


def load_state(path: Path, identity: Mapping[str, Any]) -> SearchState | None:
    """Read the state of this very search; `None` if there is none yet.

    Raises:
        ArtifactError: the file is damaged, of another version, or of a search with another
            problem, seed or settings; the message names what differs.
    """
    return read_identified(path, identity, _from_json)


def read_identified(
    path: Path, identity: Mapping[str, Any], parse: Callable[[Mapping[str, Any]], State]
) -> State | None:
    """Read what `write_identified` wrote for this very search; `None` if there is nothing yet.

    Raises:
        ArtifactError: as for `load_state`.
    """
    if not path.exists():
        return None
    value = read_json(path)
    if not isinstance(value, dict) or value.get("version") != _VERSION:
        found = value.get("version") if isinstance(value, dict) else None
        raise ArtifactError(
            f"{path} is a search state of version {found}, expected {_VERSION}", remedy=_FRESH
        )
    _demand(path, value.get("identity"), dict(identity))
    try:
        return parse(value)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{path} is damaged: {type(error).__name__} {error}",
            remedy="delete it, or start the search anew with --fresh",
        ) from error


def _demand(path: Path, found: object, expected: dict[str, Any]) -> None:
    if not isinstance(found, dict):
        raise ArtifactError(f"{path} is damaged: it names no search", remedy=_FRESH)
    before, now = _flat(found), _flat(expected)
    differing = [
        f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if differing:
        raise ArtifactError(
            f"{path} is the state of another search: " + "; ".join(differing), remedy=_FRESH
        )


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            flat.update(_flat(item, f"{prefix}{name}."))
        else:
            flat[prefix + name] = item
    return flat


def _entry(one: Scored | Screened) -> list[Any]:
    """Return a genome as bred (`None`: it was screened out), canonical, its loss, its fidelity."""
    if isinstance(one, Scored):
        return [list(one.genome), list(one.canonical), one.loss, 1.0]
    return [None, list(one.canonical), one.loss, one.fidelity]


def _from_json(value: Mapping[str, Any]) -> SearchState:
    archive = Archive()
    for genome, canonical, loss, fidelity in value["archive"]:
        if genome is None:
            archive.screen_out(Screened(tuple(canonical), fidelity, loss))
        else:
            archive.add(Scored(tuple(genome), tuple(canonical), loss))
    archive.incumbent_rungs = tuple(_rung(rung) for rung in value["incumbent_rungs"])
    cost, guess = value["surrogate_cost"], value["lowest_guess"]
    evaluations, at_random = value["screened"]
    return SearchState(
        random_state=value["random_state"],
        generations=int(value["generations"]),
        parents=[Parent(tuple(genome), loss) for genome, loss in value["parents"]],
        archive=archive,
        population=int(value["population"]),
        spent=float(value["spent"]),
        reference_loss=value["reference_loss"],
        stale=int(value["stale"]),
        counts=SearchCounts(**value["counts"]),
        screened=(int(evaluations), int(at_random)),
        surrogate_start=value["surrogate_start"],
        surrogate_cost=None if cost is None else Measurement.from_record(cost),
        n_predictions=int(value["n_predictions"]),
        lowest_guess=None
        if guess is None
        else Guess(tuple(guess["canonical"]), guess["generation"], guess["predicted_loss"]),
        stop_reason=value["stop_reason"],
    )


def _rung(value: Mapping[str, Any]) -> Rung:
    nats = value["batch_nats"]
    return Rung(value["fidelity"], value["loss"], None if nats is None else tuple(nats))
