"""Buyers who keep a ledger of what they were told, and what must be true of the shop's files beside it."""

import http.client
import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from shop.demo.goods import GOODS
from tests.e2e import shop_files
from tests.e2e.shop_process import wait_until
from tests.e2e.shopper import Form, Reply, Shopper, number_of

FIRST_ORDER_SECONDS_MAX = 20

PLENTY = [good for good in GOODS if good.stock >= 500]
STOCK_AT_FIRST = {f"p-{good.sku.lower()}": good.stock for good in GOODS}
SERVER_GONE = (OSError, http.client.HTTPException)

Lines = frozenset[tuple[str, int]]


class Purchase(NamedTuple):
    """An order as the buyer knows it: what was on the form when it was sent."""

    email: str  # names this purchase and no other
    lines: Lines
    form: Form


class Buyer:
    """Buys until the server goes away or `stop` is set; what it was told is its ledger. What was never answered is sent again."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.sent: dict[str, Lines] = {}  # by e-mail
        self.confirmed: dict[str, str] = {}  # e-mail -> number
        self.fault: BaseException | None = None
        self.stop = threading.Event()
        self._random = random.Random(seed)
        self._shopper: Shopper | None = None
        self._unanswered: Purchase | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether an order was sent and never answered."""
        return self._unanswered is not None

    def run(self, url: str) -> None:
        try:
            self._buy_on(url)
        except SERVER_GONE:
            pass
        except BaseException as fault:
            self.fault = fault

    def settle(self, url: str) -> None:
        """Send again what was never answered."""
        if self._unanswered and self._shopper:
            self._shopper.move(url)
            self._send(self._unanswered)

    def close(self) -> None:
        if self._shopper:
            self._shopper.close()

    def _buy_on(self, url: str) -> None:
        self.settle(url)
        self.close()
        self._shopper = Shopper(url)
        while not self.stop.is_set():
            self._send(self._fill_in())

    def _fill_in(self) -> Purchase:
        assert self._shopper
        chosen = {good.slug: (f"p-{good.sku.lower()}", good) for good in self._random.sample(PLENTY, 2)}
        lines = set()
        for slug, (product_id, _) in chosen.items():
            quantity = self._random.randint(1, 3)
            added = self._shopper.add_to_cart(slug, quantity)
            assert added.status == 303, f"{added.status} {added.text[:2000]}"
            lines.add((product_id, quantity))
        email = f"{self.name}-{len(self.sent) + 1}@example.com"
        return Purchase(email, frozenset(lines), self._shopper.checkout_form(email=email))

    def _send(self, purchase: Purchase) -> None:
        assert self._shopper
        self._unanswered = purchase
        self.sent[purchase.email] = purchase.lines
        reply: Reply = self._shopper.send(purchase.form)
        self.confirmed[purchase.email] = number_of(reply)
        self._unanswered = None


class Crowd:
    """Several buyers, and what they know together."""

    def __init__(self, size: int, *, name: str = "buyer") -> None:
        self.buyers = [Buyer(f"{name}{number}", seed=number) for number in range(size)]

    @contextmanager
    def buying(self, url: str) -> Iterator[None]:
        """All of them buy; the block begins when one has bought something more, and whoever ends the server or the block ends them."""
        confirmed = self.confirmed()
        for buyer in self.buyers:
            buyer.stop.clear()
        threads = [threading.Thread(target=buyer.run, args=(url,)) for buyer in self.buyers]
        for thread in threads:
            thread.start()
        try:
            wait_until(
                lambda: self.confirmed() > confirmed or any(buyer.fault for buyer in self.buyers),
                seconds=FIRST_ORDER_SECONDS_MAX,
                what="somebody has bought something",
                every=0.001,
            )
            yield
        finally:
            for buyer in self.buyers:
                buyer.stop.set()
            for thread in threads:
                thread.join()
        for buyer in self.buyers:
            if buyer.fault:
                raise buyer.fault

    def confirmed(self) -> int:
        """Orders."""
        return sum(len(buyer.confirmed) for buyer in self.buyers)

    def sent(self) -> int:
        return sum(len(buyer.sent) for buyer in self.buyers)

    def waiting(self) -> int:
        """Buyers whose order was sent and not answered."""
        return sum(buyer.is_waiting for buyer in self.buyers)

    def settle(self, url: str) -> None:
        """Send again what was never answered."""
        for buyer in self.buyers:
            buyer.settle(url)

    def close(self) -> None:
        for buyer in self.buyers:
            buyer.close()


def check_ledger(database: shop_files.Database, buyers: Sequence[Buyer]) -> None:
    """What was confirmed is there, once, as it was sent; what was not is there at most once; the books add up."""
    shop_files.check_books(database, STOCK_AT_FIRST)
    orders = database["orders"]
    by_email = Counter(order["customer"]["email"] for order in orders.values())
    assert not [email for email, count in by_email.items() if count > 1]
    sent = {email: lines for buyer in buyers for email, lines in buyer.sent.items()}
    assert set(by_email) <= set(sent)
    for order in orders.values():
        lines = {(line["product_id"], line["quantity"]) for line in order["lines"]}
        assert lines == sent[order["customer"]["email"]]
    check_confirmed(database, buyers)


def check_confirmed(database: shop_files.Database, buyers: Sequence[Buyer]) -> None:
    """No order that a buyer was told of is missing or another one's."""
    orders = database["orders"]
    for buyer in buyers:
        for email, number in buyer.confirmed.items():
            assert number in orders, f"{number} of {email} was confirmed and is gone"
            assert orders[number]["customer"]["email"] == email


def check_replica_is_a_prefix(instance: Path, history: dict[int, str]) -> None:
    """While nothing runs: the replica's file is the primary's past, whole. *history* remembers the checksums from one check to the next."""
    for lsn, checksum in shop_files.journal_checksums(instance / "db.journal").items():
        assert history.setdefault(lsn, checksum) == checksum, f"LSN {lsn} was written twice"
    replica = shop_files.replica(instance)
    _, lsn, checksum = shop_files.position(replica)
    assert history.get(lsn, checksum) == checksum, f"the replica's LSN {lsn} is not the primary's"
    if replica["products"]:
        shop_files.check_books(replica, STOCK_AT_FIRST)
    orders = shop_files.primary(instance)["orders"]
    assert replica["orders"].items() <= orders.items() or lsn > shop_files.primary(instance)["lsn"]
