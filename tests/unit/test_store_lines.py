"""The lines of a small store's file: whatever happened to the records, the file is one that any parser reads and recovery accepts."""

import json
import random
from pathlib import Path

import pytest

from shop.store.checkpoint import Header, decode_file
from shop.store.codec import codec_of
from shop.store.lines import BLOCK_BYTES, Lines
from shop.store.state import Position, State, build_state
from tests.storekit import SCHEMA, Note, Thing

HEADER = Header("a-store", None, Position(1, 7, "0" * 16), (), "2026-11-23T10:15:00.000000Z", False)


def a_state(things: int) -> State:
    records = {f"t{number}": Thing(f"t{number}", number) for number in range(things)}
    return build_state(HEADER.position, {"things": records, "notes": {}}, {})


def decoded(data: memoryview) -> dict[str, dict[str, object]]:
    """What the file holds, by the rules of recovery (CRC, schema) and by a plain parser."""
    header, collections = decode_file(Path("db.json"), bytes(data), codec_of(SCHEMA))
    plain = json.loads(bytes(data))
    assert header == HEADER
    assert {name: list(plain[name]) for name in collections} == {name: list(its) for name, its in collections.items()}
    return collections


@pytest.mark.parametrize("things", [0, 1, 2, 1000])
def test_the_file_holds_the_records_of_the_state(things):
    state = a_state(things)

    assert decoded(Lines(state).file(HEADER)) == {"things": dict(state.items("things")), "notes": {}}


def test_any_changes_lead_to_the_file_of_a_state_with_them():
    rng = random.Random(11)
    things = {f"t{number}": Thing(f"t{number}", number) for number in range(600)}
    lines = Lines(build_state(HEADER.position, {"things": dict(things), "notes": {}}, {}))
    sizes = set()
    for turn in range(120):
        ops = []
        for _ in range(rng.randrange(1, 20)):
            id = f"t{rng.randrange(900)}"
            record = None if rng.random() < (0.8 if turn % 40 > 20 else 0.2) else Thing("x" * rng.randrange(90), turn)
            ops.append(("things", id, record))
            if record is None:
                things.pop(id, None)
            else:
                things[id] = record
        lines.apply(ops)
        data = lines.file(HEADER)
        sizes.add(len(data) // BLOCK_BYTES)
        assert decoded(data) == {"things": things, "notes": {}}
    assert len(sizes) > 1  # it grew or shrank by more than a block


def test_a_collection_that_was_emptied_can_be_filled_again():
    lines = Lines(a_state(3))
    lines.apply([("things", f"t{number}", None) for number in range(3)])
    assert decoded(lines.file(HEADER)) == {"things": {}, "notes": {}}

    lines.apply([("notes", "n", Note("text")), ("things", "t9", Thing("t9", 9))])

    assert decoded(lines.file(HEADER)) == {"things": {"t9": Thing("t9", 9)}, "notes": {"n": Note("text")}}
