"""How long a writer waits for the far side: not at all (async), until its commit has arrived there (semi-sync), or until readers there
see it (sync).

The wait comes after the commit is durable and visible here; whatever becomes of it, the commit stands. So a writer whose wait ends
badly is never told that it failed, but what is true: recorded here, not yet at the far side (`take_notice`).

Waiting holds a thread of the server. At most `places` of them may wait; who comes when all are taken is turned away before anything
is written. In sync mode so is everybody while the link is known to be down.

Semi-sync gives up waiting after its timeout and goes on as async, announced, until the far side has caught up to within that time.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import structlog

from shop.clock import Clock
from shop.errors import Invalid, WritesUnavailable
from shop.replication.contract import Latency, Mode, Modes
from shop.units import Position

SEMI_SYNC_SECONDS = 10.0  # as MySQL waits
TIMEOUT_SECONDS_MIN = 0.1
TIMEOUT_SECONDS_MAX = 60.0
SYNC_SECONDS_MAX = 30.0  # a browser and a thread of the server are waiting
RETRY_SECONDS = 2
LATENCIES_KEPT = 500  # a mode
NOTICE = "Recorded here, not yet at the far side: it gets there as soon as the link lets it."

_LOOK_SECONDS = 0.05  # a waiter looks up this often even if nobody wakes it: the link may have gone down meanwhile
_log = structlog.get_logger("replication")


class Far(NamedTuple):
    """What a waiter needs to know of the far side."""

    arrived: Position  # fsynced there
    applied: Position  # what readers there see
    why_down: str  # why nothing crosses now, "" while something may
    oldest_committed: float | None  # when the oldest commit that has not arrived was made; None when everything has


class Gate:
    """Where each update passes twice: `enter` before it begins, and `Pass.leave` after. `_condition` guards every field below it."""

    def __init__(self, clock: Clock, far: Callable[[], Far], *, places: int, mode: Mode = Mode.ASYNC) -> None:
        self._clock = clock
        self._far = far
        self._places = places
        self._told = threading.local()
        self._condition = threading.Condition()
        self._mode = mode
        self._timeout_seconds = SEMI_SYNC_SECONDS
        self._waiting = 0
        self._is_fallen_back = False
        self._fall_backs = 0
        self._turned_away = 0
        self._latencies: dict[Mode, deque[float]] = {one: deque(maxlen=LATENCIES_KEPT) for one in Mode}

    # ---- the knobs

    @property
    def mode(self) -> Mode:
        return self._mode

    def set_mode(self, mode: str) -> None:
        """From the next update on; who waits under the old mode waits as the new one says. Raises `Invalid` on the field `mode`."""
        if mode not in list(Mode):
            raise Invalid({"mode": f"Choose one of {', '.join(one.value for one in Mode)}."})
        with self._condition:
            self._mode = Mode(mode)
            self._is_fallen_back = False
            self._condition.notify_all()
        _log.info("replication mode changed", mode=mode)

    def set_timeout(self, seconds: float) -> None:
        """Of semi-sync. Raises `Invalid` on the field `timeout`."""
        if not TIMEOUT_SECONDS_MIN <= seconds <= TIMEOUT_SECONDS_MAX:  # false for NaN as well
            raise Invalid(
                {"timeout": f"Enter a timeout from {TIMEOUT_SECONDS_MIN:g} to {TIMEOUT_SECONDS_MAX:.0f} seconds."}
            )
        with self._condition:
            self._timeout_seconds = float(seconds)
            self._condition.notify_all()

    # ---- an update

    def enter(self) -> "Pass":
        """Before anything is written, without a lock of the store. Raises `WritesUnavailable`, and nothing has happened then."""
        with self._condition:
            if self._mode is Mode.ASYNC:
                return Pass(self, False)
            if self._mode is Mode.SYNC and (why := self._far().why_down):
                self._turned_away += 1
                raise WritesUnavailable(
                    f"Nothing is written at the moment: each write must reach the far side, and {why}. Please try again soon.",
                    RETRY_SECONDS,
                )
            if self._waiting >= self._places:
                self._turned_away += 1
                raise WritesUnavailable(
                    "Too many writes are waiting for the far side already; nothing was written. Please try again in a moment.",
                    RETRY_SECONDS,
                )
            self._waiting += 1
            return Pass(self, True)

    def why_closed(self) -> str:
        """Why nobody is let in now, "" while somebody may be."""
        why = self._far().why_down if self._mode is Mode.SYNC else ""
        return f"Each write must reach the far side, and {why}." if why else ""

    def wake(self) -> None:
        """The far side has moved, or a knob was turned: whoever waits looks again.

        Whoever waits was counted before its commit began: so without the lock nobody is overlooked who waits for what is there now.
        """
        if not (self._waiting or self._is_fallen_back):
            return
        with self._condition:
            self._return_if_caught_up()
            self._condition.notify_all()

    def take_notice(self) -> str:
        """What the last update of this thread is to be told although it succeeded, once; "" mostly."""
        notice: str = getattr(self._told, "notice", "")
        self._told.notice = ""
        return notice

    def _leave(self, committed: Position | None, since: float | None, has_place: bool) -> None:
        """Wait as the mode says, note how long the commit took, and give the place back."""
        try:
            if committed is not None and since is not None:
                mode, is_there = self._wait(committed, since) if has_place else (self._mode, True)
                with self._condition:
                    self._latencies[mode].append(self._clock.monotonic() - since)
                if not is_there:
                    self._told.notice = NOTICE
        finally:
            if has_place:
                with self._condition:
                    self._waiting -= 1

    def _wait(self, committed: Position, since: float) -> tuple[Mode, bool]:
        """Under which mode it waited at last, and whether there is nothing to tell."""
        with self._condition:
            while True:
                mode, far, now = self._mode, self._far(), self._clock.monotonic()
                if mode is Mode.ASYNC or (mode is Mode.SEMI_SYNC and self._is_fallen_back):
                    return Mode.ASYNC, True
                reached = far.arrived if mode is Mode.SEMI_SYNC else far.applied
                if _has(reached, committed):
                    return mode, True
                if reached.timeline > committed.timeline:
                    return mode, False  # the roles have changed hands: whether it went over is for the invoice to say
                limit = self._timeout_seconds if mode is Mode.SEMI_SYNC else SYNC_SECONDS_MAX
                if mode is Mode.SYNC and (far.why_down or now - since >= limit):
                    return mode, False
                if now - since >= limit:
                    self._fall_back(limit)
                    return mode, True
                self._condition.wait(min(_LOOK_SECONDS, since + limit - now))

    def _fall_back(self, limit: float) -> None:
        self._is_fallen_back = True
        self._fall_backs += 1
        self._condition.notify_all()
        _log.warning("semi-sync fell back to async", timeout_seconds=limit)

    def _return_if_caught_up(self) -> None:
        if not self._is_fallen_back:
            return
        far = self._far()
        oldest = far.oldest_committed
        if not far.why_down and (oldest is None or self._clock.monotonic() - oldest < self._timeout_seconds):
            self._is_fallen_back = False
            _log.info("semi-sync is back: the far side has caught up")

    # ---- what can be seen

    def status(self) -> Modes:
        with self._condition:
            return Modes(
                mode=self._mode,
                timeout_seconds=self._timeout_seconds,
                is_fallen_back=self._is_fallen_back,
                fall_backs=self._fall_backs,
                waiting=self._waiting,
                places=self._places,
                turned_away=self._turned_away,
                latencies=latencies_of(self._latencies),
            )


class Pass:
    """One update's way through the gate."""

    def __init__(self, gate: Gate, has_place: bool) -> None:
        self._gate = gate
        self._has_place = has_place
        self._since: float | None = None

    def commits(self) -> None:
        """Its block has been left: from here on the commit is waited for."""
        self._since = self._gate._clock.monotonic()

    def leave(self, committed: Position | None) -> None:
        """It is durable and visible here, or None: nothing was written. Returns when the mode is content; does not raise."""
        self._gate._leave(committed, self._since, self._has_place)


def _has(reached: Position, committed: Position) -> bool:
    return reached.timeline == committed.timeline and reached.lsn >= committed.lsn


def latencies_of(measured: Mapping[Mode, Iterable[float]]) -> list[Latency]:
    """How long the commits of each mode took, whatever kind of storage measured it."""
    return [_latency_of(mode, sorted(numbers)) for mode, numbers in measured.items()]


def _latency_of(mode: Mode, numbers: list[float]) -> Latency:
    """The nearest rank: a latency that was measured, not one between two."""
    if not numbers:
        return Latency(mode=mode, commits=0, p50_seconds=None, p99_seconds=None)
    count = len(numbers)
    return Latency(
        mode=mode,
        commits=count,
        p50_seconds=numbers[(count * 50 + 99) // 100 - 1],
        p99_seconds=numbers[(count * 99 + 99) // 100 - 1],
    )
