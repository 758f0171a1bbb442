"""The journal of a search: every evaluation, on disk before the search uses it.

A journal is a text file that only grows, one line for each evaluation:

    <16 hexadecimal digits> <JSON array>

The digits are a checksum over the line and the checksum of the line before, so a line that was
changed, left out, repeated or moved is found. An interrupted writer leaves at most an incomplete
last line, which is ignored and overwritten. The first line names the search.

An evaluation has a *place*: its generation, the batch within the generation (the `step`) and its
index in the batch. Results may be told in any order; the places have the order in which they were
asked for. When a search is extended, its last generations may be repeated under the larger budget.
A `rewind` line then takes all evaluations from a generation on off their places. These evaluations
stay known. Where the repeated generations ask for one of them, a `reuse` line gives it a new place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clso.artifacts.store import write_error
from clso.energy import Measurement
from clso.errors import ArtifactError, DamageError
from clso.genome import Genome
from clso.problem import Evaluation
from search.archive import Archive, Scored

__all__ = ["REMEDY", "Journal", "JournalEntry"]

_VERSION = 1
_DIGITS = 16
REMEDY = (
    "restore it, or start the search anew: with --fresh on the command line, in a folder of its "
    "own from Python"
)


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """An evaluation of a genome, and its place.

    Attributes:
        generation, step, index: the place; see above.
        canonical: the genome that was evaluated.
        genome: its slots as bred.
        fidelity: share of the batches.
    """

    generation: int
    step: int
    index: int
    canonical: Genome
    genome: Genome
    fidelity: float
    evaluation: Evaluation

    @property
    def place(self) -> tuple[int, int, int]:
        """Generation, step and index; places are in the order of the requests."""
        return self.generation, self.step, self.index

    @property
    def key(self) -> tuple[Genome, float]:
        """Genome and fidelity, which no search asks for twice."""
        return self.canonical, self.fidelity

    @property
    def scored(self) -> Scored:
        """The genome with its loss, as an archive has it."""
        loss = self.evaluation.finite_loss
        return Scored(self.genome, self.canonical, loss, 1.0 if loss is None else self.fidelity)

    def to_json(self, *, reused: bool) -> list[Any]:
        """Return the line of the journal; if `reused`, it has the new place and no result."""
        genome = None if self.genome == self.canonical else self.genome
        line = ["reuse" if reused else "told", *self.place, self.canonical, genome, self.fidelity]
        if reused:
            return line
        loss, cost = self.evaluation.finite_loss, self.evaluation.measurement
        return [
            *line,
            loss,
            self.evaluation.tokens,
            cost.to_record() if cost.devices else cost.duration_s,
            None if loss is None else self.evaluation.batch_nats,
        ]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> JournalEntry:
        """Make an entry of the values that follow the first word of a line `told`."""
        generation, step, index, canonical, genome, fidelity, loss, tokens, cost, nats = values
        return cls(
            generation,
            step,
            index,
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
    """The evaluations of a search, in a file or in memory.

    In memory the journal holds only evaluations that a repeated generation could ask for; those of
    earlier generations are in the archive of the search.

    Args:
        path: of the file; `None`: the journal is in memory only.
        search: names the search.

    Attributes:
        rewinds: number of `rewind` lines.

    Raises:
        ArtifactError: the file is damaged or of another search, or cannot be read.
    """

    def __init__(self, path: Path | None, search: str) -> None:
        self.path = path
        self.rewinds = 0
        self._known: dict[tuple[Genome, float], JournalEntry] = {}
        self._placed: dict[tuple[int, int, int], JournalEntry] = {}
        self._n_lines = 0
        self._checksum = ""
        self._end = 0
        self._checksums: dict[int, str] = {0: ""}
        self._header = ["journal", _VERSION, _digest(search.encode())]
        if path is not None and path.exists():
            self._read(path)

    @property
    def mark(self) -> list[Any]:
        """The number of lines, and the checksum of the last."""
        return [self._n_lines, self._checksum]

    def check(self, mark: Sequence[Any]) -> None:
        """Compare the journal with the mark in a saved state.

        Raises:
            ArtifactError: lines are missing or different.
        """
        n_lines, checksum = mark
        if self._n_lines < n_lines or self._checksums.get(n_lines) != checksum:
            raise DamageError(
                f"{self.path} has {self._n_lines} whole lines, expected {n_lines} at least, the "
                f"last of them with the checksum {checksum!r}",
                remedy=REMEDY,
            )
        self._checksums = {}

    def known(self, canonical: Genome, fidelity: float) -> Evaluation | None:
        """Return an evaluation that is known from an interrupted or repeated generation."""
        entry = self._known.get((canonical, fidelity))
        return None if entry is None else entry.evaluation

    def write(self, entries: Iterable[JournalEntry]) -> None:
        """Add evaluations at their places.

        Raises:
            ArtifactError: the file cannot be written; the journal is as it was before.
        """
        entries = list(entries)
        lines = []
        for entry in entries:
            before = self._known.get(entry.key)
            if (
                before is None
                or before.genome != entry.genome
                or self._placed.get(entry.place) is not before
            ):
                lines.append(entry.to_json(reused=before is not None))
        self._append(lines)
        for entry in entries:
            self._known[entry.key] = self._placed[entry.place] = entry

    def rewind(self, generation: int) -> None:
        """Take the evaluations from a generation on off their places; they stay known.

        Raises:
            ArtifactError: the file cannot be written.
        """
        self._append([["rewind", generation]])
        self._take_off(generation)

    def forget(self, before: int | None = None) -> None:
        """Drop evaluations `before` a generation (`None`: all) from memory; the file keeps them."""
        for entry in list(self._placed.values()):
            if before is None or entry.generation < before:
                self._known.pop(entry.key, None)
                del self._placed[entry.place]

    def archive(self, generations: int) -> Archive:
        """Return the archive of the evaluations placed in the first `generations` generations.

        Its `incumbent_rungs` are not part of the journal.
        """
        last: dict[Genome, JournalEntry] = {}
        for place in sorted(self._placed):
            entry = self._placed[place]
            if entry.generation < generations:
                # a genome stands where its first rung was, with the loss of its last rung
                last[entry.canonical] = entry
        archive = Archive()
        for entry in last.values():
            archive.add(entry.scored)
        return archive

    def _take_off(self, generation: int) -> None:
        self.rewinds += 1
        for place in [place for place in self._placed if place[0] >= generation]:
            del self._placed[place]

    def _append(self, lines: Sequence[Sequence[Any]]) -> None:
        if not lines:
            return
        if self._n_lines == 0:
            lines = [self._header, *lines]
        checksum, content = self._checksum, []
        for line in lines:
            text = json.dumps(line, separators=(",", ":")).encode()
            checksum = _digest(checksum.encode() + text)
            content.append(checksum.encode() + b" " + text + b"\n")
        if self.path is not None:
            self._write_to(self.path, b"".join(content))
        self._checksum = checksum
        self._n_lines += len(lines)

    def _write_to(self, path: Path, content: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
            try:
                # an interrupted writer may have left an incomplete line
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

    def _read(self, path: Path) -> None:
        for number, line in self._lines(path):
            try:
                kind, *values = json.loads(line)
                if number == 1:
                    self._check_header(path, [kind, *values])
                elif kind == "told":
                    entry = JournalEntry.from_json(values)
                    self._known[entry.key] = self._placed[entry.place] = entry
                elif kind == "reuse":
                    generation, step, index, canonical, genome, fidelity = values
                    entry = replace(
                        self._known[tuple(canonical), fidelity],
                        generation=generation,
                        step=step,
                        index=index,
                        genome=tuple(canonical if genome is None else genome),
                    )
                    self._known[entry.key] = self._placed[entry.place] = entry
                elif kind == "rewind":
                    self._take_off(values[0])
                else:
                    raise ValueError(f"there is no line of kind {kind!r}")
            except (KeyError, TypeError, ValueError, IndexError) as error:
                raise DamageError(
                    f"{path} is damaged in line {number}: {type(error).__name__} {error}",
                    remedy=REMEDY,
                ) from error

    def _lines(self, path: Path) -> Iterator[tuple[int, bytes]]:
        """Yield the number and JSON of every whole line, and leave out an incomplete last one."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error
        *lines, last = content.split(b"\n")
        for line in lines:
            text = line[_DIGITS + 1 :]
            checksum = _digest(self._checksum.encode() + text)
            if line[: _DIGITS + 1] != checksum.encode() + b" ":
                raise DamageError(
                    f"{path} is damaged in line {self._n_lines + 1}: its checksum does not match",
                    remedy=REMEDY,
                )
            self._checksum = checksum
            self._n_lines += 1
            self._checksums[self._n_lines] = checksum
            self._end += len(line) + 1
            yield self._n_lines, text
        # an interrupted line ends anywhere, but a whole line without its end was changed
        whole = _digest(self._checksum.encode() + last[_DIGITS + 1 : -1])
        if last[:_DIGITS] == whole.encode():
            raise DamageError(
                f"{path} is damaged in line {self._n_lines + 1}: its end was changed",
                remedy=REMEDY,
            )

    def _check_header(self, path: Path, line: Sequence[Any]) -> None:
        if list(line[:2]) != self._header[:2]:
            raise ArtifactError(f"{path} is no journal of version {_VERSION}", remedy=REMEDY)
        if list(line) != self._header:
            raise DamageError(f"{path} is the journal of another search", remedy=REMEDY)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]
