"""Carries the primary's commits to the replica, in their order, each exactly once.

`sync_once` is one bounded step; whoever calls it owns the thread and the clock (`schedule.py`, or a test). The queue is the
primary's journal above the replica's position, and that position is the only bookmark: a crash at any moment needs no repair here.

An ordered log never skips. A step that fails is tried again, later and later; commits that cannot follow block everything behind
them. Two findings are not tried again, because time does not heal them: histories that differ, and a journal that no longer
holds what the replica lacks. They last until `resync`.
"""

import math
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import structlog

from shop.replication.contract import State
from shop.replication.history import JOURNEYS_KEPT, Batch, History
from shop.replication.link import ROUNDING_SECONDS, Link, PlainWays, Timetable, Way, Ways, first_lines, last_lines
from shop.replication.pair import Pair
from shop.store import Commit, Position, Store, StoreError, StoreMismatch

# One fsync and one look at the locks for some 2,000 commits; more would hold up a promotion for too long.
BATCH_BYTES = 768 * 1024
RETRY_SECONDS_FIRST = 0.5
RETRY_SECONDS_MAX = 30.0
RECENT_KEPT = 20
SHOW_GAP_SECONDS = 0.1  # a pause this long before the next commit is used to let the replica's file show the last

NEVER = math.inf

_log = structlog.get_logger("replication")


class Outcome(NamedTuple):
    """What a step did, and when the next is due on the monotonic clock.

    None: nothing is on its way, the next commit will be the first. `NEVER`: nothing moves until a knob is turned.
    """

    applied: int
    next_due_monotonic: float | None


class Trouble(NamedTuple):
    """Why nothing is copied until somebody decides."""

    state: State  # REFUSED or SNAPSHOT_NEEDED
    sentence: str


class Failure(NamedTuple):
    """The last step raised."""

    attempts: int
    error: str
    retry_monotonic: float


class Arrival(NamedTuple):
    """A commit that the replica applied, with its times on the monotonic clock."""

    commit: Commit
    committed_monotonic: float
    applied_monotonic: float
    due_monotonic: float  # when the link let it across, as the knobs stood

    @property
    def lateness_seconds(self) -> float:
        return self.applied_monotonic - self.due_monotonic


class _Landed(NamedTuple):
    """A batch that was applied, and the lines of its last commits; decoded when somebody looks."""

    lines: bytes
    first: int  # the first of `ways`
    ways: Ways
    applied_monotonic: float


class Replicator:
    """One lock serialises the steps with everything else that needs the replica to stand still (`hold`).

    The attributes are replaced, never changed in place: reading one needs no lock.
    """

    def __init__(self, pair: Pair, link: Link, *, jitter: Callable[[], float] = random.random) -> None:
        self.pair = pair
        self.link = link
        self.timetable = Timetable(link)
        self.history = History()
        self.trouble: Trouble | None = None
        self.failure: Failure | None = None
        self.progress_monotonic: float | None = None  # when a step last had success
        self.on_arrival: Callable[[int, bytes], bytes] | None = None  # for `sabotage.py`: what the replica gets to see
        self._landed: tuple[_Landed, ...] = ()  # newest first
        self._decoded: tuple[tuple[_Landed, ...], Sequence[Arrival]] = ((), ())  # what `recent` found in which
        self._jitter = jitter
        self._lock = threading.RLock()
        self._is_in_contact = False

    @property
    def recent(self) -> Sequence[Arrival]:
        """The last commits that the replica applied, newest first."""
        all_landed, found = self._decoded
        if all_landed is not self._landed:
            all_landed = self._landed
            found = self._arrivals(all_landed)
            self._decoded = (all_landed, found)
        return found

    def _arrivals(self, all_landed: Sequence[_Landed]) -> Sequence[Arrival]:
        found: list[Arrival] = []
        for landed in all_landed:
            if len(found) >= RECENT_KEPT:
                break
            for commit in reversed(self.pair.primary.decode(landed.lines)):
                way = landed.ways[commit.lsn - landed.first]
                found.append(Arrival(commit, way.committed, landed.applied_monotonic, way.arrives))
        return found[:RECENT_KEPT]

    # ---- steps

    def sync_once(self, now: float) -> Outcome:
        """Carry one batch of what has crossed by *now*. Does not raise: a failure is noted and tried again later."""
        with self._lock:
            if self.link.is_paused or self.trouble:
                return Outcome(0, NEVER)
            if self.failure and now < self.failure.retry_monotonic:
                return Outcome(0, self.failure.retry_monotonic)
            return self._try(now, now)

    def sync_all(self, now: float) -> int:
        """Carry everything that is durable now, whatever the link says; returns how many commits. Does not raise: see `failure`."""
        applied = 0
        with self._lock:
            target = self.pair.primary.position.lsn
            while not self.trouble and self.pair.replica.position.lsn < target:
                outcome = self._try(now, None)
                applied += outcome.applied
                if self.failure:
                    break
            self.timetable.restart(self.pair.replica.position.lsn)
        return applied

    @contextmanager
    def hold(self) -> Iterator[None]:
        """No step runs inside this block."""
        with self._lock:
            yield

    def retry_now(self) -> None:
        """Let the next step try at once, whatever failed before."""
        with self._lock:
            if self.failure:
                self.failure = self.failure._replace(retry_monotonic=-math.inf)

    def resync(self, now: float) -> None:
        """Make the replica a fresh snapshot of the primary; a crash leaves the old replica or the new one. Raises as the store does."""
        with self._lock:
            self.pair.copy_primary()
            self.trouble = self.failure = None
            self.progress_monotonic = now
            self._is_in_contact = False
            self.timetable.restart(self.pair.replica.position.lsn)

    def way(self, lsn: int) -> Way:
        """How commit *lsn* crosses as the knobs stand. Raises IndexError when the primary's journal does not hold it."""
        primary = self.pair.primary
        knobs = self.link.knobs
        if knobs.is_plain:
            return PlainWays((primary.committed_monotonic(lsn),), knobs)[0]
        return self.timetable.way(primary, self.pair.replica.position.lsn, lsn)

    def begin_anew(self) -> None:
        """The roles of the pair have changed: what was found out about the old ones holds no more."""
        with self._lock:
            self.trouble = self.failure = None
            self._is_in_contact = False
            self.timetable.restart(self.pair.replica.position.lsn)

    # ---- inside a step

    def _try(self, now: float, crossed_by: float | None) -> Outcome:
        try:
            self._make_contact()
            applied = 0 if self.trouble else self._carry(crossed_by)
        except Exception as error:  # the edge of a background job: what is not noted here is noticed by nobody
            self._fail(error, now)
            return Outcome(0, self.failure.retry_monotonic if self.failure else None)
        if self.trouble:
            return Outcome(0, NEVER)
        self.failure = None
        if applied or self._behind() == 0:
            self.progress_monotonic = now
        return Outcome(applied, self._next_due(now))

    def _make_contact(self) -> None:
        """Before the first batch: does the replica's history begin the primary's? Until then nothing is carried."""
        if not self._is_in_contact:
            self.trouble = compare_histories(self.pair.primary, self.pair.replica)
            self._is_in_contact = self.trouble is None
        if self.trouble is None:
            self.trouble = find_gap(self.pair.primary, self.pair.replica.position)
        if self.trouble:
            _log.error("replication stopped", state=self.trouble.state.value, reason=self.trouble.sentence)

    def _carry(self, crossed_by: float | None) -> int:
        primary, replica = self.pair.primary, self.pair.replica
        lines = self._lines(crossed_by)
        if not lines:
            return 0
        after, count = replica.position.lsn, lines.count(b"\n")
        first = after + max(0, count - JOURNEYS_KEPT) + 1
        ways = self._ways(first, after + count)
        applied = replica.apply(self.on_arrival(after, lines) if self.on_arrival else lines)
        self._remember(first, ways, lines)
        primary.keep_after(replica.position.lsn)
        return applied

    def _ways(self, first: int, last: int) -> Ways:
        knobs = self.link.knobs
        if knobs.is_plain:
            return PlainWays(self.pair.primary.committed_monotonics(first, last), knobs)
        return [self.way(lsn) for lsn in range(first, last + 1)]

    def _lines(self, crossed_by: float | None) -> bytes:
        """What has crossed by that moment, one batch at most; None: whatever the link says."""
        primary, after = self.pair.primary, self.pair.replica.position.lsn
        if crossed_by is None:
            return primary.lines(after, max_bytes=BATCH_BYTES)
        if self.link.knobs.is_plain:
            return primary.lines(after, max_bytes=BATCH_BYTES, before=self.link.crossed_before(crossed_by))
        count = self.timetable.last_crossed(primary, after, crossed_by) - after
        return first_lines(primary.lines(after, max_bytes=BATCH_BYTES), count) if count else b""

    def _remember(self, first: int, ways: Ways, lines: bytes) -> None:
        """The journal may forget the commits as soon as the replica has them: what the page tells of them is taken along now."""
        primary, replica = self.pair.primary, self.pair.replica
        applied = replica.newest_monotonic  # not from its journal: its own thread may have cut that already
        last = first + len(ways) - 1
        if primary.timeline_of(first) == primary.timeline_of(last):
            self.history.arrived(Batch(primary.timeline_of(first), first, ways, applied))
        else:
            for lsn in range(first, last + 1):
                self.history.arrived(Batch(primary.timeline_of(lsn), lsn, [ways[lsn - first]], applied))
        landed = _Landed(last_lines(lines, RECENT_KEPT), first, ways, applied)
        self._landed = (landed, *self._landed)[: RECENT_KEPT if len(ways) < RECENT_KEPT else 1]

    def _due(self, lsn: int) -> float:
        return self.way(lsn).arrives + ROUNDING_SECONDS

    def _behind(self) -> int:
        return self.pair.primary.position.lsn - self.pair.replica.position.lsn

    def _next_due(self, now: float) -> float | None:
        """Also lets the replica's file show what arrived, unless more is about to; then its own thread does it soon enough."""
        primary, replica = self.pair.primary, self.pair.replica
        lsn = replica.position.lsn
        due = self._due(lsn + 1) if primary.position.lsn > lsn else None
        if due is None or due > now + SHOW_GAP_SECONDS:
            replica.wait_shown(lsn)
        return due

    def _fail(self, error: Exception, now: float) -> None:
        attempts = self.failure.attempts + 1 if self.failure else 1
        if isinstance(error, StoreMismatch):
            self._is_in_contact = False  # it did not fit although the histories did: look at them again first
        text = self._describe(error)
        is_foreseen = isinstance(error, StoreError | OSError)
        _log.warning("replication failed", attempts=attempts, error=text, exc_info=None if is_foreseen else error)
        self.failure = Failure(attempts, text, now + self._retry_seconds(attempts))

    def _describe(self, error: Exception) -> str:
        text = str(error) or type(error).__name__
        if isinstance(error, StoreMismatch):
            return f"Blocked at commit {self.pair.replica.position.lsn + 1}: {text}"
        return text

    def _retry_seconds(self, attempts: int) -> float:
        """Twice as long each time up to a ceiling; half of it by chance, so that many replicas would not call at one moment."""
        ceiling = min(RETRY_SECONDS_MAX, RETRY_SECONDS_FIRST * 2.0 ** min(attempts - 1, 30))
        return ceiling * (0.5 + 0.5 * self._jitter())


def compare_histories(primary: Store, replica: Store) -> Trouble | None:
    """Whether the replica's history begins the primary's; None when it does, or when the journal no longer tells."""
    here, there = primary.position, replica.position
    if primary.store_id != replica.store_id:
        return _refused(replica, "belongs to another shop")
    if there.timeline > here.timeline:
        return _refused(replica, f"is on timeline {there.timeline}, the primary on {here.timeline}")
    if there.lsn > here.lsn:
        return _refused(replica, f"is ahead: it has commit {there.lsn}, the primary ends at {here.lsn}")
    if primary.timeline_of(there.lsn) != there.timeline:
        return _refused(replica, f"left the primary's history before its commit {there.lsn}")
    known = primary.position_at(there.lsn)
    if known is not None and known != there:
        return _refused(replica, f"has another history up to commit {there.lsn} (their checksums differ)")
    return None


def _refused(replica: Store, what: str) -> Trouble:
    return Trouble(
        State.REFUSED,
        f"The replica {replica.path.name} {what}. Nothing is copied; find out which side is right, then rebuild"
        f" the other one from it (Resync makes the replica a copy of the primary).",
    )


def find_gap(primary: Store, position: Position) -> Trouble | None:
    """Whether the journal has lost commits that a replica at *position* still needs."""
    oldest = primary.oldest_lsn
    if position.lsn + 1 >= oldest or position == primary.position:
        return None
    return Trouble(
        State.SNAPSHOT_NEEDED,
        f"The replica ends at commit {position.lsn}, and the primary's journal now begins at {oldest}. It cannot catch up;"
        " Resync gives it a fresh copy.",
    )
