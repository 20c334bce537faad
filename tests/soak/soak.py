"""One soak: warm up, look, use and trouble the shop, let everybody go, look again, read the files."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shop.web.fragments import PAGES_MAX
from tests.e2e import shop_files
from tests.e2e.buyers import STOCK_AT_FIRST
from tests.e2e.shop_process import ShopProcess, wait_until
from tests.e2e.shopper import Shopper
from tests.soak.people import Browser, Buyer, Editor, Operator, Person

GROWTH_MAX = 0.10
DELAY_SECONDS = 0.3
WARM_UP = 0.25  # of the time, before it: until the caches, the last 500 journeys and the last 200 moments are full
BUYERS, BROWSERS = 3, 3
BUYER_PAUSE = 4.0  # an order is data, 11.5 KB of memory on both sides together, and no leak: not too many of them
BROWSER_PAUSE, EDITOR_PAUSE = 0.15, 1.0
QUIET_SECONDS_MAX = 60  # an idle connection may live for half of that


@dataclass(frozen=True)
class Sight:
    """The server's process while nobody uses it."""

    memory_mb: float
    descriptors: int
    threads: int


@dataclass
class Report:
    """What happened, and what is wrong about it."""

    seconds: float
    before: Sight = Sight(0, 0, 0)
    after: Sight = Sight(0, 0, 0)
    pages: int = 0
    orders: int = 0
    cents: int = 0
    edits: int = 0
    outages: int = 0
    promotions: int = 0
    switchovers: int = 0
    lost: int = 0
    violations: list[str] = field(default_factory=list)

    @property
    def growth(self) -> float:
        return self.after.memory_mb / self.before.memory_mb - 1 if self.before.memory_mb else 0.0

    def figures(self) -> dict[str, float]:
        return {
            "seconds": self.seconds,
            "memory_growth": round(self.growth, 4),
            "descriptors_more": self.after.descriptors - self.before.descriptors,
            "threads_more": self.after.threads - self.before.threads,
            **{name: getattr(self, name) for name in ("pages", "orders", "cents", "edits", "outages", "promotions")},
            **{name: getattr(self, name) for name in ("switchovers", "lost")},
            "violations": len(self.violations),
        }


def soak(folder: Path, *, seconds: float, trouble_every: float = 6.0, say: Callable[[str], None] = print) -> Report:
    """Use a new shop in *folder* for so long, after a warm-up; what is wrong is in the report's `violations`."""
    report = Report(seconds)
    shop = ShopProcess(folder, SHOP_REPLICATION_DELAY=str(DELAY_SECONDS), SHOP_PUBLIC_STAGE="1")
    shop.start()
    people = _People(shop.url, trouble_every)
    try:
        _fill_kept_pages(shop.url)
        say(f"warming up, {seconds * WARM_UP:.0f} s")
        people.live(seconds * WARM_UP, lambda text: None)
        report.before = _look(shop)
        people.live(seconds, say)
        people.count(report)
        report.after = _look(shop)
        _check_process(report)
        _check_data(shop, people.buyers, report)
        report.violations += people.faults
    finally:
        shop.close()
    return report


def _fill_kept_pages(url: str) -> None:
    """As many different pages as the shop keeps, full ones: what comes later takes the place of one of them."""
    shopper = Shopper(url)
    try:
        for number in range(PAGES_MAX):
            letter, sort = "aeo"[number % 3], ("name", "price", "-price", "newest")[number // 3 % 4]
            words = "+".join([letter] * (1 + number // 12 % 45))
            in_stock = "&in_stock=1" if number // 12 >= 45 else ""
            assert shopper.get(f"/?q={words}&sort={sort}{in_stock}").status == 200
    finally:
        shopper.close()


class _People:
    """Everybody, twice: those of the warm-up go home before the first look."""

    def __init__(self, url: str, trouble_every: float) -> None:
        self._url = url
        self._trouble_every = trouble_every
        self._all: list[Person] = []

    @property
    def buyers(self) -> list[Buyer]:
        return [person for person in self._all if isinstance(person, Buyer)]

    @property
    def faults(self) -> list[str]:
        return [f"{type(person).__name__}: {person.fault}" for person in self._all if person.fault]

    def live(self, seconds: float, say: Callable[[str], None]) -> None:
        seed = len(self._all)
        now: list[Person] = [
            *(Buyer(self._url, seed + number, pause=BUYER_PAUSE) for number in range(BUYERS)),
            *(Browser(self._url, seed + number, pause=BROWSER_PAUSE) for number in range(BROWSERS)),
            Editor(self._url, seed, pause=EDITOR_PAUSE),
            Operator(self._url, seed, pause=self._trouble_every),
        ]
        self._all += now
        for person in now:
            person.start()
        end = time.monotonic() + seconds
        told = time.monotonic()
        while time.monotonic() < end and not any(person.fault for person in now):
            time.sleep(0.1)
            if time.monotonic() - told >= 30:
                told = time.monotonic()
                say(f"{end - told:.0f} s to go, {sum(len(buyer.confirmed) for buyer in self.buyers):,} orders")
        for person in now:
            person.end()

    def count(self, report: Report) -> None:
        report.pages = sum(person.pages for person in self._all)
        for person in self._all:
            if isinstance(person, Editor):
                report.edits += person.edits
            elif isinstance(person, Operator):
                report.outages += person.outages
                report.promotions += person.promotions
                report.switchovers += person.switchovers
                report.lost += person.lost


def _look(shop: ShopProcess) -> Sight:
    """When the last connection is closed and both sides are equal."""
    wait_until(lambda: shop_files.are_equal(shop.instance), seconds=20, what="both sides are equal", every=0.1)
    wait_until(lambda: not _connections(shop.pid), seconds=QUIET_SECONDS_MAX, what="everybody has left", every=0.2)
    status = Path(f"/proc/{shop.pid}/status").read_text()
    values = dict(line.split(":", 1) for line in status.splitlines())
    return Sight(
        memory_mb=int(values["VmRSS"].split()[0]) / 1024,
        descriptors=len(list(Path(f"/proc/{shop.pid}/fd").iterdir())),
        threads=int(values["Threads"]),
    )


def _connections(pid: int) -> int:
    """Open TCP connections of the process, the listening socket left out."""
    mine = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            mine.add(target[8:-1])
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(row[9] in mine and row[3] != "0A" for row in rows)


def _check_process(report: Report) -> None:
    if report.growth >= GROWTH_MAX:
        report.violations.append(f"memory grew by {report.growth:.1%}")
    if report.after.descriptors != report.before.descriptors:
        report.violations.append(f"{report.before.descriptors} descriptors became {report.after.descriptors}")
    if report.after.threads != report.before.threads:
        report.violations.append(f"{report.before.threads} threads became {report.after.threads}")


def _check_data(shop: ShopProcess, buyers: Sequence[Buyer], report: Report) -> None:
    """Every confirmed order is there, once, on both sides, and the books add up."""
    database = shop_files.primary(shop.instance)
    orders = database["orders"]
    confirmed = {number: email for buyer in buyers for number, email in buyer.confirmed.items()}
    report.orders = len(orders)
    report.cents = sum(order["total_cents"] for order in orders.values())
    try:
        assert shop_files.are_equal(shop.instance), "the sides differ"
        for number, email in confirmed.items():
            assert number in orders, f"{number} was confirmed and is gone"
            assert orders[number]["customer"]["email"] == email, f"{number} is another one's"
        emails = [order["customer"]["email"] for order in orders.values()]
        assert len(set(emails)) == len(emails), "an order is there twice"
        shop_files.check_books(database, STOCK_AT_FIRST)
    except AssertionError as broken:
        report.violations.append(str(broken))
