"""Whatever is bought, changed, cancelled and sent, in whatever order, and however often the shop is left and entered again:
what is on the shelf and what was sold add up to what was there.
"""

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from shop import cart as carts
from shop import catalog, orders
from shop.clock import ManualClock
from shop.errors import ShopError
from shop.models import Order, OrderStatus
from shop.units import ReadUnit, WriteUnit
from tests.builders import NOW, a_category, a_customer, a_product
from tests.contract.backends import BACKENDS, Backend

STOCK = 6
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # thousands of commits; the disk is not what is tested
PLACES = st.integers(min_value=0, max_value=2)
QUANTITIES = st.integers(min_value=0, max_value=STOCK + 1)


class Shop(RuleBasedStateMachine):
    """Three visitors, three products, one shopkeeper."""

    backend_name = ""
    done: ClassVar[Counter[str]] = Counter()  # so that a run in which nothing happened does not pass for one

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.backend: Backend = BACKENDS[self.backend_name](Path(self.folder.name), ManualClock(NOW))
        self.products = [a_product(stock=STOCK, price_cents=1000 + place, category_id="c") for place in range(3)]
        self.added = dict.fromkeys((product.id for product in self.products), STOCK)
        self.carts = ["", "", ""]
        self.checkouts: list[tuple[str, str, int]] = []
        with self.backend.repository().update() as unit:
            unit.put_category(a_category(id="c"))
            for product in self.products:
                unit.put_product(product)

    @rule(visitor=PLACES, product=PLACES, quantity=QUANTITIES)
    def add(self, visitor: int, product: int, quantity: int) -> None:
        def do(unit: WriteUnit) -> None:
            self.carts[visitor] = carts.add(unit, self.carts[visitor], self.products[product].id, quantity, NOW).id

        self._try(do)

    @rule(visitor=PLACES, product=PLACES, quantity=QUANTITIES)
    def change(self, visitor: int, product: int, quantity: int) -> None:
        self._try(lambda unit: carts.change(unit, self.carts[visitor], self.products[product].id, quantity, NOW))

    @rule(visitor=PLACES, product=PLACES)
    def remove_and_restore(self, visitor: int, product: int) -> None:
        def do(unit: WriteUnit) -> None:
            removed = carts.remove(unit, self.carts[visitor], self.products[product].id, NOW)
            carts.restore(unit, self.carts[visitor], removed, NOW)

        self._try(do)

    @rule(visitor=PLACES)
    def look_at_the_checkout(self, visitor: int) -> None:
        with self.backend.repository().view() as unit:
            view = carts.priced(unit, unit.cart(self.carts[visitor]))
        if view.can_check_out:
            self.checkouts.append((view.id, view.checkout_key, view.total_cents))

    @rule(visitor=PLACES, product=PLACES, quantity=st.integers(min_value=1, max_value=3))
    def buy(self, visitor: int, product: int, quantity: int) -> None:
        """All of it at once: random steps alone rarely add up to a purchase."""
        self.add(visitor, product, quantity)
        self.accept_prices(visitor)
        self.look_at_the_checkout(visitor)
        self.place(back=1)

    @precondition(lambda self: self.checkouts)
    @rule(back=st.integers(min_value=1, max_value=4))
    def place(self, back: int) -> None:
        """A checkout page that was opened a while ago is sent, perhaps again."""
        if len(self.checkouts) < back:
            return
        cart_id, key, total_cents = self.checkouts[-back]
        done = self._try(
            lambda unit: orders.place(
                unit,
                cart_id,
                a_customer(),
                checkout_key=key,
                expected_total_cents=total_cents,
                now=NOW,
                currency="EUR",
            )
        )
        self.done["ordered"] += isinstance(done, Order)

    @rule(visitor=PLACES)
    def accept_prices(self, visitor: int) -> None:
        self._try(lambda unit: carts.accept_prices(unit, self.carts[visitor], NOW))

    @rule(place=st.integers(min_value=0, max_value=9), is_sent=st.booleans())
    def close_an_order(self, place: int, is_sent: bool) -> None:
        with self.backend.repository().view() as unit:
            page = unit.orders(words="", status="", page=1, size=1000)
        if page.items:
            number, do = page.items[place % page.total].number, orders.mark_sent if is_sent else orders.cancel
            closed = self._try(lambda unit: do(unit, number, 1, NOW))
            self.done["closed"] += isinstance(closed, Order)

    @rule(product=PLACES, stock_seen=QUANTITIES, stock=QUANTITIES, price_cents=st.integers(1000, 1002))
    def edit(self, product: int, stock_seen: int, stock: int, price_cents: int) -> None:
        def do(unit: WriteUnit) -> int:
            kept = unit.product(self.products[product].id)
            assert kept is not None
            values = catalog.ProductValues(
                sku=kept.sku,
                name=kept.name,
                description="",
                category_id="c",
                price_cents=price_cents,
                stock=stock,
                picture="",
            )
            catalog.edit_product(unit, kept.id, kept.version, values, stock_seen=stock_seen, now=NOW)
            return stock - stock_seen

        added = self._try(do)
        if isinstance(added, int):
            self.added[self.products[product].id] += added

    @rule(product=PLACES, is_archived=st.booleans())
    def archive(self, product: int, is_archived: bool) -> None:
        def do(unit: WriteUnit) -> None:
            kept = unit.product(self.products[product].id)
            assert kept is not None
            (catalog.archive if is_archived else catalog.unarchive)(unit, kept.id, kept.version, NOW)

        self._try(do)

    @rule(is_crash=st.booleans())
    def enter_again(self, is_crash: bool) -> None:
        if is_crash:
            self.backend.crash()
        else:
            self.backend.restart()

    @rule()
    def fail_in_the_middle(self) -> None:
        def do(unit: WriteUnit) -> None:
            for product in unit.products(product.id for product in self.products).values():
                unit.put_product(replace(product, stock=0))
            raise ShopError("Something else went wrong.")

        self._try(do)

    @invariant()
    def shelf_and_sold_add_up(self) -> None:
        with self.backend.repository().view() as unit:
            sold = self._sold(unit)
            for product in unit.products(self.added).values():
                assert product.stock >= 0
                assert product.stock + sold[product.id] == self.added[product.id]

    @invariant()
    def every_order_adds_up(self) -> None:
        with self.backend.repository().view() as unit:
            page = unit.orders(words="", status="", page=1, size=1000)
            assert len({order.checkout_key for order in page.items}) == page.total == unit.counts()["orders"]
            for order in page.items:
                assert order.subtotal_cents == sum(line.total_cents for line in order.lines)
                assert order.total_cents == order.subtotal_cents + order.shipping_cents
                assert order.lines

    def teardown(self) -> None:
        if hasattr(self, "backend"):
            self.backend.close()
            self.folder.cleanup()

    def _sold(self, unit: ReadUnit) -> dict[str, int]:
        sold = dict.fromkeys(self.added, 0)
        for order in unit.orders(words="", status="", page=1, size=1000).items:
            if order.status is not OrderStatus.CANCELLED:
                for line in order.lines:
                    sold[line.product_id] += line.quantity
        return sold

    def _try(self, do: Callable[[WriteUnit], object]) -> object:
        try:
            with self.backend.repository().update() as unit:
                return do(unit)
        except ShopError as refusal:
            return refusal


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_shelf_and_sold_always_add_up(name: str) -> None:
    machine = type("Shop", (Shop,), {"backend_name": name, "done": Counter()})

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=BACKENDS[name].sums,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

    assert machine.done["ordered"] > BACKENDS[name].sums * 0.5, machine.done
    assert machine.done["closed"] > BACKENDS[name].sums * 0.1, machine.done
