"""The implementations of replication, so that one suite can be run over each: a shop with a far side, and power over it."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from shop.clock import ManualClock
from shop.replication.contract import Replication
from shop.replication.embedded import EmbeddedReplication
from shop.replication.pair import Pair, open_pair
from shop.repository.contract import Repository
from shop.repository.embedded import EmbeddedRepository
from shop.store import StoreFull
from tests.builders import NOW
from tests.pairkit import SHARED, PairShop

DELAY = 5.0  # of the embedded link, on a clock that the test moves
PAIR_DELAY = (
    3.0  # of the link between two servers, in real time: what is on its way stays there for as long as a test looks
)


class World(Protocol):
    """A shop with a far side, and the power over time and misfortune."""

    repository: Repository
    replication: Replication

    @property
    def delay(self) -> float: ...

    def let_pass(self, seconds: float) -> None: ...
    def cross(self) -> None:
        """Everything committed so far is applied on the far side."""
        ...

    def break_far_side(self) -> None: ...
    def mend_far_side(self) -> None: ...
    def spoil_far_side(self, collection: str, id: str, record: Any) -> None:
        """Change a record there behind replication's back; None deletes it."""
        ...

    def restart(self) -> None: ...
    def end(self) -> None: ...


class EmbeddedWorld:
    """The two files, on a clock of their own."""

    delay = DELAY

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock(NOW)
        self._open()

    def _open(self) -> None:
        self.pair: Pair = open_pair(self.folder, self.clock)
        self.repository = EmbeddedRepository(self.pair.primary)
        self.replication = EmbeddedReplication(self.pair, clock=self.clock, delay_seconds=DELAY, currency="EUR")
        self._apply = self.pair.replica.apply

    def let_pass(self, seconds: float) -> None:
        end = self.clock.monotonic() + seconds
        while True:
            outcome = self.replication.sync_once(self.clock.monotonic())
            due = outcome.next_due_monotonic
            if due is None or due > end:
                break
            self.clock.advance(max(0.0, due - self.clock.monotonic()))
        self.clock.advance(max(0.0, end - self.clock.monotonic()))

    def cross(self) -> None:
        self.let_pass(DELAY + 1)

    def break_far_side(self) -> None:
        def refuse(lines: bytes) -> int:
            raise StoreFull("no space on the far side")

        self.pair.replica.apply = refuse  # type: ignore[method-assign]

    def mend_far_side(self) -> None:
        self.pair.replica.apply = self._apply  # type: ignore[method-assign]

    def spoil_far_side(self, collection: str, id: str, record: Any) -> None:
        state = self.pair.replica.state
        state._maps[collection] = state._maps[collection].with_changes({id: record})  # type: ignore[index]

    def restart(self) -> None:
        self.pair.close()
        self._open()

    def end(self) -> None:
        self.pair.close()


class PostgresWorld:
    """A real pair in real time, shared by the tests and emptied for each. Nobody moves its clock or breaks its files."""

    delay = PAIR_DELAY

    def __init__(self, folder: Path) -> None:
        self._opened(SHARED.shop())
        self.replication.set_delay(PAIR_DELAY)

    def _opened(self, shop: PairShop) -> None:
        self._shop = shop
        self.repository = shop.repository
        self.replication = shop.replication

    def let_pass(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.2))

    def cross(self) -> None:
        self.replication.set_delay(0)
        self._shop.cross()
        self._shop.settle()
        self.replication.set_delay(PAIR_DELAY)

    def break_far_side(self) -> None:
        raise NotImplementedError

    def mend_far_side(self) -> None:
        raise NotImplementedError

    def spoil_far_side(self, collection: str, id: str, record: Any) -> None:
        raise NotImplementedError

    def restart(self) -> None:
        self._opened(SHARED.reopened())

    def end(self) -> None:
        """The pair goes on."""


WORLDS: Mapping[str, Callable[[Path], World]] = {"embedded": EmbeddedWorld, "postgres": PostgresWorld}
