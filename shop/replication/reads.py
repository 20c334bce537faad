"""Pages from the far side: which side may answer a visitor, given what that visitor has written and seen.

A token is a position that the visitor carries, (timeline, lsn). A side has *reached* it when its history contains it. The primary's
history decides what is lost: a token above the fork of its timeline was left behind by a failover, and no waiting brings it back.

A visitor who may not be answered yet waits on a condition that every commit of either side wakes; no more than a few do at a time, so
that some thread is always free to serve the others. Whatever cannot be had from the replica in time comes from the primary.
"""

import threading
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from shop.clock import Clock
from shop.replication.contract import Anomaly, Policy, Reading, Token
from shop.replication.pair import Pair
from shop.repository.embedded import EmbeddedRepository, Snapshots
from shop.store import State, Store
from shop.units import Position, ReadUnit

WAIT_SECONDS_MAX = 1.0
WAIT_PLACES = 2  # a quarter of the server's threads; writers may hold half of them

TOO_LATE = "The far side did not have it in time"
TOO_MANY = "Others are waiting for the far side already"
NOT_JOINED = "The far side does not follow this one at the moment"


def timeline_of(state: State, lsn: int) -> int:
    """The timeline that commit *lsn* of this history was made on."""
    return next((fork.timeline for fork in state.forks if lsn <= fork.lsn), state.position.timeline)


def has_reached(state: State, token: Token) -> bool:
    """Whether the history that ends in *state* contains the position."""
    return token.lsn <= state.position.lsn and timeline_of(state, token.lsn) == token.timeline


def _token(state: State) -> Token:
    return Token(timeline=state.position.timeline, lsn=state.position.lsn)


class EmbeddedReads:
    """See `contract.FarReads`. *wait* passes time while nothing happens; a test lets things happen there instead."""

    def __init__(
        self,
        pair: Pair,
        repository: EmbeddedRepository,
        *,
        clock: Clock,
        seconds_max: float = WAIT_SECONDS_MAX,
        places: int = WAIT_PLACES,
        wait: Callable[[float], None] | None = None,
    ) -> None:
        self._pair = pair
        self._repository = repository
        self._clock = clock
        self._seconds_max = seconds_max
        self._places = places
        self._snapshots = Snapshots()
        self._moved = threading.Condition()
        self._waiting = 0  # guarded by _moved, though `_wake` looks at it without
        self._wait = wait or self._wait_for_commit
        self._made = threading.local()
        repository.after_commit.append(self._remember)
        for store in (pair.primary, pair.replica):
            store.on_commit(self._wake)

    # ---- what the visitor has written

    def _remember(self, position: Position) -> None:
        self._made.token = Token(timeline=position.timeline, lsn=position.lsn)

    def release(self) -> None:
        """A snapshot is a value: nothing is held."""

    def take_committed(self) -> Token | None:
        token: Token | None = getattr(self._made, "token", None)
        self._made.token = None
        return token

    def is_lost(self, token: Token) -> bool:
        """A token was durable on its primary when it was given out: so if this primary lacks it, it can at most come back from a
        replica that is ahead on the same timeline."""
        there, here = self._pair.replica.state, self._pair.primary.state
        if has_reached(here, token):
            return False
        return token.timeline < here.position.timeline or not has_reached(there, token)

    # ---- what the visitor reads

    def read(self, policy: Policy, *, wrote: Token | None, seen: Token | None) -> tuple[ReadUnit, Reading]:
        lost = []
        if wrote is not None and self.is_lost(wrote):
            lost, wrote = [Anomaly.LOST_WRITE], None
        if seen is not None and self.is_lost(seen):
            lost, seen = [*lost, Anomaly.LOST_SIGHT], None
        wanted = {Policy.OWN_WRITES: wrote, Policy.MONOTONIC: seen}.get(policy)
        there, why_not, waited = self._far_state(policy, wanted)
        unit, state, reading = self._near(why_not) if there is None else self._far(there)
        return unit, replace(
            reading,
            waited_seconds=waited,
            anomalies=(*lost, *_anomalies(state, wrote, seen)),
            seen=reading.seen if seen is None or has_reached(state, seen) else seen,
            wrote=wrote,
        )

    def both(self) -> tuple[ReadUnit, ReadUnit, Reading]:
        there = self._pair.replica.state  # first, so that the primary is never behind it
        near, _, _ = self._near("")
        far, _, reading = self._far(there)
        return near, far, reading

    def _near(self, why_not_far: str) -> tuple[ReadUnit, State, Reading]:
        store = self._repository.store
        state = store.state
        reading = _reading("primary", store, state)
        return self._repository.view_of(state), state, replace(reading, fell_back=why_not_far)

    def _far(self, there: State) -> tuple[ReadUnit, State, Reading]:
        here, primary = self._pair.primary.state, self._pair.primary
        behind = max(0, here.position.lsn - there.position.lsn)
        age = _age(primary, there.position.lsn + 1, self._clock.monotonic()) if behind else 0.0
        reading = _reading("replica", self._pair.replica, there)
        return self._snapshots.of(there), there, replace(reading, commits_behind=behind, age_seconds=age)

    def _far_state(self, policy: Policy, wanted: Token | None) -> tuple[State | None, str, float]:
        """The replica's state once it has reached *wanted*; None when it is the primary's turn, and why if that was not asked for.
        Then the seconds that were waited."""
        if policy is Policy.PRIMARY:
            return None, "", 0.0
        state = self._pair.replica.state
        if not has_reached(self._pair.primary.state, _token(state)):
            return None, NOT_JOINED, 0.0
        if wanted is None or has_reached(state, wanted):
            return state, "", 0.0
        with self._moved:
            if self._waiting >= self._places:
                return None, TOO_MANY, 0.0
            self._waiting += 1
            try:
                return self._wait_until_reached(wanted)
            finally:
                self._waiting -= 1

    def _wait_until_reached(self, wanted: Token) -> tuple[State | None, str, float]:
        """The lock is held while looking, so that no commit passes unseen between looking and sleeping; sleeping gives it back."""
        began = self._clock.monotonic()
        while True:
            state, waited = self._pair.replica.state, self._clock.monotonic() - began
            if has_reached(state, wanted):
                return state, "", waited
            if waited >= self._seconds_max:
                return None, TOO_LATE, waited
            self._wait(self._seconds_max - waited)

    def _wait_for_commit(self, seconds: float) -> None:
        self._moved.wait(seconds)

    def _wake(self, lsn: int) -> None:
        """One of the sides has moved. On its commit's thread, so it takes a lock only when somebody waits."""
        if self._waiting:
            with self._moved:
                self._moved.notify_all()


def _reading(side: str, store: Store, state: State) -> Reading:
    """With nothing said yet about how it came to be."""
    return Reading(
        side=side,
        file=store.path.name,
        position=Position(*state.position),
        commits_behind=0,
        age_seconds=0.0,
        waited_seconds=0.0,
        fell_back="",
        anomalies=(),
        seen=_token(state),
        wrote=None,
    )


def _age(primary: Store, lsn: int, now: float) -> float | None:
    try:
        return max(0.0, now - primary.committed_monotonic(lsn))
    except IndexError:
        return None  # the journal no longer tells


def _anomalies(state: State, wrote: Token | None, seen: Token | None) -> Sequence[Anomaly]:
    missed = wrote is not None and not has_reached(state, wrote)
    back = seen is not None and not has_reached(state, seen)
    return [anomaly for anomaly, is_so in ((Anomaly.MISSED_WRITE, missed), (Anomaly.WENT_BACK, back)) if is_so]
