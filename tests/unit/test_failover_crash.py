"""Power cuts in a failover: at every operation of promotion and rejoin, and of the start that completes them."""

from pathlib import Path
from typing import Any

import pytest

from shop.clock import ManualClock
from shop.models import Order
from tests.builders import NOW
from tests.failoverkit import BY, Shop, contents
from tests.simdisk import Disk, SimDisk, crash_states, platters

FOLDER = Path("/disk")
ACROSS, LOST = 2, 2


class Failover:
    """A promotion on a disk that remembers: from which operation on, what was there before, and when it was confirmed."""

    def __init__(self, *, back_first: bool = False) -> None:
        self.disk = SimDisk()
        self.is_confirmed = False
        self.disk.note = lambda: self.is_confirmed
        shop = Shop(FOLDER, ManualClock(NOW), files=self.disk)
        shop.stock()
        if back_first:
            shop.failover.switch_over(by=BY)
        self.across: list[Order] = [shop.order() for _ in range(ACROSS)]
        shop.cross()
        self.lost: list[Order] = [shop.order() for _ in range(LOST)]
        self.old_timeline = shop.pair.primary.position.timeline
        self.start = len(self.disk.trace)
        shop.failover.promote(by=BY)
        self.is_confirmed = True
        self.end = len(self.disk.trace)
        self.contents = contents(shop.pair.primary)

    def states(self) -> list[tuple[Disk, bool]]:
        """Each disk that a power cut may leave, and whether the promotion had been confirmed."""
        found = []
        for k, platter in platters(self.disk):
            if self.start <= k <= self.end:
                found += [(state, k == self.end) for state in crash_states(platter, seed=k)]
        return found

    def check(self, disk: SimDisk, *, is_confirmed: bool) -> bool:
        """The next start: the right side is primary, nothing is lost that is not in lost/, and both sides agree. Was it promoted?"""
        shop = Shop(FOLDER, ManualClock(NOW), files=disk)
        is_promoted = shop.pair.primary.position.timeline > self.old_timeline
        assert is_promoted or not is_confirmed
        expected = [order.number for order in (self.across if is_promoted else self.across + self.lost)]
        assert shop.numbers() == expected
        if is_promoted:
            assert contents(shop.pair.primary) == self.contents
            invoice = shop.failover.invoices()[0]
            assert [commit.order_number for commit in invoice.commits] == [order.number for order in self.lost]
            assert invoice.order_cents == sum(order.total_cents for order in self.lost)
            assert shop.pair.replica.position == shop.pair.primary.position
        assert shop.pair.primary.is_writable
        number = shop.order().number
        assert number not in {order.number for order in self.across + self.lost}
        shop.cross()
        assert contents(shop.pair.primary) == contents(shop.pair.replica)
        return is_promoted


@pytest.mark.parametrize("back_first", [False, True], ids=["to db_async.json", "to db.json"])
def test_a_power_cut_at_any_operation_leaves_one_primary_and_every_loss_on_the_invoice(back_first: bool) -> None:
    failover = Failover(back_first=back_first)
    outcomes = [failover.check(SimDisk(state), is_confirmed=sure) for state, sure in failover.states()]
    assert outcomes.count(True) > 20
    assert outcomes.count(False) >= 5


def test_a_power_cut_while_the_next_start_completes_the_rejoin(monkeypatch: pytest.MonkeyPatch) -> None:
    failover = Failover()
    points = 0
    for number, (state, is_confirmed) in enumerate(failover.states()):
        if number % 4:
            continue
        disk = SimDisk(state)
        disk.note = lambda: False
        before = failover.check(SimDisk(state), is_confirmed=is_confirmed)
        Shop(FOLDER, ManualClock(NOW), files=disk)
        for k, platter in platters(disk):
            for at, second in enumerate(crash_states(platter, seed=k)):
                if (at + k) % 7 == 0:
                    assert failover.check(SimDisk(second), is_confirmed=is_confirmed) is before
                    points += 1
    assert points > 100


def test_a_start_that_is_repeated_writes_the_same_files(clock: ManualClock) -> None:
    failover = Failover()
    by_lost: dict[Any, set[bytes]] = {}
    for state, sure in failover.states():
        disk = SimDisk(state)
        if failover.check(disk, is_confirmed=sure):
            for path, data in disk.files().items():
                if path.suffix == ".jsonl":
                    by_lost.setdefault(path.name, set()).add(data)
    assert len(by_lost) == LOST
    assert all(len(kinds) == 1 for kinds in by_lost.values())
