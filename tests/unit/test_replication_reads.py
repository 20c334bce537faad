"""What each policy keeps, on a link that the test moves."""

import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from shop.clock import ManualClock, SystemClock
from shop.replication.contract import Anomaly, Policy, Reading, Token
from shop.replication.pair import open_pair
from shop.replication.reads import NOT_JOINED, TOO_LATE, TOO_MANY, EmbeddedReads
from shop.repository.embedded import EmbeddedRepository
from shop.store import Store
from shop.units import CatalogQuery
from tests.builders import a_product
from tests.failoverkit import Shop
from tests.simdisk import SimDisk

PAIRS = 10_000
SLUG = "mug"


class Reader:
    """A visitor who writes and reads, and carries what a session would."""

    def __init__(self, shop: Shop, *, wait: Callable[[float], None] | None = None, places: int = 2) -> None:
        self.shop = shop
        self.reads = EmbeddedReads(
            shop.pair, shop.repository, clock=shop.clock, wait=wait or shop.clock.advance, places=places
        )
        self.wrote: Token | None = None
        self.seen: Token | None = None

    def write(self, stock: int) -> None:
        self.shop.edit(stock=stock)
        self.wrote = self.reads.take_committed()

    def read(self, policy: Policy) -> tuple[int, Reading]:
        unit, reading = self.reads.read(policy, wrote=self.wrote, seen=self.seen)
        self.wrote, self.seen = reading.wrote, reading.seen
        mug = unit.product_by_slug(SLUG)
        assert mug is not None
        return mug.stock, reading


@pytest.fixture
def shop(tmp_path: Path, clock: ManualClock):
    shop = Shop(tmp_path, clock)
    shop.stock(pieces=100)
    shop.cross()
    yield shop
    shop.pair.close()


@pytest.fixture
def reader(shop: Shop) -> Reader:
    return Reader(shop)


def test_a_page_of_the_replica_says_how_old_it_is(shop: Shop, reader: Reader) -> None:
    shop.edit(stock=99)
    shop.clock.advance(3.0)
    shop.edit(stock=98)
    shop.clock.advance(1.25)
    stock, reading = reader.read(Policy.REPLICA)
    assert (stock, reading.side, reading.file) == (100, "replica", "db_async.json")
    assert (reading.commits_behind, reading.age_seconds) == (2, pytest.approx(4.25))
    assert reading.anomalies == ()


def test_a_replica_that_has_everything_is_not_stale(reader: Reader) -> None:
    reading = reader.read(Policy.REPLICA)[1]
    assert (reading.commits_behind, reading.age_seconds, reading.fell_back) == (0, 0.0, "")


def test_the_primary_is_never_stale_and_waits_for_nobody(shop: Shop, reader: Reader) -> None:
    reader.write(99)
    stock, reading = reader.read(Policy.PRIMARY)
    assert (stock, reading.side, reading.waited_seconds, reading.fell_back) == (99, "primary", 0.0, "")


def test_without_a_promise_the_own_write_is_missed_and_named(reader: Reader) -> None:
    reader.write(99)
    stock, reading = reader.read(Policy.REPLICA)
    assert stock == 100
    assert reading.anomalies == (Anomaly.MISSED_WRITE,)


def test_the_own_write_is_waited_for(shop: Shop) -> None:
    def cross(seconds: float) -> None:
        shop.clock.advance(0.25)
        shop.replication.sync_now()

    reader = Reader(shop, wait=cross)
    reader.write(99)
    stock, reading = reader.read(Policy.OWN_WRITES)
    assert (stock, reading.side, reading.waited_seconds) == (99, "replica", 0.25)
    assert (reading.fell_back, reading.anomalies) == ("", ())


def test_an_own_write_that_does_not_come_in_time_is_read_from_the_primary(reader: Reader) -> None:
    reader.write(99)
    stock, reading = reader.read(Policy.OWN_WRITES)
    assert (stock, reading.side, reading.fell_back) == (99, "primary", TOO_LATE)
    assert reading.waited_seconds == pytest.approx(1.0)
    assert reading.commits_behind == 0


def test_what_others_wrote_is_not_waited_for(shop: Shop, reader: Reader) -> None:
    reader.write(99)
    shop.cross()
    shop.edit(stock=98)
    stock, reading = reader.read(Policy.OWN_WRITES)
    assert (stock, reading.side, reading.waited_seconds) == (99, "replica", 0.0)


def test_a_page_older_than_the_last_one_is_named(shop: Shop, reader: Reader) -> None:
    shop.edit(stock=99)
    assert reader.read(Policy.PRIMARY)[0] == 99
    stock, reading = reader.read(Policy.REPLICA)
    assert stock == 100
    assert reading.anomalies == (Anomaly.WENT_BACK,)
    assert reader.read(Policy.REPLICA)[1].anomalies == (Anomaly.WENT_BACK,), "the highest position is kept"


def test_monotonic_reads_never_go_back(shop: Shop, reader: Reader) -> None:
    shop.edit(stock=99)
    reader.read(Policy.PRIMARY)
    stock, reading = reader.read(Policy.MONOTONIC)
    assert (stock, reading.side, reading.fell_back, reading.anomalies) == (99, "primary", TOO_LATE, ())
    shop.cross()
    assert reader.read(Policy.MONOTONIC)[1].side == "replica"


def test_monotonic_reads_promise_nothing_about_own_writes(reader: Reader) -> None:
    reader.read(Policy.MONOTONIC)
    reader.write(99)
    stock, reading = reader.read(Policy.MONOTONIC)
    assert (stock, reading.side, reading.anomalies) == (100, "replica", (Anomaly.MISSED_WRITE,))


def test_an_own_write_above_the_fork_is_lost_and_told_once(shop: Shop, reader: Reader) -> None:
    reader.write(99)
    shop.failover.promote(by="admin")
    stock, reading = reader.read(Policy.OWN_WRITES)
    assert (stock, reading.anomalies, reading.wrote) == (100, (Anomaly.LOST_WRITE,), None)
    assert (reading.file, reading.waited_seconds) == ("db.json", 0.0), "the roles have changed; nothing is waited for"
    assert reader.read(Policy.OWN_WRITES)[1].anomalies == ()


def test_an_own_write_below_the_fork_survives_it(shop: Shop, reader: Reader) -> None:
    reader.write(99)
    shop.cross()
    shop.edit(stock=50)
    shop.failover.promote(by="admin")
    stock, reading = reader.read(Policy.OWN_WRITES)
    assert (stock, reading.anomalies) == (99, ())


def test_a_lost_write_is_not_taken_for_another_with_its_number(shop: Shop, reader: Reader) -> None:
    reader.write(99)
    shop.failover.promote(by="admin")
    for stock in (70, 60, 50):  # on the new timeline, over the number that was lost
        shop.edit(stock=stock)
    shop.cross()
    assert reader.read(Policy.OWN_WRITES)[1].anomalies == (Anomaly.LOST_WRITE,)


def test_what_was_seen_and_lost_is_told(shop: Shop, reader: Reader) -> None:
    shop.edit(stock=99)
    reader.read(Policy.PRIMARY)
    shop.failover.promote(by="admin")
    assert reader.read(Policy.MONOTONIC)[1].anomalies == (Anomaly.LOST_SIGHT,)
    assert reader.read(Policy.MONOTONIC)[1].anomalies == ()


def test_a_replica_of_another_history_is_not_shown(shop: Shop, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """The side that a failover left, before it has rejoined: it holds what the shop has lost."""
    shop.edit(stock=99)
    shop.failover.promote(by="admin")
    monkeypatch.setattr(shop.pair, "replica", _left_behind(shop.pair.replica))
    stock, reading = reader.read(Policy.REPLICA)
    assert (stock, reading.side, reading.fell_back) == (100, "primary", NOT_JOINED)
    monkeypatch.undo()


def _left_behind(store: Store):
    class Left:
        path = store.path
        state = type("State", (), {"position": store.position._replace(timeline=1, lsn=store.position.lsn + 5)})()

    return Left()


def test_no_more_than_a_few_wait(shop: Shop) -> None:
    reader = Reader(shop, places=0)
    reader.write(99)
    stock, reading = reader.read(Policy.OWN_WRITES)
    assert (stock, reading.side, reading.fell_back, reading.waited_seconds) == (99, "primary", TOO_MANY, 0.0)


def test_each_side_lists_its_own_products(shop: Shop, reader: Reader) -> None:
    with shop.repository.update() as unit:
        unit.put_product(a_product(name="Globe", slug="globe"))
    for policy, names in ((Policy.REPLICA, ["Mug"]), (Policy.PRIMARY, ["Globe", "Mug"])) * 2:
        unit, _ = reader.reads.read(policy, wrote=None, seen=None)
        assert [product.name for product in unit.catalog(CatalogQuery()).items] == names


def test_both_sides_at_one_moment(shop: Shop, reader: Reader) -> None:
    shop.edit(stock=99)
    near, far, reading = reader.reads.both()
    assert [unit.product("mug").stock for unit in (near, far)] == [99, 100]
    assert (reading.side, reading.commits_behind) == ("replica", 1)


def test_only_the_thread_that_wrote_is_told_the_position(shop: Shop, reader: Reader) -> None:
    found: list[Token | None] = []
    shop.edit(stock=99)
    thread = threading.Thread(target=lambda: found.append(reader.reads.take_committed()))
    thread.start()
    thread.join()
    position = shop.pair.primary.position
    assert found == [None]
    assert reader.reads.take_committed() == Token(timeline=position.timeline, lsn=position.lsn)
    assert reader.reads.take_committed() is None


def test_a_waiting_reader_is_woken_by_the_arrival(tmp_path: Path) -> None:
    """On real threads and the real clock: long before the bound, which is a minute here."""
    clock = SystemClock()
    pair = open_pair(tmp_path, clock)
    repository = EmbeddedRepository(pair.primary)
    reads = EmbeddedReads(pair, repository, clock=clock, seconds_max=60.0)
    with repository.update() as unit:
        unit.put_product(a_product(slug=SLUG))
    wrote = reads.take_committed()
    found: list[Reading] = []
    thread = threading.Thread(target=lambda: found.append(reads.read(Policy.OWN_WRITES, wrote=wrote, seen=None)[1]))
    thread.start()
    while not reads._waiting:
        pass
    pair.replica.apply(pair.primary.lines(pair.replica.position.lsn))
    thread.join(10)
    assert [(reading.side, reading.fell_back) for reading in found] == [("replica", "")]
    assert reads._waiting == 0
    pair.close()


@pytest.mark.parametrize(("policy", "has_misses"), [(Policy.OWN_WRITES, False), (Policy.REPLICA, True)])
def test_ten_thousand_writes_each_read_back_from_the_far_side(
    clock: ManualClock, policy: Policy, has_misses: bool
) -> None:
    """0 misses under the policy, on a link that is sometimes fast, sometimes late and sometimes too late; many without it."""
    chance = random.Random(7)
    pair = open_pair(Path("/shop"), clock, files=SimDisk({}))
    repository = EmbeddedRepository(pair.primary)

    def cross() -> None:
        pair.replica.apply(pair.primary.lines(pair.replica.position.lsn))

    def pass_time(seconds: float) -> None:
        clock.advance(min(seconds, 0.4))
        if chance.random() < 0.5:
            cross()

    reads = EmbeddedReads(pair, repository, clock=clock, wait=pass_time)
    misses = on_replica = waited = named = 0
    for number in range(PAIRS):
        with pair.primary.update() as unit:
            unit.put("products", "mug", a_product(id="mug", sku="MUG", slug=SLUG, stock=number))
        assert unit.committed is not None
        if chance.random() < 0.5:
            cross()
        wrote = Token(timeline=unit.committed.timeline, lsn=unit.committed.lsn)
        found, reading = reads.read(policy, wrote=wrote, seen=None)
        mug = found.product_by_slug(SLUG)
        is_missed = mug is None or mug.stock != number
        misses += is_missed
        named += Anomaly.MISSED_WRITE in reading.anomalies
        on_replica += reading.side == "replica"
        waited += reading.waited_seconds > 0
    pair.close()
    assert named == misses
    if has_misses:
        assert misses > PAIRS // 10
        assert on_replica == PAIRS
    else:
        assert misses == 0
        assert PAIRS // 2 < on_replica < PAIRS, (
            "the far side answered most, the primary those that would have waited too long"
        )
        assert waited > PAIRS // 10
