"""The knobs, each where it is turned: the link at the one who runs the servers, the apply delay and the pause of replay on the standby.

On somebody's own servers nobody runs a link: what belongs to it is refused with the reason, and so is a new base backup.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from shop.clock import Clock
from shop.cluster.control import ClusterControl, ClusterRefused, ClusterUnreachable
from shop.errors import Conflict, Invalid
from shop.replication import contract
from shop.replication.postgres.look import Far
from shop.replication.postgres.pair import ServerPair
from shop.replication.postgres.servers import Rows, Server, Unreachable

APPLY_DELAY_SECONDS_MAX = 3600.0
DELAY_SECONDS_MAX = 10.0  # of the link; the servers' patience with a silent connection is not much longer
LINK_SECONDS = 0.5  # who asks for the link's knobs again sooner is told the same
NO_LINK = (
    "The servers are run by somebody else, and the network between them is a real one: only make cluster simulates it."
)
NO_REBUILD = (
    "The servers are run by somebody else: stop the replica there, empty its data directory, and fill it with pg_basebackup"
    " from the primary."
)
NO_HISTORY = (
    "PostgreSQL keeps no earlier states to look at. Each commit can still be followed by itself, as far back as the table of"
    " commits reaches."
)
RELOAD_SECONDS_MAX = 2.0
_APPLY_DELAY = "SELECT setting::bigint FROM pg_settings WHERE name = 'recovery_min_apply_delay'"
OF_THE_LINK = ("delay", "jitter", "bandwidth", "loss", "outage", "mend")
SIDES = "ab"


class LinkKnobs(NamedTuple):
    """The simulated link as it is set now."""

    delay_seconds: float = 0.0
    jitter_seconds: float = 0.0
    bandwidth: float = 0.0
    loss_percent: float = 0.0
    out_seconds: float = 0.0


class Operator(Protocol):
    """The one who runs the servers and the link between them. Each method raises `Conflict` with the reason; `Invalid` on a knob."""

    def is_there(self) -> bool: ...
    def role(self, side: str) -> str:
        """What its files say: "primary", "standby", "old primary", "missing"."""
        ...

    def link(self) -> LinkKnobs: ...
    def set_link(
        self,
        *,
        delay: float | None = None,
        jitter: float | None = None,
        bandwidth: float | None = None,
        loss: float | None = None,
    ) -> None: ...
    def cut(self, seconds: float) -> None: ...
    def mend(self) -> None: ...
    def start_alone(self, side: str) -> str:
        """Start an old primary to be read by us alone; returns its address."""
        ...

    def stop(self, side: str) -> None: ...
    def kill(self, side: str) -> None: ...
    def rejoin(self, side: str) -> str:
        """Make it the standby of the other one: "rewound" or "copied"."""
        ...

    def rebuild(self, side: str) -> None:
        """The same from a fresh copy, whatever it holds."""
        ...


class ClusterOperator:
    """`make cluster`, if it runs in this instance."""

    def __init__(self, instance: Path) -> None:
        self._control = ClusterControl(instance)

    def is_there(self) -> bool:
        return self._control.is_there

    def role(self, side: str) -> str:
        with _as_conflict():
            state = self._control.state()
        return {"a": state.a, "b": state.b}[side].role

    def link(self) -> LinkKnobs:
        with _as_conflict():
            link = self._control.link()
        return LinkKnobs(link.delay_seconds, link.jitter_seconds, link.bandwidth, link.loss_percent, link.out_seconds)

    def set_link(
        self,
        *,
        delay: float | None = None,
        jitter: float | None = None,
        bandwidth: float | None = None,
        loss: float | None = None,
    ) -> None:
        with _as_conflict():
            self._control.set_link(delay=delay, jitter=jitter, bandwidth=bandwidth, loss=loss)

    def cut(self, seconds: float) -> None:
        with _as_conflict():
            self._control.cut(seconds)

    def mend(self) -> None:
        with _as_conflict():
            self._control.mend()

    def start_alone(self, side: str) -> str:
        with _as_conflict():
            return self._control.start_alone(side)

    def stop(self, side: str) -> None:
        with _as_conflict():
            self._control.stop(side)

    def kill(self, side: str) -> None:
        with _as_conflict():
            self._control.kill(side)

    def rejoin(self, side: str) -> str:
        with _as_conflict():
            return self._control.rejoin(side)

    def rebuild(self, side: str) -> None:
        with _as_conflict():
            self._control.rebuild(side)


@contextmanager
def _as_conflict() -> Iterator[None]:
    try:
        yield
    except (ClusterRefused, ClusterUnreachable) as error:
        raise Conflict(str(error)) from error


class Knobs:
    """See the module. Safe from any thread."""

    def __init__(self, operator: Operator, clock: Clock, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.operator = operator
        self.sleep = sleep
        self._clock = clock
        self._known: tuple[float, LinkKnobs | None] | None = None

    # ---- as they are

    def link(self, far: Far | None) -> contract.Link:
        knobs = self._link() or LinkKnobs()
        return contract.Link(
            delay_seconds=knobs.delay_seconds,
            is_paused=far.is_paused if far else False,
            jitter_seconds=knobs.jitter_seconds,
            bandwidth=knobs.bandwidth,
            loss_percent=knobs.loss_percent,
            is_out=knobs.out_seconds > 0,
            out_for_seconds=knobs.out_seconds,
            apply_delay_seconds=far.apply_delay_seconds if far else 0.0,
            delay_max_seconds=DELAY_SECONDS_MAX,
            pauses_replay=True,
        )

    def unavailable(self) -> Mapping[str, str]:
        """Name of the knob -> why it cannot be turned here."""
        if self._link() is not None:
            return {}
        return {**dict.fromkeys(OF_THE_LINK, NO_LINK), "resync": NO_REBUILD}

    def normal_seconds(self, far: Far | None) -> float:
        """How old a commit may be before it is late."""
        link = self.link(far)
        return max(link.delay_seconds + link.jitter_seconds, link.apply_delay_seconds or 0.0)

    def forget(self) -> None:
        """Ask again who runs the servers, and how the link is set."""
        self._known = None

    def why_cut(self) -> str:
        """Why nothing crosses, as the rest of a sentence; "" while something may."""
        knobs = self._link()
        return "the cable to it is broken" if knobs is not None and knobs.out_seconds > 0 else ""

    def _link(self) -> LinkKnobs | None:
        """None where nobody runs a link."""
        now = self._clock.monotonic()
        known = self._known
        if known is not None and now - known[0] < LINK_SECONDS:
            return known[1]
        try:
            link: LinkKnobs | None = self.operator.link() if self.operator.is_there() else None
        except Conflict:
            link = None
        self._known = (now, link)
        return link

    # ---- turned

    def set_delay(self, seconds: float) -> None:
        self._check_delay(seconds)
        self._turn(lambda: self.operator.set_link(delay=seconds))

    def set_jitter(self, seconds: float) -> None:
        self._turn(lambda: self.operator.set_link(jitter=_number("jitter", seconds)))

    def set_bandwidth(self, bytes_a_second: float) -> None:
        self._turn(lambda: self.operator.set_link(bandwidth=_number("bandwidth", bytes_a_second)))

    def set_loss(self, percent: float) -> None:
        self._turn(lambda: self.operator.set_link(loss=_number("loss", percent)))

    def cut(self, seconds: float) -> None:
        self._turn(lambda: self.operator.cut(_number("outage", seconds)))

    def mend(self) -> None:
        self._turn(self.operator.mend)

    def set_apply_delay(self, standby: Server, seconds: float) -> None:
        """Raises `Invalid` on the field `apply_delay`, `Conflict` when the standby does not answer."""
        if not 0 <= seconds <= APPLY_DELAY_SECONDS_MAX:  # false for NaN as well
            raise Invalid(
                {"apply_delay": f"Type a number of seconds from 0 to {APPLY_DELAY_SECONDS_MAX:g}, such as 5 or 0.5."}
            )
        milliseconds = round(seconds * 1000)
        self._tell(standby, f"ALTER SYSTEM SET recovery_min_apply_delay = '{milliseconds}ms'")
        self._tell(standby, "SELECT pg_reload_conf()")
        deadline = self._clock.monotonic() + RELOAD_SECONDS_MAX
        while self._tell(standby, _APPLY_DELAY) != [(milliseconds,)] and self._clock.monotonic() < deadline:
            self.sleep(0.005)

    def pause(self, standby: Server) -> None:
        """Replay stops after the commit it is at; what arrives is kept."""
        self._tell(standby, "SELECT pg_wal_replay_pause()")

    def resume(self, standby: Server) -> None:
        self._tell(standby, "SELECT pg_wal_replay_resume()")

    @contextmanager
    def lifted(self, standby: Server, far: Far) -> Iterator[None]:
        """Inside, nothing holds commits back on purpose; afterwards every knob is as it was, but for an outage: that is over."""
        link = self._link()
        if link is not None:
            self._turn(self.operator.mend)
            self._turn(lambda: self.operator.set_link(delay=0, jitter=0, bandwidth=0, loss=0))
        if far.apply_delay_seconds:
            self.set_apply_delay(standby, 0)
        if far.is_paused:
            self.resume(standby)
        try:
            yield
        finally:
            if link is not None:
                knobs = replace_link(link)
                self._turn(lambda: self.operator.set_link(**knobs))
            if far.apply_delay_seconds:
                self.set_apply_delay(standby, far.apply_delay_seconds)
            if far.is_paused:
                self.pause(standby)

    def rebuild(self, pair: ServerPair) -> None:
        """The standby anew, from a base backup. Raises `Conflict`."""
        if self._link() is None:
            raise Conflict(NO_REBUILD)
        side = SIDES[1 - pair.roles.primary]
        standby = pair.standby
        self.operator.rebuild(side)
        standby.forget()

    def _turn(self, turn: Callable[[], None]) -> None:
        if self._link() is None:
            raise Conflict(NO_LINK)
        turn()
        self._known = None

    def _tell(self, server: Server, statement: str) -> Rows:
        try:
            return server.ask(statement)
        except Unreachable as error:
            raise Conflict(error.message) from error

    def _check_delay(self, seconds: float) -> None:
        if not 0 <= seconds <= DELAY_SECONDS_MAX:  # false for NaN as well
            raise Invalid({"delay": f"Type a number of seconds from 0 to {DELAY_SECONDS_MAX:g}, such as 5 or 0.5."})


def replace_link(link: LinkKnobs) -> dict[str, float]:
    """What `set_link` takes to bring *link* back."""
    return {
        "delay": link.delay_seconds,
        "jitter": link.jitter_seconds,
        "bandwidth": link.bandwidth,
        "loss": link.loss_percent,
    }


def _number(field: str, value: float) -> float:
    """JSON has no NaN. Raises `Invalid` on *field*."""
    if value != value:
        raise Invalid({field: "Type a number."})
    return value
