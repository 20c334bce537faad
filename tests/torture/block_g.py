"""Block G: a real pair of PostgreSQL servers and what happens to one: delays, stops, cuts, a full pool, a kill -9 under buyers.

A point is one thing done to the pair; a state is one look at what the shop, its page or a server says then.
"""

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import psycopg

from shop.cluster.ground import ADMIN, SHOP
from shop.errors import Crossed, ShopError, Unavailable, WritesUnavailable
from shop.models import Order, Product
from shop.replication.contract import CommitState, Outcome, Policy, State
from shop.repository.postgres.pools import Bounds, Servers
from shop.repository.postgres.repository import PostgresRepository
from shop.repository.postgres.roles import Roles
from shop.units import CatalogQuery
from tests.builders import a_cart, a_product, keep_products
from tests.e2e.shop_process import wait_until
from tests.torture.killed_primary import killed_under_buyers
from tests.torture.pair_shop import PairShop, administer, ask, pair_shop, refused
from tests.torture.tally import Counts, Tally, progress

ROUNDS = 5  # kills under buyers
MINIMUM = Counts(points=12 + ROUNDS, states=168)

APPLY_DELAY_SECONDS = 1.5
LINK_DELAY_SECONDS = 0.1
LATE_SECONDS_MAX = 3.0  # beyond what was asked for, on a machine that has other things to do
SEGMENTS = 6  # of 1 MB each, as the tests' servers have them
SHORT = Bounds(connections=2, pool_seconds=0.3, statement_seconds=0.5)
WAIT = 15.0


class Check:
    """Counts what was looked at."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def __call__(self, is_so: object, otherwise: str) -> None:
        self._tally.states += 1
        assert is_so, otherwise

    def awaits(self, is_so: Callable[[], object], what: str, *, seconds: float = WAIT) -> None:
        """It becomes so."""
        self._tally.states += 1
        wait_until(is_so, seconds=seconds, what=what, every=0.01)


class Case(NamedTuple):
    name: str
    do: Callable[[PairShop, Check], None]
    bounds: Bounds | None = None


def run(*, whole: bool) -> Tally:
    tally = Tally()
    for number, case in enumerate(CASES, start=1):
        progress(f"G: {case.name} {number}/{len(CASES)}")
        try:
            with pair_shop(case.bounds) as shop:
                case.do(shop, Check(tally))
        except (AssertionError, ShopError, psycopg.Error) as broken:
            tally.violations.append(f"{case.name}: {type(broken).__name__}: {broken}")
        tally.points += 1
    progress("G: kill -9 under buyers")
    try:
        killed_under_buyers(ROUNDS if whole else 1, tally)
    except (AssertionError, psycopg.Error) as broken:
        tally.violations.append(f"kill -9 under buyers: {type(broken).__name__}: {broken}")
    return tally


# ---- delays


def delays_show(shop: PairShop, check: Check) -> None:
    """Each of the two delays in its own lag, and a commit is not seen before its time."""
    product = shop.stocked()
    shop.side.laboratory.set_apply_delay(APPLY_DELAY_SECONDS)
    check.awaits(lambda: shop.status().link.apply_delay_seconds == APPLY_DELAY_SECONDS, "the knob is turned")
    began = time.monotonic()
    [order] = shop.sell(product)
    check.awaits(
        lambda: {one.state for one in shop.status().in_flight} == {CommitState.ARRIVED}, "both commits have arrived"
    )
    check(shop.status().at_risk.commits == 0, "what has arrived is said to be at risk")
    check(order.number not in shop.numbers(shop.b), "the standby shows it at once")
    check.awaits(lambda: (shop.stage("replayed").seconds or 0) >= APPLY_DELAY_SECONDS - 0.5, "the replay lag shows it")
    check((shop.stage("flushed").seconds or 0) < 1, "the flush lag shows the delay of the replay")
    check.awaits(lambda: order.number in shop.numbers(shop.b), "the standby shows it")
    took = time.monotonic() - began
    check(took >= APPLY_DELAY_SECONDS, f"applied after {took:.3f} s")
    check(took <= APPLY_DELAY_SECONDS + LATE_SECONDS_MAX, f"applied only after {took:.3f} s")

    shop.side.laboratory.set_apply_delay(0)
    shop.side.replication.set_delay(LINK_DELAY_SECONDS)
    shop.await_equal()
    shown: list[float] = []

    def shows() -> bool:
        shop.sell(product)
        shown.append(shop.stage("flushed").confirmed_seconds or 0)
        return shown[-1] >= LINK_DELAY_SECONDS

    check.awaits(shows, "the flush lag shows the delay of the transport")
    check(max(shown) < LINK_DELAY_SECONDS + LATE_SECONDS_MAX, f"the flush lag says {max(shown):.3f} s")


def idle_is_zero(shop: PairShop, check: Check) -> None:
    """However slow the way is and whatever PostgreSQL measured last; also when the log grows by what is no commit."""
    product = shop.stocked()
    shop.side.replication.set_delay(LINK_DELAY_SECONDS)
    shop.sell(product, times=5)
    shop.await_equal()

    def is_zero() -> bool:
        status = shop.status()
        lag = status.lag
        return (lag.commits, lag.oldest_seconds, lag.stalled_seconds) == (0, 0, 0) and all(
            (stage.seconds, stage.behind_bytes) == (0, 0) for stage in status.stages
        )

    check.awaits(is_zero, "all lags are zero")
    check(len(shop.status().stages) == 3, "sent, flushed and replayed are told apart")
    check(shop.status().at_risk.sentence == "nothing", shop.status().at_risk.sentence)
    administer(shop.a, "SELECT pg_switch_wal()", "CHECKPOINT")
    lag = shop.status().lag
    check((lag.commits, lag.oldest_seconds, lag.stalled_seconds) == (0, 0, 0), f"a checkpoint is no commit: {lag}")
    check(shop.stage("replayed").seconds == 0, "a checkpoint is nothing that readers wait for")
    check.awaits(is_zero, "all lags are zero again")


def replay_paused(shop: PairShop, check: Check) -> None:
    """Positions show what PostgreSQL's own replay lag does not."""
    product = shop.stocked()
    shop.side.replication.pause()
    shop.await_state(State.PAUSED)
    [order] = shop.sell(product)
    began = time.monotonic()
    check.awaits(lambda: shop.status().at_risk.commits == 0, "it arrives although nothing is replayed")
    first = shop.stage("replayed").behind_bytes or 0
    check(first > 0, "no bytes are behind")
    shop.sell(product, times=3)
    check.awaits(lambda: (shop.stage("replayed").behind_bytes or 0) > first, "more bytes are behind")
    check.awaits(lambda: shop.stage("flushed").behind_bytes == 0, "all of it has arrived")
    check.awaits(lambda: time.monotonic() - began > 1, "a second has passed")
    age = time.monotonic() - began
    [(told,)] = ask(shop.a, "SELECT coalesce(extract(epoch FROM replay_lag), 0)::float8 FROM pg_stat_replication")
    check(told < age, f"PostgreSQL knows it by itself: {told} s of {age} s")
    check((shop.stage("replayed").seconds or 0) >= 1, "the page does not show how old the standby is")
    check(shop.status().lag.commits == 8, f"{shop.status().lag.commits} commits behind")
    check(order.number not in shop.numbers(shop.b), "it is shown although replay is paused")
    verdict = shop.side.replication.verify()
    check(verdict.outcome is Outcome.IN_SYNC, verdict.sentence)
    shop.side.replication.resume()
    shop.await_equal()
    check(order.number in shop.numbers(shop.b), "it is not shown although replay goes on")


# ---- one of them stops


def standby_down_and_up(shop: PairShop, check: Check) -> None:
    product = shop.stocked()
    before = shop.sell(product, times=2)
    shop.await_equal()
    shop.machine.stop_server("b")
    status = shop.await_state(State.FAILING)
    check(not status.replica.is_reachable and status.replica.problem, "the page does not say that it is down")
    check(status.primary.is_writable, "the primary is said to take nothing")
    orders = shop.sell(product, times=5)
    status = shop.status()
    check(status.at_risk.orders == 5, f"at risk: {status.at_risk.sentence}")
    check(status.at_risk.order_cents == sum(order.total_cents for order in orders), "the money at risk is another")
    check(status.lag.commits == 10, f"{status.lag.commits} commits behind")
    unit, reading = shop.side.reads.read(Policy.REPLICA, wrote=None, seen=None)
    check(unit.order(orders[-1].number), "the page is not the primary's")
    check(reading.side == "primary" and reading.fell_back, "nobody says that the far side is gone")
    shop.side.reads.release()
    shop.machine.start_server("b")
    shop.await_equal()
    check(shop.numbers(shop.b) == {order.number for order in before + orders}, "orders are missing")
    check(shop.status().at_risk.commits == 0, "something is at risk still")


def primary_stops_at_once(shop: PairShop, check: Check) -> None:
    """`immediate`: no checkpoint, and the next start recovers."""
    product = shop.stocked()
    orders = shop.sell(product, times=5)
    shop.await_equal()
    shop.machine.stop_immediately("a")
    refusal = refused(lambda: shop.sell(product))
    check(isinstance(refusal, WritesUnavailable), f"a write is answered with {refusal!r}")
    check(isinstance(refusal, WritesUnavailable) and refusal.retry_seconds, "nobody says when to try again")
    with shop.repository.view() as unit:
        check(all(unit.order(order.number) for order in orders), "pages lack what the standby has")
    check(shop.repository.take_fallback(), "nobody knows that it was the standby's")
    check(shop.repository.why_read_only(), "the shop is said to take writes")
    status = shop.status()
    check(not status.primary.is_reachable and "Promote" in status.sentence, status.sentence)
    check(status.state is State.FAILING, f"without a primary the pair is said to be {status.state}")
    shop.machine.start_server("a")
    check.awaits(lambda: refused(lambda: shop.sell(product)) is None, "it takes writes again")
    check({order.number for order in orders} < shop.numbers(shop.a), "a confirmed order is gone")
    shop.await_equal()
    check(shop.side.replication.verify().outcome is Outcome.IN_SYNC, "the sides differ")


def stream_cut(shop: PairShop, check: Check) -> None:
    """The sender killed, the receiver killed, the connection cut, the cable broken: all that was on it comes again, once."""
    product = shop.stocked()
    cuts: Sequence[Callable[[], object]] = (
        lambda: ask(shop.a, "SELECT pg_terminate_backend(pid) FROM pg_stat_replication", role=ADMIN),
        shop.machine.wan.drop,
        lambda: os.kill(_receiver(shop), signal.SIGTERM),
    )
    for cut in cuts:
        shop.await_equal()
        before = _receiver(shop)
        shop.side.replication.set_delay(0.5)
        orders = shop.sell(product, times=3)
        cut()
        shop.side.replication.set_delay(0)
        check.awaits(lambda: _receiver(shop) not in (before, 0), "another receiver streams")  # noqa: B023
        shop.await_equal()
        check({order.number for order in orders} <= shop.numbers(shop.b), "orders are missing")
    shop.side.laboratory.cut(60)
    shop.await_state(State.OUTAGE)
    orders = shop.sell(product, times=3)
    check(shop.status().at_risk.orders == 3, f"at risk: {shop.status().at_risk.sentence}")
    check(not shop.numbers(shop.b) & {order.number for order in orders}, "they crossed a broken cable")
    shop.side.laboratory.mend()
    shop.await_equal()
    check({order.number for order in orders} <= shop.numbers(shop.b), "orders are missing")
    check(shop.side.replication.verify().outcome is Outcome.IN_SYNC, "the sides differ")


def _receiver(shop: PairShop) -> int:
    """The process that streams; 0: none."""
    rows = ask(shop.b, "SELECT pid FROM pg_stat_wal_receiver WHERE status = 'streaming'", role=ADMIN)
    return int(rows[0][0]) if rows else 0


# ---- what is kept for the standby


def slot_keeps_and_loses(shop: PairShop, check: Check) -> None:
    """Within its limit the slot keeps all that a standby missed; past it a fresh copy is due."""
    product = shop.stocked()
    administer(shop.a, "ALTER SYSTEM SET wal_keep_size = 0")
    orders = _away(shop, product)
    headroom = shop.status().headroom
    check(headroom is not None and headroom.kept_bytes >= (SEGMENTS - 1) << 20, f"kept: {headroom}")
    check(headroom is not None and not headroom.is_active and headroom.state in ("reserved", "extended"), f"{headroom}")
    check(headroom is not None and headroom.left_bytes, "nobody says how much room is left")
    shop.machine.start_server("b")
    shop.await_equal()
    check({order.number for order in orders} <= shop.numbers(shop.b), "orders are missing")

    administer(shop.a, "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
    orders = _away(shop, product)
    shop.machine.start_server("b")
    status = shop.await_state(State.SNAPSHOT_NEEDED)
    check(status.headroom is not None and status.headroom.state == "lost", f"{status.headroom}")
    check("rebuild" in status.sentence.lower(), status.sentence)
    check(not shop.numbers(shop.b) & {order.number for order in orders}, "what the log does not hold has crossed")
    check(refused(lambda: shop.sell(product)) is None, "nothing can be sold without a standby")
    shop.side.replication.resync()
    shop.await_equal()
    check({order.number for order in orders} <= shop.numbers(shop.b), "orders are missing")
    status = shop.status()
    check(status.headroom is not None and status.headroom.state == "reserved", f"{status.headroom}")
    check(shop.side.replication.verify().outcome is Outcome.IN_SYNC, "the sides differ")


def _away(shop: PairShop, product: Product) -> list[Order]:
    """The standby is stopped, and the log grows by some segments with some orders in them."""
    shop.await_equal()
    shop.machine.stop_server("b")
    orders = shop.sell(product, times=3)
    for _ in range(SEGMENTS):
        administer(shop.a, "SELECT pg_logical_emit_message(false, 'test', 'x')", "SELECT pg_switch_wal()")
    administer(shop.a, "CHECKPOINT")
    return orders


# ---- roles


def promoted(shop: PairShop, check: Check) -> None:
    """The primary dies with orders on the link: there, or on the invoice; then all of them, each once."""
    product = shop.stocked()
    safe = shop.sell(product, times=4)
    shop.await_equal()
    shop.side.replication.set_delay(10)
    lost = shop.sell(product, times=3)
    at_risk = shop.status().at_risk
    check(at_risk.orders == 3, f"at risk: {at_risk.sentence}")
    shop.machine.kill_server("a")
    shop.side.replication.set_delay(0)
    promotion = shop.side.failover.promote(by="test", expected_timeline=1)
    there, invoice = shop.numbers(shop.b), promotion.invoice
    check(there == {order.number for order in safe}, f"there: {sorted(there)}")
    check({one.order_number for one in invoice.commits} - {""} == {order.number for order in lost}, invoice.sentence)
    check((invoice.orders, invoice.order_cents) == (3, sum(order.total_cents for order in lost)), invoice.sentence)
    check(invoice.sentence == at_risk.sentence, f"{invoice.sentence}, at risk were {at_risk.sentence}")
    check(shop.servers.roles.primary == 1 and shop.servers.roles.timeline == 2, "the roles are not agreed on")
    check(refused(lambda: shop.side.failover.promote(by="test", expected_timeline=1)), "pressed twice, promoted twice")
    [order] = shop.sell(product)
    check(order.number.startswith("A2-"), order.number)
    shop.await_equal()  # A follows B
    check(shop.machine.state().a.role == "standby", shop.machine.state().a.role)
    check(shop.side.failover.unsettled() is None, "something is unsettled")
    for one in invoice.commits:
        if one.order_number:
            shop.side.failover.reenter(one.id, by="test")
            check(refused(lambda: shop.side.failover.reenter(one.id, by="test")), "re-entered twice")  # noqa: B023
    shop.await_equal()
    everything = {order.number for order in [*safe, *lost, order]}
    check(shop.numbers(shop.b) == shop.numbers(shop.a) == everything, "not all of them are there")
    with shop.repository.view() as unit:
        kept = unit.product(product.id)
    check(kept is not None and kept.stock == product.stock - len(everything), f"the stock is {kept and kept.stock}")
    check(shop.side.replication.verify().outcome is Outcome.IN_SYNC, "the sides differ")


def only_the_primary_is_written(shop: PairShop, check: Check) -> None:
    """The standby refuses by itself; an old primary that somebody starts by hand does not, and the shop does."""
    product = shop.stocked()
    shop.sell(product)
    shop.await_equal()
    with psycopg.connect(shop.b.url(), autocommit=True) as past_the_shop:
        try:
            past_the_shop.execute("DELETE FROM orders")
            said: psycopg.Error | None = None
        except psycopg.Error as error:
            said = error
    check(isinstance(said, psycopg.errors.ReadOnlySqlTransaction), f"the standby says {said!r}")

    shop.machine.kill_server("a")
    ask(shop.b, "SELECT pg_promote(true, 30)", role=ADMIN)
    check.awaits(lambda: refused(lambda: shop.sell(product)) is None, "the shop finds the new primary")
    check(shop.servers.roles.primary == 1, "the roles are not agreed on")
    shop.a.start()  # by hand: nobody who runs the pair would
    ask(shop.a, f"UPDATE products SET stock = 7 WHERE id = '{product.id}'")
    for _ in range(3):
        [order] = shop.sell(product)
        check(order.number.startswith("A2-") and order.number in shop.numbers(shop.b), "it went to the old primary")
        check(order.number not in shop.numbers(shop.a), "the old primary has it")
    with (
        tempfile.TemporaryDirectory() as folder
    ):  # somebody has exchanged the addresses: where B was, the old primary answers
        shutil.copy(shop.machine.ground.folder.parent / "cluster.json", folder)
        exchanged = Servers((shop.b.url(), shop.a.url()), Roles(Path(folder)))
        exchanged.open()
        try:
            refusal = refused(lambda: keep_products(PostgresRepository(exchanged), product))
        finally:
            exchanged.close()
    check(
        isinstance(refusal, WritesUnavailable) and refusal.retry_seconds, f"the old primary is written to: {refusal!r}"
    )
    [(stock,)] = ask(shop.a, f"SELECT stock FROM products WHERE id = '{product.id}'")
    check(stock == 7, f"the old primary was written to: the stock is {stock}")


# ---- too much, too slow, at once


def pool_exhausted(shop: PairShop, check: Check) -> None:
    """Those who find no connection are told so soon; readers and writers do not take each other's."""
    product = shop.stocked()
    for enter, ask_again, kind in (
        (shop.repository.view, lambda: _look(shop), Unavailable),
        (shop.repository.update, lambda: keep_products(shop.repository, product), WritesUnavailable),
    ):
        with _held(enter, SHORT.connections):
            began = time.monotonic()
            refusal = refused(ask_again)
            took = time.monotonic() - began
            check(type(refusal) is kind, f"answered with {refusal!r}")
            check(refusal is not None and refusal.status == 503, "it is no 503")
            check(isinstance(refusal, Unavailable) and refusal.retry_seconds, "nobody says when to try again")
            check(took < SHORT.pool_seconds + LATE_SECONDS_MAX, f"told only after {took:.1f} s")
            if kind is WritesUnavailable:
                check(refused(lambda: _look(shop)) is None, "readers stand behind writers")
            else:
                check(refused(lambda: keep_products(shop.repository, product)) is None, "writers stand behind readers")
        check(refused(ask_again) is None, "it is not better when they are gone")


def _held(enter: Callable[[], object], times: int) -> "_Holding":
    return _Holding(enter, times)


class _Holding:
    """As many threads as *times*, each inside a unit."""

    def __init__(self, enter: Callable[[], object], times: int) -> None:
        self._enter = enter
        self._inside = threading.Barrier(times + 1)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._hold) for _ in range(times)]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()
        self._inside.wait(WAIT)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _hold(self) -> None:
        with self._enter():  # type: ignore[attr-defined]
            self._inside.wait(WAIT)
            self._over.wait(WAIT)


def _look(shop: PairShop) -> int:
    with shop.repository.view() as unit:
        return len(unit.catalog(CatalogQuery()).items)


def statement_too_slow(shop: PairShop, check: Check) -> None:
    """Somebody holds the table: pages and orders that need it give up and say so, others go on."""
    product, other = shop.stocked(), a_product()
    with psycopg.connect(shop.a.url()) as somebody:
        somebody.execute("LOCK TABLE products IN ACCESS EXCLUSIVE MODE")
        for call, kind in (
            (lambda: _look(shop), Unavailable),
            (lambda: keep_products(shop.repository, other), WritesUnavailable),
        ):
            began = time.monotonic()
            refusal = refused(call)
            took = time.monotonic() - began
            check(type(refusal) is kind, f"answered with {refusal!r}")
            check(isinstance(refusal, Unavailable) and refusal.retry_seconds, "nobody says when to try again")
            check(took < SHORT.statement_seconds + LATE_SECONDS_MAX, f"told only after {took:.1f} s")
        with shop.repository.view() as unit:
            check(list(unit.categories()), "pages that need something else stand still")
    check(_look(shop) == 1, "what was refused was kept")
    check(refused(lambda: shop.sell(product)) is None, "it is not better when he is gone")
    check(refused(lambda: keep_products(shop.repository, other)) is None, "it cannot be made again")


def crossed_and_made_again(shop: PairShop, check: Check) -> None:
    """Two that lock in opposed order: one is broken off, can be made again, and is. So is a page whose snapshot the standby gave up."""
    one, two = shop.stocked(), shop.stocked()
    meeting = threading.Barrier(2)
    told: list[ShopError | None] = [None, None]

    def edit(place: int, ids: Sequence[str]) -> None:
        def once(*, meet: bool) -> None:
            with shop.repository.update() as unit:
                for number, id in enumerate(ids):
                    unit.product(id)
                    if meet and number == 0:
                        meeting.wait(WAIT)
                unit.put_cart(a_cart(id=f"crossed-{place}"))

        told[place] = said = refused(lambda: once(meet=True))
        for attempt in range(10):
            if not isinstance(said, Crossed):
                break
            time.sleep(0.05 * place * attempt)  # at once they might meet again
            said = refused(lambda: once(meet=False))

    threads = [
        threading.Thread(target=edit, args=(place, ids))
        for place, ids in enumerate([(one.id, two.id), (two.id, one.id)])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    broken_off = [refusal for refusal in told if refusal is not None]
    check(broken_off, "PostgreSQL broke off neither")
    check(all(isinstance(one, Crossed) and one.retry_seconds for one in broken_off), f"told {broken_off!r}")
    with shop.repository.view() as unit:
        check(all(unit.cart(f"crossed-{place}") for place in (0, 1)), "one of the two is gone")

    shop.await_equal()
    administer(
        shop.b, "ALTER SYSTEM SET max_standby_streaming_delay = 0", "ALTER SYSTEM SET hot_standby_feedback = off"
    )
    check.awaits(lambda: ask(shop.b, "SHOW max_standby_streaming_delay") == [("0",)], "the standby waits for no reader")

    def read_on() -> None:
        with shop.repository.view_on(shop.servers.all[1]) as unit:
            unit.product(one.id)
            ask(shop.a, f"UPDATE products SET stock = stock - 1 WHERE id = '{one.id}'")
            ask(shop.a, "VACUUM (FREEZE) products", role=ADMIN, database=SHOP)
            [(target,)] = ask(shop.a, "SELECT pg_current_wal_insert_lsn()")
            wait_until(
                lambda: ask(shop.b, f"SELECT pg_last_wal_replay_lsn() >= '{target}'") == [(True,)],
                seconds=WAIT,
                what="the standby has replayed it",
            )
            unit.product(one.id)

    refusal = refused(read_on)
    check(
        type(refusal) in (Unavailable, *Unavailable.__subclasses__()), f"a page of before is answered with {refusal!r}"
    )
    check.awaits(
        lambda: not ask(shop.a, "SELECT 1 FROM pg_replication_slots WHERE xmin IS NOT NULL", role=ADMIN),
        "the primary keeps nothing for its readers",
    )
    check(isinstance(refusal, Unavailable) and refusal.retry_seconds, "nobody says when to try again")
    with shop.repository.view_on(shop.servers.all[1]) as unit:
        check(unit.product(one.id), "the next page is not better")


CASES = (
    Case("delays show", delays_show),
    Case("idle is zero", idle_is_zero),
    Case("replay paused", replay_paused),
    Case("standby down and up", standby_down_and_up),
    Case("primary stops at once", primary_stops_at_once),
    Case("the stream is cut", stream_cut),
    Case("what the slot keeps", slot_keeps_and_loses),
    Case("promoted", promoted),
    Case("only the primary is written", only_the_primary_is_written),
    Case("pool exhausted", pool_exhausted, SHORT),
    Case("statement too slow", statement_too_slow, SHORT),
    Case("crossed and made again", crossed_and_made_again),
)
