"""What the pages, the metrics and the commands ask of replication. The embedded store and PostgreSQL fill the same status."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from shop.units import Position, ReadUnit


class State(StrEnum):
    """What replication is doing; the value is its slug in pages, logs, metrics and tests."""

    IN_SYNC = "in-sync"  # positions are equal, however long ago the last write was
    BEHIND = "behind"  # commits are waiting or crossing
    PAUSED = "paused"  # an operator holds the link; commits wait
    OUTAGE = "outage"  # the cable is broken; commits wait until it is whole again
    FAILING = "failing"  # the last step raised; it is retried with a growing delay
    REFUSED = "refused"  # the histories differ, or the replica is ahead; nothing is copied until somebody decides
    SNAPSHOT_NEEDED = "snapshot-needed"  # the journal no longer holds what the replica lacks; a resync is due


class CommitState(StrEnum):
    """Where one commit is on its way."""

    IN_FLIGHT = "in-flight"  # durable on the primary; dies with it
    ARRIVED = "arrived"  # fsynced in the replica's journal
    APPLIED = "applied"  # in the state the replica's readers see
    VERIFIED = "verified"  # both sides were compared since, and found equal


class Mode(StrEnum):
    """What a writer waits for before it is answered; the value is what SHOP_REPLICATION_MODE and the page say."""

    ASYNC = "async"  # nothing
    SEMI_SYNC = "semi-sync"  # until its commit has arrived; for so long at most, then on without
    SYNC = "sync"  # until its commit is applied


class Change(Struct, frozen=True):
    """One record a commit touched."""

    collection: str
    id: str
    is_delete: bool = False


class CommitOnTheWay(Struct, frozen=True):
    """One commit followed from the primary to the replica. Times are ISO 8601, UTC, with microseconds; None = not yet."""

    timeline: int
    lsn: int
    state: CommitState
    summary: str  # in the shop's words: "order A1-10001, €123.40", "cart", "product Teapot"
    changes: Sequence[Change]
    committed_at: str
    due_in_seconds: float  # until it arrives; 0 when due or there
    progress: float  # 0 (just committed) to 1 (due)
    applied_at: str | None = None
    lateness_seconds: float | None = None  # applied - committed - delay


class Side(Struct, frozen=True):
    """One side of the pair."""

    role: str  # "primary", "replica"
    file: str  # "db.json", "db_async.json"
    position: Position
    counts: dict[str, int]  # records a collection
    file_bytes: int
    journal_bytes: int
    is_writable: bool
    problem: str = ""  # why it is read-only, "" when healthy
    file_word: str = "File"  # what file_bytes and journal_bytes are the sizes of
    journal_word: str = "Journal"
    is_reachable: bool = True  # False: it does not answer, and what is said of it is what was known last


class Lag(Struct, frozen=True):
    """Three figures. Idle is zero in all of them."""

    commits: int  # behind
    oldest_seconds: float  # age of the oldest commit not applied
    stalled_seconds: float  # since the last progress, while anything is behind and due


class AtRisk(Struct, frozen=True):
    """What would be lost if the primary died this second."""

    commits: int
    orders: int
    order_cents: int
    carts: int
    edits: int  # of products and categories
    sentence: str  # "3 writes, 2 orders, €123.40"


class Stage(Struct, frozen=True):
    """How far one stage of the way is behind the primary. Equal positions are zero, whatever was measured before."""

    name: str  # "sent", "flushed", "replayed"
    lsn: int | None  # how far it has come; None: not known
    behind_bytes: int | None
    seconds: float | None  # age of the oldest commit that it has not reached
    confirmed_seconds: float | None = (
        None  # how long the last bytes took there and the word of it back, as the primary measured
    )


class Headroom(Struct, frozen=True):
    """What the primary keeps of its log for a replica that is behind or away."""

    slot: str  # the name of the place in the log that is kept for it; "" where there is none
    is_active: bool  # somebody reads from there
    state: str  # "reserved"; "extended", "unreserved": near the limit; "lost": cut, a fresh copy is due
    kept_bytes: int
    left_bytes: int | None  # until the log is cut although the replica needs it; None: never


class Link(Struct, frozen=True):
    """The simulated WAN, and what its knobs say now."""

    delay_seconds: float
    is_paused: bool
    jitter_seconds: float = 0.0  # up to so much longer, by chance
    bandwidth: float = 0.0  # bytes a second; 0 = no limit
    loss_percent: float = 0.0  # of the tries; each lost one costs a round trip
    is_out: bool = False  # the cable is broken
    out_for_seconds: float = 0.0  # until it is whole again
    apply_delay_seconds: float | None = (
        None  # from the commit until it is applied, though it has arrived; None: no such knob
    )
    delay_max_seconds: float = 3600.0
    pauses_replay: bool = False  # what a pause holds has arrived already, and is only not shown there


class Retry(Struct, frozen=True):
    """The last failure and what follows; attempts is 0 when the last step succeeded."""

    attempts: int
    error: str
    next_in_seconds: float


class Latency(Struct, frozen=True):
    """How long this shop's own commits took under one mode, from leaving the update to the answer; None before there is one."""

    mode: Mode
    commits: int  # measured, of the last ones
    p50_seconds: float | None
    p99_seconds: float | None


class Modes(Struct, frozen=True, kw_only=True):
    """What writers wait for, and what that costs."""

    mode: Mode
    timeout_seconds: float  # of semi-sync
    is_fallen_back: bool  # semi-sync has given up waiting and goes on as async, until the far side has caught up
    fall_backs: int  # since the start
    waiting: int  # writers, now
    places: int  # that may wait at the same time
    turned_away: int  # writers, since the start, before anything was written
    latencies: Sequence[Latency]  # of each mode


class Step(Struct, frozen=True):
    """One step of a commit's way, done or to come."""

    name: str  # "committed", "left", "arrived", "applied", "verified"
    at: str | None  # None: not known
    after_seconds: float | None  # since it was committed
    is_done: bool


class Journey(Struct, frozen=True, kw_only=True):
    """One commit followed end to end."""

    timeline: int
    lsn: int
    state: CommitState
    summary: str
    changes: Sequence[Change]  # empty when the journals have forgotten it
    tries: int  # 1 = none was lost; 0 = not known
    size_bytes: int | None
    steps: Sequence[Step]
    checksum: str = ""
    is_wal: bool = False  # as in the status


class PastSide(Struct, frozen=True):
    """One side as it was."""

    file: str
    position: Position
    counts: dict[str, int]


class Past(Struct, frozen=True, kw_only=True):
    """Both sides as they were at one moment."""

    number: int  # of the moment; they count up
    first: int  # the oldest one that is kept
    last: int
    at: str
    primary: PastSide
    replica: PastSide
    differences: Sequence["Difference"]
    differences_not_shown: int = 0


class Status(Struct, frozen=True, kw_only=True):
    """Everything a page needs, read at one moment."""

    at: str
    state: State
    sentence: str  # the state in plain words
    primary: Side
    replica: Side
    link: Link
    lag: Lag
    at_risk: AtRisk
    in_flight: Sequence[CommitOnTheWay]  # oldest first, the first IN_FLIGHT_SHOWN of them
    recent: Sequence[CommitOnTheWay]  # applied lately, newest first
    retry: Retry
    modes: Modes | None = None  # what writers wait for; None where nobody ever waits
    diverged_records: int = 0  # that the last verification found
    journal_limit_bytes: int = 0  # past it the journal is cut even if the replica needs it; 0 = never
    stages: Sequence[Stage] = ()  # the lags apart, in the order of the way; empty where they are one
    headroom: Headroom | None = None
    unavailable: Mapping[
        str, str
    ] = {}  # what cannot be done here: the name of the knob or button -> why, in one sentence
    is_wal: bool = False  # LSNs are places in a write-ahead log, in bytes, and written like 0/16B3748
    version: str  # changes whenever anything above but ages and countdowns changes; the page's ETag is made of it


class Alert(Struct, frozen=True):
    """Something that is wrong and that somebody should know of."""

    name: str  # its slug in logs and metrics
    sentence: str  # as it was when it was raised
    since: str


class Action(Struct, frozen=True):
    """Something that was done to the replication."""

    at: str
    who: str
    what: str
    result: str


class Audit(Protocol):
    """The list of actions. Safe from any thread."""

    def add(self, who: str, what: str, result: str) -> None:
        """Durable when this returns, unless the disk refused it."""
        ...

    def actions(self, limit: int = 200) -> Sequence[Action]:
        """Newest first."""
        ...


class Alerts(Protocol):
    """What is wrong now. Safe from any thread, and costs nothing to ask."""

    @property
    def names(self) -> Sequence[str]:
        """Of every alert there can be."""
        ...

    def raised(self) -> Sequence[Alert]:
        """Oldest first."""
        ...


class Difference(Struct, frozen=True):
    """One record that is not the same on both sides now. A side that has no such record holds None."""

    collection: str
    id: str
    label: str  # what a person calls it
    fields: Sequence[tuple[str, str, str]]  # name, on the primary, on the replica; only the fields that differ
    on_primary: bool
    on_replica: bool
    is_explained: bool  # a commit on its way carries it; otherwise the sides have diverged


class Outcome(StrEnum):
    IN_SYNC = "in-sync"
    DIVERGED = "diverged"
    INCONCLUSIVE = "inconclusive"


class Verdict(Struct, frozen=True):
    """What a verification found."""

    outcome: Outcome
    sentence: str
    position: Position | None
    records: int
    differences: Sequence[Difference]


class Progress(Struct, frozen=True):
    """How far something has come."""

    done: int
    total: int


class Checked(Struct, frozen=True, kw_only=True):
    """The last verification."""

    verdict: Verdict | None = None  # None: there was none
    at: str = ""
    timeline: int = 0
    found: Sequence[
        tuple[str, str]
    ] = ()  # collection and id of the records that the last conclusive one found to differ


class Passage(Struct, frozen=True):
    """How what is written now fares on its way."""

    state: State
    delay_seconds: float  # that the link is set to


class Replication(Protocol):
    """What can be seen and done. All of it is safe from any thread; none of it blocks on the link."""

    def status(self) -> Status: ...

    def passage(self) -> Passage:
        """The two things of the status that a customer's page asks, without working out the others."""
        ...

    def differences(self, limit: int = 50) -> Sequence[Difference]:
        """The records that differ now, at most *limit*. Cost in proportion to the commits on the way, not to the store."""
        ...

    def verify(self) -> Verdict:
        """Compare every record of both sides at one position."""
        ...

    def verifying(self) -> Progress | None:
        """How many records the verification that runs now has compared; None while none runs, or where they cannot be counted."""
        ...

    def checked(self) -> Checked | None:
        """What the last verification found, whoever asked for it; None before there was one."""
        ...

    def set_delay(self, seconds: float) -> None:
        """0 to 3600. Holds for commits already crossing too. Raises `Invalid` on the field `delay`."""
        ...

    def pause(self) -> None: ...
    def resume(self) -> None: ...

    def sync_now(self) -> int:
        """Bring everything across at once, whatever the delay or a pause; returns the commits applied."""
        ...

    def resync(self) -> None:
        """Replace the replica with a fresh snapshot of the primary; a crash leaves the old replica or the new one."""
        ...


class Laboratory(Protocol):
    """The knobs of the link and of the writers, and looking back. Safe from any thread; nothing of it blocks on the link.

    A number that is none for a knob raises `Invalid` on the knob's field. What `Status.unavailable` names raises `Conflict`.
    """

    def set_jitter(self, seconds: float) -> None: ...
    def set_bandwidth(self, bytes_a_second: float) -> None:
        """0 lifts the limit."""
        ...

    def set_loss(self, percent: float) -> None: ...
    def cut(self, seconds: float) -> None:
        """Break the cable for so long; the field is `outage`."""
        ...

    def mend(self) -> None:
        """Make it whole again now."""
        ...

    def set_apply_delay(self, seconds: float) -> None:
        """Let what has arrived be applied no earlier than so long after its commit; the field is `apply_delay`."""
        ...

    def set_mode(self, mode: str) -> None:
        """From the next write on."""
        ...

    def set_timeout(self, seconds: float) -> None:
        """Of semi-sync."""
        ...

    def take_notice(self) -> str:
        """What the last update of this thread is to be told although it succeeded, once; "" mostly."""
        ...

    def journey(self, timeline: int, lsn: int) -> Journey | None:
        """One commit, wherever it is; None when there is none, or it was so long ago that nothing is known of it any more."""
        ...

    def commit_of(self, collection: str, id: str) -> tuple[int, int] | None:
        """Timeline and LSN of the newest of the last commits that touched this record."""
        ...

    def past(self, number: int | None = None) -> Past | None:
        """Both sides at moment *number*, the newest without one; the nearest that is kept. None before anything has happened."""
        ...


class Decision(Struct, frozen=True):
    """What was decided about a lost commit. `kind`: "re-entered" or "discarded"."""

    kind: str
    sentence: str  # what became of it, or the reason it was discarded for
    by: str
    at: str


class LostCommit(Struct, frozen=True, kw_only=True):
    """One commit that a failover left behind."""

    id: str  # "<timeline>-<lsn>", the name of its file in lost/
    timeline: int
    lsn: int
    at: str
    summary: str
    order_number: str = ""  # of an order that was placed in it
    customer: str = ""
    order_cents: int = 0
    decision: Decision | None = None


class Invoice(Struct, frozen=True, kw_only=True):
    """What one failover cost. Empty commits (the begin of a timeline) are no loss and not listed."""

    timeline: int  # the one that was left
    commits: Sequence[LostCommit]  # oldest first
    orders: int
    order_cents: int
    carts: int
    edits: int  # of products and categories
    sentence: str  # "3 writes, 2 orders, €123.40", or "nothing"


class Unsettled(Struct, frozen=True, kw_only=True):
    """A failover whose losses are not known yet: the old primary cannot be asked."""

    side: str  # the old primary
    timeline: int  # the one that was left
    since: str
    acknowledged: Sequence[LostCommit]  # what the shop confirmed and the new primary lacks, as far as it remembers
    sentence: str
    remedy: Sequence[str] = ()  # commands for the operator, where the shop cannot do it


class Promotion(Struct, frozen=True, kw_only=True):
    """A change of roles that has happened."""

    primary: str  # the file that is primary now
    timeline: int
    fork: Position  # the last position that both histories share
    invoice: Invoice
    by: str  # who asked for it
    sentence: str


class Failover(Protocol):
    """Changing which side is primary, and what became of the commits that were left behind. Safe from any thread."""

    def promote(self, *, by: str, expected_timeline: int | None = None) -> Promotion:
        """Unplanned: go on from the replica at once. What has not arrived there is lost, and kept for review.

        Raises `Conflict`, and has changed nothing, when the primary is not on *expected_timeline* any more, when the replica's
        history does not begin the primary's, or when the promotion could not be written.
        """
        ...

    def switch_over(self, *, by: str, expected_timeline: int | None = None) -> Promotion:
        """Planned: take no writes, let everything cross, then promote. Nothing is lost. Raises `Conflict` as `promote` does, also
        when the replica does not catch up in time; the primary takes writes again then."""
        ...

    def invoices(self) -> Sequence[Invoice]:
        """Of every failover that left anything behind, newest first."""
        ...

    def damaged(self) -> Sequence[str]:
        """Files in lost/ that cannot be read."""
        ...

    def unsettled(self) -> Unsettled | None:
        """The failover whose invoice is still to come; None when there is none."""
        ...

    def lost_order(self, number: str) -> LostCommit | None:
        """The lost commit that placed this order."""
        ...

    def reenter(self, commit_id: str, *, by: str) -> Decision:
        """Do again what a lost commit did. Raises `NotFound`; `Conflict` with the reason when it cannot be done now."""
        ...

    def discard(self, commit_id: str, reason: str, *, by: str) -> Decision:
        """Decide that a lost commit stays lost. Raises `NotFound`, `Conflict`; `Invalid` on the field `reason`."""
        ...


class Sabotage(Protocol):
    """Real damage on request, for drills: what finds it and what repairs it is what would in an emergency. Safe from any thread.

    A way in which this pair cannot be damaged says why; it is then not asked for.
    """

    def why_no_damage(self) -> str:
        """One sentence; "" when `damage_replica` can be done."""
        ...

    def damage_replica(self, product_id: str) -> None:
        """Change the stored record of this product on the replica alone, past the log: its position still says that all is equal.
        Raises `NotFound` when the replica has no such product."""
        ...

    def why_no_poison(self) -> str:
        """One sentence; "" when `poison_next_commit` can be done."""
        ...

    def poison_next_commit(self) -> None:
        """Let the next commit of the primary arrive damaged, at each try, until `undo` or until a snapshot has passed it by."""
        ...

    def undo(self) -> None:
        """Nothing more is damaged from here on. What was damaged stays so, for the repair to find."""
        ...


class Policy(StrEnum):
    """Which side a visitor's pages are read from, and what is promised about it; the value is what forms and sessions say."""

    PRIMARY = "primary"
    REPLICA = "replica"  # as it is, however old
    OWN_WRITES = "read-your-writes"  # not before it has the visitor's own last write
    MONOTONIC = "monotonic"  # not before it has what the visitor has seen already


class Anomaly(StrEnum):
    """What a visitor may notice that would not happen on one machine."""

    LOST_WRITE = "lost-write"  # the own write did not survive a failover
    LOST_SIGHT = "lost-sight"  # what had been seen did not survive a failover
    MISSED_WRITE = "missed-write"  # the page was read before the own last write
    WENT_BACK = "went-back"  # the page is older than one seen before


class Token(Struct, frozen=True):
    """A position that a visitor carries."""

    timeline: int
    lsn: int


class Reading(Struct, frozen=True, kw_only=True):
    """What one page was read from."""

    side: str  # "primary", "replica"
    file: str
    position: Position
    commits_behind: int  # the primary, at that moment
    age_seconds: float | None  # since the first commit that the page lacks; 0: lacks none; None: not known
    waited_seconds: float
    fell_back: str  # why it was the primary after all, in one sentence; "" when it was the side that was asked for
    anomalies: Sequence[Anomaly]
    seen: Token  # the highest position the visitor has seen, now
    wrote: Token | None  # of the visitor's last write, unless it is lost


class FarReads(Protocol):
    """Pages from either side. Safe from any thread."""

    def read(self, policy: Policy, *, wrote: Token | None, seen: Token | None) -> tuple[ReadUnit, Reading]:
        """A snapshot that keeps *policy*. May wait, for a bounded time and on a bounded number of threads; then it is the primary's."""
        ...

    def both(self) -> tuple[ReadUnit, ReadUnit, Reading]:
        """Snapshots of the primary and of the replica, which is never the further one, and what was read from the replica."""
        ...

    def release(self) -> None:
        """The page is done: give back what this thread holds of either side."""
        ...

    def take_committed(self) -> Token | None:
        """The position of the last update that this thread made, once."""
        ...

    def is_lost(self, token: Token) -> bool:
        """Whether a failover left behind what was at this position."""
        ...
