"""The shop's files as anybody may read them: with the standard library, and none of the shop's code."""

import json
import zlib
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

COLLECTIONS = ("products", "categories", "carts", "orders", "counters", "admins")

Database = dict[str, Any]


def read_database(path: Path) -> Database:
    """One of the two files; it is whole at any moment, because it is only ever replaced."""
    database = json.loads(path.read_bytes())
    assert isinstance(database, dict)
    return database


def primary(instance: Path) -> Database:
    return read_database(instance / "db.json")


def replica(instance: Path) -> Database:
    return read_database(instance / "db_async.json")


def collections(database: Database) -> Database:
    """The records alone, without the header."""
    return {name: database.get(name, {}) for name in COLLECTIONS}


def position(database: Database) -> tuple[int, int, str]:
    return database["timeline"], database["lsn"], database["checksum"]


def are_equal(instance: Path) -> bool:
    """Both files at the same position with the same records."""
    left, right = primary(instance), replica(instance)
    return position(left) == position(right) and collections(left) == collections(right)


def journal_checksums(path: Path) -> dict[int, str]:
    """LSN -> checksum of each whole line of a journal."""
    found = {}
    for line in path.read_bytes().split(b"\n"):
        if line[:8] == b'{"crc":"' and line[8:16] == b"%08x" % zlib.crc32(line[18:]):
            commit = json.loads(line)
            found[commit["lsn"]] = commit["checksum"]
    return found


def sold(database: Database) -> Counter[str]:
    """Pieces of each product in the orders that stand."""
    pieces: Counter[str] = Counter()
    for order in database["orders"].values():
        if order.get("status", "placed") != "cancelled":
            for line in order["lines"]:
                pieces[line["product_id"]] += line["quantity"]
    return pieces


def check_books(database: Database, stock_at_first: dict[str, int]) -> None:
    """No order is half there, and what was sold and what is left make up what there was."""
    for number, order in database["orders"].items():
        assert order["number"] == number
        assert order["lines"], number
        subtotal = sum(line["price_cents"] * line["quantity"] for line in order["lines"])
        assert order["subtotal_cents"] == subtotal, number
        assert order["total_cents"] == subtotal + order["shipping_cents"], number
    pieces = sold(database)
    stock = {id: product["stock"] for id, product in database["products"].items()}
    assert {id: stock[id] + pieces[id] for id in stock} == stock_at_first
    keys = [order["checkout_key"] for order in database["orders"].values()]
    assert len(set(keys)) == len(keys)


def committed_at(journal: Path, collection: str, id: str) -> float:
    """When the journal says that a record was first committed, in seconds of the wall clock."""
    for line in journal.read_text().rstrip("\0").splitlines():
        commit = json.loads(line)
        if any(op[:2] == [collection, id] for op in commit["ops"]):
            return datetime.fromisoformat(commit["at"]).timestamp()
    raise AssertionError(f"{collection} {id} is not in {journal}")
