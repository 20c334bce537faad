"""A shop on a real pair of servers, in this process and without the web: its repository, its replication, the power over both servers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from uuid import UUID

import psycopg

from shop.clock import SystemClock
from shop.cluster.ground import ADMIN, SHOP
from shop.cluster.machine import Machine
from shop.cluster.server import PostgresServer
from shop.errors import ShopError
from shop.models import Order, Product
from shop.replication.contract import Stage, State, Status
from shop.replication.postgres.assembled import PostgresSide
from shop.repository.postgres.migrations import migrate
from shop.repository.postgres.pools import Bounds, Servers
from shop.repository.postgres.repository import PostgresRepository
from shop.repository.postgres.roles import Roles
from tests.builders import CURRENCY, a_product, keep_products, order_of
from tests.e2e.shop_process import wait_until
from tests.postgreskit import running_machine

SETTLED_SECONDS_MAX = 20.0
WAIT_PLACES = 4


class PairShop:
    """One worker's parts on *machine*, without its background, and what is asked of them here."""

    def __init__(self, machine: Machine, bounds: Bounds | None = None) -> None:
        self.machine = machine
        self.servers = Servers(machine.urls(), Roles(machine.ground.folder.parent), bounds=bounds)
        self.servers.open()
        self.servers.look()
        with self.servers.primary.connect() as connection:
            migrate(connection)
        self.repository = PostgresRepository(self.servers)
        self.side = PostgresSide(
            machine.ground.folder.parent,
            self.servers,
            self.repository,
            clock=SystemClock(),
            currency=CURRENCY,
            wait_places=WAIT_PLACES,
        )

    def close(self) -> None:
        self.side.close()
        self.servers.close()

    # ---- what is there

    @property
    def a(self) -> PostgresServer:
        return self.machine.pair.a

    @property
    def b(self) -> PostgresServer:
        return self.machine.pair.b

    def status(self) -> Status:
        return self.side.replication.status()

    def stage(self, name: str) -> Stage:
        """ "sent", "flushed" or "replayed"."""
        return next(stage for stage in self.status().stages if stage.name == name)

    def ids(self, server: PostgresServer) -> set[UUID]:
        """The commits that *server* shows."""
        return {id for (id,) in ask(server, "SELECT id FROM commits")}

    def numbers(self, server: PostgresServer) -> set[str]:
        """The orders that *server* shows."""
        return {number for (number,) in ask(server, "SELECT number FROM orders")}

    def await_state(self, state: State) -> Status:
        """The first status that says so."""
        told = self.status()

        def says_so() -> Status | None:
            nonlocal told
            told = self.status()
            return told if told.state is state else None

        try:
            return wait_until(says_so, seconds=SETTLED_SECONDS_MAX, what=f"the status is {state}", every=0.02)
        except AssertionError as late:
            raise AssertionError(f"{late}; it is {told.state}: {told.sentence}") from None

    def await_equal(self) -> None:
        """Both servers show the same commits, and the status says so."""
        self.await_state(State.IN_SYNC)
        primary, standby = self.machine.pair.primary, self.machine.pair.standby
        assert primary is not None and standby is not None, "there is no pair"
        wait_until(
            lambda: self.ids(primary) == self.ids(standby), seconds=SETTLED_SECONDS_MAX, what="both show the same"
        )

    # ---- what is done

    def stocked(self, *, stock: int = 1000) -> Product:
        """A product to buy, on both sides."""
        product = a_product(stock=stock)
        keep_products(self.repository, product)
        wait_until(lambda: self.ids(self.b) >= self.ids(self.a), seconds=SETTLED_SECONDS_MAX, what="it has crossed")
        return product

    def sell(self, product: Product, *, times: int = 1) -> list[Order]:
        """That many orders, confirmed; each is two commits: a cart, and the order."""
        return [order_of(self.repository, (product, 1)) for _ in range(times)]


@contextmanager
def pair_shop(bounds: Bounds | None = None) -> Iterator[PairShop]:
    """A new shop, A primary and B standby."""
    with ExitStack() as stack:
        shop = PairShop(stack.enter_context(running_machine()), bounds)
        stack.callback(shop.close)
        wait_until(lambda: _has_crossed(shop), seconds=SETTLED_SECONDS_MAX, what="the tables have crossed")
        yield shop


def ask(server: PostgresServer, statement: str, *, role: str = SHOP, database: str = SHOP) -> list[tuple[Any, ...]]:
    """What *server* says to somebody who comes past the shop."""
    with psycopg.connect(server.url(role, database), autocommit=True, connect_timeout=10) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def administer(server: PostgresServer, *statements: str) -> None:
    """As the server's own administrator; settings that were changed are read."""
    for statement in (*statements, "SELECT pg_reload_conf()"):
        ask(server, statement, role=ADMIN)


def refused(call: Callable[[], object]) -> ShopError | None:
    """What *call* is refused with; None when it is done."""
    try:
        call()
    except ShopError as refusal:
        return refusal
    return None


def _has_crossed(shop: PairShop) -> bool:
    with suppress(psycopg.Error):
        return shop.ids(shop.b) == shop.ids(shop.a)
    return False
