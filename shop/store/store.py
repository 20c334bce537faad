"""The store: one writer at a time, many readers, two heads.

*Pending* is the state the next update builds and checks on; *durable* is the only one that readers, replicator and checkpoint see. A
commit is encoded and queued under the write lock. Then one of the waiting threads leads (`_leadership`, never waited for): it writes and
fsyncs every commit that is queued, publishes, and wakes their threads (group commit).

Locks, in the only order in which they may be taken together:

- `_checkpoint_lock` guards the checkpoint file and what it shows (`_shown`);
- `_append_lock` guards the journal and `_durable`;
- `_write_lock` guards `_pending` and the right to add to `_queue`.

A thread inside `update()` holds the write lock and waits for neither of the others before it has given it back.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from shop.clock import Clock
from shop.store.checkpoint import Header, SyncFailed, write_big
from shop.store.codec import Codec
from shop.store.continuation import continue_with
from shop.store.errors import OutcomeUnknown, StoreError, StoreFull, StoreMismatch, StoreReadOnly
from shop.store.files import Files
from shop.store.journal import (
    Commit,
    JournalIndex,
    chain,
    decode_line,
    encode_core,
    encode_line,
    split_lines,
)
from shop.store.log import Log
from shop.store.showing import Showing
from shop.store.shown import Shown
from shop.store.state import Changes, Index, Position, State
from shop.store.unit import Ticket, Unit

BIG_FILE_SECONDS = 60.0  # above, it follows at the latest after this long
CUT_BYTES = 256 * 1024  # a journal shorter than this is not worth cutting
JOURNAL_LIMIT_BYTES = 256 * 1024 * 1024  # past it the journal is cut even if the replica still needs it
SETTLE_SECONDS = 0.05  # how long the store's own thread lets a waiting caller be first to checkpoint
LEAD_ROUNDS = 2  # groups that one thread writes before another takes over
PROBE_BYTES = 64 * 1024
_MICROSECONDS_END = len("2026-11-23T10:15:00.000000")


def timestamp(moment: datetime) -> str:
    """UTC with microseconds, as journal and checkpoint keep it."""
    return moment.isoformat(timespec="microseconds")[:_MICROSECONDS_END] + "Z"  # strftime takes twice as long


class Store:
    """An open store. Made by `shop.store.opening`; safe to use from any thread."""

    def __init__(
        self,
        *,
        path: Path,
        files: Files,
        clock: Clock,
        codec: Codec,
        indexes: Sequence[Index],
        header: Header,
        state: State,
        log: Log,
        shown_bytes: int,
        keep_after: int | None,
    ) -> None:
        self.path = path
        self.store_id = header.store_id
        self.announcements: list[str] = []  # what recovery passed over or cut, a line each
        self._files = files
        self._clock = clock
        self._codec = codec
        self._indexes = by_collection(indexes)
        self._peer = header.peer
        self._log = log
        self._pending = state
        self._durable = state
        self._queue: deque[Ticket] = deque()
        self._write_lock = threading.Lock()
        self._writer = 0  # the thread inside update(), to turn a nested one into an error instead of a deadlock
        self._append_lock = threading.Lock()
        self._leadership = threading.Lock()  # whose thread writes the groups; never waited for
        self._checkpoint_lock = threading.Lock()
        self._shown = Shown(files, path, state, lsn=header.position.lsn, size=shown_bytes, at=clock.monotonic())
        self._showing = Showing(self._show, lambda: self._shown.lsn)
        self._keep_after = keep_after
        self._failed = ""  # why nothing can be written until a restart
        self._full = ""  # why the last append failed; cleared by the next that succeeds
        self._refused = ""  # why an operator or the pair forbids writing
        self._listeners: list[Callable[[int], None]] = []
        self.commits_made = 0
        self.newest_monotonic = clock.monotonic()  # when the newest commit became durable (or the store was opened)
        self._stopping = threading.Event()
        self._stirred = threading.Event()
        self._thread: threading.Thread | None = None

    # ---- reading

    @property
    def state(self) -> State:
        """The durable head; holding it holds a consistent snapshot."""
        return self._durable

    @property
    def position(self) -> Position:
        return self._durable.position

    @property
    def peer(self) -> str | None:
        """The other side's file name, once that side has existed."""
        return self._peer

    @property
    def problem(self) -> str:
        """Why nothing can be written now, in one sentence; "" while all is well."""
        return self._failed or self._refused or self._full

    @property
    def is_writable(self) -> bool:
        return not self.problem

    @property
    def needs_restart(self) -> bool:
        """Whether only a restart can end the problem."""
        return bool(self._failed)

    @property
    def file_bytes(self) -> int:
        return self._shown.bytes

    @property
    def journal_bytes(self) -> int:
        return self._log.index.end

    @property
    def shown_lsn(self) -> int:
        """The LSN that the checkpoint file shows."""
        return self._shown.lsn

    @property
    def syncs(self) -> int:
        return self._log.syncs

    @property
    def sync_seconds(self) -> float:
        """Spent in fsync of the journal since the store was opened."""
        return self._log.sync_seconds

    # ---- writing

    def update(self) -> Unit:
        """A block that commits; see `Unit`. Raises `StoreReadOnly` on entering while nothing can be written."""
        return Unit(self._begin, self._finish, self._abandon)

    def _begin(self) -> Changes:
        me = threading.get_ident()
        if self._writer == me:
            raise RuntimeError("update() inside update(): the first one must be left before")
        self._write_lock.acquire()
        if self._failed or self._refused:
            self._write_lock.release()
            raise StoreReadOnly(self._failed or self._refused)
        try:
            changes = Changes(self._pending, self._indexes)
        except BaseException:
            self._write_lock.release()
            raise
        self._writer = me
        return changes

    def _abandon(self) -> None:
        self._writer = 0
        self._write_lock.release()

    def _finish(self, changes: Changes) -> Position | None:
        try:
            ticket = self._enqueue(changes) if changes.ops else None
        finally:
            self._abandon()
        if ticket is None:
            return None
        self._await(ticket)
        return ticket.state.position

    def _enqueue(self, changes: Changes, *, timeline: int | None = None) -> Ticket:
        """The next commit behind the pending head; the write lock is held. Nothing has happened if this raises."""
        before = self._pending.position
        timeline = before.timeline if timeline is None else timeline
        ops = [(collection, id, record) for (collection, id), record in changes.ops.items()]
        core = encode_core(before.lsn + 1, timeline, timestamp(self._clock.now()), ops)
        position = Position(timeline, before.lsn + 1, chain(before.checksum, core))
        ticket = Ticket(changes.applied(position), before.checksum, core, ops)
        self._queue.append(ticket)
        self._pending = ticket.state
        return ticket

    def _await(self, ticket: Ticket) -> None:
        """Return when *ticket* is durable; lead the group if nobody does.

        Nobody is forgotten: who queues a ticket and then finds a leader knows that this leader will look at the queue once more after it
        has let go.
        """
        interrupt = None
        if self._leadership.acquire(blocking=False):
            self._lead()
        else:
            interrupt = ticket.sleep()
            if ticket.leads:
                self._lead()
        if interrupt is not None:
            raise interrupt
        if ticket.error is not None:
            raise ticket.error

    def _lead(self) -> None:
        """Flush group after group, but no more than LEAD_ROUNDS: this thread's own caller waits for its answer."""
        try:
            for _ in range(LEAD_ROUNDS):
                with self._append_lock:
                    self._flush()
                if not self._queue:
                    return
        finally:
            self._let_go()

    def _let_go(self) -> None:
        """Make the thread of the oldest queued ticket the leader, or nobody when there is none."""
        while not self._queue:
            self._leadership.release()
            if not self._queue or not self._leadership.acquire(blocking=False):
                return
        self._queue[0].lead()

    def _flush(self) -> None:
        """Write, fsync and publish everything queued; the append lock is held. Errors go to the tickets."""
        group: list[Ticket] = []
        while self._queue:
            group.append(self._queue.popleft())
        if not group:
            return
        try:
            durable = self._durable.position.lsn
            lines = [encode_line(durable, ticket.prev, ticket.checksum, ticket.core) for ticket in group]
        except BaseException:
            self._fail(group, StoreFull("The commit could not be encoded; nothing was kept."))
            raise
        try:
            self._log.append(lines)
            self._publish(group, lines)
        except StoreFull as error:
            self._full = str(error)
            self._fail(group, error)
        except OSError as error:
            self._failed = disk_failure(self.path, error)
            self._fail(group, OutcomeUnknown(self._failed))
        except BaseException as error:
            # Bytes may be in the file that the index does not know of: to go on would write over them.
            self._failed = interrupted(self.path, error)
            self._fail(group, OutcomeUnknown(self._failed))
            raise
        else:
            self._announce()

    def _publish(self, group: list[Ticket], lines: list[bytes]) -> None:
        self.newest_monotonic = self._clock.monotonic()
        self._log.appended(lines, self.newest_monotonic)
        self._full = ""
        self.commits_made += len(group)
        for ticket in group:
            self._shown.committed(ticket.state.position.lsn, ticket.ops)
        self._durable = group[-1].state
        for ticket in group:
            ticket.settle()

    def _announce(self) -> None:
        lsn = self._durable.position.lsn
        for listener in self._listeners:
            listener(lsn)
        if not self._stirred.is_set():
            self._stirred.set()

    def _fail(self, group: list[Ticket], error: StoreError) -> None:
        """Every commit that was built on the group falls with it, and the next update builds on what is durable."""
        with self._write_lock:
            while self._queue:
                group.append(self._queue.popleft())
            self._pending = self._durable
        for ticket in group:
            if not ticket.is_done:
                ticket.settle(error)

    def on_commit(self, listener: Callable[[int], None]) -> None:
        """Call *listener* with the newest durable LSN after each group; it holds up the commit, so it must be quick."""
        self._listeners.append(listener)

    def advance_timeline(self, timeline: int) -> Position:
        """Begin *timeline* with one fsynced line; what was before is its fork. Raises as leaving an update does."""
        changes = self._begin()
        try:
            if timeline <= changes.state.position.timeline:
                raise StoreMismatch(f"timeline {timeline} is not above {changes.state.position.timeline}")
            ticket = self._enqueue(changes, timeline=timeline)
        finally:
            self._abandon()
        self._await(ticket)
        return ticket.state.position

    def refuse_writes(self, reason: str) -> None:
        """Turn updates away with *reason* until `allow_writes`; a replica's `apply` goes on."""
        with self._write_lock:
            self._refused = reason

    def finish_writes(self, reason: str) -> Position:
        """Refuse updates as `refuse_writes` does; when this returns, those under way are durable or have failed, and nothing
        follows the position returned."""
        self.refuse_writes(reason)
        self._leadership.acquire()
        self._lead()
        return self.position

    def allow_writes(self) -> None:
        with self._write_lock:
            self._refused = ""

    # ---- the journal as a queue

    @property
    def oldest_lsn(self) -> int:
        """The first commit that the journal still holds; one above the newest when it holds none."""
        return self._log.index.first_lsn

    def committed_monotonic(self, lsn: int) -> float:
        """When the commit became durable, on this boot's monotonic clock. For one of an earlier run, by the wall clock, never later
        than now. Raises IndexError when the journal does not hold it."""
        index = self._log.index
        if not index.first_lsn <= lsn <= index.last_lsn:
            raise IndexError(lsn)
        return index.committed_monotonic(lsn)

    def committed_monotonics(self, first_lsn: int, last_lsn: int) -> Sequence[float]:
        """What `committed_monotonic` says of each of them."""
        index = self._log.index
        if not index.first_lsn <= first_lsn <= last_lsn <= index.last_lsn:
            raise IndexError(first_lsn)
        return index.committed_monotonics(first_lsn, last_lsn)

    def position_at(self, lsn: int) -> Position | None:
        """The position after commit *lsn* of this history; None when it is above the head or the journal no longer tells."""
        head = self._durable.position
        if lsn == head.lsn:
            return head
        if lsn > head.lsn:
            return None
        try:
            line = self._log.read(lsn + 1, lsn + 1)
        except StoreMismatch:
            return None
        return Position(self.timeline_of(lsn), lsn, decode_line(line.rstrip(b"\n"), self._codec).prev)

    def timeline_of(self, lsn: int) -> int:
        """The timeline that commit *lsn* of this history was made on."""
        state = self._durable
        return next((fork.timeline for fork in state.forks if lsn <= fork.lsn), state.position.timeline)

    def lines(self, after_lsn: int, *, max_bytes: int = 1 << 20, before: float | None = None) -> bytes:
        """Durable journal lines above *after_lsn*, as many as fit (one at least), b"" when there are none.

        With *before*, only commits made at or before that moment of the monotonic clock. Raises `StoreMismatch` when the journal
        no longer holds the first of them.
        """
        # No lock: the durable head first, then the index, which holds it. Writers are not kept waiting by who reads.
        first, last = after_lsn + 1, self._durable.position.lsn
        index = self._log.index
        if first > last:
            return b""
        if first < index.first_lsn or last > index.last_lsn:
            raise StoreMismatch(f"{self._log.path} begins at commit {index.first_lsn}; {first} is no longer in it")
        if before is not None:
            last = index.last_before(before, first, last)
            if last < first:
                return b""
        return self._log.read(first, index.last_within(max_bytes, first, last))

    def commits(self, after_lsn: int, limit: int = 1000) -> list[Commit]:
        """Durable commits above *after_lsn*, decoded, oldest first; those the journal has already forgotten are left out."""
        data = self._log.read_held(after_lsn + 1, self._durable.position.lsn, limit)
        return self.decode(data)

    def decode(self, lines: bytes) -> list[Commit]:
        """The commits of journal lines, as `lines` returns them."""
        return [decode_line(line, self._codec) for _, line in split_lines(lines)]

    def keep_after(self, lsn: int | None) -> None:
        """The journal is not cut above *lsn*, what the replica has durably; None: nobody needs it."""
        self._keep_after = lsn

    # ---- the replica's side

    def apply(self, lines: bytes) -> int:
        """Append the primary's journal lines and publish them; returns how many commits.

        They are durable here before readers see them. Raises `StoreMismatch` when they do not continue this history or are damaged:
        then none is applied. Raises `StoreFull` and `StoreReadOnly` as leaving an update does.
        """
        with self._append_lock, self._write_lock:
            if self._failed:
                raise StoreReadOnly(self._failed)
            if self._queue:
                raise StoreMismatch("this side has commits of its own on their way")
            state, own_lines, ops = continue_with(lines, self._durable, self._codec, self._indexes)
            if not own_lines:
                return 0
            self._append_applied(state, own_lines, ops)
            self._announce()
        return len(own_lines)

    def _append_applied(self, state: State, own_lines: list[bytes], ops: Iterable[tuple[str, str, Any]]) -> None:
        try:
            self._log.append(own_lines)
            self.newest_monotonic = self._clock.monotonic()
            self._log.appended(own_lines, self.newest_monotonic)
            self._shown.committed(state.position.lsn, ops)
        except StoreFull as error:
            self._full = str(error)
            raise
        except OSError as error:
            self._failed = disk_failure(self.path, error)
            raise OutcomeUnknown(self._failed) from error
        except BaseException as error:
            self._failed = interrupted(self.path, error)
            raise
        self._full = ""
        self._pending = self._durable = state

    def install(self, state: State, store_id: str, peer: str | None) -> None:
        """Become *state*, a snapshot of another side: first an empty journal, then the checkpoint.

        A crash in between leaves the old checkpoint, which is an older but whole state. Raises OSError as `checkpoint` does.
        """
        with self._checkpoint_lock, self._append_lock, self._write_lock:
            if self._queue:
                raise StoreMismatch("this side has commits of its own on their way")
            self._write_file(self._durable)
            self._confirm_file()  # the old state does not need the journal any more
            self._install(state, store_id, peer)
            self._log.index = JournalIndex(state.position.lsn + 1)
            self._pending = self._durable = state
            self._announce()

    def _install(self, state: State, store_id: str, peer: str | None) -> None:
        header = Header(store_id, peer, state.position, state.forks, timestamp(self._clock.now()), False)
        try:
            self._log.replace(JournalIndex(self._durable.position.lsn + 1))
            self._shown.install(state, header, at=self._clock.monotonic())
        except SyncFailed as error:
            self._failed = disk_failure(self.path, error)
            raise
        except OSError:
            raise  # the old state, and an empty journal behind it
        except BaseException as error:
            self._failed = interrupted(self.path, error)  # the file may be of the other history, and this is not
            raise
        self.store_id, self._peer = store_id, peer

    # ---- the checkpoint

    def wait_shown(self, lsn: int) -> None:
        """Return when the checkpoint file shows commit *lsn*; at once when the file is too big for that promise.

        One of the callers writes the file for all of them (`showing.py`). A power cut may bring the older file back, and with it the
        journal that has the commit. When the file cannot be written the commit is durable all the same; `problem` tells, and the
        store tries again.
        """
        if not self._shown.is_small or self._shown.lsn >= lsn:
            return
        with suppress(OSError):  # noted by _write_file; the journal has the commit
            self._showing.wait(lsn)

    def _show(self) -> None:
        with self._checkpoint_lock:
            if self._shown.lsn < self._durable.position.lsn:
                self._write_file(self._durable)
                self._cut_journal()

    def checkpoint(self) -> None:
        """Write the checkpoint file now, and cut the journal if that is worth it. Raises OSError; the old file is then still there."""
        with self._checkpoint_lock:
            if self._shown.lsn < self._durable.position.lsn:
                self._write_checkpoint(self._durable)
            else:
                self._confirm_file()

    def set_peer(self, peer: str | None) -> None:
        """Remember, durably, that the other side exists in the file *peer*. Raises OSError."""
        with self._checkpoint_lock:
            if self._peer != peer:
                self._peer = peer
                self._write_checkpoint(self._durable)

    def write_copy(self, path: Path) -> Position:
        """A consistent checkpoint of this moment in another file: a backup. Raises OSError."""
        state = self._durable
        write_big(self._files, path, self._header(state), state, is_paced=not self._shown.is_small)
        return state.position

    def _header(self, state: State, *, is_clean: bool = False) -> Header:
        return Header(self.store_id, self._peer, state.position, state.forks, timestamp(self._clock.now()), is_clean)

    def _write_checkpoint(self, state: State, *, is_clean: bool = False) -> None:
        """The checkpoint lock is held, the append lock is not: cutting the journal takes it."""
        self._write_file(state, is_clean=is_clean)
        self._confirm_file()
        self._cut_journal()

    def _write_file(self, state: State, *, is_clean: bool = False) -> None:
        """The checkpoint lock is held."""
        if self._failed:
            raise OSError(self._failed)
        try:
            self._shown.write(
                state,
                self._header(state, is_clean=is_clean),
                at=self._clock.monotonic(),
                is_paced=not self._stopping.is_set(),
            )
        except SyncFailed as error:
            self._failed = disk_failure(self.path, error)
            raise
        except OSError as error:
            self._full = f"{self.path} could not be written ({error.strerror or error}); the journal has every commit."
            raise

    def _confirm_file(self) -> None:
        """No power cut brings back an older file after this, one that would need what is going to be cut from the journal."""
        if self._failed:
            raise OSError(self._failed)
        try:
            self._shown.confirm()
        except SyncFailed as error:
            self._failed = disk_failure(self.path, error)
            raise

    def _cut_journal(self) -> None:
        """Cut what the checkpoint holds and the replica has, when at least half of the file can go."""
        index = self._log.index
        upto = self._shown.lsn if self._keep_after is None else min(self._shown.lsn, self._keep_after)
        if index.end > JOURNAL_LIMIT_BYTES:
            # The replica will need a snapshot; an endless journal would take the primary down as well.
            upto = self._shown.lsn
        if self._failed or index.end < CUT_BYTES or upto < index.first_lsn:
            return
        with self._append_lock:
            upto = min(upto, index.last_lsn)
            is_worth_it = index.offset(upto + 1) * 2 >= index.end
        if is_worth_it:
            self._cut_journal_behind(upto)

    def _cut_journal_behind(self, lsn: int) -> None:
        self._confirm_file()
        is_waited_for = self._shown.is_small or self._stopping.is_set()
        try:
            self._log.cut(lsn, self._append_lock, is_paced=not is_waited_for)
        except SyncFailed as error:
            self._failed = disk_failure(self.path, error)
            raise

    # ---- its own thread

    def start(self) -> None:
        """Keep the file up to date in the background, for commits that nobody waits for and for big files."""
        self._thread = threading.Thread(target=self._run, name=f"store-{self.path.name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._stirred.wait(timeout=1.0)
            self._stirred.clear()
            if self._stopping.wait(SETTLE_SECONDS):
                return
            self._maintain()

    def _maintain(self) -> None:
        try:
            if self._is_due():
                self._keep_up()
            if self._full:
                self._probe()
        except OSError:
            return  # the reason is in `problem`; the next round tries again
        except Exception as error:  # this thread is the only one that keeps a big file up to date: it must not end
            self._full = f"{self.path} could not be kept up to date ({error!r}); the journal has every commit."

    def _keep_up(self) -> None:
        """Write the file, or leave it to the callers who are at it and look again: of the commit behind theirs perhaps none will be."""
        if self._shown.is_small and self._showing.is_busy:
            self._stirred.set()
        else:
            self.checkpoint()

    def _is_due(self) -> bool:
        if self._shown.lsn >= self._durable.position.lsn:
            return False
        if self._shown.is_small:
            return True
        index = self._log.index
        unshown = index.end - index.offset(max(self._shown.lsn + 1, index.first_lsn))
        return unshown * 10 >= self._shown.bytes or self._clock.monotonic() - self._shown.at >= BIG_FILE_SECONDS

    def _probe(self) -> None:
        """Whether there is space again: so that readiness returns by itself."""
        beside = self.path.with_name(self.path.name + ".tmp")
        with self._checkpoint_lock:
            fd = self._files.create(beside)
            try:
                self._files.write(fd, bytes(PROBE_BYTES), 0)
            finally:
                self._files.close(fd)
                self._files.unlink(beside)
            self._full = ""

    def close(self) -> None:
        """A last checkpoint, then the files are let go. Commits that are under way finish; later ones are refused. Closing twice is
        harmless."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._stirred.set()
        if self._thread is not None:
            self._thread.join()
        self.finish_writes("The store is closed.")
        with self._checkpoint_lock:
            if not self._failed:
                self._write_last()
            with self._append_lock:
                if not self._failed:
                    self._log.give_back_room()
                self._failed = self._failed or "The store is closed."
                self._log.close()

    def _write_last(self) -> None:
        try:
            self._write_checkpoint(self._durable, is_clean=True)
        except OSError:
            return  # the journal has everything; the next start reads it


def by_collection(indexes: Sequence[Index]) -> dict[str, list[Index]]:
    found: dict[str, list[Index]] = {}
    for index in indexes:
        found.setdefault(index.collection, []).append(index)
    return found


def disk_failure(path: Path, error: OSError) -> str:
    return (
        f"The disk did not confirm a write to {path.parent} ({error.strerror or error}). What was written last is uncertain;"
        " the shop can be read but not written until it is restarted."
    )


def interrupted(path: Path, error: BaseException) -> str:
    return (
        f"A write to {path.parent} was interrupted ({type(error).__name__}). What was written last is uncertain;"
        " the shop can be read but not written until it is restarted."
    )
