"""The types that a codec makes stay in memory: reading one line after the other makes them once."""

from pathlib import Path

from shop.store import decode_commit
from shop.store.codec import Changed
from tests.storekit import SCHEMA, create, put


def test_reading_lines_one_by_one_makes_no_types_anew(tmp_path: Path) -> None:
    store = create(tmp_path / "db.json")
    for number in range(20):
        put(store, f"t{number}", number)
    lines = store.lines(0).splitlines(keepends=True)
    store.close()
    before = set(Changed.__subclasses__())

    lsns = [decode_commit(line, dict(SCHEMA)).lsn for line in lines]

    assert lsns == list(range(1, 21))
    assert set(Changed.__subclasses__()) <= before
