"""Replication of the embedded store, as `contract.Replication`: a link, a replicator and the words about them.

All of it may be called from any thread. What is shown is read without a lock, the replica before the primary: so the
primary is never seen behind its replica.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from hashlib import blake2b

import msgspec

from shop import losses
from shop.clock import Clock
from shop.errors import Conflict
from shop.replication import contract, verify
from shop.replication.contract import (
    AtRisk,
    Change,
    Checked,
    CommitOnTheWay,
    CommitState,
    Difference,
    Headroom,
    Lag,
    Mode,
    Outcome,
    Progress,
    Retry,
    Side,
    Status,
    Verdict,
)
from shop.replication.laboratory import NO_APPLY_DELAY, EmbeddedLaboratory
from shop.replication.link import Link
from shop.replication.modes import Far, Gate
from shop.replication.pair import IS_REPLICA, Pair
from shop.replication.replicator import Arrival, Replicator
from shop.replication.replicator import Outcome as StepOutcome
from shop.replication.sabotage import EmbeddedSabotage
from shop.store import Commit, State, Store, StoreError
from shop.store.store import JOURNAL_LIMIT_BYTES
from shop.units import Position

IN_FLIGHT_SHOWN = 50
DIFFERENCES_SCANNED = 1000  # commits on the way that are looked through for records that differ
WAIT_PLACES = 4  # half of the server's threads
UNAVAILABLE = {"apply_delay": NO_APPLY_DELAY}
FOUND_KEPT = 1000  # differences remembered of the last verification


class EmbeddedReplication:
    """See `contract.Replication`; `sync_once` and the two `on_…` are for the schedule."""

    def __init__(
        self,
        pair: Pair,
        *,
        clock: Clock,
        delay_seconds: float,
        currency: str,
        mode: str = Mode.ASYNC,
        wait_places: int = WAIT_PLACES,
        seed: int = 0,
    ) -> None:
        self._pair = pair
        self._clock = clock
        self._currency = currency
        self._link = Link(delay_seconds, seed=seed)
        self._replicator = Replicator(pair, self._link)
        self._listeners: list[Callable[[], None]] = []
        self._ledger = losses.Ledger(pair.replica.position.lsn)
        self._ledger_lock = threading.Lock()  # guards _ledger
        self._found: tuple[verify.Key, ...] = ()  # by the last verification; replaced, never changed
        self._verifications = 0
        self._verifying: Progress | None = None  # replaced, never changed
        self._verifying_lock = threading.Lock()  # held by the one verification that runs
        self._checked: Checked | None = None
        self.gate = Gate(clock, self._far, places=wait_places, mode=Mode(mode))
        self.laboratory = EmbeddedLaboratory(self._replicator, self.gate, clock, currency, self._changed)
        self.sabotage = EmbeddedSabotage(self._replicator)
        for store in (pair.primary, pair.replica):
            store.on_commit(self._moved(store))
        self.on_change(self.gate.wake)

    # ---- for the schedule

    def sync_once(self, now: float) -> StepOutcome:
        """One bounded step; see `Replicator.sync_once`."""
        outcome = self._replicator.sync_once(now)
        if outcome.applied:
            self.gate.wake()  # as it applied them it counted as failing still, if the step before had failed
        return outcome

    @property
    def is_waited_for(self) -> bool:
        """Whether writers are held up until their commits have arrived."""
        return self.gate.mode is not Mode.ASYNC

    def on_commit(self, listener: Callable[[int], None]) -> None:
        """Call *listener* with each new durable LSN of the primary; it holds up the commit, so it must be quick."""

        def of_primary(store: Store) -> Callable[[int], None]:
            return lambda lsn: listener(lsn) if self._pair.primary is store else None

        for store in (self._pair.primary, self._pair.replica):  # either may be the primary tomorrow
            store.on_commit(of_primary(store))

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call *listener* when a knob was turned or the replica replaced: what was due may be another moment now."""
        self._listeners.append(listener)

    # ---- for whoever waits for the far side

    def _moved(self, store: Store) -> Callable[[int], None]:
        """When *store* has new commits. Called on its commit's thread, under its locks: nothing here takes one of them."""
        pair, clock, mark = self._pair, self._clock, self._replicator.history.mark

        def moved(lsn: int) -> None:
            mark(pair, clock.monotonic(), clock.now)
            if pair.replica is store:  # what waits, waits for the far side
                self.gate.wake()

        return moved

    def _far(self) -> Far:
        there, here = self._pair.replica.state, self._pair.primary.state
        reached = Position(*there.position)
        return Far(reached, reached, self._why_down(), self._oldest_committed(here, there))

    def _why_down(self) -> str:
        """Why nothing crosses, as the rest of a sentence; "" while something may."""
        if self._replicator.trouble:
            return "the two sides are no longer joined"
        if self._link.is_paused:
            return "the link to it is paused"
        if self._link.is_out(self._clock.monotonic()):
            return "the cable to it is broken"
        return "it does not answer" if self._replicator.failure else ""

    # ---- for failover

    def hold(self) -> AbstractContextManager[None]:
        """A block in which no step runs and the replica stands still."""
        return self._replicator.hold()

    def roles_changed(self) -> None:
        """The sides of the pair have been swapped; inside of `hold`."""
        self._replicator.begin_anew()
        with self._ledger_lock:
            self._ledger = losses.Ledger(self._pair.replica.position.lsn)
        self._found = ()
        self._changed()

    def _changed(self) -> None:
        for listener in self._listeners:
            listener()

    # ---- what can be seen

    def status(self) -> Status:
        there, here = self._pair.replica.state, self._pair.primary.state
        now, at = self._clock.monotonic(), self._clock.now()
        lag = self._lag(here, there, now)
        retry = self._retry(now)
        state = self._state(here, there, retry)
        primary = _side("primary", self._pair.primary, here)
        replica = _side("replica", self._pair.replica, there)
        link = self._knobs(now)
        modes = self.gate.status()
        arrivals = self._replicator.recent
        return Status(
            at=_timestamp(at),
            state=state,
            sentence=self._sentence(state, lag, retry),
            primary=primary,
            replica=replica,
            link=link,
            lag=lag,
            at_risk=self._at_risk(here, there),
            in_flight=self._in_flight(here, there, now),
            recent=[self._arrived(arrival, now, at) for arrival in arrivals],
            retry=retry,
            modes=modes,
            diverged_records=len(self._found),
            journal_limit_bytes=JOURNAL_LIMIT_BYTES,
            headroom=_headroom(primary, state),
            unavailable=UNAVAILABLE,
            version=_digest(
                state,
                primary,
                replica,
                msgspec.structs.replace(link, out_for_seconds=0.0),
                retry.attempts,
                retry.error,
                self._verifications,
                modes,
            ),
        )

    def passage(self) -> contract.Passage:
        there, here = self._pair.replica.state, self._pair.primary.state
        state = self._state(here, there, self._retry(self._clock.monotonic()))
        return contract.Passage(state, self._link.knobs.delay_seconds)

    def _knobs(self, now: float) -> contract.Link:
        knobs = self._link.knobs
        return contract.Link(
            delay_seconds=knobs.delay_seconds,
            is_paused=self._link.is_paused,
            jitter_seconds=knobs.jitter_seconds,
            bandwidth=knobs.bandwidth,
            loss_percent=knobs.loss_percent,
            is_out=self._link.is_out(now),
            out_for_seconds=self._link.out_for(now),
        )

    def _state(self, here: State, there: State, retry: Retry) -> contract.State:
        trouble = self._replicator.trouble
        if trouble:
            return trouble.state
        if self._link.is_paused:
            return contract.State.PAUSED
        if self._link.is_out(self._clock.monotonic()):
            return contract.State.OUTAGE
        if retry.attempts:
            return contract.State.FAILING
        return contract.State.IN_SYNC if here.position == there.position else contract.State.BEHIND

    def _sentence(self, state: contract.State, lag: Lag, retry: Retry) -> str:
        trouble = self._replicator.trouble
        if trouble:
            return trouble.sentence
        waiting = f"{lag.commits:,} commit" if lag.commits == 1 else f"{lag.commits:,} commits"
        match state:
            case contract.State.IN_SYNC:
                return "Both sides hold the same data."
            case contract.State.PAUSED:
                return f"The link is paused; {waiting} waiting on the primary. Resume lets them cross."
            case contract.State.OUTAGE:
                return f"The cable is broken; {waiting} waiting on the primary. They leave anew when it is whole again."
            case contract.State.FAILING:
                return (
                    f"The replica could not take the next commit; attempt {retry.attempts} failed: {retry.error.rstrip('.')}."
                    " It is tried again by itself; if the error stays, remove its cause or resync the replica."
                )
            case _:
                return f"{waiting} crossing to the replica."

    def _lag(self, here: State, there: State, now: float) -> Lag:
        committed = self._oldest_committed(here, there)
        due = self._due(there.position.lsn + 1)
        if committed is None or due is None:
            return Lag(commits=max(0, here.position.lsn - there.position.lsn), oldest_seconds=0.0, stalled_seconds=0.0)
        waits_since = max(due, self._replicator.progress_monotonic or 0.0)
        return Lag(
            commits=here.position.lsn - there.position.lsn,
            oldest_seconds=max(0.0, now - committed),
            stalled_seconds=max(0.0, now - waits_since),
        )

    def _due(self, lsn: int) -> float | None:
        try:
            return self._replicator.way(lsn).arrives
        except (IndexError, StoreError):
            return None  # there is none, it has arrived, or the journal no longer tells

    def _oldest_committed(self, here: State, there: State) -> float | None:
        """When the oldest commit that is not applied was made; None when there is none or the journal no longer tells."""
        if here.position.lsn <= there.position.lsn:
            return None
        try:
            return self._pair.primary.committed_monotonic(there.position.lsn + 1)
        except IndexError:
            return None

    def _retry(self, now: float) -> Retry:
        failure = self._replicator.failure
        if failure is None:
            return Retry(attempts=0, error="", next_in_seconds=0.0)
        return Retry(
            attempts=failure.attempts,
            error=failure.error,
            next_in_seconds=max(0.0, failure.retry_monotonic - now),
        )

    def _at_risk(self, here: State, there: State) -> AtRisk:
        with self._ledger_lock:
            self._ledger.drop_through(there.position.lsn)
            for commit in verify.commits_between(self._pair.primary, self._ledger.lsn, here.position.lsn):
                self._ledger.add(commit.lsn, commit.ops)
            totals = self._ledger.totals()._replace(commits=max(0, here.position.lsn - there.position.lsn))
        return AtRisk(
            commits=totals.commits,
            orders=totals.orders,
            order_cents=totals.order_cents,
            carts=totals.carts,
            edits=totals.edits,
            sentence=totals.sentence(self._currency),
        )

    def _in_flight(self, here: State, there: State, now: float) -> Sequence[CommitOnTheWay]:
        count = min(IN_FLIGHT_SHOWN, here.position.lsn - there.position.lsn)
        if count <= 0:
            return []
        commits = self._pair.primary.commits(there.position.lsn, count)
        return [shown for commit in commits if (shown := self._crossing(commit, now)) is not None]

    def _crossing(self, commit: Commit, now: float) -> CommitOnTheWay | None:
        try:
            way = self._replicator.way(commit.lsn)
        except (IndexError, StoreError):
            return None  # it arrived, and the journal was cut, since it was read
        return CommitOnTheWay(
            timeline=commit.timeline,
            lsn=commit.lsn,
            state=CommitState.IN_FLIGHT,
            summary=losses.summary(commit.ops, self._currency),
            changes=_changes(commit),
            committed_at=commit.at,
            due_in_seconds=max(0.0, way.arrives - now),
            progress=0.0 if self._link.is_out(now) else way.progress(now),
        )

    def _arrived(self, arrival: Arrival, now: float, at: datetime) -> CommitOnTheWay:
        commit = arrival.commit
        return CommitOnTheWay(
            timeline=commit.timeline,
            lsn=commit.lsn,
            state=CommitState.APPLIED,
            summary=losses.summary(commit.ops, self._currency),
            changes=_changes(commit),
            committed_at=commit.at,
            due_in_seconds=0.0,
            progress=1.0,
            applied_at=_timestamp(at - timedelta(seconds=now - arrival.applied_monotonic)),
            lateness_seconds=arrival.lateness_seconds,
        )

    def differences(self, limit: int = 50) -> Sequence[Difference]:
        """Those that nothing explains first (found by the last verification, and still there), then those on their way, newest first."""
        there, here = self._pair.replica.state, self._pair.primary.state
        on_the_way = self._keys_on_the_way(here, there)
        keys = [(key, False) for key in self._found if key not in on_the_way]
        keys += [(key, True) for key in reversed(on_the_way)]
        found: list[Difference] = []
        for key, is_explained in keys:
            one = verify.difference(key, here, there, currency=self._currency, is_explained=is_explained)
            if one is not None:
                found.append(one)
            if len(found) >= limit:
                break
        return found

    def _keys_on_the_way(self, here: State, there: State) -> dict[verify.Key, None]:
        """In the order in which they were touched last."""
        first = max(there.position.lsn, here.position.lsn - DIFFERENCES_SCANNED)
        keys: dict[verify.Key, None] = {}
        for commit in verify.commits_between(self._pair.primary, first, here.position.lsn):
            for op in commit.ops:
                keys.pop((op.collection, op.id), None)
                keys[op.collection, op.id] = None
        return keys

    # ---- what can be done

    def verify(self) -> Verdict:
        """One at a time: a second caller waits for the first."""
        with self._verifying_lock:
            try:
                return self._verify()
            finally:
                self._verifying = None

    def verifying(self) -> Progress | None:
        return self._verifying

    def _verify(self) -> Verdict:
        snapshots = verify.take_snapshots(self._replicator)
        found = verify.compare(snapshots, self._reporter(verify.records_in(snapshots)))
        if found.outcome is not Outcome.INCONCLUSIVE:
            self._found = tuple(found.keys[:FOUND_KEPT])
        self._verifications += 1
        if found.outcome is Outcome.IN_SYNC:
            timeline, lsn, _ = snapshots.replica.position
            self._replicator.history.verified(timeline, lsn, self._clock.monotonic())
        differences = [
            verify.difference(key, snapshots.primary, snapshots.replica, currency=self._currency, is_explained=False)
            for key in found.keys[:FOUND_KEPT]
        ]
        verdict = Verdict(
            outcome=found.outcome,
            sentence=found.sentence,
            position=None if found.position is None else Position(*found.position),
            records=found.records,
            differences=[difference for difference in differences if difference is not None],
        )
        self._checked = Checked(verdict=verdict, at=_timestamp(self._clock.now()))
        return verdict

    def _reporter(self, total: int) -> Callable[[int], None]:
        def report(done: int) -> None:
            self._verifying = Progress(done, total)

        report(0)
        return report

    def checked(self) -> Checked | None:
        return self._checked

    def set_delay(self, seconds: float) -> None:
        self._link.set_delay(seconds)
        self._changed()

    def pause(self) -> None:
        self._link.pause()
        self._changed()

    def resume(self) -> None:
        self._link.resume()
        self._replicator.retry_now()
        self._changed()

    def sync_now(self) -> int:
        """Raises `Conflict` with the reason when not everything could be brought across."""
        applied = self._replicator.sync_all(self._clock.monotonic())
        trouble, failure = self._replicator.trouble, self._replicator.failure
        self._changed()
        if trouble:
            raise Conflict(trouble.sentence)
        if failure:
            raise Conflict(f"Not everything arrived: {failure.error}")
        return applied

    def resync(self) -> None:
        """Raises `Conflict` with the reason when the replica could not be written; it is then the old one still."""
        try:
            self._replicator.resync(self._clock.monotonic())
        except (OSError, StoreError) as error:
            raise Conflict(f"The replica could not be replaced: {error}") from error
        with self._ledger_lock:
            self._ledger = losses.Ledger(self._pair.replica.position.lsn)
        self._found = ()
        self._changed()


def _side(role: str, store: Store, state: State) -> Side:
    problem = store.problem
    return Side(
        role=role,
        file=store.path.name,
        position=Position(*state.position),
        counts={name: state.count(name) for name in state.collections()},
        file_bytes=store.file_bytes,
        journal_bytes=store.journal_bytes,
        is_writable=store.is_writable,
        problem="" if problem == IS_REPLICA else problem,
    )


def _headroom(primary: Side, state: contract.State) -> Headroom:
    """The journal is what is kept, and holds everything that the replica lacks until it is cut at its limit."""
    is_lost = state is contract.State.SNAPSHOT_NEEDED
    return Headroom(
        slot="",
        is_active=not is_lost,
        state="lost" if is_lost else "reserved",
        kept_bytes=primary.journal_bytes,
        left_bytes=max(0, JOURNAL_LIMIT_BYTES - primary.journal_bytes),
    )


def _changes(commit: Commit) -> list[Change]:
    return [Change(collection=op.collection, id=op.id, is_delete=op.record is None) for op in commit.ops]


def _timestamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _digest(*parts: object) -> str:
    return blake2b(repr(parts).encode(), digest_size=8).hexdigest()
