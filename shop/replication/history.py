"""What has been lately: how the last commits crossed, and what both sides held after each of them.

A state is a value that never changes and shares with its neighbours all that is the same, so that keeping the last of them costs
little more than what changed between them. All of it lives in memory, bounded by number and by how much changed, and begins anew with
each start.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from shop.replication.link import Way, Ways
from shop.replication.pair import Pair
from shop.store import State

JOURNEYS_KEPT = 500
MOMENTS_KEPT = 200
COMMITS_KEPT = 20_000  # between the first moment and the last: of a backlog that is caught up with, each moment is a thousand commits
STREAM_MOMENTS = 20  # when so many were within the seconds below, commits come in a stream:
STREAM_SECONDS = 1.0
SPACING_SECONDS = 0.05  # then those within this time are one moment


class Journey(NamedTuple):
    """A commit that has arrived."""

    timeline: int
    lsn: int
    way: Way
    arrived_monotonic: float  # fsynced in the replica's journal


class Batch(NamedTuple):
    """Commits of one timeline that have arrived together."""

    timeline: int
    first: int
    ways: Ways
    arrived_monotonic: float


class Moment(NamedTuple):
    """Both sides as they were after one of them had changed."""

    number: int  # counts from 1 since the start
    at: datetime
    primary: State
    replica: State
    files: tuple[str, str]  # of the primary and the replica: a failover swaps them


class _Mark:
    """What becomes a `Moment` for whoever looks."""

    __slots__ = ("at", "began", "distance", "here", "moved", "number", "primary", "replica", "there")

    def __init__(self, pair: Pair, here: State, there: State, began: float, at: datetime, last: "_Mark | None") -> None:
        self.primary, self.replica = pair.primary, pair.replica
        self.here: State = here if last is None else last.here
        self.there: State = there if last is None else last.there
        self.began, self.at = began, at
        self.number: int = 1 if last is None else last.number + 1
        self.distance: int = 0 if last is None else last.distance  # in commits, from the first mark on
        self.move(here, there, began)

    def is_of(self, pair: Pair) -> bool:
        """Whether the roles are still those that it tells of."""
        return self.primary is pair.primary

    def move(self, here: State, there: State, now: float) -> None:
        """To what there is at *now*, which is the moment's time from then on."""
        self.distance += _between(self.here, here) + _between(self.there, there)
        self.here, self.there, self.moved = here, there, now

    def moment(self) -> Moment:
        at = self.at + timedelta(seconds=self.moved - self.began)
        return Moment(self.number, at, self.here, self.there, (self.primary.path.name, self.replica.path.name))


class History:
    """Filled by both stores and the replicator, each on its own thread. `_lock` guards every field and is held for a moment only."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batches: deque[Batch] = deque()
        self._journeys = 0  # commits in them
        self._marks: deque[_Mark] = deque()
        self._applied: deque[tuple[int, int, float]] = deque(maxlen=JOURNEYS_KEPT)  # timeline, LSN, moment
        self._verified: deque[tuple[int, int, float]] = deque(maxlen=JOURNEYS_KEPT)

    def mark(self, pair: Pair, now: float, wall: Callable[[], datetime]) -> None:
        """One side has changed: keep both as they are. Called inside a commit, so it does nothing that takes time. *now* is of the
        monotonic clock, *wall* is the other one."""
        with self._lock:
            here, there = pair.primary.state, pair.replica.state
            last = self._marks[-1] if self._marks else None
            if last is None or last.there is not there:
                self._applied.append((there.position.timeline, there.position.lsn, now))
            elif last.here is here:
                return
            if last is not None and now - last.began < SPACING_SECONDS and self._is_stream(now) and last.is_of(pair):
                last.move(here, there, now)
            else:
                self._keep(_Mark(pair, here, there, now, wall(), last))

    def _is_stream(self, now: float) -> bool:
        return len(self._marks) >= STREAM_MOMENTS and now - self._marks[-STREAM_MOMENTS].began < STREAM_SECONDS

    def _keep(self, mark: _Mark) -> None:
        """And forget the oldest ones, by number, and by what they hold that later ones do not."""
        marks = self._marks
        marks.append(mark)
        while len(marks) > MOMENTS_KEPT or (mark.distance - marks[0].distance > COMMITS_KEPT and len(marks) > 2):
            marks.popleft()

    def arrived(self, batch: Batch) -> None:
        with self._lock:
            self._batches.append(batch)
            self._journeys += len(batch.ways)
            while self._journeys - len(self._batches[0].ways) >= JOURNEYS_KEPT:
                self._journeys -= len(self._batches.popleft().ways)

    def verified(self, timeline: int, lsn: int, now: float) -> None:
        """Both sides were found equal, and the replica held everything up to this commit."""
        with self._lock:
            self._verified.append((timeline, lsn, now))

    def moments(self) -> Sequence[Moment]:
        """Oldest first."""
        with self._lock:
            return [mark.moment() for mark in self._marks]

    def journey(self, timeline: int, lsn: int) -> Journey | None:
        """None when it has not arrived since the start, or too many have since."""
        with self._lock:
            for batch in reversed(self._batches):
                if batch.timeline == timeline and 0 <= lsn - batch.first < len(batch.ways):
                    return Journey(timeline, lsn, batch.ways[lsn - batch.first], batch.arrived_monotonic)
            return None

    def applied_monotonic(self, timeline: int, lsn: int) -> float | None:
        with self._lock:
            return _first(self._applied, timeline, lsn)

    def verified_monotonic(self, timeline: int, lsn: int) -> float | None:
        with self._lock:
            return _first(self._verified, timeline, lsn)


def _between(before: State, after: State) -> int:
    return abs(after.position.lsn - before.position.lsn)


def _first(marks: Iterable[tuple[int, int, float]], timeline: int, lsn: int) -> float | None:
    """The moment of the first mark at or above the commit."""
    return next((moment for its_timeline, its_lsn, moment in marks if (its_timeline, its_lsn) >= (timeline, lsn)), None)
