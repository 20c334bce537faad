"""A shop of two sides in which orders are in flight, and the means to lose its primary."""

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from shop import cart as carts
from shop import orders
from shop.clock import ManualClock
from shop.models import Order
from shop.replication.embedded import EmbeddedReplication
from shop.replication.failover import EmbeddedFailover, complete_rejoin
from shop.replication.losing import LostFolder
from shop.replication.pair import open_pair
from shop.repository.embedded import EmbeddedRepository
from shop.store import OS_FILES, Store
from tests.builders import CURRENCY, a_cart, a_category, a_customer, a_line, a_product

DELAY = 5.0
BY = "admin"


class Shop:
    """Everything that a change of roles touches, on a clock that the test moves. Waiting moves it too."""

    def __init__(self, folder: Path, clock: ManualClock, *, files: Any = OS_FILES, delay: float = DELAY) -> None:
        self.folder, self.clock, self.files = folder, clock, files
        self.pair = open_pair(folder, clock, files=files)
        self.rejoined = complete_rejoin(self.pair, files=files)
        self.replication = EmbeddedReplication(self.pair, clock=clock, delay_seconds=delay, currency=CURRENCY)
        self.repository = EmbeddedRepository(self.pair.primary)
        self.failover = EmbeddedFailover(
            self.pair,
            self.replication,
            self.repository,
            clock=clock,
            currency=CURRENCY,
            files=files,
            wait=clock.advance,
        )
        self.lost = LostFolder(folder, files=files)

    def stock(self, *, pieces: int = 100) -> None:
        with self.repository.update() as unit:
            unit.put_category(a_category(id="category"))
            unit.put_product(
                a_product(id="mug", sku="MUG-1", slug="mug", name="Mug", stock=pieces, category_id="category")
            )

    def order(self, *, pieces: int = 1, **customer: str) -> Order:
        """One commit: the cart is filled and ordered at once."""
        with self.repository.update() as unit:
            mug = unit.product("mug")
            assert mug is not None
            cart = a_cart(a_line(mug, pieces))
            unit.put_cart(cart)
            total = carts.costs(mug.price_cents * pieces).total_cents
            return orders.place(
                unit,
                cart.id,
                a_customer(**customer),
                checkout_key=cart.checkout_key,
                expected_total_cents=total,
                now=self.clock.now(),
                currency=CURRENCY,
            )

    def edit(self, **fields: Any) -> None:
        """A shopkeeper's edit of the mug."""
        with self.repository.update() as unit:
            mug = unit.product("mug")
            assert mug is not None
            unit.put_product(replace(mug, version=mug.version + 1, **fields))

    def cross(self) -> None:
        """Everything committed so far reaches the far side."""
        self.clock.advance(self.replication.status().link.delay_seconds + 1)
        while self.replication.sync_once(self.clock.monotonic()).applied:
            pass
        assert self.pair.primary.position == self.pair.replica.position

    def reopen(self, *, killed: bool = False) -> "Shop":
        if not killed:
            self.pair.close()
        return Shop(self.folder, self.clock, files=self.files)

    def numbers(self) -> list[str]:
        return sorted(number for number, _ in self.pair.primary.state.items("orders"))

    def takings(self) -> int:
        return sum(order.total_cents for _, order in self.pair.primary.state.items("orders"))

    def names(self) -> tuple[str, str]:
        return self.pair.primary.path.name, self.pair.replica.path.name


def contents(store: Store) -> dict[str, dict[str, Any]]:
    return {name: dict(store.state.items(name)) for name in store.state.collections()}
