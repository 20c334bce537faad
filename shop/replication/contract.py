"""What the pages, the metrics and the commands ask of replication. The embedded store and PostgreSQL fill the same status."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from shop.units import Position


class State(StrEnum):
    """What replication is doing; the value is its slug in pages, logs, metrics and tests."""

    IN_SYNC = "in-sync"  # positions are equal, however long ago the last write was
    BEHIND = "behind"  # commits are waiting or crossing
    PAUSED = "paused"  # an operator holds the link; commits wait
    FAILING = "failing"  # the last step raised; it is retried with a growing delay
    REFUSED = "refused"  # the histories differ, or the replica is ahead; nothing is copied until somebody decides
    SNAPSHOT_NEEDED = "snapshot-needed"  # the journal no longer holds what the replica lacks; a resync is due


class CommitState(StrEnum):
    """Where one commit is on its way."""

    IN_FLIGHT = "in-flight"  # durable on the primary; dies with it
    ARRIVED = "arrived"  # fsynced in the replica's journal
    APPLIED = "applied"  # in the state the replica's readers see


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


class Link(Struct, frozen=True):
    """The simulated WAN, and what its knobs say now."""

    delay_seconds: float
    is_paused: bool


class Retry(Struct, frozen=True):
    """The last failure and what follows; attempts is 0 when the last step succeeded."""

    attempts: int
    error: str
    next_in_seconds: float


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
    version: str  # changes whenever anything above but ages and countdowns changes; the page's ETag is made of it


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


class Replication(Protocol):
    """What can be seen and done. All of it is safe from any thread; none of it blocks on the link."""

    def status(self) -> Status: ...

    def differences(self, limit: int = 50) -> Sequence[Difference]:
        """The records that differ now, at most *limit*. Cost in proportion to the commits on the way, not to the store."""
        ...

    def verify(self) -> Verdict:
        """Compare every record of both sides at one position."""
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


class Promotion(Struct, frozen=True, kw_only=True):
    """A change of roles that has happened."""

    primary: str  # the file that is primary now
    timeline: int
    fork: Position  # the last position that both histories share
    invoice: Invoice
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

    def lost_order(self, number: str) -> LostCommit | None:
        """The lost commit that placed this order."""
        ...

    def reenter(self, commit_id: str, *, by: str) -> Decision:
        """Do again what a lost commit did. Raises `NotFound`; `Conflict` with the reason when it cannot be done now."""
        ...

    def discard(self, commit_id: str, reason: str, *, by: str) -> Decision:
        """Decide that a lost commit stays lost. Raises `NotFound`, `Conflict`; `Invalid` on the field `reason`."""
        ...
