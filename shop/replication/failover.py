"""Changing which side is primary: promotion (unplanned), switchover (planned), and the rejoin of the side that was left.

One fsynced line in the replica's journal is the promotion; before it nothing has happened, after it the roles are changed, whatever
crashes. Everything else follows from the files and is done again at each start until it is complete: the commits beyond the fork go
from the old journal to `lost/`, then the old side becomes a snapshot of the new primary. DESIGN.md has the table of crashes.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import structlog

from shop.clock import Clock
from shop.errors import Conflict, ShopError
from shop.replication import losing
from shop.replication.contract import Invoice, Promotion
from shop.replication.embedded import EmbeddedReplication
from shop.replication.losing import LostFolder, commit_id
from shop.replication.pair import IS_REPLICA, Pair, next_timeline, why_primary_is_short
from shop.replication.replicator import compare_histories, find_gap
from shop.replication.review import Review
from shop.repository.embedded import EmbeddedRepository
from shop.store import OS_FILES, Commit, Files, Position, State, Store, StoreError, StoreFull, StoreMismatch
from shop.units import Position as UnitPosition

FENCED = "The shop goes on from the other side: this one takes no writes and rejoins as the replica."
SWITCHING = "The shop is moving to its other side."
SWITCHOVER_SECONDS_MAX = 20.0

_log = structlog.get_logger("failover")


# ---- what was left behind


class LeftBehind(NamedTuple):
    """An old primary that has commits which the new one lacks."""

    fork: Position  # the last position that both share
    last: Position


def common_lsn(one: State, other: State) -> int:
    """The last commit that two histories of one store share, as their timelines and forks tell; -1 when they share none."""
    shared = -1
    for here, there in zip((*one.forks, one.position), (*other.forks, other.position), strict=False):
        if here.timeline != there.timeline:
            break
        shared = min(here.lsn, there.lsn)
        if here != there:
            break
    return shared


def left_behind(primary: Store, replica: Store) -> LeftBehind | None:
    """What a failover has left on the side that is the replica now; None when it holds nothing of its own."""
    here, there = primary.state, replica.state
    if primary.store_id != replica.store_id or there.position.timeline >= here.position.timeline:
        return None
    lsn = common_lsn(here, there)
    fork = next((fork for fork in here.forks if fork.lsn == lsn), None)
    if fork is None or there.position.lsn <= lsn:
        return None
    return LeftBehind(fork, there.position)


def awaits_its_copy(primary: Store, replica: Store) -> bool:
    """Whether a rebuild was cut short between its two steps: the primary begins with the very position that the replica has, on a
    timeline of its own, and its journal does not hold the step from one to the other."""
    is_source = primary.store_id == replica.store_id and replica.position in primary.state.forks
    return is_source and primary.oldest_lsn > replica.position.lsn + 1


def keep_what_was_lost(replica: Store, behind: LeftBehind, lost: LostFolder) -> None:
    """Write the commits beyond the fork to `lost/`. Raises OSError, and `StoreMismatch` when they cannot be told any more.

    A journal that no longer holds them is the work of a rejoin that was cut short: it began after all of them were in `lost/`.
    """
    at_fork = replica.position_at(behind.fork.lsn)
    if at_fork == behind.fork:
        lost.keep(replica, behind.fork.lsn)
        return
    lsns = range(behind.fork.lsn + 1, behind.last.lsn + 1)
    if at_fork is not None or not all(lost.holds(commit_id(replica.timeline_of(lsn), lsn)) for lsn in lsns):
        raise StoreMismatch(
            f"{replica.path.name} has commits that its primary lacks, and it cannot be told which:"
            f" up to commit {behind.fork.lsn} the two histories differ"
        )


def complete_rejoin(pair: Pair, *, files: Files = OS_FILES) -> str:
    """Finish what a failover began, at a start: returns a sentence about it, "" when there was nothing to do.

    What fails here leaves the shop as it is, with a replica that is refused; the next start tries again.
    """
    name = pair.replica.path.name
    behind = left_behind(pair.primary, pair.replica)
    try:
        if behind is not None:
            keep_what_was_lost(pair.replica, behind, LostFolder(pair.primary.path.parent, files=files))
            pair.copy_primary()
            return (
                f"{name} was left by a failover; what only it had"
                f" (commits {behind.fork.lsn + 1} to {behind.last.lsn}) is in lost/"
            )
        if awaits_its_copy(pair.primary, pair.replica):
            pair.copy_primary()
            return f"{name} had not yet become the copy of the primary that was rebuilt from it; now it is"
    except (OSError, StoreError) as error:
        return f"{name} was left by a failover and could not rejoin: {error}"
    return ""


def why_not(primary: Store, replica: Store) -> str:
    """Why *replica* must not be promoted; "" when its history begins the primary's, or goes on from where the primary ends."""
    here, there = primary.position, replica.position
    if primary.store_id == replica.store_id and here.timeline == there.timeline and there.lsn > here.lsn:
        return "" if replica.position_at(here.lsn) == here else "The two histories differ."
    trouble = compare_histories(primary, replica) or find_gap(primary, there)
    return trouble.sentence if trouble else ""


# ---- on open stores


class EmbeddedFailover(Review):
    """See `contract.Failover`. One change of roles, and one decision, at a time."""

    def __init__(
        self,
        pair: Pair,
        replication: EmbeddedReplication,
        repository: EmbeddedRepository,
        *,
        clock: Clock,
        currency: str,
        files: Files = OS_FILES,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(LostFolder(pair.primary.path.parent, files=files), repository, clock=clock, currency=currency)
        self._pair = pair
        self._replication = replication
        self._repository = repository
        self._wait = wait
        self._lock = threading.Lock()  # one change of roles at a time

    def promote(self, *, by: str, expected_timeline: int | None = None) -> Promotion:
        with self._changing_roles(expected_timeline):
            return self._promote(by)

    def switch_over(self, *, by: str, expected_timeline: int | None = None) -> Promotion:
        with self._changing_roles(expected_timeline):
            old = self._pair.primary
            if not old.is_writable:
                raise Conflict(f"A switchover needs a healthy primary; this one takes no writes: {old.problem}")
            old.finish_writes(SWITCHING)
            try:
                self._wait_until_equal()
                return self._promote(by)
            except BaseException:
                if self._pair.primary is old and old.problem == SWITCHING:
                    old.allow_writes()
                raise

    @contextmanager
    def _changing_roles(self, expected_timeline: int | None) -> Iterator[None]:
        with self._lock:
            timeline = self._pair.primary.position.timeline
            if expected_timeline not in (None, timeline):
                raise Conflict(
                    f"The roles have changed since this page was shown: {self._pair.primary.path.name} is the primary now,"
                    f" on timeline {timeline}."
                )
            yield

    def _wait_until_equal(self) -> None:
        """Let everything cross, at the pace of the link; raises `Conflict` as soon as it is clear that it will not be in time."""
        deadline = self._clock.monotonic() + SWITCHOVER_SECONDS_MAX
        while self._pair.replica.position != self._pair.primary.position:
            due = self._replication.sync_once(self._clock.monotonic()).next_due_monotonic
            now = self._clock.monotonic()
            if (due is not None and due > deadline) or now > deadline:
                raise Conflict(
                    f"The replica will not have everything within {SWITCHOVER_SECONDS_MAX:g} s, so nothing was changed and the"
                    " primary takes writes again. Look at the link, or bring everything across with Sync now, and try again."
                )
            if due is not None and due > now:
                self._wait(due - now)

    def _promote(self, by: str) -> Promotion:
        with self._replication.hold():
            old, new = self._pair.primary, self._pair.replica
            reason = why_not(old, new)
            if reason:
                raise Conflict(f"{new.path.name} cannot be promoted. {reason}")
            last = old.finish_writes(FENCED)
            fork = new.position
            lost = list(_commits(old, fork.lsn))
            self._begin_timeline(old, new)
            self._pair.swap(min(fork.lsn, last.lsn))
            self._repository.switch(new)
            self._replication.roles_changed()
            problem = self._rejoin()
        invoice = losing.invoice(last.timeline, lost, self._folder, self._currency)
        return self._told(new, fork, invoice, by, problem)

    def _begin_timeline(self, old: Store, new: Store) -> None:
        """The one commit point."""
        new.allow_writes()
        try:
            new.advance_timeline(next_timeline(max(old.position.timeline, new.position.timeline), new.path.name))
        except StoreFull as error:
            old.refuse_writes(why_primary_is_short(old, new))  # none, as a rule: it takes writes again
            raise Conflict(f"The promotion could not be written, so nothing was changed: {error}") from error
        except StoreError as error:
            # It may be on the disk, and then this side has been left: what it took now would be lost. The next start knows.
            raise Conflict(f"It is uncertain whether the promotion was written. Restart the shop: {error}") from error
        finally:
            if new.position.timeline <= old.position.timeline:
                new.refuse_writes(IS_REPLICA)

    def _rejoin(self) -> str:
        """The old side becomes the replica; returns why it could not. The replicator is held."""
        replica = self._pair.replica
        try:
            behind = left_behind(self._pair.primary, replica)
            if behind is not None:
                keep_what_was_lost(replica, behind, self._folder)
                self._replication.resync()
            elif replica.position.lsn <= self._pair.primary.position.lsn:
                replica.keep_after(None)
        except (OSError, StoreError, ShopError) as error:
            _log.error("the old primary could not rejoin", reason=str(error))
            return str(error)
        replica.refuse_writes(IS_REPLICA)
        return ""

    def _told(self, new: Store, fork: Position, invoice: Invoice, by: str, problem: str) -> Promotion:
        old_name = self._pair.replica.path.name
        sentence = f"{new.path.name} is the primary now, on timeline {new.position.timeline}. Lost: {invoice.sentence}."
        if problem:
            sentence += f" {old_name} could not rejoin yet; the next start tries again: {problem}"
        else:
            sentence += f" {old_name} follows it as the replica."
        return Promotion(
            primary=new.path.name,
            timeline=new.position.timeline,
            fork=UnitPosition(*fork),
            invoice=invoice,
            by=by,
            sentence=sentence,
        )


def _commits(store: Store, after_lsn: int) -> Iterator[Commit]:
    while commits := store.commits(after_lsn):
        yield from commits
        after_lsn = commits[-1].lsn
