"""Lines that arrive at a replica: each is checked as if it came alone, and one that is not the next keeps all of its batch out."""

import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from shop.store import Store, StoreMismatch, create_store
from shop.store.journal import chain, encode_line
from tests.simdisk import SimDisk
from tests.storekit import INDEXES, PATH, SCHEMA, Note, Thing, contents, create, put, reopen
from tests.torture.forgeries import RECORDS, signed_line

RECORD = b'{"name":"name of b","number":2}'
REPLICA = Path("/disk/db_async.json")


@pytest.fixture
def primary() -> Store:
    """Three commits."""
    store = create(PATH, SimDisk())
    for number, id in enumerate("abc", start=1):
        put(store, id, number)
    return store


def replica_of(primary: Store, files: SimDisk) -> Store:
    empty = create(PATH, SimDisk()).state
    return create_store(REPLICA, SCHEMA, indexes=INDEXES, store_id=primary.store_id, snapshot=empty, files=files)


def changed(lines: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The second of three lines is another one; whether the third still fits is not asked."""
    first, second, third = lines.splitlines()
    return b"\n".join((first, change(second), third)) + b"\n"


def forged(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """Checksum and CRC hold."""

    def change(line: bytes) -> bytes:
        assert old in line
        return signed_line(line.replace(old, new))

    return change


def with_prev(line: bytes) -> bytes:
    core = line[line.index(b'"lsn":') :]
    return encode_line(0, "0" * 16, chain("0" * 16, core), core).rstrip(b"\n")


def with_checksum(line: bytes) -> bytes:
    core = line[line.index(b'"lsn":') :]
    prev = re.search(rb'"prev":"(\w+)"', line)
    assert prev
    return encode_line(0, prev[1].decode(), "0" * 16, core).rstrip(b"\n")


def with_fields_in_another_order(line: bytes) -> bytes:
    found = re.match(rb'(.{18})("durable":\d+,)("prev":"\w+",)(.*)', line)
    assert found
    return signed_line(found[1] + found[3] + found[2] + found[4])


def with_crc(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """Of the line, only the CRC is brought in order."""

    def change(line: bytes) -> bytes:
        rest = line[18:].replace(old, new)
        return b'{"crc":"%08x",%s' % (zlib.crc32(rest), rest)

    return change


WRONG: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a changed byte": (lambda line: line.replace(b"name of b", b"name of B"), "arrived damaged: the CRC does not hold"),
    "another CRC": (lambda line: b'{"crc":"00000000' + line[16:], "arrived damaged: the CRC does not hold"),
    "a CRC in capitals": (lambda line: line[:8] + b"ABCDEF00" + line[16:], "arrived damaged: the CRC does not hold"),
    "an empty line": (lambda line: b"", "arrived damaged: not a journal line"),
    "a space in front": (lambda line: b" " + line, "arrived damaged: not a journal line"),
    "a torn line": (lambda line: line[:-9], "arrived damaged: the CRC does not hold"),
    "two commits in a line": (lambda line: line + line, "arrived damaged: the CRC does not hold"),
    "nothing but zeros": (lambda line: bytes(40), "arrived damaged: not a journal line"),
    "another number": (forged(b'"lsn":2', b'"lsn":3'), "commit 3 (timeline 1) does not follow 1 (timeline 1)"),
    "an earlier timeline": (forged(b'"timeline":1', b'"timeline":0'), "commit 2 (timeline 0) does not follow 1"),
    "another history": (with_prev, "commit 2 (timeline 1) does not follow 1 (timeline 1)"),
    "another checksum": (with_checksum, "commit 2: its checksum does not hold"),
    "an unknown collection": (
        forged(b'"things"', b'"thugs"'),
        "arrived damaged: there is no collection 'thugs'",
    ),
    "a record of another collection": (
        forged(b'"things"', b'"notes"'),
        "arrived damaged: the line does not fit the schema",
    ),
    "an operation with four parts": (
        forged(RECORD, RECORD + b",1"),
        "arrived damaged: the line does not fit the schema",
    ),
    "an operation with two parts": (forged(b"," + RECORD, b""), "arrived damaged: the line does not fit the schema"),
    "an unknown field of the line": (forged(b'"ops":', b'"more":1,"ops":'), "arrived damaged: the line does not fit"),
    "a line without its end": (forged(b"]]}", b"]]"), "arrived damaged: the line does not fit the schema"),
    "its fields in another order": (with_fields_in_another_order, "arrived damaged: not a journal line"),
    "a space that JSON allows": (with_crc(b'"prev":', b'"prev" :'), "arrived damaged: not a journal line"),
    "a space that JSON allows in its core": (with_crc(b'"lsn":', b'"lsn" :'), "arrived damaged: not a journal line"),
    "a taken name": (forged(b"name of b", b"name of a"), "commit 2 breaks a unique index: thing_name"),
    **{
        f"a record with {name}": (
            forged(RECORD, record.replace(b"of a", b"of b")),
            "arrived damaged: the line does not",
        )
        for name, record in RECORDS.items()
    },
}


@pytest.mark.parametrize("name", WRONG)
def test_a_line_that_is_not_the_next_is_refused_with_its_reason_and_so_is_its_batch(primary: Store, name: str) -> None:
    change, sentence = WRONG[name]
    disk = SimDisk()
    replica = replica_of(primary, disk)
    before = disk.files()

    with pytest.raises(StoreMismatch, match=re.escape(sentence)):
        replica.apply(changed(primary.lines(0), change))

    assert replica.position.lsn == 0
    assert disk.files() == before
    assert replica.apply(primary.lines(0)) == 3
    assert contents(replica) == contents(primary)


def test_a_batch_that_holds_a_promotion_and_many_changes_of_a_record_leads_where_the_commits_lead(
    primary: Store,
) -> None:
    with primary.update() as unit:
        unit.delete("things", "a")
        unit.put("notes", "n", Note("first"))
    primary.advance_timeline(3)
    put(primary, "a", 4, name="back again")
    with primary.update() as unit:
        unit.put("notes", "n", Note("second"))
        unit.delete("things", "b")
    put(primary, "d", 5, name="name of b")
    disk = SimDisk()
    replica = replica_of(primary, disk)

    assert replica.apply(primary.lines(0)) == 8
    replica.wait_shown(replica.position.lsn)

    assert replica.position == primary.position
    assert replica.state.forks == primary.state.forks
    assert contents(replica) == contents(primary)
    assert contents(reopen(REPLICA, SimDisk(disk.files()))) == contents(primary)
    assert [line[line.index(b'"prev"') :] for line in replica.lines(0).splitlines()] == [
        line[line.index(b'"prev"') :] for line in primary.lines(0).splitlines()
    ]
    shown = json.loads(disk.files()[REPLICA])
    assert shown["things"] == {
        "c": {"name": "name of c", "number": 3},
        "a": {"name": "back again", "number": 4},
        "d": {"name": "name of b", "number": 5},
    }
    assert shown["notes"] == {"n": {"text": "second"}}
    assert replica.state.get("things", "a") == Thing("back again", 4)
