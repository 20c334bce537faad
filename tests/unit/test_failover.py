"""Promotion, the invoice of losses, the rejoin, the review of what was lost, and the switchover."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from shop.clock import ManualClock
from shop.errors import Conflict, Invalid, NotFound, WritesUnavailable
from shop.replication.contract import Outcome, State
from shop.replication.pair import next_timeline
from shop.store import StoreReadOnly
from tests.failoverkit import BY, Shop, contents


@pytest.fixture
def shop(tmp_path: Path, clock: ManualClock) -> Iterator[Shop]:
    shop = Shop(tmp_path, clock)
    shop.stock()
    shop.order()
    shop.cross()
    yield shop
    shop.pair.close()


def assert_equal_sides(shop: Shop) -> None:
    assert shop.pair.primary.position == shop.pair.replica.position
    assert contents(shop.pair.primary) == contents(shop.pair.replica)
    assert shop.replication.verify().outcome is Outcome.IN_SYNC
    assert shop.replication.status().state is State.IN_SYNC


@pytest.mark.parametrize("k", [0, 1, 7])
def test_the_invoice_lists_exactly_the_orders_in_flight_with_their_sum(shop: Shop, k: int) -> None:
    lost = [shop.order(pieces=number + 1, name=f"Customer {number}") for number in range(k)]

    promotion = shop.failover.promote(by=BY)

    invoice = promotion.invoice
    assert [commit.order_number for commit in invoice.commits] == [order.number for order in lost]
    assert (invoice.orders, invoice.order_cents) == (k, sum(order.total_cents for order in lost))
    assert [commit.customer for commit in invoice.commits] == [
        f"Customer {number} <customer@example.com>" for number in range(k)
    ]
    assert sorted(commit.lsn for commit in shop.lost.commits()) == [commit.lsn for commit in invoice.commits]
    assert shop.names() == ("db_async.json", "db.json")
    assert promotion.timeline == 2
    if k:
        assert_equal_sides(shop)
        assert shop.failover.invoices() == [invoice]
    else:
        shop.cross()
        assert_equal_sides(shop)
        assert shop.failover.invoices() == []


def test_re_entering_what_was_lost_restores_the_sum_and_the_stock(shop: Shop) -> None:
    lost = [shop.order(pieces=number) for number in (1, 2, 3)]
    numbers, takings, stock = shop.numbers(), shop.takings(), shop.pair.primary.state.get("products", "mug").stock
    invoice = shop.failover.promote(by=BY).invoice
    assert shop.takings() == takings - sum(order.total_cents for order in lost)
    newer = shop.order()
    assert newer.number.startswith("A2-")

    for commit in invoice.commits:
        assert shop.failover.reenter(commit.id, by=BY).kind == "re-entered"

    assert shop.numbers() == sorted([*numbers, newer.number])
    assert shop.takings() == takings + newer.total_cents
    assert shop.pair.primary.state.get("products", "mug").stock == stock - 1
    for order in lost:
        assert shop.pair.primary.state.get("orders", order.number) == order
    shop.cross()
    assert_equal_sides(shop)


def test_what_was_decided_is_kept_and_cannot_be_decided_again(shop: Shop) -> None:
    shop.order()
    shop.order()
    first, second = shop.failover.promote(by=BY).invoice.commits
    shop.failover.reenter(first.id, by=BY)
    shop.failover.discard(second.id, " the customer called ", by=BY)

    again = shop.reopen()

    decisions = [commit.decision for commit in again.failover.invoices()[0].commits]
    assert [(one.kind, one.by) for one in decisions if one] == [("re-entered", BY), ("discarded", BY)]
    assert decisions[1] is not None
    assert decisions[1].sentence == "the customer called"
    for commit in (first, second):
        with pytest.raises(Conflict):
            again.failover.reenter(commit.id, by=BY)
        with pytest.raises(Conflict):
            again.failover.discard(commit.id, "a reason", by=BY)
    again.pair.close()


def test_a_discard_needs_a_reason_and_a_commit_that_is_there(shop: Shop) -> None:
    shop.order()
    commit = shop.failover.promote(by=BY).invoice.commits[0]
    with pytest.raises(Invalid) as refused:
        shop.failover.discard(commit.id, "  ", by=BY)
    assert "reason" in refused.value.fields
    for name in ("1-999", "../db", "", "1-1/../../db"):
        with pytest.raises(NotFound):
            shop.failover.discard(name, "a reason", by=BY)
        with pytest.raises(NotFound):
            shop.failover.reenter(name, by=BY)


def test_a_decision_that_a_crash_forgot_does_no_harm_when_it_is_made_again(shop: Shop) -> None:
    order = shop.order()
    commit = shop.failover.promote(by=BY).invoice.commits[0]
    shop.failover.reenter(commit.id, by=BY)
    stock = shop.pair.primary.state.get("products", "mug").stock
    (shop.lost.path / f"{commit.id}.done.json").unlink()

    decision = shop.failover.reenter(commit.id, by=BY)

    assert "already" in decision.sentence
    assert shop.pair.primary.state.get("products", "mug").stock == stock
    assert shop.numbers().count(order.number) == 1


def test_an_order_without_enough_stock_is_refused_and_stays_open(shop: Shop) -> None:
    order = shop.order(pieces=5)
    commit = shop.failover.promote(by=BY).invoice.commits[0]
    shop.order(pieces=97)  # of the 99 that are left on this side

    with pytest.raises(Conflict, match=r"2 of Mug"):
        shop.failover.reenter(commit.id, by=BY)

    assert order.number not in shop.numbers()
    assert shop.failover.invoices()[0].commits[0].decision is None
    shop.edit(stock=5)
    shop.failover.reenter(commit.id, by=BY)
    assert shop.pair.primary.state.get("products", "mug").stock == 0


def test_an_edit_is_re_entered_on_the_version_it_was_made_on_and_on_no_other(shop: Shop) -> None:
    shop.edit(price_cents=999, stock=50)
    shop.edit(price_cents=888)
    first, second = shop.failover.promote(by=BY).invoice.commits
    shop.order(pieces=2)

    with pytest.raises(Conflict):
        shop.failover.reenter(second.id, by=BY)  # its version comes after the first's
    shop.failover.reenter(first.id, by=BY)
    mug = shop.pair.primary.state.get("products", "mug")
    assert (mug.price_cents, mug.version) == (999, 2)
    assert mug.stock == 97, "what was sold since stays sold"
    shop.edit(name="Another name")
    with pytest.raises(Conflict, match="edited since"):
        shop.failover.reenter(second.id, by=BY)


def test_a_customer_who_ordered_the_cart_again_gets_no_second_order(shop: Shop) -> None:
    order = shop.order()
    commit = shop.failover.promote(by=BY).invoice.commits[0]
    again = shop.order()
    with shop.repository.update() as unit:
        unit.put_order(replace(again, checkout_key=order.checkout_key))

    with pytest.raises(Conflict, match=again.number):
        shop.failover.reenter(commit.id, by=BY)
    assert order.number not in shop.numbers()


def test_the_old_primary_is_fenced_also_for_a_unit_that_was_made_before(shop: Shop) -> None:
    old, unit = shop.pair.primary, shop.repository.update()
    shop.failover.promote(by=BY)
    with pytest.raises(StoreReadOnly), old.update() as raw:
        raw.delete("orders", "x")
    with pytest.raises(WritesUnavailable), unit:
        pass


def test_a_write_under_way_ends_before_the_promotion_and_is_on_the_invoice(shop: Shop) -> None:
    unit = shop.repository.update()
    writer = unit.__enter__()
    mug = writer.product("mug")
    assert mug is not None
    promoted: list[int] = []
    thread = threading.Thread(target=lambda: promoted.append(len(shop.failover.promote(by=BY).invoice.commits)))
    thread.start()
    writer.put_product(mug)
    assert not promoted
    unit.__exit__(None, None, None)
    thread.join(timeout=20)
    assert promoted == [1]


def test_orders_taken_while_the_roles_change_are_in_the_books_or_on_an_invoice(shop: Shop) -> None:
    confirmed: list[str] = []
    refused: list[str] = []
    may_stop = threading.Event()

    def buy() -> None:
        while not may_stop.is_set():
            try:
                confirmed.append(shop.order(pieces=0).number)
            except WritesUnavailable as refusal:
                refused.append(refusal.message)

    threads = [threading.Thread(target=buy) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        before = len(confirmed)
        while len(confirmed) < before + 20:
            may_stop.wait(0.001)
        shop.failover.promote(by=BY)
    may_stop.set()
    for thread in threads:
        thread.join(timeout=20)
    listed = [commit.order_number for invoice in shop.failover.invoices() for commit in invoice.commits]
    listed = [number for number in listed if number]

    assert len(set(confirmed)) == len(confirmed) > 100
    assert not set(listed) & set(shop.numbers())
    assert set(confirmed) <= set(listed) | set(shop.numbers())
    shop.cross()
    assert_equal_sides(shop)


def test_numbers_are_never_issued_twice_over_two_failovers(shop: Shop) -> None:
    issued = [shop.order().number for _ in range(3)]
    shop.failover.promote(by=BY)
    issued += [shop.order().number for _ in range(3)]
    second = shop.failover.promote(by=BY)
    issued += [shop.order().number for _ in range(3)]

    assert len(set(issued)) == 9
    assert {number.split("-")[0] for number in issued} == {"A1", "A2", "A3"}
    assert shop.names() == ("db.json", "db_async.json")
    assert second.invoice.orders == 3
    assert [invoice.timeline for invoice in shop.failover.invoices()] == [2, 1]
    for invoice in shop.failover.invoices():
        for commit in invoice.commits:
            shop.failover.reenter(commit.id, by=BY)
    assert set(issued) <= set(shop.numbers())


def test_a_second_promotion_that_saw_the_same_page_is_refused(shop: Shop) -> None:
    shop.order()
    shop.failover.promote(by=BY, expected_timeline=1)
    with pytest.raises(Conflict, match="changed"):
        shop.failover.promote(by=BY, expected_timeline=1)
    with pytest.raises(Conflict):
        shop.failover.switch_over(by=BY, expected_timeline=1)
    assert shop.names()[0] == "db_async.json"


def test_promoting_back_before_the_new_timeline_has_crossed_finds_the_fork(shop: Shop) -> None:
    shop.failover.promote(by=BY)  # nothing was in flight: the old side follows through the log, and is not there yet
    lost = shop.order()

    promotion = shop.failover.promote(by=BY)

    assert [commit.order_number for commit in promotion.invoice.commits] == [lost.number]
    assert promotion.timeline == 3
    assert_equal_sides(shop)


def test_a_restart_finds_the_new_primary(shop: Shop) -> None:
    shop.order()
    shop.failover.promote(by=BY)
    kept = shop.order()

    again = shop.reopen(killed=True)

    assert again.names() == ("db_async.json", "db.json")
    assert kept.number in again.numbers()
    assert again.rejoined == ""
    again.pair.close()


def test_a_replica_of_another_history_is_not_promoted(shop: Shop) -> None:
    shop.pair.replica.allow_writes()
    with shop.pair.replica.update() as unit:
        unit.delete("orders", shop.numbers()[0])
    shop.order()

    with pytest.raises(Conflict, match="cannot be promoted"):
        shop.failover.promote(by=BY)

    assert shop.names()[0] == "db.json"
    shop.order()  # nothing was changed: the shop sells on


def test_a_primary_that_is_shorter_than_its_replica_can_be_left_without_loss(shop: Shop) -> None:
    order = shop.order()
    short = [(shop.folder / name).read_bytes() for name in ("db.json", "db.journal")]
    shop.cross()
    later = shop.order()
    shop.cross()
    shop.pair.close()
    for name, data in zip(("db.json", "db.journal"), short, strict=True):
        (shop.folder / name).write_bytes(data)

    again = Shop(shop.folder, shop.clock)
    assert not again.pair.primary.is_writable
    promotion = again.failover.promote(by=BY)

    assert promotion.invoice.commits == []
    assert {order.number, later.number} <= set(again.numbers())
    again.cross()
    assert_equal_sides(again)
    again.pair.close()


def test_a_full_disk_stops_the_promotion_and_changes_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.order()

    def full(fd: int, data: bytes, offset: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shop.pair.replica._log._files, "write", full)
        with pytest.raises(Conflict, match="nothing was changed"):
            shop.failover.promote(by=BY)
    assert shop.names()[0] == "db.json"
    shop.order()
    with pytest.raises(StoreReadOnly), shop.pair.replica.update() as unit:
        unit.delete("orders", "x")


def test_a_rejoin_that_fails_is_told_and_done_at_the_next_start(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = shop.order()

    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shop.lost._files, "make_folder", full)
        promotion = shop.failover.promote(by=BY)
    assert "could not rejoin" in promotion.sentence
    assert promotion.invoice.orders == 1
    shop.order()

    again = shop.reopen()

    assert "db.json" in again.rejoined
    assert [commit.order_number for commit in again.failover.invoices()[0].commits] == [lost.number]
    assert_equal_sides(again)
    again.pair.close()


def test_what_was_left_is_not_cut_from_the_old_journal_while_it_cannot_rejoin(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = [shop.order() for _ in range(20)]
    monkeypatch.setattr("shop.store.store.CUT_BYTES", 1)

    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shop.lost._files, "make_folder", full)
        shop.failover.promote(by=BY)
        again = shop.reopen()
        assert "could not rejoin" in again.rejoined
        assert again.replication.sync_once(shop.clock.monotonic()).applied == 0
        again = again.reopen()
    again = again.reopen()

    assert [commit.order_number for commit in again.failover.invoices()[0].commits] == [one.number for one in lost]
    assert_equal_sides(again)
    again.pair.close()


def test_a_switchover_loses_nothing(shop: Shop) -> None:
    order = shop.order()
    shop.edit(price_cents=999)

    promotion = shop.failover.switch_over(by=BY)

    assert promotion.invoice.commits == []
    assert order.number in shop.numbers()
    assert shop.failover.invoices() == []
    assert shop.names() == ("db_async.json", "db.json")
    shop.order()
    shop.cross()
    assert_equal_sides(shop)


@pytest.mark.parametrize("obstacle", ["paused", "slow"])
def test_a_switchover_that_would_take_too_long_gives_the_shop_back(shop: Shop, obstacle: str) -> None:
    shop.order()
    if obstacle == "paused":
        shop.replication.pause()
    else:
        shop.replication.set_delay(3600)

    with pytest.raises(Conflict, match="takes writes again"):
        shop.failover.switch_over(by=BY)

    assert shop.names()[0] == "db.json"
    shop.order()


def test_commits_of_the_new_primary_wake_whoever_listened_to_the_old(shop: Shop) -> None:
    heard: list[int] = []
    shop.replication.on_commit(heard.append)
    shop.failover.promote(by=BY)
    heard.clear()
    shop.order()
    assert heard == [shop.pair.primary.position.lsn]


def test_the_customer_of_a_lost_order_is_told_what_became_of_it(shop: Shop) -> None:
    order = shop.order()
    assert shop.failover.lost_order(order.number) is None
    commit = shop.failover.promote(by=BY).invoice.commits[0]
    assert shop.failover.lost_order(order.number) == commit
    shop.failover.discard(commit.id, "the customer called", by=BY)
    found = shop.failover.lost_order(order.number)
    assert found is not None
    assert found.decision is not None
    assert shop.failover.lost_order("A1-99999") is None


def test_a_damaged_file_in_lost_is_named_and_hides_nothing_else(shop: Shop) -> None:
    shop.order()
    shop.order()
    first, second = shop.failover.promote(by=BY).invoice.commits
    (shop.lost.path / f"{first.id}.jsonl").write_bytes(b"{")
    assert [commit.id for commit in shop.failover.invoices()[0].commits] == [second.id]
    assert shop.failover.damaged() == [f"{first.id}.jsonl"]
    with pytest.raises(Conflict, match="damaged"):
        shop.failover.reenter(first.id, by=BY)


@pytest.mark.parametrize(
    ("highest", "name", "expected"),
    [(1, "db_async.json", 2), (2, "db.json", 3), (3, "db.json", 5), (4, "db_async.json", 6)],
)
def test_a_timeline_belongs_to_its_side(highest: int, name: str, expected: int) -> None:
    assert next_timeline(highest, name) == expected
