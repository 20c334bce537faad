"""Comparing the two servers, record by record, at one position, without stopping either.

Two snapshots, the standby's first. Which commits each holds is known from the table `commits`, as sets of ids. What the primary's
has and the standby's lacks is on its way: the records it puts are laid over the standby's. Then everything must be equal. Should
the standby show a commit that the primary does not yet (it waits at its COMMIT for the standby), the primary is looked at again.

The servers make a fingerprint of each record; only what differs is read as a whole.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from shop import losses
from shop.clock import Clock
from shop.replication.contract import Difference, Outcome, Verdict
from shop.replication.postgres.pair import ServerPair
from shop.replication.postgres.records import Key, decode, read_records
from shop.replication.postgres.servers import Server, lsn_text
from shop.replication.verify import IN_FLIGHT_MAX
from shop.repository.postgres.connection import Connection
from shop.units import Position

CATCH_UP_SECONDS_MAX = 5.0
FINGERPRINTS = {
    "categories": "SELECT id, md5(t::text) FROM categories t ORDER BY id",
    "products": "SELECT id, md5(t::text) FROM products t ORDER BY id",
    "carts": "SELECT id, md5(t::text) FROM carts t ORDER BY id",
    "orders": "SELECT number, md5(t::text || coalesce((SELECT string_agg(l::text, ',' ORDER BY place) FROM order_lines l"
    " WHERE l.order_number = t.number), '')) FROM orders t ORDER BY number",
    "admins": "SELECT id, md5(t::text) FROM admins t ORDER BY id",
}
FETCHED_AT_ONCE = 5000


class _Held(NamedTuple):
    """A snapshot on an open connection, and the commits it holds."""

    connection: Connection
    ids: frozenset[UUID]
    oldest: int


class _Both(NamedTuple):
    near: _Held
    far: _Held
    position: Position
    on_the_way: Mapping[Key, Sequence[Any]]  # every record that a commit on its way puts there; one of them is the last


def compare(pair: ServerPair, *, currency: str, clock: Clock, keep: int) -> Verdict:
    """Raises `Unreachable`."""
    primary, standby = pair.primary, pair.standby
    try:
        with standby.fresh() as there, primary.fresh() as here:
            both = _snapshots(here, there)
            if isinstance(both, str):
                return inconclusive(f"The sides cannot be compared at one position. {both}")
            keys, records = _differing(both)
            found = _described(both, keys[:keep], currency)
    except psycopg.errors.UndefinedTable:
        return inconclusive(f"The sides cannot be compared: the shop's tables have not arrived at {standby.name} yet.")
    except (psycopg.errors.SerializationFailure, psycopg.errors.QueryCanceled) as error:
        return inconclusive(
            f"The sides cannot be compared at one position: {standby.name} needed what was being read. {_line(error)}"
        )
    place = f"at {lsn_text(both.position.lsn)} on timeline {both.position.timeline}"
    if keys:
        noun = "record differs" if len(keys) == 1 else "records differ"
        sentence = f"{len(keys):,} {noun} {place}, and nothing on its way explains it. Rebuilding repairs the replica."
        return Verdict(Outcome.DIVERGED, sentence, both.position, records, found)
    sentence = f"All {records:,} records are the same on both sides {place}."
    return Verdict(Outcome.IN_SYNC, sentence, both.position, records, ())


def inconclusive(sentence: str) -> Verdict:
    return Verdict(Outcome.INCONCLUSIVE, sentence, None, 0, ())


def differences(
    primary: Server, standby: Server, keys: Sequence[tuple[Key, bool]], *, limit: int, currency: str
) -> Sequence[Difference]:
    """How the records differ now, at most *limit* of them; each key says whether a commit on its way explains it."""
    found: list[Difference] = []
    for start in range(0, len(keys), limit):
        part = keys[start : start + limit]
        theirs = read_records(standby.ask, [key for key, _ in part])
        ours = read_records(primary.ask, [key for key, _ in part])
        found += [one for key, is_explained in part if (one := _difference(key, ours, theirs, currency, is_explained))]
        if len(found) >= limit:
            break
    return found[:limit]


def _snapshots(here: Connection, there: Connection) -> _Both | str:
    """Both, or why they cannot be brought to one position."""
    far = _hold(there)
    deadline = time.monotonic() + CATCH_UP_SECONDS_MAX
    while True:
        near = _hold(here)
        early = [id for id in far.ids - near.ids if _lsn(there, id) >= near.oldest]
        if not early:
            break
        here.rollback()
        if time.monotonic() > deadline:
            return f"The replica has {len(early):,} commits that the primary does not show."
        time.sleep(0.05)
    [(lsn, timeline)] = here.execute(
        "SELECT (pg_current_wal_lsn() - '0/0')::bigint, ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"
    ).fetchall()
    missing = near.ids - far.ids
    if len(missing) > IN_FLIGHT_MAX:
        return f"{len(missing):,} commits are on their way; verify again when fewer are."
    on_the_way: dict[Key, list[Any]] = {}
    for (operations,) in here.execute(
        "SELECT operations FROM commits WHERE id = ANY(%s) ORDER BY lsn", (list(missing),)
    ):
        for collection, id, record in decode(operations):
            on_the_way.setdefault((collection, id), []).append(record)
    return _Both(near, far, Position(timeline, lsn, ""), on_the_way)


def _hold(connection: Connection) -> _Held:
    """From the first question on, everything that is asked sees the same."""
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    rows = connection.execute("SELECT id, lsn FROM commits").fetchall()
    return _Held(connection, frozenset(id for id, _ in rows), min((lsn for _, lsn in rows), default=0))


def _lsn(connection: Connection, id: UUID) -> int:
    [(lsn,)] = connection.execute("SELECT lsn FROM commits WHERE id = %s", (id,)).fetchall()
    return int(lsn)


def _differing(both: _Both) -> tuple[list[Key], int]:
    keys: list[Key] = []
    records = 0
    for collection, question in FINGERPRINTS.items():
        ours, theirs = _fingerprints(both.near.connection, question), _fingerprints(both.far.connection, question)
        for id, one, other in _side_by_side(ours, theirs):
            records += one is not None
            if one != other and (collection, id) not in both.on_the_way:
                keys.append((collection, id))
    touched = list(both.on_the_way)
    now = read_records(_asking(both.near.connection), touched)
    keys += [key for key in touched if now.get(key) not in both.on_the_way[key]]
    return keys, records


def _fingerprints(connection: Connection, question: str) -> Iterator[tuple[str, str]]:
    with connection.cursor(name="fingerprints") as cursor:
        cursor.itersize = FETCHED_AT_ONCE
        cursor.execute(question)
        yield from cursor


def _side_by_side(
    ours: Iterator[tuple[str, str]], theirs: Iterator[tuple[str, str]]
) -> Iterator[tuple[str, str | None, str | None]]:
    """Both lists, sorted by id, merged."""
    one, other = next(ours, None), next(theirs, None)
    while one is not None or other is not None:
        if one is not None and (other is None or one[0] < other[0]):
            yield one[0], one[1], None
            one = next(ours, None)
        elif other is not None and (one is None or other[0] < one[0]):
            yield other[0], None, other[1]
            other = next(theirs, None)
        elif one is not None and other is not None:
            yield one[0], one[1], other[1]
            one, other = next(ours, None), next(theirs, None)


def _described(both: _Both, keys: Sequence[Key], currency: str) -> Sequence[Difference]:
    ours = read_records(_asking(both.near.connection), keys)
    theirs = read_records(_asking(both.far.connection), keys)
    return [one for key in keys if (one := _difference(key, ours, theirs, currency, False))]


def _difference(
    key: Key, ours: Mapping[Key, Any], theirs: Mapping[Key, Any], currency: str, is_explained: bool
) -> Difference | None:
    here, there = ours.get(key), theirs.get(key)
    if here == there:
        return None
    collection, id = key
    return Difference(
        collection=collection,
        id=id,
        label=losses.label(collection, id, there if here is None else here),
        fields=losses.differing_fields(collection, here, there, currency),
        on_primary=here is not None,
        on_replica=there is not None,
        is_explained=is_explained,
    )


def _asking(connection: Connection) -> Any:
    def ask(statement: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        return connection.execute(statement, tuple(parameters)).fetchall()

    return ask


def _line(error: psycopg.Error) -> str:
    return str(error).splitlines()[0] if str(error) else ""
