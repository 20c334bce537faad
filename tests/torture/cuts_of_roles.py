"""Power cuts while the sides change: promotion, the start that completes it, and a side that is rebuilt from the other."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from shop.clock import ManualClock
from shop.errors import SettingError
from shop.models import Order
from shop.replication.pair import resync_from
from shop.replication.restore import restore
from tests.builders import NOW
from tests.failoverkit import BY, Shop, contents
from tests.simdisk import Disk, SimDisk, crash_states, platters
from tests.torture.ledger import Enough, Sweep
from tests.torture.tally import Tally

FOLDER = Path("/disk")
ODD, EVEN = FOLDER / "db.json", FOLDER / "db_async.json"
BACKUP = FOLDER / "backup.json"
ACROSS, LOST = 2, 2
STOCK = 100


def workloads(whole: bool) -> dict[str, Callable[[], Tally]]:
    """A lane takes samples of the dear ones."""
    return {
        "promotion": lambda: promotion(back_first=False),
        "promotion back": lambda: promotion(back_first=True),
        "the start after a promotion": lambda: rejoin(first=6, second=11) if whole else rejoin(first=24, second=31),
        "the primary is lost": lambda: resync(lost=ODD),
        "the replica is lost": lambda: resync(lost=EVEN),
        "a backup is restored": restored,
    }


class Orders:
    """A shop on a disk that remembers: some orders are across, some are not."""

    def __init__(self, *, back_first: bool = False) -> None:
        self.disk = SimDisk()
        self.is_confirmed = False
        self.disk.note = lambda: self.is_confirmed
        self.shop = Shop(FOLDER, ManualClock(NOW), files=self.disk)
        self.shop.stock(pieces=STOCK)
        if back_first:
            self.shop.failover.switch_over(by=BY)
        self.across: list[Order] = [self.shop.order() for _ in range(ACROSS)]
        self.shop.cross()
        self.shop.pair.primary.write_copy(BACKUP)
        self.lost: list[Order] = [self.shop.order() for _ in range(LOST)]
        self.old_timeline = self.shop.pair.primary.position.timeline

    def numbers(self, *, is_short: bool) -> list[str]:
        return [order.number for order in (self.across if is_short else self.across + self.lost)]


def check_goes_on(shop: Shop, orders: Orders) -> None:
    """The shop sells, under a number that was never given before, the stock adds up, and both sides become equal."""
    assert shop.pair.primary.is_writable, shop.pair.primary.problem
    number = shop.order().number
    assert number not in orders.numbers(is_short=False), f"{number} was given twice"
    mug = contents(shop.pair.primary)["products"]["mug"]
    assert mug.stock + len(shop.numbers()) == STOCK, f"{mug.stock} left after {len(shop.numbers())} orders"
    shop.cross()
    assert contents(shop.pair.primary) == contents(shop.pair.replica)


# ---- promotion


class Promotion(Orders):
    def __init__(self, *, back_first: bool = False) -> None:
        super().__init__(back_first=back_first)
        self.start = len(self.disk.trace)
        self.shop.failover.promote(by=BY)
        self.is_confirmed = True
        self.end = len(self.disk.trace)
        self.contents = contents(self.shop.pair.primary)

    def cuts(self) -> Iterator[tuple[int, Disk, bool]]:
        """Operation, disk, and whether the promotion had been confirmed."""
        for k, platter in platters(self.disk):
            if self.start <= k <= self.end:
                for state in crash_states(platter, seed=k):
                    yield k, state, k == self.end

    def check(self, disk: SimDisk, *, is_confirmed: bool) -> bool:
        """The next start: the right side is primary, nothing is lost that is not in lost/, and both sides agree. Was it promoted?"""
        shop = Shop(FOLDER, ManualClock(NOW), files=disk)
        is_promoted = shop.pair.primary.position.timeline > self.old_timeline
        assert is_promoted or not is_confirmed, "a confirmed promotion is undone"
        assert shop.numbers() == self.numbers(is_short=is_promoted), f"promoted: {is_promoted}, {shop.numbers()}"
        if is_promoted:
            assert contents(shop.pair.primary) == self.contents
            invoice = shop.failover.invoices()[0]
            told = [commit.order_number for commit in invoice.commits]
            assert told == [order.number for order in self.lost], f"the invoice tells {told}"
            assert invoice.order_cents == sum(order.total_cents for order in self.lost)
            assert shop.pair.replica.position == shop.pair.primary.position
        check_goes_on(shop, self)
        return is_promoted


def promotion(*, back_first: bool) -> Tally:
    done = Promotion(back_first=back_first)
    sweep = Sweep("promotion back" if back_first else "promotion")
    lists: dict[str, set[bytes]] = {}

    def check(state: Disk, is_confirmed: bool) -> bool:
        disk = SimDisk(state)
        is_promoted = done.check(disk, is_confirmed=is_confirmed)
        for path, data in disk.files().items() if is_promoted else ():
            if path.suffix == ".jsonl":
                lists.setdefault(path.name, set()).add(data)
        return is_promoted

    outcomes = _each(sweep, done.cuts(), check)
    if set(outcomes) != {True, False}:
        sweep.broken("all of it", "not both a promotion and none were seen")
    if len(lists) != LOST or any(len(kinds) != 1 for kinds in lists.values()):
        sweep.broken("lost/", "the starts that completed it did not all write the same lists")
    return sweep.tally


def _each(sweep: Sweep, cuts: Iterable[tuple[int, Disk, bool]], check: Callable[[Disk, bool], bool]) -> list[bool]:
    """Check each distinct disk; what the checks returned."""
    outcomes = []
    points = set()
    with suppress(Enough):
        for k, state, is_confirmed in cuts:
            points.add(k)
            if sweep.is_new(state, is_confirmed):
                try:
                    outcomes.append(check(state, is_confirmed))
                except Exception as error:
                    sweep.broken(f"operation {k}", f"{type(error).__name__}: {error}")
    sweep.tally.points += len(points)
    return outcomes


def rejoin(*, first: int, second: int) -> Tally:
    """Of every *first*th disk that a promotion leaves, the start that completes it is cut anywhere: every *second*th disk of that."""
    done = Promotion()
    sweep = Sweep("the start after a promotion")
    with suppress(Enough):
        for number, (k, state, is_confirmed) in enumerate(done.cuts()):
            if number % first == 0:
                _cut_the_start(sweep, done, k, state, is_confirmed, second)
    return sweep.tally


def _cut_the_start(sweep: Sweep, done: Promotion, k: int, state: Disk, is_confirmed: bool, every: int) -> None:
    is_promoted = done.check(SimDisk(state), is_confirmed=is_confirmed)
    disk = SimDisk(state)
    Shop(FOLDER, ManualClock(NOW), files=disk)
    for at, platter in platters(disk):
        sweep.tally.points += 1
        for number, found in enumerate(crash_states(platter, seed=at)):
            if (number + at) % every == 0 and sweep.is_new(found, is_confirmed):
                try:
                    is_same = done.check(SimDisk(found), is_confirmed=is_confirmed) is is_promoted
                    why = "" if is_same else "the second start decided otherwise than the first"
                except Exception as error:
                    why = f"{type(error).__name__}: {error}"
                if why:
                    sweep.broken(f"operation {k}, then in the start, operation {at}", why)


# ---- a side is rebuilt


def resync(*, lost: Path) -> Tally:
    """One side is damaged and rebuilt from the other. Cut anywhere, the start refuses and it is run again, or the start is right."""
    orders = Orders()
    disk = orders.disk.files()
    disk[lost] = disk[lost][:-40] + b"x" + disk[lost][-39:]
    source = EVEN.name if lost == ODD else ODD.name
    sweep = Sweep(f"{lost.name} is lost")

    def check(state: Disk, is_confirmed: bool) -> bool:
        found = SimDisk(state)
        refusal = _refusal(found)
        if refusal:
            assert f"resync --from {source}" in refusal, f"the refusal names another remedy: {refusal}"
            assert not is_confirmed, f"refused although it was done: {refusal}"
            resync_from(FOLDER, source, ManualClock(NOW), files=found)
        shop = Shop(FOLDER, ManualClock(NOW), files=found)
        assert shop.numbers() == orders.numbers(is_short=lost == ODD), shop.numbers()
        check_goes_on(shop, orders)
        return not refusal

    working = SimDisk(disk)
    resync_from(FOLDER, source, ManualClock(NOW), files=working)
    end = len(working.trace)
    cuts = ((k, state, k == end) for k, platter in platters(working) for state in crash_states(platter, seed=k))
    if set(_each(sweep, cuts, check)) != {True, False}:
        sweep.broken("all of it", "not both a refusal and a start were seen")
    return sweep.tally


# ---- a backup takes the place of both


def restored() -> Tally:
    """Cut anywhere it is the old shop or the restored one, which sells; the restore can be run again, whatever was left."""
    orders = Orders()
    sweep = Sweep("a backup is restored")

    def check(state: Disk, is_confirmed: bool) -> bool:
        disk = SimDisk(state)
        shop = Shop(FOLDER, ManualClock(NOW), files=disk)
        is_restored = shop.pair.primary.position.timeline > orders.old_timeline
        assert is_restored or not is_confirmed, "a confirmed restore is undone"
        assert shop.numbers() == orders.numbers(is_short=is_restored), shop.numbers()
        assert shop.pair.primary.is_writable, shop.pair.primary.problem
        if is_restored and not is_confirmed:
            restore(FOLDER, BACKUP, ManualClock(NOW + timedelta(seconds=1)), files=disk)
            shop = Shop(FOLDER, ManualClock(NOW), files=disk)
            assert shop.numbers() == orders.numbers(is_short=True), "run again, it did something else"
        check_goes_on(shop, orders)
        return is_restored

    working = SimDisk(orders.disk.files())
    restore(FOLDER, BACKUP, ManualClock(NOW), files=working)
    end = len(working.trace)
    cuts = ((k, state, k == end) for k, platter in platters(working) for state in crash_states(platter, seed=k))
    if set(_each(sweep, cuts, check)) != {True, False}:
        sweep.broken("all of it", "not both the old shop and the restored one were seen")
    return sweep.tally


def _refusal(disk: SimDisk) -> str:
    """What a start says that refuses; "" when it does not."""
    try:
        Shop(FOLDER, ManualClock(NOW), files=SimDisk(disk.files()))
    except SettingError as refusal:
        return str(refusal)
    return ""
