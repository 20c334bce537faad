"""What the shop's rules ask of a unit of work. The repositories implement it; the rules (`cart`, `orders`, …) are handed one.

A `ReadUnit` sees one snapshot. A `WriteUnit` collects changes: leaving its block commits all of them or none. Inside a
write unit, what was read by id, slug, number or key stays true until the commit (the embedded store serialises updates;
PostgreSQL locks the rows, products in the order of their ids).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

from shop.models import Admin, Cart, Category, Order, Product

T = TypeVar("T")


class Position(Struct, frozen=True, order=True):
    """How far a copy has come. Equal positions mean equal history."""

    timeline: int  # grows with each promotion
    lsn: int  # commits since the store was created; used again after a fork
    checksum: str  # chained over the commits, so that a fork shows


class Page(Struct, Generic[T], frozen=True):
    """One page of a longer list."""

    items: Sequence[T]
    total: int  # of all pages
    number: int  # from 1; a number past the end is answered with the last page
    size: int

    @property
    def last_number(self) -> int:
        return max(1, -(-self.total // self.size))


class CatalogQuery(Struct, frozen=True, kw_only=True):
    """What a visitor asks of the catalog. Archived products are never found."""

    words: str = ""  # each word must begin some word of the name, SKU, category or description
    category_slug: str = ""
    in_stock: bool = False
    sort: str = "name"  # name, price, -price, newest
    page: int = 1
    size: int = 24


class ReadUnit(Protocol):
    """One consistent snapshot of the shop."""

    def position(self) -> Position: ...

    def product(self, product_id: str) -> Product | None: ...
    def product_by_slug(self, slug: str) -> Product | None: ...
    def product_by_sku(self, sku: str) -> Product | None: ...
    def products(self, product_ids: Iterable[str]) -> Mapping[str, Product]:
        """Those that exist, by id."""
        ...

    def catalog(self, query: CatalogQuery) -> Page[Product]: ...
    def admin_products(self, *, words: str, archived: bool, page: int, size: int) -> Page[Product]:
        """For the shopkeeper: by name, archived ones only or without them."""
        ...

    def products_low_in_stock(self, *, page: int, size: int) -> Page[Product]:
        """Those on sale of which `LOW_STOCK_MAX` or fewer are left, the fewest first."""
        ...

    def categories(self) -> Sequence[Category]:
        """All, in the order of the menu."""
        ...

    def category(self, category_id: str) -> Category | None: ...
    def category_by_slug(self, slug: str) -> Category | None: ...

    def cart(self, cart_id: str) -> Cart | None: ...

    def order(self, number: str) -> Order | None: ...
    def order_by_checkout_key(self, checkout_key: str) -> Order | None: ...
    def orders(self, *, words: str, status: str, page: int, size: int) -> Page[Order]:
        """Newest first; *status* "" for all; *words* found in number, name or e-mail."""
        ...

    def admin(self, admin_id: str) -> Admin | None: ...

    def counts(self) -> Mapping[str, int]:
        """How many records each collection holds."""
        ...


class WriteUnit(ReadUnit, Protocol):
    """A `ReadUnit` that can change the shop; it reads its own changes."""

    def put_product(self, product: Product) -> None:
        """Raises `Invalid` when another product has its SKU or slug. Its category should be there when the unit is left: a
        repository may refuse the commit with `Conflict` where it is not."""
        ...

    def put_category(self, category: Category) -> None:
        """Raises `Invalid` when another category has its slug."""
        ...

    def put_cart(self, cart: Cart) -> None: ...
    def delete_cart(self, cart_id: str) -> None: ...
    def put_order(self, order: Order) -> None:
        """Raises `Conflict` when another order was made under its checkout key."""
        ...

    def delete_product(self, product_id: str) -> None:
        """For what was never sold to anybody, as in a drill; the shop archives. Carts may still name it, orders may not."""
        ...

    def delete_order(self, number: str) -> None:
        """For what nobody ever ordered, as in a drill; the shop cancels. The number is not issued again."""
        ...

    def put_admin(self, admin: Admin) -> None: ...

    def next_order_number(self) -> str:
        """Like "A<timeline>-<running number>"; never issued twice, in no timeline of this shop. Some may be left out."""
        ...
