"""`kill -9` of the real server under buying clients, again and again on the same folder."""

import http.client
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from shop.demo.goods import GOODS
from tests.e2e import shop_files
from tests.e2e.shop_process import ShopProcess, wait_until
from tests.e2e.shopper import Form, Reply, Shopper, number_of

ROUNDS = 60
BUYERS = 8
DELAY_SECONDS = 0.2
LOAD_SECONDS = (0.0, 0.3)  # how long they go on buying after the first confirmation of a round
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
    """Buys until the server goes away; what it was told is its ledger. A purchase without an answer is sent again."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.sent: dict[str, Lines] = {}  # by e-mail
        self.confirmed: dict[str, str] = {}  # e-mail -> number
        self.fault: BaseException | None = None
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
        while True:
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


def test_every_confirmed_order_survives_sixty_kills_once_and_whole(start_shop):
    shop = start_shop(SHOP_REPLICATION_DELAY=str(DELAY_SECONDS))
    chance = random.Random(20261123)
    buyers = [Buyer(f"buyer{number}", seed=number) for number in range(BUYERS)]
    history: dict[int, str] = {}
    resent = 0
    try:
        for _ in range(ROUNDS):
            _load_then_kill(shop, buyers, chance.uniform(*LOAD_SECONDS))
            _check_confirmed(shop_files.primary(shop.instance), buyers)  # the file showed it before the answer was sent
            _check_replica_is_a_prefix(shop.instance, history)
            resent += sum(buyer.is_waiting for buyer in buyers)
            shop.start()
            _check_ledger(shop_files.primary(shop.instance), buyers)
        for buyer in buyers:
            buyer.settle(shop.url)
        _check_end(shop, buyers)
        print(f"{ROUNDS} kills, {len(shop_files.primary(shop.instance)['orders'])} orders, {resent} sent again")
        assert resent >= ROUNDS // 2, "too few orders were on their way when the server was killed"
    finally:
        for buyer in buyers:
            buyer.close()


def _load_then_kill(shop: ShopProcess, buyers: list[Buyer], seconds: float) -> None:
    confirmed = _confirmed(buyers)
    threads = [threading.Thread(target=buyer.run, args=(shop.url,)) for buyer in buyers]
    for thread in threads:
        thread.start()
    wait_until(
        lambda: _confirmed(buyers) > confirmed or any(buyer.fault for buyer in buyers),
        seconds=FIRST_ORDER_SECONDS_MAX,
        what="somebody has bought something",
        every=0.001,
    )
    time.sleep(seconds)  # the moment of a crash is not a condition to wait for
    shop.kill()
    for thread in threads:
        thread.join()
    for buyer in buyers:
        if buyer.fault:
            raise buyer.fault


def _check_ledger(database: shop_files.Database, buyers: list[Buyer]) -> None:
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
    _check_confirmed(database, buyers)


def _check_confirmed(database: shop_files.Database, buyers: list[Buyer]) -> None:
    orders = database["orders"]
    for buyer in buyers:
        for email, number in buyer.confirmed.items():
            assert number in orders, f"{number} of {email} was confirmed and is gone"
            assert orders[number]["customer"]["email"] == email


def _check_replica_is_a_prefix(instance: Path, history: dict[int, str]) -> None:
    """While nothing runs: the replica's file is the primary's past, whole."""
    for lsn, checksum in shop_files.journal_checksums(instance / "db.journal").items():
        assert history.setdefault(lsn, checksum) == checksum, f"LSN {lsn} was written twice"
    replica = shop_files.replica(instance)
    _, lsn, checksum = shop_files.position(replica)
    assert history.get(lsn, checksum) == checksum, f"the replica's LSN {lsn} is not the primary's"
    if replica["products"]:
        shop_files.check_books(replica, STOCK_AT_FIRST)
    orders = shop_files.primary(instance)["orders"]
    assert replica["orders"].items() <= orders.items() or lsn > shop_files.primary(instance)["lsn"]


def _check_end(shop: ShopProcess, buyers: list[Buyer]) -> None:
    wait_until(lambda: shop_files.are_equal(shop.instance), seconds=10, what="the replica has caught up", every=0.05)
    assert shop.terminate() == 0
    assert shop_files.are_equal(shop.instance)
    database = shop_files.primary(shop.instance)
    _check_ledger(database, buyers)
    sent = sum(len(buyer.sent) for buyer in buyers)
    confirmed = _confirmed(buyers)
    assert confirmed == sent == len(database["orders"])
    assert confirmed >= ROUNDS


def _confirmed(buyers: list[Buyer]) -> int:
    return sum(len(buyer.confirmed) for buyer in buyers)
