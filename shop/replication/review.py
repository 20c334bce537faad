"""The review of what failovers left behind: the invoices, and what is decided about each lost commit."""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import structlog

from shop.clock import Clock
from shop.errors import Conflict, Invalid
from shop.models import timestamp
from shop.reentry import reenter
from shop.replication import losing
from shop.replication.contract import Decision, Invoice, LostCommit, Unsettled
from shop.replication.losing import LostFolder
from shop.repository.contract import Repository
from shop.store import Commit, StoreMismatch
from shop.text import clean_line

REASON_LENGTH_MAX = 300

_log = structlog.get_logger("failover")


class Review:
    """That part of `contract.Failover` which asks nothing but the folder `lost/` and the shop that goes on. One decision at a time."""

    def __init__(self, folder: LostFolder, writes: Repository, *, clock: Clock, currency: str) -> None:
        self._folder = folder
        self._writes = writes
        self._clock = clock
        self._currency = currency
        review_lock = threading.Lock()
        self._deciding: Callable[[], AbstractContextManager[object]] = lambda: (
            review_lock
        )  # one at a time, of all who may

    def unsettled(self) -> Unsettled | None:
        return None

    def invoices(self) -> Sequence[Invoice]:
        by_timeline: dict[int, list[Commit]] = {}
        for commit in self._folder.commits():
            by_timeline.setdefault(commit.timeline, []).append(commit)
        made = (
            losing.invoice(timeline, commits, self._folder, self._currency)
            for timeline, commits in sorted(by_timeline.items(), reverse=True)
        )
        return [invoice for invoice in made if invoice.commits]

    def damaged(self) -> Sequence[str]:
        return self._folder.damaged()

    def lost_order(self, number: str) -> LostCommit | None:
        for commit in self._folder.commits():
            if any(op.collection == "orders" and op.id == number for op in commit.ops):
                return losing.described(commit, self._folder, self._currency)
        return None

    def reenter(self, commit_id: str, *, by: str) -> Decision:
        with self._deciding():
            commit = self._undecided(commit_id)
            try:
                with self._writes.update() as unit:
                    sentence = reenter(unit, commit.ops, now=self._clock.now())
            except Invalid as refusal:
                raise Conflict(" ".join(refusal.fields.values()) or refusal.message) from refusal
            return self._decide(commit_id, "re-entered", sentence, by)

    def discard(self, commit_id: str, reason: str, *, by: str) -> Decision:
        try:
            reason = clean_line(reason, length_max=REASON_LENGTH_MAX, name="a reason")
        except ValueError as refusal:
            raise Invalid({"reason": str(refusal)}) from None
        with self._deciding():
            self._undecided(commit_id)
            return self._decide(commit_id, "discarded", reason, by)

    def _undecided(self, commit_id: str) -> Commit:
        try:
            commit = self._folder.commit(commit_id)
        except StoreMismatch as error:
            raise Conflict(f"The file of commit {commit_id} in lost/ is damaged: {error}") from error
        decision = self._folder.decision(commit_id)
        if decision is not None:
            raise Conflict(f"Commit {commit_id} has been decided about already: {decision.kind}, {decision.sentence}")
        return commit

    def _decide(self, commit_id: str, kind: str, sentence: str, by: str) -> Decision:
        decision = Decision(kind=kind, sentence=sentence, by=by, at=timestamp(self._clock.now()))
        try:
            self._folder.decide(commit_id, decision)
        except OSError as error:
            raise Conflict(f"The decision could not be kept: {error}. {sentence}") from error
        _log.info("lost commit decided", commit=commit_id, kind=kind, by=by)
        return decision
