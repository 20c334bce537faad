"""Two servers, one of which follows the other. Which one is found in their files, never assumed.

| in the data directories | what starts |
|---|---|
| nothing | A is made, B is copied from it |
| one primary, one standby | the primary, then the standby |
| two that were primary | the one on the higher timeline; the other stays down until it rejoins, because PostgreSQL fences nothing |
| one, and nothing or a half-made copy | that one; the other is copied from it, if it is a primary |
| two standbys | both, and nobody writes until one is promoted |

A copy is made beside and renamed; a rewind is announced by a mark before it begins. So a crash at any moment leaves what
this table knows.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg
from psycopg import sql

from shop.cluster import launch
from shop.cluster.ground import ADMIN, PORT, SHOP, STANDBY, Ground
from shop.cluster.server import PostgresServer, slot_of
from shop.errors import SettingError

# What the shop may do besides using its own database. `docs/cluster.md` asks the same of somebody's own servers.
GRANTS = (
    f"GRANT pg_monitor, pg_checkpoint TO {SHOP}",
    f"GRANT EXECUTE ON FUNCTION pg_promote, pg_reload_conf, pg_wal_replay_pause, pg_wal_replay_resume TO {SHOP}",
    f"GRANT ALTER SYSTEM ON PARAMETER synchronous_standby_names, synchronous_commit, recovery_min_apply_delay TO {SHOP}",
    f"ALTER ROLE {SHOP} REPLICATION",  # to make and drop slots
)


class Pair:
    """The servers A and B of *ground*. One thread at a time.

    *link*: the folder of the socket through which the standby streams, whichever it is; None: straight from the primary.
    """

    def __init__(self, ground: Ground, *, link: Path | None = None, settings: Mapping[str, str] | None = None) -> None:
        self.a = PostgresServer(ground, "a", settings=settings)
        self.b = PostgresServer(ground, "b", settings=settings)
        self.a.upstream = link or self.b.sockets
        self.b.upstream = link or self.a.sockets
        self._ground = ground

    @property
    def servers(self) -> tuple[PostgresServer, PostgresServer]:
        return self.a, self.b

    def server(self, side: str) -> PostgresServer:
        return {"a": self.a, "b": self.b}[side]

    def other(self, server: PostgresServer) -> PostgresServer:
        return self.b if server is self.a else self.a

    @property
    def primary(self) -> PostgresServer | None:
        """The one that was promoted last; None when there is only a standby, or nothing."""
        found = [server for server in self.servers if _is_whole(server) and not server.is_standby]
        return max(found, key=PostgresServer.timeline) if len(found) > 1 else next(iter(found), None)

    @property
    def standby(self) -> PostgresServer | None:
        """The one that follows; None when there is none: an old primary is not one."""
        primary = self.primary
        return next(
            (server for server in self.servers if server is not primary and _is_whole(server) and server.is_standby),
            None,
        )

    def start(self, *, sync: bool = True, before_standby: Callable[[], None] = lambda: None) -> None:
        """Bring up what there is, and make what is missing. Raises `SettingError`."""
        if not any(_is_whole(server) for server in self.servers):
            self._refuse_to_overwrite()
            self.a.create(sync=sync)
        self._refuse_strangers()
        primary = self.primary
        if primary is None:
            for server in filter(_is_whole, self.servers):
                server.start(seconds_max=5)
            return
        primary.start()
        self.prepare(primary)
        other = self.other(primary)
        if _is_whole(other) and not other.is_standby:
            return  # an old primary: what only it has is told first, then it rejoins
        if not _is_whole(other) or not primary.has_wal(other.wal_needed()):
            self._copy(primary, other, sync=sync)
        before_standby()
        other.start(seconds_max=10)

    def stop(self) -> None:
        """The standby first, so that it has not to look for a primary that is gone."""
        primary = self.primary
        for server in sorted(self.servers, key=lambda server: server is primary):
            server.stop()

    def start_alone(self, server: PostgresServer) -> None:
        """Start an old primary to be read by us: no shop reaches it and it takes no writes."""
        if server.is_standby:
            raise SettingError(f"PostgreSQL {server.name} is a standby: what it has, its primary has.")
        server.stop()
        server.start(alone=True)

    def rejoin(self, server: PostgresServer) -> str:
        """Make *server* the standby of the primary: by rewinding it, else from a base backup; says which.

        What only *server* had is gone after this. A crash leaves it marked, and the next start copies it anew.
        """
        primary = self._other_primary(server)
        way = "rewound" if self._rewind(primary, server) and primary.has_wal(server.wal_needed()) else "copied"
        if way == "copied":
            self._copy(primary, server)
        server.start(seconds_max=10)
        return way

    def rebuild(self, server: PostgresServer) -> None:
        """Make *server* the standby of the primary from a base backup, whatever it is now: also what damaged it unseen is gone."""
        self._copy(self._other_primary(server), server)
        server.start(seconds_max=10)

    def _other_primary(self, server: PostgresServer) -> PostgresServer:
        primary = self.primary
        if primary is None or primary is server or not primary.is_running:
            raise SettingError(f"PostgreSQL {server.name} cannot rejoin: no other primary is running.")
        self.prepare(primary)
        return primary

    def _rewind(self, primary: PostgresServer, server: PostgresServer) -> bool:
        if not _is_whole(server):
            return False
        try:
            # A rewind wants a server that ended well; and one that runs alone writes nothing.
            if not server.is_running:
                server.start(alone=not server.is_standby, seconds_max=10)
            server.stop()
            with primary.connect() as connection:
                connection.execute(
                    "CHECKPOINT"
                )  # else the control file still tells the old timeline: "no rewind required"
            server.mark_suspect()
            launch.run(
                [
                    self._ground.programs["pg_rewind"],
                    f"--target-pgdata={server.data}",
                    f"--source-server=host={primary.sockets} port={PORT} user={ADMIN} dbname=postgres",
                    f"--config-file={server.folder / 'postgresql.conf'}",
                ],
                account=self._ground.account,
                environment={"PGPASSWORD": self._ground.passwords[ADMIN], "LC_ALL": "C"},
            )
        except SettingError:
            server.kill()
            return False
        server.become_standby()
        server.mark_sound()
        return True

    def _copy(self, primary: PostgresServer, server: PostgresServer, *, sync: bool = True) -> None:
        server.kill()
        fresh = server.begin_fresh()
        with primary.connect() as connection:  # a slot that fell too far behind would keep the copy from streaming
            _make_slot(connection, slot_of(server.name), anew=True)
        launch.run(
            [
                self._ground.programs["pg_basebackup"],
                f"--pgdata={fresh}",
                f"--dbname=host={primary.sockets} port={PORT} user={STANDBY}",
                "--checkpoint=fast",
                "--wal-method=stream",
                f"--slot={slot_of(server.name)}",
                *(() if sync else ("--no-sync",)),
            ],
            account=self._ground.account,
            environment={"PGPASSWORD": self._ground.passwords[STANDBY], "LC_ALL": "C"},
        )
        server.become_standby(fresh)
        server.finish_fresh(fresh)

    def prepare(self, primary: PostgresServer) -> None:
        """The roles, the shop's database and the slot for the other side, as far as they are missing."""
        with primary.connect() as connection:
            _make_roles(connection, self._ground.passwords)
            _make_slot(connection, slot_of(self.other(primary).name))
        with primary.connect(SHOP) as connection:  # a function's rights are of one database
            for grant in GRANTS:
                connection.execute(sql.SQL(grant))

    def _refuse_to_overwrite(self) -> None:
        for server in self.servers:
            if server.exists:
                raise SettingError(
                    f"Both databases in {self._ground.folder} were left in the middle of being rewritten: bring one back from a"
                    f" backup, or, if you know {server.data} to be whole, remove {server.folder / 'suspect'}."
                )

    def _refuse_strangers(self) -> None:
        known = {server.system_identifier() for server in self.servers if _is_whole(server)}
        if len(known) > 1:
            raise SettingError(
                f"The databases in {self._ground.folder} are not copies of one another: move one of them away."
            )


def _is_whole(server: PostgresServer) -> bool:
    return server.exists and not server.is_suspect


def _make_roles(connection: psycopg.Connection[tuple[object, ...]], passwords: Mapping[str, str]) -> None:
    """Each with the password on file, whatever it was; and the shop's database."""
    for role, kind in ((SHOP, "LOGIN"), (STANDBY, "LOGIN REPLICATION")):
        is_there = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
        statement = sql.SQL("{} ROLE {} {} PASSWORD {}").format(
            sql.SQL("ALTER" if is_there else "CREATE"),
            sql.Identifier(role),
            sql.SQL(kind),
            sql.Literal(passwords[role]),
        )
        connection.execute(statement)
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [SHOP]).fetchone():
        connection.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(sql.Identifier(SHOP)))


def _make_slot(connection: psycopg.Connection[tuple[object, ...]], name: str, *, anew: bool = False) -> None:
    """A slot from which a standby can stream: made first, because one that names a missing slot never streams.

    One that has lost what it was to keep is no use any more, and is made again.
    """
    connection.execute(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
        " WHERE slot_name = %s AND NOT active AND (%s OR wal_status = 'lost')",
        [name, anew],
    )
    connection.execute(
        "SELECT pg_create_physical_replication_slot(%s, true)"
        " WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %s)",
        [name, name],
    )
