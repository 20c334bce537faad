"""The 30 fault schedules: what is done to a shop that sells, in each of them. Whether it stood the test is for the checkers to say.

Those on an injected clock are here; the nine in which APScheduler itself is what fails run in real time, each in a process of its own
(`schedules_real.py`). Every schedule begins and ends with a healthy shop, so that every checker has something to look at.
"""

import errno
import itertools
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from shop.replication.pair import EVEN_NAME, ODD_NAME
from shop.replication.replicator import BATCH_BYTES
from shop.store import OS_FILES
from shop.store import store as store_module
from tests.simdisk import Op, SimDisk
from tests.torture.schedules_history import Bound, History
from tests.torture.schedules_world import World

EVERY = 0.21  # seconds between two commits of a shop that sells
BACKLOG_BYTES = 10_000_000
BACKLOG_TEXT = "A long description. " * 600
STEPS_A_SHOW = max(
    1, 2_000_000 // BATCH_BYTES
)  # the replica's own thread shows the file as often, when batches follow each other
MEMORY_BYTES_MOST = (
    8_000_000  # to bring a backlog across: less than the backlog itself; most of it is the last 200 states
)

Schedule = Callable[[str], History]


def sells(world: World, seconds: float = 3.0) -> None:
    """A healthy shop for a while, and the time that its last commit needs."""
    world.run(seconds, every=EVERY)
    world.run(world.history.delay + 2.5)


def recovers(world: World) -> None:
    """Until everything that was wrong is over, and a while longer: from then on the shop must be as healthy as it was before."""
    sells(world)
    sells(world)


def nothing(name: str, *, delay: float = 5.0) -> History:
    world = World(name, delay=delay)
    world.start()
    sells(world, 10.0)
    return world.end()


def burst(name: str) -> History:
    world = World(name)
    world.start()
    world.run(1.0)
    for _ in range(500):
        world.commit()
    sells(world)
    return world.end()


def idle(name: str) -> History:
    world = World(name)
    world.start()
    sells(world)
    world.run(60.0)
    sells(world)
    return world.end()


# ---- the link


def down(name: str, *, seconds: float) -> History:
    world = World(name)
    world.start()
    sells(world)
    world.run(1.0, every=EVERY)  # some are under way when the cable breaks
    with world.fault("the link is down"):
        world.replication.laboratory.cut(seconds)
        world.run(seconds, every=EVERY)
    recovers(world)
    return world.end()


def flapping(name: str) -> History:
    world = World(name, delay=0.2)
    world.start()
    sells(world)
    for _ in range(20):
        with world.fault("the link is down"):
            world.replication.laboratory.cut(0.3)
            world.run(0.3, every=0.05)
        world.run(0.5, every=0.05)
    recovers(world)
    return world.end()


def down_at_start(name: str) -> History:
    world = World(name)
    with world.fault("the link is down"):
        world.start(out_for=8.0)
        world.run(8.0, every=EVERY)
    recovers(world)
    return world.end()


def down_over_restart(name: str) -> History:
    world = World(name)
    world.start()
    sells(world)
    with world.fault("the link is down, and the process is killed meanwhile"):
        world.replication.laboratory.cut(60.0)
        world.run(5.0, every=EVERY)
        world.stop(killed=True)
        world.run(7.0)
        world.start(out_for=48.0)
        with world.still("outage"):
            world.run(47.9, every=EVERY)
        world.run(0.1)
    recovers(world)
    return world.end()


# ---- the replicator


class FullDisk:
    """The replica's journal takes no more bytes, for so many tries or until it is mended."""

    def __init__(self, world: World, tries: float) -> None:
        assert isinstance(world.disk, SimDisk)
        self._disk = world.disk
        self._journal = world.folder / EVEN_NAME.replace(".json", ".journal")
        self.tries = tries
        world.disk.fault = self

    def __call__(self, op: Op, number: int) -> None:
        if op.kind == "write" and self.tries > 0 and op.inode == self._disk.names[self._journal].id:
            self.tries -= 1
            raise OSError(errno.ENOSPC, "No space left on device")


def raises_once(name: str) -> History:
    world = World(name, delay=0.5)
    world.start()
    sells(world)
    with world.fault("the replica cannot be written, once"):
        disk = FullDisk(world, tries=1)
        world.commit()
        while disk.tries:
            world.run(0.02)
        with world.still("failing"):
            world.run(0.2, every=0.1)  # the first try again comes no sooner
    recovers(world)
    return world.end()


def raises_always(name: str) -> History:
    """Until the disk is mended and somebody presses Resume: by then the program itself waits up to 30 s between two tries."""
    world = World(name)
    world.start()
    sells(world)
    with world.fault("the replica cannot be written"):
        disk = FullDisk(world, tries=float("inf"))
        world.run(4.0, every=EVERY)
        with world.still("failing"):
            world.run(90.0, every=1.0)
        disk.tries = 0
        world.replication.resume()
    recovers(world)
    return world.end()


# ---- the replica's file


def deleted(name: str) -> History:
    world = World(name)
    world.start()
    sells(world)
    with world.fault("the replica's file is deleted"):
        assert isinstance(world.disk, SimDisk)
        world.stop()
        world.disk.unlink(world.folder / EVEN_NAME)
        world.refuses_to_start("db_async.json: is missing")
        world.refuses_to_start("shop resync --from db.json")
        world.resync_from_primary()
        world.start()
    recovers(world)
    return world.end()


def damaged(name: str) -> History:
    world = World(name)
    world.start()
    sells(world)
    with world.fault("the replica's file is damaged"):
        world.stop()
        world.spoil(EVEN_NAME, lambda data: data.replace(b'"key-', b'"kex-', 1))
        world.refuses_to_start("db_async.json")
        world.refuses_to_start("shop resync --from db.json")
        world.resync_from_primary()
        world.start()
    recovers(world)
    return world.end()


def ahead(name: str) -> History:
    """The primary's files are put back to older ones: what only the replica has is kept, and the primary goes on without it."""
    world = World(name)
    world.start()
    sells(world)
    world.stop()
    older, kept = world.files_of(ODD_NAME), world.pair.primary.position
    with world.fault("the primary's files are put back"):
        world.start()
        world.run(2.0, every=EVERY)
        world.run(5.0)
        world.stop()
        world.history.given_up += [c.position for c in world.history.committed if c.position.lsn > kept.lsn]
        world.put_files(older)
        world.start()
        with world.still("refused"):
            world.run(5.0, every=EVERY)
        world.resync()
        world.timeline_has_begun()
    recovers(world)
    return world.end()


def other_shop(name: str) -> History:
    other = World("another shop")
    other.start()
    sells(other, 20.0)
    other.stop()
    world = World(name)
    world.start()
    sells(world)
    with world.fault("the replica's file is that of another shop"):
        world.stop()
        world.put_files(other.files_of(EVEN_NAME))
        with world.stranger():
            world.start()
            with world.still("refused"):
                world.run(5.0, every=EVERY)
        world.resync()
    recovers(world)
    return world.end()


# ---- the journal


def truncated(name: str) -> History:
    """The outage lasts until the primary's journal has reached its limit and is cut above the replica."""
    with patch.object(store_module, "JOURNAL_LIMIT_BYTES", 20_000), patch.object(store_module, "CUT_BYTES", 0):
        world = World(name)
        world.start()
        sells(world)
        with world.fault("the journal was cut above the replica"):
            world.replication.laboratory.cut(60.0)
            world.run(60.0, every=EVERY)
            with world.still("snapshot-needed"):
                world.run(10.0, every=EVERY)
            world.resync()
        recovers(world)
        return world.end()


def backlog(name: str) -> History:
    """On real files: what is in memory is what is measured."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(name, folder=Path(folder), files=OS_FILES, look=60.0)
        world.start()
        sells(world)
        with world.fault("the link is down"):
            world.replication.laboratory.cut(600.0)
            world.text, short = BACKLOG_TEXT, world.text
            start = world.now
            while world.pair.primary.journal_bytes < BACKLOG_BYTES:
                world.commit()
                world.clock.advance(0.1)
            world.text = short
            world.run(start + 600.0 - world.now)
        _bring_across(world)
        recovers(world)
        return world.end()


def _bring_across(world: World) -> None:
    """Without anybody looking, and with the memory measured."""
    waiting, size = world.replication.status().lag.commits, world.pair.primary.journal_bytes
    world.clock.advance(world.history.delay + 0.001)
    with patch.object(world, "_moved"), patch.object(world, "look"):
        tracemalloc.start()
        began, held = time.perf_counter(), tracemalloc.get_traced_memory()[0]
        for step in itertools.count():
            if not world.replication.sync_once(world.now).applied:
                break
            if step % STEPS_A_SHOW == 0:
                world.show()
        took, most = time.perf_counter() - began, tracemalloc.get_traced_memory()[1] - held
        tracemalloc.stop()
    world.look()
    world.history.bounds.append(Bound("bytes of memory to bring a backlog across", most, MEMORY_BYTES_MOST))
    world.history.notes.append(
        f"a backlog of {waiting:,} commits and {size / 1e6:.1f} MB was brought across in {took:.1f} s (memory traced),"
        f" with {most / 1e6:.1f} MB of memory"
    )


INJECTED: dict[str, Schedule] = {
    "nothing": nothing,
    "a burst of 500": burst,
    "idle for 60 s": idle,
    "delay 0": lambda name: nothing(name, delay=0.0),
    "delay 0.2 s": lambda name: nothing(name, delay=0.2),
    "delay 2 s": lambda name: nothing(name, delay=2.0),
    "delay 10 s": lambda name: nothing(name, delay=10.0),
    "link down for 0.5 s": lambda name: down(name, seconds=0.5),
    "link down for 5 s": lambda name: down(name, seconds=5.0),
    "link down for 60 s": lambda name: down(name, seconds=60.0),
    "link flapping 20 times": flapping,
    "link down at the start": down_at_start,
    "link down over a restart": down_over_restart,
    "the replicator raises once": raises_once,
    "the replicator raises always": raises_always,
    "the replica is deleted": deleted,
    "the replica is damaged": damaged,
    "the replica is ahead": ahead,
    "the replica is another shop's": other_shop,
    "the journal is cut above the replica": truncated,
    "a backlog of more than 10 MB": backlog,
}
