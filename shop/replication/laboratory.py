"""The knobs of the link, one commit followed end to end, and both sides as they were: `contract.Laboratory` of the embedded store."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from shop import losses
from shop.clock import Clock
from shop.errors import Conflict
from shop.replication import contract, verify
from shop.replication.contract import Change, CommitState, Difference, Past, PastSide, Step
from shop.replication.history import Journey, Moment
from shop.replication.link import Way
from shop.replication.modes import Gate
from shop.replication.replicator import Replicator
from shop.store import Commit, State, Store, StoreError
from shop.units import Position

NO_APPLY_DELAY = "The embedded replica shows a write in the moment it has arrived: there is nothing between to delay."
COMMITS_SCANNED = 2000  # looked through for the one that touched a record
KEYS_KEPT = 5000
PAST_DIFFERENCES_SHOWN = 20
PAST_MAPS_MAX = 20_000  # records of one collection; two versions of a larger one are not compared


class EmbeddedLaboratory:
    """See `contract.Laboratory`. *changed* tells the schedule that what was due may be another moment now."""

    def __init__(
        self, replicator: Replicator, gate: Gate, clock: Clock, currency: str, changed: Callable[[], None]
    ) -> None:
        self._replicator = replicator
        self._link = replicator.link
        self._gate = gate
        self._clock = clock
        self._currency = currency
        self._changed = changed
        self._touched: OrderedDict[verify.Key, tuple[int, int]] = OrderedDict()
        self._touched_to = Position(0, 0, "")
        self._touched_lock = threading.Lock()  # guards the two above

    # ---- the knobs

    def set_jitter(self, seconds: float) -> None:
        self._link.set_jitter(seconds)
        self._changed()

    def set_bandwidth(self, bytes_a_second: float) -> None:
        self._link.set_bandwidth(bytes_a_second)
        self._changed()

    def set_loss(self, percent: float) -> None:
        self._link.set_loss(percent)
        self._changed()

    def cut(self, seconds: float) -> None:
        self._link.cut(seconds, self._clock.monotonic())
        self._changed()

    def mend(self) -> None:
        self._link.mend(self._clock.monotonic())
        self._changed()

    def set_apply_delay(self, seconds: float) -> None:
        raise Conflict(NO_APPLY_DELAY)

    def set_mode(self, mode: str) -> None:
        self._gate.set_mode(mode)

    def set_timeout(self, seconds: float) -> None:
        self._gate.set_timeout(seconds)

    def take_notice(self) -> str:
        return self._gate.take_notice()

    # ---- one commit

    def journey(self, timeline: int, lsn: int) -> contract.Journey | None:
        known = self._replicator.history.journey(timeline, lsn)
        commit = self._commit(timeline, lsn)
        way = known.way if known is not None else self._way_ahead(timeline, lsn)
        if commit is None and way is None:
            return None
        steps = self._steps(commit, way, known, self._is_across(timeline, lsn), timeline, lsn)
        return contract.Journey(
            timeline=timeline,
            lsn=lsn,
            state=_state(steps),
            summary=losses.summary(commit.ops, self._currency) if commit else "",
            changes=[Change(op.collection, op.id, op.record is None) for op in commit.ops] if commit else [],
            tries=way.tries if way is not None else 1,
            size_bytes=self._size(lsn) if commit else None,
            steps=steps,
            checksum=commit.checksum if commit else "",
        )

    def _steps(
        self,
        commit: Commit | None,
        way: Way | None,
        known: Journey | None,
        is_across: bool,
        timeline: int,
        lsn: int,
    ) -> Sequence[Step]:
        history, now = self._replicator.history, self._clock.monotonic()
        committed = way.committed if way is not None else None
        arrived = known.arrived_monotonic if known is not None else None
        expected = way.arrives if way is not None and not is_across else arrived
        applied = history.applied_monotonic(timeline, lsn) if known is not None else None
        verified = history.verified_monotonic(timeline, lsn) if is_across else None
        left = min(way.left, arrived) if way is not None and arrived is not None else way.left if way else None

        def step(name: str, moment: float | None, is_done: bool) -> Step:
            after = moment - committed if moment is not None and committed is not None else None
            return Step(name=name, at=self._timestamp(moment), after_seconds=after, is_done=is_done)

        first = step("committed", committed, True)
        if commit is not None:
            first = Step(name="committed", at=commit.at, after_seconds=0.0, is_done=True)
        return [
            first,
            step("left", left, is_across or (left is not None and left <= now and not self._link.is_out(now))),
            step("arrived", expected, is_across),
            step("applied", applied if is_across else None, is_across),
            step("verified", verified, verified is not None),
        ]

    def _is_across(self, timeline: int, lsn: int) -> bool:
        there = self._replicator.pair.replica
        return lsn <= there.position.lsn and there.timeline_of(lsn) == timeline

    def _way_ahead(self, timeline: int, lsn: int) -> Way | None:
        primary, there = self._replicator.pair.primary, self._replicator.pair.replica.position
        if not there.lsn < lsn <= primary.position.lsn or primary.timeline_of(lsn) != timeline:
            return None
        try:
            return self._replicator.way(lsn)
        except (IndexError, StoreError):
            return None

    def _commit(self, timeline: int, lsn: int) -> Commit | None:
        """From either journal; None when both have forgotten it."""
        if lsn < 1:
            return None
        for store in (self._replicator.pair.primary, self._replicator.pair.replica):
            if lsn <= store.position.lsn:
                found = [one for one in store.commits(lsn - 1, 1) if (one.timeline, one.lsn) == (timeline, lsn)]
                if found:
                    return found[0]
        return None

    def _size(self, lsn: int) -> int | None:
        try:
            return len(self._replicator.pair.primary.lines(lsn - 1, max_bytes=1)) or None
        except StoreError:
            return None

    def commit_of(self, collection: str, id: str) -> tuple[int, int] | None:
        primary = self._replicator.pair.primary
        with self._touched_lock:
            self._look_on(primary)
            return self._touched.get((collection, id))

    def _look_on(self, primary: Store) -> None:
        head = Position(*primary.position)
        if self._touched_to.timeline != head.timeline or self._touched_to.lsn > head.lsn:
            self._touched.clear()
            self._touched_to = Position(head.timeline, 0, "")
        first = max(self._touched_to.lsn, head.lsn - COMMITS_SCANNED, primary.oldest_lsn - 1)
        for commit in verify.commits_between(primary, first, head.lsn):
            for op in commit.ops:
                self._touched[op.collection, op.id] = (commit.timeline, commit.lsn)
                self._touched.move_to_end((op.collection, op.id))
        while len(self._touched) > KEYS_KEPT:
            self._touched.popitem(last=False)
        self._touched_to = head

    # ---- as it was

    def past(self, number: int | None = None) -> Past | None:
        moments = self._replicator.history.moments()
        if not moments:
            return None
        first, last = moments[0].number, moments[-1].number
        moment = moments[-1] if number is None else moments[min(max(number, first), last) - first]
        found, hidden = self._differences_then(moment)
        return Past(
            number=moment.number,
            first=first,
            last=last,
            at=_iso(moment.at),
            primary=_side_then(moment.files[0], moment.primary),
            replica=_side_then(moment.files[1], moment.replica),
            differences=found,
            differences_not_shown=hidden,
        )

    def _differences_then(self, moment: Moment) -> tuple[Sequence[Difference], int]:
        here, there = moment.primary, moment.replica
        keys = _keys_that_differ(here, there)
        found = [
            difference
            for key in keys[:PAST_DIFFERENCES_SHOWN]
            if (difference := verify.difference(key, here, there, currency=self._currency, is_explained=True))
        ]
        return found, len(keys) - len(found)

    def _timestamp(self, monotonic: float | None) -> str | None:
        if monotonic is None:
            return None
        moment = self._clock.now() - timedelta(seconds=self._clock.monotonic() - monotonic)
        return _iso(moment)


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _state(steps: Sequence[Step]) -> CommitState:
    done = {step.name for step in steps if step.is_done}
    for name, state in (
        ("verified", CommitState.VERIFIED),
        ("applied", CommitState.APPLIED),
        ("arrived", CommitState.ARRIVED),
    ):
        if name in done:
            return state
    return CommitState.IN_FLIGHT


def _side_then(file: str, state: State) -> PastSide:
    counts = {name: state.count(name) for name in state.collections()}
    return PastSide(file=file, position=Position(*state.position), counts=counts)


def _keys_that_differ(here: State, there: State) -> list[verify.Key]:
    """Records of both states that are not the same; a collection too large to be walked for a page is left out."""
    keys: list[verify.Key] = []
    for name in here.collections():
        ours, theirs = here.map(name), there.map(name)
        if ours is theirs or len(ours) > PAST_MAPS_MAX:
            continue
        keys += [(name, id) for id, record in ours.items() if theirs.get(id) is not record and theirs.get(id) != record]
        keys += [(name, id) for id in theirs if id not in ours]
    return keys
