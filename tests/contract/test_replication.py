"""What every replication promises (`shop/replication/contract.py`): the same suite for every implementation."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from shop import orders
from shop.errors import Conflict, Invalid
from shop.replication.contract import CommitState, Difference, Lag, Outcome, Passage, State, Status
from tests.builders import (
    NOW,
    a_category,
    a_line,
    a_product,
    keep,
    keep_cart,
    keep_products,
    order_of,
    product_in,
)
from tests.contract.worlds import DELAY, WORLDS, World

# What needs a clock that the test moves, or a far side that it can break or spoil.
by_hand = pytest.mark.parametrize("world", ["embedded"], indirect=True)


@pytest.fixture(params=sorted(WORLDS))
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    world = WORLDS[request.param](tmp_path)
    yield world
    world.end()


def status(world: World) -> Status:
    return world.replication.status()


def sell(world: World, *, price_cents: int = 1250, times: int = 1) -> list[str]:
    """That many orders of one product; returns their numbers. Each brings a commit for the cart and one for the order."""
    product = a_product(price_cents=price_cents)
    keep_products(world.repository, product)
    return [order_of(world.repository, (product, 1)).number for _ in range(times)]


# ---- idle


def test_an_idle_pair_is_in_sync_with_zero_lag_and_nothing_at_risk(world: World) -> None:
    keep(world.repository, a_product())
    world.cross()
    world.let_pass(24 * 3600)

    now = status(world)

    assert now.state is State.IN_SYNC
    assert now.lag == Lag(commits=0, oldest_seconds=0.0, stalled_seconds=0.0)
    assert now.at_risk.commits == 0
    assert now.at_risk.sentence == "nothing"
    assert now.primary.position == now.replica.position
    assert list(now.in_flight) == []
    assert list(world.replication.differences()) == []


def test_a_customer_is_told_of_the_crossing_what_the_status_says(world: World) -> None:
    for step in (lambda: sell(world), world.replication.pause, world.replication.resume, world.cross):
        step()
        now = status(world)
        assert world.replication.passage() == Passage(now.state, now.link.delay_seconds)
    assert now.state is State.IN_SYNC


def test_a_pair_that_was_never_written_to_is_in_sync(world: World) -> None:
    assert status(world).state is State.IN_SYNC
    assert status(world).lag.commits == 0
    assert world.replication.verify().outcome is Outcome.IN_SYNC


# ---- on the way


@by_hand
def test_a_commit_on_its_way_is_shown_with_what_it_is_and_when_it_arrives(world: World) -> None:
    product = a_product(name="Teapot")
    keep(world.repository, a_category(id=product.category_id))
    world.cross()
    keep(world.repository, product)
    world.let_pass(2)

    [commit] = status(world).in_flight

    assert commit.state is CommitState.IN_FLIGHT
    assert commit.summary == "product Teapot"
    assert [(change.collection, change.id, change.is_delete) for change in commit.changes] == [
        ("products", product.id, False)
    ]
    assert commit.due_in_seconds == pytest.approx(3, abs=0.01)
    assert commit.progress == pytest.approx(0.4, abs=0.01)
    assert commit.committed_at == "2026-01-01T12:00:06.000000Z"
    assert commit.applied_at is None


def test_commits_on_their_way_are_listed_oldest_first_and_no_more_than_a_page_holds(world: World) -> None:
    for _ in range(60):
        keep(world.repository, a_product())

    listed = [commit.lsn for commit in status(world).in_flight]

    assert (len(listed), listed) == (50, sorted(listed))
    assert status(world).lag.commits == 60


@by_hand
def test_lag_counts_commits_and_the_age_of_the_oldest_but_stalls_only_when_something_is_due(world: World) -> None:
    keep(world.repository, a_product())
    world.let_pass(1)
    keep(world.repository, a_product())
    world.let_pass(1)

    assert status(world).state is State.BEHIND
    assert status(world).lag == Lag(commits=2, oldest_seconds=pytest.approx(2), stalled_seconds=0.0)


@by_hand
def test_an_applied_commit_is_listed_newest_first_with_its_lateness(world: World) -> None:
    keep(world.repository, a_product(name="Teapot"))
    world.let_pass(1)
    keep(world.repository, a_product(name="Kettle"))
    world.cross()

    recent = status(world).recent

    assert [commit.summary.removeprefix("category Category, ") for commit in recent] == [
        "product Kettle",
        "product Teapot",
    ]
    assert all(commit.state is CommitState.APPLIED for commit in recent)
    assert all(commit.lateness_seconds is not None and 0 <= commit.lateness_seconds < 0.25 for commit in recent)
    assert recent[1].applied_at is not None
    assert recent[1].applied_at[:21] == "2026-01-01T12:00:05.0"


def test_an_order_is_named_with_its_money(world: World) -> None:
    [number] = sell(world, price_cents=10_000)

    summaries = [commit.summary for commit in status(world).in_flight]

    assert any(summary.startswith(f"order {number}, €10") for summary in summaries)


# ---- at risk


def test_at_risk_are_the_commits_that_have_not_crossed_in_the_words_of_the_shop(world: World) -> None:
    product = a_product(price_cents=5000)
    keep_products(world.repository, product)
    world.cross()
    due = sum(world_order_total(world, order_of(world.repository, (product, 1)).number) for _ in range(2))
    keep_cart(world.repository, a_line(product))
    keep(world.repository, replace(product_in(world.repository, product), name="Renamed", version=2))

    at_risk = status(world).at_risk

    assert (at_risk.orders, at_risk.order_cents, at_risk.edits) == (2, due, 1)
    assert at_risk.commits == status(world).lag.commits == 6
    assert at_risk.carts == 1, "those that became orders are not lost twice"
    assert at_risk.sentence.startswith(f"6 writes, 2 orders, €{due / 100:.2f}")


def world_order_total(world: World, number: str) -> int:
    with world.repository.view() as unit:
        order = unit.order(number)
    assert order is not None
    return order.total_cents


def test_what_has_crossed_is_no_longer_at_risk(world: World) -> None:
    sell(world, times=2)
    assert status(world).at_risk.orders == 2

    world.cross()
    sell(world)

    assert status(world).at_risk.orders == 1


def test_sending_an_order_is_a_write_but_no_new_order(world: World) -> None:
    [number] = sell(world)
    world.cross()

    with world.repository.update() as unit:
        orders.mark_sent(unit, number, version=1, now=NOW)

    at_risk = status(world).at_risk
    assert (at_risk.commits, at_risk.orders, at_risk.order_cents) == (1, 0, 0)
    assert status(world).in_flight[0].summary == f"order {number} sent"


# ---- the knobs


@pytest.mark.parametrize("seconds", [-1, 3600.5, math.nan, math.inf])
def test_a_delay_that_is_none_is_refused_on_its_field(world: World, seconds: float) -> None:
    with pytest.raises(Invalid) as refused:
        world.replication.set_delay(seconds)

    assert "delay" in refused.value.fields
    assert status(world).link.delay_seconds == world.delay


@by_hand
def test_a_new_delay_holds_for_commits_already_crossing(world: World) -> None:
    keep(world.repository, a_product())
    world.let_pass(1)

    world.replication.set_delay(60)
    world.let_pass(30)
    assert status(world).lag.commits == 1
    world.replication.set_delay(0)
    world.let_pass(0.01)

    assert status(world).state is State.IN_SYNC


@by_hand
def test_a_paused_link_holds_commits_until_it_is_resumed(world: World) -> None:
    world.replication.pause()
    keep(world.repository, a_product())
    world.let_pass(60)

    paused = status(world)
    assert (paused.state, paused.link.is_paused, paused.lag.commits) == (State.PAUSED, True, 1)
    assert paused.lag.oldest_seconds == pytest.approx(60)
    world.replication.resume()
    world.let_pass(0.01)

    assert status(world).state is State.IN_SYNC
    assert not status(world).link.is_paused


def test_everything_can_be_brought_across_at_once_even_while_paused(world: World) -> None:
    world.replication.pause()
    for _ in range(3):
        keep(world.repository, a_product())

    assert world.replication.sync_now() == 3

    assert status(world).lag.commits == 0
    assert status(world).link.is_paused, "the pause goes on for what comes next"
    assert world.replication.sync_now() == 0


# ---- failure


@by_hand
def test_a_far_side_that_refuses_is_shown_with_attempts_error_and_the_next_try(world: World) -> None:
    world.break_far_side()
    keep(world.repository, a_product())
    world.let_pass(DELAY + 3)

    failing = status(world)

    assert failing.state is State.FAILING
    assert failing.retry.attempts >= 2
    assert "no space on the far side" in failing.retry.error
    assert 0 < failing.retry.next_in_seconds <= 30
    assert "no space on the far side" in failing.sentence
    assert failing.lag.commits == 1
    assert failing.lag.stalled_seconds == pytest.approx(3, abs=0.1)
    with pytest.raises(Conflict, match="no space"):
        world.replication.sync_now()

    world.mend_far_side()
    world.let_pass(31)

    assert status(world).state is State.IN_SYNC
    assert status(world).retry.attempts == 0


@by_hand
def test_resuming_tries_at_once(world: World) -> None:
    world.break_far_side()
    keep(world.repository, a_product())
    world.let_pass(DELAY + 60)
    world.mend_far_side()

    world.replication.resume()
    world.let_pass(0.01)

    assert status(world).state is State.IN_SYNC


def test_commits_in_flight_at_a_restart_arrive_after_it(world: World) -> None:
    [number] = sell(world)
    world.let_pass(1)

    world.restart()

    assert status(world).at_risk.orders == 1
    assert any(number in commit.summary for commit in status(world).in_flight)
    world.cross()
    assert status(world).state is State.IN_SYNC


# ---- differences and verification


def difference_of(world: World, collection: str, id: str) -> Difference:
    [found] = [each for each in world.replication.differences() if (each.collection, each.id) == (collection, id)]
    return found


def test_a_record_on_its_way_differs_and_is_explained(world: World) -> None:
    product = a_product(name="Teapot", price_cents=1250)
    keep(world.repository, product)
    world.cross()
    keep(world.repository, replace(product, price_cents=1500, version=2))

    found = difference_of(world, "products", product.id)

    assert found.label == "Teapot"
    assert ("price", "€15.00", "€12.50") in found.fields
    assert [name for name, _, _ in found.fields] == ["price", "version"]
    assert (found.on_primary, found.on_replica, found.is_explained) == (True, True, True)
    world.cross()
    assert not world.replication.differences()


def test_a_record_that_one_side_lacks_is_shown_by_its_headline(world: World) -> None:
    [number] = sell(world)

    found = difference_of(world, "orders", number)

    assert found.label == f"Order {number}"
    assert (found.on_primary, found.on_replica) == (True, False)
    assert ("status", "placed", "") in found.fields


def test_no_more_differences_are_listed_than_asked_for(world: World) -> None:
    for _ in range(10):
        keep(world.repository, a_product())

    assert len(world.replication.differences(limit=3)) == 3


def test_a_verification_counts_commits_on_their_way_in(world: World) -> None:
    product = a_product()
    keep(world.repository, product, a_product())
    world.cross()
    keep(world.repository, replace(product, name="Changed", version=2))
    sell(world)

    verdict = world.replication.verify()

    assert verdict.outcome is Outcome.IN_SYNC
    assert verdict.records >= 3
    assert verdict.position == status(world).primary.position
    assert not verdict.differences


@by_hand
def test_a_verification_finds_what_nothing_explains_and_a_resync_repairs_it(world: World) -> None:
    changed, missing = a_product(name="Teapot", stock=10), a_product(name="Kettle")
    extra = a_product(name="Ghost")
    keep(world.repository, changed, missing)
    world.cross()
    world.spoil_far_side("products", changed.id, replace(changed, stock=7))
    world.spoil_far_side("products", missing.id, None)
    world.spoil_far_side("products", extra.id, extra)
    assert not world.replication.differences(), "nobody has looked yet"

    verdict = world.replication.verify()

    assert verdict.outcome is Outcome.DIVERGED
    assert {found.label: (found.on_primary, found.on_replica) for found in verdict.differences} == {
        "Teapot": (True, True),
        "Kettle": (True, False),
        "Ghost": (False, True),
    }
    assert "3 records differ" in verdict.sentence
    teapot = difference_of(world, "products", changed.id)
    assert list(teapot.fields) == [("stock", "10", "7")]
    assert not teapot.is_explained

    world.replication.resync()

    assert world.replication.verify().outcome is Outcome.IN_SYNC
    assert not world.replication.differences()


@by_hand
def test_a_difference_that_a_commit_on_its_way_will_mend_is_not_a_divergence(world: World) -> None:
    product = a_product(stock=10)
    keep(world.repository, product)
    world.cross()
    world.spoil_far_side("products", product.id, replace(product, stock=7))
    keep(world.repository, replace(product, stock=9))

    assert world.replication.verify().outcome is Outcome.IN_SYNC


@by_hand
def test_a_resync_brings_across_what_was_on_its_way_and_later_commits_follow(world: World) -> None:
    sell(world)

    world.replication.resync()

    assert status(world).state is State.IN_SYNC
    assert status(world).at_risk.commits == 0
    keep(world.repository, a_product())
    assert status(world).at_risk.commits == 1
    world.cross()
    assert status(world).state is State.IN_SYNC


# ---- the version


@by_hand
def test_the_version_changes_with_what_is_shown_and_not_with_time(world: World) -> None:
    seen = [status(world).version]

    def has_changed() -> bool:
        seen.append(status(world).version)
        return seen[-1] != seen[-2]

    world.let_pass(10)
    assert not has_changed()
    keep(world.repository, a_product())
    assert has_changed()
    world.let_pass(1)
    assert not has_changed(), "only ages and countdowns moved"
    world.let_pass(DELAY)
    assert has_changed()
    world.replication.set_delay(7)
    assert has_changed()
    world.replication.pause()
    assert has_changed()
    world.replication.resume()
    world.break_far_side()
    keep(world.repository, a_product())
    assert has_changed()
    world.let_pass(7.1)
    assert has_changed(), "an attempt failed"
    world.replication.verify()
    assert has_changed(), "the differences may be others now"


@by_hand
def test_the_sides_are_named_with_their_files_and_counts(world: World) -> None:
    keep(world.repository, a_product(), a_product())
    now = status(world)

    assert (now.primary.role, now.primary.file, now.primary.counts["products"]) == ("primary", "db.json", 2)
    assert (now.replica.role, now.replica.file, now.replica.counts["products"]) == ("replica", "db_async.json", 0)
    assert (now.primary.is_writable, now.primary.problem) == (True, "")
    assert (now.replica.is_writable, now.replica.problem) == (False, "")
    assert now.primary.file_bytes > 0
    assert now.primary.journal_bytes > 0
