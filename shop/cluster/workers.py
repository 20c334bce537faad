"""The shop's workers: processes of `app.py` on one listening socket, started, watched and ended.

One that dies is started again, after a delay that doubles with each death in a row. The first one alone makes the first start
of a shop and tells people where it is; the others follow when it serves.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec
import structlog

import shop
from shop.cluster.seat import READY, Order
from shop.errors import SettingError

FIRST_START_SECONDS_MAX = 120
DRAIN_SECONDS_MAX = 70  # a worker ends itself before that
RESTART_SECONDS_MIN = 0.2
RESTART_SECONDS_MAX = 30.0
STEADY_SECONDS = 60.0  # who lived so long begins again with the shortest delay

CONNECTIONS_EACH = 24  # to one server: eight threads that read and eight that write, the watching, and some room

APP = Path(shop.__file__).resolve().parents[1] / "app.py"

_log = structlog.get_logger("workers")


class Workers:
    """All of them. One thread."""

    def __init__(
        self,
        count: int,
        *,
        listener: socket.socket,
        token: str,
        environment: Mapping[str, str],
        banner: list[tuple[str, str]],
    ) -> None:
        self._listener = listener
        self._environment = environment
        orders = [Order(number, listener.fileno(), token) for number in range(1, count + 1)]
        orders[0] = msgspec.structs.replace(orders[0], banner=banner)
        self._workers = [_Worker(order, self._start) for order in orders]

    def start(self) -> None:
        """Start the first, and the others when it serves. Raises `SettingError` when it does not come to that."""
        first, *others = self._workers
        first.start()
        first.await_ready(FIRST_START_SECONDS_MAX)
        for worker in others:
            worker.start()

    def tend(self) -> None:
        """Start again who died, when it is time. To be called a few times a second."""
        for worker in self._workers:
            worker.tend(time.monotonic())

    def stop(self, *, is_hurried: Callable[[], bool]) -> None:
        """Let all answer what they were asked, and end them; a second signal ends the wait."""
        for worker in self._workers:
            worker.send(signal.SIGTERM)
        deadline = time.monotonic() + DRAIN_SECONDS_MAX
        while any(worker.is_running for worker in self._workers) and time.monotonic() < deadline and not is_hurried():
            time.sleep(0.02)
        for worker in self._workers:
            worker.end()

    def pids(self) -> list[int]:
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def _start(self, order: Order) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair()
        with ExitStack() as undo, theirs:
            undo.callback(ours.close)
            process = subprocess.Popen(  # noqa: S603 -- our own program
                [sys.executable, str(APP), "--worker", str(theirs.fileno())],
                pass_fds=(theirs.fileno(), self._listener.fileno()),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is the supervisor's to pass on
                cwd=APP.parent,
                env=dict(self._environment),
            )
            undo.pop_all()
        with suppress(OSError):  # dead already: `tend` will see it
            ours.sendall(msgspec.json.encode(order) + b"\n")
        return process, ours


class _Worker:
    """One of them, in all its lives."""

    def __init__(self, order: Order, start: Callable[[Order], tuple[subprocess.Popen[bytes], socket.socket]]) -> None:
        self._order = order
        self._start = start
        self._process: subprocess.Popen[bytes] | None = None
        self._tie: socket.socket | None = None
        self._started = 0.0
        self._start_again_at: float | None = None
        self._delay = RESTART_SECONDS_MIN

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self.is_running else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        self._process, self._tie = self._start(self._order)
        self._order = msgspec.structs.replace(self._order, banner=None)  # told once
        self._started = time.monotonic()
        self._start_again_at = None

    def await_ready(self, seconds_max: float) -> None:
        if self._tie is None or self._process is None:
            return
        self._tie.settimeout(seconds_max)
        try:
            said = self._tie.recv(len(READY))
        except OSError:
            said = b""
        if said != READY:
            self.end()
            raise SettingError("The shop did not start, see above.")

    def tend(self, now: float) -> None:
        if self.is_running:
            return
        if self._start_again_at is None:
            self._bury(now)
        elif now >= self._start_again_at:
            self.start()

    def send(self, number: signal.Signals) -> None:
        if self._process is not None and self.is_running:
            self._process.send_signal(number)

    def end(self) -> None:
        """At once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._tie is not None:
            self._tie.close()

    def _bury(self, now: float) -> None:
        code = self._process.returncode if self._process is not None else None
        if self._tie is not None:
            self._tie.close()
        self._delay = RESTART_SECONDS_MIN if now - self._started > STEADY_SECONDS else self._delay
        self._start_again_at = now + self._delay
        _log.error("worker died", worker=self._order.number, exit_code=code, again_in_seconds=self._delay)
        self._delay = min(RESTART_SECONDS_MAX, 2 * self._delay)


def count_for_this_machine() -> int:
    """One for each processor we may use, and two at the least: what one worker does, another must see."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(2, cores)
