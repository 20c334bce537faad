"""What the journal adds to a checkpoint, and what a bad line means.

The chain decides. A line is applied only when it is the next one: its LSN is one higher and its `prev` is the checksum reached. What
precedes the checkpoint, or belongs to a lower timeline than the checkpoint's, is a leftover.

Bytes that are no next line are *bad*. Three cases:

1. A later line continues the chain all the same: nothing is missing; the bad bytes are passed over and announced.
2. A later valid line says (`durable`) that the missing LSN had been fsynced before it was written: that is damage. It may have been
   acknowledged, so nothing is served: `StoreDamaged` names file and offset.
3. No line says so: the bad bytes and what follows were never acknowledged (a group is written at once, and a power cut may keep
   its later sectors and lose its earlier ones). They are cut, and that is announced.

A flipped last line looks like case 3. Only the other side can contradict: a replica that is ahead of its primary (`replication/`).
"""

from pathlib import Path
from typing import Any, NamedTuple

from shop.store.checkpoint import Header
from shop.store.codec import Codec
from shop.store.errors import StoreDamaged
from shop.store.journal import (
    LINE_START,
    NEVER_WRITTEN,
    BadLine,
    Commit,
    UnknownLine,
    chain,
    core_of,
    decode_line,
    split_lines,
)
from shop.store.state import Position


class Kept(NamedTuple):
    """A line that stays in the journal."""

    lsn: int
    at: str
    line: bytes  # with its newline


class Replayed(NamedTuple):
    """The journal's part of an opened store."""

    position: Position
    forks: tuple[Position, ...]
    applied: int  # commits above the checkpoint
    kept: list[Kept]  # a gapless run that ends at `position`
    announcements: list[str]
    is_tidy: bool  # nothing was passed over or cut


class _Bad(NamedTuple):
    offset: int
    lsn: int  # the one that should stand there
    why: str


def replay(path: Path, data: bytes, codec: Codec, header: Header, collections: dict[str, dict[str, Any]]) -> Replayed:
    """Apply the journal's *data* to *collections* (in place); raises `StoreDamaged`, see above. *path* is for messages."""
    run = _Run(path, header, collections)
    written = data.rstrip(NEVER_WRITTEN)
    for offset, line in split_lines(written):
        _read_line(run, codec, offset, line)
    run.is_tidy = run.is_tidy and (not written or written.endswith(b"\n"))
    return run.result(len(written))


def _read_line(run: "_Run", codec: Codec, offset: int, line: bytes) -> None:
    try:
        commit = decode_line(line, codec)
    except UnknownLine as error:
        raise StoreDamaged(
            run.path, offset, f"a commit was written by another version of this program ({error})"
        ) from error
    except BadLine as error:
        start = line.find(LINE_START, 1)  # cannot stand inside a record: quotes are escaped there
        if start < 0:
            run.bad_bytes(offset, str(error))
            return
        # A damaged newline joins two lines; each may be whole, and the second is the witness of the first.
        run.is_tidy = False
        _read_line(run, codec, offset, line[: start - 1])
        _read_line(run, codec, offset + start, line[start:])
    else:
        run.line(offset, line, commit)


class _Run:
    """One pass over the journal."""

    def __init__(self, path: Path, header: Header, collections: dict[str, dict[str, Any]]) -> None:
        self.path = path
        self.start = header.position
        self.position = header.position
        self.forks = list(header.forks)
        self.collections = collections
        self.leftovers: list[tuple[Commit, Kept]] = []
        self.applied: list[Kept] = []
        self.bad: _Bad | None = None
        self.announcements: list[str] = []
        self.is_tidy = True

    def bad_bytes(self, offset: int, why: str) -> None:
        self.is_tidy = False
        if self.bad is None:
            self.bad = _Bad(offset, self.position.lsn + 1, why)

    def line(self, offset: int, line: bytes, commit: Commit) -> None:
        kept = Kept(commit.lsn, commit.at, line + b"\n")
        if self._continues(commit, line):
            self._pass_over(offset)
            self._apply(commit)
            self.applied.append(kept)
        elif commit.lsn <= self.position.lsn or commit.timeline < self.start.timeline:
            self._leftover(offset, commit, kept)
        else:
            self.bad_bytes(offset, f"commit {commit.lsn} does not follow commit {self.position.lsn}")
        self._witness(commit)

    def _continues(self, commit: Commit, line: bytes) -> bool:
        return (
            commit.lsn == self.position.lsn + 1
            and commit.prev == self.position.checksum
            and commit.timeline >= self.position.timeline
            and commit.checksum == chain(commit.prev, core_of(line))
        )

    def _apply(self, commit: Commit) -> None:
        for collection, id, record in commit.ops:
            if record is None:
                self.collections[collection].pop(id, None)
            else:
                self.collections[collection][id] = record
        if commit.timeline > self.position.timeline:
            self.forks.append(self.position)
        self.position = commit.position

    def _leftover(self, offset: int, commit: Commit, kept: Kept) -> None:
        """Not applied; but a gapless run that ends at the checkpoint is what the replica may still lack."""
        if self.applied:
            self.is_tidy = False
            return
        self._pass_over(offset)
        last = self.leftovers[-1][0] if self.leftovers else None
        if last is not None and (last.lsn + 1, last.checksum) != (commit.lsn, commit.prev):
            self._drop_leftovers()
        self.leftovers.append((commit, kept))

    def _drop_leftovers(self) -> None:
        self.leftovers.clear()
        self.is_tidy = False  # they are still in the file: it has to be written anew

    def _pass_over(self, offset: int) -> None:
        if self.bad is not None:
            self.announcements.append(
                f"{self.path} at byte {self.bad.offset}: {offset - self.bad.offset} bytes are no commit ({self.bad.why});"
                " the chain shows that no commit is missing, they were passed over"
            )
            self.bad = None

    def _witness(self, commit: Commit) -> None:
        if commit.timeline < self.start.timeline:
            return  # it speaks of another history
        if self.bad is not None and commit.durable >= self.bad.lsn:
            raise StoreDamaged(
                self.path,
                self.bad.offset,
                f"commit {self.bad.lsn} is damaged ({self.bad.why}), and commit {commit.lsn} says that it had been kept",
            )

    def result(self, length: int) -> Replayed:
        if self.bad is not None:
            self.announcements.append(
                f"{self.path} at byte {self.bad.offset}: the last {length - self.bad.offset} bytes"
                f" were never acknowledged ({self.bad.why}) and were cut"
            )
        if self.leftovers and self.leftovers[-1][0].position != self.start:
            self._drop_leftovers()
        kept = [kept for _, kept in self.leftovers] + self.applied
        forks = tuple(self.forks)
        return Replayed(self.position, forks, len(self.applied), kept, self.announcements, self.is_tidy)
