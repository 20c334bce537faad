"""Pages from the standby, under the four policies: `contract.FarReads`.

A token is a place in the log. Places grow over all timelines, so a side has reached a token when it has replayed that far and no failover
left the token behind. How far the standby has come is asked *before* its snapshot is taken (what is shown may be newer, never older), and
what a visitor has seen is the place after it.

A snapshot is a transaction on a connection of a pool: `release` gives it back when the page is done.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack

from msgspec.structs import replace

from shop.clock import Clock
from shop.errors import ShopError
from shop.replication.contract import Anomaly, Policy, Reading, Token
from shop.replication.postgres.servers import Unreachable
from shop.replication.postgres.watch import Watch, age_seconds
from shop.replication.reads import TOO_LATE, TOO_MANY, WAIT_PLACES, WAIT_SECONDS_MAX
from shop.units import Position, ReadUnit

POLL_SECONDS = 0.02
GONE = "The far side cannot be reached"
PRIMARY_GONE = "The primary cannot be reached"
_REPLAYED = "SELECT pg_is_in_recovery() AND to_regclass('commits') IS NOT NULL, (coalesce(pg_last_wal_replay_lsn(), '0/0') - '0/0')::bigint"

View = Callable[[int], AbstractContextManager[ReadUnit]]  # a snapshot on server 0 or 1; raises `ShopError`


class PostgresReads:
    """See `contract.FarReads`. *fork_of* tells where a timeline was left, None when that is not known."""

    def __init__(
        self,
        watch: Watch,
        view: View,
        fork_of: Callable[[int], int | None],
        *,
        clock: Clock,
        seconds_max: float = WAIT_SECONDS_MAX,
        places: int = WAIT_PLACES,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._watch = watch
        self._view = view
        self._fork_of = fork_of
        self._clock = clock
        self._seconds_max = seconds_max
        self._places = threading.BoundedSemaphore(places)
        self._wait = wait
        self._mine = threading.local()

    # ---- what the visitor has written

    def remember(self, position: Position) -> None:
        """This thread's update was committed; for the repository to call."""
        self._mine.token = Token(timeline=position.timeline, lsn=position.lsn)

    def take_committed(self) -> Token | None:
        token: Token | None = getattr(self._mine, "token", None)
        self._mine.token = None
        return token

    def is_lost(self, token: Token) -> bool:
        """Known from where the timelines were left. Where that is not known, nobody is told that something was lost."""
        now = self._watch.pair.roles.timeline
        if token.timeline == now:
            return False
        fork = self._fork_of(token.timeline)
        return token.timeline > now or (fork is not None and token.lsn > fork)

    # ---- what the visitor reads

    def read(self, policy: Policy, *, wrote: Token | None, seen: Token | None) -> tuple[ReadUnit, Reading]:
        lost = []
        if wrote is not None and self.is_lost(wrote):
            lost, wrote = [Anomaly.LOST_WRITE], None
        if seen is not None and self.is_lost(seen):
            lost, seen = [*lost, Anomaly.LOST_SIGHT], None
        wanted = {Policy.OWN_WRITES: wrote, Policy.MONOTONIC: seen}.get(policy)
        unit, reading, reached = self._unit(policy, wanted)
        shown = reading.seen
        return unit, replace(
            reading,
            anomalies=(*lost, *_anomalies(reached, wrote, seen)),
            seen=shown if seen is None or seen.lsn <= shown.lsn else seen,
            wrote=wrote,
        )

    def both(self) -> tuple[ReadUnit, ReadUnit, Reading]:
        primary = self._watch.pair.roles.primary
        far = self._enter(1 - primary)  # first, so that the primary is never behind it
        near = self._enter(primary)
        return near, far, self._reading("replica", far, fell_back="", waited=0.0)

    def release(self) -> None:
        held: ExitStack | None = getattr(self._mine, "held", None)
        if held is not None:
            self._mine.held = None
            held.close()

    def _unit(self, policy: Policy, wanted: Token | None) -> tuple[ReadUnit, Reading, int | None]:
        """The snapshot, what it is, and how far its side had come before it was taken; None: all the way."""
        primary = self._watch.pair.roles.primary
        replayed, why_not, waited = self._far_position(policy, wanted)
        if replayed is not None:
            try:
                unit = self._enter(1 - primary)
                return unit, self._reading("replica", unit, fell_back="", waited=waited), replayed
            except ShopError:
                why_not = GONE
        try:
            unit = self._enter(primary)
            return unit, self._reading("primary", unit, fell_back=why_not, waited=waited), None
        except ShopError:
            unit = self._enter(1 - primary)  # better old than nothing; the page says how old
            reading = self._reading("replica", unit, fell_back=PRIMARY_GONE, waited=waited)
            return unit, reading, unit.position().lsn

    def _enter(self, server: int) -> ReadUnit:
        held: ExitStack | None = getattr(self._mine, "held", None)
        if held is None:
            held = self._mine.held = ExitStack()
        return held.enter_context(self._view(server))

    def _far_position(self, policy: Policy, wanted: Token | None) -> tuple[int | None, str, float]:
        """How far the standby has come, once it has reached *wanted*; None when it is the primary's turn, and why if that was not
        asked for. Then the seconds that were waited."""
        if policy is Policy.PRIMARY:
            return None, "", 0.0
        replayed = self._replayed()
        if replayed is None:
            return None, GONE, 0.0
        if wanted is None or replayed >= wanted.lsn:
            return replayed, "", 0.0
        if not self._places.acquire(blocking=False):
            return None, TOO_MANY, 0.0
        try:
            return self._wait_until_reached(wanted)
        finally:
            self._places.release()

    def _wait_until_reached(self, wanted: Token) -> tuple[int | None, str, float]:
        began = self._clock.monotonic()
        while True:
            replayed, waited = self._replayed(), self._clock.monotonic() - began
            if replayed is None:
                return None, GONE, waited
            if replayed >= wanted.lsn:
                return replayed, "", waited
            if waited >= self._seconds_max:
                return None, TOO_LATE, waited
            self._wait(min(POLL_SECONDS, self._seconds_max - waited))

    def _replayed(self) -> int | None:
        """None when the standby does not answer, has no shop yet, or is none: an old primary shows what was lost."""
        try:
            [(is_readable, replayed)] = self._watch.pair.standby.ask(_REPLAYED)
        except Unreachable:
            return None
        return int(replayed) if is_readable else None

    def _reading(self, side: str, unit: ReadUnit, *, fell_back: str, waited: float) -> Reading:
        picture = self._watch.picture()
        position = unit.position()
        missing = picture.missing if side == "replica" else ()
        age: float | None = age_seconds(missing[0].row, picture.near, self._clock) if missing else 0.0
        if side == "replica" and picture.near is None and not missing:
            age = None  # nobody knows what the primary had
        server = picture.primary if side == "primary" else picture.standby
        return Reading(
            side=side,
            file=server.name,
            position=position,
            commits_behind=len(missing),
            age_seconds=age,
            waited_seconds=waited,
            fell_back=fell_back,
            anomalies=(),
            seen=Token(timeline=position.timeline, lsn=position.lsn),
            wrote=None,
        )


def _anomalies(reached: int | None, wrote: Token | None, seen: Token | None) -> Sequence[Anomaly]:
    if reached is None:
        return []
    missed = wrote is not None and wrote.lsn > reached
    back = seen is not None and seen.lsn > reached
    return [anomaly for anomaly, is_so in ((Anomaly.MISSED_WRITE, missed), (Anomaly.WENT_BACK, back)) if is_so]
