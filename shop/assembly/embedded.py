"""The shop on its own two files."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Thread

from shop.assembly.parts import Parts
from shop.clock import Clock
from shop.config import Config
from shop.drills.parts import Parts as DrillParts
from shop.drills.runner import Drills
from shop.replication.alerts import VERIFY_SECONDS, Alerts, Rounds
from shop.replication.audit import Audit
from shop.replication.embedded import EmbeddedReplication
from shop.replication.failover import EmbeddedFailover, complete_rejoin
from shop.replication.notify import Notifier
from shop.replication.pair import Pair, open_pair
from shop.replication.reads import EmbeddedReads
from shop.replication.schedule import Schedule
from shop.repository.embedded import EmbeddedRepository
from shop.server import THREADS
from shop.units import Position
from shop.web.services import Services


@contextmanager
def open_parts(config: Config, clock: Clock) -> Iterator[Parts]:
    """The folder's stores and what is built on them; the caller holds the folder's lock. Raises `StoreError`."""
    pair = open_pair(config.instance, clock)
    try:
        rejoined = complete_rejoin(pair)
        replication = EmbeddedReplication(
            pair,
            clock=clock,
            delay_seconds=config.replication_delay,
            currency=config.currency,
            mode=config.replication_mode,
            wait_places=THREADS // 2,
        )
        repository = EmbeddedRepository(pair.primary)
        failover = EmbeddedFailover(pair, replication, repository, clock=clock, currency=config.currency)
        alerts, audit = Alerts(replication.status, clock), Audit(config.instance, clock)
        reads = EmbeddedReads(pair, repository, clock=clock)
        drills = Drills(
            DrillParts(
                clock,
                repository,
                replication,
                config.currency,
                laboratory=replication.laboratory,
                failover=failover,
                reads=reads,
                sabotage=replication.sabotage,
            ),
            config.instance,
            audit=audit,
        )
        services = Services(
            config,
            clock,
            repository,
            replication,
            failover,
            laboratory=replication.laboratory,
            alerts=alerts,
            audit=audit,
            reads=reads,
            drills=drills,
        )

        schedules: list[Schedule] = []

        @contextmanager
        def running() -> Iterator[None]:
            notifier = Notifier(config.alert_urls)
            alerts.tell = notifier.tell
            verification = Rounds(replication.verify, clock, every_seconds=VERIFY_SECONDS)
            schedule = Schedule(replication, clock, chores=(alerts.look, verification.look))
            schedules.append(schedule)
            pair.start()
            schedule.start()
            repository.gate = replication.gate  # only now: without the schedule nothing crosses to wait for
            Thread(target=repository.warm, name="warm", daemon=True).start()  # the first page does not wait for it
            try:
                yield
            finally:
                drills.close()  # while commits still cross
                schedule.stop()
                notifier.stop()

        yield Parts(
            services=services,
            running=running,
            backup=lambda path: Position(*pair.primary.write_copy(path)),
            counters=lambda: {**_counters(pair), "scheduler_stalls": sum(one.stalls for one in schedules)},
            announcements=[line for line in (*pair.announcements, rejoined) if line],
            banner=_banner(config, pair),
        )
    finally:
        pair.close()


def _counters(pair: Pair) -> Mapping[str, float]:
    store = pair.primary
    return {
        "store_commits": store.commits_made,
        "store_journal_fsyncs": store.syncs,
        "store_journal_fsync_seconds": store.sync_seconds,
    }


def _banner(config: Config, pair: Pair) -> list[tuple[str, str]]:
    lines = [("", f"the replica follows {config.replication_delay:g} s behind"), ("Data", str(config.instance))]
    if pair.primary.problem:
        lines.append(("READ-ONLY", pair.primary.problem))
    return lines
