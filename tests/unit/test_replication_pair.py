"""Opening both sides: made once, roles by timeline, refused when one is lost, and rebuilt from the other."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shop.clock import ManualClock
from shop.errors import SettingError
from shop.replication.pair import EVEN_NAME, ODD_NAME, Pair, open_pair, resync_from
from shop.store import StoreReadOnly, journal_path
from shop.store import store as store_module
from tests.replicationkit import Sides, files_of, put_files, put_next, sold
from tests.simdisk import Disk, SimDisk, crash_states, platters

FOLDER = Path("/disk")


@pytest.fixture
def sides(tmp_path: Path, clock: ManualClock) -> Iterator[Sides]:
    sides = Sides(tmp_path, clock)
    yield sides
    sides.pair.close()


def refusal(folder: Path, clock: ManualClock) -> str:
    with pytest.raises(SettingError) as refused:
        open_pair(folder, clock)
    text = str(refused.value)
    assert "\n" not in text
    return text


def names(pair: Pair) -> tuple[str, str]:
    return pair.primary.path.name, pair.replica.path.name


def test_the_first_start_makes_both_sides_equal_and_known_to_each_other(sides: Sides) -> None:
    assert names(sides.pair) == (ODD_NAME, EVEN_NAME)
    assert sides.primary.position == sides.replica.position
    assert sides.primary.position.timeline == 1
    assert (sides.primary.peer, sides.replica.peer) == (EVEN_NAME, ODD_NAME)
    assert sides.primary.store_id == sides.replica.store_id


def test_the_replica_takes_no_writes_of_its_own(sides: Sides) -> None:
    with pytest.raises(StoreReadOnly):
        put_next(sides.replica)


def test_a_shop_without_a_replica_gets_one_that_holds_what_is_there(tmp_path: Path, clock: ManualClock) -> None:
    sides = Sides(tmp_path, clock)
    sides.commit(3)
    sides.primary.set_peer(None)
    sides.pair.close()
    for name in ("db_async.json", "db_async.journal"):
        (tmp_path / name).unlink()

    again = Sides(tmp_path, clock)

    assert sold(again.replica) == 3
    again.pair.close()


@pytest.mark.parametrize(("lost", "left"), [(ODD_NAME, EVEN_NAME), (EVEN_NAME, ODD_NAME)])
@pytest.mark.parametrize("how", ["missing", "file missing", "journal missing", "damaged", "empty", "a folder"])
def test_a_side_that_is_lost_stops_the_start_with_one_line_that_names_the_remedy(
    tmp_path: Path, clock: ManualClock, lost: str, left: str, how: str
) -> None:
    sides = Sides(tmp_path, clock)
    sides.commit(3)
    sides.pair.close()
    lose(tmp_path / lost, how)
    kept = (tmp_path / left).read_bytes()

    text = refusal(tmp_path, clock)

    assert lost in text
    assert f"flask --app app shop resync --from {left}" in text
    assert len((tmp_path / left).read_bytes()) == len(kept), "the side that is left is not touched but for its time"


def lose(path: Path, how: str) -> None:
    match how:
        case "missing":
            path.unlink()
            journal_path(path).unlink()
        case "file missing":
            path.unlink()
            journal_path(path).write_bytes(b"something\n")
        case "journal missing":
            journal_path(path).unlink()
        case "damaged":
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        case "empty":
            path.write_bytes(b"")
        case "a folder":
            path.unlink()
            path.mkdir()


def test_half_written_files_of_a_crash_are_cleared_away(tmp_path: Path, clock: ManualClock) -> None:
    Sides(tmp_path, clock).pair.close()
    for name in ("db.json.tmp", "db.journal.tmp", "db_async.json.tmp", "db_async.journal.tmp"):
        (tmp_path / name).write_bytes(b"half")

    Sides(tmp_path, clock).pair.close()

    assert not list(tmp_path.glob("*.tmp"))


# ---- roles


def promote(sides: Sides, timeline: int) -> None:
    sides.replica.allow_writes()
    sides.replica.advance_timeline(timeline)


def test_the_higher_timeline_names_the_primary(sides: Sides) -> None:
    promote(sides, 2)

    again = sides.reopen()

    assert names(again.pair) == (EVEN_NAME, ODD_NAME)
    again.pair.close()


def test_when_both_carry_the_timeline_its_parity_names_the_primary(sides: Sides) -> None:
    promote(sides, 2)
    swapped = sides.reopen()
    swapped.commit()
    swapped.settle(10)
    assert swapped.replica.position == swapped.primary.position

    again = swapped.reopen()

    assert names(again.pair) == (EVEN_NAME, ODD_NAME)
    again.pair.close()


def test_what_is_in_flight_is_still_in_the_journal_of_a_primary_that_was_killed(sides: Sides) -> None:
    sides.commit(3)
    sides.settle(10)
    sides.commit(4)

    again = sides.reopen(killed=True)

    assert again.primary.position.lsn == 7
    assert again.settle(10) == 4
    assert sold(again.replica) == 7
    again.pair.close()


def test_a_killed_primary_of_an_even_timeline_keeps_its_queue_too(sides: Sides) -> None:
    promote(sides, 2)
    swapped = sides.reopen()
    swapped.commit(4)

    again = swapped.reopen(killed=True)

    again.settle(10)
    assert sold(again.replica) == 4
    again.pair.close()


def test_after_a_restart_the_journal_is_cut_as_far_as_the_replica_has_come_and_no_further(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "CUT_BYTES", 0)
    monkeypatch.setattr(store_module, "JOURNAL_LIMIT_BYTES", 10**9)
    sides.commit(20)
    sides.settle(10)
    sides.commit(5)

    again = sides.reopen()
    again.commit()
    again.primary.checkpoint()

    assert again.primary.oldest_lsn == 21
    again.pair.close()


# ---- a primary that lost its end


@pytest.fixture
def short(sides: Sides) -> Iterator[Sides]:
    """A primary whose last two commits are gone, though its replica has them."""
    sides.commit(3)
    sides.primary.checkpoint()
    old = {name: data for name, data in files_of(sides.folder).items() if name in ("db.json", "db.journal")}
    sides.commit(2)
    sides.settle(10)
    sides.pair.close()
    put_files(sides.folder, old)
    short = Sides(sides.folder, sides.clock)
    yield short
    short.pair.close()


def test_a_primary_shorter_than_its_replica_is_read_only_and_says_what_to_do(short: Sides) -> None:
    assert not short.primary.is_writable
    for words in ("db.json ends at commit 3", "db_async.json has 5", "resync --from db_async.json", "Resync"):
        assert words in short.primary.problem
    with pytest.raises(StoreReadOnly):
        short.commit()
    short.settle(10)
    assert short.trouble is not None
    assert sold(short.replica) == 5


def test_a_resync_decides_for_the_shorter_primary(short: Sides) -> None:
    short.replicator.resync(short.clock.monotonic())

    short.commit()

    short.settle(10)
    assert sold(short.replica) == sold(short.primary) == 4


# ---- rebuilding a side


def test_a_lost_primary_goes_on_from_the_replica_on_a_timeline_of_its_own(tmp_path: Path, clock: ManualClock) -> None:
    sides = Sides(tmp_path, clock)
    sides.commit(3)
    sides.settle(10)
    sides.commit(2)  # never crosses
    sides.pair.close()
    damaged = b"no store"
    (tmp_path / ODD_NAME).write_bytes(damaged)

    sentence = resync_from(tmp_path, "db_async.json", clock)

    again = Sides(tmp_path, clock)
    assert names(again.pair) == (ODD_NAME, EVEN_NAME)
    assert sold(again.primary) == sold(again.replica) == 3
    assert again.primary.position.timeline == 3, "an order number of timeline 1 must not be issued again"
    assert again.primary.position == again.replica.position
    assert "timeline 3" in sentence
    assert "lost" in sentence
    assert [path.read_bytes() for path in tmp_path.glob("db.json.corrupt-*")] == [damaged]
    again.commit()
    again.settle(10)
    assert sold(again.replica) == 4
    again.pair.close()


def test_the_new_timeline_is_above_what_the_lost_side_still_shows(tmp_path: Path, clock: ManualClock) -> None:
    Sides(tmp_path, clock).pair.close()
    (tmp_path / ODD_NAME).write_bytes(b'{"format":1,\n"timeline":7,\n damaged')

    resync_from(tmp_path, str(tmp_path / EVEN_NAME), clock)

    again = Sides(tmp_path, clock)
    assert again.primary.position.timeline == 9
    again.pair.close()


def test_a_lost_replica_becomes_a_copy_of_the_primary(tmp_path: Path, clock: ManualClock) -> None:
    sides = Sides(tmp_path, clock)
    sides.commit(3)
    sides.pair.close()
    (tmp_path / EVEN_NAME).unlink()

    resync_from(tmp_path, ODD_NAME, clock)

    again = Sides(tmp_path, clock)
    assert sold(again.replica) == 3
    assert again.primary.position.timeline == 1
    assert again.primary.position == again.replica.position
    again.pair.close()


@pytest.mark.parametrize("source", ["db.journal", "shop.json", "../etc/passwd", ""])
def test_only_the_two_sides_can_be_gone_on_from(tmp_path: Path, clock: ManualClock, source: str) -> None:
    Sides(tmp_path, clock).pair.close()
    before = files_of(tmp_path)

    with pytest.raises(SettingError, match=re.escape("give db.json or db_async.json")):
        resync_from(tmp_path, source, clock)

    assert files_of(tmp_path) == before


def test_nothing_is_rebuilt_from_a_side_that_is_not_there(tmp_path: Path, clock: ManualClock) -> None:
    with pytest.raises(SettingError, match="does not exist"):
        resync_from(tmp_path, EVEN_NAME, clock)

    assert not list(tmp_path.iterdir())


# ---- power cuts


def on_disk(disk: SimDisk) -> Sides:
    return Sides(FOLDER, ManualClock(), delay=0.0, files=disk)


def after_each_crash(disk: SimDisk) -> Iterator[tuple[int, Disk]]:
    """Each disk that a power cut during the disk's trace may leave, and what had been acknowledged by then."""
    for k, platter in platters(disk):
        note = disk.trace[k].note if k < len(disk.trace) else disk.note()
        assert isinstance(note, int)
        for state in crash_states(platter, seed=k):
            yield note, state


def test_a_power_cut_during_the_first_start_is_completed_by_the_next() -> None:
    disk = SimDisk()
    disk.note = lambda: 0
    on_disk(disk)
    count = 0

    for _, state in after_each_crash(disk):
        sides = on_disk(SimDisk(state))
        sides.commit()
        sides.settle()
        assert sold(sides.replica) == 1
        count += 1

    assert count >= 30


def test_a_power_cut_at_any_moment_leaves_a_pair_that_converges_on_what_was_acknowledged() -> None:
    disk = SimDisk()
    on_disk(disk).pair.close()
    disk = SimDisk(disk.files())
    acknowledged = 0
    disk.note = lambda: acknowledged
    sides = on_disk(disk)
    for number in range(6):
        sides.commit()
        acknowledged += 1
        if number % 2:
            sides.settle()
        if number == 3:
            sides.primary.checkpoint()
    sides.replicator.resync(0.0)
    sides.commit()
    acknowledged += 1
    count = 0

    for known, state in after_each_crash(disk):
        again = on_disk(SimDisk(state))
        assert known <= sold(again.primary) <= known + 1
        assert again.replica.position.lsn <= again.primary.position.lsn
        assert sold(again.replica) == again.replica.position.lsn
        again.settle()
        assert again.replica.position == again.primary.position
        count += 1

    assert count >= 200


def test_a_power_cut_while_a_primary_is_rebuilt_never_goes_back_to_its_timeline() -> None:
    disk = SimDisk()
    sides = on_disk(disk)
    sides.commit(2)
    sides.settle()
    sides.pair.close()
    damaged = disk.files() | {FOLDER / ODD_NAME: b"no store"}
    disk = SimDisk(damaged)
    disk.note = lambda: 0
    resync_from(FOLDER, EVEN_NAME, ManualClock(), files=disk)  # type: ignore[arg-type]
    count = 0

    for _, state in after_each_crash(disk):
        again = SimDisk(state)
        pair = open_or_rebuild(again)
        assert pair.primary.path.name == ODD_NAME
        assert pair.primary.position.timeline >= 3
        assert sold(pair.primary) == 2
        count += 1

    assert count >= 50


def open_or_rebuild(disk: SimDisk) -> Pair:
    """What an operator does who follows the refusal's advice."""
    try:
        return open_pair(FOLDER, ManualClock(), files=disk)  # type: ignore[arg-type]
    except SettingError:
        resync_from(FOLDER, EVEN_NAME, ManualClock(), files=disk)  # type: ignore[arg-type]
        return open_pair(FOLDER, ManualClock(), files=disk)  # type: ignore[arg-type]


def test_a_resync_of_a_shorter_primary_begins_a_timeline_and_keeps_what_only_the_replica_had(short: Sides) -> None:
    known = short.replica.position

    short.replicator.resync(short.clock.monotonic())

    assert short.primary.position.timeline == 3, (
        "a number that was issued on timeline 1 and forgotten must not come again"
    )
    assert short.replica.position == short.primary.position
    kept = sorted(path.name for path in (short.folder / "lost").iterdir())
    assert kept == ["1-4.jsonl", f"1-{known.lsn}.jsonl"]
    again = short.reopen()
    assert (again.primary.path.name, again.primary.position.timeline) == ("db.json", 3)
    again.pair.close()


def test_a_rebuild_that_crashed_half_way_does_not_begin_its_timeline_twice(tmp_path: Path) -> None:
    clock = ManualClock()
    open_pair(tmp_path, clock).close()
    aside = tmp_path / "db.json.corrupt-20260101T000000Z"
    (tmp_path / "db.json").rename(
        aside
    )  # what a first attempt does; the file tells of a timeline that must not come again
    aside.write_bytes(aside.read_bytes().replace(b'"timeline":1', b'"timeline":7'))
    (tmp_path / "db.journal").unlink()

    resync_from(tmp_path, "db_async.json", clock)

    pair = open_pair(tmp_path, clock)
    assert pair.primary.position.timeline == 9
    pair.close()


def test_the_far_side_of_another_shop_never_becomes_the_primary(tmp_path: Path) -> None:
    clock = ManualClock()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    mine, other = open_pair(tmp_path / "a", clock), open_pair(tmp_path / "b", clock)
    other.replica.allow_writes()
    other.replica.advance_timeline(2)
    mine.close()
    other.close()
    for name in ("db_async.json", "db_async.journal"):
        (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())

    with pytest.raises(SettingError, match="two different shops"):
        open_pair(tmp_path / "a", clock)
