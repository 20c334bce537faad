"""The two stores as a pair: which of them is primary, and what to do when one is not there.

Odd timelines belong to `db.json`, even ones to `db_async.json`, and every promotion begins a higher one: so the highest timeline that
either file carries names the primary. Roles may swap, names do not.

Once both sides have existed, each remembers the other (`peer`). A side that is missing or cannot be read then stops the start: the one
that is left may be the shorter one, and serving it would silently drop what the other has. `resync --from` accepts that.

The first start makes db.json, then db_async.json as its snapshot, then marks db.json. A crash at any point is completed by the next start.
"""

import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from shop.clock import Clock
from shop.errors import SettingError
from shop.replication.losing import LostFolder
from shop.repository.schema import INDEXES, SCHEMA
from shop.store import (
    OS_FILES,
    Files,
    Index,
    Schema,
    Store,
    StoreDamaged,
    StoreError,
    create_store,
    forked,
    is_absent,
    journal_path,
    open_store,
)

ODD_NAME = "db.json"
EVEN_NAME = "db_async.json"
IS_REPLICA = "This is the replica: it takes the commits of the primary and no others."

KEEP_ALL = 0  # before the roles are known, either journal may be the queue
SCAN_BYTES = 1 << 20
_OVERLAP_BYTES = 32  # so that a timeline on the seam of two slices is seen
_TIMELINE = re.compile(rb'"timeline":([0-9]{1,9})\b')


class Pair:
    """Both stores, open. `primary` and `replica` are the roles of this moment."""

    def __init__(self, primary: Store, replica: Store, *, files: Files = OS_FILES) -> None:
        self.primary = primary
        self.replica = replica
        self._files = files
        self._is_closed = False
        primary.keep_after(replica.position.lsn)
        # A side that was left by a failover holds what was lost in its journal until it has rejoined (`failover.complete_rejoin`).
        reason = why_primary_is_short(primary, replica)
        has_its_own = bool(reason) or replica.position.timeline < primary.position.timeline
        replica.keep_after(KEEP_ALL if has_its_own else None)
        replica.refuse_writes(IS_REPLICA)
        if reason:
            primary.refuse_writes(reason)

    @property
    def announcements(self) -> Sequence[str]:
        """What recovery passed over or cut, a line each."""
        return [*self.primary.announcements, *self.replica.announcements]

    def start(self) -> None:
        """Keep both files up to date in the background."""
        self.primary.start()
        self.replica.start()

    def copy_primary(self) -> None:
        """Make the replica a snapshot of the primary; a crash leaves the old replica or the new one. Raises OSError.

        It brings across at once what was still on its way. A primary that was held read-only because it was the shorter one
        takes writes again: whoever calls this has decided that it is right. It goes on on a timeline of its own, because the order
        numbers that it has forgotten must not come again, and what only the replica had is kept in `lost/`.
        """
        primary, replica = self.primary, self.replica
        if why_primary_is_short(primary, replica):
            self._go_on_without_what_is_missing()
        state = primary.state
        replica.install(state, primary.store_id, primary.path.name)
        replica.keep_after(None)
        primary.keep_after(state.position.lsn)
        primary.allow_writes()

    def _go_on_without_what_is_missing(self) -> None:
        """A crash after the new timeline has begun leaves the same pair as a failover does: `complete_rejoin` finishes it."""
        primary, replica = self.primary, self.replica
        LostFolder(primary.path.parent, files=self._files).keep(replica, primary.position.lsn)
        primary.allow_writes()
        highest = max(primary.position.timeline, replica.position.timeline)
        primary.advance_timeline(next_timeline(highest, primary.path.name))

    def swap(self, fork_lsn: int) -> None:
        """The roles change hands: the caller has fenced the old primary and begun a new timeline on the other side.

        Both journals keep what is above the fork: the new primary for the replica to follow, the old one until its left-behind
        commits have been written to `lost/`.
        """
        self.primary, self.replica = self.replica, self.primary
        self.primary.keep_after(fork_lsn)
        self.replica.keep_after(fork_lsn)

    def close(self) -> None:
        """The primary first, so that nothing is acknowledged any more; commits in flight stay in its journal. Closing twice is harmless."""
        if self._is_closed:
            return
        self._is_closed = True
        self.primary.close()
        self.replica.close()


def open_pair(
    folder: Path,
    clock: Clock,
    *,
    schema: Schema = SCHEMA,
    indexes: Sequence[Index] = INDEXES,
    files: Files = OS_FILES,
) -> Pair:
    """Both stores of *folder*, recovered; made at the first start.

    Raises `SettingError`, one line with the remedy, when a side that once existed is missing or damaged. The caller holds the
    folder's lock. A primary that is shorter than its replica comes back read-only: its `problem` says so.
    """
    opener = _Opener(folder, clock, schema, indexes, files)
    odd, even = folder / ODD_NAME, folder / EVEN_NAME
    if opener.is_missing(odd, other=even):
        if not opener.is_missing(even, other=odd):
            raise _missing(odd, even)
        opener.create(odd).close()
    first = opener.open(odd, other=even)
    try:
        second = opener.open_or_copy(even, first)
        return Pair(*_by_role(first, second), files=files)
    except BaseException:
        first.close()
        raise


class _Opener:
    """What the steps of opening have in common."""

    def __init__(self, folder: Path, clock: Clock, schema: Schema, indexes: Sequence[Index], files: Files) -> None:
        self.folder = folder
        self.clock = clock
        self.schema = schema
        self.indexes = indexes
        self.files = files

    def is_missing(self, path: Path, *, other: Path) -> bool:
        try:
            return is_absent(path, self.files)
        except StoreDamaged as error:
            raise _damaged(error, path, other) from error

    def open(self, path: Path, *, other: Path) -> Store:
        try:
            return open_store(
                path, self.schema, indexes=self.indexes, keep_after=KEEP_ALL, clock=self.clock, files=self.files
            )
        except StoreDamaged as error:
            raise _damaged(error, path, other) from error

    def create(self, path: Path) -> Store:
        return create_store(path, self.schema, indexes=self.indexes, clock=self.clock, files=self.files)

    def copy(self, path: Path, source: Store) -> Store:
        """A new store at *path*, a snapshot of *source*; what stood there is replaced."""
        return create_store(
            path,
            self.schema,
            indexes=self.indexes,
            store_id=source.store_id,
            snapshot=source.state,
            peer=source.path.name,
            clock=self.clock,
            files=self.files,
        )

    def open_or_copy(self, path: Path, first: Store) -> Store:
        """The second side; made of the first when it has never existed."""
        if not self.is_missing(path, other=first.path):
            second = self.open(path, other=first.path)
        elif first.peer is not None:
            raise _missing(path, first.path)
        else:
            second = self.copy(path, first)
        try:
            first.set_peer(path.name)
            second.set_peer(first.path.name)
        except BaseException:
            second.close()
            raise
        return second


def _by_role(odd: Store, even: Store) -> tuple[Store, Store]:
    if odd.store_id != even.store_id:
        return _of_two_shops(odd, even)
    highest = max(odd.position.timeline, even.position.timeline)
    return (odd, even) if highest % 2 else (even, odd)


def _of_two_shops(odd: Store, even: Store) -> tuple[Store, Store]:
    """Timelines of different shops say nothing about each other: each file tells for itself whether it was a primary."""
    if _is_primary(odd) and not _is_primary(even):
        return odd, even  # the replica is refused, and says so
    if _is_primary(even) and not _is_primary(odd):
        return even, odd
    raise SettingError(
        f"{odd.path} and {even.path.name} belong to two different shops, and either may be the primary."
        " Put the file that belongs here back, or take the other one (with its .journal) out of the folder and"
        f" run `{_resync_command(odd.path)}` or `{_resync_command(even.path)}`."
    )


def next_timeline(highest: int, file_name: str) -> int:
    """The lowest above *highest* that belongs to the side in *file_name*."""
    parity = 0 if file_name == EVEN_NAME else 1
    return highest + 1 if (highest + 1) % 2 == parity else highest + 2


def why_primary_is_short(primary: Store, replica: Store) -> str:
    """The second witness: recovery alone cannot tell a damaged last commit from one that was never acknowledged."""
    here, there = primary.position, replica.position
    if primary.store_id != replica.store_id or there <= here:
        return ""
    if there.timeline == here.timeline and there.lsn == here.lsn:
        return ""  # only the checksums differ: replication refuses, but neither side is the shorter one
    return (
        f"{primary.path.name} ends at commit {here.lsn}, but its replica {replica.path.name} has {there.lsn}: commits were lost here."
        f" Nothing is written until somebody decides: stop the shop and run `{_resync_command(replica.path)}`"
        " to go on from the replica, or press Resync on the replication page to go on without them."
    )


# ---- one side is lost


def resync_from(
    folder: Path,
    source_name: str,
    clock: Clock,
    *,
    schema: Schema = SCHEMA,
    indexes: Sequence[Index] = INDEXES,
    files: Files = OS_FILES,
) -> str:
    """Rebuild the other side from the one in *source_name* and return a sentence about it. Nothing else may have the folder open.

    If the lost side was the primary, the commits that had not crossed are gone, and their order numbers must not come again: the
    rebuilt primary begins a timeline two higher. What stood there is kept beside, named `.corrupt-<time>`. A crash in between
    leaves a folder on which this can be run again. Raises `SettingError` when the source cannot be used.
    """
    opener = _Opener(folder, clock, schema, indexes, files)
    source, lost = _source_and_lost(folder, source_name)
    if opener.is_missing(source, other=lost):
        raise SettingError(f"{source} does not exist; there is nothing to rebuild {lost.name} from.")
    survivor = opener.open(source, other=lost)
    try:
        if _is_primary(survivor):
            _put_aside(lost, clock, files)
            opener.copy(lost, survivor).close()
            survivor.set_peer(lost.name)
            return f"{lost.name} is a fresh copy of {source.name} (commit {survivor.position.lsn})."
        return _rebuild_primary(opener, survivor, lost)
    finally:
        survivor.close()


def _rebuild_primary(opener: _Opener, survivor: Store, lost: Path) -> str:
    timeline = _next_timeline(survivor, lost, opener.files)
    _put_aside(lost, opener.clock, opener.files)
    lsn = survivor.position.lsn
    primary = create_store(
        lost,
        opener.schema,
        indexes=opener.indexes,
        store_id=survivor.store_id,
        snapshot=forked(survivor.state, timeline=timeline, at=opener.clock.now()),
        peer=survivor.path.name,
        clock=opener.clock,
        files=opener.files,
    )
    try:
        survivor.install(primary.state, primary.store_id, primary.path.name)
    finally:
        primary.close()
    return (
        f"{lost.name} goes on from {survivor.path.name} (commit {lsn}) on timeline {timeline}."
        " Commits that had not crossed to it are lost."
    )


def _source_and_lost(folder: Path, source_name: str) -> tuple[Path, Path]:
    names = {ODD_NAME: EVEN_NAME, EVEN_NAME: ODD_NAME}
    name = Path(source_name).name
    if name not in names:
        raise SettingError(f"--from {source_name}: give {ODD_NAME} or {EVEN_NAME}, the side to go on from.")
    return folder / name, folder / names[name]


def _is_primary(store: Store) -> bool:
    """Whether the timeline belongs to this side."""
    return (store.position.timeline % 2 == 1) == (store.path.name == ODD_NAME)


def _next_timeline(survivor: Store, lost: Path, files: Files) -> int:
    """The next one that belongs to the *lost* side, above any that what is left of it still shows."""
    return next_timeline(max(survivor.position.timeline, highest_timeline_shown(lost, files)), lost.name)


def highest_timeline_shown(path: Path, files: Files) -> int:
    """The highest that *path*, its journal, or anything that was put aside from them still tells; 0 when nothing does.

    An earlier attempt may have put them aside and crashed before it had begun its timeline.
    """
    names = (path.name, journal_path(path).name)
    found = (name for name in files.names_in(path.parent) if name.startswith(names))
    return max((_highest_in(path.with_name(name), files) for name in found), default=0)


def _highest_in(path: Path, files: Files) -> int:
    """What is left of a damaged file counts too; read in slices, because it may be large."""
    highest = offset = 0
    tail = b""
    try:
        fd = files.open(path)
        try:
            while data := files.pread(fd, SCAN_BYTES, offset):
                highest = max([highest, *(int(digits) for digits in _TIMELINE.findall(tail + data))])
                tail = (tail + data)[-_OVERLAP_BYTES:]
                offset += len(data)
        finally:
            files.close(fd)
    except OSError:
        return highest  # it is lost: whatever it can still tell is a gift
    return highest


def _put_aside(path: Path, clock: Clock, files: Files) -> None:
    suffix = f".corrupt-{clock.now():%Y%m%dT%H%M%SZ}"
    taken = files.names_in(path.parent)
    while any(name.endswith(suffix) for name in taken):
        suffix += "-again"
    for file in (path, journal_path(path)):
        if files.exists(file):
            files.replace(file, file.with_name(file.name + suffix))
    files.sync_folder(path.parent)


def _missing(path: Path, other: Path) -> SettingError:
    return SettingError(
        f"{path} is missing, but it once existed and may hold commits that {other.name} lacks. Put it back,"
        f" or go on without it: {_resync_command(other)}"
    )


def _damaged(error: StoreError, path: Path, other: Path) -> SettingError:
    return SettingError(f"{error}. To rebuild {path.name} from the other side: {_resync_command(other)}")


def _resync_command(source: Path) -> str:
    """As it can be pasted where the shop was started: with its own Python, and for the folder that is meant."""
    flask = Path(sys.executable).with_name("flask")
    program = os.path.relpath(flask) if flask.is_relative_to(Path.cwd()) else str(flask)
    folder = f"SHOP_INSTANCE={shlex.quote(str(source.parent))} " if os.environ.get("SHOP_INSTANCE") else ""
    return f"{folder}{program if flask.exists() else 'flask'} --app app shop resync --from {source.name}"
