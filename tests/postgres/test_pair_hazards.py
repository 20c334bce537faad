"""What comes in between on a real pair: servers that neither answer nor die, decisions made at the wrong moment."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shop.cluster.server import PostgresServer
from shop.replication.contract import Mode
from shop.replication.postgres import servers
from shop.replication.postgres.servers import Server
from shop.repository.postgres.connection import Connection
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
