"""What has to be done by one worker only is done by the leader: the one that holds an advisory lock on the primary.

The lock goes with its connection: a leader that dies, or whose primary does, leads no more, and another one takes over within a second.
While the primary does not answer, the lock is the standby's, so that somebody still tells that it is gone.
"""

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import psycopg
import structlog

from shop.clock import Clock
from shop.errors import ShopError
from shop.replication.postgres.pair import ServerPair
from shop.replication.postgres.servers import Server, Unreachable
from shop.repository.postgres.connection import Connection

LOCK = 0x6C656164
TICK_SECONDS = 0.25
SLOW_SECONDS_MAX = 10.0  # at the end; what is cut short then is done again at the next start
WAKE_SECONDS = 0.05
CANDIDATE_SECONDS = 1.0  # between two tries of a worker that does not lead

_log = structlog.get_logger("replication")


class Chore(NamedTuple):
    """Something to do again and again."""

    name: str
    every_seconds: float
    do: Callable[[], object]
    by_all: bool = False  # by each worker, not by the leader alone
    is_slow: bool = False  # it has a thread of its own, and is not begun again before it has ended


class Leader:
    """The background thread of one worker. What a chore raises is logged and disturbs no other."""

    def __init__(self, pair: ServerPair, chores: Sequence[Chore], clock: Clock) -> None:
        self._pair = pair
        self._chores = chores
        self._clock = clock
        self._due = {chore.name: 0.0 for chore in chores}
        self._complained: dict[str, str] = {}
        self._slow: dict[str, threading.Thread] = {}
        self._stopped = threading.Event()
        self._woken = threading.Event()
        self._connection: Connection | None = None
        self._server: Server | None = None
        self._next_try = 0.0
        self._thread = threading.Thread(target=self._run, name="replication-leader", daemon=True)
        self._to_lead = Chore("lead", 0.0, self._campaign)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Return when no chore will be begun; a slow one is waited for, for a while."""
        self._stopped.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join()
        for thread in self._slow.values():
            thread.join(SLOW_SECONDS_MAX)

    def wake(self) -> None:
        """Something happened: do not wait for the next tick. Costs nothing."""
        self._woken.set()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive() and not self._stopped.is_set()

    @property
    def leads(self) -> bool:
        """Whether this worker is the one."""
        return self._connection is not None

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                self._try_to(self._to_lead)
                for chore in self._chores:
                    if chore.by_all or self.leads:
                        self._do(chore)
                if self._woken.wait(TICK_SECONDS):
                    self._stopped.wait(WAKE_SECONDS)  # what comes in the same moment is one reason
                    self._woken.clear()
        finally:
            self._resign()

    def _do(self, chore: Chore) -> None:
        now = self._clock.monotonic()
        if now < self._due[chore.name] or self._stopped.is_set():
            return
        self._due[chore.name] = now + chore.every_seconds
        if not chore.is_slow:
            self._try_to(chore)
            return
        thread = self._slow.get(chore.name)
        if thread is None or not thread.is_alive():
            thread = threading.Thread(target=self._try_to, args=(chore,), name=f"chore-{chore.name}", daemon=True)
            self._slow[chore.name] = thread
            thread.start()

    def _try_to(self, chore: Chore) -> None:
        try:
            chore.do()
            self._complained.pop(chore.name, None)
        except ShopError as error:
            if self._complained.get(chore.name) != error.message:  # once for each reason, not each second
                _log.warning("chore not done", chore=chore.name, reason=error.message)
            self._complained[chore.name] = error.message
        except Exception as error:
            if self._complained.get(chore.name) != repr(error):
                _log.exception("chore failed", chore=chore.name)
            self._complained[chore.name] = repr(error)

    def _campaign(self) -> None:
        """Keep the lock, or try for it."""
        if self._connection is not None and self._holds():
            return
        self._resign()
        now = self._clock.monotonic()
        if now < self._next_try:
            return
        self._next_try = now + CANDIDATE_SECONDS
        for server in (self._pair.primary, self._pair.standby):
            if server.is_up():
                self._try(server)
                return

    def _holds(self) -> bool:
        """Still connected, and to the server on which the others would try."""
        if self._server is not self._pair.primary and self._pair.primary.is_up():
            return False
        try:
            assert self._connection is not None  # noqa: S101 - of the caller
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def _try(self, server: Server) -> None:
        try:
            connection = server.connect(seconds_max=5)
        except Unreachable:
            return
        try:
            row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
        except psycopg.Error:  # it has gone in this moment
            row = None
        if row is not None and row[0]:
            self._connection, self._server = connection, server
            _log.info("this worker leads", server=server.name)
        else:
            connection.close()

    def _resign(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._server = None
