"""Damage: every byte flipped, every length cut, lines moved. Never a wrong state; shorter only by the last line, and announced."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from shop.store import StoreDamaged
from tests.simdisk import Disk, SimDisk
from tests.storekit import JOURNAL, PATH, contents, create, put, reopen

MASKS = (0x01, 0x80, 0xFF)


@pytest.fixture(scope="module")
def healthy() -> Disk:
    """A checkpoint at commit 3, a journal that holds 1 to 8."""
    disk = SimDisk()
    store = create(PATH, disk)
    store.keep_after(0)
    for number in range(8):
        put(store, f"t{number % 4}", number, name=f"n{number % 4}")
        if number == 2:
            store.checkpoint()
    found = disk.files()
    return {**found, JOURNAL: found[JOURNAL].rstrip(b"\0")}  # damage in the room behind the lines has its own test


@pytest.fixture(scope="module")
def states(healthy: Disk) -> dict[int, object]:
    """What commits 7 and 8 left, by LSN."""
    lines = healthy[JOURNAL].splitlines(keepends=True)
    found = {}
    for count in (7, 8):
        store = reopen(PATH, SimDisk({**healthy, JOURNAL: b"".join(lines[:count])}))
        found[store.position.lsn] = contents(store)
    assert set(found) == {7, 8}
    return found


def outcome(disk: Disk, states: dict[int, object]) -> str:
    """ "refused", "whole" or "last line cut"; anything else fails."""
    try:
        store = reopen(PATH, SimDisk(disk))
    except StoreDamaged as refusal:
        return "refused" if str(PATH.parent) in str(refusal) and "\n" not in str(refusal) else "refused without a name"
    lsn = store.position.lsn
    assert lsn in states, f"commits were lost without a word: {lsn}"
    assert contents(store) == states[lsn], "a wrong state was served"
    if lsn == 8:
        return "whole"
    assert store.announcements, "a line was cut and nothing said so"
    return "last line cut"


def flips(data: bytes) -> Iterator[tuple[int, bytes]]:
    for at, mask in itertools.product(range(len(data)), MASKS):
        yield at, data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


@pytest.mark.parametrize("path", [PATH, JOURNAL], ids=lambda path: path.name)
def test_a_flipped_byte_is_refused_or_changes_nothing(path: Path, healthy: Disk, states):
    last_line = healthy[JOURNAL].rstrip(b"\n").rindex(b"\n") + 1 if path == JOURNAL else 1 << 60
    cases = 0
    for at, data in flips(healthy[path]):
        result = outcome({**healthy, path: data}, states)
        if result == "last line cut":
            assert at >= last_line - 1, f"byte {at} is before the last line, and commit 8 went"
        if path == PATH:
            assert result == "refused", f"byte {at} of the checkpoint"
        cases += 1
    assert cases == 3 * len(healthy[path])


def test_a_journal_cut_anywhere_loses_no_more_than_what_was_cut(healthy: Disk):
    whole = healthy[JOURNAL]
    for length in range(len(whole)):
        try:
            store = reopen(PATH, SimDisk({**healthy, JOURNAL: whole[:length]}))
        except StoreDamaged:
            continue
        left = max(3, whole[:length].count(b"\n"))
        assert left <= store.position.lsn <= left + 1


def test_a_checkpoint_cut_anywhere_is_refused(healthy: Disk):
    for length in range(len(healthy[PATH])):
        with pytest.raises(StoreDamaged):
            reopen(PATH, SimDisk({**healthy, PATH: healthy[PATH][:length]}))


def test_a_zeroed_sector_is_refused_or_cuts_no_line_that_it_did_not_touch(healthy: Disk):
    for path in (PATH, JOURNAL):
        data = healthy[path]
        for start in range(0, len(data), 64):
            damaged = data[:start] + bytes(min(64, len(data) - start)) + data[start + 64 :]
            try:
                store = reopen(PATH, SimDisk({**healthy, path: damaged}))
            except StoreDamaged:
                continue
            assert path == JOURNAL
            untouched = max(3, data[:start].count(b"\n"))  # the lines before the sector; 3 are in the checkpoint
            assert store.position.lsn == 8 or (store.position.lsn >= untouched >= 6 and store.announcements)


def test_lines_that_were_swapped_doubled_or_removed_never_make_a_wrong_state(healthy: Disk, states):
    lines = healthy[JOURNAL].splitlines(keepends=True)
    for at in range(len(lines) - 1):
        swapped = [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]
        doubled = [*lines[: at + 1], lines[at], *lines[at + 1 :]]
        removed = [*lines[:at], *lines[at + 1 :]]
        for wrong in (swapped, doubled, removed):
            assert outcome({**healthy, JOURNAL: b"".join(wrong)}, states) in ("refused", "whole", "last line cut")


def test_damage_below_the_checkpoint_is_announced_and_does_not_keep_the_shop_closed(healthy: Disk, states):
    lines = healthy[JOURNAL].splitlines(keepends=True)
    lines[1] = b"x" * (len(lines[1]) - 1) + b"\n"

    disk = SimDisk({**healthy, JOURNAL: b"".join(lines)})
    store = reopen(PATH, disk, keep_after=0)

    assert contents(store) == states[8]
    assert "passed over" in store.announcements[0]
    assert store.oldest_lsn == 3, "what lies behind the gap cannot be shipped any more"
