"""A replication that stands in any state a test asks for, and remembers what it was told to do."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from shop.errors import Invalid
from shop.replication.contract import (
    AtRisk,
    Change,
    Checked,
    CommitOnTheWay,
    CommitState,
    Difference,
    Lag,
    Link,
    Outcome,
    Passage,
    Progress,
    Retry,
    Side,
    State,
    Status,
    Verdict,
)
from shop.units import Position

NOW = datetime(2026, 1, 1, 12, 0, 10, tzinfo=UTC)
COUNTS = {"products": 36, "categories": 6, "carts": 12, "orders": 7, "counters": 1, "admins": 1}


def moment(seconds_ago: float = 0.0) -> str:
    return (NOW - timedelta(seconds=seconds_ago)).isoformat(timespec="microseconds")


def a_commit(
    lsn: int = 1043,
    *,
    summary: str = "order A1-10007, €45.90",
    changes: Sequence[Change] = (Change("orders", "A1-10007"), Change("products", "p1"), Change("carts", "c1")),
    progress: float = 0.54,
    due: float = 2.3,
    state: CommitState = CommitState.IN_FLIGHT,
) -> CommitOnTheWay:
    """A commit on its way."""
    return CommitOnTheWay(
        timeline=1,
        lsn=lsn,
        state=state,
        summary=summary,
        changes=tuple(changes),
        committed_at=moment(2.7),
        due_in_seconds=due,
        progress=progress,
    )


def an_applied_commit(
    lsn: int = 1042, *, summary: str = "cart", ago: float = 20.0, late: float = 0.012
) -> CommitOnTheWay:
    """A commit the replica has had for *ago* seconds."""
    collection = "orders" if summary.startswith("order") else "carts"
    commit = a_commit(lsn, summary=summary, changes=(Change(collection, f"{collection}-{lsn}"),), progress=1, due=0)
    return msgspec.structs.replace(
        commit,
        state=CommitState.APPLIED,
        committed_at=moment(ago + 5 + late),
        applied_at=moment(ago),
        lateness_seconds=late,
    )


def a_side(role: str, lsn: int, **fields: object) -> Side:
    side = Side(
        role=role,
        file="db.json" if role == "primary" else "db_async.json",
        position=Position(timeline=1, lsn=lsn, checksum=f"{lsn * 2654435761 % 2**64:016x}"),
        counts=dict(COUNTS),
        file_bytes=48_213,
        journal_bytes=9_876,
        is_writable=True,
    )
    return msgspec.structs.replace(side, **fields)


def a_status(state: State = State.IN_SYNC, **fields: object) -> Status:
    """A status in *state*; idle and healthy but for the *fields* given."""
    status = Status(
        at=moment(),
        state=state,
        sentence=f"The sentence of the state {state}.",
        primary=a_side("primary", 1042),
        replica=a_side("replica", 1042, is_writable=False),
        link=Link(delay_seconds=5.0, is_paused=state is State.PAUSED),
        lag=Lag(commits=0, oldest_seconds=0, stalled_seconds=0),
        at_risk=AtRisk(commits=0, orders=0, order_cents=0, carts=0, edits=0, sentence="nothing"),
        in_flight=(),
        recent=(an_applied_commit(1042), an_applied_commit(1041, summary="order A1-10006, €123.40", ago=31)),
        retry=Retry(attempts=0, error="", next_in_seconds=0),
        version="version-1",
    )
    return msgspec.structs.replace(status, **fields)


def a_status_behind(state: State = State.BEHIND, **fields: object) -> Status:
    """Three commits that the replica does not have: two orders and an edit."""
    in_flight = (
        a_commit(1043, progress=0.86, due=0.7),
        a_commit(1044, summary="product Enamel Teapot", changes=(Change("products", "p2"),), progress=0.54, due=2.3),
        a_commit(
            1045, summary="order A1-10008, €77.50", changes=(Change("orders", "A1-10008"),), progress=0.12, due=4.4
        ),
    )
    behind: dict[str, object] = {
        "primary": a_side("primary", 1045, counts={**COUNTS, "orders": 9}),
        "lag": Lag(commits=3, oldest_seconds=4.3, stalled_seconds=0),
        "at_risk": AtRisk(
            commits=3, orders=2, order_cents=12340, carts=0, edits=1, sentence="3 writes, 2 orders, €123.40"
        ),
        "in_flight": in_flight,
        "version": "version-behind",
    }
    return a_status(state, **{**behind, **fields})


def a_difference(**fields: object) -> Difference:
    difference = Difference(
        collection="products",
        id="p2",
        label="Enamel Teapot",
        fields=(("price", "€29.00", "€24.00"), ("stock", "496", "498")),
        on_primary=True,
        on_replica=True,
        is_explained=True,
    )
    return msgspec.structs.replace(difference, **fields)


class FakeReplication:
    """Fills the contract from what a test puts in."""

    def __init__(self, status: Status | None = None, differences: Sequence[Difference] = ()) -> None:
        self.now = status or a_status()
        self.differing = tuple(differences)
        self.verdict = Verdict(
            Outcome.IN_SYNC, "Both sides are equal: 63 records compared.", self.now.primary.position, 63, ()
        )
        self.last_checked: Checked | None = None
        self.done: list[str] = []
        self.refusal: Exception | None = None

    def status(self) -> Status:
        return self.now

    def passage(self) -> Passage:
        return Passage(self.now.state, self.now.link.delay_seconds)

    def differences(self, limit: int = 50) -> Sequence[Difference]:
        return self.differing[:limit]

    def verify(self) -> Verdict:
        self._do("verify")
        self.last_checked = Checked(verdict=self.verdict, at=NOW.isoformat())
        return self.verdict

    def verifying(self) -> Progress | None:
        return None

    def checked(self) -> Checked | None:
        return self.last_checked

    def set_delay(self, seconds: float) -> None:
        if not 0 <= seconds <= 3600:
            raise Invalid({"delay": "The delay is from 0 to 3600 seconds."})
        self._do(f"delay {seconds:g}")

    def pause(self) -> None:
        self._do("pause")

    def resume(self) -> None:
        self._do("resume")

    def sync_now(self) -> int:
        self._do("sync")
        return self.now.lag.commits

    def resync(self) -> None:
        self._do("resync")

    def _do(self, what: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.done.append(what)
