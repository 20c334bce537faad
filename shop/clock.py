"""Time, handed in. Nothing below the edge of the program asks the machine what time it is."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one for people, one for measuring."""

    def now(self) -> datetime:
        """The wall clock, in UTC. It may jump, also backwards; never measure with it."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment of this boot. It never goes back; it says nothing to people."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is told to move: for tests and simulations."""

    def __init__(self, start: datetime | None = None) -> None:
        self._now = start or datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass on both clocks."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def shift_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator or NTP may; the monotonic one does not move."""
        self._now += timedelta(seconds=seconds)
