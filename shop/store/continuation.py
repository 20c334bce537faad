"""The replica's side of a commit: journal lines that arrived, checked against this history."""

from typing import Any, NamedTuple

from shop.store.codec import Codec
from shop.store.errors import DuplicateKey, StoreMismatch
from shop.store.journal import BadLine, Commit, chain, core_of, decode_line, encode_line, split_lines
from shop.store.state import Changes, Index, Position, State


class Continuation(NamedTuple):
    """Where lines that arrived lead."""

    state: State
    lines: list[bytes]  # as this side's journal writes them: the same commits, with its own `durable`
    ops: list[tuple[str, str, Any]]


def continue_with(lines: bytes, state: State, codec: Codec, indexes: dict[str, list[Index]]) -> Continuation:
    """*state* after *lines*; raises `StoreMismatch` unless every one of them is the next of its history."""
    before: Position | Commit = state.position
    durable = before.lsn
    changes = Changes(state, indexes)
    own_lines: list[bytes] = []
    ops: list[tuple[str, str, Any]] = []
    for _, line in split_lines(lines):
        commit, core = _checked(line, before, codec)
        if commit.timeline > before.timeline:
            state = changes.applied(_position(before)).on_timeline(commit.position)
            changes = Changes(state, indexes)
        try:
            changes.replay(commit.ops)
        except DuplicateKey as error:
            raise StoreMismatch(f"commit {commit.lsn} breaks a unique index: {error}") from error
        before = commit
        own_lines.append(encode_line(durable, commit.prev, commit.checksum, core))
        ops.extend(commit.ops)
    return Continuation(changes.applied(_position(before)), own_lines, ops)


def _position(reached: Position | Commit) -> Position:
    """Made when it is needed, not for each of many commits."""
    return Position(reached.timeline, reached.lsn, reached.checksum)


def _checked(line: bytes, before: Position | Commit, codec: Codec) -> tuple[Commit, bytes]:
    try:
        commit = decode_line(line, codec)
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
