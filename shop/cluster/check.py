"""`flask --app app shop check-cluster`: whether two PostgreSQL servers are what the shop needs, and what to change if not.

First each server is asked for its facts, then the facts are judged: *ok*; *change* (the shop does not work right until it is
changed); *cannot* (it works, but something on the replication page stays disabled, with this reason). Nothing is written.
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, LiteralString, NamedTuple

import msgspec
import psycopg
from psycopg import conninfo

from shop.cluster.programs import MAJOR_MIN
from shop.cluster.workers import CONNECTIONS_EACH

CONNECT_SECONDS_MAX = 5
SKEW_SECONDS_MAX = 2.0

SETTINGS = (
    "block_size data_checksums hot_standby max_connections max_replication_slots max_slot_wal_keep_size max_wal_senders"
    " reserved_connections superuser_reserved_connections synchronous_standby_names wal_level wal_log_hints"
).split()
FUNCTIONS = {
    "pg_promote": "pg_promote(boolean, integer)",
    "pg_reload_conf": "pg_reload_conf()",
    "pg_wal_replay_pause": "pg_wal_replay_pause()",
    "pg_wal_replay_resume": "pg_wal_replay_resume()",
}
PARAMETERS = ("synchronous_standby_names", "synchronous_commit", "recovery_min_apply_delay")


class Verdict(StrEnum):
    """The value is the word in the table."""

    OK = "ok"
    CHANGE = "change"
    CANNOT = "cannot"


class Row(NamedTuple):
    """One line of the table."""

    server: str  # "A", "B" or "both"
    what: str
    verdict: Verdict
    found: str
    advice: str = ""  # what to change, or what stays disabled and how to enable it


class Facts(msgspec.Struct, kw_only=True):
    """What a server says about itself."""

    name: str
    user: str = ""
    database: str = ""
    version: int = 0
    encoding: str = ""
    is_standby: bool = False
    is_protected: bool = True  # the way to it: a socket, this machine, or encrypted
    skew_seconds: float = 0.0
    settings: dict[str, str] = {}
    rights: dict[str, bool] = {}
    system_identifier: int | None = None  # None: it may not be asked
    timeline: int | None = None
    senders: list[tuple[str, str]] = []  # application name, state
    slots: list[tuple[str, bool, str]] = []  # name, active, WAL status
    receiver: tuple[str, str] | None = None  # status, slot


def check(urls: tuple[str, str], *, workers: int) -> list[Row]:
    """Ask both servers and judge what they say."""
    rows: list[Row] = []
    known: list[Facts] = []
    for name, url in zip("AB", urls, strict=True):
        try:
            facts = ask(name, url)
        except psycopg.Error as error:
            rows.append(Row(name, "connection", Verdict.CHANGE, _first_line(error), _how_to_connect(name)))
            continue
        known.append(facts)
        rows += judge_server(facts, workers=workers)
    if len(known) == 2:
        rows += judge_pair(known[0], known[1])
    return rows


def exit_code(rows: list[Row]) -> int:
    """1 when something has to be changed, else 0."""
    return int(any(row.verdict is Verdict.CHANGE for row in rows))


def table(rows: list[Row]) -> str:
    """For people: a line a row, and below it what to do."""
    widths = [max(len(row[column]) for row in rows) for column in (2, 0, 1)]
    lines = []
    for row in rows:
        cells = (row.verdict, row.server, row.what)
        head = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        lines.append(f"{head}  {row.found}".rstrip())
        if row.advice:
            lines.append(f"{' ' * (widths[0] + 2)}-> {row.advice}")
    return "\n".join(lines)


# Ask


def ask(name: str, url: str) -> Facts:
    """The facts of one server. Raises `psycopg.Error`."""
    with psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_SECONDS_MAX) as connection:
        one = _Asker(connection)
        facts = Facts(
            name=name,
            user=one.value("SELECT current_user::text"),
            database=connection.info.dbname,
            version=connection.info.server_version // 10000,
            encoding=one.value(
                "SELECT pg_encoding_to_char(encoding)::text FROM pg_database WHERE datname = current_database()"
            ),
            is_standby=one.value("SELECT pg_is_in_recovery()"),
            is_protected=_is_protected(url, connection),
            settings=dict(one.rows("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", list(SETTINGS))),
        )
        before = datetime.now(UTC)
        theirs = one.value("SELECT clock_timestamp()")
        after = datetime.now(UTC)
        facts.skew_seconds = max(0.0, (before - theirs).total_seconds(), (theirs - after).total_seconds())
        facts.rights = _rights(one)
        facts.system_identifier = one.allowed("SELECT system_identifier FROM pg_control_system()")
        facts.timeline = one.allowed(_TIMELINE_STANDBY if facts.is_standby else _TIMELINE_PRIMARY)
        facts.senders = one.rows("SELECT application_name, coalesce(state, '') FROM pg_stat_replication")
        facts.slots = one.rows(
            "SELECT slot_name::text, active, coalesce(wal_status, '') FROM pg_replication_slots"
            " WHERE slot_type = 'physical' AND NOT temporary"
        )
        receivers = one.rows("SELECT coalesce(status, ''), coalesce(slot_name, '') FROM pg_stat_wal_receiver")
        facts.receiver = receivers[0] if receivers else None
        return facts


_TIMELINE_PRIMARY = "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"
_TIMELINE_STANDBY = "SELECT coalesce((SELECT received_tli FROM pg_stat_wal_receiver), (SELECT timeline_id FROM pg_control_checkpoint()))"


class _Asker:
    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self._connection = connection

    def rows(self, statement: LiteralString, *parameters: Any) -> list[Any]:
        return self._connection.execute(statement, parameters or None).fetchall()

    def value(self, statement: LiteralString, *parameters: Any) -> Any:
        return self.rows(statement, *parameters)[0][0]

    def allowed(self, statement: LiteralString) -> Any:
        """None where it may not be asked."""
        with suppress(psycopg.errors.InsufficientPrivilege):
            return self.value(statement)
        return None


def _rights(one: _Asker) -> dict[str, bool]:
    rights = {
        "create": bool(one.value("SELECT has_schema_privilege(current_schema(), 'CREATE')")),
        "replication": one.value("SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user"),
    }
    for role in ("pg_monitor", "pg_checkpoint"):
        held = one.rows("SELECT pg_has_role(oid, 'USAGE') FROM pg_roles WHERE rolname = %s", role)
        rights[role] = held == [(True,)]
    for name, signature in FUNCTIONS.items():
        rights[name] = one.value("SELECT has_function_privilege(%s, 'EXECUTE')", signature)
    for name in PARAMETERS:
        with suppress(psycopg.errors.UndefinedFunction):  # before 15, which is refused anyway
            rights[name] = one.value("SELECT has_parameter_privilege(%s, 'ALTER SYSTEM')", name)
    return rights


def _is_protected(url: str, connection: psycopg.Connection[Any]) -> bool:
    host = connection.info.host or str(conninfo.conninfo_to_dict(url).get("host") or "")
    return host.startswith("/") or host in ("localhost", "127.0.0.1", "::1") or bool(connection.pgconn.ssl_in_use)


# Judge


def judge_server(facts: Facts, *, workers: int) -> Iterator[Row]:
    """What has to be true of each of the two."""

    def row(what: str, is_fine: bool, found: str, advice: str, *, otherwise: Verdict = Verdict.CHANGE) -> Row:
        return Row(facts.name, what, Verdict.OK, found) if is_fine else Row(facts.name, what, otherwise, found, advice)

    role = "standby" if facts.is_standby else "primary"
    yield row("connection", True, f"{role}, as {facts.user} to {facts.database}", "")
    yield row(
        "version", facts.version >= MAJOR_MIN, f"PostgreSQL {facts.version}", f"install {MAJOR_MIN} or newer on both"
    )
    yield row("encoding", facts.encoding == "UTF8", facts.encoding, "make the database with ENCODING 'UTF8'")
    yield row(
        "way to it",
        facts.is_protected,
        "protected" if facts.is_protected else "over the network, not encrypted",
        "ssl = on in postgresql.conf, sslmode=verify-full in the address",
    )
    yield row(
        "clock",
        facts.skew_seconds <= SKEW_SECONDS_MAX,
        f"{facts.skew_seconds:.1f} s from ours",
        "let both machines keep time (chrony, systemd-timesyncd): ages and lags are told by their clocks",
    )
    yield from _judge_settings(facts, row)
    needed = workers * CONNECTIONS_EACH
    has = _free_connections(facts)
    yield row(
        "connections",
        has >= needed,
        f"{has} for {workers} workers, who take up to {needed}",
        f"max_connections = {needed + 20} on both, and restart (the standby may not have fewer than its primary)",
    )
    yield from _judge_rights(facts, row)


def _judge_settings(facts: Facts, row: Any) -> Iterator[Row]:
    settings = facts.settings
    wal_level = settings.get("wal_level", "")
    yield row("wal_level", wal_level in ("replica", "logical"), wal_level, "wal_level = replica, and restart")
    yield row(
        "hot_standby",
        settings.get("hot_standby") == "on",
        settings.get("hot_standby", ""),
        "hot_standby = on, and restart",
    )
    for name, least in (("max_wal_senders", 3), ("max_replication_slots", 2)):
        yield row(name, int(settings.get(name, 0)) >= least, settings.get(name, ""), f"{name} = 10, and restart")
    keep = settings.get("max_slot_wal_keep_size", "")
    yield row(
        "max_slot_wal_keep_size",
        keep not in ("", "-1"),
        "unlimited" if keep == "-1" else f"{keep} MB",
        "max_slot_wal_keep_size = '1GB', and reload: else a standby that stays away fills the disk",
    )
    rewindable = "on" in (settings.get("data_checksums"), settings.get("wal_log_hints"))
    yield row(
        "pg_rewind",
        rewindable,
        "checksums or wal_log_hints are on" if rewindable else "neither checksums nor wal_log_hints",
        "an old primary rejoins from a base backup only; to allow a rewind: pg_checksums --enable on the stopped servers",
        otherwise=Verdict.CANNOT,
    )


def _judge_rights(facts: Facts, row: Any) -> Iterator[Row]:
    user, rights = facts.user, facts.rights

    def right(what: str, key: str, grant: str, disabled: str) -> Row:
        has = rights.get(key, False)
        answer: Row = row(what, has, "yes" if has else "no", f"{disabled}: {grant}", otherwise=Verdict.CANNOT)
        return answer

    if not facts.is_standby:  # rights are replicated; this one is asked where it is used
        yield row(
            "right to make tables",
            rights["create"],
            "yes" if rights["create"] else "no",
            f"GRANT CREATE ON SCHEMA public TO {user}; or make {user} the owner of the database",
        )
    yield row(
        "pg_monitor", rights["pg_monitor"], "yes" if rights["pg_monitor"] else "no", f"GRANT pg_monitor TO {user}"
    )
    yield right(
        "pg_checkpoint",
        "pg_checkpoint",
        f"GRANT pg_checkpoint TO {user}",
        "an old primary may not be rewindable at once",
    )
    yield right(
        "slots", "replication", f"ALTER ROLE {user} REPLICATION", "after a promotion the slot has to be made by hand"
    )
    for name, signature in FUNCTIONS.items():
        disabled = {"pg_promote": "promotion is disabled", "pg_reload_conf": "modes and apply delay are disabled"}
        yield right(
            name,
            name,
            f"GRANT EXECUTE ON FUNCTION {signature} TO {user} (in database {facts.database})",
            disabled.get(name, "pausing the replay is disabled"),
        )
    for name in PARAMETERS:
        yield right(
            f"ALTER SYSTEM {name}",
            name,
            f"GRANT ALTER SYSTEM ON PARAMETER {name} TO {user}",
            "the apply delay is disabled" if name == "recovery_min_apply_delay" else "the modes are disabled",
        )


def judge_pair(a: Facts, b: Facts) -> Iterator[Row]:
    """What has to be true of the two together."""
    standbys = [facts for facts in (a, b) if facts.is_standby]
    roles = f"A is {_role(a)}, B is {_role(b)}"
    if len(standbys) != 1:
        yield Row("both", "roles", Verdict.CHANGE, roles, "one of them has to follow the other: see docs/cluster.md")
        return
    standby = standbys[0]
    primary = a if standby is b else b
    yield Row("both", "roles", Verdict.OK, roles)
    if a.version != b.version:
        yield Row("both", "versions", Verdict.CHANGE, f"{a.version} and {b.version}", "the same major version on both")
    yield from _judge_kinship(primary, standby)
    yield from _judge_stream(primary, standby)


def _judge_kinship(primary: Facts, standby: Facts) -> Iterator[Row]:
    if primary.system_identifier is not None and standby.system_identifier is not None:
        if primary.system_identifier == standby.system_identifier:
            yield Row("both", "one system", Verdict.OK, str(primary.system_identifier))
        else:
            advice = "the standby is no copy of this primary: make it anew with pg_basebackup"
            yield Row("both", "one system", Verdict.CHANGE, "different system identifiers", advice)
    timelines = f"{primary.name} on {primary.timeline}, {standby.name} on {standby.timeline}"
    if primary.timeline == standby.timeline:
        yield Row("both", "timeline", Verdict.OK, timelines)
    else:
        yield Row(
            "both", "timeline", Verdict.CHANGE, timelines, "the standby has to be rewound (pg_rewind) or made anew"
        )


def _judge_stream(primary: Facts, standby: Facts) -> Iterator[Row]:
    states = [state for name, state in primary.senders if not name.startswith("pg_")]
    streams = "streaming" in states and standby.receiver is not None
    yield Row(
        "both",
        "streaming",
        Verdict.OK if streams else Verdict.CHANGE,
        "yes" if streams else f"no ({', '.join(filter(None, states)) or 'no connection'})",
        ""
        if streams
        else f"primary_conninfo on {standby.name}, a line for it in pg_hba.conf of {primary.name}; see its log",
    )
    slot = standby.receiver[1] if standby.receiver else ""
    status = {name: wal_status for name, _, wal_status in primary.slots}.get(slot, "")
    if slot and status != "lost":
        yield Row("both", "slot", Verdict.OK, f"{slot} ({status or 'new'})")
    else:
        name = slot or f"standby_{standby.name.lower()}"
        advice = (
            f"SELECT pg_create_physical_replication_slot('{name}', true) on {primary.name},"
            f" primary_slot_name = '{name}' on {standby.name}, and reload"
        )
        yield Row(
            "both", "slot", Verdict.CHANGE, f"{slot} is lost" if slot else "the standby streams without one", advice
        )
    waits = primary.settings.get("synchronous_standby_names", "")
    if waits and not streams:
        advice = (
            f"ALTER SYSTEM SET synchronous_standby_names = '' on {primary.name}, and reload, until the standby streams"
        )
        yield Row(primary.name, "writes", Verdict.CHANGE, f"wait for {waits!r}, which is not there", advice)


def _free_connections(facts: Facts) -> int:
    numbers = {name: int(facts.settings.get(name, 0)) for name in SETTINGS if name.endswith("connections")}
    return numbers["max_connections"] - numbers["reserved_connections"] - numbers["superuser_reserved_connections"]


def _role(facts: Facts) -> str:
    return "a standby" if facts.is_standby else "a primary"


def _first_line(error: psycopg.Error) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0].strip()
    return line.removeprefix("connection is bad: ")


def _how_to_connect(name: str) -> str:
    setting = {"A": "SHOP_PRIMARY_URL", "B": "SHOP_REPLICA_URL"}[name]
    return f"the address in {setting}, listen_addresses and pg_hba.conf of that server, the role and its password"
