"""The checkpoint file while the store is open: what it shows, and how the next one is written.

While the file is small each record's encoded line is kept, so that a checkpoint encodes what changed; a big one is encoded from the
snapshot in slices. The caller holds the store's checkpoint lock, but for `committed` (the append lock).
"""

from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shop.store.checkpoint import Header, replace_open, sync_folder, write_big
from shop.store.files import Files
from shop.store.lines import Lines
from shop.store.state import State

SMALL_FILE_BYTES = 5_000_000  # below, the file shows every commit at once; the promise is in the design


class Shown:
    """What `db.json` shows now."""

    def __init__(self, files: Files, path: Path, state: State, *, lsn: int, size: int, at: float) -> None:
        self._files = files
        self._path = path
        self._lines: Lines | None = None  # of a small file; None, too, when they have to be made anew
        self._begin(lsn, size, at)
        if self.is_small:
            self._lines = Lines(state)

    def _begin(self, lsn: int, size: int, at: float) -> None:
        self.lsn = lsn
        self.bytes = size
        self.at = at  # monotonic
        self.is_small = size < SMALL_FILE_BYTES
        self._is_named = True  # no power cut can bring back the file that had the name before
        self._unshown: deque[tuple[int, Iterable[tuple[str, str, Any]]]] = deque()  # ops that `_lines` lacks
        self._lines = None

    def committed(self, lsn: int, ops: Iterable[tuple[str, str, Any]]) -> None:
        """Note what commit *lsn* changed."""
        if self.is_small:
            self._unshown.append((lsn, ops))

    def write(self, state: State, header: Header, *, at: float, is_paced: bool) -> None:
        """Replace the file; a crash leaves the old one or the new one. Raises OSError, and then shows what it did before.

        A small file's name is left to `confirm`.
        """
        if self.is_small:
            self.bytes = self._write_small(state, header)
        else:
            self.bytes = write_big(self._files, self._path, header, state, is_paced=is_paced)
        self.lsn, self.at = state.position.lsn, at

    def _write_small(self, state: State, header: Header) -> int:
        lines = self._lines_of(state)
        data = lines.file(header)
        self._is_named = False
        self._files.close(replace_open(self._files, self._path, lambda fd: self._files.write(fd, data, 0)))
        if len(data) >= SMALL_FILE_BYTES:
            self.is_small, self._lines = False, None
            self._unshown.clear()
        return len(data)

    def _lines_of(self, state: State) -> Lines:
        """Those of before with what happened since. When that is cut short none are kept, and the next file begins anew."""
        kept, self._lines = self._lines, None
        lines = Lines(state) if kept is None else kept
        while self._unshown and self._unshown[0][0] <= state.position.lsn:
            _, ops = self._unshown.popleft()
            if kept is not None:
                kept.apply(ops)
        self._lines = lines
        return lines

    def confirm(self) -> None:
        """When this returns, no power cut can bring back an older file. Raises `SyncFailed`.

        Until then that one may return, whole: the journal has what it lacks, and so must not be cut.
        """
        if not self._is_named:
            sync_folder(self._files, self._path.parent)
            self._is_named = True

    def install(self, state: State, header: Header, *, at: float) -> None:
        """Replace the file with a state of another history; crash and errors as for `write`."""
        size = write_big(self._files, self._path, header, state, is_paced=False)
        self._begin(state.position.lsn, size, at)
