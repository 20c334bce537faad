"""Changing which server is primary, and finding out what the old one had that the new one lacks.

`cluster.json` is the only commit point: from the moment it names the other server on a higher timeline, no worker writes to the old one,
whatever that one believes. What follows stands in `failover.json` and is done again, by whoever leads, until it is complete:

1. the old primary is stopped, where somebody runs the servers;
2. the standby is promoted; the log keeps a place for the one that will follow it; a checkpoint makes the new timeline known to a rewind;
3. the old primary is started alone, and its commits are compared with the new one's, as sets of ids; what only it has goes to `lost/`;
4. it rejoins.

Should the standby go away before 2, the old primary takes writes again, if it is certain that nobody wrote on the timeline that was meant
(`retreat.py`). Else somebody has to decide.

Where nobody runs the servers for us, 3 and 4 wait until the old primary can be asked; the invoice is "not yet known" until then.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import structlog
from msgspec.structs import replace

from shop.clock import Clock
from shop.errors import Conflict
from shop.replication import losing
from shop.replication.contract import Invoice, Mode, Promotion, Unsettled
from shop.replication.losing import Left, LostFolder
from shop.replication.postgres import pruning
from shop.replication.postgres.changing import (
    ROLES_FILE_NAME,
    FailoverState,
    MovableRoles,
    Pending,
    failover_file,
    remedy,
    slot_of,
)
from shop.replication.postgres.knobs import SIDES, Operator
from shop.replication.postgres.modes import ModeState
from shop.replication.postgres.pair import ServerPair
from shop.replication.postgres.records import decode
from shop.replication.postgres.retreat import OWN_TIMELINE, Retreat
from shop.replication.postgres.servers import Server, Unreachable, lsn_text
from shop.replication.postgres.shared import SharedFile, held
from shop.replication.postgres.watch import Watch
from shop.replication.review import Review
from shop.repository.contract import Repository
from shop.repository.postgres.connection import Connection
from shop.store import Commit
from shop.store.state import Op
from shop.units import Position

SWITCHING = "the shop is moving to its other side"
SWITCHOVER_SECONDS_MAX = 20.0
WRITERS_SECONDS_MAX = 10.0
PROMOTE_SECONDS_MAX = 60
LOCK_SECONDS_MAX = 2.0  # who looks whether there is something to complete is done sooner
SAME_SECONDS_MAX = 10.0  # who asks for what is being done already waits so long until it is known what was lost
ACKNOWLEDGED_MAX = 200
NOT_YET_KNOWN = "not yet known"
NO_FAR_SIDE = "it does not follow the new primary yet"
_WRITERS = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
   AND (backend_xid IS NOT NULL OR state LIKE 'idle in transaction%%')
"""
_BEGUN = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND backend_type = 'client backend' AND xact_start < %s
"""
# Of fewer rows none was ever pruned: then what is older than all that is here was lost as well.
_OLDEST = "SELECT CASE WHEN count(*) < %(kept)s THEN 0 ELSE min(lsn) END FROM commits"
_ROWS = "SELECT id, timeline, lsn, at, operations FROM commits WHERE id = ANY(%s)"

_log = structlog.get_logger("failover")


class _RolesMove(Conflict):
    """Refused because the roles have changed, or are changing."""


class PostgresFailover(Review):
    """See `contract.Failover`. One change of roles at a time, among all workers."""

    def __init__(
        self,
        instance: Path,
        pair: ServerPair,
        roles: MovableRoles,
        watch: Watch,
        operator: Operator,
        repository: Repository,
        modes: SharedFile[ModeState],
        *,
        clock: Clock,
        currency: str,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(LostFolder(instance), repository, clock=clock, currency=currency)
        self._deciding = lambda: held(instance / "review.lock")  # among all workers
        self._pair = pair
        self._roles = roles
        self._watch = watch
        self._operator = operator
        self._modes = modes
        self._file = failover_file(instance)
        self._lock = instance / "failover.lock"
        self._retreat = Retreat(pair, roles, operator, self._file, roles_file=instance / ROLES_FILE_NAME)
        self._wait = wait
        self.is_followed_up: Callable[[], bool] = lambda: False  # whether somebody calls `complete` again and again

    # ---- asked for

    def promote(self, *, by: str, expected_timeline: int | None = None) -> Promotion:
        try:
            with self._changing_roles(expected_timeline):
                self._check_standby()
                return self._change(by, is_planned=False)
        except _RolesMove as refusal:
            return self._same_change(expected_timeline, refusal)

    def switch_over(self, *, by: str, expected_timeline: int | None = None) -> Promotion:
        try:
            with self._changing_roles(expected_timeline):
                self._check_standby()
                if not self._pair.primary.is_up():
                    raise Conflict("A switchover needs a healthy primary; this one does not answer.")
                self._modes.change(lambda now: replace(now, closed=SWITCHING))
                try:
                    self._wait_for_writers()
                    self._wait_until_equal()
                    return self._change(by, is_planned=True)
                finally:
                    self._modes.change(lambda now: replace(now, closed=""))
        except _RolesMove as refusal:
            return self._same_change(expected_timeline, refusal)

    @contextmanager
    def _changing_roles(self, expected_timeline: int | None) -> Iterator[None]:
        try:
            with held(self._lock, seconds=LOCK_SECONDS_MAX):
                pending = self._file.read().pending
                if pending is not None and self._retreat.is_made(pending):
                    raise Conflict(self._retreat.sentence(pending))
                timeline = self._roles.timeline
                if expected_timeline not in (None, timeline):
                    raise _RolesMove(
                        f"The roles have changed since this page was shown: {self._pair.primary.name} is the primary now,"
                        f" on timeline {timeline}."
                    )
                if pending is not None and not self._follows_by_now():
                    why = f" {pending.problem}" if pending.problem else ""
                    raise _RolesMove(
                        f"The last change of roles is not complete: the old primary has not rejoined yet.{why}"
                    )
                yield
        except BlockingIOError:
            raise _RolesMove("The roles are being changed already.") from None

    def _same_change(self, expected_timeline: int | None, refusal: Conflict) -> Promotion:
        """What is asked for is being done already, by another worker or by whoever leads: wait until it is, and tell of that.

        Raises *refusal* when it is something else that is being done, or it does not come to its end.
        """
        pending = now = self._pending_of(expected_timeline)
        if pending is None:
            raise refusal
        deadline = self._clock.monotonic() + SAME_SECONDS_MAX
        while now is not None and not (now.is_told or now.problem) and self._clock.monotonic() < deadline:
            self._wait(0.05)
            now = self._pending_of(expected_timeline)
        if not self._has_taken_over(pending):
            raise refusal
        if now is not None and not now.is_told:
            return self._told(pending, None)
        return self._told(pending, [one for one in self._folder.commits() if one.timeline == pending.timeline])

    def _pending_of(self, timeline: int | None) -> Pending | None:
        pending = self._file.read().pending
        return pending if pending is not None and pending.timeline == timeline else None

    def _has_taken_over(self, pending: Pending) -> bool:
        with suppress(Unreachable):
            return self._roles.primary != pending.side and not _is_in_recovery(self._pair.primary)
        return False

    @contextmanager
    def erasing(self) -> Iterator[None]:
        """Around what writes over the server that is not primary. Raises `Conflict` while it may have what nobody else has."""
        try:
            with held(self._lock, seconds=LOCK_SECONDS_MAX):
                pending = self._file.read().pending
                if pending is not None and not pending.is_told:
                    raise Conflict(
                        f"{self._pair.servers[pending.side].name} was the primary, and what only it has is {NOT_YET_KNOWN}: it is"
                        f" not written over. {pending.problem}".rstrip()
                    )
                yield
        except BlockingIOError:
            raise Conflict("The roles are being changed at this moment.") from None

    def _follows_by_now(self) -> bool:
        """Whether somebody made the old primary follow although it had not been asked."""
        try:
            return _is_in_recovery(self._pair.standby)
        except Unreachable:
            return False

    def _check_standby(self) -> None:
        standby = self._pair.standby
        try:
            [(in_recovery,)] = standby.ask("SELECT pg_is_in_recovery()")
        except Unreachable as error:
            raise Conflict(f"{standby.name} cannot be promoted. {error.message}") from error
        if not in_recovery:
            raise Conflict(f"{standby.name} cannot be promoted: it follows nobody. Rebuild it first.")

    def _wait_for_writers(self) -> None:
        deadline = self._clock.monotonic() + WRITERS_SECONDS_MAX
        while self._pair.primary.ask(_WRITERS)[0][0]:
            if self._clock.monotonic() > deadline:
                raise Conflict("Some writes do not come to an end, so nothing was changed. Try again.")
            self._wait(0.02)

    def _wait_until_equal(self) -> None:
        [(target,)] = self._pair.primary.ask("SELECT (pg_current_wal_lsn() - '0/0')::bigint")
        deadline = self._clock.monotonic() + SWITCHOVER_SECONDS_MAX
        while _replayed(self._pair.standby) < target:
            if self._clock.monotonic() > deadline:
                raise Conflict(
                    f"The replica does not have everything within {SWITCHOVER_SECONDS_MAX:g} s, so nothing was changed and the"
                    " primary takes writes again. Look at the link and at replay, or press Sync now, and try again."
                )
            self._wait(0.05)

    def _change(self, by: str, *, is_planned: bool) -> Promotion:
        side, timeline = self._roles.primary, self._roles.timeline
        since = self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        pending = Pending(side=side, timeline=timeline, since=since, by=by, is_planned=is_planned)
        seen = self._watch.left_behind()
        self._file.change(lambda now: replace(now, pending=pending))
        try:
            self._roles.plan(primary=1 - side, timeline=timeline + 1)  # the one commit point
            if (self._roles.primary, self._roles.timeline) != (1 - side, timeline + 1):
                raise Conflict("Somebody else has changed the roles at this moment, so nothing was changed here.")
        except BaseException:
            self._file.change(lambda now: replace(now, pending=None))
            raise
        try:
            self._stop_old(pending)
            self._promote(pending)
        except (Conflict, Unreachable):
            if self._retreat.is_made(self._pending_of(timeline) or pending):
                raise Conflict(self._retreat.sentence(pending)) from None
            raise
        self._remember_acknowledged(seen)
        try:
            lost = self._tell()
            if not self.is_followed_up():
                self._rejoin()
        except (Conflict, Unreachable) as error:  # the roles are changed, whatever becomes of the old primary
            self._note_problem(error.message)
            lost = None
        return self._told(pending, lost)

    # ---- done again until it is complete

    def complete(self) -> str:
        """Go on with what was begun; returns a sentence about what was done, "" mostly. Raises nothing that is known."""
        if not self._is_something_to_do():
            return ""
        with suppress(BlockingIOError), held(self._lock, seconds=0):
            if self._modes.read().closed:  # by a switchover that died
                self._modes.change(lambda now: replace(now, closed=""))
            self._find_left_alone()
            pending = self._file.read().pending
            if pending is None:
                return ""
            try:
                if self._roles.primary == pending.side:  # nothing was agreed on
                    self._file.change(lambda now: replace(now, pending=None))
                    return ""
                if self._retreat.is_made(pending):
                    return self._retreat.sentence(pending)
                if _is_in_recovery(self._pair.primary):
                    self._stop_old(pending)
                    self._promote(pending)
                lost = self._tell()
                self._rejoin()
            except (Conflict, Unreachable) as error:
                self._note_problem(self._retreat.why_not(pending) or error.message)
                return ""
            if lost:
                return self._told(pending, lost).sentence
        return ""

    def _is_something_to_do(self) -> bool:
        """Without asking anybody: mostly there is nothing."""
        picture = self._watch.picture()
        is_followed = picture.far is not None and picture.near is not None and picture.near.sender is not None
        return self._file.read().pending is not None or bool(self._modes.read().closed) or not is_followed

    def _find_left_alone(self) -> None:
        """An old primary that nobody told us of: the other one was promoted by hand."""
        if self._file.read().pending is not None:
            return
        other = 1 - self._roles.primary
        with suppress(Conflict, Unreachable):
            if self._was_left(other):
                since = self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                pending = Pending(side=other, timeline=self._roles.timeline - 1, since=since, by="somebody")
                self._file.change(lambda now: replace(now, pending=pending))

    def _was_left(self, side: int) -> bool:
        """Whether that server was primary on a lower timeline, and follows nobody since."""
        if self._operator.is_there():
            return self._operator.role(SIDES[side]) == "old primary"
        [(timeline,)] = self._pair.servers[side].ask(OWN_TIMELINE)
        return timeline is not None and 0 < timeline < self._roles.timeline

    def _stop_old(self, pending: Pending) -> None:
        """So that it confirms nothing more. Where nobody can stop it, the fence of each worker has to do."""
        if not self._operator.is_there():
            return
        (self._operator.stop if pending.is_planned else self._operator.kill)(SIDES[pending.side])
        self._pair.servers[pending.side].forget()

    def _promote(self, pending: Pending) -> None:
        new = self._pair.primary
        self._modes.change(_suspended)  # before anybody can write there: nobody has told it yet to wait for a far side
        try:
            with new.fresh(seconds_max=PROMOTE_SECONDS_MAX + 10, autocommit=True) as connection:
                self._amend(is_promoting=True)
                _one(connection, f"SELECT pg_promote(true, {PROMOTE_SECONDS_MAX})")
                if _one(connection, "SELECT pg_is_in_recovery()"):
                    raise Conflict(f"{new.name} did not take over within {PROMOTE_SECONDS_MAX} s; it is tried again.")
                timeline = int(_one(connection, "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"), 16)
                fork = _one(connection, "SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint")
                connection.execute(
                    "SELECT pg_create_physical_replication_slot(%s, true)"
                    " WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %s)",
                    (slot_of(pending.side), slot_of(pending.side)),
                )
                with suppress(psycopg.errors.InsufficientPrivilege):  # somebody's own server: the rewind says so
                    connection.execute("CHECKPOINT")
        except psycopg.Error as error:
            raise Conflict(f"{new.name} could not be promoted: {str(error).splitlines()[0]}") from error
        if timeline > self._roles.timeline:
            self._roles.move(primary=1 - pending.side, timeline=timeline)
        if fork is not None:
            self._file.change(lambda now: replace(now, forks={**now.forks, str(pending.timeline): int(fork)}))
        for server in self._pair.servers:
            server.forget()
        self._watch.picture(fresh=True)
        _log.warning("promoted", primary=new.name, timeline=timeline, fork=lsn_text(fork or 0), by=pending.by)

    def _remember_acknowledged(self, seen: Sequence[Left]) -> None:
        """What was seen committed on the old primary and is not on the new one: the least that is lost."""
        ids = [one.id for one in seen]
        here = {
            str(id) for (id,) in self._pair.primary.ask("SELECT id FROM commits WHERE id = ANY(%s::uuid[])", (ids,))
        }
        lost = [losing.described(commit_of(one), self._folder, self._currency) for one in seen if one.id not in here]
        state = self._file.read()
        timeline = state.pending.timeline if state.pending else 0
        unseen = self._watch.unseen(timeline, state.forks.get(str(timeline), 0))
        self._amend(acknowledged=lost[:ACKNOWLEDGED_MAX], unseen=unseen)

    def _tell(self) -> list[Commit] | None:
        """Ask the old primary what only it has, and keep that. None when it cannot be asked yet."""
        pending = self._file.read().pending
        if pending is None or pending.is_told:
            return []
        if not self._operator.is_there():
            return self._tell_by_hand(pending)
        try:
            with Connection.connect(self._operator.start_alone(SIDES[pending.side]), autocommit=True) as old:
                lost = self._keep_what_was_lost(old)
        except psycopg.Error as error:
            name = self._pair.servers[pending.side].name
            raise Conflict(f"{name} cannot be asked: {str(error).splitlines()[0]}") from error
        self._amend(is_told=True, problem="")
        return lost

    def _rejoin(self) -> None:
        """Let the old primary follow, once it is told what only it had."""
        pending = self._file.read().pending
        if pending is None or not pending.is_told:
            return
        old = self._pair.servers[pending.side]
        if self._operator.is_there():
            way = self._operator.rejoin(SIDES[pending.side])
        elif _is_in_recovery(old):
            way = "by hand"
        else:
            return
        old.forget()
        self._file.change(lambda now: replace(now, pending=None))
        _log.info("the old primary has rejoined", side=SIDES[pending.side], way=way)

    def _tell_by_hand(self, pending: Pending) -> list[Commit] | None:
        """On somebody's own servers the old primary is asked when it answers, unless it follows by then."""
        old = self._pair.servers[pending.side]
        try:
            in_recovery = _is_in_recovery(old)
        except Unreachable:
            return None
        if in_recovery:
            raise Conflict(
                f"{old.name} follows already, and nobody has asked it what only it had: that is not known any more. What the"
                " shop remembers is listed."
            )
        with old.fresh(autocommit=True) as connection:
            self._wait_for_those_let_in(connection)
            lost = self._keep_what_was_lost(connection)
        self._amend(is_told=True, problem="")
        return lost

    def _wait_for_those_let_in(self, old: Connection) -> None:
        """Nobody stopped it: who passed the fence before the roles moved may still commit there. Who begins now does not pass."""
        now = _one(old, "SELECT clock_timestamp()")
        deadline = self._clock.monotonic() + WRITERS_SECONDS_MAX
        while old.execute(_BEGUN, (now,)).fetchone() != (0,):
            if self._clock.monotonic() > deadline:
                raise Conflict("what began there before the failover has not ended yet.")
            self._wait(0.02)

    def _keep_what_was_lost(self, old: Connection) -> list[Commit]:
        """Compare as sets: neither the places in the log nor the times are in the order of the commits."""
        there = {id for (id,) in old.execute("SELECT id FROM commits").fetchall()}
        here = {id for (id,) in self._pair.primary.ask("SELECT id FROM commits")}
        [(oldest,)] = self._pair.primary.ask(_OLDEST, {"kept": pruning.KEPT})
        rows = old.execute(_ROWS, (sorted(there - here),)).fetchall()
        left = [
            Left(str(id), timeline, lsn, at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), decode(operations))
            for id, timeline, lsn, at, operations in rows
            if lsn >= oldest  # older rows were pruned here, not lost
        ]
        try:
            return self._folder.keep_commits(left)
        except OSError as error:
            raise Conflict(f"What was lost cannot be written to lost/: {error}") from error

    # ---- told

    def _told(self, pending: Pending, lost: list[Commit] | None) -> Promotion:
        new, old = self._pair.primary, self._pair.servers[pending.side]
        fork = self._file.read().forks.get(str(pending.timeline), 0)
        sentence = f"{new.name} is the primary now, on timeline {self._roles.timeline}."
        if lost is None:
            invoice = Invoice(
                timeline=pending.timeline, commits=(), orders=0, order_cents=0, carts=0, edits=0, sentence=NOT_YET_KNOWN
            )
            sentence += f" What was lost is not yet known: {old.name} cannot be asked yet."
        else:
            lost = sorted(lost, key=lambda commit: (commit.timeline, commit.lsn))
            invoice = losing.invoice(pending.timeline, lost, self._folder, self._currency)
            sentence += (
                f" Lost: {invoice.sentence}. {old.name} {'follows' if self.is_complete else 'rejoins'} as the replica."
            )
        return Promotion(
            primary=new.name,
            timeline=self._roles.timeline,
            fork=Position(pending.timeline, fork, ""),
            invoice=invoice,
            by=pending.by,
            sentence=sentence,
        )

    def unsettled(self) -> Unsettled | None:
        pending = self._file.read().pending
        if pending is None or pending.is_told or self._roles.primary == pending.side:
            return None
        old, new = self._pair.servers[pending.side], self._pair.servers[1 - pending.side]
        known, unseen = len(pending.acknowledged), pending.unseen
        remembered = f"Confirmed and known to be missing: {known:,}." if known else ""
        if unseen:
            remembered += f" Confirmed in its last moment, of which only the number is known: {unseen:,}."
        why = pending.problem or f"{old.name} cannot be asked yet."
        return Unsettled(
            side=old.name,
            timeline=pending.timeline,
            since=pending.since,
            acknowledged=pending.acknowledged,
            sentence=f"What the failover to {new.name} lost is {NOT_YET_KNOWN}: {why} {remembered}".strip(),
            remedy=() if self._operator.is_there() else remedy(old, new, pending),
        )

    def fork_of(self, timeline: int) -> int | None:
        """The last place in the log of a timeline that was left which the next one shares; None when that is not known."""
        return self._file.read().forks.get(str(timeline))

    @property
    def is_complete(self) -> bool:
        return self._file.read().pending is None

    def _amend(self, **fields: object) -> None:
        def amended(now: FailoverState) -> FailoverState:
            return now if now.pending is None else replace(now, pending=replace(now.pending, **fields))

        self._file.change(amended)

    def _note_problem(self, problem: str) -> None:
        pending = self._file.read().pending
        if pending is not None and pending.problem != problem:
            _log.error("the failover is not complete", reason=problem)
            self._amend(problem=problem)


def _suspended(modes: ModeState) -> ModeState:
    """In sync mode nobody writes until the far side follows again: who keeps the modes finds out when it does."""
    return replace(modes, suspended=modes.suspended or NO_FAR_SIDE) if modes.mode is Mode.SYNC else modes


def commit_of(left: Left) -> Commit:
    """As a journal tells one."""
    return Commit(left.lsn, left.timeline, left.at, tuple(Op(*op) for op in left.ops), "", left.id, 0)


def _one(connection: Connection, statement: str) -> Any:
    row = connection.execute(statement).fetchone()
    return row[0] if row else None


def _is_in_recovery(server: Server) -> bool:
    return bool(server.ask("SELECT pg_is_in_recovery()")[0][0])


def _replayed(server: Server) -> int:
    return int(server.ask("SELECT (coalesce(pg_last_wal_replay_lsn(), '0/0') - '0/0')::bigint")[0][0])
