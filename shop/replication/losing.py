"""What a failover left behind: `lost/<timeline>-<lsn>.jsonl` holds one commit, as the old journal had it; what was decided about it
stands beside, in `lost/<timeline>-<lsn>.done.json`.

A timeline is left once and an LSN is used once in it, so that the name of a commit never means another one. Writing the same commits again
changes nothing: a rejoin that was cut short is simply done again.

The LSNs of PostgreSQL are places in the log of one cluster, and another cluster that is made in the folder begins its log anew. What comes
from there is known by its id, and takes the next name that is free.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from shop import losses
from shop.errors import NotFound
from shop.replication.contract import Decision, Invoice, LostCommit
from shop.repository.schema import SCHEMA
from shop.store import OS_FILES, Commit, Files, Schema, Store, StoreMismatch, decode_commit
from shop.store.journal import encode_core, encode_line

FOLDER_NAME = "lost"
_ID = re.compile(r"[0-9]{1,9}-[0-9]{1,15}")
_COMMIT = ".jsonl"
_DECISION = ".done.json"


class Left(NamedTuple):
    """A commit that was left behind, from whatever log."""

    id: str
    timeline: int
    lsn: int
    at: str
    ops: Sequence[losses.Op]


class LostFolder:
    """The folder `lost/` of a shop. Reading finds what is there now; nothing is kept in memory."""

    def __init__(self, instance: Path, *, schema: Schema = SCHEMA, files: Files = OS_FILES) -> None:
        self.path = instance / FOLDER_NAME
        self._schema = schema
        self._files = files

    def keep(self, store: Store, after_lsn: int) -> int:
        """Write every commit of *store* above *after_lsn* to a file of its own, fsynced; returns how many. Raises OSError.

        Raises `StoreMismatch`, and has written nothing, when the journal no longer holds the first of them.
        """
        lines = list(_lines(store, after_lsn))
        if not lines:
            return 0
        self._files.make_folder(self.path)
        for commit_id, line in lines:
            self._replace(self.path / f"{commit_id}{_COMMIT}", line)
        self._files.sync_folder(self.path)
        return len(lines)

    def keep_commits(self, commits: Sequence[Left]) -> list[Commit]:
        """The same for commits that come from no journal; returns them as they are kept, oldest first. Raises OSError.

        Each becomes a line as a journal has it. A name that another commit bears, or a decision that is not about this one, is not
        used again: the commit gets the next LSN that is free.
        """
        if not commits:
            return []
        self._files.make_folder(self.path)
        kept: list[Commit] = []
        for left in sorted(commits, key=lambda one: (one.timeline, one.lsn, one.id)):
            lsn = left.lsn
            while self._is_anothers(commit_id(left.timeline, lsn), left):
                lsn += 1
            core = encode_core(lsn, left.timeline, left.at, left.ops)
            line = encode_line(0, "", left.id, core)
            self._replace(self.path / f"{commit_id(left.timeline, lsn)}{_COMMIT}", line)
            kept.append(decode_commit(line, self._schema))
        self._files.sync_folder(self.path)
        return kept

    def holds(self, commit_id: str) -> bool:
        return self._files.exists(self._file(commit_id, _COMMIT))

    def commit(self, commit_id: str) -> Commit:
        """Raises `NotFound`, and `StoreMismatch` when the file is damaged."""
        if not self.holds(commit_id):
            raise NotFound("There is no such lost commit.")
        return decode_commit(self._files.read(self._file(commit_id, _COMMIT)), self._schema)

    def commits(self) -> Iterator[Commit]:
        """Those that can be read, oldest first."""
        for commit_id in self._ids():
            with suppress(StoreMismatch):
                yield self.commit(commit_id)

    def damaged(self) -> Sequence[str]:
        """The names of files that cannot be read."""
        return [f"{commit_id}{_COMMIT}" for commit_id in self._ids() if not self._is_readable(commit_id)]

    def decision(self, commit_id: str) -> Decision | None:
        path = self._file(commit_id, _DECISION)
        if not self._files.exists(path):
            return None
        return msgspec.json.decode(self._files.read(path), type=Decision)

    def decide(self, commit_id: str, decision: Decision) -> None:
        """Keep *decision*, durably. Raises OSError."""
        self._replace(self._file(commit_id, _DECISION), msgspec.json.encode(decision) + b"\n")
        self._files.sync_folder(self.path)

    def _ids(self) -> list[str]:
        names = (name.removesuffix(_COMMIT) for name in self._files.names_in(self.path) if name.endswith(_COMMIT))
        return sorted((name for name in names if _ID.fullmatch(name)), key=_order)

    def _is_anothers(self, name: str, left: Left) -> bool:
        """Whether anything of that name is, or may be, about another commit than *left*."""
        if self.holds(name):
            return not self._is_readable(name) or self.commit(name).checksum != left.id
        return self._files.exists(self._file(name, _DECISION))

    def _is_readable(self, commit_id: str) -> bool:
        try:
            self.commit(commit_id)
        except StoreMismatch:
            return False
        return True

    def _file(self, commit_id: str, ending: str) -> Path:
        if not _ID.fullmatch(commit_id):  # it comes from an address that anybody can type
            raise NotFound("There is no such lost commit.")
        return self.path / f"{commit_id}{ending}"

    def _replace(self, path: Path, data: bytes) -> None:
        """As the store does; the caller fsyncs the folder, once for many files."""
        beside = path.with_name(path.name + ".tmp")
        fd = self._files.create(beside)
        try:
            self._files.write(fd, data, 0)
            self._files.sync(fd)
        finally:
            self._files.close(fd)
        self._files.replace(beside, path)


def commit_id(timeline: int, lsn: int) -> str:
    return f"{timeline}-{lsn}"


def _order(id: str) -> tuple[int, int]:
    timeline, _, lsn = id.partition("-")
    return int(timeline), int(lsn)


def _lines(store: Store, after_lsn: int) -> Iterator[tuple[str, bytes]]:
    """Id and journal line of each commit above *after_lsn*, oldest first."""
    lsn = after_lsn
    while lines := store.lines(lsn):
        for line in lines.splitlines(keepends=True):
            lsn += 1
            yield commit_id(store.timeline_of(lsn), lsn), line


def invoice(timeline: int, commits: Sequence[Commit], folder: LostFolder, currency: str) -> Invoice:
    """What *commits*, which were left behind on *timeline*, amount to."""
    commits = [commit for commit in commits if commit.ops]
    ledger = losses.Ledger(0)
    for commit in commits:
        ledger.add(commit.lsn, commit.ops)
    totals = ledger.totals()
    return Invoice(
        timeline=timeline,
        commits=[described(commit, folder, currency) for commit in commits],
        orders=totals.orders,
        order_cents=totals.order_cents,
        carts=totals.carts,
        edits=totals.edits,
        sentence=totals.sentence(currency),
    )


def described(commit: Commit, folder: LostFolder, currency: str) -> LostCommit:
    id = commit_id(commit.timeline, commit.lsn)
    placed = [op.record for op in commit.ops if op.collection == "orders" and op.record and losses.is_new(op.record)]
    return LostCommit(
        id=id,
        timeline=commit.timeline,
        lsn=commit.lsn,
        at=commit.at,
        summary=losses.summary(commit.ops, currency),
        order_number=", ".join(order.number for order in placed),
        customer=", ".join(f"{order.customer.name} <{order.customer.email}>" for order in placed),
        order_cents=sum(order.total_cents for order in placed),
        decision=folder.decision(id),
    )
