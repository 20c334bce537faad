"""A whole shop in one transaction: written to an empty database, or read from one snapshot. For moving house, not for pages."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any

import psycopg

from shop.errors import SettingError
from shop.repository.postgres.connection import Connection
from shop.repository.postgres.pools import Server, Servers
from shop.repository.postgres.records import INSERT_LINES, ORDERS, TABLES, line_values

BATCH = 1_000
LOCK_SECONDS_MAX = 10

_LAST_NUMBER = "SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM order_numbers"


class Bulk:
    """One transaction, for as long as it takes. Of whole collections, by their names in `records.TABLES`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def counts(self) -> Mapping[str, int]:
        return {name: int(self._one(f"SELECT count(*) FROM {name}")) for name in TABLES}  # noqa: S608 - names of our own

    def clear(self) -> None:
        """Delete every record; readers see the old ones until the end."""
        for name in reversed(list(TABLES)):
            self._connection.execute(f"DELETE FROM {name}".encode())  # noqa: S608 - names of our own

    def load(self, collection: str, records: Iterable[Any]) -> Iterator[Sequence[Any]]:
        """Write *records*, which are not there yet; yields each batch when it is written."""
        table = TABLES[collection]
        for batch in _batches(records):
            with self._connection.cursor() as cursor:
                cursor.executemany(table.upsert().encode(), [table.values(record) for record in batch])
                if table is ORDERS:
                    cursor.executemany(INSERT_LINES.encode(), [line_values(order) for order in batch])
            yield batch

    def scan(self, collection: str) -> Iterator[Any]:
        """Every record, by its id in the order of code points."""
        table = TABLES[collection]
        with self._connection.cursor(name=f"scan_{collection}") as cursor:
            cursor.itersize = BATCH
            cursor.execute(f"{table.select()} ORDER BY t.{table.key}".encode())
            for row in cursor:
                yield table.record(row)

    def last_number(self) -> int:
        """The running number of the last order number that was issued."""
        return int(self._one(_LAST_NUMBER))

    def go_on_after(self, running: int) -> None:
        """Issue only higher running numbers from now on. Holds also when the transaction is given up: numbers may be left out."""
        if running > self.last_number():
            self._connection.execute("SELECT setval('order_numbers', %s)", [running])

    def _one(self, query: str) -> Any:
        row = self._connection.execute(query.encode()).fetchone()
        return row[0] if row else 0


@contextmanager
def writing(servers: Servers) -> Iterator[Bulk]:
    """Everything that is done in the block, on the primary, is kept when it is left and nothing when it raises.

    Nobody else writes meanwhile; who reads sees what was there before. Raises `SettingError` when the primary cannot be written.
    """
    with _transaction(servers.primary, "BEGIN") as connection:
        row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
        if row is None or row[0]:
            raise SettingError(f"{servers.primary.name} is a standby now: nothing was changed.")
        connection.execute(f"LOCK TABLE {', '.join(TABLES)} IN EXCLUSIVE MODE".encode())
        yield Bulk(connection)


@contextmanager
def reading(servers: Servers) -> Iterator[Bulk]:
    """One snapshot of the primary. Raises `SettingError` when it cannot be read."""
    with _transaction(servers.primary, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") as connection:
        yield Bulk(connection)


def has_crossed(servers: Servers) -> bool:
    """Whether the standby shows everything that the primary has; False too when one of them does not answer."""
    try:
        with closing(servers.primary.connect()) as here, closing(servers.standby.connect()) as there:
            wanted = here.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
            reached = there.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", list(wanted or [None])).fetchone()
    except psycopg.Error:
        return False
    return bool(reached and reached[0])


@contextmanager
def _transaction(server: Server, begin: str) -> Iterator[Connection]:
    try:
        connection = server.connect()
    except psycopg.OperationalError as error:
        raise SettingError(f"{server.name} does not answer: {_reason(error)}") from error
    try:
        connection.answer_seconds_max = float("inf")
        connection.execute("SET statement_timeout = 0")
        connection.execute(
            "SET synchronous_commit = local"
        )  # perhaps no standby is there, and nobody who keeps the modes
        connection.execute("SET idle_in_transaction_session_timeout = 0")
        connection.execute(f"SET lock_timeout = '{LOCK_SECONDS_MAX}s'".encode())
        connection.execute(begin.encode())
        yield connection
        connection.execute("COMMIT")
    except psycopg.Error as error:
        raise SettingError(f"{server.name} refused, and nothing was changed: {_reason(error)}") from error
    finally:
        connection.close()


def _batches(records: Iterable[Any]) -> Iterator[Sequence[Any]]:
    left = iter(records)
    while batch := list(islice(left, BATCH)):
        yield batch


def _reason(error: psycopg.Error) -> str:
    return " ".join(str(error).split())[:300]
