"""From files to an open store: create, recover, refuse.

A file is only ever replaced whole. Before the store serves, the journal is rewritten to a new file, and when the last run did not end in
order, or anything was cut, the checkpoint before it: after a failed fsync what a read shows may never have reached the disk.
"""

import gc
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from shop.clock import Clock, SystemClock
from shop.store.checkpoint import (
    Header,
    SyncFailed,
    decode_file,
    read_bytes,
    sync_folder,
    write_big,
    write_file,
)
from shop.store.codec import codec_of
from shop.store.errors import StoreDamaged, StoreMismatch
from shop.store.files import OS_FILES, Files
from shop.store.journal import (
    NEVER_WRITTEN,
    BadLine,
    Commit,
    JournalIndex,
    chain,
    decode_line,
    encode_core,
    first_checksum,
)
from shop.store.log import Log
from shop.store.recovery import Kept, replay
from shop.store.state import Index, Position, State, build_state
from shop.store.store import Store, by_collection, timestamp
from shop.store.upgrade import UPGRADES, Upgrades, upgraded_checkpoint, upgraded_journal

Schema = Mapping[str, type[msgspec.Struct]]


def journal_path(path: Path) -> Path:
    """`db.journal` for `db.json`."""
    return path.with_suffix(".journal")


def create_store(
    path: Path,
    schema: Schema,
    *,
    indexes: Sequence[Index] = (),
    store_id: str | None = None,
    timeline: int = 1,
    snapshot: State | None = None,
    peer: str | None = None,
    clock: Clock | None = None,
    files: Files = OS_FILES,
) -> Store:
    """A new store at *path*: empty, or holding *snapshot* (a replica's start, a restored backup). Raises OSError.

    The journal comes first and the checkpoint last: a crash before that leaves an empty journal alone, which the next
    `create_store` overwrites. What stood there before is replaced.
    """
    clock = clock or SystemClock()
    store_id = store_id or secrets.token_hex(8)
    state = snapshot or _empty_state(schema, indexes, store_id, timeline)
    write_file(files, journal_path(path), b"")
    header = Header(store_id, peer, state.position, state.forks, timestamp(clock.now()), True)
    write_big(files, path, header, state, is_paced=False)
    return open_store(path, schema, indexes=indexes, clock=clock, files=files)


def _empty_state(schema: Schema, indexes: Sequence[Index], store_id: str, timeline: int) -> State:
    position = Position(timeline, 0, first_checksum(store_id))
    return build_state(position, {name: {} for name in schema}, by_collection(indexes))


def is_absent(path: Path, files: Files = OS_FILES) -> bool:
    """Whether there is no store at *path* yet: no checkpoint, and no journal that holds anything.

    Raises `StoreDamaged` for a journal without its checkpoint.
    """
    if files.exists(path):
        return False
    journal = journal_path(path)
    if files.exists(journal) and read_bytes(files, journal).strip(NEVER_WRITTEN):
        raise StoreDamaged(path, None, f"is missing, and {journal.name} beside it holds commits")
    return True


def open_store(
    path: Path,
    schema: Schema,
    *,
    indexes: Sequence[Index] = (),
    keep_after: int | None = None,
    clock: Clock | None = None,
    files: Files = OS_FILES,
    upgrades: Upgrades = UPGRADES,
) -> Store:
    """The store at *path*, recovered. Journal lines above *keep_after* are kept for a replica that has come so far.

    Files of an older format are brought to this one. A crash leaves them as they were, or as they are to be.

    Raises `StoreDamaged` (one line: file, offset, what) and then has changed nothing; OSError when the new files cannot be written.
    `announcements` of the store says what recovery passed over or cut.
    """
    clock = clock or SystemClock()
    codec = codec_of(schema)
    with _no_garbage_collection():
        found = read_bytes(files, path)
        data = upgraded_checkpoint(path, found, upgrades)
        header, collections = decode_file(path, data, codec)
        journal = _read_journal(files, journal_path(path))
        lines = upgraded_journal(journal, upgrades)
        is_of_this_format = data is found and lines is journal
        del found, data  # a copy of everything
        replayed = replay(journal_path(path), lines, codec, header, collections)
        state = build_state(replayed.position, collections, by_collection(indexes), replayed.forks)
    _drop_leftovers(files, path)
    is_in_order = is_of_this_format and header.clean and replayed.is_tidy and not replayed.applied
    kept = (
        replayed.kept
        if is_in_order
        else [kept for kept in replayed.kept if keep_after is not None and kept.lsn > keep_after]
    )
    size = files.size(path)
    header = header._replace(position=state.position, forks=state.forks, at=timestamp(clock.now()), clean=False)
    if not is_in_order:
        size = write_big(files, path, header, state, is_paced=False)
    _write_journal(files, journal_path(path), kept, is_in_order=is_in_order)
    store = Store(
        path=path,
        files=files,
        clock=clock,
        codec=codec,
        indexes=indexes,
        header=header,
        state=state,
        log=Log(files, journal_path(path), _index(state, kept, clock)),
        shown_bytes=size,
        keep_after=keep_after,
    )
    store.announcements.extend(replayed.announcements)
    return store


def _read_journal(files: Files, path: Path) -> bytes:
    if not files.exists(path):
        raise StoreDamaged(path, None, "is missing; it may have held commits that were acknowledged")
    return read_bytes(files, path)


def _write_journal(files: Files, path: Path, kept: list[Kept], *, is_in_order: bool) -> None:
    """In order or not: the last run may have ended, or failed, after its orderly checkpoint and before the journal's name was confirmed.

    When there is no space for it, a journal in order will do as it is, once its name is sure.
    """
    try:
        write_file(files, path, b"".join(line.line for line in kept))
    except SyncFailed:
        raise
    except OSError:
        if not is_in_order:
            raise
        sync_folder(files, path.parent)


def _drop_leftovers(files: Files, path: Path) -> None:
    """Files that a crash left half written; they never took part in anything."""
    for name in (path, journal_path(path)):
        beside = name.with_name(name.name + ".tmp")
        if files.exists(beside):
            files.unlink(beside)


def _index(state: State, kept: list[Kept], clock: Clock) -> JournalIndex:
    index = JournalIndex(kept[0].lsn if kept else state.position.lsn + 1)
    now, monotonic = clock.now(), clock.monotonic()
    for line in kept:
        index.append(len(line.line), monotonic - max(0.0, (now - _moment(line.at)).total_seconds()))
    return index


def _moment(at: str) -> datetime:
    return datetime.strptime(at, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def read_snapshot(
    path: Path,
    schema: Schema,
    *,
    indexes: Sequence[Index] = (),
    files: Files = OS_FILES,
    upgrades: Upgrades = UPGRADES,
) -> tuple[str, State]:
    """Store id and state of a checkpoint file alone, checked: a backup. Raises `StoreDamaged`."""
    data = upgraded_checkpoint(path, read_bytes(files, path), upgrades)
    header, collections = decode_file(path, data, codec_of(schema))
    return header.store_id, build_state(header.position, collections, by_collection(indexes), header.forks)


def decode_commit(line: bytes, schema: Schema) -> Commit:
    """One journal line (with or without its newline), checked and decoded; raises `StoreMismatch`."""
    try:
        return decode_line(line.rstrip(b"\n"), codec_of(schema))
    except BadLine as error:
        raise StoreMismatch(str(error)) from error


def forked(state: State, *, timeline: int, at: datetime) -> State:
    """*state* on a new timeline, one (empty) commit later: what a restored backup starts from."""
    core = encode_core(state.position.lsn + 1, timeline, timestamp(at), [])
    checksum = chain(state.position.checksum, core)
    return state.on_timeline(Position(timeline, state.position.lsn + 1, checksum))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A decode makes millions of objects and no garbage; counting them over and over doubles the time it takes. What was
    loaded is then frozen out of later collections, which would stop everything for as long."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
