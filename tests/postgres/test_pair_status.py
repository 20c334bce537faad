"""The status of a real pair: the lags apart, each shown by what causes it, and none of them when idle."""

import time

from shop.replication.contract import CommitState, Outcome, Stage, State, Status
from tests.builders import a_cart, a_product, keep
from tests.pairkit import PairShop, wait_until


def stage(status: Status, name: str) -> Stage:
    [found] = [one for one in status.stages if one.name == name]
    return found


def write(shop: PairShop) -> None:
    keep(shop.repository, a_cart())


def seconds(shop: PairShop, name: str) -> float:
    found = stage(shop.status(), name).seconds
    assert found is not None
    return found


def test_idle_is_zero_in_every_lag_however_long_ago_the_last_write_was(shop: PairShop) -> None:
    write(shop)
    shop.cross()
    shop.settle()

    now = shop.status()

    assert [one.name for one in now.stages] == ["sent", "flushed", "replayed"]
    assert [(one.behind_bytes, one.seconds) for one in now.stages] == [(0, 0.0)] * 3
    assert (now.lag.commits, now.lag.oldest_seconds, now.lag.stalled_seconds) == (0, 0.0, 0.0)
    assert now.at_risk.sentence == "nothing"


def test_a_transport_delay_shows_as_flush_lag(shop: PairShop) -> None:
    shop.replication.set_delay(0.1)
    highest = 0.0
    deadline = time.monotonic() + 10
    while highest < 0.09:
        assert time.monotonic() < deadline
        write(shop)
        for _ in range(4):
            time.sleep(0.02)
            shop.side.watch.touched()
            highest = max(highest, seconds(shop, "flushed"))

    assert 0.09 <= highest < 1.5
    shop.cross()
    assert seconds(shop, "flushed") == 0.0


def test_an_apply_delay_shows_as_replay_lag_alone_and_puts_nothing_at_risk(shop: PairShop) -> None:
    shop.laboratory.set_apply_delay(3)
    write(shop)
    wait_until(lambda: seconds(shop, "replayed") > 1.5, what="the replay lag to grow")

    now = shop.status()

    assert (seconds(shop, "flushed"), stage(now, "flushed").behind_bytes) == (0.0, 0)
    assert now.state is State.BEHIND
    assert [commit.state for commit in now.in_flight] == [CommitState.ARRIVED]
    assert now.at_risk.commits == 0
    shop.cross()
    assert seconds(shop, "replayed") == 0.0


def test_a_pause_of_replay_shows_the_bytes_that_wait_and_nothing_at_risk(shop: PairShop) -> None:
    shop.replication.pause()
    write(shop)
    wait_until(lambda: shop.status().at_risk.commits == 0, what="the write to arrive")

    now = shop.status()

    assert (now.state, now.link.is_paused, now.link.pauses_replay, now.lag.commits) == (State.PAUSED, True, True, 1)
    assert (stage(now, "replayed").behind_bytes or 0) > 0
    assert stage(now, "flushed").behind_bytes == 0
    shop.replication.resume()
    shop.cross()
    assert shop.status().state is State.IN_SYNC


def test_the_slot_says_what_is_kept_while_the_cable_is_cut(shop: PairShop) -> None:
    shop.laboratory.cut(60)
    for _ in range(20):
        keep(shop.repository, a_product(description="x" * 4000))
    shop.side.watch.touched()
    headroom = shop.status().headroom

    assert headroom is not None
    assert (headroom.slot, headroom.state) == ("standby_b", "reserved")
    assert headroom.kept_bytes > 20 * 500
    assert headroom.left_bytes is not None
    assert headroom.left_bytes > 1_000_000


def test_the_servers_are_named_without_a_password(shop: PairShop) -> None:
    now = shop.status()

    assert (now.primary.file, now.replica.file) == ("a/shop", "b/shop")
    assert not any(password in repr(now) for password in shop.machine.ground.passwords.values())


def test_a_standby_that_is_gone_is_told_and_comes_back(own_shop: PairShop) -> None:
    write(own_shop)
    own_shop.cross()
    own_shop.machine.stop_server("b")
    write(own_shop)
    wait_until(lambda: own_shop.status().state is State.FAILING)

    gone = own_shop.status()

    assert not gone.replica.is_reachable
    assert gone.lag.commits == gone.at_risk.commits == 1
    assert "b/shop does not answer" in gone.sentence
    assert own_shop.replication.verify().outcome is Outcome.INCONCLUSIVE
    own_shop.machine.start_server("b")
    wait_until(lambda: own_shop.status().state is State.IN_SYNC)


def test_a_primary_that_is_gone_leaves_what_was_at_risk_on_the_page(own_shop: PairShop) -> None:
    own_shop.replication.set_delay(5)
    write(own_shop)
    wait_until(lambda: own_shop.status().at_risk.carts == 1)
    own_shop.machine.kill_server("a")
    wait_until(lambda: not own_shop.status().primary.is_reachable)

    gone = own_shop.status()

    assert (gone.at_risk.commits, gone.at_risk.carts) == (1, 1)
    assert "a/shop does not answer" in gone.sentence


def test_a_rebuild_is_a_fresh_copy_that_follows(own_shop: PairShop) -> None:
    keep(own_shop.repository, a_product(name="Teapot"))
    before = own_shop.machine.pair.b.control_data()["Latest checkpoint location"]

    own_shop.replication.resync()

    assert own_shop.machine.pair.b.control_data()["Latest checkpoint location"] != before
    write(own_shop)
    own_shop.cross()
    assert own_shop.replication.verify().outcome is Outcome.IN_SYNC


def test_a_divergence_is_found_by_content(own_shop: PairShop) -> None:
    product, other = a_product(name="Teapot", stock=10), a_product(name="Kettle")
    keep(own_shop.repository, product, other)
    own_shop.cross()
    own_shop.leader.stop()  # it would go on from the server that was promoted
    standby = own_shop.machine.pair.b
    with standby.connect("shop") as connection:  # promoted by hand, behind the back of the shop, it takes any change
        connection.execute("SELECT pg_promote(true, 30)")
        connection.execute("UPDATE products SET stock = 7 WHERE id = %s", (product.id,))
        connection.execute("DELETE FROM products WHERE id = %s", (other.id,))

    verdict = own_shop.replication.verify()

    assert verdict.outcome is Outcome.DIVERGED
    assert {one.label: (one.on_primary, one.on_replica) for one in verdict.differences} == {
        "Teapot": (True, True),
        "Kettle": (True, False),
    }
    [teapot] = [one for one in verdict.differences if one.label == "Teapot"]
    assert list(teapot.fields) == [("stock", "10", "7")]
    assert own_shop.status().diverged_records == 2
    checked = own_shop.replication.checked()
    assert checked is not None and checked.verdict == verdict
