"""What drills work on: the contracts, and nothing of who keeps them."""

from collections.abc import Sequence
from dataclasses import dataclass

from shop.clock import Clock
from shop.drills.records import Drill, Part
from shop.replication.contract import Failover, FarReads, Laboratory, Replication, Sabotage, State, Status
from shop.repository.contract import Repository

_UNABLE = (State.REFUSED, State.SNAPSHOT_NEEDED, State.FAILING)


@dataclass(frozen=True)
class Parts:
    """A pair of sides as the contracts show it. What a back end does not have is None."""

    clock: Clock
    repository: Repository
    replication: Replication
    currency: str
    laboratory: Laboratory | None = None
    failover: Failover | None = None
    reads: FarReads | None = None
    sabotage: Sabotage | None = None


def why_not(drill: Drill, parts: Parts) -> str:
    """Why this pair cannot do the drill, ever; "" when it can."""
    reasons = (_why_without(need, parts) for need in drill.needs)
    return next(filter(None, reasons), "")


def why_not_now(parts: Parts, status: Status, *, has_left_over: bool = False) -> str:
    """A drill needs a healthy pair to begin with: damage on top of damage teaches nothing and may lose something. With
    *has_left_over* a replica that is damaged may be so by a drill, and what that drill left is put back first."""
    if not parts.repository.is_writable():
        return f"The shop takes no writes now. {parts.repository.why_read_only()}"
    if status.state in _UNABLE:
        return f"The pair is not well, so this is no time for a drill. {status.sentence}"
    if status.diverged_records and not has_left_over:
        return "The last verification found that the sides differ: repair the replica before a drill."
    return ""


def _why_without(need: Part, parts: Parts) -> str:
    missing = {
        Part.LABORATORY: ("The link of this shop has no knobs.", parts.laboratory),
        Part.READS: ("This shop is read from one side only.", parts.reads),
        Part.FAILOVER: ("The sides of this shop cannot change their roles here.", parts.failover),
        Part.DAMAGE: ("The replica of this shop cannot be damaged on purpose.", parts.sabotage),
        Part.POISON: ("No commit of this shop can be damaged on its way.", parts.sabotage),
    }
    sentence, part = missing[need]
    if part is None:
        return sentence
    if parts.sabotage is not None and need is Part.DAMAGE:
        return parts.sabotage.why_no_damage()
    if parts.sabotage is not None and need is Part.POISON:
        return parts.sabotage.why_no_poison()
    return ""


def on_the_link(parts: Parts, status: Status) -> Sequence[str]:
    """What of the knobs' setting a drill changes and puts back, in words; for the page."""
    link, found = status.link, []
    if link.is_paused:
        found.append("The link is paused: the drill resumes it, so what waits crosses, and pauses it again afterwards.")
    if link.is_out:
        found.append("The cable is broken: the drill mends it, and breaks it again for the time that is left.")
    if link.delay_seconds > 10:
        found.append(
            f"The delay of {link.delay_seconds:g} s is put aside, so what is on its way crosses at once, and set again afterwards."
        )
    return found
