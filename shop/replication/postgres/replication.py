"""Streaming replication as `contract.Replication`: what the watch saw, in the words of the shop, and the knobs."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from hashlib import blake2b
from uuid import UUID

from msgspec.structs import replace

from shop import losses
from shop.clock import Clock
from shop.errors import Conflict
from shop.losses import Op
from shop.replication import contract
from shop.replication.contract import (
    AtRisk,
    Change,
    Checked,
    CommitOnTheWay,
    CommitState,
    Difference,
    Headroom,
    Lag,
    Outcome,
    Passage,
    Progress,
    Retry,
    Side,
    Stage,
    State,
    Status,
    Verdict,
)
from shop.replication.postgres import verify
from shop.replication.postgres.knobs import NO_HISTORY, Knobs
from shop.replication.postgres.look import Row
from shop.replication.postgres.modes import PostgresGate
from shop.replication.postgres.records import Key
from shop.replication.postgres.servers import Server, Unreachable
from shop.replication.postgres.shared import SharedFile
from shop.replication.postgres.watch import Crossing, Landed, Picture, Watch, age_seconds
from shop.units import Position

IN_FLIGHT_SHOWN = 50
RECENT_SHOWN = 20
AT_RISK_READ = 2000  # commits whose operations are read to say what they amount to
DIFFERENCES_SCANNED = 1000
SYNC_NOW_SECONDS_MAX = 30.0
FOUND_KEPT = 1000


class PostgresReplication:
    """See `contract.Replication`."""

    def __init__(
        self,
        watch: Watch,
        knobs: Knobs,
        gate: PostgresGate,
        checked: SharedFile[Checked],
        *,
        clock: Clock,
        currency: str,
    ) -> None:
        self._watch = watch
        self._knobs = knobs
        self._clock = clock
        self._currency = currency
        self._operations = watch.operations
        self._checked = checked
        self.gate = gate
        self.erasing: Callable[[], AbstractContextManager[None]] = nullcontext  # around what writes over the standby

    # ---- what can be seen

    def passage(self) -> Passage:
        picture = self._watch.picture()
        link = self._knobs.link(picture.far)
        return Passage(self._state(picture, link), link.delay_seconds)

    def status(self) -> Status:
        picture = self._watch.picture()
        link = self._knobs.link(picture.far)
        state = self._state(picture, link)
        lag = self._lag(picture, state)
        primary, replica = self._primary(picture), self._replica(picture)
        modes = self.gate.status()
        crossing = picture.missing[:IN_FLIGHT_SHOWN]
        landed = picture.recent[:RECENT_SHOWN]
        ops = self._known_operations(picture, [*(one.row for one in crossing), *(one.row for one in landed)])
        now = picture.near.at if picture.near else self._clock.now()
        found = len(self._keys_found())
        unavailable = {**self._knobs.unavailable(), "history": NO_HISTORY}
        retry = Retry(attempts=0, error="", next_in_seconds=0.0)
        if state is State.FAILING:
            why = picture.far_problem or picture.near_problem or "nothing streams to it"
            retry = Retry(attempts=1, error=why, next_in_seconds=1.0)
        return Status(
            at=_timestamp(now),
            state=state,
            sentence=self._sentence(state, picture, lag),
            primary=primary,
            replica=replica,
            link=link,
            lag=lag,
            at_risk=self._at_risk(picture),
            in_flight=[self._crossing(one, ops.get(one.row.id, ()), link, now) for one in crossing],
            recent=[self._landed(one, ops.get(one.row.id, ()), now) for one in landed],
            retry=retry,
            modes=modes,
            diverged_records=found,
            stages=_stages(picture, self._clock),
            headroom=_headroom(picture),
            unavailable=unavailable,
            is_wal=True,
            version=_digest(
                state,
                primary,
                replica,
                replace(link, out_for_seconds=0.0),
                modes,
                [one.row.id for one in picture.missing],
                [one.has_arrived for one in picture.missing],
                found,
                sorted(unavailable),
            ),
        )

    def _state(self, picture: Picture, link: contract.Link) -> State:
        if _has_left(picture):
            return State.REFUSED
        slot = picture.near.slot if picture.near else None
        if slot is not None and slot.state == "lost":
            return State.SNAPSHOT_NEEDED
        if picture.far is None:
            return State.FAILING
        if picture.near is not None and picture.far.replayed > picture.near.position:
            return State.REFUSED
        if link.is_paused:
            return State.PAUSED
        if link.is_out:
            return State.OUTAGE
        if (
            picture.near is None
            or picture.near.sender is None
            or picture.near.sender.state not in ("streaming", "catchup")
        ):
            return State.FAILING
        return State.BEHIND if picture.missing else State.IN_SYNC

    def _sentence(self, state: State, picture: Picture, lag: Lag) -> str:
        waiting = f"{lag.commits:,} commit" if lag.commits == 1 else f"{lag.commits:,} commits"
        primary, standby = picture.primary.name, picture.standby.name
        if _has_left(picture):
            return f"{picture.near_problem} {_follows_nobody(standby)}".strip()
        if picture.near is None:
            return f"{picture.near_problem} Promote {standby} to go on from there."
        match state:
            case State.IN_SYNC:
                return "Both sides hold the same data."
            case State.PAUSED:
                return (
                    f"Replay is paused on {standby}; {waiting} not shown there. What has arrived survives the primary."
                )
            case State.OUTAGE:
                return f"The cable is broken; {waiting} waiting on the primary. They leave anew when it is whole again."
            case State.FAILING if picture.far is None:
                return f"{picture.far_problem} It catches up by itself when it is back."
            case State.FAILING:
                return f"Nothing streams from {primary} to {standby}; it connects again by itself."
            case State.SNAPSHOT_NEEDED:
                return f"The log that {standby} needs is no longer kept: rebuild it from a fresh copy."
            case State.REFUSED:
                return (
                    f"{standby} has gone further than {primary}: their histories differ. Rebuild the one that is wrong."
                )
            case _:
                return f"{waiting} crossing to the replica."

    def _lag(self, picture: Picture, state: State) -> Lag:
        if not picture.missing:
            return Lag(commits=0, oldest_seconds=0.0, stalled_seconds=0.0)
        oldest = age_seconds(picture.missing[0].row, picture.near, self._clock)
        normal = self._knobs.normal_seconds(picture.far)
        last = next((one.applied_monotonic for one in picture.recent if one.applied_monotonic is not None), None)
        since_progress = oldest if last is None else min(oldest, picture.monotonic - last)
        return Lag(
            commits=len(picture.missing),
            oldest_seconds=oldest,
            stalled_seconds=max(0.0, min(oldest - normal, since_progress)),
        )

    def _primary(self, picture: Picture) -> Side:
        near = picture.near or picture.last_near
        problem = "" if picture.near else picture.near_problem
        timeline = near.timeline if near else self._watch.pair.roles.timeline
        return _side("primary", picture.primary, Position(timeline, near.position if near else 0, ""), picture, problem)

    def _replica(self, picture: Picture) -> Side:
        far = picture.far or picture.last_far
        near = picture.near or picture.last_near
        timeline = near.timeline if near else self._watch.pair.roles.timeline
        position = Position(timeline, far.replayed if far else 0, "")
        problem = "" if picture.far else picture.far_problem
        if _has_left(picture):
            problem = _follows_nobody(picture.standby.name)
        side = _side("replica", picture.standby, position, picture, problem)
        return replace(side, is_writable=False, is_reachable=picture.far is not None)

    def _at_risk(self, picture: Picture) -> AtRisk:
        rows = picture.at_risk
        ops = self._known_operations(picture, rows[:AT_RISK_READ])
        ledger = losses.Ledger(0)
        for number, row in enumerate(rows, start=1):
            ledger.add(number, ops.get(row.id, ()))
        totals = ledger.totals()
        return AtRisk(
            commits=totals.commits,
            orders=totals.orders,
            order_cents=totals.order_cents,
            carts=totals.carts,
            edits=totals.edits,
            sentence=totals.sentence(self._currency),
        )

    def _known_operations(self, picture: Picture, rows: Sequence[Row]) -> Mapping[UUID, tuple[Op, ...]]:
        """From whichever side answers; a commit of which nothing is known any more is left out."""
        try:
            return self._operations.of(picture.primary, [row.id for row in rows])
        except Unreachable:
            pass
        try:
            return self._operations.of(picture.standby, [row.id for row in rows])
        except Unreachable:
            return self._operations.known([row.id for row in rows])

    def _crossing(self, one: Crossing, ops: Sequence[Op], link: contract.Link, now: datetime) -> CommitOnTheWay:
        age = max(0.0, (now - one.row.at).total_seconds())
        way = link.delay_seconds + link.jitter_seconds / 2
        due = max(way, link.apply_delay_seconds or 0.0) if one.has_arrived else way
        return CommitOnTheWay(
            timeline=one.row.timeline,
            lsn=one.row.lsn,
            state=CommitState.ARRIVED if one.has_arrived else CommitState.IN_FLIGHT,
            summary=losses.summary(ops, self._currency) if ops else "",
            changes=_changes(ops),
            committed_at=_timestamp(one.row.at),
            due_in_seconds=max(0.0, due - age),
            progress=0.0 if link.is_out else min(1.0, age / way) if way else 1.0,
        )

    def _landed(self, one: Landed, ops: Sequence[Op], now: datetime) -> CommitOnTheWay:
        applied, lateness = None, None
        if one.applied_monotonic is not None:
            moment = now - timedelta(seconds=self._clock.monotonic() - one.applied_monotonic)
            applied = _timestamp(max(moment, one.row.at))
            if one.is_exact:
                lateness = (moment - one.row.at).total_seconds() - one.normal_seconds
        return CommitOnTheWay(
            timeline=one.row.timeline,
            lsn=one.row.lsn,
            state=CommitState.APPLIED,
            summary=losses.summary(ops, self._currency) if ops else "",
            changes=_changes(ops),
            committed_at=_timestamp(one.row.at),
            due_in_seconds=0.0,
            progress=1.0,
            applied_at=applied,
            lateness_seconds=lateness,
        )

    # ---- comparing

    def differences(self, limit: int = 50) -> Sequence[Difference]:
        """Those that nothing explains first (found by the last verification, and still there), then those on their way, newest first."""
        picture = self._watch.picture()
        if picture.near is None or picture.far is None:
            return []
        rows = [one.row for one in picture.missing[-DIFFERENCES_SCANNED:]]
        ops = self._known_operations(picture, rows)
        on_the_way: dict[Key, None] = {}
        for row in rows:
            for collection, id, _ in ops.get(row.id, ()):
                on_the_way.pop((collection, id), None)
                on_the_way[collection, id] = None
        wanted = [(key, False) for key in self._keys_found() if key not in on_the_way]
        wanted += [(key, True) for key in reversed(on_the_way)]
        try:
            return verify.differences(picture.primary, picture.standby, wanted, limit=limit, currency=self._currency)
        except Unreachable:
            return []

    def _keys_found(self) -> Sequence[Key]:
        checked = self._checked.read()
        return checked.found if checked.timeline == self._watch.pair.roles.timeline else ()

    def verify(self) -> Verdict:
        """Wait for nobody, stop nothing; what is on its way is laid over the standby's snapshot. See `verify.py`."""
        try:
            verdict = verify.compare(self._watch.pair, currency=self._currency, clock=self._clock, keep=FOUND_KEPT)
        except Unreachable as error:
            verdict = verify.inconclusive(f"The sides cannot be compared at one position. {error.message}")
        self._remember(verdict)
        return verdict

    def _remember(self, verdict: Verdict) -> None:
        found: Sequence[Key] = [(one.collection, one.id) for one in verdict.differences]
        if verdict.outcome is Outcome.INCONCLUSIVE:
            found = self._keys_found()
        at, timeline = _timestamp(self._clock.now()), self._watch.pair.roles.timeline
        self._checked.change(lambda _: Checked(verdict=verdict, at=at, timeline=timeline, found=found))

    def verifying(self) -> Progress | None:
        return None  # the servers compare: nobody counts what they have done

    def checked(self) -> Checked | None:
        checked = self._checked.read()
        return checked if checked.verdict is not None else None

    # ---- what can be done

    def set_delay(self, seconds: float) -> None:
        self._knobs.set_delay(seconds)

    def pause(self) -> None:
        self._knobs.pause(self._watch.pair.standby)
        self._watch.picture(fresh=True)

    def resume(self) -> None:
        self._knobs.resume(self._watch.pair.standby)
        self._watch.picture(fresh=True)

    def sync_now(self) -> int:
        """Raises `Conflict` with the reason when not everything could be brought across."""
        picture = self._watch.picture(fresh=True)
        if picture.near is None or picture.far is None:
            raise Conflict(picture.near_problem or picture.far_problem)
        waiting = {one.row.id for one in picture.missing}
        with self._knobs.lifted(picture.standby, picture.far):
            deadline = self._clock.monotonic() + SYNC_NOW_SECONDS_MAX
            while True:
                now = self._watch.picture(fresh=True)
                left = waiting & {one.row.id for one in now.missing}
                if not left:
                    break
                if self._clock.monotonic() > deadline:
                    raise Conflict(f"Not everything arrived: {len(left):,} writes are still on their way.")
                self._knobs.sleep(0.02)
        self._watch.touched()  # a pause is in force again
        return len(waiting)

    def resync(self) -> None:
        """A new base backup; it needs the one who runs the servers. Raises `Conflict`."""
        with self.erasing():
            self._knobs.rebuild(self._watch.pair)
        self._watch.picture(fresh=True)
        self._checked.change(lambda _: Checked())


# ---- words and figures


def _has_left(picture: Picture) -> bool:
    """Where the standby should be, a server answers that takes writes by itself: an old primary that somebody has started again."""
    return picture.far is not None and not picture.far.is_standby


def _follows_nobody(name: str) -> str:
    return (
        f"{name} was the primary before and follows nobody: the shop writes nothing to it. What only it has, and how it comes back,"
        " is told under Left behind."
    )


def _side(role: str, server: Server, position: Position, picture: Picture, problem: str) -> Side:
    sizes = picture.sizes.get(server.name)
    return Side(
        role=role,
        file=server.name,
        position=position,
        counts=dict(sizes.counts) if sizes else {},
        file_bytes=sizes.database_bytes if sizes else 0,
        journal_bytes=sizes.wal_bytes if sizes else 0,
        is_writable=not problem,
        problem=problem,
        file_word="Database",
        journal_word="WAL",
        is_reachable=not problem,
    )


def _stages(picture: Picture, clock: Clock) -> Sequence[Stage]:
    """Positions first: what is equal is zero seconds behind, whatever PostgreSQL measured last.

    Its own replay lag is not shown: under an apply delay it tells of the last commit that was applied, and when idle of a past one.
    """
    near, far = picture.near or picture.last_near, picture.far or picture.last_far
    if near is None or far is None:
        return ()
    sent, confirmed = (near.sender.sent, near.sender.flush_seconds) if near.sender else (None, None)
    not_sent = [one.row for one in picture.missing if sent is not None and one.row.lsn >= sent]
    stages = [
        ("sent", sent, not_sent),
        ("flushed", far.flushed, picture.at_risk),
        ("replayed", far.replayed, [one.row for one in picture.missing]),
    ]
    return [
        Stage(
            name=name,
            lsn=lsn,
            behind_bytes=None if lsn is None else max(0, near.position - lsn),
            seconds=None if lsn is None else age_seconds(late[0], picture.near, clock) if late else 0.0,
            confirmed_seconds=confirmed if name == "flushed" and near.position != lsn else None,
        )
        for name, lsn, late in stages
    ]


def _headroom(picture: Picture) -> Headroom | None:
    near = picture.near or picture.last_near
    slot = near.slot if near else None
    if slot is None:
        return None
    return Headroom(
        slot=slot.name,
        is_active=slot.is_active,
        state=slot.state,
        kept_bytes=max(0, slot.kept or 0),
        left_bytes=slot.left,
    )


def _changes(ops: Sequence[Op]) -> list[Change]:
    return [Change(collection=collection, id=id, is_delete=record is None) for collection, id, record in ops]


def _timestamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _digest(*parts: object) -> str:
    return blake2b(repr(parts).encode(), digest_size=8).hexdigest()
