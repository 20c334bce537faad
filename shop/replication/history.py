"""What has been lately: how the last commits crossed, and what both sides held after each of them.

A state is a value that never changes and shares with its neighbours all that is the same, so that keeping the last of them costs
little more than what changed between them. All of it lives in memory, bounded by number and by how much changed, and begins anew with
each start.
"""

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from shop.replication.link import Way
from shop.replication.pair import Pair
from shop.store import State

JOURNEYS_KEPT = 500
MOMENTS_KEPT = 200
COMMITS_KEPT = 20_000  # between the first moment and the last: of a backlog that is caught up with, each moment is a thousand commits


class Journey(NamedTuple):
    """A commit that has arrived."""

    timeline: int
    lsn: int
    way: Way
    arrived_monotonic: float  # fsynced in the replica's journal


class Moment(NamedTuple):
    """Both sides as they were after one of them had changed."""

    number: int  # counts from 1 since the start
    at: datetime
    primary: State
    replica: State
    files: tuple[str, str]  # of the primary and the replica: a failover swaps them


class History:
    """Filled by both stores and the replicator, each on its own thread. `_lock` guards every field and is held for a moment only."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._journeys: deque[Journey] = deque(maxlen=JOURNEYS_KEPT)
        self._moments: deque[Moment] = deque()
        self._distances: deque[int] = deque()  # of each moment from the one before, in commits
        self._distance = 0  # their sum
        self._applied: deque[tuple[int, int, float]] = deque(maxlen=JOURNEYS_KEPT)  # timeline, LSN, moment
        self._verified: deque[tuple[int, int, float]] = deque(maxlen=JOURNEYS_KEPT)
        self._number = 0

    def mark(self, pair: Pair, now: float, at: datetime) -> None:
        """One side has changed: keep both as they are. Called inside a commit, so it does nothing that takes time. *now* is of the
        monotonic clock, *at* of the one on the wall."""
        with self._lock:
            there, here = pair.replica.state, pair.primary.state
            last = self._moments[-1] if self._moments else None
            if last is not None and last.primary is here and last.replica is there:
                return
            if last is None or last.replica is not there:
                self._applied.append((there.position.timeline, there.position.lsn, now))
            self._number += 1
            self._keep(Moment(self._number, at, here, there, (pair.primary.path.name, pair.replica.path.name)), last)

    def _keep(self, moment: Moment, last: Moment | None) -> None:
        """And forget the oldest ones, by number, and by what they hold that later ones do not."""
        distance = (
            0 if last is None else _between(last.primary, moment.primary) + _between(last.replica, moment.replica)
        )
        self._moments.append(moment)
        self._distances.append(distance)
        self._distance += distance
        while len(self._moments) > MOMENTS_KEPT or (self._distance > COMMITS_KEPT and len(self._moments) > 2):
            self._moments.popleft()
            self._distance -= self._distances.popleft()

    def arrived(self, journeys: Iterable[Journey]) -> None:
        with self._lock:
            self._journeys.extend(journeys)

    def verified(self, timeline: int, lsn: int, now: float) -> None:
        """Both sides were found equal, and the replica held everything up to this commit."""
        with self._lock:
            self._verified.append((timeline, lsn, now))

    def moments(self) -> Sequence[Moment]:
        """Oldest first."""
        with self._lock:
            return list(self._moments)

    def journey(self, timeline: int, lsn: int) -> Journey | None:
        """None when it has not arrived since the start, or too many have since."""
        with self._lock:
            return next((one for one in reversed(self._journeys) if (one.timeline, one.lsn) == (timeline, lsn)), None)

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
