"""Going back to a backup: one rename decides, and nothing of either shop is lost on the way."""

from pathlib import Path

import pytest

from shop.clock import ManualClock
from shop.errors import SettingError
from shop.replication.pair import open_pair, resync_from
from shop.replication.restore import restore
from shop.store import Store
from tests.replicationkit import Sides

BACKUP_COMMITS = 3
LATER_COMMITS = 4


@pytest.fixture
def folder(tmp_path: Path, clock: ManualClock) -> Path:
    """A shop that went on after its backup, stopped without a last checkpoint."""
    sides = Sides(tmp_path / "shop", clock)
    sides.commit(BACKUP_COMMITS)
    sides.primary.write_copy(tmp_path / "backup.json")
    sides.commit(LATER_COMMITS)
    return sides.folder


@pytest.fixture
def backup(folder: Path) -> Path:
    return folder.parent / "backup.json"


@pytest.fixture(autouse=True)
def a_folder_for_the_shop(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()


def sold(store: Store) -> int:
    counter = store.state.get("counters", "sold")
    return counter.value if counter else 0


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_shop_is_as_it_was_on_a_timeline_of_its_own(folder: Path, backup: Path, clock: ManualClock) -> None:
    said = restore(folder, backup, clock)

    pair = open_pair(folder, clock)
    assert (pair.primary.path.name, sold(pair.primary), sold(pair.replica)) == (
        "db.json",
        BACKUP_COMMITS,
        BACKUP_COMMITS,
    )
    assert pair.primary.position.timeline == 3
    assert pair.primary.position == pair.replica.position
    assert pair.primary.is_writable
    assert "timeline 3" in said
    pair.close()


def test_what_was_there_is_kept_and_can_be_put_back(folder: Path, backup: Path, clock: ManualClock) -> None:
    before = files(folder)

    restore(folder, backup, clock)

    suffix = f".before-restore-{clock.now():%Y%m%dT%H%M%SZ}"
    after = files(folder)
    assert {name: after[name + suffix] for name in before} == before
    for name in before:
        (folder / name).write_bytes(after[name + suffix])
    pair = open_pair(folder, clock)
    assert sold(pair.primary) == BACKUP_COMMITS + LATER_COMMITS
    pair.close()


def test_a_second_restore_is_again_a_higher_timeline(folder: Path, backup: Path, clock: ManualClock) -> None:
    for timeline in (3, 5, 7):
        restore(folder, backup, clock)
        clock.advance(1)
        pair = open_pair(folder, clock)
        assert pair.primary.position.timeline == timeline
        pair.close()


def test_after_a_failover_it_is_above_the_timeline_of_the_other_side(
    folder: Path, backup: Path, clock: ManualClock
) -> None:
    pair = open_pair(folder, clock)
    pair.close()
    (folder / "db_async.json").unlink()
    (folder / "db_async.journal").unlink()
    resync_from(folder, "db.json", clock)
    (folder / "db_async.json").write_bytes(
        (folder / "db_async.json").read_bytes().replace(b'"timeline":1', b'"timeline":8')
    )

    restore(folder, backup, clock)

    pair = open_pair(folder, clock)
    assert pair.primary.position.timeline == 9
    pair.close()


def test_a_timeline_on_the_seam_of_two_reads_is_seen(
    folder: Path, backup: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shop.replication.restore._SLICE_BYTES", 7)
    monkeypatch.setattr("shop.replication.pair.SCAN_BYTES", 7)
    with (folder / "db_async.journal").open("ab") as journal:
        journal.write(b'"timeline":40,')

    assert "timeline 41" in restore(folder, backup, clock)


def test_a_folder_without_a_shop_takes_a_backup(folder: Path, backup: Path, clock: ManualClock, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()

    restore(tmp_path / "new", backup, clock)

    pair = open_pair(tmp_path / "new", clock)
    assert sold(pair.primary) == BACKUP_COMMITS
    pair.close()


def test_every_byte_of_a_damaged_backup_is_told_before_anything_is_touched(
    folder: Path, backup: Path, clock: ManualClock
) -> None:
    good = backup.read_bytes()
    before = files(folder)
    for place in range(0, len(good), 7):
        backup.write_bytes(good[:place] + bytes([good[place] ^ 0x40]) + good[place + 1 :])
        with pytest.raises(SettingError, match=r"backup\.json"):
            restore(folder, backup, clock)
        backup.write_bytes(good[:place])
        with pytest.raises(SettingError, match=r"backup\.json"):
            restore(folder, backup, clock)

    assert files(folder) == before
