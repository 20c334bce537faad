"""Records out of the database, in the shop's own types: those that commits put, as the table `commits` keeps them, and single ones."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from shop.losses import Op
from shop.models import Customer, OrderLine
from shop.replication.postgres.servers import Rows, Server
from shop.repository.schema import SCHEMA

Key = tuple[str, str]  # collection, id
Ask = Callable[[str, Sequence[Any]], Rows]

_QUESTIONS = {
    "categories": "SELECT id, to_jsonb(t) FROM categories t WHERE id = ANY(%s)",
    "products": "SELECT id, to_jsonb(t) FROM products t WHERE id = ANY(%s)",
    "carts": "SELECT id, to_jsonb(t) FROM carts t WHERE id = ANY(%s)",
    "orders": "SELECT number, to_jsonb(t) || jsonb_build_object('lines', (SELECT coalesce(jsonb_agg(to_jsonb(l) ORDER BY place), '[]')"
    " FROM order_lines l WHERE l.order_number = t.number)) FROM orders t WHERE number = ANY(%s)",
    "admins": "SELECT id, to_jsonb(t) FROM admins t WHERE id = ANY(%s)",
}
KEPT = 2000
AT_ONCE = 500


def decode(operations: Sequence[Mapping[str, Any]]) -> tuple[Op, ...]:
    """The operations of one commit. Raises `msgspec.ValidationError` when they are not the shop's."""
    return tuple(
        (
            one["collection"],
            one["id"],
            None if one["record"] is None else msgspec.convert(one["record"], SCHEMA[one["collection"]]),
        )
        for one in operations
    )


def read_records(ask: Ask, keys: Iterable[Key]) -> dict[Key, Any]:
    """The records that are there; what is no table of records is not."""
    wanted: dict[str, list[str]] = {}
    for collection, id in keys:
        wanted.setdefault(collection, []).append(id)
    return {
        (collection, id): _record(collection, columns)
        for collection, ids in wanted.items()
        if collection in _QUESTIONS
        for id, columns in ask(_QUESTIONS[collection], (ids,))
    }


def _record(collection: str, columns: dict[str, Any]) -> Any:
    """Columns that are there to sort and search by are none of the record's."""
    kind = SCHEMA[collection]
    if collection == "orders":
        columns["customer"] = _only(Customer, columns)
        columns["lines"] = [_only(OrderLine, line) for line in columns["lines"]]
    return msgspec.convert(_only(kind, columns), kind)


def _only(kind: type[msgspec.Struct], columns: Mapping[str, Any]) -> dict[str, Any]:
    return {name: columns[name] for name in kind.__struct_fields__ if name in columns}


class Operations:
    """The operations of the last commits, read once. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[UUID, tuple[Op, ...]] = OrderedDict()

    def known(self, ids: Iterable[UUID]) -> dict[UUID, tuple[Op, ...]]:
        """Those of which the operations were read before."""
        with self._lock:
            return {id: self._kept[id] for id in ids if id in self._kept}

    def of(self, server: Server, ids: Iterable[UUID]) -> dict[UUID, tuple[Op, ...]]:
        """Of those commits that *server* has, or that are known already. Raises `Unreachable`."""
        wanted = list(ids)
        with self._lock:
            found = {id: self._kept[id] for id in wanted if id in self._kept}
        lacking = [id for id in wanted if id not in found]
        for start in range(0, len(lacking), AT_ONCE):
            rows: Rows = server.ask(
                "SELECT id, operations FROM commits WHERE id = ANY(%s)", (lacking[start : start + AT_ONCE],)
            )
            found |= {id: decode(operations) for id, operations in rows}
        with self._lock:
            for id, operations in found.items():
                self._kept[id] = operations
                self._kept.move_to_end(id)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found
