"""The repository over the embedded store.

A view is the store's durable state, held: reading takes no lock and waits for nobody. An update is the store's: one at a time,
checked on the pending head, durable when the block has been left, and then shown by the file as the design promises.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Protocol, TypeVar

from shop.errors import Conflict, Invalid, ShopError, WritesUnavailable
from shop.models import LOW_STOCK_MAX, Admin, Cart, Category, Counter, Order, Product
from shop.repository import schema
from shop.repository.contract import Gate, Pass
from shop.repository.listing import Listing, Newest, Plan, searchable
from shop.store import DuplicateKey, OutcomeUnknown, State, Store, StoreError, StoreFull, Unit
from shop.store.maps import PersistentMap
from shop.text import fold, words_of
from shop.units import CatalogQuery, Page, Position, ReadUnit, WriteUnit

R = TypeVar("R")

FIRST_ORDER = 10_001
ORDER_COUNTER = "orders"
FULL_RETRY_SECONDS = 5

_TAKEN = {  # unique index -> the field to mark, and the sentence
    schema.PRODUCT_SKU: ("sku", "Another product has this SKU."),
    schema.PRODUCT_SLUG: ("name", "Another product has the address that this name leads to."),
    schema.CATEGORY_SLUG: ("name", "Another category has the address that this name leads to."),
}


class EmbeddedRepository:
    """The shop's records in a store of `schema.SCHEMA` and `schema.INDEXES`.

    `after_commit` is called with the position of each commit that this repository made, when the commit is durable and shown,
    on the thread that made it: what raises or waits there holds up that writer alone.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.after_commit: list[Callable[[Position], None]] = []
        self.gate: Gate | None = None
        self._lists = _Lists()

    def switch(self, store: Store) -> None:
        """Go on with *store*: the other side, after a promotion. Units that have begun finish on the old one."""
        self.store = store

    @contextmanager
    def view(self) -> Iterator[ReadUnit]:
        """A snapshot that never changes while it is held."""
        yield self.view_of(self.store.state)

    def view_of(self, state: State) -> ReadUnit:
        """The same over a state of this store that the caller holds."""
        return _Reader(state, self._lists)

    def warm(self) -> None:
        """Make the lists of the catalog and the index of its words now, which the first search would have to wait for."""
        self._lists.sold.of(self.store.state.map("products")).warm()

    def update(self) -> AbstractContextManager[WriteUnit]:
        """Leaving the block commits all of it or nothing; raises `WritesUnavailable` when it cannot be kept."""
        return _Update(self)

    def is_writable(self) -> bool:
        return not self.why_read_only()

    def why_read_only(self) -> str:
        """For the people in front of the page; the store's own `problem` names files and is for operators."""
        store = self.store
        if not store.is_writable:
            return _sentence(store)
        return self.gate.why_closed() if self.gate is not None else ""


class _Update:
    """The block of `EmbeddedRepository.update`."""

    def __init__(self, repository: EmbeddedRepository) -> None:
        self._repository = repository
        self._store = repository.store
        self._unit = self._store.update()
        self._pass: Pass | None = None

    def __enter__(self) -> WriteUnit:
        gate = self._repository.gate
        self._pass = gate.enter() if gate is not None else None
        try:
            return _Writer(self._unit.__enter__(), self._repository._lists)
        except BaseException as error:
            self._leave(None)
            if isinstance(error, StoreError):
                raise _unavailable(self._store, error) from error
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        committed = None
        if self._pass is not None and error is None:
            self._pass.commits()
        try:
            self._unit.__exit__(kind, error, trace)
            if self._unit.committed is not None:
                committed = Position(*self._unit.committed)
                self._store.wait_shown(committed.lsn)
        except StoreError as failure:
            raise _unavailable(self._store, failure) from failure
        finally:
            self._leave(committed)
        if committed is not None:
            for call in self._repository.after_commit:
                call(committed)

    def _leave(self, committed: Position | None) -> None:
        if self._pass is not None:
            self._pass.leave(committed)


class _Records(Protocol):
    """What a state and an open unit of the store have in common."""

    @property
    def position(self) -> Any: ...

    def get(self, collection: str, id: str) -> Any: ...
    def find(self, index: str, key: str) -> str | None: ...
    def items(self, collection: str) -> Iterator[tuple[str, Any]]: ...
    def count(self, collection: str) -> int: ...


class _Unit:
    """Reading, from a snapshot or inside an update; only the lists are made differently."""

    def __init__(self, records: _Records) -> None:
        self._records = records

    def position(self) -> Position:
        return Position(*self._records.position)

    def product(self, product_id: str) -> Product | None:
        return self._record("products", product_id, Product)

    def product_by_slug(self, slug: str) -> Product | None:
        return self._found(schema.PRODUCT_SLUG, slug, "products", Product)

    def product_by_sku(self, sku: str) -> Product | None:
        return self._found(schema.PRODUCT_SKU, sku, "products", Product)

    def products(self, product_ids: Iterable[str]) -> Mapping[str, Product]:
        found = ((id, self.product(id)) for id in product_ids)
        return {id: product for id, product in found if product is not None}

    def category(self, category_id: str) -> Category | None:
        return self._record("categories", category_id, Category)

    def category_by_slug(self, slug: str) -> Category | None:
        return self._found(schema.CATEGORY_SLUG, slug, "categories", Category)

    def categories(self) -> Sequence[Category]:
        return self._categories().menu

    def cart(self, cart_id: str) -> Cart | None:
        return self._record("carts", cart_id, Cart)

    def order(self, number: str) -> Order | None:
        return self._record("orders", number, Order)

    def order_by_checkout_key(self, checkout_key: str) -> Order | None:
        return self._found(schema.ORDER_CHECKOUT_KEY, checkout_key, "orders", Order)

    def admin(self, admin_id: str) -> Admin | None:
        return self._record("admins", admin_id, Admin)

    def counts(self) -> Mapping[str, int]:
        return {collection: self._records.count(collection) for collection in schema.SCHEMA}

    def catalog(self, query: CatalogQuery) -> Page[Product]:
        words, categories, facet = words_of(query.words), self._categories(), None
        if query.category_slug:
            category = self.category_by_slug(query.category_slug)
            facet = category.id if category else ""
        if query.words.strip() and not words:
            return _page([], query.page, query.size, self.product)
        ids = self._sold().ids(
            sort=query.sort if query.sort in _SOLD.sorts else "name",
            words=words,
            facet=facet,
            without_flagged=query.in_stock,
            facet_texts=categories.texts,
        )
        return _page(ids, query.page, query.size, self.product)

    def admin_products(self, *, words: str, archived: bool, page: int, size: int) -> Page[Product]:
        listing = self._archived() if archived else self._sold()
        ids = listing.ids(
            sort="name",
            words=words_of(words),
            facet=None,
            without_flagged=False,
            facet_texts=self._categories().texts,
        )
        return _page(ids, page, size, self.product)

    def products_low_in_stock(self, *, page: int, size: int) -> Page[Product]:
        ids = self._low().ids(sort="stock", words=[], facet=None, without_flagged=False, facet_texts={})
        return _page(ids, page, size, self.product)

    def orders(self, *, words: str, status: str, page: int, size: int) -> Page[Order]:
        numbers = self._orders().ids(
            sort="newest", words=words_of(words), facet=status or None, without_flagged=False, facet_texts={}
        )
        return _page(numbers, page, size, self.order)

    def _record(self, collection: str, id: str, kind: type[R]) -> R | None:
        record = self._records.get(collection, id)
        return record if isinstance(record, kind) else None

    def _found(self, index: str, key: str, collection: str, kind: type[R]) -> R | None:
        id = self._records.find(index, key)
        return None if id is None else self._record(collection, id, kind)

    def _sold(self) -> Listing[Product]:
        return Listing(_SOLD, self._map("products"))

    def _archived(self) -> Listing[Product]:
        return Listing(_ARCHIVED, self._map("products"))

    def _low(self) -> Listing[Product]:
        return Listing(_LOW, self._map("products"))

    def _orders(self) -> Listing[Order]:
        return Listing(_ORDERS, self._map("orders"))

    def _categories(self) -> "_Categories":
        return _Categories(self._map("categories"))

    def _map(self, collection: str) -> PersistentMap[Any]:
        return PersistentMap(dict(self._records.items(collection)))


class _Reader(_Unit):
    """One durable state. Its lists are kept from one reader to the next."""

    def __init__(self, state: State, lists: "_Lists") -> None:
        super().__init__(state)
        self._state = state
        self._lists = lists

    def _sold(self) -> Listing[Product]:
        return self._lists.sold.of(self._state.map("products"))

    def _archived(self) -> Listing[Product]:
        return self._lists.archived.of(self._state.map("products"))

    def _low(self) -> Listing[Product]:
        return self._lists.low.of(self._state.map("products"))

    def _orders(self) -> Listing[Order]:
        return self._lists.orders.of(self._state.map("orders"))

    def _categories(self) -> "_Categories":
        return self._lists.categories_of(self._state.map("categories"))


class _Writer(_Unit):
    """An open update. Its lists are made anew each time, of all that it sees: right, and slow in a big shop."""

    def __init__(self, unit: Unit, lists: "_Lists") -> None:
        super().__init__(unit)
        self._unit = unit

    def put_product(self, product: Product) -> None:
        self._put("products", product.id, product)

    def put_category(self, category: Category) -> None:
        self._put("categories", category.id, category)

    def put_cart(self, cart: Cart) -> None:
        self._put("carts", cart.id, cart)

    def delete_cart(self, cart_id: str) -> None:
        self._unit.delete("carts", cart_id)

    def put_order(self, order: Order) -> None:
        self._put("orders", order.number, order)

    def delete_product(self, product_id: str) -> None:
        self._unit.delete("products", product_id)

    def delete_order(self, number: str) -> None:
        self._unit.delete("orders", number)

    def put_admin(self, admin: Admin) -> None:
        self._put("admins", admin.id, admin)

    def next_order_number(self) -> str:
        last = self._record("counters", ORDER_COUNTER, Counter)
        number = last.value + 1 if last else FIRST_ORDER
        self._put("counters", ORDER_COUNTER, Counter(id=ORDER_COUNTER, value=number))
        return f"A{self._unit.position.timeline}-{number}"

    def _put(self, collection: str, id: str, record: Any) -> None:
        try:
            self._unit.put(collection, id, record)
        except DuplicateKey as taken:
            raise _refusal(taken) from taken


class _Categories:
    """One version of the categories: the menu, and what a search finds them by."""

    def __init__(self, records: PersistentMap[Category]) -> None:
        self.records = records
        self.menu = sorted(records.values(), key=lambda category: (category.rank, fold(category.name), category.id))
        self.texts = {category.id: searchable(category.name) for category in self.menu}


class Snapshots:
    """Read units over states of one store, whoever writes it; what they list is kept apart from what another store's readers list."""

    def __init__(self) -> None:
        self._lists = _Lists()

    def of(self, state: State) -> ReadUnit:
        return _Reader(state, self._lists)


class _Lists:
    """What is kept between readers. Each is tied to the map it was made of, so an old one is never taken for a new one."""

    def __init__(self) -> None:
        self.sold: Newest[Product] = Newest(_SOLD)
        self.archived: Newest[Product] = Newest(_ARCHIVED)
        self.low: Newest[Product] = Newest(_LOW)
        self.orders: Newest[Order] = Newest(_ORDERS)
        self._categories: _Categories | None = None

    def categories_of(self, records: PersistentMap[Category]) -> _Categories:
        kept = self._categories
        if kept is None or kept.records is not records:
            kept = self._categories = _Categories(records)
        return kept


def _page(ids: Sequence[str], number: int, size: int, read: Callable[[str], R | None]) -> Page[R]:
    """The page of *ids*, read now; past the end it is the last one."""
    total, size = len(ids), max(1, size)
    number = min(max(1, number), max(1, -(-total // size)))
    shown = ids[(number - 1) * size : number * size]
    return Page(items=[record for id in shown if (record := read(id))], total=total, number=number, size=size)


def _refusal(taken: DuplicateKey) -> ShopError:
    if taken.index == schema.ORDER_CHECKOUT_KEY:
        return Conflict("This cart has been ordered already.")
    field, sentence = _TAKEN[taken.index]
    return Invalid({field: sentence})


def _unavailable(store: Store, error: StoreError) -> WritesUnavailable:
    if isinstance(error, OutcomeUnknown):
        return WritesUnavailable(
            "The disk did not confirm this change. It may have been kept, once, or not at all; "
            "please look again when the shop is back, before repeating it.",
            None,
        )
    if isinstance(error, StoreFull):
        return WritesUnavailable(
            "The shop could not keep this: its disk takes no more at the moment. Nothing was changed. Please try again soon.",
            FULL_RETRY_SECONDS,
        )
    return WritesUnavailable(_sentence(store), None if store.needs_restart else FULL_RETRY_SECONDS)


def _sentence(store: Store) -> str:
    if store.needs_restart:
        return "The shop can be read but not changed until its operator has restarted it."
    return "The shop can be read but not changed at the moment. Please try again soon."


def _is_sold(product: Product) -> bool:
    return not product.is_archived


def _is_archived(product: Product) -> bool:
    return product.is_archived


def _is_low_in_stock(product: Product) -> bool:
    return not product.is_archived and product.stock <= LOW_STOCK_MAX


def _by_name(product: Product) -> tuple[Any, ...]:
    return (fold(product.name), product.id)


def _by_stock(product: Product) -> tuple[Any, ...]:
    return (product.stock, fold(product.name), product.id)


def _by_price(product: Product) -> tuple[Any, ...]:
    return (product.price_cents, fold(product.name), product.id)


def _by_price_falling(product: Product) -> tuple[Any, ...]:
    return (-product.price_cents, fold(product.name), product.id)


def _by_newest(product: Product) -> tuple[Any, ...]:
    return (_falling(product.created_at), fold(product.name), product.id)


def _falling(timestamp: str) -> int:
    """Timestamps have one width, so that their digits sort as they do."""
    return -int("".join(sign for sign in timestamp if sign.isdigit()) or "0")


def _product_text(product: Product) -> str:
    return f"{product.name} {product.sku} {product.description}"


def _category_id(product: Product) -> str:
    return product.category_id


def _differs_in_stock_alone(before: Product, after: Product) -> bool:
    return (
        before.name == after.name
        and before.sku == after.sku
        and before.price_cents == after.price_cents
        and before.category_id == after.category_id
        and before.description == after.description
        and before.created_at == after.created_at
    )


def _is_alike(before: Product, after: Product) -> bool:
    return before.stock == after.stock and _differs_in_stock_alone(before, after)


def _is_sold_out(product: Product) -> bool:
    return product.stock <= 0


def _by_number(order: Order) -> tuple[Any, ...]:
    """The running number goes on over timelines, so that it tells the order in which orders were made."""
    running = order.number.rpartition("-")[2]
    return (-int(running) if running.isdecimal() else 0, order.number)


def _order_text(order: Order) -> str:
    return f"{order.number} {order.customer.name} {order.customer.email}"


def _status(order: Order) -> str:
    return order.status.value


def _has_same_status(before: Order, after: Order) -> bool:
    return before.status is after.status and before.customer == after.customer


_SOLD = Plan(
    includes=_is_sold,
    sorts={"name": _by_name, "price": _by_price, "-price": _by_price_falling, "newest": _by_newest},
    text=_product_text,
    facet=_category_id,
    is_listed_alike=_differs_in_stock_alone,
    is_flagged=_is_sold_out,
)
_ARCHIVED = Plan(
    includes=_is_archived,
    sorts={"name": _by_name},
    text=_product_text,
    facet=_category_id,
    is_listed_alike=_differs_in_stock_alone,
    is_flagged=_is_sold_out,
)
_LOW = Plan(
    includes=_is_low_in_stock,
    sorts={"stock": _by_stock},
    text=_product_text,
    facet=_category_id,
    is_listed_alike=_is_alike,
    is_flagged=_is_sold_out,
)
_ORDERS = Plan(
    includes=lambda order: True,
    sorts={"newest": _by_number},
    text=_order_text,
    facet=_status,
    is_listed_alike=_has_same_status,
    is_flagged=lambda order: False,
)
