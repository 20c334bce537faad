"""The knobs of the link, the standby and the writers, and one commit followed end to end: `contract.Laboratory`."""

from collections.abc import Sequence, Set
from contextlib import suppress
from datetime import datetime, timedelta

from shop import losses
from shop.clock import Clock
from shop.errors import Conflict
from shop.losses import Op
from shop.replication.contract import Change, Checked, CommitState, Journey, Outcome, Past, Step
from shop.replication.postgres import modes
from shop.replication.postgres.knobs import NO_HISTORY, Knobs
from shop.replication.postgres.look import Row
from shop.replication.postgres.modes import ModeState, PostgresGate, Watcher
from shop.replication.postgres.records import decode
from shop.replication.postgres.servers import Rows, Unreachable
from shop.replication.postgres.shared import SharedFile
from shop.replication.postgres.watch import Picture, Watch

_COMMIT = "SELECT id, timeline, lsn, at, operations FROM commits WHERE timeline = %s AND lsn = %s ORDER BY id LIMIT 1"


class PostgresLaboratory:
    """See `contract.Laboratory`."""

    def __init__(
        self,
        watch: Watch,
        knobs: Knobs,
        gate: PostgresGate,
        file: SharedFile[ModeState],
        watcher: Watcher,
        checked: SharedFile[Checked],
        *,
        clock: Clock,
        currency: str,
    ) -> None:
        self._watch = watch
        self._knobs = knobs
        self._gate = gate
        self._file = file
        self._watcher = watcher
        self._checked = checked
        self._clock = clock
        self._currency = currency

    # ---- the knobs

    def set_jitter(self, seconds: float) -> None:
        self._knobs.set_jitter(seconds)

    def set_bandwidth(self, bytes_a_second: float) -> None:
        self._knobs.set_bandwidth(bytes_a_second)

    def set_loss(self, percent: float) -> None:
        self._knobs.set_loss(percent)

    def cut(self, seconds: float) -> None:
        self._knobs.cut(seconds)
        self._look_at_writers()

    def mend(self) -> None:
        self._knobs.mend()

    def set_apply_delay(self, seconds: float) -> None:
        self._knobs.set_apply_delay(self._watch.pair.standby, seconds)
        self._watch.picture(fresh=True)

    def set_mode(self, mode: str) -> None:
        modes.set_mode(self._file, mode)
        self._look_at_writers()

    def _look_at_writers(self) -> None:
        """Now, and not when the leader comes to it: the next write is to find the mode in force."""
        with suppress(Unreachable):  # then nobody writes either
            self._watcher.look()

    def set_timeout(self, seconds: float) -> None:
        modes.set_timeout(self._file, seconds)

    def take_notice(self) -> str:
        return self._gate.take_notice()

    # ---- one commit

    def journey(self, timeline: int, lsn: int) -> Journey | None:
        """Both servers are asked, the primary first; what the standby alone has waits at its COMMIT on the primary."""
        found = self._find(timeline, lsn)
        if found is None:
            return None
        row, ops = found
        picture = self._watch.picture()
        steps = self._steps(row, picture)
        done = {step.name for step in steps if step.is_done}
        return Journey(
            timeline=timeline,
            lsn=lsn,
            state=_state_of(done),
            summary=losses.summary(ops, self._currency),
            changes=[Change(collection=collection, id=id, is_delete=record is None) for collection, id, record in ops],
            tries=0,
            size_bytes=None,
            steps=steps,
            is_wal=True,
        )

    def _find(self, timeline: int, lsn: int) -> tuple[Row, Sequence[Op]] | None:
        for server in (self._watch.pair.primary, self._watch.pair.standby):
            try:
                rows: Rows = server.ask(_COMMIT, (timeline, lsn))
            except Unreachable:
                continue
            if rows:
                id, its_timeline, its_lsn, at, operations = rows[0]
                return Row(id, its_timeline, its_lsn, at), decode(operations)
        return None

    def _steps(self, row: Row, picture: Picture) -> Sequence[Step]:
        crossing = next((one for one in picture.missing if one.row.id == row.id), None)
        link = self._knobs.link(picture.far)
        way, hold = link.delay_seconds, link.apply_delay_seconds or 0.0
        sent = picture.near.sender.sent if picture.near and picture.near.sender else None
        has_left = crossing is None or crossing.has_arrived or (sent is not None and row.lsn < sent)
        has_arrived = crossing is None or crossing.has_arrived
        landed = next((one for one in picture.recent if one.row.id == row.id), None)
        arrived = crossing.arrived_monotonic if crossing is not None else landed.arrived_monotonic if landed else None
        applied = landed.applied_monotonic if landed is not None else None
        verified = self._verified(row) if crossing is None else None
        return [
            Step(name="committed", at=_timestamp(row.at), after_seconds=0.0, is_done=True),
            Step(name="left", at=None, after_seconds=None, is_done=has_left),
            _step("arrived", row, self._after(row, arrived, picture) if has_arrived else way, has_arrived),
            _step(
                "applied",
                row,
                self._after(row, applied, picture) if crossing is None else max(way, hold),
                crossing is None,
            ),
            Step(name="verified", at=verified, after_seconds=None, is_done=verified is not None),
        ]

    def _after(self, row: Row, moment: float | None, picture: Picture) -> float | None:
        """Seconds from the commit to a moment of this process's clock, by the primary's."""
        if moment is None:
            return None
        now = picture.near.at if picture.near else self._clock.now()
        return max(0.0, (now - timedelta(seconds=self._clock.monotonic() - moment) - row.at).total_seconds())

    def _verified(self, row: Row) -> str | None:
        """When both sides were found equal with this commit on them, if the last verification found that."""
        checked = self._checked.read()
        verdict = checked.verdict
        if verdict is None or verdict.position is None or verdict.outcome is not Outcome.IN_SYNC:
            return None
        is_in = (row.timeline, row.lsn) < (verdict.position.timeline, verdict.position.lsn)
        return checked.at if is_in else None

    def commit_of(self, collection: str, id: str) -> tuple[int, int] | None:
        """Looked for among the last commits; the table is no index of records."""
        picture = self._watch.picture()
        for row in [*(one.row for one in reversed(picture.missing)), *(one.row for one in picture.recent)]:
            ops = self._watch.operations.known([row.id]).get(row.id, ())
            if any((collection, id) == (its_collection, its_id) for its_collection, its_id, _ in ops):
                return row.timeline, row.lsn
        return None

    def past(self, number: int | None = None) -> Past | None:
        raise Conflict(NO_HISTORY)


def _state_of(done: Set[str]) -> CommitState:
    states = (("verified", CommitState.VERIFIED), ("applied", CommitState.APPLIED), ("arrived", CommitState.ARRIVED))
    return next((state for name, state in states if name in done), CommitState.IN_FLIGHT)


def _step(name: str, row: Row, after: float | None, is_done: bool) -> Step:
    at = None if after is None else _timestamp(row.at + timedelta(seconds=after))
    return Step(name=name, at=at, after_seconds=after, is_done=is_done)


def _timestamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
