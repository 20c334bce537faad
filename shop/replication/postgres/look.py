"""One look at each of the two servers: positions, what streams, what is kept, and which commits each shows.

The standby is looked at first: so the primary is never seen behind it. Commits are compared as sets of ids. `commits.lsn` is written before
the commit itself, by transactions side by side, so that its order is nearly, and only nearly, the order of the commits.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from shop.replication.postgres.servers import NoTables, Rows, Server

COLLECTIONS = ("categories", "products", "carts", "orders", "admins")


class Row(NamedTuple):
    """One row of the table `commits`, without its operations."""

    id: UUID
    timeline: int
    lsn: int
    at: datetime


class Sender(NamedTuple):
    """The primary's end of the stream."""

    application: str
    state: str
    sync_state: str
    sent: int | None
    flushed: int | None
    replayed: int | None
    flush_seconds: float | None
    replay_seconds: float | None
    silent_seconds: float


class Slot(NamedTuple):
    """The place in the log that is kept for the standby."""

    name: str
    is_active: bool
    state: str
    kept: int | None
    left: int | None


class Near(NamedTuple):
    """The primary."""

    at: datetime  # by its own clock
    timeline: int
    position: int  # a bound: what was seen committed is below it
    rows: list[Row]
    sender: Sender | None
    slot: Slot | None
    sync_names: str
    sync_commit: str


class Far(NamedTuple):
    """The standby."""

    is_standby: bool  # False: it takes writes by itself, as an old primary does that somebody started again
    flushed: int  # durable there
    replayed: int
    is_paused: bool
    apply_delay_seconds: float
    ids: frozenset[UUID]
    receiver: str  # "streaming"; "" when nothing streams
    slot: str


class Sizes(NamedTuple):
    """What is asked less often, because counting costs."""

    counts: Mapping[str, int]
    database_bytes: int
    wal_bytes: int


_POSITIONS_NEAR = """
SELECT clock_timestamp(), ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int,
       (pg_current_wal_insert_lsn() - '0/0')::bigint, current_setting('synchronous_standby_names'),
       current_setting('wal_segment_size')
"""
_ROWS = "SELECT id, timeline, lsn, at FROM commits WHERE lsn > %s ORDER BY lsn, id"
_SENDERS = """
SELECT s.application_name, s.state, s.sync_state, (s.sent_lsn - '0/0')::bigint, (s.flush_lsn - '0/0')::bigint,
       (s.replay_lsn - '0/0')::bigint, extract(epoch FROM s.flush_lag)::float8, extract(epoch FROM s.replay_lag)::float8,
       greatest(0, extract(epoch FROM clock_timestamp() - s.reply_time))::float8
  FROM pg_stat_replication s LEFT JOIN pg_replication_slots r ON r.active_pid = s.pid
 WHERE s.application_name NOT LIKE 'pg\\_%%' ORDER BY (r.slot_name = %s) DESC NULLS LAST, s.state = 'streaming' DESC LIMIT 1
"""
_SLOTS = """
SELECT slot_name::text, active, coalesce(wal_status, ''),
       (pg_current_wal_lsn() - restart_lsn)::bigint, safe_wal_size::bigint
  FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary
 ORDER BY (slot_name = %s) DESC, active DESC, slot_name LIMIT 1
"""
_SETTING = "SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'"
_POSITIONS_FAR = """
SELECT (coalesce(pg_last_wal_receive_lsn(), '0/0') - '0/0')::bigint, (coalesce(pg_last_wal_replay_lsn(), '0/0') - '0/0')::bigint,
       pg_is_in_recovery(), CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() <> 'not paused' ELSE false END,
       (SELECT setting::bigint FROM pg_settings WHERE name = 'recovery_min_apply_delay')
"""
_RECEIVER = "SELECT coalesce(status, ''), coalesce(slot_name, '') FROM pg_stat_wal_receiver"
_IDS = "SELECT id FROM commits WHERE lsn > %s"
_SIZES = """
SELECT pg_database_size(current_database()), (SELECT coalesce(sum(size), 0)::bigint FROM pg_ls_waldir()),
"""


def look_far(server: Server, floor: int, slot: str) -> Far:
    """The standby, and the commits above *floor* that its readers see. Raises `Unreachable`."""
    positions, receivers = server.ask_all((_POSITIONS_FAR, ()), (_RECEIVER, ()))
    flushed, replayed, is_standby, is_paused, delay = positions[0]
    receiver, its_slot = receivers[0] if receivers else ("", "")
    return Far(
        is_standby=is_standby,
        flushed=max(flushed, replayed),
        replayed=replayed,
        is_paused=is_paused,
        apply_delay_seconds=delay / 1000,
        ids=_ids(server, floor),
        receiver=receiver,
        slot=its_slot or slot,
    )


def _ids(server: Server, floor: int) -> frozenset[UUID]:
    """None before the tables themselves have crossed. Asked last: so the position above is never ahead of it."""
    try:
        return frozenset(id for (id,) in server.ask(_IDS, (floor,)))
    except NoTables:
        return frozenset()


def look_near(server: Server, floor: int, slot: str) -> Near:
    """The primary, and its commits above *floor*. Raises `Unreachable`."""
    rows, positions, senders, slots, setting = server.ask_all(
        (_ROWS, (floor,)), (_POSITIONS_NEAR, ()), (_SENDERS, (slot,)), (_SLOTS, (slot,)), (_SETTING, ())
    )
    at, timeline, position, names, _ = positions[0]
    return Near(
        at=at,
        timeline=timeline,
        position=position,
        rows=[Row(*row) for row in rows],
        sender=Sender(*senders[0]) if senders else None,
        slot=Slot(*slots[0]) if slots else None,
        sync_names=names,
        sync_commit=setting[0][0],
    )


def look_sizes(server: Server) -> Sizes:
    """Records and bytes. Raises `Unreachable`."""
    counted = ", ".join(f"(SELECT count(*) FROM {name})" for name in COLLECTIONS)  # noqa: S608 - names of our own
    try:
        rows: Rows = server.ask(_SIZES + counted)
    except NoTables:
        rows = server.ask(_SIZES + ", ".join("0" for _ in COLLECTIONS))
    database, wal, *counts = rows[0]
    return Sizes(dict(zip(COLLECTIONS, counts, strict=True)), database, wal)
