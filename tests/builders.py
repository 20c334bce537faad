"""Records for tests, right as they are; a test names only what it is about: `a_product(stock=1)`.

Each record has ids of its own, so that two of them are two. The `keep_*` helpers put what the test needs into a repository.
"""

from collections.abc import Iterable, Set
from datetime import UTC, datetime
from itertools import count
from typing import Any

from shop import cart as carts
from shop import orders
from shop.catalog import ProductValues
from shop.models import Cart, CartLine, Category, Customer, Order, OrderLine, Product, timestamp
from shop.repository.contract import Repository
from shop.units import CatalogQuery, Page, WriteUnit

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
CURRENCY = "EUR"

_numbers = count(1)


def a_category(**fields: Any) -> Category:
    number = next(_numbers)
    values = {"id": f"category-{number}", "slug": f"category-{number}", "name": f"Category {number}"} | fields
    return Category(**values)


def a_product(**fields: Any) -> Product:
    number = next(_numbers)
    values = {
        "id": f"product-{number}",
        "sku": f"SKU-{number}",
        "slug": f"product-{number}",
        "name": f"Product {number}",
        "category_id": "category",
        "price_cents": 1250,
        "stock": 10,
        "created_at": timestamp(NOW),
        "updated_at": timestamp(NOW),
    } | fields
    return Product(**values)


def a_line(product: Product, quantity: int = 1) -> CartLine:
    """A line of a visitor who has seen the price that the product has now."""
    return CartLine(product_id=product.id, quantity=quantity, price_seen_cents=product.price_cents)


def a_cart(*lines: CartLine, **fields: Any) -> Cart:
    number = next(_numbers)
    values = {
        "id": f"cart-{number}",
        "lines": tuple(lines),
        "checkout_key": f"key-{number}",
        "updated_at": timestamp(NOW),
    } | fields
    return Cart(**values)


def a_customer(**fields: Any) -> Customer:
    return Customer(**(customer_form() | fields))


def customer_form(**fields: str) -> dict[str, str]:
    """What a careful customer types."""
    return {
        "name": "Test Customer",
        "email": "customer@example.com",
        "street": "Example Street 1",
        "postcode": "12345",
        "city": "Example City",
        "country": "DE",
        "note": "",
    } | fields


def product_form(**fields: str) -> dict[str, str]:
    """What a careful shopkeeper types."""
    return {
        "sku": "TEA-POT",
        "name": "Teapot",
        "description": "Keeps tea warm.",
        "category_id": "category",
        "price": "12.50",
        "stock": "10",
        "picture": "",
    } | fields


def product_values(**fields: Any) -> ProductValues:
    values = {
        "sku": "TEA-POT",
        "name": "Teapot",
        "description": "Keeps tea warm.",
        "category_id": "category",
        "price_cents": 1250,
        "stock": 10,
        "picture": "",
    } | fields
    return ProductValues(**values)


def an_order(*products: Product, **fields: Any) -> Order:
    """An order of one of each of *products*."""
    number = next(_numbers)
    lines = tuple(
        OrderLine(
            product_id=product.id, sku=product.sku, name=product.name, price_cents=product.price_cents, quantity=1
        )
        for product in products
    )
    due = carts.costs(sum(line.total_cents for line in lines))
    values = {
        "number": f"A1-{20_000 + number}",
        "checkout_key": f"key-{number}",
        "customer": a_customer(),
        "lines": lines,
        "subtotal_cents": due.subtotal_cents,
        "shipping_cents": due.shipping_cents,
        "total_cents": due.total_cents,
        "currency": CURRENCY,
        "placed_at": timestamp(NOW),
    } | fields
    return Order(**values)


def keep(repository: Repository, *records: Product | Category | Cart | Order) -> None:
    """Put *records* into the repository, in one commit, with a category for each product that lacks one."""
    with repository.update() as unit:
        given = {record.id for record in records if isinstance(record, Category)}
        _keep_categories(unit, [record for record in records if isinstance(record, Product)], given)
        for record in records:
            match record:
                case Product():
                    unit.put_product(record)
                case Category():
                    unit.put_category(record)
                case Cart():
                    unit.put_cart(record)
                case Order():
                    unit.put_order(record)


def keep_products(repository: Repository, *products: Product) -> None:
    """Put *products* into the repository, with a category for each `category_id` that has none yet."""
    with repository.update() as unit:
        _keep_categories(unit, products)
        for product in products:
            unit.put_product(product)


def _keep_categories(unit: WriteUnit, products: Iterable[Product], given: Set[str] = frozenset()) -> None:
    for id in sorted({product.category_id for product in products} - given):
        if unit.category(id) is None:
            unit.put_category(a_category(id=id, slug=id, name=id.capitalize()))


def keep_cart(repository: Repository, *lines: CartLine) -> Cart:
    """A kept cart of *lines*."""
    cart = a_cart(*lines)
    keep(repository, cart)
    return cart


def place_order(repository: Repository, cart: Cart, *, now: datetime = NOW) -> Order:
    """Order *cart* as it is kept now, as a customer who has seen its total."""
    with repository.update() as unit:
        kept = unit.cart(cart.id)
        return orders.place(
            unit,
            cart.id,
            a_customer(),
            checkout_key=cart.checkout_key,
            expected_total_cents=carts.priced(unit, kept).total_cents,
            now=now,
            currency=CURRENCY,
        )


def order_of(repository: Repository, *lines: tuple[Product, int]) -> Order:
    """A placed order of new carts' *lines*."""
    return place_order(repository, keep_cart(repository, *[a_line(product, quantity) for product, quantity in lines]))


def product_in(repository: Repository, product: Product | str) -> Product:
    """The product as it is kept now."""
    with repository.view() as unit:
        found = unit.product(product if isinstance(product, str) else product.id)
    assert found is not None
    return found


def stock_of(repository: Repository, product: Product | str) -> int:
    return product_in(repository, product).stock


def cart_in(repository: Repository, cart: Cart | str) -> Cart:
    """The cart as it is kept now."""
    with repository.view() as unit:
        found = unit.cart(cart if isinstance(cart, str) else cart.id)
    assert found is not None
    return found


def names(products: Iterable[Product]) -> list[str]:
    return [product.name for product in products]


def catalog(repository: Repository, **query: Any) -> Page[Product]:
    """The page of the catalog that answers `CatalogQuery(**query)`."""
    with repository.view() as unit:
        return unit.catalog(CatalogQuery(**query))
