"""What is kept of drills on this machine, in the folder `drills/`: the last run of each, and a note while one is under way.

A run is written anew with each step, so that every page (and every process) shows how far it is. The note is what has to be put back.
Who runs a drill holds a lock on the file `lock`; the system lets go of it when the process ends in whatever way. So a run that says
"running" while nobody holds the lock was cut short. Each file is replaced whole; a crash leaves the old one or the new one.
"""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from shop.drills.records import Run, RunState
from shop.drills.setting import Setting

FOLDER_NAME = "drills"
LOCK_TRIES = 20  # somebody who only looks holds it for an instant
LOCK_TRY_SECONDS = 0.01
CUT_SHORT = "The shop ended while this drill ran. What it left is taken out before the next drill."

T = TypeVar("T")


class DrillFolder:
    """The files in *instance*/drills; nothing is kept in memory but the lock."""

    def __init__(self, instance: Path) -> None:
        self.path = instance / FOLDER_NAME
        self._lock_fd: int | None = None

    # ---- one drill at a time

    def take(self) -> bool:
        """Take the lock; False when somebody else has it."""
        self.path.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for _ in range(LOCK_TRIES):
            if _locked(fd, fcntl.LOCK_EX):
                self._lock_fd = fd
                return True
            time.sleep(LOCK_TRY_SECONDS)
        os.close(fd)
        return False

    def let_go(self) -> None:
        fd, self._lock_fd = self._lock_fd, None
        if fd is not None:
            os.close(fd)

    def is_taken(self) -> bool:
        """Whether somebody, in this process or another, runs a drill."""
        if self._lock_fd is not None:
            return True
        try:
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not _locked(fd, fcntl.LOCK_SH)
        finally:
            os.close(fd)

    # ---- runs

    def run(self, drill: str) -> Run | None:
        """The last run of it; one that nobody is running any more was cut short."""
        run = self._read(f"{drill}.json", Run)
        if run is not None and run.state is RunState.RUNNING and not self.is_taken():
            # It may have ended between the two looks.
            run = self._read(f"{drill}.json", Run) or run
            if run.state is RunState.RUNNING:
                return replace(run, state=RunState.CUT_SHORT, sentence=CUT_SHORT)
        return run

    def keep(self, run: Run) -> None:
        self._replace(f"{run.drill}.json", msgspec.json.encode(run))

    # ---- what is under way

    def note(self) -> Setting | None:
        return self._read("under-way.json", Setting)

    def keep_note(self, setting: Setting) -> None:
        self._replace("under-way.json", msgspec.json.encode(setting))

    def drop_note(self) -> None:
        self._unlink("under-way.json")

    # ---- asking it to stop

    def ask_to_stop(self) -> None:
        self._replace("stop", b"")

    def is_asked_to_stop(self) -> bool:
        return (self.path / "stop").exists()

    def forget_to_stop(self) -> None:
        self._unlink("stop")

    def _read(self, name: str, kind: type[T]) -> T | None:
        try:
            return _decoder(kind)((self.path / name).read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            return None  # never written, or by another version of the shop: nothing is lost but a story

    def _replace(self, name: str, data: bytes) -> None:
        beside = self.path / f"{name}.tmp"
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path / name)

    def _unlink(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)


def _decoder(kind: type[T]) -> Callable[[bytes], T]:
    return lambda data: msgspec.json.decode(data, type=kind)


def _locked(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
