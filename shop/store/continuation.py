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
    position, durable = state.position, state.position.lsn
    changes = Changes(state, indexes)
    own_lines: list[bytes] = []
    ops: list[tuple[str, str, Any]] = []
    for _, line in split_lines(lines):
        commit, core = _checked(line, position, codec)
        if commit.timeline > position.timeline:
            state = changes.applied(position).on_timeline(commit.position)
            changes = Changes(state, indexes)
        try:
            changes.replay(commit.ops)
        except DuplicateKey as error:
            raise StoreMismatch(f"commit {commit.lsn} breaks a unique index: {error}") from error
        position = commit.position
        own_lines.append(encode_line(durable, commit.prev, commit.checksum, core))
        ops.extend(commit.ops)
    return Continuation(changes.applied(position), own_lines, ops)


def _checked(line: bytes, position: Position, codec: Codec) -> tuple[Commit, bytes]:
    try:
        commit = decode_line(line, codec)
    except BadLine as error:
        raise StoreMismatch(f"the commit after {position.lsn} arrived damaged: {error}") from error
    core = core_of(line)
    if commit.lsn != position.lsn + 1 or commit.prev != position.checksum or commit.timeline < position.timeline:
        raise StoreMismatch(
            f"commit {commit.lsn} (timeline {commit.timeline})"
            f" does not follow {position.lsn} (timeline {position.timeline})"
        )
    if chain(commit.prev, core) != commit.checksum:
        raise StoreMismatch(f"commit {commit.lsn}: its checksum does not hold")
    return commit, core
