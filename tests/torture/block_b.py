"""Block B: every byte of the files flipped, every length cut, sectors zeroed, lines moved, files exchanged.

A point is one damage, a state one look at what the next start makes of it. It refuses, in one line that names the file, the place and the
command that repairs; or what it serves is a state that was committed. Shorter it may be only by what no later line vouches for: that is
announced, and the primary takes no writes when its replica has more.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from shop.clock import ManualClock
from shop.errors import SettingError
from shop.replication.pair import Pair, open_pair, resync_from
from tests.simdisk import SECTOR, Disk, SimDisk
from tests.storekit import INDEXES, SCHEMA, contents
from tests.torture import forgeries
from tests.torture.ledger import Contents, History
from tests.torture.tally import Counts, Tally, progress

MINIMUM = Counts(points=6_000, states=6_000)

FOLDER = Path("/disk")
ODD, EVEN = FOLDER / "db.json", FOLDER / "db_async.json"
ODD_JOURNAL, EVEN_JOURNAL = FOLDER / "db.journal", FOLDER / "db_async.journal"
MASKS = (0x01, 0x80, 0xFF)
COMMITS, IN_CHECKPOINT = 7, 3
AHEAD, BEHIND = 7, 5  # how far the replica has come: it is the witness of every commit, or not of the last
LANE_EVERY = 13  # byte of a lane
REPAIR_EVERY = 40  # refusals: the repair is tried


class Damage(NamedTuple):
    """One thing done to the files."""

    name: str
    path: Path
    disk: Disk
    may_lose: int  # of the last commits of that file, those that no later line vouches for any more


def run(*, whole: bool) -> Tally:
    bench = Bench()
    step = 1 if whole else LANE_EVERY
    for replica_at in (AHEAD, BEHIND):
        healthy = Healthy(replica_at)
        for name, damages in kinds(healthy, step).items():
            progress(f"B: {name}, {bench.tally.points:,} cases so far")
            count = 0
            for damage in damages:
                bench.judge(healthy, damage)
                count += 1
            if not count:
                bench.tally.violations.append(f"{name}: nothing was damaged")
    forgeries.run(bench.tally)
    bench.judge_itself()
    return bench.tally


class Healthy:
    """A pair as a crash leaves it: a checkpoint in the middle, a journal that holds every commit."""

    def __init__(self, replica_at: int) -> None:
        disk = SimDisk()
        pair = opened(disk)
        pair.primary.keep_after(0)
        history = History(disk)
        for lsn in range(1, COMMITS + 1):
            history.commit(pair.primary)
            if lsn <= replica_at:
                pair.replica.apply(pair.primary.lines(pair.replica.position.lsn))
            if lsn == IN_CHECKPOINT:
                pair.primary.checkpoint()
                pair.replica.checkpoint()
        self.replica_at = replica_at
        self.files = disk.files()
        self.states: list[Contents] = history.states

    def lines(self, journal: Path) -> list[bytes]:
        return self.files[journal].rstrip(b"\0").splitlines(keepends=True)

    def last_of(self, path: Path) -> int:
        """The commit that this side ends with."""
        return COMMITS if path in (ODD, ODD_JOURNAL) else self.replica_at


def opened(disk: SimDisk) -> Pair:
    return open_pair(FOLDER, ManualClock(), schema=SCHEMA, indexes=INDEXES, files=disk)  # type: ignore[arg-type]


# ---- what is done


def kinds(healthy: Healthy, step: int) -> dict[str, Iterator[Damage]]:
    """Of bytes every *step*th one; with a replica that is behind, only what it makes a difference to."""
    of_primary = {
        "flipped bytes of the journal": flips(healthy, ODD_JOURNAL, step),
        "lengths of the journal": lengths(healthy, ODD_JOURNAL, step),
        "lines of the journal": moved_lines(healthy, ODD_JOURNAL),
    }
    if healthy.replica_at == BEHIND:
        return of_primary
    return of_primary | {
        "flipped bytes of the checkpoint": flips(healthy, ODD, step),
        "flipped bytes of the replica": flips(healthy, EVEN, step),
        "flipped bytes of the replica's journal": flips(healthy, EVEN_JOURNAL, step * 3),
        "lengths of the checkpoint": lengths(healthy, ODD, step),
        "lengths of the replica": lengths(healthy, EVEN, step),
        "lines of the replica's journal": moved_lines(healthy, EVEN_JOURNAL),
        "sectors": sectors(healthy),
        "files": exchanged(healthy),
    }


def flips(healthy: Healthy, path: Path, step: int) -> Iterator[Damage]:
    """A newline belongs to both lines that it parts. What lies behind the lines is room: a few of its bytes."""
    data = healthy.files[path]
    length = len(data.rstrip(b"\0"))
    last_line = data.rstrip(b"\0\n").rfind(b"\n") if path.suffix == ".journal" else length
    for at in [*range(0, length, step), *range(length, len(data), step * 512)]:
        for mask in MASKS:
            damaged = data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]
            may_lose = 1 if last_line <= at < length else 0
            yield Damage(f"byte {at} ^ {mask:02x}", path, {**healthy.files, path: damaged}, may_lose)


def lengths(healthy: Healthy, path: Path, step: int) -> Iterator[Damage]:
    """A journal that ends sooner looks like one that was never written further: the replica alone can tell."""
    data = healthy.files[path].rstrip(b"\0")
    is_journal = path.suffix == ".journal"
    for length in range(0, len(data), step):
        left = data[:length].count(b"\n") if is_journal else healthy.last_of(path)
        yield Damage(
            f"cut to {length}", path, {**healthy.files, path: data[:length]}, healthy.last_of(path) - max(left, 3)
        )


def moved_lines(healthy: Healthy, journal: Path) -> Iterator[Damage]:
    lines = healthy.lines(journal)
    for at in range(len(lines)):
        last = at == len(lines) - 1
        for name, wrong in {
            "swapped": [*lines[:at], *reversed(lines[at : at + 2]), *lines[at + 2 :]],
            "doubled": [*lines[: at + 1], *lines[at:]],
            "removed": [*lines[:at], *lines[at + 1 :]],
        }.items():
            may_lose = 1 if (last and name == "removed") or (at == len(lines) - 2 and name == "swapped") else 0
            yield Damage(f"line {at} {name}", journal, {**healthy.files, journal: b"".join(wrong)}, may_lose)


def sectors(healthy: Healthy) -> Iterator[Damage]:
    """Lost sectors hold zeros. One with the begin of a line in it takes that line's witness along."""
    for path in (ODD, ODD_JOURNAL, EVEN, EVEN_JOURNAL):
        data = healthy.files[path]
        length = len(data.rstrip(b"\0"))
        for size in (64, SECTOR):
            for start in range(0, length, size):
                end = min(start + size, len(data))
                lost = sum(1 for line in _ends(healthy, path) if line > start) if _takes_the_end(data, end) else 0
                damaged = data[:start] + bytes(end - start) + data[end:]
                yield Damage(f"bytes {start} to {end} zeroed", path, {**healthy.files, path: damaged}, lost)


def _takes_the_end(data: bytes, end: int) -> bool:
    """Whether no whole line begins behind *end*."""
    return data.find(b'{"crc":"', end) < 0


def _ends(healthy: Healthy, path: Path) -> list[int]:
    ends, at = [], 0
    for line in healthy.lines(path) if path.suffix == ".journal" else ():
        at += len(line)
        ends.append(at)
    return ends


def exchanged(healthy: Healthy) -> Iterator[Damage]:
    """Files that are there, whole, and do not belong together."""
    files = healthy.files
    young = _files_after(1)
    stranger = _files_of_another_shop()
    for name, path, data, may_lose in (
        ("an old checkpoint", ODD, young[ODD], 0),
        ("an old journal", ODD_JOURNAL, young[ODD_JOURNAL], COMMITS - IN_CHECKPOINT),
        ("the journal of another shop", ODD_JOURNAL, stranger[ODD_JOURNAL], COMMITS - IN_CHECKPOINT),
        ("the checkpoint of another shop", ODD, stranger[ODD], 0),
        ("the replica's checkpoint", ODD, files[EVEN], 0),
        ("no journal", ODD_JOURNAL, None, 0),
        ("no checkpoint", ODD, None, 0),
        ("no replica", EVEN, None, 0),
        ("an empty checkpoint", ODD, b"", 0),
        ("an empty replica", EVEN, b"", 0),
        ("text", ODD, b"hello\n", 0),
        ("a BOM", ODD, b"\xef\xbb\xbf" + files[ODD], 0),
        ("a line more", ODD, files[ODD] + b"\n", 0),
        ("twice", ODD, files[ODD] * 2, 0),
        ("a journal of rubbish", ODD_JOURNAL, b"\xff" * 900, COMMITS - IN_CHECKPOINT),
        ("rubbish behind the journal", ODD_JOURNAL, files[ODD_JOURNAL].rstrip(b"\0") + b"\xff" * 900, 0),
    ):
        disk = (
            {**files, path: data} if data is not None else {name: held for name, held in files.items() if name != path}
        )
        yield Damage(name, path, disk, may_lose)


def _files_after(commits: int) -> Disk:
    """The same shop, earlier: the same commits give the same bytes."""
    disk = SimDisk()
    pair = opened(disk)
    history = History(disk)
    for _ in range(commits):
        history.commit(pair.primary)
    pair.primary.checkpoint()
    return disk.files()


def _files_of_another_shop() -> Disk:
    disk = SimDisk()
    pair = opened(disk)
    history = History(disk)
    for _ in range(COMMITS):
        history.commit(pair.primary)
    return disk.files()


# ---- what must hold


class Bench:
    """Judges damages and counts; `outcomes` must in the end hold each of the kinds that there are."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.outcomes: dict[str, int] = {}

    def judge(self, healthy: Healthy, damage: Damage) -> None:
        self.tally.points += 1
        self.tally.states += 1
        disk = SimDisk(damage.disk)
        try:
            outcome = self._outcome(healthy, damage, disk)
        except Exception as error:
            self.tally.violations.append(f"{damage.path.name}, {damage.name}: {type(error).__name__}: {error}")
            return
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def _outcome(self, healthy: Healthy, damage: Damage, disk: SimDisk) -> str:
        try:
            pair = opened(disk)
        except SettingError as refusal:
            self._check_refusal(healthy, damage, str(refusal))
            return "refused"
        served = self._served(healthy, pair)
        side = pair.primary if damage.path in (ODD, ODD_JOURNAL) else pair.replica
        lost = healthy.last_of(damage.path) - side.position.lsn
        if not lost:
            return f"whole, {'told' if pair.announcements else 'not told'}"
        assert lost <= damage.may_lose, f"{lost} commits are gone, of which a later line vouched for some"
        if served[0] < served[1]:
            assert not pair.primary.is_writable, "shorter than its replica, and it takes writes"
            assert f"has {served[1]}: commits were lost here" in pair.primary.problem, pair.primary.problem
            return "shorter, and held because of the replica"
        assert lost == 1 or "cut to" in damage.name or side.announcements, "more than the last line went without a word"
        return f"shorter, {'told' if side.announcements else 'not told'}"

    def _served(self, healthy: Healthy, pair: Pair) -> tuple[int, int]:
        """Both sides serve states that were committed; how far they have come."""
        for store in (pair.primary, pair.replica):
            assert contents(store) == healthy.states[store.position.lsn], f"{store.path.name} serves a wrong state"
        return pair.primary.position.lsn, pair.replica.position.lsn

    def _check_refusal(self, healthy: Healthy, damage: Damage, refusal: str) -> None:
        """One line; the file; the byte, but where a whole file is meant; and the command, which works."""
        assert "\n" not in refusal, f"not one line: {refusal!r}"
        side = damage.path.with_suffix(".json")
        other = EVEN if side == ODD else ODD
        if "two different shops" in refusal:
            return
        assert f"{FOLDER / side.stem}" in refusal, f"the file is not named: {refusal}"
        is_whole = re.search(r"is missing|cannot be read", refusal)
        assert is_whole or re.search(r" at byte [0-9]+: ", refusal), f"the place is not named: {refusal}"
        assert f"flask --app app shop resync --from {other.name}" in refusal, f"no remedy is named: {refusal}"
        if self.outcomes.get("refused", 0) % REPAIR_EVERY == 0 or "byte" not in damage.name:
            self._repair(healthy, damage, other)

    def _repair(self, healthy: Healthy, damage: Damage, source: Path) -> None:
        """What the printed command does: the shop is there again, and what was damaged is kept beside."""
        self.tally.states += 1
        disk = SimDisk(damage.disk)
        resync_from(FOLDER, source.name, ManualClock(), schema=SCHEMA, indexes=INDEXES, files=disk)  # type: ignore[arg-type]
        pair = opened(disk)
        lsn = healthy.last_of(source)
        assert contents(pair.primary) == contents(pair.replica) == healthy.states[lsn], "the repair made something else"
        assert pair.primary.is_writable
        kept = [data for path, data in disk.files().items() if ".corrupt-" in path.name]
        if damage.path in damage.disk:
            assert damage.disk[damage.path] in kept, "the damaged file was not kept"

    def judge_itself(self) -> None:
        """Each kind of outcome must have come up: a sweep in which nothing is ever cut, or held, sees nothing."""
        for outcome in ("refused", "whole, told", "shorter, told", "shorter, and held because of the replica"):
            if not self.outcomes.get(outcome):
                self.tally.violations.append(f"no damage ended with '{outcome}'")
