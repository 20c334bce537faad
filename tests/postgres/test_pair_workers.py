"""What the workers of one shop share and one of them does: the leader, the modes, the table of commits."""

import time

import pytest

from shop.errors import WritesUnavailable
from shop.replication.contract import Mode
from shop.replication.postgres import modes
from shop.replication.postgres.pruning import prune
from shop.replication.postgres.servers import Server
from tests.builders import a_cart, keep
from tests.pairkit import PairShop, wait_until


def rows(shop: PairShop) -> int:
    return int(shop.side.pair.primary.ask("SELECT count(*) FROM commits")[0][0])


def write(shop: PairShop, times: int = 1) -> None:
    for _ in range(times):
        keep(shop.repository, a_cart())


def test_only_what_is_beyond_the_last_rows_is_pruned(shop: PairShop) -> None:
    write(shop, 10)
    shop.cross()

    assert prune(shop.side.watch, is_complete=True) == 0
    assert prune(shop.side.watch, is_complete=True, kept=4) == 6 - 1, "the one at the bound stays"
    assert rows(shop) == 5


def test_nothing_that_the_standby_lacks_is_pruned(shop: PairShop) -> None:
    write(shop, 3)
    shop.cross()
    shop.replication.pause()
    write(shop, 5)

    prune(shop.side.watch, is_complete=True, kept=1)

    assert rows(shop) >= 5


def test_nothing_is_pruned_while_a_failover_is_not_complete(shop: PairShop) -> None:
    write(shop, 5)
    shop.cross()

    assert prune(shop.side.watch, is_complete=False, kept=1) == 0


def test_one_worker_leads_and_another_takes_over_when_it_ends(shop: PairShop) -> None:
    wait_until(lambda: shop.leader.leads, what="the first to lead")
    second = PairShop(shop.machine)
    try:
        assert not second.leader.leads
        shop.leader.stop()

        wait_until(lambda: second.leader.leads, what="the second to lead")
        assert not shop.leader.leads
    finally:
        second.close()


def test_a_mode_chosen_in_one_worker_is_in_force_in_all(own_shop: PairShop) -> None:
    second = PairShop(own_shop.machine)
    try:
        second.laboratory.set_mode(Mode.SYNC)

        assert own_shop.side.gate.status().mode is Mode.SYNC
        own_shop.machine.wan.set(delay=0.3)
        write(own_shop)
        assert not own_shop.status().lag.commits, "it waited"
    finally:
        second.close()


def test_a_worker_that_is_started_again_does_not_set_the_mode_back(own_shop: PairShop) -> None:
    own_shop.laboratory.set_mode(Mode.SEMI_SYNC)

    own_shop.side._begin("async", own_shop.side.modes.read().start)
    assert own_shop.side.gate.status().mode is Mode.SEMI_SYNC

    own_shop.side._begin("async", "another start of the shop")
    assert own_shop.side.gate.status().mode is Mode.ASYNC


def test_sync_refuses_up_front_while_the_standby_is_gone_and_takes_writes_again_when_it_is_back(
    own_shop: PairShop,
) -> None:
    write(own_shop)
    own_shop.laboratory.set_mode(Mode.SYNC)
    own_shop.machine.stop_server("b")
    wait_until(lambda: own_shop.side.gate.why_closed() != "", what="the gate to close")

    with pytest.raises(WritesUnavailable, match="must reach the far side"):
        write(own_shop)
    assert not own_shop.repository.is_writable()

    own_shop.machine.start_server("b")
    wait_until(lambda: own_shop.side.gate.why_closed() == "", what="the gate to open")
    write(own_shop)
    assert not own_shop.status().lag.commits


def test_semi_sync_goes_on_without_the_standby_and_returns_to_it(
    own_shop: PairShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(own_shop)
    own_shop.laboratory.set_mode(Mode.SEMI_SYNC)
    own_shop.laboratory.set_timeout(0.5)
    own_shop.machine.stop_server("b")

    write(own_shop)

    fallen = own_shop.side.gate.status()
    assert (fallen.is_fallen_back, fallen.fall_backs) == (True, 1)
    _make_settings_slow(monkeypatch)
    own_shop.machine.start_server("b")
    wait_until(lambda: not own_shop.side.gate.status().is_fallen_back, what="semi-sync to be back")
    assert settings(own_shop) == ("*", "on"), "it is in force when it is said to be back"
    own_shop.machine.wan.set(delay=0.15)
    write(own_shop)
    assert flushed_far_away(own_shop) >= last_row(own_shop), "it waited"


def test_a_look_that_was_begun_before_a_mode_was_chosen_does_not_undo_it(
    own_shop: PairShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_shop.leader.stop()
    watcher, watch = own_shop.side.watcher, own_shop.side.watch
    real = watch.picture

    def chosen_meanwhile(*, fresh: bool = False) -> object:
        monkeypatch.setattr(watch, "picture", real)
        own_shop.laboratory.set_mode(Mode.SEMI_SYNC)
        return real(fresh=True)

    monkeypatch.setattr(watch, "picture", chosen_meanwhile)
    watcher.look()

    assert settings(own_shop) == ("*", "on")


def test_a_mode_chosen_while_the_settings_of_another_are_made_is_made_next(
    own_shop: PairShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_shop.leader.stop()
    real = modes.arrange

    def chosen_meanwhile(primary: Server, names: str, commit: str) -> None:
        monkeypatch.setattr(modes, "arrange", real)
        modes.set_mode(own_shop.side.modes, Mode.ASYNC)
        real(primary, names, commit)

    monkeypatch.setattr(modes, "arrange", chosen_meanwhile)
    modes.set_mode(own_shop.side.modes, Mode.SEMI_SYNC)
    own_shop.side.watcher.look()

    assert settings(own_shop) == ("", "on")


def settings(shop: PairShop) -> tuple[str, str]:
    [found] = shop.side.pair.primary.ask(modes._IN_FORCE)
    return found[0], found[1]


def last_row(shop: PairShop) -> int:
    return int(shop.side.pair.primary.ask("SELECT max(lsn) FROM commits")[0][0])


def flushed_far_away(shop: PairShop) -> int:
    return int(shop.side.pair.standby.ask("SELECT (pg_last_wal_receive_lsn() - '0/0')::bigint")[0][0])


def _make_settings_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """So slow that whoever does not wait for them is seen."""
    real = modes.arrange

    def slow(primary: Server, names: str, commit: str) -> None:
        time.sleep(0.5)
        real(primary, names, commit)

    monkeypatch.setattr(modes, "arrange", slow)
