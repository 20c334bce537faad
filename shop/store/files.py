"""Every operation the store asks of the file system, in one place, so that a test can stand between and cut the power.

All of them raise OSError. None of them retries: what to do about a failure is the store's decision.
"""

import errno
import os
from pathlib import Path


def _has_name(fd: int) -> bool:
    """Whether the open file still stands in a folder.

    Linux is asked by /proc. A stat would cost a third of a commit: whoever has looked at a file's times makes the next write note new ones.
    """
    try:
        return not os.readlink(f"/proc/self/fd/{fd}").endswith(" (deleted)")
    except OSError:
        return os.fstat(fd).st_nlink > 0


class Files:
    """The operating system's files. Created ones are for their owner only (0600)."""

    def exists(self, path: Path) -> bool:
        return os.path.lexists(path)

    def size(self, path: Path) -> int:
        return os.stat(path).st_size

    def read(self, path: Path) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    def create(self, path: Path) -> int:
        """An empty file, open for reading and writing; one that is there already is emptied."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def open(self, path: Path) -> int:
        """A file that exists, open for reading and writing."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def close(self, fd: int) -> None:
        os.close(fd)

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        """All of *data* at *offset*; when it raises, a part of it may be there. Nothing of *data* is needed afterwards."""
        written = os.pwrite(fd, data, offset)
        while written < len(data):  # a disk that fills, or a signal, ends a write early without an error
            count = os.pwrite(fd, data[written:], offset + written)
            if count == 0:
                raise OSError("the file system took no more bytes")
            written += count

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        """*length* bytes; fewer only where the file ends."""
        data = os.pread(fd, length, offset)
        while len(data) < length:  # the kernel reads 2 GiB at most in one go
            more = os.pread(fd, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        """The file's bytes and its length are on the disk when this returns; one that raised must never be tried again.

        A file that has lost its name (its folder was removed) counts as one that the disk refuses: it is gone with this process.
        """
        os.fdatasync(fd)
        if not _has_name(fd):
            raise OSError(errno.ENOENT, "The file was removed")

    def replace(self, source: Path, target: Path) -> None:
        """*target* is the old file or the new one at any moment; which of them after a power cut is open until `sync_folder`."""
        os.replace(source, target)

    def link(self, source: Path, second: Path) -> None:
        """The file *source* under a *second* name, too; both are sure after `sync_folder`."""
        os.link(source, second)

    def sync_folder(self, folder: Path) -> None:
        """The names in *folder* are on the disk when this returns."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def make_folder(self, folder: Path) -> None:
        """*folder*, for its owner only (0700), if there is none yet; its name is on the disk when this returns."""
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
        self.sync_folder(folder.parent)

    def names_in(self, folder: Path) -> list[str]:
        """What *folder* holds, in no order; nothing when there is no such folder."""
        return os.listdir(folder) if folder.is_dir() else []

    def unlink(self, path: Path) -> None:
        os.unlink(path)


OS_FILES = Files()
