"""Buyers who take "not just now" for an answer and come again, and what must be true of a pair of servers beside their ledgers."""

import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from shop.cart import costs
from shop.demo.goods import GOODS
from tests.e2e import shop_files
from tests.e2e.buyers import STOCK_AT_FIRST, Buyer, Crowd, Purchase
from tests.e2e.shopper import Reply, Shopper

SETTLE_SECONDS_MAX = 30.0
PRICES = {f"p-{good.sku.lower()}": good.price_cents for good in GOODS}
AGAIN_SECONDS = 0.05  # sooner than they are asked to: that is what a crowd does


class NotNow(Exception):
    """A 503."""


class PatientShopper(Shopper):
    """Raises `NotNow` for a 503 that says when to come again, or that nobody knows what became of what was asked."""

    def request(self, method: str, path: str, body: bytes | None = None) -> Reply:
        reply = super().request(method, path, body)
        if reply.status != 503:
            return reply
        is_unknown = "It may have been kept, once, or not at all" in reply.text
        assert is_unknown or int(reply.headers.get("Retry-After", 0)) > 0, (
            f"503 {path} without Retry-After\n{reply.text}"
        )
        assert "<h1" in reply.text, f"503 {path} is no page\n{reply.text}"
        raise NotNow(path)


class PatientBuyer(Buyer):
    """A visitor for each purchase. Sends again what was not answered until it is, or until the shop says that the cart is no more."""

    def __init__(self, name: str, seed: int) -> None:
        super().__init__(name, seed)
        self.turned_away = 0  # how often
        self.given_up: set[str] = set()  # purchases, by e-mail: sent, never confirmed, and the cart was lost

    def settle(self, url: str) -> None:
        if self._unanswered and self._shopper:
            self._shopper.move(url)
            deadline = time.monotonic() + SETTLE_SECONDS_MAX
            while self._unanswered:
                assert time.monotonic() < deadline, f"{self.name} is still told: not just now"
                self._try_again(self._unanswered)

    def _buy_on(self, url: str) -> None:
        self.settle(url)
        while not self.stop.is_set():
            try:
                purchase = self._unanswered or self._fill_in_anew(url)
            except NotNow:
                self._wait()
                continue
            except AssertionError as puzzled:
                if "has no form for /checkout" not in str(puzzled):  # a failover has lost the cart
                    raise
                continue
            self._try_again(purchase)

    def _fill_in_anew(self, url: str) -> Purchase:
        """As another visitor: what a failover left in the cart of the one before is not known."""
        self.close()
        self._shopper = PatientShopper(url)
        purchase = self._fill_in()
        subtotal = sum(PRICES[id] * quantity for id, quantity in purchase.lines)
        if int(purchase.form.fields["expected_total_cents"]) != costs(subtotal).total_cents:
            raise NotNow(
                "/checkout"
            )  # a failover took some of it out of the cart, as the page shows: no such order then
        return purchase

    def _try_again(self, purchase: Purchase) -> None:
        try:
            self._send(purchase)
        except NotNow:
            self._wait()
        except AssertionError as refused:
            if str(refused) != "/cart" and not str(refused).startswith("409"):  # where a cart that is no more leads
                raise
            self.given_up.add(purchase.email)
            self._unanswered = None

    def _wait(self) -> None:
        self.turned_away += 1
        time.sleep(AGAIN_SECONDS)


class PatientCrowd(Crowd):
    """Several of them."""

    def __init__(self, size: int) -> None:
        self.patient = [PatientBuyer(f"patient{number}", seed=number) for number in range(size)]
        self.buyers = list(self.patient)

    def numbers(self) -> set[str]:
        """Of the orders that were confirmed."""
        return {number for buyer in self.buyers for number in buyer.confirmed.values()}

    def turned_away(self) -> int:
        return sum(buyer.turned_away for buyer in self.patient)


class Lost:
    """What stands in `lost/`, read without the shop's code."""

    def __init__(self, instance: Path) -> None:
        folder = instance / "lost"
        self.commits: dict[str, dict[str, Any]] = {}
        self.decided: set[str] = set()
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name.endswith(".done.json"):
                self.decided.add(path.name.removesuffix(".done.json"))
            else:
                self.commits[path.name.removesuffix(".jsonl")] = json.loads(path.read_bytes())

    def of(self, timeline: int) -> set[str]:
        """The commits that were left behind on *timeline*."""
        return {id for id in self.commits if id.startswith(f"{timeline}-")}

    def orders(self, ids: set[str]) -> dict[str, dict[str, Any]]:
        """Orders by their number, of these commits."""
        return {
            id: record
            for commit in ids
            for collection, id, record in self.commits[commit]["ops"]
            if collection == "orders" and record is not None
        }


def read_orders(url: str) -> shop_files.Database:
    """Orders and stock of a server, in the shape of `db.json`, read without the shop's code."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        orders = {row["number"]: {**row, "lines": []} for row in connection.execute("SELECT * FROM orders")}
        for line in connection.execute("SELECT * FROM order_lines ORDER BY place"):
            orders[line["order_number"]]["lines"].append(line)
        products = {row["id"]: row for row in connection.execute("SELECT id, stock FROM products")}
    return {"orders": orders, "products": products}


def check_orders(database: shop_files.Database, crowd: PatientCrowd) -> None:
    """Each is somebody's, as it was sent, and none of the confirmed ones is there twice; the books add up."""
    shop_files.check_books(database, STOCK_AT_FIRST)
    sent = {email: lines for buyer in crowd.buyers for email, lines in buyer.sent.items()}
    confirmed = {email for buyer in crowd.buyers for email in buyer.confirmed}
    emails = Counter(order["email"] for order in database["orders"].values())
    twice = [email for email, count in emails.items() if count > 1 and email in confirmed]
    assert not twice, f"ordered twice: {twice}"
    for order in database["orders"].values():
        lines = {(line["product_id"], line["quantity"]) for line in order["lines"]}
        wanted = sent[order["email"]]
        assert lines == wanted, f"{order['number']} holds {sorted(lines)}, sent was {sorted(wanted)}"


def money_on(page: str) -> int:
    """The cents of the first sum that starts with € on the page; 0 without one."""
    found = re.search(r"€([0-9,]+)\.([0-9]{2})", page)
    return int(found[1].replace(",", "")) * 100 + int(found[2]) if found else 0
