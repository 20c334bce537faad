"""A shop and what a dictionary says of it, driven by Hypothesis: random operations, refused ones too, crashes, restarts, crossings."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from shop import cart as carts
from shop import catalog, orders
from shop.clock import ManualClock
from shop.errors import ShopError
from shop.models import Cart, Order, OrderStatus, Product
from shop.repository.contract import Repository
from shop.units import ReadUnit
from tests.builders import CURRENCY, a_cart, a_customer, a_product, keep_products, product_values


class ShopUnderTest(Protocol):
    """One shop, empty at first."""

    def repository(self) -> Repository: ...
    def restart(self) -> Repository: ...
    def crash(self) -> Repository: ...
    def close(self) -> None: ...


class FarSide(Protocol):
    """What a shop with a far side has besides."""

    def cross(self) -> tuple[int, ReadUnit]:
        """Let everything cross that is due; the LSN that the far side is at, and what it holds."""
        ...

    def lsn(self) -> int: ...


class Rollback(Exception):
    """Raised inside an update, so that it is discarded."""


Records = dict[str, Any]


class ShopMachine(RuleBasedStateMachine):
    """Each rule does one thing to the shop and, if it was not refused, to the model; after each both hold the same records."""

    make: Callable[[ManualClock], ShopUnderTest]  # set in a subclass, by `machine`
    counted: list[int]  # examples, steps
    crashes_every: int  # of so many chances one; a server takes its time to come back

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.shop = type(self).make(self.clock)
        self.repository = self.shop.repository()
        self.products: dict[str, Product] = {}
        self.carts: dict[str, Cart] = {}
        self.orders: dict[str, Order] = {}
        self.taken: set[str] = set()  # every order number that was ever seen
        self.stock_at_first: dict[str, int] = {}
        self.past: dict[int, tuple[Records, Records, Records]] = {}  # LSN -> what the model said
        type(self).counted[0] += 1

    def teardown(self) -> None:
        self.shop.close()

    # ---- what people do

    @rule(price=st.integers(1, 10_000), stock=st.integers(0, 5))
    def add_product(self, price: int, stock: int) -> None:
        product = a_product(price_cents=price, stock=stock)
        keep_products(self.repository, product)
        self.products[product.id] = product
        self.stock_at_first[product.id] = stock

    @precondition(lambda self: self.products)
    @rule(data=st.data(), price=st.integers(1, 10_000), more=st.integers(-3, 3), is_late=st.booleans())
    def edit_product(self, data: st.DataObject, price: int, more: int, is_late: bool) -> None:
        """The editor saw what is there, or the version before it."""
        product = data.draw(st.sampled_from(list(self.products.values())))
        wanted = max(0, product.stock + more)
        typed = product_values(
            sku=product.sku, name=product.name, price_cents=price, stock=wanted, category_id="category"
        )

        def edit(unit: Any) -> Product:
            version = product.version - is_late
            return catalog.edit_product(
                unit, product.id, version, typed, stock_seen=product.stock, now=self.clock.now()
            )

        edited = self._change(edit)
        assert (edited is None) == is_late, "a stale edit is refused, another one is not"
        if edited is not None:
            assert (edited.price_cents, edited.stock, edited.version) == (price, wanted, product.version + 1)
            self.stock_at_first[product.id] += wanted - product.stock
            self.products[product.id] = edited

    @precondition(lambda self: self.products)
    @rule(data=st.data())
    def archive_or_bring_back(self, data: st.DataObject) -> None:
        product = data.draw(st.sampled_from(list(self.products.values())))
        turn = catalog.unarchive if product.is_archived else catalog.archive
        turned = self._change(lambda unit: turn(unit, product.id, product.version, self.clock.now()))
        assert turned is not None and turned.is_archived != product.is_archived
        self.products[product.id] = turned

    @precondition(lambda self: self.products)
    @rule(data=st.data(), quantity=st.integers(1, 3), is_new=st.booleans())
    def add_to_cart(self, data: st.DataObject, quantity: int, is_new: bool) -> None:
        product = data.draw(st.sampled_from(list(self.products.values())))
        if is_new or not self.carts:
            cart = a_cart()
            self._change(lambda unit: unit.put_cart(cart) or cart)
            self.carts[cart.id] = cart
        cart = data.draw(st.sampled_from(list(self.carts.values())))
        kept = self._change(lambda unit: carts.add(unit, cart.id, product.id, quantity, self.clock.now()))
        if kept is not None:
            assert not product.is_archived
            self.carts[cart.id] = kept

    @precondition(lambda self: self.carts)
    @rule(data=st.data(), is_twice=st.booleans())
    def order(self, data: st.DataObject, is_twice: bool) -> None:
        cart = data.draw(st.sampled_from(list(self.carts.values())))

        def place(unit: Any) -> Order:
            return orders.place(
                unit,
                cart.id,
                a_customer(),
                checkout_key=cart.checkout_key,
                expected_total_cents=carts.priced(unit, unit.cart(cart.id)).total_cents,
                now=self.clock.now(),
                currency=CURRENCY,
            )

        placed = self._change(place)
        if placed is None:
            return
        assert placed.number not in self.taken, f"{placed.number} was issued twice"
        self.taken.add(placed.number)
        self.orders[placed.number] = placed
        for line in placed.lines:
            product = self.products[line.product_id]
            assert not product.is_archived and product.stock >= line.quantity
            self.products[product.id] = replace(
                product, stock=product.stock - line.quantity, updated_at=self._kept(product).updated_at
            )
        with self.repository.view() as unit:
            left = unit.cart(cart.id)
        assert left is not None and not left.lines and left.checkout_key != cart.checkout_key
        self.carts[cart.id] = left
        if is_twice:
            again = self._change(place)
            assert again is None or again.number == placed.number

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), is_cancelled=st.booleans())
    def cancel_or_send(self, data: st.DataObject, is_cancelled: bool) -> None:
        order = data.draw(st.sampled_from(list(self.orders.values())))
        turn = orders.cancel if is_cancelled else orders.mark_sent
        turned = self._change(lambda unit: turn(unit, order.number, order.version, self.clock.now()))
        assert (turned is not None) == (order.status is OrderStatus.PLACED)
        if turned is None:
            return
        self.orders[order.number] = turned
        if turned.status is OrderStatus.CANCELLED:
            for line in order.lines:
                product = self.products[line.product_id]
                self.products[product.id] = replace(
                    product, stock=product.stock + line.quantity, updated_at=self._kept(product).updated_at
                )

    @precondition(lambda self: self.products)
    @rule(data=st.data())
    def change_one_s_mind(self, data: st.DataObject) -> None:
        """What raises in the middle has changed nothing."""
        product = data.draw(st.sampled_from(list(self.products.values())))
        with suppress(Rollback), self.repository.update() as unit:
            unit.put_product(replace(product, price_cents=product.price_cents + 1, version=product.version + 1))
            unit.put_cart(a_cart())
            raise Rollback

    # ---- what happens to the machine

    @rule(seconds=st.sampled_from([0.1, 1.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def restart(self) -> None:
        self.repository = self.shop.restart()

    @rule(chance=st.integers(0, 99))
    def crash(self, chance: int) -> None:
        if chance % type(self).crashes_every == 0:
            self.repository = self.shop.crash()

    @precondition(lambda self: hasattr(self.shop, "cross"))
    @rule()
    def cross(self) -> None:
        """The far side holds what the model said when the primary was at that LSN."""
        lsn, unit = self.shop.cross()  # type: ignore[attr-defined]
        if lsn in self.past:
            self._compare(unit, *self.past[lsn])

    # ---- what must hold after each step

    @invariant()
    def both_hold_the_same(self) -> None:
        type(self).counted[1] += 1
        with self.repository.view() as unit:
            self._compare(unit, self.products, self.carts, self.orders)
        if hasattr(self.shop, "lsn"):
            self.past[self.shop.lsn()] = (dict(self.products), dict(self.carts), dict(self.orders))

    @invariant()
    def stock_adds_up(self) -> None:
        standing = [order for order in self.orders.values() if order.status is not OrderStatus.CANCELLED]
        for id, product in self.products.items():
            out = sum(line.quantity for order in standing for line in order.lines if line.product_id == id)
            assert product.stock >= 0
            assert product.stock + out == self.stock_at_first[id]

    def _compare(self, unit: ReadUnit, products: Records, kept_carts: Records, placed: Records) -> None:
        assert dict(unit.products(products)) == products
        assert {id: unit.cart(id) for id in kept_carts} == kept_carts
        assert {number: unit.order(number) for number in placed} == placed
        counts = unit.counts()
        assert (counts["products"], counts["carts"], counts["orders"]) == (len(products), len(kept_carts), len(placed))

    def _change(self, change: Callable[[Any], Any]) -> Any:
        """What *change* returned; None when the shop refused it."""
        try:
            with self.repository.update() as unit:
                return change(unit)
        except ShopError:
            return None

    def _kept(self, product: Product) -> Product:
        with self.repository.view() as unit:
            kept = unit.product(product.id)
        assert kept is not None
        return kept


def machine(
    make: Callable[[ManualClock], ShopUnderTest], *, crashes_every: int = 1
) -> tuple[type[ShopMachine], list[int]]:
    """A machine over the shops that *make* opens, and where it counts its examples and steps."""
    counted = [0, 0]
    members: Mapping[str, Any] = {"make": staticmethod(make), "counted": counted, "crashes_every": crashes_every}
    return type("ShopMachineOfOneBackend", (ShopMachine,), dict(members)), counted
