"""The simulated WAN between the two sides: how long a commit is on its way.

A commit is in flight until it has crossed, and dies with the primary until then. The queue in front of the link is the primary's
journal; the link itself holds no data, only the knobs. They may be turned at any time and hold for what is already crossing.

A commit leaves as soon as it is made and the one before it has left; that takes its size divided by the bandwidth. From there it is
under way for the delay, up to the jitter longer by chance, and a round trip longer for each try that was lost. The link keeps the
order: whoever would overtake arrives together with the one in front. Chance is drawn from a seed and the commit's number alone, so
that asking again gives the same moment: nothing needs to be remembered.

An outage cuts the cable. What was under way then has to leave anew when the cable is whole again.
"""

import math
import threading
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from shop.errors import Invalid
from shop.store import Store

DELAY_SECONDS_MAX = 3600.0
JITTER_SECONDS_MAX = 60.0
BANDWIDTH_MIN = 100  # bytes a second; slower, one picture of a shop would take a day
BANDWIDTH_MAX = 1_000_000_000
LOSS_PERCENT_MAX = 90.0  # of the tries; above, hardly anything would ever arrive
OUTAGE_SECONDS_MAX = 3600.0
TRIES_MAX = 50  # then it is let through: the log must not stop for bad luck
ROUND_TRIP_SECONDS_MIN = 0.2  # a sender waits at least so long before it takes a try for lost (as TCP does)
# Dueness is tested as "committed at or before now - delay". A commit is called due this much later than its arithmetic says, so
# that whoever wakes at that moment always finds it due, whatever the rounding of floats: never early, never a wake for nothing.
ROUNDING_SECONDS = 1e-6
_READ_BYTES = 64 * 1024
LOOK_AHEAD = 4096  # commits that one step looks at: more than a batch holds
_CHANCE_MASK = 0xFFFFFFFFFFFFFFFF


class Knobs(NamedTuple):
    """What the link is set to. Replaced as a whole, so that whoever reads sees one setting."""

    delay_seconds: float
    jitter_seconds: float = 0.0
    bandwidth: float = 0.0  # bytes a second; 0 = no limit
    loss_percent: float = 0.0
    open_from: float = (
        -math.inf
    )  # the cable is whole from this moment on (monotonic); what is later leaves as it is made

    @property
    def is_plain(self) -> bool:
        """Only a delay: then when a commit arrives follows from when it was made, and from nothing else."""
        return not (self.jitter_seconds or self.bandwidth or self.loss_percent)

    @property
    def round_trip_seconds(self) -> float:
        return max(ROUND_TRIP_SECONDS_MIN, 2 * self.delay_seconds)


class Link:
    """The knobs. Reading is safe from any thread; each knob is one assignment, made under `_lock`."""

    def __init__(self, delay_seconds: float, *, seed: int = 0) -> None:
        self.knobs = Knobs(_within("delay", delay_seconds, 0, DELAY_SECONDS_MAX))
        self.seed = seed
        self._is_paused = False
        self._lock = threading.Lock()

    @property
    def delay_seconds(self) -> float:
        return self.knobs.delay_seconds

    @property
    def is_paused(self) -> bool:
        return self._is_paused

    def set_delay(self, seconds: float) -> None:
        """0 to `DELAY_SECONDS_MAX`; raises `Invalid` on the field `delay`."""
        self._turn(delay_seconds=_within("delay", seconds, 0, DELAY_SECONDS_MAX))

    def set_jitter(self, seconds: float) -> None:
        """Up to so much longer than the delay, by chance; raises `Invalid` on the field `jitter`."""
        self._turn(jitter_seconds=_within("jitter", seconds, 0, JITTER_SECONDS_MAX))

    def set_bandwidth(self, bytes_a_second: float) -> None:
        """0 lifts the limit; raises `Invalid` on the field `bandwidth`."""
        if bytes_a_second != 0:
            bytes_a_second = _within("bandwidth", bytes_a_second, BANDWIDTH_MIN, BANDWIDTH_MAX)
        self._turn(bandwidth=float(bytes_a_second))

    def set_loss(self, percent: float) -> None:
        """How many of a hundred tries are lost; raises `Invalid` on the field `loss`."""
        self._turn(loss_percent=_within("loss", percent, 0, LOSS_PERCENT_MAX))

    def cut(self, seconds: float, now: float) -> None:
        """The cable is broken from *now* on, for so long or until `mend`; raises `Invalid` on the field `outage`."""
        if seconds == 0:
            raise Invalid({"outage": _sentence("outage", 0.1, OUTAGE_SECONDS_MAX)})
        self._turn(open_from=now + _within("outage", seconds, 0, OUTAGE_SECONDS_MAX))

    def mend(self, now: float) -> None:
        """The cable is whole; what was under way when it broke leaves now."""
        if self.is_out(now):
            self._turn(open_from=now)

    def pause(self) -> None:
        """Nothing crosses until `resume`."""
        self._is_paused = True

    def resume(self) -> None:
        self._is_paused = False

    def is_out(self, now: float) -> bool:
        """Whether the cable is broken."""
        return now < self.knobs.open_from

    def out_for(self, now: float) -> float:
        """Seconds until the cable is whole again; 0 while it is."""
        return max(0.0, self.knobs.open_from - now)

    def _turn(self, **changes: float) -> None:
        with self._lock:
            self.knobs = self.knobs._replace(**changes)

    # ---- a link with nothing but a delay

    def crossed_before(self, now: float) -> float:
        """Commits made at or before this moment have crossed by *now*, if only the delay is set."""
        knobs = self.knobs
        moment = now - knobs.delay_seconds
        return moment if moment >= knobs.open_from else -math.inf

    def due(self, committed: float) -> float:
        """When a commit made at *committed* has crossed, if only the delay is set. Both are of the monotonic clock."""
        knobs = self.knobs
        return max(committed, knobs.open_from) + knobs.delay_seconds + ROUNDING_SECONDS

    def progress(self, committed: float, now: float) -> float:
        """How much of the way is behind a commit, 0 to 1, if only the delay is set."""
        knobs = self.knobs
        if self.is_out(now):
            return 0.0
        if not knobs.delay_seconds:
            return 1.0
        return min(1.0, max(0.0, (now - max(committed, knobs.open_from)) / knobs.delay_seconds))


class Way(NamedTuple):
    """How one commit crosses, as the knobs stand now. All moments are of the monotonic clock."""

    committed: float
    left: float  # its last byte is on the cable
    arrives: float
    tries: int  # 1 = none was lost

    def progress(self, now: float) -> float:
        """How much of the way is behind it, 0 to 1."""
        length = self.arrives - self.committed
        return 1.0 if length <= 0 else min(1.0, max(0.0, (now - self.committed) / length))


class Ways(Protocol):
    """How commits that follow each other cross."""

    def __len__(self) -> int: ...
    def __getitem__(self, at: int, /) -> Way: ...


class PlainWays:
    """`Ways` on a link with nothing but a delay: of thousands, few are asked for, so they are worked out then."""

    def __init__(self, committed: Sequence[float], knobs: Knobs) -> None:
        self._committed = committed
        self._knobs = knobs

    def __len__(self) -> int:
        return len(self._committed)

    def __getitem__(self, at: int, /) -> Way:
        committed = self._committed[at]
        left = max(committed, self._knobs.open_from)
        return Way(committed, left, left + self._knobs.delay_seconds, 1)


class Timetable:
    """When each commit above the replica's position arrives, on a link that has more than a delay.

    What a commit needs depends on the one before it, so the moments are worked out in order, once, and kept (16 bytes each) until the
    commit has arrived or a knob is turned. `_lock` guards everything; the caller may be any thread.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._store: Store | None = None
        self._restart(0)

    def _restart(self, after: int) -> None:
        self._knobs = self._link.knobs
        self._base = after  # the arrays begin with the commit after this one
        self._left = array("d")
        self._arrivals = array("d")
        self._left_before = self._arrival_before = -math.inf  # of the commit at `_base`

    def restart(self, after: int) -> None:
        """Everything up to *after* came across in another way: nothing queues behind it."""
        with self._lock:
            self._restart(after)

    def last_crossed(self, store: Store, after: int, now: float) -> int:
        """The last commit of *store* above *after* that has arrived by *now*, `LOOK_AHEAD` of them at most; *after* if none has."""
        with self._lock:
            self._follow(store, after)
            last = min(store.position.lsn, after + LOOK_AHEAD)
            if last <= after or self._arrival(store, after + 1) > now:
                return after
            while self._base + len(self._arrivals) < last and self._arrivals[-1] <= now:
                self._extend(store)
            return min(last, self._base + bisect_right(self._arrivals, now))

    def way(self, store: Store, after: int, lsn: int) -> Way:
        """How commit *lsn* crosses; the replica stood at *after* a moment ago. Raises IndexError when it has arrived meanwhile."""
        with self._lock:
            self._follow(store, max(after, self._base) if store is self._store else after)
            if lsn <= self._base:
                raise IndexError(lsn)
            arrives = self._arrival(store, lsn)
            left = self._left[lsn - self._base - 1]
        return Way(store.committed_monotonic(lsn), left, arrives, lost_tries(self._link.seed, lsn, self._knobs) + 1)

    def _follow(self, store: Store, after: int) -> None:
        """Forget what has arrived, and everything when the knobs or the store are others."""
        known = self._base + len(self._arrivals)
        if store is not self._store or not self._base <= after <= known:
            self._store = store
            self._restart(after)
        elif after - self._base > 4096 or (after > self._base and self._knobs is not self._link.knobs):
            self._forget(after - self._base)
        if self._knobs is not self._link.knobs:
            self._knobs = self._link.knobs
            del self._left[:], self._arrivals[:]

    def _forget(self, count: int) -> None:
        self._left_before, self._arrival_before = self._left[count - 1], self._arrivals[count - 1]
        del self._left[:count], self._arrivals[:count]
        self._base += count

    def _arrival(self, store: Store, lsn: int) -> float:
        while self._base + len(self._arrivals) < lsn:
            self._extend(store)
        return self._arrivals[lsn - self._base - 1]

    def _extend(self, store: Store) -> None:
        knobs, seed = self._knobs, self._link.seed
        left = self._left[-1] if self._left else self._left_before
        arrival = self._arrivals[-1] if self._arrivals else self._arrival_before
        lsn = self._base + len(self._arrivals)
        data = store.lines(lsn, max_bytes=_READ_BYTES)
        if not data:
            raise IndexError(lsn + 1)
        for size in _sizes(data):
            lsn += 1
            left = max(left, store.committed_monotonic(lsn), knobs.open_from)
            if knobs.bandwidth:
                left += size / knobs.bandwidth
            arrival = max(arrival, left + under_way_seconds(seed, lsn, knobs))
            self._left.append(left)
            self._arrivals.append(arrival)


def under_way_seconds(seed: int, lsn: int, knobs: Knobs) -> float:
    """From the cable's one end to the other: the delay, this commit's share of the jitter, a round trip for each lost try."""
    seconds = knobs.delay_seconds
    if knobs.jitter_seconds:
        seconds += knobs.jitter_seconds * chance(2 * seed, lsn)
    if knobs.loss_percent:
        seconds += knobs.round_trip_seconds * lost_tries(seed, lsn, knobs)
    return seconds


def lost_tries(seed: int, lsn: int, knobs: Knobs) -> int:
    """How many tries of this commit are lost: each with the same chance, whatever became of the others."""
    if not knobs.loss_percent:
        return 0
    luck = 1.0 - chance(2 * seed + 1, lsn)  # above 0, so that it has a logarithm
    return min(TRIES_MAX - 1, int(math.log(luck) / math.log(knobs.loss_percent / 100.0)))


def chance(seed: int, lsn: int) -> float:
    """A number in [0, 1) that belongs to *seed* and *lsn* for good, and looks like none of its neighbours (splitmix64)."""
    mixed = (lsn * 0x9E3779B97F4A7C15 + (seed + 1) * 0xD1342543DE82EF95) & _CHANCE_MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _CHANCE_MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _CHANCE_MASK
    return ((mixed ^ (mixed >> 31)) >> 11) / (1 << 53)


def first_lines(data: bytes, count: int) -> bytes:
    """The first *count* lines of *data*, or all when there are fewer."""
    end = 0
    for size in _sizes(data):
        if not count:
            return data[:end]
        end += size
        count -= 1
    return data


def last_lines(data: bytes, count: int) -> bytes:
    """The last *count* lines of *data*, or all when there are fewer."""
    start = len(data)
    while start and count:
        start = data.rfind(b"\n", 0, start - 1) + 1
        count -= 1
    return data[start:]


def _sizes(data: bytes) -> Iterator[int]:
    start = 0
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        yield end - start
        start = end


_WORDS = {
    "delay": "Enter a delay from {0:g} to {1:,.0f} seconds.",
    "jitter": "Enter a jitter from {0:g} to {1:,.0f} seconds.",
    "bandwidth": "Enter a bandwidth from {0:,.0f} to {1:,.0f} bytes a second, or 0 for no limit.",
    "loss": "Enter a loss from {0:g} to {1:.0f} percent.",
    "outage": "Enter the length of the outage: more than 0, up to {1:,.0f} seconds.",
}


def _within(field: str, number: float, least: float, most: float) -> float:
    # The comparison is false for NaN too, which would otherwise never be due.
    if not (math.isfinite(number) and least <= number <= most):
        raise Invalid({field: _sentence(field, least, most)})
    return float(number)


def _sentence(field: str, least: float, most: float) -> str:
    return _WORDS[field].format(least, most)
