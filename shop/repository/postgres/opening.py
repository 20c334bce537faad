"""The shop's records on two servers, opened: looked at, brought up to date where there is a primary, closed in the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from shop.errors import SettingError
from shop.repository.postgres.migrations import migrate
from shop.repository.postgres.pools import SETTINGS, Servers
from shop.repository.postgres.repository import PostgresRepository
from shop.repository.postgres.roles import Roles


@contextmanager
def open_repository(instance: Path, urls: tuple[str, str]) -> Iterator[PostgresRepository]:
    """Raises `SettingError` when the servers are not a pair, or when this shop has never had a primary and none answers.

    Later it opens without a primary as well: its pages are then the standby's, and nothing is written.
    """
    servers = Servers(urls, Roles(instance))
    servers.open()
    try:
        servers.look()
        _bring_up_to_date(servers)
        yield PostgresRepository(servers)
    finally:
        servers.close()


def _bring_up_to_date(servers: Servers) -> None:
    if not servers.roles.timeline:
        whys = [
            f" {setting}: {server.why[:200]}."
            for setting, server in zip(SETTINGS, servers.all, strict=True)
            if server.why
        ]
        raise SettingError(
            "Neither server of SHOP_PRIMARY_URL and SHOP_REPLICA_URL answers as a primary: start it; then start the shop again."
            f" flask --app app shop check-cluster says more.{''.join(whys)}"
        )
    try:
        with servers.primary.connect() as connection:
            row = connection.execute("SELECT pg_is_in_recovery(), current_setting('server_encoding')").fetchone()
            if row is None or row[0]:
                return
            if row[1] != "UTF8":
                raise SettingError(
                    f"The database in {SETTINGS[servers.roles.primary]} keeps text in {row[1]}, which cannot hold every name: make one"
                    " with ENCODING 'UTF8' TEMPLATE template0."
                )
            migrate(connection)
    except psycopg.OperationalError:
        return  # it is down: what there is has the schema that it has
    except psycopg.errors.InsufficientPrivilege as error:
        why = str(error).splitlines()[0]
        raise SettingError(
            f"The role in {SETTINGS[servers.roles.primary]} may not make the shop's tables: {why}."
        ) from error
