"""What drills buy and edit: one product, one cart and the orders of it, all the drill's own and recognisable by their ids.

The shop makes ids of hexadecimal digits, so an id that begins with `drill-` is a drill's. The product is archived whenever a commit
ends: no customer sees it, and nobody but a drill can order it. So an order of nothing else is a drill's order.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from shop import cart as carts
from shop import catalog, orders
from shop.catalog import ProductValues
from shop.clock import Clock
from shop.errors import Conflict
from shop.ids import new_checkout_key
from shop.models import Cart, Customer, Order, Product, timestamp
from shop.replication.contract import LostCommit
from shop.repository.contract import Repository
from shop.units import ReadUnit

PRODUCT_ID = "drill-product"
CART_ID = "drill-cart"
NAME = "Replication drill"
SKU = "REPLICATION-DRILL"
SLUG = "replication-drill"
PRICE_CENTS = 2500
STOCK = 100
CUSTOMER = Customer(
    name=NAME,
    email="drill@antipode.invalid",  # .invalid belongs to nobody, for good
    street="Nowhere 1",
    postcode="00000",
    city="Nowhere",
    country="DE",
    note="Not a real order: a drill made it and takes it out again.",
)
_PAGE = 100


class Goods:
    """The drill's own records. Each method but `found` is one commit, and raises as the repository does."""

    def __init__(self, repository: Repository, clock: Clock, currency: str) -> None:
        self._repository = repository
        self._clock = clock
        self._currency = currency

    def stock_up(self) -> Product:
        """The product, new. Raises `Conflict` in a shop that has no category to put it in."""
        now = timestamp(self._clock.now())
        with self._repository.update() as unit:
            categories = unit.categories()
            if not categories:
                raise Conflict("A drill needs a product of its own, and the shop has no category yet to put it in.")
            product = Product(
                id=PRODUCT_ID,
                sku=SKU,
                slug=SLUG,
                name=NAME,
                description="A drill works with it and takes it out again. It is not for sale.",
                category_id=categories[0].id,
                price_cents=PRICE_CENTS,
                stock=STOCK,
                is_archived=True,
                created_at=now,
                updated_at=now,
            )
            unit.put_product(product)
        return product

    def order(self, pieces: int) -> Order:
        """Bought as any customer buys, through the shop's own rules. The product is on sale inside of this commit alone."""
        now = self._clock.now()
        with self._repository.update() as unit:
            product = _the_product(unit)
            unit.put_product(replace(product, is_archived=False))
            unit.put_cart(self._empty_cart())
            cart = carts.add(unit, CART_ID, PRODUCT_ID, pieces, now)
            order = orders.place(
                unit,
                CART_ID,
                CUSTOMER,
                checkout_key=cart.checkout_key,
                expected_total_cents=carts.priced(unit, cart).total_cents,
                now=now,
                currency=self._currency,
            )
            unit.put_product(replace(_the_product(unit), is_archived=True))
        return order

    def edit(self, seen: Product, price_cents: int) -> Product:
        """A shopkeeper saves the form that was opened when the product was as *seen*. Raises `StaleVersion` as the form does."""
        values = ProductValues(
            sku=seen.sku,
            name=seen.name,
            description=seen.description,
            category_id=seen.category_id,
            price_cents=price_cents,
            stock=seen.stock,
            picture=seen.picture,
        )
        with self._repository.update() as unit:
            return catalog.edit_product(
                unit, PRODUCT_ID, seen.version, values, stock_seen=seen.stock, now=self._clock.now()
            )

    def write(self) -> str:
        """The smallest write: an empty cart. Returns what tells it from the one before."""
        cart = self._empty_cart()
        with self._repository.update() as unit:
            unit.put_cart(cart)
        return cart.checkout_key

    def sweep(self) -> int:
        """Take out whatever a drill made, in one commit; returns how many records that were."""
        numbers = self.found()
        with self._repository.update() as unit:
            has_cart, has_product = unit.cart(CART_ID) is not None, unit.product(PRODUCT_ID) is not None
            for number in numbers:
                unit.delete_order(number)
            unit.delete_cart(CART_ID)
            unit.delete_product(PRODUCT_ID)
        return len(numbers) + has_cart + has_product

    def found(self) -> Sequence[str]:
        """The numbers of the drills' orders."""
        numbers: list[str] = []
        with self._repository.view() as unit:
            page, last = 1, 1
            while page <= last:
                listed = unit.orders(words=NAME, status="", page=page, size=_PAGE)
                numbers += [order.number for order in listed.items if is_of_drill(order)]
                page, last = page + 1, listed.last_number
        return numbers

    def _empty_cart(self) -> Cart:
        return Cart(id=CART_ID, checkout_key=new_checkout_key(), updated_at=timestamp(self._clock.now()))


def is_of_drill(order: Order) -> bool:
    """Anybody may type the drill's name and address, but nobody else can order its product."""
    return bool(order.lines) and all(line.product_id == PRODUCT_ID for line in order.lines)


def is_loss_of_drill(lost: LostCommit) -> bool:
    """Of a commit that was left behind while a drill ran, only its words are told."""
    if lost.order_number:
        return lost.customer == f"{CUSTOMER.name} <{CUSTOMER.email}>"
    return lost.summary.startswith(f"product {NAME}") or lost.summary == f"product {PRODUCT_ID} deleted"


def _the_product(unit: ReadUnit) -> Product:
    product = unit.product(PRODUCT_ID)
    if product is None:
        raise Conflict("The drill's product is gone: somebody took it out meanwhile.")
    return product
