"""Alerts: what is wrong with the pair, told once when it begins and once when it ends.

A rule measures one thing in a `Status`. It is raised when the measure has been at or above its upper bound for `raise_after_seconds`,
and cleared when it has been at or below its lower bound for `clear_after_seconds`: what hovers between the two does not flap.
`Alerts.look` is called by the schedule, never by a commit.
"""

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from shop.clock import Clock
from shop.replication.contract import Alert, State, Status

LAG_SECONDS = 60.0  # older than the link's delay explains
LAG_COMMITS = 10_000
STALLED_SECONDS = 30.0
RETRIES = 5
AWAY_SECONDS = 8.0  # a server that is started again is back sooner
HEADROOM_USED = 0.8  # of the journal, while the replica still needs it
VERIFY_SECONDS = 600.0  # between two scheduled verifications
CALM_SECONDS = 5.0  # all must be well for so long before an alert is cleared

_log = structlog.get_logger("alerts")

Tell = Callable[[Alert, bool], None]  # the alert, and whether it is raised (else cleared)


class Rule(NamedTuple):
    """One thing that can be wrong."""

    name: str  # the slug in logs and metrics
    measure: Callable[[Status], float]
    raise_at: float
    clear_at: float
    sentence: Callable[[Status], str]
    raise_after_seconds: float = 0.0
    clear_after_seconds: float = CALM_SECONDS


class _Watched:
    """One rule, and what was seen of it."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.raised: Alert | None = None
        self._turning_since: float | None = None  # since when the measure has been on the other side

    def is_due(self, measure: float, now: float) -> bool:
        """Whether the rule turns now: from well to raised, or back."""
        rule = self.rule
        is_other = measure <= rule.clear_at if self.raised else measure >= rule.raise_at
        if not is_other:
            self._turning_since = None
            return False
        if self._turning_since is None:
            self._turning_since = now
        if now - self._turning_since < (rule.clear_after_seconds if self.raised else rule.raise_after_seconds):
            return False
        self._turning_since = None
        return True


class Alerts:
    """The rules over one replication, as `contract.Alerts`. `tell` is called once a turn; what it raises disturbs nobody."""

    def __init__(self, status: Callable[[], Status], clock: Clock, *, tell: Tell | None = None) -> None:
        self.tell = tell
        self._status = status
        self._clock = clock
        self._lock = threading.Lock()  # one look at a time
        self._watched = [_Watched(rule) for rule in RULES]
        self._raised: tuple[Alert, ...] = ()  # replaced, never changed

    @property
    def names(self) -> Sequence[str]:
        return [rule.name for rule in RULES]

    def raised(self) -> Sequence[Alert]:
        """What is wrong now, as of the last look; oldest first."""
        return self._raised

    def look(self) -> None:
        """Weigh every rule once. Does not raise."""
        try:
            with self._lock:
                turned = self._weigh(self._status())
        except Exception:
            _log.exception("the alerts could not be weighed")
            return
        for alert, is_raised in turned:
            self._announce(alert, is_raised)

    def _weigh(self, status: Status) -> list[tuple[Alert, bool]]:
        now = self._clock.monotonic()
        turned: list[tuple[Alert, bool]] = []
        for watched in self._watched:
            if not watched.is_due(watched.rule.measure(status), now):
                continue
            if watched.raised is None:
                watched.raised = Alert(watched.rule.name, watched.rule.sentence(status), status.at)
                turned.append((watched.raised, True))
            else:
                turned.append((watched.raised, False))
                watched.raised = None
        self._raised = tuple(sorted((one.raised for one in self._watched if one.raised), key=lambda alert: alert.since))
        return turned

    def _announce(self, alert: Alert, is_raised: bool) -> None:
        if is_raised:
            _log.warning("alert raised", alert=alert.name, sentence=alert.sentence)
        else:
            _log.info("alert cleared", alert=alert.name, since=alert.since)
        if self.tell is None:
            return
        try:
            self.tell(alert, is_raised)
        except Exception:
            _log.exception("an alert could not be passed on", alert=alert.name)


class Rounds:
    """Does *work* once in *every_seconds*, the first time after as long. Does not raise."""

    def __init__(self, work: Callable[[], object], clock: Clock, *, every_seconds: float) -> None:
        self._work = work
        self._clock = clock
        self._every = every_seconds
        self._due = clock.monotonic() + every_seconds

    def look(self) -> None:
        """Do it if it is due."""
        if self._clock.monotonic() < self._due:
            return
        try:
            self._work()
        except Exception:
            _log.exception("the scheduled verification failed")
        self._due = self._clock.monotonic() + self._every


def _late_seconds(status: Status) -> float:
    """How much older the oldest waiting commit is than the link's knobs explain."""
    link = status.link
    return max(0.0, status.lag.oldest_seconds - link.delay_seconds - link.jitter_seconds)


def _headroom_used(status: Status) -> float:
    headroom = status.headroom
    if (
        status.is_wal and headroom is not None and headroom.left_bytes is not None
    ):  # what is kept, is kept for the replica
        return headroom.kept_bytes / max(1, headroom.kept_bytes + max(0, headroom.left_bytes))
    if not status.journal_limit_bytes or not status.lag.commits:
        return 0.0  # what nobody needs any more is cut without harm
    return status.primary.journal_bytes / status.journal_limit_bytes


def _is(state: State) -> Callable[[Status], float]:
    return lambda status: float(status.state is state)


RULES = (
    Rule(
        "lag-time",
        _late_seconds,
        LAG_SECONDS,
        5.0,
        lambda status: (
            f"The replica lags: the oldest write it lacks is {status.lag.oldest_seconds:.0f} s old,"
            f" with a delay of {status.link.delay_seconds:g} s."
        ),
    ),
    Rule(
        "lag-count",
        lambda status: status.lag.commits,
        LAG_COMMITS,
        LAG_COMMITS / 10,
        lambda status: f"The replica lags by {status.lag.commits:,} writes.",
    ),
    Rule(
        "no-progress",
        lambda status: status.lag.stalled_seconds,
        STALLED_SECONDS,
        1.0,
        lambda status: (
            f"Replication stands still: writes have been due for {status.lag.stalled_seconds:.0f} s and none was applied."
        ),
    ),
    Rule(
        "retries",
        lambda status: status.retry.attempts,
        RETRIES,
        0,
        lambda status: f"The replica has refused the next write {status.retry.attempts} times in a row.",
    ),
    Rule(
        "diverged",
        lambda status: status.diverged_records,
        1,
        0,
        lambda status: (
            f"The two sides have diverged: the last verification found {status.diverged_records:,} record"
            f"{'' if status.diverged_records == 1 else 's'} that no write on its way explains."
        ),
        clear_after_seconds=0.0,  # only another verification or a resync can end it
    ),
    Rule(
        "journal-headroom",
        _headroom_used,
        HEADROOM_USED,
        0.5,
        lambda status: (
            f"The journal is {_headroom_used(status):.0%} full. When it is cut, the replica cannot catch up any more"
            " and needs a fresh copy."
        ),
    ),
    Rule(
        "replica-away",
        lambda status: float(status.is_wal and status.state is State.FAILING),
        1,
        0,
        lambda status: f"The replica does not follow. {status.sentence}",
        raise_after_seconds=AWAY_SECONDS,
    ),
    Rule(
        "snapshot-needed",
        _is(State.SNAPSHOT_NEEDED),
        1,
        0,
        lambda status: "The journal no longer holds what the replica lacks: rebuild the replica.",
    ),
    Rule(
        "refused",
        _is(State.REFUSED),
        1,
        0,
        lambda status: "Nothing is copied: the two sides no longer share one history.",
    ),
    Rule(
        "read-only",
        lambda status: float(not status.primary.is_writable),
        1,
        0,
        lambda status: "The primary takes no writes: nobody can buy.",
        raise_after_seconds=2.0,  # a switchover refuses writes for a moment, as it should
        clear_after_seconds=0.0,
    ),
)
