"""Two workers over one: the catalog of `make cluster`, asked for by a generator that costs little.

One run, one shop, one database. For "one" the second worker is stopped with a signal before anybody connects, for "two" it
goes on; the turns alternate. The generator is one thread that sends a request made beforehand and reads no more of the reply
than its length.

What a second worker adds depends on the room that is left for it. With w, d and g milliseconds of CPU a page for worker,
database and generator, c cores serve at most c / (w + d + g) pages a millisecond, however many workers there are: on two
cores that is 2 w / (w + d + g) times what one worker does (`ceiling`, 1.6 when this was written), and `without_quota` is what
is reached of it. So that the row tells of the workers and not of the cores, it is measured with room: each worker has a quota
of a quarter of a core, as a container would give it, and is stopped while it has used more.
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
from shop.lock import read_note

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = 8
REQUESTS_EACH = 50  # then a client comes anew, so that the two share them out again
SECONDS = 1.5
ROUNDS = 5
START_SECONDS_MAX = 60
TICKS = os.sysconf("SC_CLK_TCK")
QUOTA = 0.25  # of a core
THROTTLE = """
import os, pathlib, signal, sys, time
pid, quota = int(sys.argv[1]), float(sys.argv[2])
def used():
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
before, began = used(), time.monotonic()
while True:
    may_run = used() - before < quota * (time.monotonic() - began)
    os.kill(pid, signal.SIGCONT if may_run else signal.SIGSTOP)
    time.sleep(0.005)
"""


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
        with _quota(workers[:1]):  # one throttle a worker, so that their turns are not in step
            quota = _compare(supervisor, workers, port, second=lambda: _quota(workers[1:]))
    details = {
        "one_a_second": quota.one,
        "two_a_second": quota.two,
        "without_quota": free.ratio,
        "without_quota_one_a_second": free.one,
        "without_quota_two_a_second": free.two,
        "ceiling": free.ceiling,
        "worker_ms": free.worker_ms,
        "database_ms": free.database_ms,
        "generator_ms": free.generator_ms,
    }
    what = "pages a second of two workers over one, each with a quarter of a core"
    return Result("workers_2_vs_1", quota.ratio, what, at_least=1.6, details=details)


class _Compared(NamedTuple):
    one: float  # pages a second
    two: float
    ratio: float
    worker_ms: float  # of CPU a page
    database_ms: float
    generator_ms: float

    @property
    def ceiling(self) -> float:
        cores = len(os.sched_getaffinity(0))
        return min(2.0, cores * self.worker_ms / (self.worker_ms + self.database_ms + self.generator_ms))


def _compare(
    supervisor: int,
    workers: list[int],
    port: int,
    *,
    second: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> _Compared:
    """*second*: what holds the second worker back while both serve."""
    load(port)  # warms up
    ones, twos = [], []
    generated = 0.0
    before = _cost_at(supervisor, workers)
    for _ in range(ROUNDS):
        with _stopped(workers[1]):
            one = load(port)
        with second():
            two = load(port)
        ones.append(one[0])
        twos.append(two[0])
        generated += one[1] + two[1]
    by_workers, by_databases = (now - then for now, then in zip(_cost_at(supervisor, workers), before, strict=True))
    pages = (sum(ones) + sum(twos)) * SECONDS / 1000
    ratio = statistics.median(two / one for one, two in zip(ones, twos, strict=True))
    return _Compared(
        statistics.median(ones),
        statistics.median(twos),
        ratio,
        by_workers / pages,
        by_databases / pages,
        generated / pages,
    )


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def _quota(pids: list[int]) -> Iterator[None]:
    """Inside, each of *pids* is stopped whenever it has had more than its share of a core."""
    throttles = [subprocess.Popen([sys.executable, "-S", "-c", THROTTLE, str(pid), str(QUOTA)]) for pid in pids]
    time.sleep(0.3)  # until they hold
    try:
        yield
    finally:
        for throttle in throttles:
            throttle.kill()
            throttle.wait()
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def load(port: int) -> tuple[float, float]:
    """Pages a second, and the seconds of CPU that asking for them took."""
    generator = _Generator(port)
    started, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - started < SECONDS:
        generator.turn()
    seconds = time.perf_counter() - started
    generator.close()
    return generator.pages / seconds, time.process_time() - cpu


class _Generator:
    def __init__(self, port: int) -> None:
        self.pages = 0
        self._port = port
        self._request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % port
        self._poll = select.epoll()
        self._clients: dict[int, list[int]] = {}  # file descriptor: bytes left of the reply, requests made
        self._sockets: dict[int, socket.socket] = {}
        for _ in range(CLIENTS):
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
        found = [pid for pid in _children(supervisor) if b"--worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        if len(found) == 2:
            time.sleep(3)  # until the second serves, and the first verification is over
            return found
        time.sleep(0.1)
    raise LookupError("there are not two workers")


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if _numbers(int(entry.name))[1] == parent:
                found.append(int(entry.name))
    return sorted(found)


def _cost_at(supervisor: int, workers: list[int]) -> tuple[float, float]:
    """Seconds of CPU used so far by the workers, and by the databases with all their processes."""
    databases = [pid for pid in _children(supervisor) if pid not in workers]
    below = [child for database in databases for child in _children(database)]
    return _seconds(workers), _seconds([*databases, *below])


def _seconds(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        with suppress(OSError):
            numbers = _numbers(pid)
            total += numbers[11] + numbers[12]
    return total / TICKS


def _numbers(pid: int) -> list[int]:
    """The fields of /proc/<pid>/stat from the state on, which stands as 0: parent at 1, ticks in user and system mode at 11, 12."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return [0, *map(int, fields[1:15])]


ROWS = [Row("workers_2_vs_1", measure)]
