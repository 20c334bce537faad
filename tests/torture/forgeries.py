"""Files whose checksums hold and whose content no store would have written; and what stands in a file's place on a real disk.

Part of block B: everything is refused in one line that names the file, or changes nothing.
"""

import itertools
import os
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from shop.clock import ManualClock
from shop.errors import SettingError
from shop.replication.pair import Pair, open_pair
from shop.store import OS_FILES, Files, StoreDamaged
from shop.store.journal import LINE_START, chain, core_of
from tests.simdisk import SimDisk
from tests.storekit import INDEXES, JOURNAL, PATH, SCHEMA, contents, create, put, reopen
from tests.torture.tally import Tally

RECORD = b'{"name":"name of a","number":1}'
CRC = re.compile(rb'"crc":"[0-9a-f]{8}"')

# Put in the place of a record: what a typed decode has to turn down.
RECORDS = {
    "a NaN": b'{"name":"name of a","number":NaN}',
    "a fraction": b'{"name":"name of a","number":1.5}',
    "a number as text": b'{"name":"name of a","number":"1"}',
    "a missing field": b'{"number":1}',
    "an unknown field": b'{"name":"name of a","number":1,"more":1}',
    "half a surrogate": b'{"name":"\\ud800","number":1}',
    "no UTF-8": b'{"name":"\xff\xfe","number":1}',
    "a list": b"[]",
    "depth 5,000": b"[" * 5000 + b"]" * 5000,
    "an object without end": b'{"name":"name of a"',
    "a control character": b'{"name":"name\x01of a","number":1}',
}


def run(tally: Tally) -> None:
    kinds = (_forged_checkpoints(), _read_as_any_parser_does(), _forged_lines(), _real_places())
    for name, case in itertools.chain.from_iterable(kinds):
        tally.points += 1
        tally.states += 1
        try:
            case()
        except Exception as error:
            tally.violations.append(f"{name}: {type(error).__name__}: {error}")


def _refused(open: Callable[[], object], file: Path) -> None:
    try:
        open()
    except (StoreDamaged, SettingError) as refusal:
        text = str(refusal)
    else:
        raise AssertionError("it was served")
    if "\n" in text or str(file) not in text:
        raise AssertionError(f"not one line that names {file}: {text!r}")


def _files() -> dict[Path, bytes]:
    disk = SimDisk()
    store = create(PATH, disk)
    store.keep_after(0)
    put(store, "a", 1)
    store.checkpoint()
    put(store, "b", 2)
    return disk.files()


# ---- the checksum holds


def _forged_checkpoints() -> Iterator[tuple[str, Callable[[], None]]]:
    files = _files()

    def case(data: bytes) -> Callable[[], None]:
        return lambda: _refused(lambda: reopen(PATH, SimDisk({**files, PATH: data})), PATH)

    whole = files[PATH]
    for name, record in RECORDS.items():
        yield f"a checkpoint with {name}", case(signed(whole.replace(RECORD, record)))
    for name, header, forged in (
        ("another format", b'"format":1', b'"format":2'),
        ("format 0", b'"format":1', b'"format":0'),
        ("an LSN that is text", b'"lsn":1', b'"lsn":"1"'),
        ("forks that are none", b'"forks":[]', b'"forks":[[1]]'),
        ("a collection nobody knows", b'"things":', b'"thugs":'),
    ):
        yield f"a checkpoint with {name}", case(signed(whole.replace(header, forged)))


def _read_as_any_parser_does() -> Iterator[tuple[str, Callable[[], None]]]:
    """No store wrote these either, but they fit the schema and say one thing only: that is what is served, and written again."""
    files = _files()
    large = RECORD.replace(b"1", b"9" * 30)
    twice = RECORD.replace(b"1", b"5") + b',\n"a":' + RECORD

    def case(record: bytes, number: int) -> Callable[[], None]:
        def check() -> None:
            disk = SimDisk({**files, PATH: signed(files[PATH].replace(RECORD, record))})
            for _ in range(2):
                found = contents(reopen(PATH, disk))["things"]
                if found["a"].number != number or set(found) != {"a", "b"}:
                    raise AssertionError(f"it reads {found}")

        return check

    yield "a number of 30 digits", case(large, int("9" * 30))
    yield "an id that is there twice", case(twice, 1)


def signed(checkpoint: bytes) -> bytes:
    """With the CRC that it should have."""
    empty = CRC.sub(b'"crc":"00000000"', checkpoint, count=1)
    return empty.replace(b'"crc":"00000000"', b'"crc":"%08x"' % zlib.crc32(empty), 1)


def _forged_lines() -> Iterator[tuple[str, Callable[[], None]]]:
    files = _files()
    first, last = files[JOURNAL].rstrip(b"\0").splitlines()
    record = RECORD.replace(b"of a", b"of b").replace(b":1", b":2")

    def case(line: bytes) -> Callable[[], None]:
        return lambda: _refused(
            lambda: reopen(PATH, SimDisk({**files, JOURNAL: first + b"\n" + line + b"\n"})), JOURNAL
        )

    for name, forged in RECORDS.items():
        yield f"a commit with {name}", case(signed_line(last.replace(record, forged)))
    yield "a commit of a collection nobody knows", case(signed_line(last.replace(b'"things"', b'"thugs"')))


def signed_line(line: bytes) -> bytes:
    """With the chain and the CRC that it should have."""
    prev = line[line.index(b'"prev":"') + 8 :][:16]
    rest = re.sub(
        rb'"checksum":"[0-9a-f]*"', b'"checksum":"%s"' % chain(prev.decode(), core_of(line)).encode(), line, count=1
    )[len(LINE_START) + 10 :]
    return LINE_START + b'%08x",' % zlib.crc32(rest) + rest


# ---- what stands there is no file, or cannot be read


def _real_places() -> Iterator[tuple[str, Callable[[], None]]]:
    for side in ("db.json", "db.journal", "db_async.json", "db_async.journal"):
        for name, put_there in {
            "is a folder": _a_folder,
            "is a dangling link": _a_dangling_link,
            "is missing": Path.unlink,
        }.items():
            yield f"{side} {name}", lambda side=side, put_there=put_there: _at(side, put_there, OS_FILES)
        yield f"{side} is unreadable", lambda side=side: _at(side, lambda path: None, Unreadable(side))


class Unreadable(Files):
    """As if its mode were 0000: root may read such a file, so that the mode alone would prove nothing."""

    def __init__(self, name: str) -> None:
        self._name = name

    def read(self, path: Path) -> bytes:
        if path.name == self._name:
            raise PermissionError(13, "Permission denied", str(path))
        return super().read(path)


def _a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _a_dangling_link(path: Path) -> None:
    path.unlink()
    os.symlink("nowhere", path)


def _at(side: str, put_there: Callable[[Path], None], files: Files) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def start(files: Files = OS_FILES) -> Pair:
            return open_pair(folder, ManualClock(), schema=SCHEMA, indexes=INDEXES, files=files)

        pair = start()
        put(pair.primary, "a")
        pair.replica.apply(pair.primary.lines(0))
        kept = {path.name: path.read_bytes() for path in folder.iterdir()}
        put_there(folder / side)
        _refused(lambda: start(files), folder / side)
        for path in folder.iterdir():
            is_of_the_side = path.stem == Path(side).stem and path.name != side
            if is_of_the_side and path.read_bytes() != kept[path.name]:
                raise AssertionError(f"the start that refused wrote {path.name}")
