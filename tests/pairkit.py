"""A shop on a real PostgreSQL pair, with everything behind it at work: servers, link, one worker's background."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from msgspec.structs import replace

from shop.clock import SystemClock
from shop.cluster.machine import Machine
from shop.replication.contract import Mode, Status
from shop.replication.postgres.assembled import PostgresSide
from shop.replication.postgres.modes import arrange
from shop.repository.postgres.opening import open_repository
from shop.repository.postgres.repository import PostgresRepository
from tests.builders import CURRENCY
from tests.contract.backends import EMPTY
from tests.postgreskit import running_machine

PATIENCE = 20.0


def wait_until(is_so: Callable[[], object], *, what: str = "it to be so", seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


class PairShop:
    """One worker on *machine*. Closing it leaves the servers as they are."""

    def __init__(self, machine: Machine, *, mode: str = "async") -> None:
        self.machine = machine
        self.instance: Path = machine.ground.folder.parent
        self.clock = SystemClock()
        self._stack = ExitStack()
        self._mode = mode
        self.repository: PostgresRepository = self._stack.enter_context(open_repository(self.instance, machine.urls()))
        self.side = PostgresSide(
            self.instance,
            self.repository.servers,
            self.repository,
            clock=self.clock,
            currency=CURRENCY,
            wait_places=4,
        )
        self._stack.callback(self.side.close)
        start = f"test {time.monotonic()}"
        self.leader = self._stack.enter_context(self.side.running(mode=mode, start=start, alerts=lambda: None))
        self.replication = self.side.replication
        self.laboratory = self.side.laboratory
        self.failover = self.side.failover
        self.reads = self.side.reads

    def close(self) -> None:
        self._stack.close()

    def status(self) -> Status:
        return self.replication.status()

    def cross(self) -> None:
        """Everything committed so far is seen on the far side."""
        self.side.watch.picture(fresh=True)
        wait_until(lambda: not self.status().lag.commits, what="everything to cross")

    def settle(self) -> None:
        """Equal positions: nothing at all is under way."""
        wait_until(lambda: self.status().primary.position == self.status().replica.position, what="equal positions")

    def empty(self) -> None:
        """No record, no knob turned, nobody waiting: as a shop that was just made."""
        with suppress(Exception):
            self.laboratory.mend()
        self.machine.wan.set(delay=0, jitter=0, bandwidth=0, loss=0)
        self.side.modes.change(lambda now: replace(now, mode=Mode(self._mode), is_fallen_back=False, suspended=""))
        arrange(self.side.pair.primary, "", "on")
        self.replication.resume()
        self.laboratory.set_apply_delay(0)
        self.laboratory.set_timeout(10)
        for statement in EMPTY.strip().split(";\n"):
            self.side.pair.primary.ask(statement)
        standby = self.side.pair.standby
        wait_until(lambda: not standby.ask("SELECT 1 FROM commits LIMIT 1"), what="the far side to be empty")
        self.side.watch.begin_anew()
        self.settle()


@contextmanager
def pair_shop() -> Iterator[PairShop]:
    """On a pair of its own."""
    with running_machine() as machine:
        shop = PairShop(machine)
        try:
            yield shop
        finally:
            shop.close()


class SharedPair:
    """One pair for many tests, made when the first asks for it and emptied for each; `end` when the last is done."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._shop: PairShop | None = None

    def shop(self) -> PairShop:
        if self._shop is None:
            self._shop = PairShop(self._stack.enter_context(running_machine()))
        self._shop.empty()
        return self._shop

    def reopened(self) -> PairShop:
        """Another worker in the place of the one before; the servers go on."""
        assert self._shop is not None
        machine = self._shop.machine
        self._shop.close()
        self._shop = PairShop(machine)
        return self._shop

    def end(self) -> None:
        if self._shop is not None:
            self._shop.close()
            self._shop = None
        self._stack.close()
        self._stack = ExitStack()


SHARED = SharedPair()
