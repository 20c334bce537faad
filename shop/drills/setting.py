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
    timeline: int  # of the primary when the drill began
    delay_seconds: float
    jitter_seconds: float
    bandwidth: float
    loss_percent: float
    is_paused: bool
    out_for_seconds: float
    apply_delay_seconds: float | None  # None: no such knob
    mode: str  # "" where nobody ever waits
    timeout_seconds: float
    at_monotonic: float
    has_changed_primary: bool = False

    def changing_primary(self) -> "Setting":
        return replace(self, has_changed_primary=True)


_OPEN = Setting(
    drill="",
    primary="",
    timeline=0,
    delay_seconds=0.0,
    jitter_seconds=0.0,
    bandwidth=0.0,
    loss_percent=0.0,
    is_paused=False,
    out_for_seconds=0.0,
    apply_delay_seconds=0.0,
    mode=Mode.ASYNC,
    timeout_seconds=0.0,  # as it is
    at_monotonic=0.0,
)


def setting_of(drill: str, status: Status, now: float) -> Setting:
    link, modes = status.link, status.modes
    return Setting(
        drill=drill,
        primary=status.primary.file,
        timeline=status.primary.position.timeline,
        delay_seconds=link.delay_seconds,
        jitter_seconds=link.jitter_seconds,
        bandwidth=link.bandwidth,
        loss_percent=link.loss_percent,
        is_paused=link.is_paused,
        out_for_seconds=link.out_for_seconds,
        apply_delay_seconds=link.apply_delay_seconds,
        mode=modes.mode if modes else "",
        timeout_seconds=modes.timeout_seconds if modes else 0.0,
        at_monotonic=now,
    )


def open_link(replication: Replication, laboratory: Laboratory | None) -> None:
    """Nothing but a delay of 0, and nobody waits: whatever is in the way of a drill is out of it. A knob that stands so is not turned."""
    status = replication.status()
    for _, turn in (*_knobs_of_laboratory(_OPEN, status, laboratory), *_knobs(_OPEN, status, replication)):
        turn()


def turn_knobs_back(
    setting: Setting, replication: Replication, laboratory: Laboratory | None, now: float
) -> Iterator[tuple[str, Callable[[], object]]]:
    """What to do, each with its name; in this order nothing of it waits for the link."""
    status = replication.status()
    left = setting.out_for_seconds - (now - setting.at_monotonic)
    wanted = replace(setting, out_for_seconds=left if left >= OUTAGE_SECONDS_MIN else 0.0)
    yield from _knobs(wanted, status, replication)
    yield from _knobs_of_laboratory(wanted, status, laboratory)


def _knobs(wanted: Setting, status: Status, replication: Replication) -> Iterator[tuple[str, Callable[[], object]]]:
    if wanted.delay_seconds != status.link.delay_seconds:
        yield "the delay", lambda: replication.set_delay(wanted.delay_seconds)
    if wanted.is_paused != status.link.is_paused:
        yield "the pause", replication.pause if wanted.is_paused else replication.resume


def _knobs_of_laboratory(
    wanted: Setting, status: Status, laboratory: Laboratory | None
) -> Iterator[tuple[str, Callable[[], object]]]:
    link, modes = status.link, status.modes
    if laboratory is None:
        return
    if wanted.jitter_seconds != link.jitter_seconds:
        yield "the jitter", lambda: laboratory.set_jitter(wanted.jitter_seconds)
    if wanted.bandwidth != link.bandwidth:
        yield "the bandwidth", lambda: laboratory.set_bandwidth(wanted.bandwidth)
    if wanted.loss_percent != link.loss_percent:
        yield "the loss", lambda: laboratory.set_loss(wanted.loss_percent)
    if None not in (link.apply_delay_seconds, wanted.apply_delay_seconds) and (
        wanted.apply_delay_seconds != link.apply_delay_seconds
    ):
        yield "the delay of applying", lambda: laboratory.set_apply_delay(wanted.apply_delay_seconds or 0.0)
    if wanted.out_for_seconds:
        yield "the outage", lambda: laboratory.cut(wanted.out_for_seconds)
    elif link.is_out:
        yield "the cable", laboratory.mend
    if modes is not None and wanted.timeout_seconds and wanted.timeout_seconds != modes.timeout_seconds:
        yield "the timeout", lambda: laboratory.set_timeout(wanted.timeout_seconds)
    if modes is not None and wanted.mode and wanted.mode != modes.mode:
        yield "the mode", lambda: laboratory.set_mode(wanted.mode)


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
