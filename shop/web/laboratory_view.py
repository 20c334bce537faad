"""What the pages about the link, the modes and the past show, in words. The templates only print it."""

from collections.abc import Sequence

from msgspec import Struct

from shop.replication.contract import CommitState, Journey, Latency, Link, Mode, Past, PastSide, Status
from shop.web.replication_view import (
    COLLECTION_ORDER,
    clock_text,
    lsn_text,
    number_text,
    plural,
    seconds_text,
    size_text,
)

MODE_NAMES = {Mode.ASYNC: "Async", Mode.SEMI_SYNC: "Semi-sync", Mode.SYNC: "Sync mirror"}
MODE_WAITS = {
    Mode.ASYNC: "Nothing. The customer has the answer as soon as the write is safe here.",
    Mode.SEMI_SYNC: "Until the write is in the journal of the far side, but no longer than the timeout; then it goes on as async.",
    Mode.SYNC: "Until readers of the far side see the write. While the link is down, nothing is written at all.",
}
MODE_RISKS = {
    Mode.ASYNC: "Whatever is on the link: it was confirmed, and dies with the primary.",
    Mode.SEMI_SYNC: "Nothing that was confirmed in time; after a fall-back as much as with async.",
    Mode.SYNC: "Nothing that was confirmed. The price is that the shop stops selling when the far side is away.",
}
STATE_WORDS = {
    CommitState.IN_FLIGHT: ("In flight", "there"),
    CommitState.ARRIVED: ("Arrived", "there"),
    CommitState.APPLIED: ("Applied", "success"),
    CommitState.VERIFIED: ("Verified", "success"),
}
STEP_WORDS = {
    "committed": ("Committed", "Safe in the journal of the primary, and seen by every reader here."),
    "left": ("On the cable", "Its last byte has left; with a bandwidth it queues behind those before it."),
    "arrived": ("Arrived", "Safe in the journal of the replica: from here on it survives the primary."),
    "applied": ("Applied", "Readers of the replica see it."),
    "verified": ("Verified", "Both sides were compared since, record by record, and were equal."),
}


class ModeColumn(Struct, frozen=True):
    """One mode beside the others."""

    value: str
    name: str
    is_current: bool
    waits: str
    risk: str
    p50: str
    p99: str
    commits: str


class ModesView(Struct, frozen=True):
    columns: Sequence[ModeColumn]
    note: str
    is_alarming: bool


class StepView(Struct, frozen=True):
    name: str
    words: str
    at: str
    clock: str
    after: str
    is_done: bool


class JourneyView(Struct, frozen=True):
    label: str
    lsn: int
    place: str  # the LSN as it is usually written
    timeline: int
    state_word: str
    state_kind: str
    steps: Sequence[StepView]
    facts: Sequence[tuple[str, str]]
    changes: Sequence[tuple[str, Sequence[str]]]  # collection, ids of records


class PastSideView(Struct, frozen=True):
    role: str
    file: str
    position: str
    checksum: str
    counts: Sequence[tuple[str, str, bool]]  # name, number, whether the other side held another number


def modes_of(status: Status) -> ModesView | None:
    modes = status.modes
    if modes is None:
        return None
    note = ""
    if modes.is_fallen_back:
        note = "Semi-sync has given up waiting and goes on as async, until the far side has caught up. "
    if modes.waiting:
        note += f"{plural(modes.waiting, 'writer')} of at most {modes.places} waiting for the far side now. "
    if modes.turned_away:
        note += f"{plural(modes.turned_away, 'write')} turned away since the start, before anything was written. "
    if modes.mode is Mode.SEMI_SYNC and status.link.delay_seconds >= modes.timeout_seconds:
        note += "The delay is not shorter than the timeout: each wait will end in a fall-back."
    return ModesView(
        columns=[_column(latency, modes.mode) for latency in modes.latencies],
        note=note.strip(),
        is_alarming=modes.is_fallen_back,
    )


def _column(latency: Latency, current: Mode) -> ModeColumn:
    mode = latency.mode
    return ModeColumn(
        value=mode.value,
        name=MODE_NAMES[mode],
        is_current=mode is current,
        waits=MODE_WAITS[mode],
        risk=MODE_RISKS[mode],
        p50=_latency(latency.p50_seconds),
        p99=_latency(latency.p99_seconds),
        commits=plural(latency.commits, "write") if latency.commits else "none yet",
    )


def _latency(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else seconds_text(seconds)


def knobs_of(link: Link, timeout_seconds: float | None) -> dict[str, str]:
    """What stands in each field until somebody types."""
    return {
        "apply_delay": number_text(link.apply_delay_seconds or 0),
        "jitter": number_text(link.jitter_seconds),
        "bandwidth": number_text(link.bandwidth),
        "loss": number_text(link.loss_percent),
        "outage": "10",
        "timeout": number_text(timeout_seconds or 0),
    }


def journey_of(journey: Journey) -> JourneyView:
    word, kind = STATE_WORDS[journey.state]
    summary = journey.summary or "its content is no longer in the journals"
    return JourneyView(
        label=summary[:1].upper() + summary[1:],
        lsn=journey.lsn,
        place=lsn_text(journey.lsn, is_wal=journey.is_wal),
        timeline=journey.timeline,
        state_word=word,
        state_kind=kind,
        steps=[
            StepView(
                name=STEP_WORDS[step.name][0],
                words=STEP_WORDS[step.name][1],
                at=step.at or "",
                clock=clock_text(step.at) if step.at else "",
                after=_after(step.after_seconds, is_done=step.is_done),
                is_done=step.is_done,
            )
            for step in journey.steps
        ],
        facts=_facts(journey),
        changes=_changes(journey),
    )


def _after(seconds: float | None, *, is_done: bool) -> str:
    if seconds is None:
        return "time not known" if is_done else "not yet"
    text = f"{max(0.0, seconds) * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
    return f"after {text}" if is_done else f"expected after {text}"


def _changes(journey: Journey) -> Sequence[tuple[str, Sequence[str]]]:
    """Under each collection the records."""
    found: dict[str, list[str]] = {}
    for change in journey.changes:
        found.setdefault(change.collection, []).append(f"{change.id} (deleted)" if change.is_delete else change.id)
    return list(found.items())


def _facts(journey: Journey) -> Sequence[tuple[str, str]]:
    facts = [("Position", f"timeline {journey.timeline}, LSN {lsn_text(journey.lsn, is_wal=journey.is_wal)}")]
    if journey.checksum:
        facts.append(("Checksum", journey.checksum))
    if journey.size_bytes is not None:
        facts.append(("Size in the journal", size_text(journey.size_bytes)))
    if journey.tries:
        others = "" if journey.tries == 1 else ", the others were lost"
        facts.append(("Tries on the link", f"{journey.tries}{others}"))
    return facts


def past_side_of(side: PastSide, other: PastSide, role: str) -> PastSideView:
    names = [name for name in COLLECTION_ORDER if name in side.counts]
    return PastSideView(
        role=role,
        file=side.file,
        position=f"timeline {side.position.timeline}, LSN {side.position.lsn:,}",
        checksum=side.position.checksum[:8],
        counts=[(name, f"{side.counts[name]:,}", side.counts[name] != other.counts.get(name)) for name in names],
    )


def behind_words(past: Past) -> str:
    behind = past.primary.position.lsn - past.replica.position.lsn
    if past.primary.position == past.replica.position:
        return "Both sides held the same."
    return (
        f"The replica was {plural(behind, 'commit')} behind."
        if behind > 0
        else "The sides were on different histories."
    )
