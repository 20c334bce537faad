"""The eight checkers: what must hold in any history, whatever was done to the program. Each knows the history and nothing of the others.

A checker says how many things it looked at: one that found nothing to look at has not shown anything, and that is a violation too.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

from shop.store import Position
from tests.torture.schedules_history import Committed, History, Seen, pushed_back, troubled_spans

HEALTHY_SECONDS = 0.25
CLOCK_SECONDS = 2e-6  # a commit of an earlier run is dated by the wall clock, which is kept in microseconds

Place = tuple[int, int]


class Verdict(NamedTuple):
    """What one checker says of one history."""

    schedule: str
    checker: str
    looked_at: int
    wrong: list[str]

    @property
    def violations(self) -> list[str]:
        """A sentence each; the first few."""
        wrong = self.wrong[:3] if self.looked_at else ["there was nothing to look at"]
        return [f"{self.schedule}: {self.checker}: {what}" for what in wrong]


class Look(NamedTuple):
    """One thing that was looked at; `wrong` is "" when it is as it must be."""

    wrong: str


def verdicts(history: History) -> list[Verdict]:
    """One of each checker."""
    return [verdict(history, name) for name in CHECKERS]


def verdict(history: History, checker: str) -> Verdict:
    looks = list(CHECKERS[checker](history))
    return Verdict(history.name, checker, len(looks), [look.wrong for look in looks if look.wrong])


def is_prefix(history: History) -> Iterator[Look]:
    """1: the replica, and its file, always hold exactly what the model held after one of the commits; a stranger stays as it came."""
    model = {place(commit.position): commit.contents for commit in history.committed}
    for seen in [*history.states, *history.shown]:
        expected = stranger_at(history, seen.at) or model.get(place(seen.position))
        if expected is None:
            yield Look(f"the replica was at {seen.position}, which nobody committed")
        else:
            yield Look("" if seen.contents == expected else f"at {seen.position} the replica held something else")


def never_falls(history: History) -> Iterator[Look]:
    """2: neither the replica nor its file ever goes back, unless somebody puts another file there."""
    for series in (history.states, history.shown):
        for before, after in pairwise(series):
            is_same_file = stranger_at(history, before.at) == stranger_at(history, after.at)
            is_back = is_same_file and place(after.position) < place(before.position)
            yield Look(f"from {before.position} back to {after.position} at {after.at:.3f}" if is_back else "")


def not_early(history: History) -> Iterator[Look]:
    """3: nothing is seen before its delay is over, but for what a snapshot brought."""
    states = ours(history, history.states)
    brought = {commit.position for commit, at in first_seen(history, states) if at in history.copies}
    for series in (states, ours(history, history.shown)):
        for commit, at in first_seen(history, series):
            if at is None or commit.position in brought:
                continue
            took = at - commit.at
            is_early = took < history.delay - CLOCK_SECONDS
            yield Look(f"commit {commit.position.lsn} was seen after {took:.6f} s" if is_early else "")


def healthy_in_time(history: History) -> Iterator[Look]:
    """4: while nothing is wrong a commit is seen within the delay and 250 ms, and the file shows it as soon."""
    series = ours(history, history.states)
    for commit, at in first_seen(history, series):
        by = deadline(history, commit, HEALTHY_SECONDS)
        if is_healthy(history, commit) and by <= history.ended:
            yield Look(too_late(commit, at, by))
    healthy = [commit for commit in history.committed if is_healthy(history, commit)]
    for seen in ours(history, history.shown):
        due = [c for c in healthy if deadline(history, c, HEALTHY_SECONDS) < seen.at]
        if due:
            behind = place(due[-1].position) > place(seen.position)
            yield Look(f"the file did not show commit {due[-1].position.lsn} at {seen.at:.3f}" if behind else "")


def only_committed(history: History) -> Iterator[Look]:
    """5: no record is seen of a write that was refused, given up, or not committed yet."""
    if not history.refused:
        return  # without a refused write this shows nothing
    made = [commit for commit in history.committed if commit.token]
    for seen in ours(history, history.states):
        allowed = {
            commit.token
            for commit in made
            if place(commit.position) <= place(seen.position)
            and commit.at <= seen.at
            and (commit.position not in history.given_up or commit.position.timeline == seen.position.timeline)
        }
        extra = sorted(seen.tokens - allowed)
        yield Look(f"at {seen.position} the writes {extra[:5]} were seen" if extra else "")


def converges(history: History) -> Iterator[Look]:
    """6: whatever was wrong, two ticks and a delay after its end everything has arrived; what must be noticed was noticed; what must not
    move did not, and said so."""
    series = ours(history, history.states)
    for commit, at in first_seen(history, series):
        by = converged_by(history, commit)
        if commit.position not in history.given_up and by <= history.ended:
            yield Look(too_late(commit, at, by))
    last = history.committed[-1].position
    yield Look("" if series and series[-1].position == last else f"the replica did not end at {last}")
    for fault in history.faults:
        if fault.notice_by is not None:
            by = pushed_back(history.pauses, fault.since, fault.notice_by)
            is_noticed = fault.noticed is not None and fault.noticed <= by
            yield Look("" if is_noticed else f"{fault.what}: noticed at {fault.noticed}, not by {by:.3f}")
    for still in history.stills:
        moved = {s.contents for s in history.states if still.since <= s.at < still.until}
        yield Look(f"the replica moved while it had to stand still ({still.must_say})" if len(moved) > 1 else "")
        silent = [said for said in still.said if still.must_say not in said]
        yield Look(f"it said {silent[:1] or 'nothing'}, not {still.must_say!r}" if silent or not still.said else "")
    for bound in history.bounds:
        yield Look("" if bound.value <= bound.most else f"{bound.what}: {bound.value:g}, at most {bound.most:g}")


def one_history(history: History) -> Iterator[Look]:
    """7: whoever is at the same commit of the same timeline tells the same checksum: what was committed, both sides of the page, the
    replica and its file."""
    told: dict[Place, str] = {}
    for position in positions_told(history):
        known = told.get(place(position))
        told[place(position)] = position.checksum
        if known is not None:
            is_other = known != position.checksum
            yield Look(f"commit {position.lsn} has the checksums {known} and {position.checksum}" if is_other else "")


def page_is_true(history: History) -> Iterator[Look]:
    """8: every figure of the page is what the files say."""
    for page in history.pages:
        yield Look("" if page.said == page.files else f"at {page.at:.3f} {first_difference(page.said, page.files)}")


CHECKERS: dict[str, Callable[[History], Iterator[Look]]] = {
    "prefix": is_prefix,
    "lsn never falls": never_falls,
    "not before the delay": not_early,
    "healthy in time": healthy_in_time,
    "only what was committed": only_committed,
    "converges": converges,
    "equal lsn, equal checksum": one_history,
    "the page is what the files say": page_is_true,
}


def place(position: Position) -> Place:
    return position.timeline, position.lsn


def stranger_at(history: History, at: float) -> str | None:
    return next((one.contents for one in history.strangers if one.since <= at < one.until), None)


def ours(history: History, series: list[Seen]) -> list[Seen]:
    """Without what is not of this shop's history."""
    return [seen for seen in series if stranger_at(history, seen.at) is None]


def first_seen(history: History, series: list[Seen]) -> Iterator[tuple[Committed, float | None]]:
    """Each commit that was made while somebody looked, and when it was first seen; None: never."""
    at = 0
    for commit in history.committed:
        if not commit.token:
            continue
        while at < len(series) and place(series[at].position) < place(commit.position):
            at += 1
        is_there = at < len(series) and (
            commit.position not in history.given_up or series[at].position.timeline == commit.position.timeline
        )
        yield commit, series[at].at if is_there else None


def deadline(history: History, commit: Committed, grace: float) -> float:
    return pushed_back(history.pauses, commit.at, commit.at + history.delay + grace)


def is_healthy(history: History, commit: Committed) -> bool:
    """Nothing was wrong from the commit to its deadline."""
    until = commit.at + history.delay + HEALTHY_SECONDS
    return bool(commit.token) and all(until < since or commit.at > end for since, end in troubled_spans(history))


def converged_by(history: History, commit: Committed) -> float:
    """A delay and two ticks after it was made, or after what was wrong then had ended."""
    by = commit.at + history.delay + 2 * history.tick
    ends = [end for since, end in troubled_spans(history) if since <= by and commit.at <= end]
    return pushed_back(history.pauses, commit.at, max([by, *ends]))


def too_late(commit: Committed, at: float | None, by: float) -> str:
    if at is None:
        return f"commit {commit.position.lsn} was never seen"
    return f"commit {commit.position.lsn} was seen {at - by:.3f} s too late" if at > by else ""


def positions_told(history: History) -> Iterator[Position]:
    yield from (commit.position for commit in history.committed)
    yield from (seen.position for seen in ours(history, [*history.states, *history.shown]))
    for page in history.pages:
        yield page.said.primary.position
        if stranger_at(history, page.at) is None:
            yield page.said.replica.position


def first_difference(said: tuple, files: tuple, name: str = "the page") -> str:
    for field, one, other in zip(said._fields, said, files, strict=True):
        if one != other:
            if hasattr(one, "_fields") and hasattr(other, "_fields"):
                return first_difference(one, other, f"{name}'s {field}")
            return f"{name} says {field} {one}, the files {other}"
    return ""
