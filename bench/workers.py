"""Two workers over one: the catalog of `make cluster`, asked for by a generator that costs little.

One run, one shop, one database. For "one" the second worker is stopped with a signal before anybody connects, for "two" it
goes on; the turns alternate. The generator is one thread that sends a request made beforehand and reads no more of the reply
than its length.

**As they run** (`as_they_run`), two do more than double. One worker under eight clients is held back by itself: its threads hand
the interpreter's lock to each other, and with a core free each handover wakes a thread on the other core. A page then costs
0.9 ms of CPU instead of 0.4; a second worker takes the free core away, and with it the cause. So for the row each worker is **held
on a core of its own** (`held`), the first one also when it is alone.

What a second worker adds depends on the room that is left for it. With w, d and g milliseconds of CPU a page for worker,
database and generator, c cores serve at most c / (w + d + g) pages a millisecond, however many workers there are; one worker
serves 1 / w (`ceiling` is the one over the other). So that the row tells of the workers and not of the cores, it is measured
with room: each worker has a quota of a quarter of a core, as a container would give it, and is stopped while it has used more
(`throttle.py`).
"""

import os
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

from bench.harness import Result, Row
from bench.throttle import seconds_used
from shop.lock import read_note

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = 8  # of each worker: what a page costs depends on how many are served at once
REQUESTS_EACH = 50  # then a client comes anew, so that the two share them out again
SECONDS = 1.5
ROUNDS = 5
START_SECONDS_MAX = 60
QUOTA = 0.25  # of a core


@contextmanager
def a_cluster() -> Iterator[tuple[str, int]]:
    """The address and the supervisor's process id; the pair streams without a delay."""
    folder = Path(tempfile.mkdtemp(prefix="antipode-bench-", dir="/tmp"))
    folder.chmod(0o711)  # its instance is below, and closes itself
    environment = {**os.environ, "PORT": "0", "SHOP_INSTANCE": str(folder / "instance"), "SHOP_REPLICATION_DELAY": "0"}
    command = [sys.executable, "-m", "shop.cluster", "--workers", "2"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        yield _address(folder / "instance", process), process.pid
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def measure() -> Result:
    """The row `workers_2_vs_1`."""
    with a_cluster() as (address, supervisor):
        port = int(address.rsplit(":", 1)[1])
        workers = _await_workers(supervisor)
        free = _compare(supervisor, workers, port)
        for worker, core in zip(workers, _a_core_each(), strict=True):
            _hold(worker, core)
        held = _compare(supervisor, workers, port)
        with _quota(workers[0]):  # one throttle a worker, so that their turns are not in step
            quota = _compare(supervisor, workers, port, second=lambda: _quota(workers[1]))
        if _workers(supervisor) != workers:
            raise RuntimeError("a worker died meanwhile, and another was measured")
    compared = {"": quota, "held_": held, "as_they_run_": free}
    details = {f"{name}{field}": value for name, one in compared.items() for field, value in one._asdict().items()}
    what = "pages a second of two workers over one, each with a quarter of a core of its own"
    return Result("workers_2_vs_1", quota.ratio, what, at_least=1.6, details={**details, "ceiling": held.ceiling})


class _Phase(NamedTuple):
    """What one or two workers did, in all rounds."""

    pages: float
    worker_ms: float  # of CPU a page
    database_ms: float
    generator_ms: float


class _Compared(NamedTuple):
    ratio: float
    one: float  # pages a second
    two: float
    one_worker_ms: float  # of CPU a page
    two_worker_ms: float
    database_ms: float
    generator_ms: float

    @property
    def ceiling(self) -> float:
        cores = len(os.sched_getaffinity(0))
        return min(2.0, cores * self.one_worker_ms / (self.two_worker_ms + self.database_ms + self.generator_ms))


def _compare(
    supervisor: int,
    workers: list[int],
    port: int,
    *,
    second: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> _Compared:
    """*second*: what holds the second worker back while both serve."""
    load(port, 2 * CLIENTS)  # warms up
    ones, twos = [], []
    for _ in range(ROUNDS):
        with _stopped(workers[1]):
            ones.append(_phase(supervisor, workers, port, CLIENTS))
        with second():
            twos.append(_phase(supervisor, workers, port, 2 * CLIENTS))

    def middle(phases: list[_Phase], field: str) -> float:
        return float(statistics.median(getattr(phase, field) for phase in phases))

    return _Compared(
        ratio=statistics.median(two.pages / one.pages for one, two in zip(ones, twos, strict=True)),
        one=middle(ones, "pages"),
        two=middle(twos, "pages"),
        one_worker_ms=middle(ones, "worker_ms"),
        two_worker_ms=middle(twos, "worker_ms"),
        database_ms=middle(twos, "database_ms"),
        generator_ms=middle(twos, "generator_ms"),
    )


def _phase(supervisor: int, workers: list[int], port: int, clients: int) -> _Phase:
    before = _cost_at(supervisor, workers)
    pages_a_second, generated = load(port, clients)
    by_workers, by_databases = (now - then for now, then in zip(_cost_at(supervisor, workers), before, strict=True))
    thousands = pages_a_second * SECONDS / 1000
    return _Phase(pages_a_second, by_workers / thousands, by_databases / thousands, generated / thousands)


def _a_core_each() -> list[int]:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise RuntimeError("two workers need two cores")
    return cores[:2]


def _hold(pid: int, core: int) -> None:
    """Every thread of *pid* on *core*, and those that it will start."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def _quota(pid: int) -> Iterator[None]:
    """Inside, *pid* is stopped whenever it has had more than its share of a core."""
    throttle = subprocess.Popen([sys.executable, "-S", "-m", "bench.throttle", str(pid), str(QUOTA)], cwd=ROOT)
    time.sleep(0.3)  # until it holds
    try:
        yield
    finally:
        throttle.kill()
        throttle.wait()
        os.kill(pid, signal.SIGCONT)


def load(port: int, clients: int) -> tuple[float, float]:
    """Pages a second, and the seconds of CPU that asking for them took."""
    generator = _Generator(port, clients)
    started, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - started < SECONDS:
        generator.turn()
    seconds = time.perf_counter() - started
    generator.close()
    return generator.pages / seconds, time.process_time() - cpu


class _Generator:
    def __init__(self, port: int, clients: int) -> None:
        self.pages = 0
        self._port = port
        self._request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % port
        self._poll = select.epoll()
        self._clients: dict[int, list[int]] = {}  # file descriptor: bytes left of the reply, requests made
        self._sockets: dict[int, socket.socket] = {}
        for _ in range(clients):
            self._connect()

    def turn(self) -> None:
        for fd, _ in self._poll.poll(1):
            client, connection = self._clients[fd], self._sockets[fd]
            data = connection.recv(262_144)
            if not client[0]:
                client[0] = _length(data)
            client[0] -= len(data)
            if client[0]:
                continue
            self.pages += 1
            client[1] += 1
            if client[1] < REQUESTS_EACH:
                connection.sendall(self._request)
            else:
                self._leave(fd)
                self._connect()

    def close(self) -> None:
        for fd in list(self._sockets):
            self._leave(fd)
        self._poll.close()

    def _connect(self) -> None:
        connection = socket.create_connection(("127.0.0.1", self._port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(self._request)
        self._sockets[connection.fileno()] = connection
        self._clients[connection.fileno()] = [0, 0]
        self._poll.register(connection.fileno(), select.EPOLLIN)

    def _leave(self, fd: int) -> None:
        self._poll.unregister(fd)
        self._sockets.pop(fd).close()
        del self._clients[fd]


def _length(reply: bytes) -> int:
    """Of head and body together. Raises `RuntimeError` when it is no page."""
    head = reply.find(b"\r\n\r\n") + 4
    at = reply.find(b"Content-Length: ", 0, head) + 16
    if not reply.startswith(b"HTTP/1.1 200 ") or head < 4 or at < 16:
        raise RuntimeError(f"no page: {reply[:200]!r}")
    return head + int(reply[at : reply.index(b"\r", at)])


def _address(instance: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        note = read_note(instance)
        with suppress(OSError):
            if note and note.address and urlopen(f"{note.address}/readyz", timeout=5).status == 200:
                return note.address
        time.sleep(0.1)
    raise LookupError("make cluster did not start")


def _await_workers(supervisor: int) -> list[int]:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if len(_workers(supervisor)) == 2:
            time.sleep(3)  # until the second serves, and the first verification is over
            return _workers(supervisor)
        time.sleep(0.1)
    raise LookupError("there are not two workers")


def _workers(supervisor: int) -> list[int]:
    return [pid for pid in _children(supervisor) if b"--worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()  # state, parent, …
            if int(fields[1]) == parent:
                found.append(int(entry.name))
    return sorted(found)


def _cost_at(supervisor: int, workers: list[int]) -> tuple[float, float]:
    """Seconds of CPU used so far by the workers, and by the databases with all their processes."""
    databases = [pid for pid in _children(supervisor) if pid not in workers]
    below = [child for database in databases for child in _children(database)]
    return _seconds(workers), _seconds([*databases, *below])


def _seconds(pids: list[int]) -> float:
    total = 0.0
    for pid in pids:
        with suppress(OSError):
            total += seconds_used(pid)
    return total


ROWS = [Row("workers_2_vs_1", measure)]
