"""The replica's side of a commit: journal lines that arrived, checked against this history.

One pass, and each line is decoded once: what the primary did one commit at a time comes here in batches of thousands, and has to be
caught up with many times as fast.
"""

from typing import Any, NamedTuple

from shop.store.codec import Codec, Line
from shop.store.errors import DuplicateKey, StoreMismatch
from shop.store.journal import BadLine, chain, core_of, encode_line, read_line
from shop.store.state import Changes, Index, Position, State


class Continuation(NamedTuple):
    """Where lines that arrived lead."""

    state: State
    lines: list[bytes]  # as this side's journal writes them: the same commits, with its own `durable`
    ops: list[tuple[str, str, Any]]  # what they changed: of each record how it ended


def continue_with(lines: bytes, state: State, codec: Codec, indexes: dict[str, list[Index]]) -> Continuation:
    """*state* after *lines*; raises `StoreMismatch` unless every one of them is the next of its history."""
    before: Position | Line = state.position
    durable = before.lsn
    changes = Changes(state, indexes)
    own_lines: list[bytes] = []
    ops: list[tuple[str, str, Any]] = []
    for line in _each(lines):
        commit, core = _checked(line, before, codec)
        if commit.timeline > before.timeline:
            ops.extend(changes.replayed())
            state = changes.applied(_position(before)).on_timeline(_position(commit))
            changes = Changes(state, indexes)
        try:
            changes.replay(commit.ops)
        except DuplicateKey as error:
            raise StoreMismatch(f"commit {commit.lsn} breaks a unique index: {error}") from error
        own_lines.append(encode_line(durable, commit.prev, commit.checksum, core))
        before = commit
    ops.extend(changes.replayed())
    return Continuation(changes.applied(_position(before)), own_lines, ops)


def _each(lines: bytes) -> list[bytes]:
    """Without their newlines. The last may lack it."""
    found = lines.split(b"\n")
    if not found[-1]:
        found.pop()
    return found


def _position(reached: Position | Line) -> Position:
    """Made when it is needed, not for each of many commits."""
    return Position(reached.timeline, reached.lsn, reached.checksum)


def _checked(line: bytes, before: Position | Line, codec: Codec) -> tuple[Line, bytes]:
    try:
        commit = read_line(line, codec)
    except BadLine as error:
        raise StoreMismatch(f"the commit after {before.lsn} arrived damaged: {error}") from error
    core = core_of(line)
    if commit.lsn != before.lsn + 1 or commit.prev != before.checksum or commit.timeline < before.timeline:
        raise StoreMismatch(
            f"commit {commit.lsn} (timeline {commit.timeline}) does not follow {before.lsn} (timeline {before.timeline})"
        )
    if chain(commit.prev, core) != commit.checksum:
        raise StoreMismatch(f"commit {commit.lsn}: its checksum does not hold")
    return commit, core
