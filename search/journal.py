"""The journal of a search: every evaluation that it was told, on disk before it is used.

A journal is a text file that only grows, one line for each evaluation:

    <16 hexadecimal digits> <JSON array>

The digits are a checksum over the line and the checksum of the line before, so a line that was
changed, left out, repeated or moved is found. An interrupted writer leaves at most an incomplete
last line, which is ignored and overwritten. The first line names the search.

An evaluation has a *place*: its generation, the batch within the generation (the `step`) and its
index in the batch. Results may be told in any order, and the places say in which order they were
asked for. When a search is extended, its last generations may be repeated under the larger budget.
A `rewind` line then takes all evaluations from a generation on off their places. They stay known,
and where the repeated generations ask for one of them, a `reuse` line gives it its new place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from clso.artifacts.store import atomic_write_bytes, write_error
from clso.energy import Measurement
from clso.errors import ArtifactError
from clso.genome import Genome
from clso.problem import Evaluation
from search.archive import Archive, Scored, Screened

__all__ = ["Journal", "Place", "Told", "read_state", "write_state"]

_JOURNAL_VERSION = 1
_STATE_VERSION = 4
_FRESH = (
    "restore it, or start the search anew: with --fresh on the command line, in a folder of its "
    "own from Python"
)
_HEAD = b'{"checksum": "'
_DIGITS = 16

State = TypeVar("State")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where an evaluation was asked for: its generation, batch and index in the batch."""

    generation: int
    step: int
    index: int


@dataclass(frozen=True, slots=True)
class Told:
    """An evaluation of a genome at a fidelity.

    Attributes:
        canonical: the genome that was evaluated.
        genome: its slots as bred.
        fidelity: share of the batches.
        evaluation: the result.
    """

    canonical: Genome
    genome: Genome
    fidelity: float
    evaluation: Evaluation

    @property
    def key(self) -> tuple[Genome, float]:
        """What no search asks for twice."""
        return self.canonical, self.fidelity

    def to_json(self, place: Place) -> list[Any]:
        """Return the journal's line; `from_json` reads what follows the place."""
        evaluation, cost = self.evaluation, self.evaluation.measurement
        loss = evaluation.finite_loss
        return [
            "told",
            place.generation,
            place.step,
            place.index,
            self.canonical,
            None if self.genome == self.canonical else self.genome,
            self.fidelity,
            loss,
            evaluation.tokens,
            cost.to_record() if cost.devices else cost.duration_s,
            None if loss is None else evaluation.batch_nats,
        ]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> Told:
        """Make an evaluation of the values in a line that follow the place."""
        canonical, genome, fidelity, loss, tokens, cost, nats = values
        return cls(
            tuple(canonical),
            tuple(canonical if genome is None else genome),
            fidelity,
            Evaluation(
                loss,
                "failed" if loss is None else "evaluated",
                tokens,
                Measurement.from_record(cost) if isinstance(cost, dict) else Measurement(cost),
                None if nats is None else tuple(nats),
            ),
        )


class Journal:
    """The evaluations that a search was told.

    What earlier generations were told is in the search's archive. In memory the journal holds
    only what a repeated generation could ask for.

    Args:
        path: of the file; `None`: the journal is in memory only.
        search: names the search, as text.

    Raises:
        ArtifactError: the file is damaged or of another search, or cannot be read.
    """

    def __init__(self, path: Path | None, search: str) -> None:
        self.path = path
        self.rewinds = 0
        self._known: dict[tuple[Genome, float], Told] = {}
        self._placed: dict[Place, Told] = {}
        self._n_lines = 0
        self._checksum = ""
        self._end = 0
        self._seen: dict[int, str] = {0: ""}
        header = ["journal", _JOURNAL_VERSION, _digest(search)]
        if path is not None and path.exists():
            self._read(path, header)
        if self._n_lines == 0:
            self._header: list[Any] | None = header
        else:
            self._header = None

    @property
    def mark(self) -> list[Any]:
        """How many lines there are, and the checksum of the last."""
        return [self._n_lines, self._checksum]

    def check(self, mark: Sequence[Any]) -> None:
        """Compare the journal with a mark that a saved state has.

        Raises:
            ArtifactError: lines of it are missing or others.
        """
        n_lines, checksum = mark
        if self._n_lines < n_lines or self._seen.get(n_lines) != checksum:
            raise ArtifactError(
                f"{self.path} has {self._n_lines} whole lines, expected {n_lines} at least, the "
                f"last of them with the checksum {checksum!r}",
                remedy=_FRESH,
            )
        self._seen = {}

    def known(self, canonical: Genome, fidelity: float) -> Evaluation | None:
        """Return an evaluation that is known from an interrupted or repeated generation."""
        told = self._known.get((canonical, fidelity))
        return None if told is None else told.evaluation

    def write(self, entries: Iterable[tuple[Place, Told]]) -> None:
        """Add evaluations at their places.

        Raises:
            ArtifactError: the file cannot be written; the journal is as it was before.
        """
        entries = list(entries)
        lines = []
        for place, told in entries:
            before = self._known.get(told.key)
            if before is None:
                lines.append(told.to_json(place))
            elif self._placed.get(place) is not before or before.genome != told.genome:
                genome = None if told.genome == told.canonical else told.genome
                spot = [place.generation, place.step, place.index]
                lines.append(["reuse", *spot, told.canonical, genome, told.fidelity])
        self._append(lines)
        for place, told in entries:
            self._known[told.key] = self._placed[place] = told

    def rewind(self, generation: int) -> None:
        """Take evaluations from a generation on off their places; they stay known.

        Raises:
            ArtifactError: the file cannot be written.
        """
        self._append([["rewind", generation]])
        self._take_off(generation)

    def forget(self) -> None:
        """Drop from memory what was told so far; the file keeps it."""
        for told in self._placed.values():
            self._known.pop(told.key, None)
        self._placed.clear()

    def archive(self, generations: int) -> Archive:
        """Return the archive of the evaluations placed in the first `generations` generations.

        Its `incumbent_rungs` are not part of the journal.
        """
        archive = Archive()
        last: dict[Genome, Told] = {}
        for place in sorted(self._placed):
            if place.generation < generations:
                # the first rung says which genome came first, the last one how far it came
                told = self._placed[place]
                last[told.canonical] = told
        for told in last.values():
            loss = told.evaluation.finite_loss
            if loss is not None and told.fidelity < 1.0:
                archive.screen_out(Screened(told.canonical, told.fidelity, loss))
            else:
                archive.add(Scored(told.genome, told.canonical, loss))
        return archive

    def keep_from(self, generation: int) -> None:
        """Drop from memory what was told before a generation; the file keeps it."""
        for place in [place for place in self._placed if place.generation < generation]:
            self._known.pop(self._placed.pop(place).key, None)

    def _take_off(self, generation: int) -> None:
        self.rewinds += 1
        for place in [place for place in self._placed if place.generation >= generation]:
            del self._placed[place]

    def _append(self, lines: Sequence[Sequence[Any]]) -> None:
        if not lines:
            return
        if self._header is not None:
            lines = [self._header, *lines]
        checksum, content = self._checksum, []
        for line in lines:
            text = json.dumps(line, separators=(",", ":")).encode()
            checksum = _chained(checksum, text)
            content.append(checksum.encode() + b" " + text + b"\n")
        if self.path is not None:
            self._write_to(self.path, b"".join(content))
        self._header = None
        self._checksum = checksum
        self._n_lines += len(lines)

    def _write_to(self, path: Path, content: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
            try:
                # what an interrupted writer left behind the last whole line
                os.ftruncate(descriptor, self._end)
                try:
                    written = 0
                    while written < len(content):
                        written += os.pwrite(descriptor, content[written:], self._end + written)
                    os.fsync(descriptor)
                except OSError:
                    with contextlib.suppress(OSError):
                        os.ftruncate(descriptor, self._end)
                    raise
            finally:
                os.close(descriptor)
        except OSError as error:
            raise write_error(path, error) from error
        self._end += len(content)

    def _read(self, path: Path, header: Sequence[Any]) -> None:
        for number, line in self._lines(path):
            try:
                kind, *values = json.loads(line)
                if number == 1:
                    self._check_header(path, [kind, *values], header)
                elif kind == "told":
                    place, told = Place(*values[:3]), Told.from_json(values[3:])
                    self._known[told.key] = self._placed[place] = told
                elif kind == "reuse":
                    canonical, genome, fidelity = tuple(values[3]), values[4], values[5]
                    told = replace(
                        self._known[canonical, fidelity],
                        genome=canonical if genome is None else tuple(genome),
                    )
                    self._known[told.key] = self._placed[Place(*values[:3])] = told
                elif kind == "rewind":
                    self._take_off(values[0])
                else:
                    raise ValueError(f"there is no line of kind {kind!r}")
            except (KeyError, TypeError, ValueError, IndexError) as error:
                raise ArtifactError(
                    f"{path} is damaged in line {number}: {type(error).__name__} {error}",
                    remedy=_FRESH,
                ) from error

    def _lines(self, path: Path) -> Iterator[tuple[int, bytes]]:
        """Yield the number and JSON of every whole line, and leave out an incomplete last one."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error
        *lines, rest = content.split(b"\n")
        for line in lines:
            text = line[_DIGITS + 1 :]
            checksum = _chained(self._checksum, text)
            if line[: _DIGITS + 1] != checksum.encode() + b" ":
                raise ArtifactError(
                    f"{path} is damaged in line {self._n_lines + 1}: its checksum is not that of "
                    "what it says",
                    remedy=_FRESH,
                )
            self._checksum = checksum
            self._n_lines += 1
            self._seen[self._n_lines] = checksum
            self._end += len(line) + 1
            yield self._n_lines, text
        # an incomplete line ends anywhere, but one that is whole and does not end was changed
        if rest[:_DIGITS] == _chained(self._checksum, rest[_DIGITS + 1 : -1]).encode():
            raise ArtifactError(
                f"{path} is damaged in line {self._n_lines + 1}: its end was changed",
                remedy=_FRESH,
            )

    @staticmethod
    def _check_header(path: Path, line: Sequence[Any], expected: Sequence[Any]) -> None:
        if list(line[:2]) != list(expected[:2]):
            raise ArtifactError(
                f"{path} is no journal of version {_JOURNAL_VERSION}", remedy=_FRESH
            )
        if list(line) != list(expected):
            raise ArtifactError(f"{path} is the journal of another search", remedy=_FRESH)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _chained(before: str, text: bytes) -> str:
    return hashlib.sha256(before.encode() + text).hexdigest()[:_DIGITS]


def write_state(path: Path, value: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Write the state of a search and the search's identity, whole or not at all.

    Args:
        path: the file; an older state in it is replaced.
        value: of the state, as JSON values.
        identity: JSON values that name the search; `read_state` demands the same.

    Raises:
        ArtifactError: the file cannot be written.
    """
    whole = {"version": _STATE_VERSION, "identity": dict(identity), **value}
    text = b", " + json.dumps(whole, allow_nan=False).encode()[1:]
    checksum = hashlib.sha256(text).hexdigest()[:_DIGITS].encode()
    atomic_write_bytes(path, _HEAD + checksum + b'"' + text)


def read_state(
    path: Path, identity: Mapping[str, Any], parse: Callable[[Mapping[str, Any]], State]
) -> State | None:
    """Read what `write_state` wrote; `None` where there is no file.

    Args:
        path: the file.
        identity: of the search that reads it.
        parse: makes a state of the JSON values.

    Raises:
        ArtifactError: the file is damaged, of another version or search, or cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error
    start = len(_HEAD) + _DIGITS
    text = content[start + 1 :]
    checksum = hashlib.sha256(text).hexdigest()[:_DIGITS].encode()
    whole = content[: start + 1] == _HEAD + checksum + b'"'
    try:
        value = json.loads(content)
        version = value["version"]
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{path} is damaged: {type(error).__name__} {error}", remedy=_FRESH
        ) from error
    if version != _STATE_VERSION:
        raise ArtifactError(
            f"{path} is a saved state of version {version!r}, expected {_STATE_VERSION}",
            remedy="start the search anew with --fresh, or finish it with the CLSO that began it",
        )
    if not whole:
        raise ArtifactError(f"{path} is damaged: its checksum is another", remedy=_FRESH)
    _demand(path, value.get("identity"), dict(identity), value.get("budget", {}))
    try:
        return parse(value)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{path} is damaged: {type(error).__name__} {error}", remedy=_FRESH
        ) from error


def _demand(
    path: Path, found: object, expected: Mapping[str, Any], extended: Mapping[str, Any]
) -> None:
    if not isinstance(found, dict):
        raise ArtifactError(f"{path} is damaged: it names no search", remedy=_FRESH)
    before, now = _flat(found), _flat(expected)
    budget = {f"settings.{name}": value for name, value in extended.items()}
    differing = [
        f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
        # the budget may be that which the search began with, or that which it was extended to
        and not (name in budget and budget[name] == now.get(name))
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
