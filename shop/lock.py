"""One process owns the instance folder: `shop.lock` is held with flock for as long as it runs.

The file (0600) holds one line of JSON: `{"pid": …, "address": …, "token": …}`. The address and the token let a command ask
the server that holds the lock, over loopback; the address is null while the holder does not serve. What counts is the lock,
never the text: a file that a dead process left behind is no obstacle, because the kernel lets go of a lock with its holder.
"""

import fcntl
import os
import secrets
import time
from pathlib import Path
from types import TracebackType

import msgspec

from shop.errors import SettingError

FILE_NAME = "shop.lock"
_NOTE_BYTES_MAX = 4096
_READ_ATTEMPTS = 20  # a holder writes its note right after it has the lock; a reader may be faster


class Note(msgspec.Struct, frozen=True):
    """What the holder of a lock says about itself."""

    pid: int
    address: str | None = None  # "http://127.0.0.1:8000", None while it does not serve
    token: str = ""


class FolderInUse(SettingError):
    """Another process owns the folder; `note` is what it says about itself, None when it says nothing readable."""

    def __init__(self, folder: Path, note: Note | None) -> None:
        self.note = note
        super().__init__(_in_use_sentence(folder, note))


class FolderLock:
    """Owns *folder* from the moment it is made until `release`, the end of the block or the end of the process.

    Raises `FolderInUse` at once when another process owns it, and `SettingError` when the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.token = secrets.token_urlsafe(32)
        self._fd = _open(folder)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note = _read_patiently(self._fd)
            os.close(self._fd)
            raise FolderInUse(folder, note) from None
        # A forked child shares the lock until it closes its copy; one that outlives us would keep the folder.
        os.register_at_fork(after_in_child=self._forget)
        os.fchmod(self._fd, 0o600)
        self._write(Note(os.getpid()))

    def announce(self, address: str) -> None:
        """Let commands find the server at *address*."""
        self._write(Note(os.getpid(), address, self.token))

    def release(self) -> None:
        """Give the folder back. The file stays, empty: removing it could pull it from under the next holder."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            # Closing is not enough: a program that is just being started still has its copy for a moment, because the kernel
            # lets the parent go on before it closes what must not be inherited.
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _forget(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, note: Note) -> None:
        text = msgspec.json.encode(note) + b"\n"
        os.pwrite(self._fd, text, 0)
        os.ftruncate(self._fd, len(text))


def read_note(folder: Path) -> Note | None:
    """What the last holder of *folder* wrote; it need not be alive."""
    try:
        return _decode((folder / FILE_NAME).read_bytes()[:_NOTE_BYTES_MAX])
    except OSError:
        return None


def _open(folder: Path) -> int:
    # O_CLOEXEC: a program we start must not keep the folder locked after we are gone.
    try:
        return os.open(folder / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingError(
            f"The folder {folder} cannot be written ({reason}): give it to this user or name another with SHOP_INSTANCE=."
        ) from None


def _read_patiently(fd: int) -> Note | None:
    for _ in range(_READ_ATTEMPTS):
        note = _decode(os.pread(fd, _NOTE_BYTES_MAX, 0))
        if note is not None:
            return note
        time.sleep(0.005)
    return None


def _decode(text: bytes) -> Note | None:
    try:
        return msgspec.json.decode(text, type=Note)
    except msgspec.DecodeError:
        return None


def _in_use_sentence(folder: Path, note: Note | None) -> str:
    if note is None:
        return f"The folder {folder} is in use by another process: stop it first, or name another folder with SHOP_INSTANCE=."
    if note.address is None:
        return f"The folder {folder} is in use by another process (pid {note.pid}): wait for it, or stop it first."
    return (
        f"The shop in {folder} is already running at {note.address} (pid {note.pid}): "
        "use that one, stop it first, or name another folder with SHOP_INSTANCE=."
    )
