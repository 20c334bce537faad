"""Threads that share a group commit when the disk fails in the middle of it: each is told, none waits for ever. Part of block C."""

import errno
import threading
import time
from contextlib import suppress

from shop.store import OutcomeUnknown, Store, StoreFull, StoreReadOnly
from tests.simdisk import SimDisk
from tests.storekit import PATH, contents, create, put
from tests.torture.faults import EVERYTHING, ONCE, Fault, FaultyDisk
from tests.torture.ledger import reopen
from tests.torture.tally import Tally, progress

THREADS, EACH = 8, 6
ERRORS = (errno.EIO, errno.ENOSPC)
SECONDS_MAX = 30.0
SYNC_SECONDS = 0.0005


def run(faults: int) -> Tally:
    """One after the other: the first operation of the work that fails, the second, up to *faults*."""
    tally = Tally()
    largest = 0
    for at in range(1, faults + 1):
        progress(f"C: threads in groups, operation {at}")
        for error in ERRORS:
            for how_long in (ONCE, EVERYTHING):
                largest = max(largest, _one(Fault(at, error, how_long, is_short=at % 2 == 0), tally))
    if largest < THREADS // 2:
        tally.violations.append(f"threads: no group had more than {largest} commits")
    return tally


class SlowDisk(FaultyDisk):
    """Its fsyncs take long enough for the other threads to queue behind the one that leads."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault, is_armed=False)
        self.largest_group = 0

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        self.largest_group = max(self.largest_group, bytes(data).count(b'{"crc":"'))
        super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        time.sleep(SYNC_SECONDS)
        super().sync(fd)


class _Told:
    """What the threads were told of their commits."""

    def __init__(self) -> None:
        self.kept: set[str] = set()
        self.refused: set[str] = set()
        self.unknown: set[str] = set()
        self.surprises: list[str] = []

    def commit(self, store: Store, id: str) -> None:
        try:
            put(store, id)
        except OutcomeUnknown:
            self.unknown.add(id)
        except (StoreFull, StoreReadOnly):
            self.refused.add(id)
        except BaseException as error:
            self.surprises.append(f"{type(error).__name__}: {error}")
        else:
            self.kept.add(id)


def _one(fault: Fault, tally: Tally) -> int:
    """How many commits the largest group had."""
    disk = SlowDisk(fault)
    store = create(PATH, disk)
    told = _Told()
    start = threading.Barrier(THREADS)
    disk.arm()

    def work(name: int) -> None:
        start.wait()
        for number in range(EACH):
            told.commit(store, f"{name}-{number}")
            if number == EACH // 2:
                with suppress(OSError):
                    store.checkpoint()

    threads = [threading.Thread(target=work, args=(name,), daemon=True) for name in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS_MAX)
    tally.points += 1
    tally.states += 1
    for why in _why_broken(store, disk, told, sum(thread.is_alive() for thread in threads)):
        tally.violations.append(f"threads, {fault}, a {disk.kind}: {why}")
    return disk.largest_group


def _why_broken(store: Store, disk: FaultyDisk, told: _Told, waiting: int) -> list[str]:
    if waiting:
        return [f"{waiting} threads wait for ever"]
    found = set(contents(reopen(SimDisk(disk.files())))["things"])
    why = list(told.surprises)
    if told.kept - found:
        why.append(f"{sorted(told.kept - found)} were acknowledged and are gone")
    if found & told.refused:
        why.append(f"{sorted(found & told.refused)} were refused and are there")
    if disk.has_sync_failed != store.needs_restart and not told.unknown:
        why.append(f"an fsync failed: {disk.has_sync_failed}; a restart is needed: {store.needs_restart}")
    if set(contents(store)["things"]) != told.kept:
        why.append("readers see something else than was acknowledged")
    return why
