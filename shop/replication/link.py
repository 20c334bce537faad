"""The simulated WAN between the two sides: how long a commit is on its way.

A commit is in flight until it has crossed, and dies with the primary until then. The queue in front of the link is the primary's
journal; the link itself holds no data, only the knobs. They may be turned at any time and hold for what is already crossing.
"""

import math

from shop.errors import Invalid

DELAY_SECONDS_MAX = 3600.0
# Dueness is tested as "committed at or before now - delay". A commit is called due this much later than its arithmetic says, so
# that whoever wakes at that moment always finds it due, whatever the rounding of floats: never early, never a wake for nothing.
_ROUNDING_SECONDS = 1e-6


class Link:
    """The knobs. Reading is safe from any thread; each knob is one assignment."""

    def __init__(self, delay_seconds: float) -> None:
        self._delay_seconds = _checked(delay_seconds)
        self._is_paused = False

    @property
    def delay_seconds(self) -> float:
        return self._delay_seconds

    @property
    def is_paused(self) -> bool:
        return self._is_paused

    def set_delay(self, seconds: float) -> None:
        """0 to `DELAY_SECONDS_MAX`; raises `Invalid` on the field `delay`."""
        self._delay_seconds = _checked(seconds)

    def pause(self) -> None:
        """Nothing crosses until `resume`."""
        self._is_paused = True

    def resume(self) -> None:
        self._is_paused = False

    def crossed_before(self, now: float) -> float:
        """Commits made at or before this moment have crossed by *now*."""
        return now - self._delay_seconds

    def due(self, committed: float) -> float:
        """When a commit made at *committed* has crossed. Both are of the monotonic clock."""
        return committed + self._delay_seconds + _ROUNDING_SECONDS

    def progress(self, committed: float, now: float) -> float:
        """How much of the way is behind a commit, 0 to 1."""
        if not self._delay_seconds:
            return 1.0
        return min(1.0, max(0.0, (now - committed) / self._delay_seconds))


def _checked(seconds: float) -> float:
    # The comparison is false for NaN too, which would otherwise never be due.
    if not (math.isfinite(seconds) and 0 <= seconds <= DELAY_SECONDS_MAX):
        raise Invalid({"delay": f"Enter a delay from 0 to {DELAY_SECONDS_MAX:.0f} seconds."})
    return float(seconds)
