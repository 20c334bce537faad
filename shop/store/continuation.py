"""The replica's side of a commit: journal lines that arrived, checked against this history.

One pass, and each line is decoded once: what the primary did one commit at a time comes here in batches of thousands, and has to be
caught up with many times as fast.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from shop.store.codec import Codec, Line
from shop.store.errors import DuplicateKey, StoreMismatch
from shop.store.journal import BadLine, chain, durable_writer, read_line, shared_parts
from shop.store.state import Changes, Index, Position, Replayed, State


class Continuation(NamedTuple):
    """Where lines that arrived lead."""

    state: State
    lines: list[bytes]  # as this side's journal writes them: the same commits, with its own `durable`
    ops: Iterable[tuple[str, str, Any]]  # what they changed: of each record how it ended


def continue_with(lines: bytes, state: State, codec: Codec, indexes: dict[str, list[Index]]) -> Continuation:
    """*state* after *lines*; raises `StoreMismatch` unless every one of them is the next of its history."""
    before: Position | Line = state.position
    with_durable = durable_writer(before.lsn)
    changes = Changes(state, indexes)
    own_lines: list[bytes] = []
    ops: list[Replayed] = []
    for line in _each(lines):
        commit, rest = _checked(line, before, codec)
        if commit.timeline > before.timeline:
            ops.append(changes.replayed())
            state = changes.applied(_position(before)).on_timeline(_position(commit))
            changes = Changes(state, indexes)
        try:
            changes.replay(commit.ops)
        except DuplicateKey as error:
            raise StoreMismatch(f"commit {commit.lsn} breaks a unique index: {error}") from error
        own_lines.append(with_durable(rest))
        before = commit
    ops.append(changes.replayed())
    all_ops = ops[0] if len(ops) == 1 else [op for of_a_timeline in ops for op in of_a_timeline]
    return Continuation(changes.applied(_position(before)), own_lines, all_ops)


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
    """The commit, and what of its line this side's journal has as well."""
    try:
        commit = read_line(line, codec)
        rest, core = shared_parts(line, commit)
    except BadLine as error:
        raise StoreMismatch(f"the commit after {before.lsn} arrived damaged: {error}") from error
    if commit.lsn != before.lsn + 1 or commit.prev != before.checksum or commit.timeline < before.timeline:
        raise StoreMismatch(
            f"commit {commit.lsn} (timeline {commit.timeline}) does not follow {before.lsn} (timeline {before.timeline})"
        )
    if chain(commit.prev, core) != commit.checksum:
        raise StoreMismatch(f"commit {commit.lsn}: its checksum does not hold")
    return commit, rest
