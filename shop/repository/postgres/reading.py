"""Reading: one snapshot of one server."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from msgspec.structs import replace

from shop.models import LOW_STOCK_MAX, Admin, Cart, Category, Order, Product
from shop.repository.postgres.connection import Connection, Row
from shop.repository.postgres.kept import Answers
from shop.repository.postgres.records import (
    ADMINS,
    CARTS,
    CATEGORIES,
    LEXEME_LENGTH_MAX,
    ORDERS,
    PRODUCTS,
    Table,
    search,
)
from shop.text import words_of
from shop.units import CatalogQuery, Page, Position

R = TypeVar("R")

PAGE_NUMBER_MAX = 10**9

_SORTS = {  # each ends in the id, so that no two are equal
    "name": "t.name_folded, t.id",
    "price": "t.price_cents, t.name_folded, t.id",
    "-price": "t.price_cents DESC, t.name_folded, t.id",
    "newest": "t.created_at DESC, t.name_folded, t.id",
}
_BY_STOCK = "t.stock, t.name_folded, t.id"
_BY_RUNNING = "t.running DESC, t.number"

_COUNTS = """
SELECT (SELECT count(*) FROM categories), (SELECT count(*) FROM products), (SELECT count(*) FROM carts),
       (SELECT count(*) FROM orders), (SELECT count(*) FROM order_numbers WHERE is_called), (SELECT count(*) FROM admins)
"""
_COLLECTIONS = ("categories", "products", "carts", "orders", "counters", "admins")

# The page of a list, its total, and the last page for a number past the end: in one statement, so of one moment.
# The ids of the page are found first, by an index alone where there is one; only then are whole rows read.
_PAGE = """
WITH found AS {materialized} (SELECT t.* FROM (SELECT {key}, {sorted} FROM {table} WHERE {where}) t),
     total AS (SELECT count(*) AS n FROM {counted}),
     page AS (SELECT t.{key} FROM found t ORDER BY {order} LIMIT %(size)s
              OFFSET (SELECT (least(%(number)s, greatest(1, (n + %(size)s - 1) / %(size)s)) - 1) * %(size)s FROM total))
SELECT {expressions}, (SELECT n FROM total) FROM page JOIN {table} t ON t.{key} = page.{key} ORDER BY {order}
"""


class Reader:
    """A unit that reads. `position` is at or after everything that it shows."""

    lock = ""  # what a query by key ends in

    def __init__(self, connection: Connection, position: Position, answers: Answers | None = None) -> None:
        self._connection = connection
        self._position = position
        self._answers = answers  # to the same questions under the same snapshot

    def position(self) -> Position:
        return self._position

    # ---- by key

    def product(self, product_id: str) -> Product | None:
        return cast(Product | None, self._by_key(PRODUCTS, "id", product_id))

    def product_by_slug(self, slug: str) -> Product | None:
        return cast(Product | None, self._by_key(PRODUCTS, "slug", slug))

    def product_by_sku(self, sku: str) -> Product | None:
        return cast(Product | None, self._by_key(PRODUCTS, "sku", sku))

    def products(self, product_ids: Iterable[str]) -> Mapping[str, Product]:
        """The rows come, and in an update are locked, in the order of their ids."""
        ids = sorted({id for id in product_ids if is_text(id)})
        if not ids:
            return {}
        rows = self._rows(f"{PRODUCTS.select()} WHERE t.id = ANY(%s) ORDER BY t.id{self.lock}", [ids])
        return {row[0]: self._read(PRODUCTS, row) for row in rows}

    def category(self, category_id: str) -> Category | None:
        return cast(Category | None, self._by_key(CATEGORIES, "id", category_id))

    def category_by_slug(self, slug: str) -> Category | None:
        return cast(Category | None, self._by_key(CATEGORIES, "slug", slug))

    def cart(self, cart_id: str) -> Cart | None:
        return cast(Cart | None, self._by_key(CARTS, "id", cart_id))

    def order(self, number: str) -> Order | None:
        return cast(Order | None, self._by_key(ORDERS, "number", number))

    def order_by_checkout_key(self, checkout_key: str) -> Order | None:
        return cast(Order | None, self._by_key(ORDERS, "checkout_key", checkout_key))

    def admin(self, admin_id: str) -> Admin | None:
        return cast(Admin | None, self._by_key(ADMINS, "id", admin_id))

    # ---- lists

    def categories(self) -> Sequence[Category]:
        return list(self._answered("categories", self._categories))

    def _categories(self) -> tuple[Category, ...]:
        rows = self._rows(f"{CATEGORIES.select()} ORDER BY t.rank, t.name_folded, t.id")
        return tuple(self._read(CATEGORIES, row) for row in rows)

    def catalog(self, query: CatalogQuery) -> Page[Product]:
        page = self._answered(("catalog", query), lambda: self._catalog(query))
        return replace(page, items=list(page.items))

    def _catalog(self, query: CatalogQuery) -> Page[Product]:
        words = words_of(query.words)
        if query.words.strip() and not words:
            return _empty(query.size)
        where, parameters = ["NOT is_archived"], {}
        if query.category_slug:
            where.append("category_id = (SELECT id FROM categories WHERE slug = %(slug)s)")
            parameters["slug"] = query.category_slug if is_text(query.category_slug) else ""
        if query.in_stock:
            where.append("stock > 0")
        order = _SORTS.get(query.sort, _SORTS["name"])
        return self._products(where, parameters, words, order, query.page, query.size)

    def admin_products(self, *, words: str, archived: bool, page: int, size: int) -> Page[Product]:
        where = ["is_archived" if archived else "NOT is_archived"]
        return self._products(where, {}, words_of(words), _SORTS["name"], page, size)

    def products_low_in_stock(self, *, page: int, size: int) -> Page[Product]:
        where = ["NOT is_archived", "stock <= %(low)s"]
        return self._products(where, {"low": LOW_STOCK_MAX}, [], _BY_STOCK, page, size)

    def orders(self, *, words: str, status: str, page: int, size: int) -> Page[Order]:
        typed = words_of(words)
        where, parameters = ["true"], {"status": status}
        if status:
            if not is_text(status):
                return _empty(size)
            where.append("status = %(status)s")
        if not self._add_search(where, parameters, typed, [()] * len(typed)):
            return _empty(size)
        return self._page(ORDERS, where, parameters, "running", _BY_RUNNING, page, size, is_search=bool(typed))

    def counts(self) -> Mapping[str, int]:
        return dict(zip(_COLLECTIONS, self._rows(_COUNTS)[0], strict=True))

    # ---- how

    def _products(
        self,
        where: list[str],
        parameters: dict[str, Any],
        words: Sequence[str],
        order: str,
        page: int,
        size: int,
    ) -> Page[Product]:
        if not self._add_search(where, parameters, words, self._categories_found(words)):
            return _empty(size)
        columns = "name_folded, price_cents, created_at, stock" if words or "t.stock" in order else _columns_of(order)
        return self._page(PRODUCTS, where, parameters, columns, order, page, size, is_search=bool(words))

    def _add_search(
        self, where: list[str], parameters: dict[str, Any], words: Sequence[str], categories: Sequence[Sequence[str]]
    ) -> bool:
        """False when nothing can be found: lexemes are cut, so that no word begins with one longer than they are."""
        if any(len(word) > LEXEME_LENGTH_MAX for word in words):
            return False
        if words:
            where.append("words @@ %(search)s::tsquery")
            parameters["search"] = search(words, categories)
        return True

    def _categories_found(self, words: Sequence[str]) -> Sequence[Sequence[str]]:
        """For each word the categories that it finds."""
        if not words or any(len(word) > LEXEME_LENGTH_MAX for word in words):
            return [()] * len(words)
        queries = [search([word], [()]) for word in words]
        rows = self._rows(
            "SELECT q.place, array_agg(c.id) FROM unnest(%s::text[]) WITH ORDINALITY q(query, place)"
            " JOIN categories c ON c.words @@ q.query::tsquery GROUP BY q.place",
            [queries],
        )
        found: Mapping[int, Sequence[str]] = dict(rows)
        return [found.get(place, ()) for place in range(1, len(words) + 1)]

    def _page(
        self,
        table: Table,
        where: Sequence[str],
        parameters: dict[str, Any],
        columns: str,
        order: str,
        number: int,
        size: int,
        *,
        is_search: bool,
    ) -> Page[Any]:
        """*is_search*: what matches is gathered first; else the planner, hoping for a match soon, may walk a whole index."""
        size = max(1, size)
        number = max(1, min(number, PAGE_NUMBER_MAX))
        condition = " AND ".join(where)
        statement = _PAGE.format(
            materialized="MATERIALIZED" if is_search else "NOT MATERIALIZED",
            key=table.key,
            sorted=columns,
            table=table.name,
            where=condition,
            counted="found" if is_search else f"{table.name} WHERE {condition}",
            order=order,
            expressions=table.expressions,
        )
        rows = self._rows(statement, {**parameters, "size": size, "number": number})
        total = int(rows[0][-1]) if rows else 0
        shown = min(number, max(1, -(-total // size)))
        return Page(items=[self._read(table, row) for row in rows], total=total, number=shown, size=size)

    def _by_key(self, table: Table, column: str, key: str) -> Any:
        if not is_text(key):
            return None
        return self._answered((table.name, column, key), lambda: self._one(table, column, key))

    def _one(self, table: Table, column: str, key: str) -> Any:
        rows = self._rows(self._query(table, column), [key])
        return self._read(table, rows[0]) if rows else None

    def _answered(self, question: Hashable, ask: Callable[[], R]) -> R:
        return ask() if self._answers is None else self._answers.get(question, ask)

    def _query(self, table: Table, column: str) -> str:
        return f"{table.select()} WHERE t.{column} = %s{self.lock}"

    def _read(self, table: Table, row: Row) -> Any:
        return table.record(row)

    def _rows(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        return self._connection.execute(statement.encode(), parameters or None).fetchall()


def _columns_of(order: str) -> str:
    """The columns of a sort besides the id, by which an index that has them answers alone."""
    names = [part.strip().removeprefix("t.").removesuffix(" DESC") for part in order.split(",")]
    return ", ".join(name for name in names if name != "id")


def _empty(size: int) -> Page[Any]:
    return Page(items=[], total=0, number=1, size=max(1, size))


def is_text(key: str) -> bool:
    """Whether PostgreSQL can hold *key* at all; what it cannot hold is not there."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in key
