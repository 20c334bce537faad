"""What one fault schedule leaves behind: an honest recording of what was done and what was seen, and nothing about whether that is right.

Moments are of the monotonic clock that the schedule runs on, in seconds. Contents are told by a digest: that of a commit is
worked out by the schedule's own model of the shop, that of a replica by reading what it holds.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from shop.store import Position

THREADS = 2  # one brings a commit across, another one then shows it in the file: a busy machine may keep either waiting

Contents = Mapping[str, Mapping[str, Any]]  # collection -> id -> record, in plain types


class Committed(NamedTuple):
    """The primary answered that this is durable; or began a timeline, then it is a commit without a write of its own."""

    at: float
    position: Position
    contents: str  # of the model after it
    token: int  # number of the write, which every record written in it carries; 0: none


class Seen(NamedTuple):
    """The replica at one moment, as its readers see it or as its file shows it."""

    at: float
    position: Position
    contents: str
    tokens: frozenset[int]  # of the records it holds


class Side(NamedTuple):
    """The figures of one side."""

    file: str
    position: Position
    counts: dict[str, int]
    file_bytes: int
    journal_bytes: int


class Figures(NamedTuple):
    """The figures of the replication page, said by it or worked out from the files."""

    primary: Side
    replica: Side
    behind: int


class Page(NamedTuple):
    """The page and the files at one moment."""

    at: float
    state: str
    said: Figures
    files: Figures


class Fault(NamedTuple):
    """Something was wrong from `since` to `healed`; `notice_by` is when somebody had to be told, `noticed` when that happened."""

    what: str
    since: float
    healed: float
    notice_by: float | None = None
    noticed: float | None = None


class Still(NamedTuple):
    """The program must not touch the replica, and must say why: on the page, or in the line with which it refuses to start."""

    since: float
    until: float
    said: tuple[str, ...]
    must_say: str


class Stranger(NamedTuple):
    """The file in the replica's place holds something that is not of this shop's history."""

    since: float
    until: float
    contents: str


class Pause(NamedTuple):
    """The machine or its disk stood still."""

    at: float
    seconds: float


class Bound(NamedTuple):
    """A figure that has a ceiling."""

    what: str
    value: float
    most: float


class History(msgspec.Struct, kw_only=True):
    """One schedule from its first moment to its last."""

    name: str
    delay: float
    tick: float
    ended: float = 0.0
    committed: list[Committed] = []
    refused: list[int] = []  # tokens of writes that were begun and never committed
    given_up: list[Position] = []  # commits that an operator decided to go on without
    states: list[Seen] = []
    shown: list[Seen] = []  # the replica's file
    pages: list[Page] = []
    faults: list[Fault] = []
    stills: list[Still] = []
    strangers: list[Stranger] = []
    copies: list[float] = []  # when a snapshot brought everything across at once, whatever the link
    pauses: list[Pause] = []
    bounds: list[Bound] = []
    notes: list[str] = []


def digest(contents: Contents) -> str:
    """The same for the same records, wherever they were read; a collection without records is none."""
    full = {name: records for name, records in contents.items() if records}
    return blake2b(msgspec.json.encode(full, order="sorted"), digest_size=16).hexdigest()


def tokens_in(contents: Contents) -> frozenset[int]:
    """The writes whose records can be seen."""
    return frozenset(token_of(name, record) for name, records in contents.items() for record in records.values())


def token_of(collection: str, record: Mapping[str, Any]) -> int:
    match collection:
        case "counters":
            return int(record["value"])
        case "products":
            return int(record["version"])
        case "carts":
            return int(record["checkout_key"].removeprefix("key-"))
        case _:
            return -1  # nobody writes there


def troubled_spans(history: History) -> list[tuple[float, float]]:
    """From when to when something was wrong or had not had its time to converge yet; overlapping faults are one."""
    allowed = history.delay + 2 * history.tick
    spans: list[tuple[float, float]] = []
    for fault in sorted(history.faults, key=lambda fault: fault.since):
        until = fault.healed + allowed
        if spans and fault.since <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(until, spans[-1][1]))
        else:
            spans.append((fault.since, until))
    return spans


def pushed_back(pauses: Iterable[Pause], since: float, until: float) -> float:
    """*until*, later by what the machine's standing still in the time since *since* may have cost."""
    for pause in sorted(pauses):
        if since - pause.seconds <= pause.at <= until:
            until += pause.seconds * THREADS
    return until
