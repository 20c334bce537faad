"""What a commit costs: against the bare disk, SQLite, TinyDB and lowdb, and against itself as the store grows."""

import gc
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench.harness import Result, Row, in_turn, per_second, percentile, seconds_of_each
from shop.store import Store, create_store
from shop.store.state import Position, build_state

ROOT = Path(__file__).resolve().parents[1]
TEXT = "a sentence that describes the thing for those who might want to buy it, and says what it is made of"


class Thing(msgspec.Struct, frozen=True):
    """About the size of a small order."""

    id: str
    name: str
    number: int
    text: str = TEXT


SCHEMA: dict[str, type[msgspec.Struct]] = {"things": Thing}


@contextmanager
def folder() -> Iterator[Path]:
    """A folder on the project's own disk: /tmp may be memory, where an fsync costs nothing."""
    (ROOT / "build").mkdir(exist_ok=True)
    path = Path(tempfile.mkdtemp(dir=ROOT / "build"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def a_store(where: Path, records: int) -> Store:
    things = {f"k{number}": Thing(f"k{number}", f"thing {number}", number) for number in range(records)}
    state = build_state(Position(1, records, "0" * 16), {"things": things}, {})
    return create_store(where / "db.json", SCHEMA, snapshot=state)


def commit(store: Store, id: str, number: int) -> None:
    with store.update() as unit:
        unit.put("things", id, Thing(id, "changed", number))


def commits(store: Store, count: int, *, among: int = 1000) -> float:
    def work() -> None:
        for number in range(count):
            commit(store, f"k{number % among}", number)

    return per_second(count, work)


def commit_1_vs_raw() -> Result:
    with folder() as where:
        store = a_store(where, 1000)
        commit(store, "k1", 1)
        line = store.lines(store.position.lsn - 1)
        fd = os.open(where / "raw", os.O_CREAT | os.O_WRONLY)

        def raw() -> float:
            def work() -> None:
                for _ in range(2000):
                    os.write(fd, line)
                    os.fdatasync(fd)

            return per_second(2000, work)

        ratio, ours, theirs = in_turn(lambda: commits(store, 2000), raw, rounds=7)
        os.close(fd)
        store.close()
    details = {"commits_per_s": ours, "raw_per_s": theirs}
    return Result("commit_1_vs_raw", ratio, "1 writer over append+fdatasync", at_least=0.85, details=details)


def in_threads(work: Callable[[int], None], threads: int) -> Callable[[], None]:
    def run() -> None:
        started = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()

    return run


def commit_16_vs_sqlite() -> Result:
    each = 300
    with folder() as where:
        store = a_store(where, 1000)
        path = where / "sqlite.db"
        connection = sqlite3.connect(path)
        connection.execute("pragma journal_mode=wal")
        connection.execute("create table things (id text primary key, value text)")
        connection.commit()
        connection.close()

        def theirs(thread: int) -> None:
            connection = sqlite3.connect(path, timeout=60, isolation_level=None)
            connection.execute("pragma synchronous=full")
            for number in range(each):
                values = (f"k{thread}-{number % 60}", f'{{"name":"changed","number":{number},"text":"{TEXT}"}}')
                connection.execute("insert or replace into things values (?, ?)", values)
            connection.close()

        ratio, mine, their = in_turn(
            lambda: commits_of_16(store, each), lambda: per_second(16 * each, in_threads(theirs, 16))
        )
        group = store.commits_made / store.syncs
        store.close()
    details = {"commits_per_s": mine, "sqlite_per_s": their, "commits_per_fsync": group}
    return Result("commit_16_vs_sqlite", ratio, "16 writers over SQLite WAL FULL", at_least=3.5, details=details)


def commits_of_16(store: Store, each: int) -> float:
    def work(thread: int) -> None:
        for number in range(each):
            commit(store, f"k{thread}-{number % 60}", number)

    return per_second(16 * each, in_threads(work, 16))


def disk_limit(where: Path, store: Store) -> Callable[[], float]:
    """The most that any single writer could commit on this disk: a line and its fdatasync, over zeros that are there, no program around."""
    line = store.lines(store.position.lsn - 1)
    count = 1000
    fd = os.open(where / "limit", os.O_CREAT | os.O_RDWR)
    os.pwrite(fd, bytes(len(line) * count), 0)
    os.fsync(fd)

    def work() -> None:
        for number in range(count):
            os.pwrite(fd, line, number * len(line))
            os.fdatasync(fd)

    return lambda: per_second(count, work)


def after_a_sync(way: Callable[[], float]) -> float:
    """What *way* measures on a disk that owes nothing: a peer that leaves its writes to the system leaves them to whoever comes next."""
    os.sync()
    return way()


def over_a_peer(key: str, what: str, goal: float, peers: dict[str, Callable[[], float]]) -> Result:
    """One writer of ours over the fastest of *peers* (ways to use one peer, by name); beside it 16 writers, and what the disk allows."""
    rounds = 5
    with folder() as where:
        store = a_store(where, 1000)
        commit(store, "k1", 1)
        ways: dict[str, Callable[[], float]] = {
            "commits_per_s": lambda: commits(store, 1000),
            "with_16_writers_per_s": lambda: commits_of_16(store, 100),
            "disk_limit_per_s": disk_limit(where, store),
            **peers,
        }
        turns = [{name: after_a_sync(way) for name, way in ways.items()} for _ in range(rounds + 1)][1:]
        store.close()
    medians = {name: statistics.median(turn[name] for turn in turns) for name in ways}
    fastest = max(peers, key=lambda name: medians[name])
    ratios = {
        name: statistics.median(turn[name] / turn[fastest] for turn in turns)
        for name in ("commits_per_s", "with_16_writers_per_s", "disk_limit_per_s")
    }
    details = {
        "limit_by_disk": ratios["disk_limit_per_s"],
        "with_16_writers": ratios["with_16_writers_per_s"],
        **medians,
    }
    return Result(key, ratios["commits_per_s"], what, at_least=goal, details=details)


def commit_vs_tinydb_1k() -> Result:
    from tinydb import Query, TinyDB

    with folder() as where:
        table = TinyDB(where / "tiny.json")
        table.insert_multiple(
            {"id": f"k{number}", "name": "thing", "number": number, "text": TEXT} for number in range(1000)
        )

        def theirs() -> float:
            def work() -> None:
                for number in range(60):
                    table.update({"number": number}, Query().id == f"k{number}")

            return per_second(60, work)

        result = over_a_peer("commit_vs_tinydb_1k", "over TinyDB, not durable", 20, {"tinydb_per_s": theirs})
        table.close()
    return result


LOWDB = """
import {JSONFile, JSONFileSync} from 'lowdb/node'; import {Low, LowSync} from 'lowdb';
const [path, text, way] = process.argv.slice(2), count = 400;
const db = way === 'sync' ? new LowSync(new JSONFileSync(path), {things: {}}) : new Low(new JSONFile(path), {things: {}});
for (let i = 0; i < 1000; i++) db.data.things['k' + i] = {id: 'k' + i, name: 'thing', number: i, text};
await db.write();
const started = process.hrtime.bigint();
if (way === 'sync') for (let i = 0; i < count; i++) { db.data.things['k' + i].number = i + 1; db.write(); }
else for (let i = 0; i < count; i++) { db.data.things['k' + i].number = i + 1; await db.write(); }
console.log(count / (Number(process.hrtime.bigint() - started) / 1e9));
"""


def commit_vs_lowdb_1k() -> Result:
    if not shutil.which("npm"):
        raise LookupError("Node and npm are needed for lowdb")
    home = ROOT / "build" / "lowdb"
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "node_modules" / "lowdb").exists():
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "lowdb@7.0.1"], cwd=home, check=True)
    (home / "bench.mjs").write_text(LOWDB)

    def theirs(way: str) -> float:
        output = subprocess.run(
            ["node", "bench.mjs", str(home / "db.json"), TEXT, way],
            cwd=home,
            check=True,
            capture_output=True,
            text=True,
        )
        return float(output.stdout)

    ways = {"lowdb_sync_per_s": lambda: theirs("sync"), "lowdb_async_per_s": lambda: theirs("async")}
    return over_a_peer("commit_vs_lowdb_1k", "over lowdb, not durable", 10, ways)


def commit_growth() -> Result:
    sizes = (1_000, 10_000, 100_000, 1_000_000)
    with folder() as where:
        stores = {}
        for size in sizes:
            (where / str(size)).mkdir()
            stores[size] = a_store(where / str(size), size)
        times: dict[int, list[float]] = {size: [] for size in sizes}
        for turn in range(12):
            for size, store in stores.items():
                spread = size // 500

                def work(store: Store = store, spread: int = spread, turn: int = turn) -> None:
                    work.number += 1  # type: ignore[attr-defined]
                    commit(store, f"k{(work.number * spread) % (spread * 500)}", turn)  # type: ignore[attr-defined]

                work.number = 0  # type: ignore[attr-defined]
                found = seconds_of_each(work, 400)
                if turn:
                    times[size].append(statistics.median(found))
        for store in stores.values():
            store._log.close()
    medians = {size: statistics.median(found) for size, found in times.items()}
    ratio = statistics.median(big / small for big, small in zip(times[1_000_000], times[1_000], strict=True))
    return Result(
        "commit_growth",
        ratio,
        "median commit at 1,000,000 records over 1,000",
        at_most=1.15,
        details={
            "us_at_1k": medians[1_000] * 1e6,
            "us_at_100k": medians[100_000] * 1e6,
            "us_at_1m": medians[1_000_000] * 1e6,
        },
        curve=[(size, medians[size] * 1e6) for size in sizes],
    )


def commit_p99_during_checkpoint() -> Result:
    rounds = []
    lasted = 0.0
    with folder() as where:
        store = a_store(where, 100_000)
        for _ in range(6):
            quiet = seconds_of_each(lambda: commit(store, "k5", 1), 4000)
            done = threading.Event()

            def write(done: threading.Event = done) -> None:
                store.checkpoint()
                done.set()

            started = time.perf_counter()
            thread = threading.Thread(target=write)
            thread.start()
            busy = []
            while not done.is_set():
                busy.extend(seconds_of_each(lambda: commit(store, "k5", 2), 20))
            thread.join()
            lasted = time.perf_counter() - started
            rounds.append((percentile(busy, 99), percentile(quiet, 99)))
        store.close()
    rounds = rounds[1:]
    ratio = statistics.median(busy / quiet for busy, quiet in rounds)
    details = {
        "p99_us": statistics.median(busy for busy, _ in rounds) * 1e6,
        "quiet_p99_us": statistics.median(quiet for _, quiet in rounds) * 1e6,
        "checkpoint_s": lasted,
    }
    what = "p99 beside a checkpoint of 100,000 records"
    return Result("commit_p99_during_checkpoint", ratio, what, at_most=3, details=details)


OPEN = """
import gc, resource, sys, time
from pathlib import Path
from bench.store_rows import SCHEMA
gc.disable()
path = Path(sys.argv[2])
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
if sys.argv[1] == "open":
    from shop.store import open_store
    kept = open_store(path, SCHEMA)
else:
    from shop.store.codec import codec_of
    kept = codec_of(SCHEMA).decode_collections(path.read_bytes())
seconds = time.perf_counter() - started
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
print(seconds, resident())
"""


def _opening(how: str, path: Path) -> tuple[float, float]:
    output = subprocess.run(
        [sys.executable, "-c", OPEN, how, str(path)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    seconds, resident = output.stdout.split()
    return float(seconds), float(resident)


def _openings(rounds: int = 5) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    with folder() as where:
        a_store(where, 1_000_000).close()
        gc.collect()
        path = where / "db.json"
        return [(_opening("open", path), _opening("decode", path)) for _ in range(rounds + 1)][1:]


def open_vs_decode() -> Result:
    pairs = _openings()
    ratio = statistics.median(ours[0] / theirs[0] for ours, theirs in pairs)
    details = {
        "open_s": statistics.median(ours[0] for ours, _ in pairs),
        "decode_s": statistics.median(theirs[0] for _, theirs in pairs),
    }
    return Result(
        "open_vs_decode", ratio, "opening 1,000,000 records over a typed decode", at_most=1.4, details=details
    )


def memory_vs_decode() -> Result:
    pairs = _openings(3)
    ratio = statistics.median(ours[1] / theirs[1] for ours, theirs in pairs)
    details = {
        "store_mb": statistics.median(ours[1] for ours, _ in pairs) / 1e6,
        "decode_mb": statistics.median(theirs[1] for _, theirs in pairs) / 1e6,
    }
    return Result("memory_vs_decode", ratio, "resident memory of 1,000,000 records", at_most=1.25, details=details)


ROWS = [
    Row("commit_1_vs_raw", commit_1_vs_raw),
    Row("commit_16_vs_sqlite", commit_16_vs_sqlite),
    Row("commit_vs_lowdb_1k", commit_vs_lowdb_1k),
    Row("commit_vs_tinydb_1k", commit_vs_tinydb_1k),
    Row("commit_growth", commit_growth),
    Row("commit_p99_during_checkpoint", commit_p99_during_checkpoint),
    Row("open_vs_decode", open_vs_decode),
    Row("memory_vs_decode", memory_vs_decode),
]
