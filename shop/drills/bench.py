"""Where one run of a drill happens: what it may use, how it tells its story, and how it waits.

Everything a drill does goes through here, so that it can be stopped between any two steps, cannot run for ever, and leaves a note of
what has to be put back before it changes anything.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from shop.clock import Clock
from shop.drills.goods import Goods, is_loss_of_drill
from shop.drills.parts import Parts
from shop.drills.records import Figure, Kind
from shop.drills.setting import Setting
from shop.errors import ShopError
from shop.money import format_money
from shop.replication.contract import (
    Failover,
    FarReads,
    Laboratory,
    LostCommit,
    Outcome,
    Policy,
    Promotion,
    Reading,
    Replication,
    Sabotage,
    Token,
    Verdict,
)
from shop.repository.contract import Repository
from shop.units import ReadUnit

T = TypeVar("T")

LOOK_SECONDS = 0.02  # between two looks at what is waited for
HOLD_SECONDS = 300.0  # a delay that nothing outlives within a drill; some links cannot be made so slow
WAIT_SECONDS_MAX = 15.0


class Broken(Exception):
    """It did not come as the drill promises; the text is a sentence."""


class Stopped(Exception):
    """Somebody asked the drill to stop."""


class Teller(Protocol):
    """Where the story goes, and where it may be cut off."""

    def tell(self, kind: Kind, words: str) -> None: ...
    def figure(self, figure: Figure) -> None: ...
    def wait(self, seconds: float) -> None:
        """Let time pass. Raises `Stopped`, and `Broken` when the drill has taken too long."""
        ...

    def will_change_primary(self) -> None:
        """Note, durably, that the roles have to be put back."""
        ...


class Bench:
    """What a drill is handed. *pace_seconds* is how long one moment of it lasts: long enough to be watched, short in tests."""

    def __init__(self, parts: Parts, setting: Setting, teller: Teller, *, who: str, pace_seconds: float) -> None:
        self.setting = setting
        self.pace_seconds = pace_seconds
        self.by = f"{who} (drill)"
        self.goods = Goods(parts.repository, parts.clock, parts.currency)
        self._parts = parts
        self._teller = teller

    @property
    def clock(self) -> Clock:
        return self._parts.clock

    @property
    def repository(self) -> Repository:
        return self._parts.repository

    @property
    def replication(self) -> Replication:
        return self._parts.replication

    @property
    def laboratory(self) -> Laboratory:
        assert self._parts.laboratory is not None  # noqa: S101 - `why_not` was asked before
        return self._parts.laboratory

    @property
    def failover(self) -> Failover:
        assert self._parts.failover is not None  # noqa: S101 - as above
        return self._parts.failover

    @property
    def _reads(self) -> FarReads:
        assert self._parts.reads is not None  # noqa: S101 - as above
        return self._parts.reads

    @property
    def sabotage(self) -> Sabotage:
        assert self._parts.sabotage is not None  # noqa: S101 - as above
        return self._parts.sabotage

    # ---- the story

    def did(self, words: str) -> None:
        self._pause_to_look()
        self._teller.tell(Kind.DID, words)

    def saw(self, words: str) -> None:
        self._pause_to_look()
        self._teller.tell(Kind.SAW, words)

    def figure(self, name: str, value: str, words: str = "") -> None:
        self._teller.figure(Figure(name, value, words))

    def expect(self, is_so: bool, otherwise: str) -> None:
        """Raises `Broken` with *otherwise* unless the promise holds."""
        if not is_so:
            raise Broken(otherwise)

    def money(self, cents: int) -> str:
        return format_money(cents, self._parts.currency)

    # ---- time

    def wait(self, seconds: float) -> None:
        """At the pace of this run."""
        self._teller.wait(seconds)

    def wait_until(self, is_so: Callable[[], bool], otherwise: str) -> float:
        """Seconds until *is_so*; raises `Broken` with *otherwise* when that takes too long."""
        began = self.clock.monotonic()
        while not is_so():
            if self.clock.monotonic() - began > WAIT_SECONDS_MAX:
                raise Broken(otherwise)
            self._teller.wait(LOOK_SECONDS)
        return self.clock.monotonic() - began

    def timed(self, call: Callable[[], object]) -> float:
        began = self.clock.monotonic()
        call()
        return self.clock.monotonic() - began

    def _pause_to_look(self) -> None:
        self._teller.wait(self.pace_seconds / 2)

    # ---- what most drills do

    def begin(self) -> None:
        """The drill's product is on both sides, and nothing is on its way."""
        self.goods.stock_up()
        self.all_across()
        self.did("Put a product on the shelf that no customer can see. It is on both sides, and nothing is on its way.")

    def all_across(self) -> None:
        """Whatever the link says; raises `Conflict` when something is in the way."""
        self.replication.sync_now()

    def hold(self) -> None:
        """From here on the link is so slow that nothing arrives before the drill says so, as far as it can be made so."""
        self.replication.set_delay(min(HOLD_SECONDS, self.replication.status().link.delay_max_seconds))

    def wait_until_equal(self) -> float:
        """On a shop that is sold from all the time no moment may be quite equal, so the drill's own last write is what counts."""
        with self.repository.view() as unit:
            target = unit.position()

        def is_there() -> bool:
            there = self.replication.status().replica.position
            return (there.timeline, there.lsn) >= (target.timeline, target.lsn)

        return self.wait_until(is_there, "The replica did not catch up.")

    def verify(self) -> Verdict:
        """Raises `Broken` unless every record is the same on both sides."""
        verdict = self.replication.verify()
        if verdict.outcome is Outcome.INCONCLUSIVE:  # a moment of much traffic: once more
            verdict = self.replication.verify()
        self.expect(verdict.outcome is Outcome.IN_SYNC, f"The sides should be equal, and are not: {verdict.sentence}")
        return verdict

    def far(self, look: Callable[[ReadUnit], T]) -> T:
        """What *look* finds on the replica, as it is now."""
        try:
            return look(self._reads.both()[1])
        finally:
            self._reads.release()

    def are_there(self, numbers: Sequence[str]) -> Sequence[str]:
        """Those of the orders that the replica has."""
        return self.far(lambda unit: [number for number in numbers if unit.order(number) is not None])

    def read(
        self, policy: Policy, look: Callable[[ReadUnit], T], *, wrote: Token, seen: Token | None = None
    ) -> tuple[T, Reading]:
        """What *look* finds on a page that is read under *policy*, and what the page was read from."""
        try:
            unit, reading = self._reads.read(policy, wrote=wrote, seen=seen)
            return look(unit), reading
        finally:
            self._reads.release()

    def wrote(self) -> Token:
        """The position of the write that this thread has just made."""
        token = self._reads.take_committed()
        if token is None:
            raise Broken("The position of the drill's own write is not known.")
        return token

    # ---- changing sides

    def is_own(self, lost: LostCommit) -> bool:
        """Whether a commit that was left behind was made by the drill."""
        return is_loss_of_drill(lost)

    def promote(self) -> Promotion:
        """As if the primary were lost now. What of it is put back when the drill ends in the middle is noted before."""
        timeline = self.replication.status().primary.position.timeline
        self._teller.will_change_primary()
        return self.failover.promote(by=self.by, expected_timeline=timeline)

    def switch_back(self) -> Promotion:
        """To the side that was primary before the drill, without any loss."""
        return switch_back(self._parts, self.by, self._teller.wait)

    def review_others(self) -> str:
        """Enter again what other people lost by the drill's promotion; a sentence about it, "" when there was nothing."""
        return review(self._parts, self.setting, self.by, own="")


def await_replica(parts: Parts, wait: Callable[[float], None]) -> None:
    """Until the other side answers: one that was left by a promotion may take a moment to come back. Not for ever: who needs it says so."""
    deadline = parts.clock.monotonic() + WAIT_SECONDS_MAX
    while not parts.replication.status().replica.is_reachable and parts.clock.monotonic() < deadline:
        wait(LOOK_SECONDS)


def switch_back(parts: Parts, by: str, wait: Callable[[float], None]) -> Promotion:
    """Everything crosses at once, then the roles change. Raises `Conflict` as `switch_over` does."""
    assert parts.failover is not None  # noqa: S101 - who changed the roles had one
    await_replica(parts, wait)
    parts.replication.sync_now()
    return parts.failover.switch_over(by=by)


def review(parts: Parts, setting: Setting, by: str, *, own: str) -> str:
    """Decide about what the drill's promotion left behind: other people's writes are entered again.

    The drill's own are discarded for the reason *own*, or left alone without one. What cannot be entered again stays for a person.
    """
    if parts.failover is None:
        return ""
    entered, left = 0, 0
    for commit in left_behind(parts.failover, setting):
        try:
            if is_loss_of_drill(commit):
                if own:
                    parts.failover.discard(commit.id, own, by=by)
            else:
                parts.failover.reenter(commit.id, by=by)
                entered += 1
        except ShopError:
            left += 1
    sentences = []
    if entered:
        sentences.append(f"{counted(entered, 'write')} of other people, made in that very moment, entered again.")
    if left:
        sentences.append(
            f"{counted(left, 'write')} of other people could not be entered again: please decide about it on the page of"
            " what was left behind."
        )
    return " ".join(sentences)


def left_behind(failover: Failover, setting: Setting) -> Sequence[LostCommit]:
    """Oldest first, and only what nobody has decided about. A timeline is left once: what lies there was left by the drill."""
    return [
        commit
        for invoice in failover.invoices()
        if invoice.timeline == setting.timeline
        for commit in invoice.commits
        if commit.decision is None
    ]


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def span(seconds: float) -> str:
    """As a person says it: "0.4 ms", "25 ms", "1.2 s"."""
    if seconds < 0.01:
        return f"{max(0.1, seconds * 1000):.1f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
