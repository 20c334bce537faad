"""The shop on two PostgreSQL servers, one process of perhaps several."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shop.assembly.parts import Parts
from shop.clock import Clock
from shop.config import Config
from shop.drills.parts import Parts as DrillParts
from shop.drills.runner import Drills
from shop.errors import Conflict, ShopError
from shop.lock import read_note
from shop.replication.alerts import Alerts
from shop.replication.audit import Audit
from shop.replication.contract import Alert
from shop.replication.notify import Notifier
from shop.replication.postgres.assembled import PostgresSide
from shop.replication.postgres.servers import Unreachable
from shop.replication.postgres.shared import held
from shop.repository.local import shared
from shop.repository.postgres.opening import open_repository
from shop.server import THREADS
from shop.units import Position
from shop.web.services import Services

NO_BACKUP = (
    "PostgreSQL has its own tools for that: pg_dump writes a copy of the shop's database while it runs, pg_basebackup one of a"
    " whole server."
)


@contextmanager
def open_parts(config: Config, clock: Clock) -> Iterator[Parts]:
    """Both servers, the schema brought up to date where there is a primary, and what is built on them. Raises `SettingError`."""
    with open_repository(config.instance, (config.primary_url, config.replica_url)) as repository:
        side = PostgresSide(
            config.instance,
            repository.servers,
            repository,
            clock=clock,
            currency=config.currency,
            wait_places=THREADS // 2,
        )
        alerts, audit = Alerts(side.replication.status, clock), Audit(config.instance, clock)
        drills = Drills(
            DrillParts(
                clock,
                repository,
                side.replication,
                config.currency,
                laboratory=side.laboratory,
                failover=side.failover,
                reads=side.reads,
                sabotage=side.sabotage,
            ),
            config.instance,
            audit=audit,
        )
        services = Services(
            config,
            clock,
            repository,
            side.replication,
            side.failover,
            laboratory=side.laboratory,
            alerts=alerts,
            audit=audit,
            reads=side.reads,
            drills=drills,
            shared=shared(config.instance, clock),
        )

        @contextmanager
        def running() -> Iterator[None]:
            notifier = Notifier(config.alert_urls)
            with side.running(mode=config.replication_mode, start=_start(config), alerts=alerts.look) as leader:

                def tell(alert: Alert, is_raised: bool) -> None:
                    if leader.leads:  # every worker weighs them, one tells
                        notifier.tell(alert, is_raised)

                alerts.tell = tell
                try:
                    yield
                finally:
                    drills.close()
            notifier.stop()

        try:
            yield Parts(
                services=services,
                running=running,
                backup=_no_backup,
                alone=lambda: held(config.instance / "first-start.lock"),
                banner=_banner(side),
            )
        finally:
            side.close()


def _start(config: Config) -> str:
    """The same for all workers of one start of the shop: what the owner of the folder calls itself."""
    note = read_note(config.instance)
    return f"{note.pid} {note.token[:8]}" if note is not None else str(os.getpid())


def _no_backup(path: Path) -> Position:
    raise Conflict(NO_BACKUP)


def _banner(side: PostgresSide) -> list[tuple[str, str]]:
    primary, standby = side.pair.primary, side.pair.standby
    lines = [("", f"from {primary.name} to {standby.name}"), ("Data", f"PostgreSQL, primary {primary.name}")]
    try:
        side.pair.primary.ask("SELECT 1")
    except (Unreachable, ShopError) as error:
        lines.append(("READ-ONLY", error.message))
    return lines
