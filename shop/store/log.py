"""The journal's file while the store is open: appended to, read from, cut. What the bytes mean stands in `journal.py`.

The file is longer than its lines: behind them stand zeros, *room* that the next lines overwrite. To confirm bytes in a file that does not
grow costs a disk two thirds of what it costs when the length has to be confirmed too.

Whoever calls a method holds the store's append lock, but for `read` and `read_held`, which never make a commit wait, and `cut`.
"""

import errno
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from shop.store.checkpoint import SyncFailed, replace_open, sync, sync_folder
from shop.store.errors import StoreFull, StoreMismatch
from shop.store.files import Files
from shop.store.journal import JournalIndex

ROOM_MIN_BYTES = 4 * 1024
ROOM_MAX_BYTES = 1024 * 1024  # the commit that makes it waits for as many zeros
COPY_BYTES = 128 * 1024  # of a journal that is cut while commits go on: longer slices make them wait for the disk
COPY_PAUSE_SECONDS = 0.004
COPY_ROUNDS = 3


def room_for(length: int) -> int:
    """As much as the journal holds, so that it is seldom made."""
    return min(max(length, ROOM_MIN_BYTES), ROOM_MAX_BYTES)


class TailNotCut(OSError):
    """A failed append left bytes that could not be cut back."""


class Log:
    """An open journal file."""

    def __init__(self, files: Files, path: Path, index: JournalIndex) -> None:
        self._files = files
        self.path = path
        self.index = index
        self._fd = files.open(path)
        self._room_end = index.end  # lines that end here or before do not make the file longer
        self._swap = threading.Lock()  # guards _fd together with index: `cut` changes both
        self._is_named = True  # a power cut cannot bring back the file that had the name before
        self.syncs = 0
        self.sync_seconds = 0.0

    def append(self, lines: Sequence[bytes]) -> None:
        """Write *lines* at once and fsync.

        Raises `StoreFull` when they could not be written (the file is as it was before), `SyncFailed` when the disk did not
        confirm them (or, before, the file's name), `TailNotCut` when they could neither be written nor taken back. The index is left
        to `appended`.
        """
        if not self._is_named:
            raise SyncFailed(errno.EIO, "the journal's name was not confirmed")
        data = b"".join(lines)
        try:
            self._files.write(self._fd, data, self.index.end)
        except OSError as error:
            self._cut_tail(error)
            raise StoreFull(
                f"{self.path} could not be written ({error.strerror or error}); nothing was kept"
            ) from error
        self._keep_room(len(data))
        started = time.perf_counter()
        sync(self._files, self._fd)
        self.sync_seconds += time.perf_counter() - started
        self.syncs += 1

    def _keep_room(self, length: int) -> None:
        """When the lines just written have used up the room: make some more, to be confirmed together with them.

        Not after a batch that is longer than the room would be: to the next such batch it would be of no use.
        """
        end = self.index.end + length
        if end <= self._room_end:
            return
        room = room_for(end)
        self._room_end = end if length > room else self._write_room(self._fd, end, room)

    def _write_room(self, fd: int, at: int, room: int) -> int:
        """Zeros from *at* on; returns where they end. No space or memory for them: none, or more than it says; zeros do no harm."""
        try:
            self._files.write(fd, bytes(room), at)
        except (OSError, MemoryError):
            return at
        return at + room

    def _cut_tail(self, cause: OSError) -> None:
        # Without this the next line would stand behind a stub, where recovery cannot reach it.
        # Synced, because whole lines of the group may have been written, and their writers are told that nothing was kept.
        self._room_end = self.index.end
        try:
            self._files.truncate(self._fd, self.index.end)
            self._files.sync(self._fd)
        except OSError as error:
            raise TailNotCut(error.errno, error.strerror) from cause

    def appended(self, lines: Sequence[bytes], committed_monotonic: float) -> None:
        """The index after `append` succeeded."""
        for line in lines:
            self.index.append(len(line), committed_monotonic)

    def read(self, first_lsn: int, last_lsn: int) -> bytes:
        """The lines of first_lsn..last_lsn; raises `StoreMismatch` when the journal does not hold all of them (any more)."""
        with self._swap:
            index = self.index
            if first_lsn < index.first_lsn or last_lsn > index.last_lsn:
                raise StoreMismatch(f"{self.path} holds commits {index.first_lsn} to {index.last_lsn}, not {first_lsn}")
            return self._read(index.offset(first_lsn), index.offset(last_lsn + 1))

    def read_held(self, first_lsn: int, last_lsn: int, limit: int) -> bytes:
        """Those lines of first_lsn..last_lsn that the journal still holds, *limit* at most."""
        with self._swap:
            index = self.index
            first = max(first_lsn, index.first_lsn)
            last = min(last_lsn, index.last_lsn, first + limit - 1)
            return self._read(index.offset(first), index.offset(last + 1)) if first <= last else b""

    def _read(self, start: int, end: int) -> bytes:
        data = self._files.pread(self._fd, end - start, start)
        if len(data) != end - start:
            raise OSError(f"{self.path} is shorter than it was written")
        return data

    def cut(self, lsn: int, appending: threading.Lock, *, is_paced: bool) -> None:
        """Forget the lines up to *lsn*: the rest is written beside and renamed; a crash leaves the old journal or the new one.

        Most of it is copied while commits go on. *appending*, the store's append lock (not held by the caller), is taken for what came
        meanwhile, and held until the new file has the name for sure: a commit that went there before could be lost with the name.
        *is_paced* makes pauses, for commits; without them it is sooner done, for whoever waits for the checkpoint that it belongs to.
        Raises OSError when it could not be written (nothing changed), `SyncFailed` when the folder was not confirmed.
        """
        index, room_end = self.index, 0
        with ExitStack() as held:

            def fill(fd: int) -> None:
                nonlocal index, room_end
                with appending:
                    start = self.index.offset(lsn + 1)
                copied_to = self._copy_ahead(fd, start, is_paced=is_paced)
                # Room now, while no commit waits for it.
                room_end = self._write_room(fd, copied_to - start, room_for(self.index.end))
                sync(self._files, fd)
                held.enter_context(appending)
                self._files.write(fd, self._read(copied_to, self.index.end), copied_to - start)
                index = self.index.without_first(lsn)

            self._swap_in(replace_open(self._files, self.path, fill), index, room_end)

    def _copy_ahead(self, fd: int, start: int, *, is_paced: bool) -> int:
        """Copy what stays, from *start* on, but for a last piece; returns up to where. In rounds, because more comes meanwhile."""
        at = start
        for _ in range(COPY_ROUNDS):
            end = self.index.end
            while end - at > COPY_BYTES:
                self._files.write(fd, self._read(at, at + COPY_BYTES), at - start)
                at += COPY_BYTES
                sync(self._files, fd)  # in small pieces, and none of it left for when nobody may append
                if is_paced:
                    time.sleep(COPY_PAUSE_SECONDS)
        return at

    def replace(self, index: JournalIndex) -> None:
        """Begin an empty journal with *index* (a snapshot is being installed); crash and errors as for `cut`."""
        self._swap_in(replace_open(self._files, self.path, lambda fd: None), index, 0)

    def _swap_in(self, fd: int, index: JournalIndex, room_end: int) -> None:
        """From here on *fd* is the journal. Nothing that could fail stands between its rename and this."""
        with self._swap:
            old, self._fd, self.index = self._fd, fd, index
        self._room_end = max(room_end, index.end)
        self._is_named = False  # whoever waits for the append lock has it before the store knows what went wrong here
        try:
            sync_folder(self._files, self.path.parent)
            self._is_named = True
        finally:  # not before: a close that fails must not keep the name from being confirmed
            self._files.close(old)

    def give_back_room(self) -> None:
        """End the file with its last line, as one expects of a file of lines. Not fsynced: zeros that come back are room again."""
        try:
            self._files.truncate(self._fd, self.index.end)
        except OSError:
            return  # recovery reads over them
        self._room_end = self.index.end

    def close(self) -> None:
        """Nothing can be read or written afterwards: another file may soon have the same descriptor."""
        with self._swap:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            self._files.close(fd)
