"""A small file that the workers of one machine share: read often, changed seldom, never half written."""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


class SharedFile(Generic[T]):
    """One struct in one JSON file (0600). Reading costs a look at the file's date; `change` is one at a time among all processes."""

    def __init__(self, path: Path, kind: type[T], initial: T) -> None:
        self._path = path
        self._decoder = msgspec.json.Decoder(kind)
        self._initial = initial
        self._lock = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._value = initial

    def read(self) -> T:
        """What it holds now; the initial value where there is no file, or none that can be read."""
        with self._lock:
            try:
                stat = self._path.stat()
            except OSError:
                return self._initial
            if (stat.st_mtime_ns, stat.st_ino) != self._seen:
                self._value = self._decoded()
                self._seen = (stat.st_mtime_ns, stat.st_ino)
            return self._value

    def change(self, change: Callable[[T], T]) -> T:
        """Replace it, durably, by what *change* makes of what it holds. Raises OSError."""
        with self._alone():
            value = change(self._decoded())
            beside = self._path.with_name(f"{self._path.name}.tmp")
            beside.unlink(missing_ok=True)
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(msgspec.json.encode(value) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
            return value

    def _decoded(self) -> T:
        try:
            return self._decoder.decode(self._path.read_bytes())
        except (OSError, msgspec.DecodeError):
            return self._initial

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with held(self._path.with_name(f"{self._path.name}.lock")):
            yield


@contextmanager
def held(path: Path, *, seconds: float | None = None) -> Iterator[None]:
    """Hold the lock file *path* among all processes and threads; wait for it so long, None: as long as it takes.

    Raises BlockingIOError when that was not enough.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + (seconds or 0.0)
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | (0 if seconds is None else fcntl.LOCK_NB))
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.02)
        yield
    finally:
        os.close(fd)
