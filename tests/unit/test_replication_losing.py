"""Names in `lost/` of commits that come from no journal: one that stands there is never given to another commit."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from shop.replication.contract import Decision
from shop.replication.losing import Left, LostFolder
from tests.builders import an_order

DISCARDED = Decision(kind="discarded", sentence="A test order.", by="admin", at="2026-01-01T00:00:00.000000Z")


@dataclass
class Lost:
    """The folder, and what is kept in it under which name."""

    folder: LostFolder

    def keep(self, *ids: str, lsn: int = 7) -> list[str]:
        kept = self.folder.keep_commits([_left(id, lsn) for id in ids])
        return [f"{one.timeline}-{one.lsn}" for one in kept]

    def names(self) -> dict[str, str]:
        return {f"{one.timeline}-{one.lsn}": one.checksum for one in self.folder.commits()}


@pytest.fixture
def lost(tmp_path: Path) -> Lost:
    return Lost(LostFolder(tmp_path))


def _left(id: str, lsn: int) -> Left:
    order = an_order(number=f"A1-{lsn}")
    return Left(id, 1, lsn, "2026-01-01T00:00:00.000000Z", [("orders", order.number, order)])


def test_two_that_bear_one_lsn_get_two_names(lost: Lost) -> None:
    assert lost.keep("a", "b") == ["1-7", "1-8"]


def test_what_is_kept_again_keeps_its_name_and_what_was_decided_about_it(lost: Lost) -> None:
    lost.keep("b", "c")
    lost.folder.decide("1-7", DISCARDED)

    assert lost.keep("b", "c") == ["1-7", "1-8"]
    assert lost.keep("a", "b", "c") == ["1-9", "1-7", "1-8"]

    assert lost.names() == {"1-7": "b", "1-8": "c", "1-9": "a"}
    assert lost.folder.decision("1-9") is None


def test_a_commit_of_another_cluster_takes_neither_the_file_nor_the_decision_of_an_old_one(lost: Lost) -> None:
    lost.keep("old")
    lost.folder.decide("1-7", DISCARDED)

    assert lost.keep("new") == ["1-8"]

    assert lost.names() == {"1-7": "old", "1-8": "new"}
    assert lost.folder.decision("1-8") is None


def test_a_decision_whose_commit_was_moved_away_is_about_no_other(lost: Lost) -> None:
    lost.keep("old")
    lost.folder.decide("1-7", DISCARDED)
    (lost.folder.path / "1-7.jsonl").unlink()

    assert lost.keep("new") == ["1-8"]


def test_a_file_that_cannot_be_read_is_not_written_over(lost: Lost) -> None:
    lost.keep("old")
    (lost.folder.path / "1-7.jsonl").write_bytes(b"damaged\n")

    assert lost.keep("new") == ["1-8"]
    assert (lost.folder.path / "1-7.jsonl").read_bytes() == b"damaged\n"
    assert lost.keep("new") == ["1-8"]
