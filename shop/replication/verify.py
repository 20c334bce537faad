"""Comparing the two sides, record by record, at one position.

The sides are never at the same position while the shop sells, and need not be: what is on its way is known. The replica's snapshot with
the commits in flight laid over it must equal the primary's snapshot. Both are values that never change, so nothing stands still for
the comparison; only the reading of those commits must not meet a journal that is being cut.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from shop import losses
from shop.replication.contract import Difference, Outcome
from shop.replication.replicator import Replicator, compare_histories, find_gap
from shop.store import Commit, Position, State, Store

IN_FLIGHT_MAX = (
    200_000  # more commits on the way than this are not laid over; the answer would be too late to be of use
)

REPORT_RECORDS = 1000  # compared between two words about it

Key = tuple[str, str]  # collection, id
Report = Callable[[int], None]  # how many records have been compared


class Snapshots(NamedTuple):
    """Both sides at one moment, and what is on its way between them: the newest record of each key it touches."""

    primary: State
    replica: State
    on_the_way: Mapping[Key, Any]
    obstacle: str  # why the two cannot be brought to one position, "" when they can


class Found(NamedTuple):
    """The result of a comparison."""

    outcome: Outcome
    sentence: str
    position: Position | None
    records: int
    keys: list[Key]  # the records that differ without a commit on its way to explain it


def take_snapshots(replicator: Replicator) -> Snapshots:
    """Hold the replicator for as long as it takes to read what is on its way."""
    primary, replica = replicator.pair.primary, replicator.pair.replica
    with replicator.hold():
        there, here = replica.state, primary.state
        in_flight = here.position.lsn - there.position.lsn
        obstacle = _obstacle(primary, replica, in_flight)
        on_the_way: dict[Key, Any] = {}
        if not obstacle:
            for commit in commits_between(primary, there.position.lsn, here.position.lsn):
                on_the_way.update(((op.collection, op.id), op.record) for op in commit.ops)
                in_flight -= 1
            if in_flight:  # the journal reached its limit in this moment
                obstacle = "The journal was cut while it was read; verify again."
    return Snapshots(here, there, on_the_way, obstacle)


def _obstacle(primary: Store, replica: Store, in_flight: int) -> str:
    trouble = compare_histories(primary, replica) or find_gap(primary, replica.position)
    if trouble:
        return trouble.sentence
    if in_flight > IN_FLIGHT_MAX:
        return f"{in_flight:,} commits are on their way; verify again when fewer are."
    return ""


def commits_between(primary: Store, after: int, last: int) -> Iterator[Commit]:
    """The commits after+1..last, decoded a thousand at a time."""
    while after < last:
        commits = primary.commits(after, min(1000, last - after))
        if not commits:
            return
        yield from commits
        after = commits[-1].lsn


def records_in(snapshots: Snapshots) -> int:
    """How many `compare` will look at."""
    return sum(snapshots.primary.count(name) for name in snapshots.primary.collections())


def compare(snapshots: Snapshots, report: Report = lambda done: None) -> Found:
    """Every record of both sides."""
    position, records = snapshots.primary.position, records_in(snapshots)
    if snapshots.obstacle:
        sentence = f"The sides cannot be compared at one position. {snapshots.obstacle}"
        return Found(Outcome.INCONCLUSIVE, sentence, None, records, [])
    keys = list(differing_keys(snapshots, report))
    if keys:
        noun = "record differs" if len(keys) == 1 else "records differ"
        sentence = f"{len(keys):,} {noun} at commit {position.lsn}, and nothing on its way explains it. A fresh copy repairs the replica."
        return Found(Outcome.DIVERGED, sentence, position, records, keys)
    return Found(
        Outcome.IN_SYNC,
        f"All {records:,} records are the same on both sides at commit {position.lsn}.",
        position,
        records,
        [],
    )


def differing_keys(snapshots: Snapshots, report: Report = lambda done: None) -> Iterator[Key]:
    """The records that would differ if everything on its way had arrived."""
    here, there, on_the_way = snapshots.primary, snapshots.replica, snapshots.on_the_way
    done = 0
    for collection in here.collections():
        ours, theirs = here.map(collection), there.map(collection)
        for id, record in ours.items():
            done += 1
            if not done % REPORT_RECORDS:
                report(done)
            key = (collection, id)
            other = on_the_way[key] if key in on_the_way else theirs.get(id)
            if other is not record and other != record:
                yield key
        for id in theirs:
            key = (collection, id)
            is_leaving = key in on_the_way and on_the_way[key] is None
            if id not in ours and not is_leaving:
                yield key


def difference(key: Key, here: State, there: State, *, currency: str, is_explained: bool) -> Difference | None:
    """How one record differs now; None when it does not (any more)."""
    collection, id = key
    ours, theirs = here.get(collection, id), there.get(collection, id)
    if ours == theirs:
        return None
    return Difference(
        collection=collection,
        id=id,
        label=losses.label(collection, id, theirs if ours is None else ours),
        fields=losses.differing_fields(collection, ours, theirs, currency),
        on_primary=ours is not None,
        on_replica=theirs is not None,
        is_explained=is_explained,
    )
