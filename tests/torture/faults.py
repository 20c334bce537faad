"""A simulated disk on which the Nth operation fails, once or from then on."""

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.simdisk import Disk, Op, SimDisk

ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES, errno.EMFILE, errno.EINTR)
ONCE, ITS_KIND, EVERYTHING = "once", "its kind from then on", "everything from then on"
HOW_LONG = (ONCE, ITS_KIND, EVERYTHING)


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and at which operation."""

    at: int  # counted from 1
    error: int
    how_long: str
    is_short: bool = False  # a write leaves half of its bytes

    def __str__(self) -> str:
        short = ", short" if self.is_short else ""
        return f"operation {self.at} {errno.errorcode[self.error]}{short}, {self.how_long}"


class FaultyDisk(SimDisk):
    """Counts every operation that can fail. An fsync that failed has lost what it was to write, whatever a later one says."""

    def __init__(self, fault: Fault | None = None, disk: Disk | None = None, *, is_armed: bool = True) -> None:
        super().__init__(disk)
        self.fault_to_come = fault
        self.count = 0
        self.kind = ""  # of the operation that failed first
        self.has_sync_failed = False
        self.is_mended = not is_armed

    def arm(self) -> None:
        """Begin to count here."""
        self.count, self.is_mended = 0, False

    def mend(self) -> None:
        """From here on everything succeeds."""
        self.is_mended = True

    def _fails(self, kind: str) -> bool:
        self.count += 1
        fault = self.fault_to_come
        if fault is None or self.is_mended or self.count < fault.at:
            return False
        if self.count == fault.at:
            self.kind = kind
            return True
        return fault.how_long == EVERYTHING or (fault.how_long == ITS_KIND and kind == self.kind)

    def _error(self) -> OSError:
        assert self.fault_to_come is not None
        return OSError(self.fault_to_come.error, "made to fail")

    def create(self, path: Path) -> int:
        if self._fails("create"):
            raise self._error()
        return super().create(path)

    def open(self, path: Path) -> int:
        if self._fails("open"):
            raise self._error()
        return super().open(path)

    def read(self, path: Path) -> bytes:
        if self._fails("read"):
            raise self._error()
        return super().read(path)

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        if self._fails("write"):
            assert self.fault_to_come is not None
            if self.fault_to_come.is_short:
                super().write(fd, data[: len(data) // 2], offset)
            raise self._error()
        super().write(fd, data, offset)

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        if self._fails("pread"):
            raise self._error()
        return super().pread(fd, length, offset)

    def truncate(self, fd: int, size: int) -> None:
        if self._fails("truncate"):
            raise self._error()
        super().truncate(fd, size)

    def sync(self, fd: int) -> None:
        if self._fails("sync"):
            self.has_sync_failed = True
            self._did(Op("sync_failed", self._fds[fd].id))
            raise self._error()
        super().sync(fd)

    def sync_folder(self, folder: Path) -> None:
        if self._fails("sync_folder"):
            self.has_sync_failed = True
            raise self._error()
        super().sync_folder(folder)

    def replace(self, source: Path, target: Path) -> None:
        if self._fails("replace"):
            raise self._error()
        super().replace(source, target)

    def link(self, source: Path, second: Path) -> None:
        if self._fails("link"):
            raise self._error()
        super().link(source, second)

    def unlink(self, path: Path) -> None:
        if self._fails("unlink"):
            raise self._error()
        super().unlink(path)


def faults(at: int) -> Iterator[Fault]:
    for error in ERRORS:
        for how_long in HOW_LONG:
            yield Fault(at, error, how_long)
            yield Fault(at, error, how_long, is_short=True)
