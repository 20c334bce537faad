"""What replication costs the primary, how late the replica is, and how fast it catches up. The pair, link and schedule of the shop."""

import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.harness import Result, Row, in_turn, percentile
from bench.store_rows import SCHEMA, Thing, commit, folder
from shop.clock import SystemClock
from shop.replication.embedded import EmbeddedReplication
from shop.replication.pair import Pair, open_pair
from shop.replication.schedule import Schedule
from shop.store import OS_FILES, Files, Store, create_store

RECORDS = 1000
DELAY_SECONDS = 0.2
COST_SECONDS = 10.0  # of each turn: long enough for what crosses after the delay to be in it
LATENESS_SECONDS = 10.0
LATENESS_PER_S = 1000
OUTAGE_COMMITS = 60_000
BACKLOG_COMMITS = 100_000
BACKLOG_WRITERS = 16  # so that it does not take a minute to make one
OUTAGE_SECONDS_MAX = 3600.0


@dataclass
class Sides:
    """A pair of stores with the shop's replication between them."""

    pair: Pair
    replication: EmbeddedReplication
    schedule: Schedule


class TimedFiles(Files):
    """The disk, and how long each fsync of it takes: without that a lateness says nothing about the program."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def sync(self, fd: int) -> None:
        started = time.perf_counter()
        super().sync(fd)
        self.seconds.append(time.perf_counter() - started)


@contextmanager
def sides(where: Path, delay_seconds: float, files: Files = OS_FILES) -> Iterator[Sides]:
    clock = SystemClock()
    pair = open_pair(where, clock, schema=SCHEMA, indexes=(), files=files)
    fill(pair.primary)
    replication = EmbeddedReplication(pair, clock=clock, delay_seconds=delay_seconds, currency="EUR")
    found = Sides(pair, replication, Schedule(replication, clock))
    try:
        yield found
    finally:
        found.schedule.stop()
        pair.close()


def fill(store: Store) -> None:
    with store.update() as unit:
        for number in range(RECORDS):
            unit.put("things", f"k{number}", Thing(f"k{number}", f"thing {number}", number))


def commits_for(store: Store, seconds: float) -> float:
    """Commits a second of one writer."""
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        for _ in range(50):
            commit(store, f"k{count % RECORDS}", count)
            count += 1
    return count / (time.perf_counter() - started)


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError("the replica did not catch up")
        time.sleep(0.01)


def replication_cost() -> Result:
    with folder() as where:
        (where / "alone").mkdir()
        (where / "pair").mkdir()
        alone = create_store(where / "alone" / "db.json", SCHEMA)
        fill(alone)
        alone.start()
        with sides(where / "pair", DELAY_SECONDS) as both:
            both.pair.start()
            both.schedule.start()

            def ours() -> float:
                rate = commits_for(both.pair.primary, COST_SECONDS)
                wait_until(lambda: both.pair.replica.position == both.pair.primary.position)
                return rate

            ratio, on, off = in_turn(ours, lambda: commits_for(alone, COST_SECONDS), rounds=3)
        alone.close()
    details = {"on_per_s": on, "off_per_s": off}
    what = "1 writer with replication on over off"
    return Result("replication_cost", ratio, what, at_least=0.85, details=details)


def lateness_p99_ms() -> Result:
    disk = TimedFiles()
    with folder() as where, sides(where, DELAY_SECONDS, disk) as both:
        committed: dict[int, float] = {}
        applied: list[tuple[int, float]] = []
        both.pair.primary.on_commit(lambda lsn: committed.update({lsn: both.pair.primary.newest_monotonic}))
        both.pair.replica.on_commit(lambda lsn: applied.append((lsn, time.monotonic())))
        both.pair.start()
        both.schedule.start()
        wait_until(lambda: both.pair.replica.position == both.pair.primary.position)
        for record in (committed, applied, disk.seconds):
            record.clear()
        started = time.monotonic()
        for number in range(int(LATENESS_SECONDS * LATENESS_PER_S)):
            time.sleep(max(0.0, started + number / LATENESS_PER_S - time.monotonic()))
            commit(both.pair.primary, f"k{number % RECORDS}", number)
        rate = LATENESS_SECONDS * LATENESS_PER_S / (time.monotonic() - started)
        wait_until(lambda: both.pair.replica.position == both.pair.primary.position)
        lateness = list(lateness_of_each(committed, applied))
    details = {
        "commits_per_s": rate,
        "median_ms": statistics.median(lateness) * 1e3,
        "max_ms": max(lateness) * 1e3,
        "earliest_ms": min(lateness) * 1e3,
        "fsync_median_ms": statistics.median(disk.seconds) * 1e3,
        "fsync_p99_ms": percentile(disk.seconds, 99) * 1e3,
    }
    what = "applied minus committed minus delay, at 1,000 commits/s"
    return Result("lateness_p99_ms", percentile(lateness, 99) * 1e3, what, at_most=50, details=details)


def lateness_of_each(committed: dict[int, float], applied: list[tuple[int, float]]) -> Iterator[float]:
    """Of each commit: the replica applies them in groups and tells the last of each."""
    groups = iter(applied)
    last, moment = next(groups)
    for lsn in sorted(committed):
        while lsn > last:
            last, moment = next(groups)
        yield moment - committed[lsn] - DELAY_SECONDS


def drain_per_s() -> Result:
    with folder() as where, sides(where, 0.0) as both:
        primary, replica = both.pair.primary, both.pair.replica

        def catch_up() -> None:
            while replica.position.lsn < primary.position.lsn:
                both.replication.sync_once(time.monotonic())

        catch_up()
        rounds = []
        for _ in range(4):
            threading.Event().wait(0.1)
            started = time.perf_counter()
            for number in range(OUTAGE_COMMITS // 4):
                commit(primary, f"k{number % RECORDS}", number)
            written = OUTAGE_COMMITS // 4 / (time.perf_counter() - started)
            behind = primary.position.lsn - replica.position.lsn
            started = time.perf_counter()
            catch_up()
            rounds.append((behind / (time.perf_counter() - started), written))
    rounds = rounds[1:]
    ratio = statistics.median(drained / written for drained, written in rounds)
    details = {
        "drained_per_s": statistics.median(drained for drained, _ in rounds),
        "commits_per_s": statistics.median(written for _, written in rounds),
    }
    what = "commits applied after an outage over commits of 1 writer"
    return Result("drain_per_s", ratio, what, at_least=15, details=details)


def backlog_100k_s() -> Result:
    """From the moment at which the first commit has crossed the mended cable until the last is applied, by the shop's schedule."""
    with folder() as where, sides(where, DELAY_SECONDS) as both:
        both.pair.start()
        both.schedule.start()
        wait_until(lambda: both.pair.replica.position == both.pair.primary.position)
        both.replication.laboratory.cut(OUTAGE_SECONDS_MAX)
        commit_with_threads(both.pair.primary, BACKLOG_COMMITS)
        size, before = both.pair.primary.journal_bytes, resident_bytes()
        most, is_over = [before], threading.Event()
        watcher = threading.Thread(target=watch_memory, args=(most, is_over))
        watcher.start()
        both.replication.laboratory.mend()
        started = time.monotonic() + DELAY_SECONDS
        wait_until(lambda: both.pair.replica.position == both.pair.primary.position)
        took = time.monotonic() - started
        is_over.set()
        watcher.join()
    details = {"backlog_mb": size / 1e6, "memory_mb": (most[0] - before) / 1e6}
    return Result("backlog_100k_s", took, "a backlog of 100,000 commits, applied", at_most=5, details=details)


def commit_with_threads(store: Store, count: int) -> None:
    def work(first: int) -> None:
        for number in range(first, count, BACKLOG_WRITERS):
            commit(store, f"k{number % RECORDS}", number)

    writers = [threading.Thread(target=work, args=(first,)) for first in range(BACKLOG_WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()


def watch_memory(most: list[int], is_over: threading.Event) -> None:
    """The highest of all looks, into *most*."""
    while not is_over.wait(0.01):
        most[0] = max(most[0], resident_bytes())


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


ROWS = [
    Row("lateness_p99_ms", lateness_p99_ms),
    Row("drain_per_s", drain_per_s),
    Row("backlog_100k_s", backlog_100k_s),
    Row("replication_cost", replication_cost),
]
