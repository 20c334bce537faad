"""How everything stood before a drill, and putting it back. Each step of that is tried, whatever became of the one before."""

from collections.abc import Callable, Iterator

import structlog
from msgspec import Struct
from msgspec.structs import replace

from shop.replication.contract import Laboratory, Mode, Replication, Status

OUTAGE_SECONDS_MIN = 0.5  # what is left of an outage: shorter is not worth breaking the cable again

_log = structlog.get_logger("drills")


class Setting(Struct, frozen=True, kw_only=True):
    """The roles and the knobs. Kept in a file while a drill runs, so that the next one finds out what a killed server left."""

    drill: str
    primary: str  # the file
    timeline: int
    lsn: int  # of the primary when the drill began: what is left behind above it was left by the drill
    delay_seconds: float
    jitter_seconds: float
    bandwidth: float
    loss_percent: float
    is_paused: bool
    out_for_seconds: float
    mode: str  # "" where nobody ever waits
    timeout_seconds: float
    at_monotonic: float
    has_changed_primary: bool = False

    def changing_primary(self) -> "Setting":
        return replace(self, has_changed_primary=True)


def setting_of(drill: str, status: Status, now: float) -> Setting:
    link, modes, position = status.link, status.modes, status.primary.position
    return Setting(
        drill=drill,
        primary=status.primary.file,
        timeline=position.timeline,
        lsn=position.lsn,
        delay_seconds=link.delay_seconds,
        jitter_seconds=link.jitter_seconds,
        bandwidth=link.bandwidth,
        loss_percent=link.loss_percent,
        is_paused=link.is_paused,
        out_for_seconds=link.out_for_seconds,
        mode=modes.mode if modes else "",
        timeout_seconds=modes.timeout_seconds if modes else 0.0,
        at_monotonic=now,
    )


def open_link(replication: Replication, laboratory: Laboratory | None) -> None:
    """Nothing but a delay of 0, and nobody waits: whatever is in the way of a drill is out of it."""
    if laboratory is not None:
        laboratory.set_mode(Mode.ASYNC)
        laboratory.mend()
        laboratory.set_jitter(0)
        laboratory.set_bandwidth(0)
        laboratory.set_loss(0)
    replication.set_delay(0)
    replication.resume()


def turn_knobs_back(
    setting: Setting, replication: Replication, laboratory: Laboratory | None, now: float
) -> Iterator[tuple[str, Callable[[], object]]]:
    """What to do, each with its name; in this order nothing of it waits for the link."""
    yield "the delay", lambda: replication.set_delay(setting.delay_seconds)
    if laboratory is not None:
        yield "the jitter", lambda: laboratory.set_jitter(setting.jitter_seconds)
        yield "the bandwidth", lambda: laboratory.set_bandwidth(setting.bandwidth)
        yield "the loss", lambda: laboratory.set_loss(setting.loss_percent)
        left = setting.out_for_seconds - (now - setting.at_monotonic)
        if left >= OUTAGE_SECONDS_MIN:
            yield "the outage", lambda: laboratory.cut(left)
        if setting.mode:
            yield "the timeout", lambda: laboratory.set_timeout(setting.timeout_seconds)
            yield "the mode", lambda: laboratory.set_mode(setting.mode)
    if setting.is_paused:
        yield "the pause", replication.pause


def attempt(name: str, action: Callable[[], object]) -> str:
    """Do it; returns what went wrong, as a sentence, "" when nothing did.

    This is the edge of a background job that must put everything back: one fault must not keep the rest from it.
    """
    try:
        action()
    except Exception as error:
        _log.exception("a drill could not put something back", what=name)
        return f"{name[:1].upper()}{name[1:]} could not be put back: {error}".rstrip(".") + "."
    return ""
