"""The fault schedules in which APScheduler itself is what fails: the real one, in real time, under a wall clock that is set.

`python -m tests.torture.schedules_real NAME FILE` runs one and leaves its history in FILE. Each has a process of its own: the clock that
APScheduler asks is replaced in its modules, and a machine that sleeps stops all threads.

All waiting of the schedule is shortened to a quarter. A machine or a disk that stands still is no fault of the program: a thread that
does nothing but look at the clock writes down when it did, each fsync is timed, and the checkers' deadlines move by as
much, for each of the threads that follow one another.
"""

import ctypes
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import msgspec
from apscheduler.schedulers import base as scheduler_module
from apscheduler.triggers import interval as interval_module

from shop.replication import schedule as schedule_module
from shop.replication.pair import EVEN_NAME
from shop.replication.schedule import JOB_ID, Schedule
from shop.store import Files
from tests.torture.schedules_history import Bound, Fault, History, Pause
from tests.torture.schedules_recorder import Recorder

SHARE = 0.25  # of the schedule's own times
DELAY = 0.1
EVERY = 0.02
LOOK_SECONDS = 0.1
PULSE_SECONDS = 0.005
PAUSE_SECONDS = 0.012  # more than this between two looks at the clock: the machine stood still
AT_ONCE = 4
PATIENCE = 120.0
CENTRAL_EUROPE = "CET-1CEST,M3.5.0,M10.5.0/3"
SPRING, AUTUMN = datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)


class WallClock:
    """The monotonic clock of the machine, and a wall clock that is set to whatever a schedule wants."""

    def __init__(self) -> None:
        self.shift = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.shift

    def monotonic(self) -> float:
        return time.monotonic()

    def set_to(self, moment: datetime) -> None:
        self.shift = moment - datetime.now(UTC)

    def as_seen_by_apscheduler(self) -> type[datetime]:
        wall = self

        class ShiftedDatetime(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Any:
                return datetime.now(tz) + wall.shift

        return ShiftedDatetime


class HangingFiles(Files):
    """The disk, of which one file takes so long for its next write as it is told to."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._fds: set[int] = set()
        self.hang_seconds = 0.0
        self.is_hanging = threading.Event()
        self.slow: list[Pause] = []  # how long each fsync took

    def create(self, path: Path) -> int:
        return self._known(path, super().create(path))

    def open(self, path: Path) -> int:
        return self._known(path, super().open(path))

    def _known(self, path: Path, fd: int) -> int:
        self._fds.discard(fd)
        if path.name.startswith(self._name):
            self._fds.add(fd)
        return fd

    def sync(self, fd: int) -> None:
        began = time.monotonic()
        super().sync(fd)
        self.slow.append(Pause(began, time.monotonic() - began))

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        if fd in self._fds and self.hang_seconds:
            seconds, self.hang_seconds = self.hang_seconds, 0.0
            self.is_hanging.set()
            time.sleep(seconds)
            self.is_hanging.clear()
        super().write(fd, data, offset)


class RealWorld(Recorder):
    """A shop with both of its background threads and the real schedule."""

    clock: WallClock
    files: HangingFiles
    agree_seconds = 0.5

    def __init__(self, name: str, folder: Path) -> None:
        tick = schedule_module.TICK_SECONDS * SHARE
        files = HangingFiles(EVEN_NAME.replace(".json", ".journal"))
        super().__init__(History(name=name, delay=DELAY, tick=tick), WallClock(), folder, files)
        self.schedule: Schedule
        self._lock = threading.Lock()  # one look at the replica after the other
        self._is_over = threading.Event()
        self._pulse = threading.Thread(target=self._watch_machine, daemon=True)

    def start(self) -> None:
        for name in ("TICK_SECONDS", "STALL_SECONDS", "WATCH_SECONDS"):
            setattr(schedule_module, name, getattr(schedule_module, name) * SHARE)
        for module in (scheduler_module, interval_module):
            module.datetime = self.clock.as_seen_by_apscheduler()  # type: ignore[attr-defined]
        self._pulse.start()
        self.open()
        self.pair.start()
        self.schedule = Schedule(self.replication, self.clock)
        self.schedule.start()

    def end(self) -> History:
        self.history.ended = self.now
        self.schedule.stop()
        self.pair.close()
        self._is_over.set()
        self._pulse.join()
        self.history.pauses += [pause for pause in self.files.slow if pause.seconds > PAUSE_SECONDS]
        return self.history

    def _watch_machine(self) -> None:
        last = self.now
        while not self._is_over.wait(PULSE_SECONDS):
            now = self.now
            if now - last > PAUSE_SECONDS:
                self.history.pauses.append(Pause(last, now - last))
            last = now

    def _moved(self, lsn: int) -> None:
        with self._lock:
            super()._moved(lsn)

    def look(self) -> None:
        with self._lock:
            super()._moved(0)
        self.look_at_file()
        self.look_at_page()

    def run(self, seconds: float, *, every: float = 0.0, until: Callable[[], bool] = lambda: False) -> None:
        """Let time pass, with a commit every so often, also to the end of a condition."""
        end, next_commit, next_look = self.now + seconds, self.now, self.now
        while self.now < end and not until():
            if every and self.now >= next_commit:
                self.commit()
                next_commit = self.now + every
            if self.now >= next_look:
                self.look()
                next_look = self.now + LOOK_SECONDS
            time.sleep(0.002)

    def sells(self, seconds: float = 0.6) -> None:
        self.run(seconds, every=EVERY)
        self.run(DELAY + 3 * self.history.tick)

    @contextmanager
    def fault(self, what: str, *, notice_ticks: float = 0.0) -> Iterator[None]:
        """From here to the end of the block, and shop goes on meanwhile; with *notice_ticks*, the watchdog has to notice within so many."""
        since, stalls = self.now, self.schedule.stalls
        yield
        if not notice_ticks:
            self.history.faults.append(Fault(what, since, self.now))
            return
        self.run(notice_ticks * self.history.tick * 3, every=EVERY, until=lambda: self.schedule.stalls > stalls)
        noticed = self.now if self.schedule.stalls > stalls else None
        notice_by = since + notice_ticks * self.history.tick
        self.history.faults.append(Fault(what, since, self.now, notice_by, noticed))

    def wait_until_idle(self) -> Any:
        """Until no run is under way; returns APScheduler's scheduler."""
        self.run(PATIENCE, until=lambda: not self.schedule._is_running)
        return self.schedule._scheduler


# ---- what fails


def clock_set(world: RealWorld, *, hours: float) -> None:
    """While it sells, and over a time without a commit: then APScheduler would plan the next run for when that hour comes again."""
    world.start()
    world.sells()
    world.run(0.2, every=EVERY)
    world.clock.shift = timedelta(hours=hours)
    world.sells()
    world.run(6 * world.history.tick)
    world.sells()


def summer_time(world: RealWorld, *, at: datetime) -> None:
    """The local clock leaps in the middle of the sale."""
    os.environ["TZ"] = CENTRAL_EUROPE
    time.tzset()
    world.clock.set_to(at - timedelta(seconds=0.5))
    before = local_offset(world.clock)
    world.start()
    world.run(1.0, every=EVERY)
    world.sells()
    assert local_offset(world.clock) != before, "the local clock did not leap"
    world.run(6 * world.history.tick)
    world.sells()


def local_offset(clock: WallClock) -> timedelta | None:
    return clock.now().astimezone().utcoffset()


def suspend(world: RealWorld) -> None:
    """All threads stop for a second and a half, and the wall clock says that it was eight hours."""
    world.start()
    world.sells()
    world.run(0.2, every=EVERY)
    world.clock.shift = timedelta(hours=8)
    ctypes.PyDLL(None).usleep(1_500_000)  # a call that keeps the interpreter's lock: nobody else moves
    world.sells()
    world.run(6 * world.history.tick)
    world.sells()


def job_removed(world: RealWorld) -> None:
    world.start()
    world.sells()
    scheduler = world.wait_until_idle()
    with world.fault("the job is gone", notice_ticks=3):
        scheduler.remove_job(JOB_ID)
    world.sells()
    world.sells()


def scheduler_dead(world: RealWorld) -> None:
    world.start()
    world.sells()
    scheduler = world.wait_until_idle()
    with world.fault("the scheduler is dead", notice_ticks=3):
        scheduler.shutdown(wait=True)
    world.sells()
    world.sells()


def hangs(world: RealWorld) -> None:
    """One write to the replica takes five seconds: APScheduler drops every run that falls into them."""
    world.start()
    world.sells()
    with world.fault("the replica's disk hangs"):
        world.files.hang_seconds = 5.0
        world.run(PATIENCE, every=EVERY, until=world.files.is_hanging.is_set)
        began = world.now
        world.replication.status()
        world.history.bounds.append(Bound("seconds until the page answers meanwhile", world.now - began, 1.0))
        while world.files.is_hanging.is_set():
            world.commit()
            time.sleep(EVERY)
    world.sells()
    world.sells()


def pool_full(world: RealWorld) -> None:
    """Something else holds the only thread for five ticks, while 25 commits are made."""
    world.start()
    world.sells()
    scheduler = world.wait_until_idle()
    let_go = threading.Event()
    with world.fault("the pool is full"):
        scheduler.add_job(lambda: let_go.wait(PATIENCE), id="something else")
        for _ in range(25):
            world.run(world.history.tick / 5)
            world.commit()
        let_go.set()
    world.sells()
    world.sells()


REAL: dict[str, Callable[[RealWorld], None]] = {
    "the replicator hangs for 5 s": hangs,
    "the pool is full": pool_full,
    "the clock is set back an hour": lambda world: clock_set(world, hours=-1),
    "the clock is set forward an hour": lambda world: clock_set(world, hours=1),
    "summer time begins": lambda world: summer_time(world, at=SPRING),
    "summer time ends": lambda world: summer_time(world, at=AUTUMN),
    "the machine is suspended": suspend,
    "the job is removed": job_removed,
    "the scheduler is dead": scheduler_dead,
}


def run_here(name: str) -> History:
    with tempfile.TemporaryDirectory() as folder:
        world = RealWorld(name, Path(folder))
        REAL[name](world)
        return world.end()


def run_apart(names: Iterable[str], done: Callable[[str], None] = lambda name: None) -> dict[str, History]:
    """Each in a process of its own, a few at the same time."""

    def one(name: str) -> tuple[str, History]:
        history = in_process(name)
        done(name)
        return name, history

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(pool.map(one, names))


def in_process(name: str) -> History:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "history"
        command = [sys.executable, "-m", "tests.torture.schedules_real", name, str(file)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        if ended.returncode:
            raise RuntimeError(f"{name}: {ended.stderr[-2000:]}")
        return msgspec.msgpack.decode(file.read_bytes(), type=History)


def main(name: str, file: str) -> None:
    Path(file).write_bytes(msgspec.msgpack.encode(run_here(name)))


if __name__ == "__main__":
    main(*sys.argv[1:])
