"""What comes in between on a real pair: servers that neither answer nor die, decisions made at the wrong moment."""

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from shop.cluster.pair import Pair
from shop.cluster.server import PostgresServer
from shop.errors import Conflict, WritesUnavailable
from shop.replication import review
from shop.replication.contract import Mode
from shop.replication.losing import LostFolder
from shop.replication.postgres import failover, servers
from shop.replication.postgres.knobs import ClusterOperator
from shop.replication.postgres.servers import Server
from shop.repository.postgres import repository
from shop.repository.postgres.connection import Connection, begin_writing, commit
from shop.repository.postgres.writing import Committing
from shop.units import Position
from tests.builders import a_cart, keep
from tests.pairkit import PairShop, wait_until


def processes_of(server: PostgresServer) -> list[int]:
    """The server's own process and all that it has started."""
    pid = server.pid
    assert pid is not None
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    """As a machine that hangs: connections stay open, and nothing is answered."""
    stopped = processes_of(server)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def test_writers_are_released_although_the_far_side_neither_answers_nor_dies(
    own_shop: PairShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "ANSWER_SECONDS_MAX", 1)  # of new connections
    own_shop.side.pair.close()
    keep(own_shop.repository, a_cart())
    own_shop.laboratory.set_timeout(1)
    own_shop.laboratory.set_mode(Mode.SEMI_SYNC)
    keep(own_shop.repository, a_cart())
    writer = threading.Thread(target=keep, args=(own_shop.repository, a_cart()), daemon=True)

    with frozen(own_shop.machine.pair.b):
        writer.start()
        writer.join(20)
        was_released = not writer.is_alive()
        status = own_shop.status()

    assert was_released
    assert status.modes.is_fallen_back
    assert not status.replica.is_reachable


def test_a_server_that_goes_while_it_is_asked_to_lead_costs_no_leader(
    own_shop: PairShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_until(lambda: own_shop.leader.leads, what="the first to lead")
    connect, goes = Server.connect, threading.Event()

    def connect_and_go(server: Server, **bounds: Any) -> Connection:
        connection = connect(server, **bounds)
        connection.close()
        goes.set()
        return connection

    monkeypatch.setattr(Server, "connect", connect_and_go)
    own_shop.machine.pair.a.stop()
    own_shop.machine.start_server("a")
    assert goes.wait(20)
    monkeypatch.undo()

    wait_until(lambda: own_shop.leader.leads, what="it to lead again")


def test_a_commit_that_a_crash_lost_is_not_taken_for_another_that_bears_its_number(
    own_shop: PairShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction of which nothing reached the disk loses its number, and the next one gets it."""

    def crash(connection: Connection) -> int:
        row = connection.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
        assert row is not None
        primary = own_shop.side.pair.primary
        assert primary.is_up()  # by a connection that the crash will end
        with suppress(psycopg.OperationalError):
            os.kill(connection.info.backend_pid, signal.SIGKILL)
            connection.execute("SELECT 1")
        wait_until(lambda: not primary.is_up(), what="the server to notice that one of its processes died")
        wait_until(primary.is_up, what="the server to recover")
        while primary.ask("SELECT pg_current_xact_id()::text::bigint")[0][0] < row[0]:
            pass  # somebody else's
        return commit(connection)

    keep(own_shop.repository, a_cart())
    monkeypatch.setattr(repository, "commit", crash)

    with pytest.raises(WritesUnavailable, match="Nothing was changed"):
        keep(own_shop.repository, a_cart(id="lost"))

    with own_shop.repository.view() as unit:
        assert unit.cart("lost") is None


def test_a_commit_whose_number_nobody_bears_after_a_crash_was_not_kept(
    own_shop: PairShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(own_shop.repository, a_cart())
    with own_shop.repository.servers.primary.connect() as connection:
        beginning, _ = begin_writing(connection)
    far_off = Committing(id=uuid4(), xid=str(2**40), position=beginning)

    with pytest.raises(WritesUnavailable, match="Nothing was changed"):
        own_shop.repository._outcome(far_off, psycopg.OperationalError("gone"))


def test_a_commit_that_has_crossed_is_found_on_the_server_that_was_promoted_meanwhile(
    own_shop: PairShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Position] = []
    own_shop.repository.after_commit.append(told.append)

    def promote(connection: Connection) -> int:
        commit(connection)
        own_shop.cross()
        own_shop.failover.promote(by="admin")
        raise psycopg.OperationalError("gone")

    monkeypatch.setattr(repository, "commit", promote)
    keep(own_shop.repository, a_cart(id="kept"))

    assert [position.timeline for position in told] == [2]
    with own_shop.repository.view() as unit:
        assert unit.cart("kept") is not None


class Died(BaseException):
    """The one who runs the pair, in the middle of it."""


def promote_b(pair: Pair) -> None:
    pair.a.stop()
    with pair.b.connect() as connection:
        connection.execute("SELECT pg_promote(true, 30)")


def rebuild_a_and_die(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What *monkeypatch* holds ready strikes; then the pair starts again without it, and b leads as before."""
    with pytest.raises(Died):
        pair.rebuild(pair.a)
    monkeypatch.undo()
    pair.stop()
    pair.start()
    assert pair.primary is pair.b
    assert pair.b.is_running


@pytest.mark.parametrize("is_in_place", [False, True], ids=["before", "after"])
def test_a_copy_that_was_just_put_in_place_is_never_taken_for_a_primary(
    postgres_pair: Pair, monkeypatch: pytest.MonkeyPatch, is_in_place: bool
) -> None:
    """It has the primary's files and timeline: only its sign tells it apart."""
    pair = postgres_pair
    promote_b(pair)
    finish = PostgresServer.finish_fresh

    def die(server: PostgresServer, fresh: Path) -> None:
        if is_in_place:
            finish(server, fresh)
        raise Died

    monkeypatch.setattr(PostgresServer, "finish_fresh", die)
    rebuild_a_and_die(pair, monkeypatch)

    assert pair.a.is_standby is is_in_place, "before, it is what it was: an old primary"


def test_data_that_was_half_removed_is_never_taken_for_a_primary(
    postgres_pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = postgres_pair
    promote_b(pair)
    pair.rejoin(pair.a)
    remove = shutil.rmtree

    def die(path: Path, **how: Any) -> None:
        if path == pair.a.data:
            (path / "standby.signal").unlink()
            raise Died
        remove(path, **how)

    monkeypatch.setattr(shutil, "rmtree", die)
    rebuild_a_and_die(pair, monkeypatch)

    assert pair.standby is pair.a


def nobody_runs_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: Any) -> Any:
        raise Conflict("No make cluster runs here.")

    monkeypatch.setattr(ClusterOperator, "is_there", lambda _: False)
    monkeypatch.setattr(ClusterOperator, "role", nobody)


def carts_left(shop: PairShop) -> set[str]:
    return {
        op.id
        for invoice in shop.failover.invoices()
        for commit in invoice.commits
        for op in shop.failover._folder.commit(commit.id).ops
        if op.collection == "carts"
    }


def test_what_is_committed_to_an_old_primary_after_the_promotion_by_who_was_let_in_before_is_on_the_invoice(
    own_shop: PairShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On somebody's own servers nobody stops it."""
    monkeypatch.setattr(failover, "WRITERS_SECONDS_MAX", 0.2)
    nobody_runs_the_servers(monkeypatch)

    with own_shop.repository.update() as unit:
        unit.put_cart(a_cart(id="late"))
        own_shop.failover.promote(by="admin")

    wait_until(lambda: own_shop.failover.unsettled() is None, what="the old primary to be asked")
    assert carts_left(own_shop) == {"late"}
    with own_shop.repository.view() as unit:
        assert unit.cart("late") is None


def test_what_is_older_than_all_that_the_new_primary_has_is_on_the_invoice(
    own_shop: PairShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_shop.settle()
    own_shop.machine.wan.cut(60)
    keep(own_shop.repository, a_cart(id="first"))
    nobody_runs_the_servers(monkeypatch)
    own_shop.machine.kill_server("a")
    own_shop.failover.promote(by="admin")
    own_shop.side.pair.primary.ask("SELECT pg_logical_emit_message(false, '', repeat(' ', 1000000))")
    keep(own_shop.repository, a_cart(id="second"))

    monkeypatch.undo()

    wait_until(lambda: own_shop.failover.unsettled() is None, what="the old primary to be asked")
    assert carts_left(own_shop) == {"first"}


def test_an_old_primary_is_not_rebuilt_before_what_only_it_has_is_kept(
    own_shop: PairShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_shop.settle()
    own_shop.machine.wan.cut(60)
    keep(own_shop.repository, a_cart(id="left"))

    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(LostFolder, "keep_commits", full)
        own_shop.failover.promote(by="admin")
        with pytest.raises(Conflict, match=r"not written over.*No space left"):
            own_shop.replication.resync()

    own_shop.machine.wan.mend()
    wait_until(lambda: own_shop.failover.is_complete, what="it to rejoin")
    assert carts_left(own_shop) == {"left"}
    own_shop.replication.resync()


def test_in_sync_mode_a_new_primary_takes_nothing_before_a_far_side_follows_it(own_shop: PairShop) -> None:
    own_shop.laboratory.set_mode(Mode.SYNC)
    keep(own_shop.repository, a_cart())
    own_shop.leader.stop()
    own_shop.failover.promote(by="admin")

    with pytest.raises(WritesUnavailable, match="must reach the far side"):
        keep(own_shop.repository, a_cart())

    again = PairShop(own_shop.machine, mode="sync")
    try:
        wait_until(lambda: again.failover.is_complete, what="the old primary to rejoin")
        wait_until(again.repository.is_writable, what="writes to be taken again")
        keep(again.repository, a_cart())
    finally:
        again.close()


def test_what_is_left_on_somebodys_own_servers_by_a_promotion_that_nobody_told_us_of_is_on_the_invoice(
    own_shop: PairShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody_runs_the_servers(monkeypatch)
    own_shop.settle()
    own_shop.machine.wan.cut(60)
    keep(own_shop.repository, a_cart(id="left"))
    with own_shop.machine.pair.b.connect() as connection:
        connection.execute("SELECT pg_promote(true, 30)")
    own_shop.repository.servers.look()
    keep(own_shop.repository, a_cart(id="new"))

    wait_until(lambda: carts_left(own_shop) == {"left"}, what="the invoice")


def test_two_workers_decide_once_about_a_lost_commit(own_shop: PairShop, monkeypatch: pytest.MonkeyPatch) -> None:
    own_shop.settle()
    own_shop.machine.wan.cut(60)
    keep(own_shop.repository, a_cart(id="left"))
    [commit] = own_shop.failover.promote(by="admin").invoice.commits
    other = PairShop(own_shop.machine)
    discarded = ThreadPoolExecutor(1)
    decided = review.reenter

    def meanwhile(*arguments: Any, **named: Any) -> str:
        asked.append(discarded.submit(other.failover.discard, commit.id, "not wanted", by="other"))
        with suppress(TimeoutError):
            asked[0].result(0.5)
        return decided(*arguments, **named)

    asked: list[Future[Any]] = []
    monkeypatch.setattr(review, "reenter", meanwhile)
    try:
        own_shop.failover.reenter(commit.id, by="admin")

        with pytest.raises(Conflict, match="decided about already: re-entered"):
            asked[0].result(10)
    finally:
        other.close()
