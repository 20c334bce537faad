"""A shop that lives, small and in one process: real time, a schedule that carries commits, and the drills at a quick pace."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shop.clock import SystemClock
from shop.drills.parts import Parts
from shop.drills.records import Run, RunState
from shop.drills.runner import Drills
from shop.replication.audit import Audit
from shop.replication.embedded import EmbeddedReplication
from shop.replication.failover import EmbeddedFailover, complete_rejoin
from shop.replication.pair import open_pair
from shop.replication.reads import EmbeddedReads
from shop.replication.schedule import Schedule
from shop.repository.embedded import EmbeddedRepository
from tests.builders import CURRENCY, a_cart, a_category, a_line, a_product, keep, order_of

PACE_SECONDS = 0.1
CATEGORY = a_category(id="tea", slug="tea", name="Tea")
POT = a_product(id="pot", sku="POT", slug="pot", name="Teapot", category_id="tea", price_cents=3400, stock=10)


class LiveShop:
    """Somebody has ordered; the knobs stand as somebody left them."""

    def __init__(self, folder: Path, *, delay_seconds: float = 5.0) -> None:
        self.folder, self.clock = folder, SystemClock()
        self.pair = open_pair(folder, self.clock)
        self.rejoined = complete_rejoin(self.pair)
        self.replication = EmbeddedReplication(
            self.pair, clock=self.clock, delay_seconds=delay_seconds, currency=CURRENCY
        )
        self.repository = EmbeddedRepository(self.pair.primary)
        self.failover = EmbeddedFailover(
            self.pair, self.replication, self.repository, clock=self.clock, currency=CURRENCY
        )
        self.reads = EmbeddedReads(self.pair, self.repository, clock=self.clock)
        self.audit = Audit(folder, self.clock)
        self.parts = Parts(
            self.clock,
            self.repository,
            self.replication,
            CURRENCY,
            laboratory=self.replication.laboratory,
            failover=self.failover,
            reads=self.reads,
            sabotage=self.replication.sabotage,
        )
        self.drills = Drills(self.parts, folder, audit=self.audit, pace_seconds=PACE_SECONDS)
        self.schedule = Schedule(self.replication, self.clock)
        self.pair.start()
        self.schedule.start()
        self.repository.gate = self.replication.gate

    def stock(self) -> None:
        keep(self.repository, CATEGORY, POT)
        order_of(self.repository, (POT, 2))
        keep(self.repository, a_cart(a_line(POT, 1), id="somebody"))

    def close(self) -> None:
        self.drills.close()
        self.schedule.stop()
        self.pair.close()

    def drill(self, name: str) -> Run:
        """Run it to its end."""
        self.drills.start(name, who="admin", is_confirmed=True)
        return self.ended(name)

    def ended(self, name: str) -> Run:
        self.drills.join(60)
        run = self.drills.last_run(name)
        assert run is not None and run.state is not RunState.RUNNING
        return run

    def picture(self) -> dict[str, Any]:
        """Everything a drill must leave as it was. Numbers that were issued are not issued again, so that counter may differ."""
        status = self.replication.status()
        state = self.pair.primary.state
        records = {name: dict(state.items(name)) for name in state.collections() if name != "counters"}
        modes = status.modes
        assert modes
        return {
            "records": records,
            "takings": sum(order.total_cents for order in records["orders"].values()),
            "pieces": sum(product.stock for product in records["products"].values()),
            "roles": (status.primary.file, status.replica.file),
            "knobs": (
                status.link.delay_seconds,
                status.link.jitter_seconds,
                status.link.bandwidth,
                status.link.loss_percent,
                status.link.is_paused,
                status.link.is_out,
            ),
            "modes": (modes.mode, modes.timeout_seconds),
            "is writable": self.repository.is_writable(),
        }

    def far_records(self) -> dict[str, Any]:
        state = self.pair.replica.state
        return {name: dict(state.items(name)) for name in state.collections() if name != "counters"}


@contextmanager
def live_shop(folder: Path, **settings: Any) -> Iterator[LiveShop]:
    shop = LiveShop(folder, **settings)
    try:
        shop.stock()
        shop.replication.sync_now()
        yield shop
    finally:
        shop.close()
