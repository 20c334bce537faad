"""Everything that replication needs of a PostgreSQL pair, put together once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from shop.clock import Clock
from shop.replication.alerts import VERIFY_SECONDS, Rounds
from shop.replication.contract import Checked, Mode
from shop.replication.postgres.failover import PostgresFailover
from shop.replication.postgres.knobs import ClusterOperator, Knobs, Operator
from shop.replication.postgres.laboratory import PostgresLaboratory
from shop.replication.postgres.leader import Chore, Leader
from shop.replication.postgres.modes import ModeState, PostgresGate, Watcher, mode_file
from shop.replication.postgres.pair import ServerPair
from shop.replication.postgres.pruning import prune
from shop.replication.postgres.reads import PostgresReads
from shop.replication.postgres.replication import PostgresReplication
from shop.replication.postgres.roles import AgreedRoles
from shop.replication.postgres.sabotage import PostgresSabotage
from shop.replication.postgres.servers import Server
from shop.replication.postgres.shared import SharedFile
from shop.replication.postgres.watch import Watch
from shop.repository.postgres.pools import Servers
from shop.repository.postgres.repository import PostgresRepository
from shop.units import Position

CHECKED_NAME = "checked.json"
PRUNE_SECONDS = 60.0
FAILOVER_SECONDS = 1.0
ALERT_SECONDS = 1.0


class PostgresSide:
    """The parts; `running` is the block in which their background works."""

    def __init__(
        self,
        instance: Path,
        servers: Servers,
        repository: PostgresRepository,
        *,
        clock: Clock,
        currency: str,
        wait_places: int,
        operator: Operator | None = None,
    ) -> None:
        self._repository = repository
        self._clock = clock
        roles = AgreedRoles(servers.roles)
        one, other = servers.all
        self.pair = ServerPair((Server(one.url), Server(other.url)), roles)
        operator = operator or ClusterOperator(instance)
        self.knobs = Knobs(operator, clock)
        self.watch = Watch(self.pair, clock, normal_seconds=self.knobs.normal_seconds)
        self.modes: SharedFile[ModeState] = mode_file(instance)
        self.gate = PostgresGate(self.modes, clock, places=wait_places)
        checked = SharedFile(instance / CHECKED_NAME, Checked, Checked())
        self.replication = PostgresReplication(
            self.watch, self.knobs, self.gate, checked, clock=clock, currency=currency
        )
        self.watcher = Watcher(self.modes, self.watch, why_cut=self.knobs.why_cut)
        self.laboratory = PostgresLaboratory(
            self.watch, self.knobs, self.gate, self.modes, self.watcher, checked, clock=clock, currency=currency
        )
        self.failover = PostgresFailover(
            instance,
            self.pair,
            roles,
            self.watch,
            operator,
            repository,
            self.modes,
            clock=clock,
            currency=currency,
        )
        self.replication.erasing = self.failover.erasing
        self.reads = PostgresReads(
            self.watch,
            lambda number: repository.view_on(servers.all[number]),
            self.failover.fork_of,
            clock=clock,
        )
        self.sabotage = PostgresSabotage()
        repository.after_commit += [self.reads.remember, self._confirmed]
        self._leader: Leader | None = None

    def close(self) -> None:
        self.pair.close()

    @contextmanager
    def running(self, *, mode: str, start: str, alerts: Callable[[], None]) -> Iterator[Leader]:
        """Inside, writers wait as *mode* says, and what has to be done in the background is done. *start* names this start of the
        shop: the first of its workers sets the mode, one that is started again later does not."""
        self._begin(mode, start)
        rounds = Rounds(self.replication.verify, self._clock, every_seconds=VERIFY_SECONDS)
        chores = [
            Chore("watch", 0.0, self.watch.keep_up, by_all=True),
            Chore("alerts", ALERT_SECONDS, alerts, by_all=True),
            Chore("modes", 0.0, self.watcher.look),
            Chore("failover", FAILOVER_SECONDS, self.failover.complete, is_slow=True),
            Chore("verification", 1.0, rounds.look, is_slow=True),
            Chore("prune", PRUNE_SECONDS, lambda: prune(self.watch, is_complete=self.failover.is_complete)),
        ]
        leader = Leader(self.pair, chores, self._clock)
        leader.start()
        self._leader = leader
        self.failover.is_followed_up = lambda: leader.is_running
        self._repository.gate = self.gate
        try:
            yield leader
        finally:
            self._repository.gate = None
            self._leader = None
            leader.stop()

    def _confirmed(self, position: Position) -> None:
        self.watch.confirmed(position)
        if self._leader is not None:
            self._leader.wake()

    def _begin(self, mode: str, start: str) -> None:
        def begun(now: ModeState) -> ModeState:
            if now.start == start:
                return now
            return replace(now, mode=Mode(mode), is_fallen_back=False, suspended="", fall_backs=0, start=start)

        self.modes.change(begun)
