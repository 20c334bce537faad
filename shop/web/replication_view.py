"""What the replication page shows, worked out from a `Status`: words, steps and figures. The templates only print it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from shop.replication.contract import (
    AtRisk,
    CommitOnTheWay,
    CommitState,
    Difference,
    Headroom,
    Link,
    Outcome,
    Side,
    Stage,
    State,
    Status,
    Verdict,
)

STEPS = 40  # places along the link a commit can stand at; `replication.css` has a class for each
TRAVELLERS_SHOWN = 6
ARRIVALS_SHOWN = 8
FIELDS_SHOWN = 8
VALUE_LENGTH_MAX = 160
LATE_SECONDS = 0.25  # a healthy replica shows a commit no later than this after the delay
LANDED_SECONDS = 2.0  # how long a commit that has just arrived still stands at the end of its track

Money = Callable[[int], str]  # cents to words, in the shop's currency

COLLECTION_ORDER = ("orders", "products", "categories", "carts", "counters", "admins")
COLLECTION_NAMES = {
    "orders": "order",
    "products": "product",
    "categories": "category",
    "carts": "cart",
    "counters": "counter",
    "admins": "admin",
}

STATE_WORDS = {
    State.IN_SYNC: "In sync",
    State.BEHIND: "Behind",
    State.PAUSED: "Paused",
    State.OUTAGE: "Outage",
    State.FAILING: "Failing",
    State.REFUSED: "Refused",
    State.SNAPSHOT_NEEDED: "Snapshot needed",
}
STATE_TONES = {
    State.IN_SYNC: "calm",
    State.BEHIND: "busy",
    State.PAUSED: "held",
    State.OUTAGE: "alarm",
    State.FAILING: "alarm",
    State.REFUSED: "alarm",
    State.SNAPSHOT_NEEDED: "alarm",
}


class Traveller(Struct, frozen=True):
    """One commit on its track between the two sides."""

    key: str  # stable while it travels, so that the page moves it rather than draws it anew
    kind: str  # order, product, cart, …: which sign it carries
    label: str  # "order A1-10007 · €45.90"
    when: str  # "2.3 s to go", "held", "arrived"
    step: int  # 0 at the primary, STEPS at the replica
    mood: str  # moving, held, stuck, landed
    lsn: int
    percent: int


class Arrival(Struct, frozen=True):
    """One commit the replica has applied."""

    key: str
    kind: str
    label: str
    lsn: str
    committed_at: str
    committed_clock: str
    took: str
    late: str
    is_late: bool
    is_fresh: bool


class Count(Struct, frozen=True):
    """How many records of one collection a side holds, and how that compares with the other side."""

    name: str
    number: str
    note: str  # "" when both hold as many


class SideView(Struct, frozen=True):
    """One side, in words."""

    role: str
    place: str
    file: str
    timeline: int
    lsn: str
    lsn_words: str  # what the big figure counts
    facts: Sequence[tuple[str, str]]
    counts: Sequence[Count]
    is_writable: bool
    problem: str


class StageView(Struct, frozen=True):
    """One stage of the way, and how far it is behind."""

    name: str
    seconds: str
    size: str
    place: str
    confirmed: str
    explanation: str
    is_zero: bool


class HeadroomView(Struct, frozen=True):
    """What the primary keeps of its log."""

    sentence: str
    percent: int  # of what may be kept
    tone: str
    facts: Sequence[tuple[str, str]]


class Figure(Struct, frozen=True):
    """One of the three figures of lag."""

    label: str
    value: str
    explanation: str
    is_zero: bool


class FieldPair(Struct, frozen=True):
    """One field that differs."""

    name: str
    primary: str
    replica: str


class DifferenceView(Struct, frozen=True):
    """One record that differs."""

    kind: str
    kind_word: str  # "" when the label says it already
    label: str
    id: str
    summary: str
    fields: Sequence[FieldPair]
    more: str
    is_explained: bool


class RiskView(Struct, frozen=True):
    """What would be lost if the primary died this second."""

    lead: str
    losses: str
    tail: str
    is_nothing: bool


class VerdictView(Struct, frozen=True):
    """What the last verification found."""

    tone: str
    word: str
    sentence: str
    clock: str
    at: str
    is_repairable: bool  # a fresh copy of the primary would end it
    differences: Sequence[DifferenceView]


class ReplicationView(Struct, frozen=True, kw_only=True):
    """The whole page, ready to print."""

    at: str
    clock: str
    state: str
    word: str
    tone: str
    headline: str
    detail: str
    remedy: str
    read_only: str  # why the primary takes no writes, "" while it does
    risk: RiskView
    primary: SideView
    replica: SideView
    link_word: str
    link_note: str
    delay: str
    is_paused: bool
    can_toggle: bool  # pausing means nothing while nothing is carried anyway
    travellers: Sequence[Traveller]
    quiet: str  # what stands on the link when nobody travels
    more_travellers: str
    bundle: Sequence[int]  # where every commit in flight stands, for the strip that shows them all
    figures: Sequence[Figure]
    stages: Sequence[StageView]
    headroom: HeadroomView | None
    not_here: Mapping[str, str]  # each knob and button -> why it cannot be used here, "" when it can
    pause_hint: str
    differences: Sequence[DifferenceView]
    more_differences: str
    arrivals: Sequence[Arrival]
    is_moving: bool  # something counts down or travels: the next look differs although no record does


class Crossing(Struct, frozen=True):
    """Where one record's newest change is: on both sides, or still on its way."""

    is_across: bool
    is_known: bool  # False in a queue too long to be listed
    sentence: str
    traveller: Traveller | None = None


def view_of(
    status: Status, differences: Sequence[Difference], *, money: Money, differences_limit: int
) -> ReplicationView:
    """The page for *status*; *differences* are at most *differences_limit*, and the page says so when they reach it."""
    travellers = [traveller_of(commit, status) for commit in status.in_flight]
    landed = [_landed(commit) for commit in reversed(just_landed(status))]
    shown = (landed + travellers)[:TRAVELLERS_SHOWN]
    return ReplicationView(
        at=status.at,
        clock=clock_text(status.at, tenths=False),
        state=status.state.value,
        word=STATE_WORDS[status.state],
        tone=STATE_TONES[status.state] if status.primary.is_writable else "alarm",
        headline=headline_of(status),
        detail=detail_of(status),
        remedy=REMEDIES.get(status.state, "") if status.primary.is_reachable else "",  # the detail names what to do
        read_only="" if status.primary.is_writable else status.primary.problem or "The primary takes no writes now.",
        risk=risk_of(status.at_risk, money),
        primary=_side(status, status.primary, status.replica, place=HERE),
        replica=_side(status, status.replica, status.primary, place=FAR_AWAY),
        link_word=LINK_WORDS[status.state],
        link_note=_link_note(status),
        delay=number_text(status.link.delay_seconds),
        is_paused=status.link.is_paused,
        can_toggle=status.link.is_paused or status.state not in (State.REFUSED, State.SNAPSHOT_NEEDED),
        travellers=shown,
        quiet=_quiet(status),
        more_travellers=_more_travellers(status, len(shown) - len(landed)),
        bundle=sorted({traveller.step for traveller in travellers}) if len(travellers) > TRAVELLERS_SHOWN else (),
        figures=_figures(status),
        stages=[_stage(stage) for stage in status.stages],
        headroom=_headroom(status.headroom) if status.headroom else None,
        not_here={name: status.unavailable.get(name, "") for name in CONTROLS},
        pause_hint=PAUSE_HINTS[status.link.pauses_replay],
        differences=[difference_of(difference) for difference in differences],
        more_differences=f"Only the first {differences_limit} are listed."
        if len(differences) >= differences_limit
        else "",
        arrivals=[_arrival(commit, status.at, is_wal=status.is_wal) for commit in status.recent[:ARRIVALS_SHOWN]],
        is_moving=is_moving(status),
    )


def is_moving(status: Status) -> bool:
    """Whether the page would look different a moment later although nothing happened: something travels or counts down."""
    return bool(
        status.lag.commits or status.link.is_out or status.in_flight or status.retry.attempts or just_landed(status)
    )


def just_landed(status: Status) -> Sequence[CommitOnTheWay]:
    """The commits that arrived so lately that they still stand at the end of their tracks; newest first."""
    return [commit for commit in status.recent if _has_just_landed(commit, status.at)]


CONTROLS = "delay apply_delay jitter bandwidth loss timeout outage mend resync history".split()
HERE = "Here. The shop works on this copy: every sale is saved on it first"
FAR_AWAY = "Far away. This copy follows, and takes over if the other is lost"
PAUSE_HINTS = {
    True: "Pause holds what has arrived: it is safe on the replica, and its readers do not see it.",
    False: "Pause holds new writes on the primary.",
}

LINK_WORDS = {
    State.IN_SYNC: "Open, nothing to carry",
    State.BEHIND: "Open, carrying",
    State.PAUSED: "Paused",
    State.OUTAGE: "The cable is broken",
    State.FAILING: "Broken, trying again",
    State.REFUSED: "Closed",
    State.SNAPSHOT_NEEDED: "Gap",
}

REMEDIES = {
    State.PAUSED: "Press Resume, and what waits sets out again.",
    State.OUTAGE: "The cable is whole again when the time is up, or when you mend it below. What was under way then leaves anew.",
    State.FAILING: "It is tried again by itself, more and more slowly. Nothing is skipped: writes cross in their order.",
    State.REFUSED: "Find out which side is right. If it is the primary, rebuild the replica from it below.",
    State.SNAPSHOT_NEEDED: "Rebuild the replica below: it then starts from a fresh copy of the primary.",
}


def headline_of(status: Status) -> str:
    """What is happening now, in one plain sentence."""
    waiting = plural(status.lag.commits, "write")
    if not status.primary.is_reachable:
        return f"The primary does not answer. The shop shows what {status.replica.file} has, and takes no writes."
    match status.state:
        case State.IN_SYNC:
            return "Both sides hold the same data."
        case State.BEHIND if _has_all_arrived(status):
            return (
                f"{waiting} {_verb(status.lag.commits, 'has', 'have')} arrived on the replica; {_next_shown(status)}."
            )
        case State.BEHIND:
            return f"{waiting} {_is_are(status.lag.commits)} crossing to the replica; {_next_arrival(status)}."
        case State.PAUSED if status.link.pauses_replay and not status.lag.commits:
            return "Replay is paused on the replica. Nothing is waiting."
        case State.PAUSED if status.link.pauses_replay:
            return f"Replay is paused: the replica's readers do not see {waiting} yet."
        case State.PAUSED if not status.lag.commits:
            return "The link is paused. Nothing is waiting."
        case State.PAUSED:
            return f"The link is paused: {waiting} {_verb(status.lag.commits, 'waits', 'wait')} on the primary."
        case State.OUTAGE:
            return f"The cable is broken for {seconds_text(status.link.out_for_seconds)} more; {_waits(status)}."
        case State.FAILING:
            return f"The replica cannot be reached; {_next_try(status)}."
        case State.REFUSED:
            return "Nothing is copied: the two sides no longer share one history."
        case State.SNAPSHOT_NEEDED:
            return "The replica is too far behind to catch up by itself; it needs a fresh copy."


def detail_of(status: Status) -> str:
    """What stands below the headline: the reason, where there is one to give."""
    if not status.primary.is_reachable:
        return status.sentence
    if status.state is State.FAILING and status.is_wal:
        return status.sentence
    if status.state is State.FAILING:
        return f"Attempt {status.retry.attempts} failed: {status.retry.error}"
    if status.state is State.PAUSED and status.link.pauses_replay:
        return _what_has_arrived(status)
    if status.state in (State.REFUSED, State.SNAPSHOT_NEEDED):
        return status.sentence
    if status.state is State.IN_SYNC:
        return "Whatever was sold or edited on the primary has arrived on the replica."
    return ""


def risk_of(at_risk: AtRisk, money: Money) -> RiskView:
    """What would be lost, in the shop's words."""
    if not at_risk.commits:
        return RiskView(
            lead="If the primary died this second:", losses="nothing", tail="would be lost.", is_nothing=True
        )
    parts = []
    if at_risk.orders:
        parts.append(f"{plural(at_risk.orders, 'order')}, {money(at_risk.order_cents)}")
    if at_risk.carts:
        parts.append(plural(at_risk.carts, "cart"))
    if at_risk.edits:
        parts.append(plural(at_risk.edits, "edit"))
    losses = " and ".join(parts) if len(parts) < 3 else ", ".join(parts)
    return RiskView(
        lead="If the primary died this second:",
        losses=losses or plural(at_risk.commits, "write"),
        tail="would be lost.",
        is_nothing=False,
    )


def traveller_of(commit: CommitOnTheWay, status: Status) -> Traveller:
    """*commit* on its track."""
    mood = _mood(commit, status)
    return Traveller(
        key=f"{commit.timeline}-{commit.lsn}",
        kind=kind_of(commit),
        label=label_of(commit),
        when=_when(commit, mood),
        step=_step(commit, status),
        mood=mood,
        lsn=commit.lsn,
        percent=round(100 * min(1.0, max(0.0, commit.progress))),
    )


def crossing_of(status: Status, collection: str, record_id: str) -> Crossing:
    """Whether the newest change of one record is on the far side already; `replication/_crossing.html` shows it.

    Looks at the commits `status` lists only, so it costs no reading of either side. A record none of them touches is
    across, unless more commits are behind than are listed: then it is not known.
    """
    for commit in reversed(status.in_flight):
        if _touches(commit, collection, record_id):
            return _still_crossing(traveller_of(commit, status))
    for commit in status.recent:
        if _touches(commit, collection, record_id):
            took = _between(commit.committed_at, commit.applied_at)
            return Crossing(
                is_across=True, is_known=True, sentence=f"Also on the far side, {took} after it was written here."
            )
    if status.lag.commits > len(status.in_flight):
        return Crossing(is_across=False, is_known=False, sentence="Safe here; many writes are queued for the far side.")
    return Crossing(is_across=True, is_known=True, sentence="Also on the far side.")


def difference_of(difference: Difference) -> DifferenceView:
    """One record that differs, its long values cut."""
    fields = [
        FieldPair(name=name, primary=_cut(primary), replica=_cut(replica))
        for name, primary, replica in difference.fields[:FIELDS_SHOWN]
    ]
    hidden = len(difference.fields) - len(fields)
    kind = COLLECTION_NAMES.get(difference.collection, difference.collection)
    return DifferenceView(
        kind=kind,
        kind_word="" if difference.label.lower().startswith(kind) else kind,
        label=_cut(difference.label),
        id=difference.id,
        summary=_difference_summary(difference),
        fields=fields,
        more=f"and {plural(hidden, 'field')} more" if hidden else "",
        is_explained=difference.is_explained,
    )


def verdict_of(verdict: Verdict, at: str) -> VerdictView:
    """What a verification that ended at *at* found."""
    return VerdictView(
        tone={Outcome.IN_SYNC: "calm", Outcome.DIVERGED: "alarm", Outcome.INCONCLUSIVE: "held"}[verdict.outcome],
        word={Outcome.IN_SYNC: "In sync", Outcome.DIVERGED: "Diverged", Outcome.INCONCLUSIVE: "Inconclusive"}[
            verdict.outcome
        ],
        sentence=verdict.sentence,
        clock=clock_text(at, tenths=False),
        at=at,
        is_repairable=verdict.outcome is Outcome.DIVERGED,
        differences=[difference_of(difference) for difference in verdict.differences],
    )


# The words and figures themselves.


def step_of(progress: float) -> int:
    """The place on the track for *progress*; one below the end until the commit has arrived."""
    return min(STEPS - 1, max(0, round(progress * STEPS)))


def kind_of(commit: CommitOnTheWay) -> str:
    """What a commit is mostly about: an order outweighs the stock and the cart it also changes."""
    touched = {change.collection for change in commit.changes}
    for collection in COLLECTION_ORDER:
        if collection in touched:
            return COLLECTION_NAMES[collection]
    return "write"


def label_of(commit: CommitOnTheWay) -> str:
    summary = commit.summary
    if kind_of(commit) == "order":
        summary = summary.replace(", ", " · ", 1)
    return _cut(summary[:1].upper() + summary[1:]) or f"Commit {commit.lsn}"


def seconds_text(seconds: float) -> str:
    """A length of time at the precision a person can use."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:  # above, it would read 10.0
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"


def size_text(size: int) -> str:
    """A number of bytes, in thousands as disks are sold."""
    if size < 1000:
        return f"{size} B"
    if size < 1_000_000:
        return f"{size / 1000:.1f} kB" if size < 100_000 else f"{size / 1000:.0f} kB"
    return f"{size / 1_000_000:.1f} MB"


def clock_text(timestamp: str, *, tenths: bool = True) -> str:
    """The time of day of an ISO 8601 *timestamp*, in UTC."""
    moment = _moment(timestamp)
    return f"{moment:%H:%M:%S}.{moment.microsecond // 100_000}" if tenths else f"{moment:%H:%M:%S}"


def number_text(number: float) -> str:
    """A setting as somebody would type it: 5, not 5.0."""
    return f"{number:.3f}".rstrip("0").rstrip(".")


def plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


# Helpers.


def _waits(status: Status) -> str:
    count = status.lag.commits
    return f"{plural(count, 'write')} {_verb(count, 'waits', 'wait')} on the primary" if count else "nothing is waiting"


def _is_are(number: int) -> str:
    return _verb(number, "is", "are")


def _verb(number: int, one: str, many: str) -> str:
    return one if number == 1 else many


def _next_arrival(status: Status) -> str:
    due = min((commit.due_in_seconds for commit in status.in_flight), default=0.0)
    which = "it arrives" if status.lag.commits == 1 else "the next arrives"
    return f"{which} in {seconds_text(due)}" if due > 0.05 else f"{which} now"


def _has_all_arrived(status: Status) -> bool:
    """What is not applied yet is safe on the far side already."""
    is_listed = len(status.in_flight) == status.lag.commits
    return is_listed and all(commit.state is CommitState.ARRIVED for commit in status.in_flight)


def _next_shown(status: Status) -> str:
    due = min((commit.due_in_seconds for commit in status.in_flight), default=0.0)
    which = "readers there see it" if status.lag.commits == 1 else "readers there see the next"
    return f"{which} in {seconds_text(due)}" if due > 0.05 else f"{which} now"


def _next_try(status: Status) -> str:
    wait = status.retry.next_in_seconds
    return f"the next try is in {seconds_text(wait)}" if wait > 0.05 else "trying again now"


def _step(commit: CommitOnTheWay, status: Status) -> int:
    """What has arrived stands at the end of the road; what only seems due does not."""
    return STEPS if commit.state is not CommitState.IN_FLIGHT else step_of(commit.progress)


def _mood(commit: CommitOnTheWay, status: Status) -> str:
    if commit.state is CommitState.ARRIVED and status.is_wal:
        return "held" if status.state is State.PAUSED else "safe"
    if commit.state is not CommitState.IN_FLIGHT:
        return "landed"
    if status.state is State.OUTAGE or (status.state is State.PAUSED and not status.link.pauses_replay):
        return "held"
    return "moving" if status.state in (State.BEHIND, State.IN_SYNC, State.PAUSED) else "stuck"


def _when(commit: CommitOnTheWay, mood: str) -> str:
    if mood == "landed":
        return "arrived"
    if commit.state is CommitState.ARRIVED:
        due = f", applied in {seconds_text(commit.due_in_seconds)}" if commit.due_in_seconds > 0.05 else ""
        return "arrived, not applied" if mood == "held" else f"arrived{due}"
    if mood == "held":
        return "held"
    if mood == "stuck":
        return "waiting"
    return f"{seconds_text(commit.due_in_seconds)} to go" if commit.due_in_seconds > 0.05 else "arriving"


def _landed(commit: CommitOnTheWay) -> Traveller:
    return Traveller(
        key=f"{commit.timeline}-{commit.lsn}",
        kind=kind_of(commit),
        label=label_of(commit),
        when="arrived",
        step=STEPS,
        mood="landed",
        lsn=commit.lsn,
        percent=100,
    )


def _has_just_landed(commit: CommitOnTheWay, at: str) -> bool:
    if commit.applied_at is None:
        return False
    return 0 <= (_moment(at) - _moment(commit.applied_at)).total_seconds() < LANDED_SECONDS


def _quiet(status: Status) -> str:
    if not status.lag.commits:
        return "Nothing is on the way"
    return f"{plural(status.lag.commits, 'write')} {_verb(status.lag.commits, 'waits', 'wait')} on the primary"


def _more_travellers(status: Status, shown: int) -> str:
    if not shown:
        return ""
    hidden = max(status.lag.commits, len(status.in_flight)) - shown
    return f"and {plural(hidden, 'more write')} behind {_verb(shown, 'it', 'them')}" if hidden > 0 else ""


def _what_has_arrived(status: Status) -> str:
    arrived = sum(commit.state is CommitState.ARRIVED for commit in status.in_flight)
    if not arrived:
        return ""
    return f"{plural(arrived, 'write')} of these {_verb(arrived, 'has', 'have')} arrived and would survive the primary."


def _link_note(status: Status) -> str:
    delay = status.link.delay_seconds
    if status.state is State.PAUSED and status.link.pauses_replay:
        return "What arrives is kept, and shown when you resume."
    if status.state is State.PAUSED:
        return "Nothing leaves until you resume."
    if status.state is State.OUTAGE:
        return f"Nothing crosses for {seconds_text(status.link.out_for_seconds)} more."
    if not status.primary.is_reachable:
        return "There is nobody to carry for."
    if status.state is State.FAILING and status.is_wal:
        return "It connects again by itself."
    if status.state is State.FAILING:
        return f"Next try in {seconds_text(status.retry.next_in_seconds)}."
    if status.state in (State.REFUSED, State.SNAPSHOT_NEEDED):
        return "Nothing is carried."
    if "delay" in status.unavailable:
        way = "A real network, as fast as it is"
    else:
        way = f"Each write takes {number_text(delay)} s to cross" if delay else "No delay: a write crosses at once"
    held = status.link.apply_delay_seconds
    hold = f" It is applied {number_text(held)} s after it was made" if held else ""
    return way + _extras(status.link) + "." + (f"{hold}." if hold else "")


def _extras(link: Link) -> str:
    """What else the link does to a write, as the rest of the sentence."""
    extras = []
    if link.jitter_seconds:
        extras.append(f"up to {number_text(link.jitter_seconds)} s longer by chance")
    if link.bandwidth:
        extras.append(f"{size_text(round(link.bandwidth))} a second")
    if link.loss_percent:
        extras.append(f"{number_text(link.loss_percent)} % of the tries lost")
    return ", " + ", ".join(extras) if extras else ""


def lsn_text(lsn: int, *, is_wal: bool) -> str:
    """A place in the log as it is usually written."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}" if is_wal else f"{lsn:,}"


def _side(status: Status, side: Side, other: Side, *, place: str) -> SideView:
    lsn = lsn_text(side.position.lsn, is_wal=status.is_wal)
    facts = [("Position", f"timeline {side.position.timeline}, LSN {lsn}")]
    if not status.is_wal:  # a write-ahead log has none for its whole history
        facts.append(("Checksum", side.position.checksum[:8] or "none yet"))
    facts += [(side.file_word, size_text(side.file_bytes)), (side.journal_word, size_text(side.journal_bytes))]
    return SideView(
        role=side.role,
        place=place,
        file=side.file,
        timeline=side.position.timeline,
        lsn=lsn,
        lsn_words="place in the log" if status.is_wal else "commits so far",
        facts=facts,
        counts=[_count(name, side, other) for name in _collections(side, other)],
        is_writable=side.is_writable,
        problem=side.problem,
    )


def _collections(side: Side, other: Side) -> Iterable[str]:
    names = set(side.counts) | set(other.counts)
    return [name for name in COLLECTION_ORDER if name in names] + sorted(names - set(COLLECTION_ORDER))


def _count(name: str, side: Side, other: Side) -> Count:
    number, elsewhere = side.counts.get(name, 0), other.counts.get(name, 0)
    note = "" if number == elsewhere else f"{abs(number - elsewhere):,} {'more' if number > elsewhere else 'fewer'}"
    return Count(name=name, number=f"{number:,}", note=note)


STAGE_WORDS = {
    "sent": ("Sent", "Has left the primary. What has not is nowhere else."),
    "flushed": ("Flushed", "Safe on the replica's disk. What has not dies with the primary."),
    "replayed": ("Replayed", "Seen by the replica's readers. An apply delay holds it here, in safety."),
}


def _stage(stage: Stage) -> StageView:
    name, explanation = STAGE_WORDS[stage.name]
    is_known = stage.lsn is not None
    return StageView(
        name=name,
        seconds="–" if stage.seconds is None else _lag_text(stage.seconds),
        size="not known" if stage.behind_bytes is None else f"{size_text(stage.behind_bytes)} behind",
        place=lsn_text(stage.lsn or 0, is_wal=True) if is_known else "",
        confirmed=""
        if stage.confirmed_seconds is None
        else f"The primary hears of it after {_lag_text(stage.confirmed_seconds)}.",
        explanation=explanation,
        is_zero=is_known and not stage.seconds,
    )


def _lag_text(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if 0 < seconds < 1 else seconds_text(seconds) if seconds else "0 s"


HEADROOM_TONES = {"reserved": "calm", "extended": "calm", "unreserved": "alarm", "lost": "alarm"}
NEARLY_FULL_PERCENT = 80


def _headroom(headroom: Headroom) -> HeadroomView:
    kept, left = headroom.kept_bytes, headroom.left_bytes
    percent = 0 if left is None else 100 if kept + left <= 0 else min(100, round(100 * kept / (kept + max(0, left))))
    tone = HEADROOM_TONES.get(headroom.state, "calm")
    facts = [("Kept for the replica", size_text(kept))]
    if left is not None:
        facts.append(("Left before it is cut", size_text(max(0, left))))
    if headroom.slot:
        facts.append(("Slot", f"{headroom.slot}, {'in use' if headroom.is_active else 'nobody reads from it'}"))
        facts.append(("State", headroom.state))
    if headroom.state == "lost":
        sentence = "It was cut: the replica needs a fresh copy."
    elif tone == "alarm" or percent >= NEARLY_FULL_PERCENT:
        sentence, tone = "It is nearly full: when it is cut, the replica needs a fresh copy.", "alarm"
    else:
        sentence = "A replica that comes back in time catches up from it; after a cut it would need a fresh copy."
    return HeadroomView(sentence=sentence, percent=percent, tone=tone, facts=facts)


def _figures(status: Status) -> Sequence[Figure]:
    lag = status.lag
    return [
        Figure(
            label="Commits behind",
            value=f"{lag.commits:,}",
            explanation="Saved changes that the replica does not have yet.",
            is_zero=lag.commits == 0,
        ),
        Figure(
            label="Oldest waiting for",
            value=seconds_text(lag.oldest_seconds) if lag.oldest_seconds else "0 s",
            explanation="How long the oldest of them has existed on the primary alone. Up to the delay is normal.",
            is_zero=lag.oldest_seconds == 0,
        ),
        Figure(
            label="No progress for",
            value=seconds_text(lag.stalled_seconds) if lag.stalled_seconds else "0 s",
            explanation="How long a change has been due without anything arriving. If this grows, the link is in trouble.",
            is_zero=lag.stalled_seconds == 0,
        ),
    ]


def _arrival(commit: CommitOnTheWay, at: str, *, is_wal: bool) -> Arrival:
    late = commit.lateness_seconds
    return Arrival(
        key=f"{commit.timeline}-{commit.lsn}",
        kind=kind_of(commit),
        label=label_of(commit),
        lsn=lsn_text(commit.lsn, is_wal=is_wal),
        committed_at=commit.committed_at,
        committed_clock=clock_text(commit.committed_at),
        took=_between(commit.committed_at, commit.applied_at),
        late=_late_text(late),
        is_late=late is not None and late > LATE_SECONDS,
        is_fresh=_has_just_landed(commit, at),
    )


def _late_text(late: float | None) -> str:
    if late is None:
        return ""
    if late < -0.05:
        return f"{seconds_text(-late)} early"
    return f"{round(max(0.0, late) * 1000)} ms" if late < 1 else seconds_text(late)


def _between(start: str, end: str | None) -> str:
    if end is None:
        return "some time"
    return seconds_text((_moment(end) - _moment(start)).total_seconds())


def _moment(timestamp: str) -> datetime:
    return datetime.fromisoformat(timestamp)


def _touches(commit: CommitOnTheWay, collection: str, record_id: str) -> bool:
    return any(change.collection == collection and change.id == record_id for change in commit.changes)


def _still_crossing(traveller: Traveller) -> Crossing:
    ends = {
        "moving": f"crossing to the far side: {traveller.when}.",
        "held": "the link to the far side is paused.",
        "stuck": "it waits for the link to the far side.",
        "landed": "just arriving on the far side.",
    }
    return Crossing(is_across=False, is_known=True, sentence=f"Safe here; {ends[traveller.mood]}", traveller=traveller)


def _difference_summary(difference: Difference) -> str:
    if not difference.on_replica:
        return "only on the primary"
    if not difference.on_primary:
        return "only on the replica"
    return f"{plural(len(difference.fields), 'field')} {_verb(len(difference.fields), 'differs', 'differ')}"


def _cut(text: str) -> str:
    return text if len(text) <= VALUE_LENGTH_MAX else text[: VALUE_LENGTH_MAX - 1] + "…"
