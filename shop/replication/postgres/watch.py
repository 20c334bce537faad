"""What is on its way, followed from look to look: when a commit was first seen, when it had arrived, when it was applied.

A commit is known by its id. It *has arrived* when the standby has flushed past a place in the log that the commit is known to be
below: the primary's position right after the commit was first seen. That may be told a look late, never early.

The looks read only the rows above a floor: a place that everything had passed some time ago. A row below it can only appear late if
its transaction was open for longer than FLOOR_SECONDS, which the timeouts of the repository do not let it.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from shop.clock import Clock
from shop.replication.losing import Left
from shop.replication.postgres.look import Far, Near, Row, Sizes, look_far, look_near, look_sizes
from shop.replication.postgres.pair import ServerPair
from shop.replication.postgres.records import Operations
from shop.replication.postgres.servers import Server, Unreachable
from shop.units import Position

FLOOR_SECONDS = 60.0
SIZES_SECONDS = 1.0
LOOK_SECONDS = 0.15  # who asks again sooner is told the same
BUSY_SECONDS = 0.2
IDLE_SECONDS = 1.0
RECENT_KEPT = 500
SAMPLES_KEPT = 400
READ_AHEAD = 500
CONFIRMED_KEPT = 1000


class Crossing(NamedTuple):
    """A commit that the primary has and the standby's readers do not see."""

    row: Row
    arrived_monotonic: float | None  # when it was first seen to be safe there; None: not yet

    @property
    def has_arrived(self) -> bool:
        return self.arrived_monotonic is not None


class Landed(NamedTuple):
    """A commit that the standby's readers see."""

    row: Row
    applied_monotonic: float | None  # None: before anybody looked
    is_exact: bool  # it was seen on its way; else it was there at the first look after it was made
    normal_seconds: float = 0.0  # how long that takes, as the knobs stood
    arrived_monotonic: float | None = None


class Picture(NamedTuple):
    """Both servers at one moment; None where one did not answer, and then why."""

    monotonic: float
    primary: Server
    standby: Server
    near: Near | None
    far: Far | None
    near_problem: str
    far_problem: str
    missing: Sequence[Crossing]  # oldest first
    recent: Sequence[Landed]  # newest first
    last_near: Near | None  # the newest that was ever seen of this primary
    last_far: Far | None
    sizes: Mapping[str, Sizes]  # by the server's name

    @property
    def at_risk(self) -> Sequence[Row]:
        """What dies with the primary."""
        return [one.row for one in self.missing if not one.has_arrived]


class _Sample(NamedTuple):
    monotonic: float
    position: int


class Watch:
    """The picture, taken anew when somebody asks and the last one is old. Safe from any thread; one look at a time."""

    def __init__(
        self, pair: ServerPair, clock: Clock, *, normal_seconds: Callable[[Far | None], float] = lambda far: 0.0
    ) -> None:
        self.pair = pair
        self.operations = Operations()
        self._normal_seconds = normal_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._begin_anew()
        self._picture: Picture | None = None
        self._confirmed: deque[Position] = deque(maxlen=CONFIRMED_KEPT)
        self._last_position = 0  # of the primary that was looked at last
        self._stale = 0.0  # a picture that was begun before is not shown

    def _begin_anew(self) -> None:
        self._roles = (self.pair.roles.primary, self.pair.roles.timeline)
        self._samples: deque[_Sample] = deque(maxlen=SAMPLES_KEPT)
        self._first_seen: dict[UUID, int] = {}  # the primary's position when a missing commit was first seen
        self._known_missing: dict[UUID, Row] = {}
        self._arrived: dict[UUID, float] = {}
        self._recent: deque[Landed] = deque(maxlen=RECENT_KEPT)
        self._landed: set[UUID] = set()
        self._has_compared = False
        self._old = 0  # above it lie the rows of every transaction that may have been open at the last look
        self._sizes: dict[str, tuple[float, Sizes]] = {}
        self._last_near: Near | None = None
        self._last_far: Far | None = None
        self._slot = ""

    def picture(self, *, fresh: bool = False) -> Picture:
        """As it is now, at most LOOK_SECONDS old; *fresh*: begun after this call."""
        asked = self._clock.monotonic()
        with self._lock:
            known = self._picture
            is_of_now = self._roles == (self.pair.roles.primary, self.pair.roles.timeline)
            oldest = asked if fresh else max(asked - LOOK_SECONDS, self._stale)
            if known is not None and is_of_now and known.monotonic >= oldest:
                return known
            self._picture = self._look()
            return self._picture

    def confirmed(self, position: Position) -> None:
        """This worker told somebody that their write is kept; it should be looked at soon, in case that it is all we ever see."""
        self._confirmed.append(position)
        self.touched()

    def unseen(self, timeline: int, fork: int) -> int:
        """How many writes this worker confirmed on *timeline* beyond *fork*, after the last look at their server."""
        seen = self._last_position
        return sum(one.timeline == timeline and one.lsn > max(fork, seen) for one in tuple(self._confirmed))

    def touched(self) -> None:
        """Something was committed, or a knob was turned: what was seen before that is out of date. Costs nothing."""
        self._stale = self._clock.monotonic()

    def begin_anew(self) -> None:
        """Forget what was followed: the servers hold something else now."""
        with self._lock:
            self._begin_anew()
            self._picture = None

    def keep_up(self) -> None:
        """Look again if it is time: often while anything is on its way, else now and then. For the background."""
        known = self._picture
        is_stale = known is None or known.monotonic < self._stale
        patience = 0.0 if is_stale else BUSY_SECONDS if known is not None and known.missing else IDLE_SECONDS
        if known is None or self._clock.monotonic() - known.monotonic >= patience:
            self.picture()

    def _look(self) -> Picture:
        if self._roles != (self.pair.roles.primary, self.pair.roles.timeline):
            self._begin_anew()
        now = self._clock.monotonic()
        primary, standby = self.pair.primary, self.pair.standby
        floor = self._floor()
        far, far_problem = self._far(standby, floor)
        near, near_problem = self._near(primary, floor)
        if near is not None:
            self._samples.append(_Sample(now, near.position))
        missing = self._compare(near, far, now)
        if near is not None:
            self._read_ahead(primary, missing)
        for server, is_up in ((primary, near is not None), (standby, far is not None)):
            if is_up:
                self._count(server, now)
        return Picture(
            monotonic=now,
            primary=primary,
            standby=standby,
            near=near,
            far=far,
            near_problem=near_problem,
            far_problem=far_problem,
            missing=missing,
            recent=list(reversed(self._recent)),
            last_near=self._last_near,
            last_far=self._last_far,
            sizes={name: sizes for name, (_, sizes) in self._sizes.items()},
        )

    def _far(self, standby: Server, floor: int) -> tuple[Far | None, str]:
        try:
            far = look_far(standby, floor, self._slot)
        except Unreachable as error:
            return None, error.message
        self._slot = far.slot
        self._last_far = far
        return far, ""

    def _near(self, primary: Server, floor: int) -> tuple[Near | None, str]:
        try:
            near = look_near(primary, floor, self._slot)
        except Unreachable as error:
            return None, error.message
        self._last_near = near
        self._last_position = near.position
        return near, ""

    def _read_ahead(self, primary: Server, missing: Sequence[Crossing]) -> None:
        """What is at risk now may be asked for when its server is gone."""
        with suppress(Unreachable):
            self.operations.of(primary, [one.row.id for one in missing[:READ_AHEAD]])

    def _floor(self) -> int:
        lowest_missing = min((row.lsn for row in self._known_missing.values()), default=None)
        return self._old if lowest_missing is None else min(self._old, lowest_missing - 1)

    def _compare(self, near: Near | None, far: Far | None, now: float) -> Sequence[Crossing]:
        """Forget nothing while one side does not answer: what was missing stays so until the standby shows it."""
        if near is not None and far is not None:
            missing = {row.id: row for row in near.rows if row.id not in far.ids}
            self._note_landed(near, far, now)
            self._known_missing = missing
            horizon = near.at - timedelta(seconds=FLOOR_SECONDS)
            self._old = max([self._old, *(row.lsn for row in near.rows if row.at < horizon)])
        elif near is not None:
            for row in near.rows:
                if row.id not in self._known_missing and self._is_thought_missing(row, near):
                    self._known_missing[row.id] = row
        elif far is not None:
            for id in [id for id in self._known_missing if id in far.ids]:
                self._landed.add(id)
                self._recent.append(self._landing(self._known_missing.pop(id), far, now))
        if near is not None:
            for id in self._known_missing:
                self._first_seen.setdefault(id, near.position)
        self._first_seen = {id: place for id, place in self._first_seen.items() if id in self._known_missing}
        reached = self._last_far.flushed if self._last_far is not None else 0
        rows = sorted(self._known_missing.values(), key=lambda row: (row.lsn, row.id))
        for row in rows:
            if self._first_seen.get(row.id, reached + 1) <= reached:
                self._arrived.setdefault(row.id, now)
        self._arrived = {id: moment for id, moment in self._arrived.items() if id in self._known_missing}
        return [Crossing(row, self._arrived.get(row.id)) for row in rows]

    def _landing(self, row: Row, far: Far, now: float) -> Landed:
        """One that was seen on its way and is applied now; it has arrived by now at the latest."""
        return Landed(row, now, True, self._normal_seconds(far), self._arrived.get(row.id, now))

    def _is_thought_missing(self, row: Row, near: Near) -> bool:
        """While the standby does not answer: what it did not show when it did. If it never did, what the log is kept for; whatever
        was made on an earlier timeline it has, as it followed or was primary then."""
        if self._last_far is not None:
            return row.id not in self._last_far.ids
        kept = near.slot.kept if near.slot is not None else None
        return row.timeline == near.timeline and kept is not None and row.lsn >= near.position - kept

    def _note_landed(self, near: Near, far: Far, now: float) -> None:
        is_first = not self._has_compared
        self._has_compared = True
        for row in near.rows if not is_first else near.rows[-RECENT_KEPT:]:
            if row.id not in far.ids or row.id in self._landed:
                continue
            if row.id in self._known_missing:
                self._recent.append(self._landing(row, far, now))
            else:
                self._recent.append(Landed(row, None if is_first else now, False, self._normal_seconds(far)))
        self._landed = {row.id for row in near.rows if row.id in far.ids}

    def _count(self, server: Server, now: float) -> None:
        known = self._sizes.get(server.name)
        if known is not None and now - known[0] < SIZES_SECONDS and known[0] >= self._stale:
            return
        try:
            self._sizes[server.name] = (now, look_sizes(server))
        except Unreachable:
            return

    def left_behind(self) -> list[Left]:
        """What the primary is known to have and the standby does not show, with what is known of it. Asks again what it can."""
        picture = self.picture(fresh=True)
        try:
            known = self.operations.of(picture.primary, [one.row.id for one in picture.missing])
        except Unreachable:
            known = self.operations.known([one.row.id for one in picture.missing])
        return [
            Left(str(row.id), row.timeline, row.lsn, row.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), known.get(row.id, ()))
            for row, _ in picture.missing
        ]

    def passed_at(self, position: int) -> float | None:
        """The monotonic moment from which on the primary was beyond *position*; None when that was never seen."""
        with self._lock:
            return next((sample.monotonic for sample in self._samples if sample.position > position), None)


def age_seconds(row: Row, near: Near | None, clock: Clock) -> float:
    """By the primary's own clock where it answers."""
    now: datetime = near.at if near is not None else clock.now()
    return max(0.0, (now - row.at).total_seconds())
