"""The pair and the link between them, as one thing that can be told what to do."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec
import structlog

from shop.cluster.ground import ADMIN, PORT, SHOP, Ground
from shop.cluster.pair import Pair
from shop.cluster.server import PostgresServer, StopMode
from shop.cluster.wan import Wan
from shop.errors import SettingError

Role = Literal["primary", "standby", "old primary", "missing"]

_log = structlog.get_logger("cluster")


class ServerState(msgspec.Struct, frozen=True):
    """One server, as its files and its process show it."""

    side: str  # "a" or "b"
    role: Role  # "old primary": another one was promoted since
    is_running: bool
    is_ready: bool  # it takes connections
    is_alone: bool  # running for us to read, unknown to the shop
    pid: int | None
    folder: str


class LinkState(msgspec.Struct, frozen=True):
    """The link's knobs and what is on it."""

    delay_seconds: float  # one way
    jitter_seconds: float
    bandwidth: float  # bytes a second; 0 = no limit
    loss_percent: float
    out_seconds: float  # until the cable is whole again; 0 while it is
    held_bytes: int  # under way, both ways
    carried_bytes: int
    connections: int
    source: str | None  # the side whose WAL it carries; None: nobody's


class MachineState(msgspec.Struct, frozen=True):
    """All of it."""

    a: ServerState
    b: ServerState
    link: LinkState
    version: int  # of PostgreSQL
    user: str  # whom the database runs as; "" = as ourselves


class Machine:
    """What `make cluster` runs below the shop. One operation at a time; `state` and the link's knobs never wait."""

    def __init__(
        self, ground: Ground, *, delay_seconds: float = 0.0, settings: Mapping[str, str] | None = None
    ) -> None:
        self.ground = ground
        self.wan = Wan(ground.sockets / "wan" / f".s.PGSQL.{PORT}", delay_seconds=delay_seconds)
        self.pair = Pair(ground, link=self.wan.socket_path.parent, settings=settings)
        self._urls = self.pair.a.url(SHOP), self.pair.b.url(SHOP)
        self._turn = threading.RLock()  # guards the pair

    def start(self, *, sync: bool = True) -> None:
        """Bring up the link and the pair, whatever is there. Raises `SettingError`."""
        with self._turn:
            self.wan.start()
            self.ground.give(self.wan.socket_path)
            self.pair.start(before_standby=self.aim, sync=sync)
            self.aim()

    def end(self) -> None:
        """Stop the standby, the link and the primary. An operation that hangs does not hold it up for long."""
        is_ours = self._turn.acquire(timeout=5)
        try:
            self.pair.stop()
        finally:
            self.wan.stop()
            if is_ours:
                self._turn.release()

    def urls(self) -> tuple[str, str]:
        """For the shop: A and B. They name servers, not roles, hold the password, and never change: also while one runs alone."""
        return self._urls

    def aim(self) -> None:
        """Let the link carry the primary's WAL. Cheap; to be called again and again, because a promotion is not announced."""
        primary = self.pair.primary
        running = primary is not None and primary.is_running and not primary.is_alone
        self.wan.direct(primary.sockets / f".s.PGSQL.{PORT}" if primary and running else None)

    def state(self) -> MachineState:
        """As it is now."""
        primary = self.pair.primary
        states = [self._state_of(server, primary) for server in self.pair.servers]
        account = self.ground.account
        return MachineState(
            states[0], states[1], self.link(), self.ground.programs.major, account.name if account else ""
        )

    def link(self) -> LinkState:
        """The link alone: asked often, so nothing is started for it."""
        knobs = self.wan.knobs
        return LinkState(
            knobs.delay_seconds,
            knobs.jitter_seconds,
            knobs.bandwidth,
            knobs.loss_percent,
            self.wan.out_for(),
            self.wan.held_bytes,
            self.wan.carried_bytes,
            self.wan.connections,
            next((server.name for server in self.pair.servers if self._is_source(server)), None),
        )

    def start_alone(self, side: str) -> str:
        """Start an old primary for us to read; returns the administrator's address of the shop's database in it."""
        with self._turn:
            server = self._server(side)
            if server is self.pair.primary:
                raise SettingError(f"PostgreSQL {side} is the primary: it is read where it is.")
            self.pair.start_alone(server)
            return server.url(ADMIN, SHOP)

    def start_server(self, side: str) -> None:
        """Start one that was stopped or killed. An old primary is refused: it would take writes that nobody replicates."""
        with self._turn:
            server = self._server(side)
            if self._role(server, self.pair.primary) == "old primary":
                raise SettingError(
                    f"PostgreSQL {side} was the primary before: it comes back by rejoining, not by starting."
                )
            server.start(seconds_max=20)
            self.aim()

    def stop_server(self, side: str) -> None:
        """End one in order."""
        with self._turn:
            self._server(side).stop()
            self.aim()

    def kill_server(self, side: str) -> None:
        """As when its machine dies: what was on the link dies with it."""
        server = self._server(side)  # at once, whatever else is going on: that is the point
        server.kill()
        self.aim()
        _log.warning("server killed", side=side)

    def rejoin(self, side: str) -> str:
        """Make *side* the standby of the other: "rewound" or "copied". What only it had is gone after this."""
        with self._turn:
            server = self._server(side)
            server.stop()
            self.aim()
            way = self.pair.rejoin(server)
            _log.info("rejoined", side=side, way=way)
            return way

    def rebuild(self, side: str) -> None:
        """Make *side* the standby of the other from a fresh copy."""
        with self._turn:
            server = self._server(side)
            server.stop()
            self.aim()
            self.pair.rebuild(server)
            _log.info("rebuilt", side=side)

    def stop_immediately(self, side: str) -> None:
        """End one without a checkpoint: its next start recovers."""
        with self._turn:
            self._server(side).stop(StopMode.IMMEDIATE)
            self.aim()

    def _server(self, side: str) -> PostgresServer:
        if side not in ("a", "b"):
            raise SettingError(f"There is no server {side}: they are a and b.")
        return self.pair.server(side)

    def _state_of(self, server: PostgresServer, primary: PostgresServer | None) -> ServerState:
        return ServerState(
            server.name,
            self._role(server, primary),
            server.is_running,
            server.is_ready,
            server.is_alone,
            server.pid,
            str(server.folder),
        )

    def _role(self, server: PostgresServer, primary: PostgresServer | None) -> Role:
        if server is primary:
            return "primary"
        if not server.exists:
            return "missing"
        return "standby" if server.is_standby else "old primary"

    def _is_source(self, server: PostgresServer) -> bool:
        target: Path | None = self.wan.target
        return target is not None and target.parent == server.sockets
