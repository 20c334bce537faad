r"""The checkpoint's format: one JSON object any parser reads.

    {"format":1,
    "store_id":"…",
    "peer":"db_async.json",
    "timeline":1,
    "forks":[],
    "lsn":42,
    "checksum":"…",
    "at":"2026-11-23T10:15:00.000000Z",
    "clean":false,
    "crc":"1c291ca3",
    "products":{
    "p1":{…},
    "p2":{…}
    },
    "orders":{
    }}

Scalars and lists first, then a collection a key, one record a line. `crc` is the CRC-32 of the whole file with the eight digits
of `crc` itself replaced by zeros. `peer` names the other side's file once that has existed. `clean`: the store was closed in
order and the journal holds nothing above. It is written beside, fsynced and renamed: a crash leaves the old one or the new one. After the
folder's fsync, which comes before the journal is cut, it leaves the new one.
"""

import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from shop.store.codec import Codec, DecodeError, encode
from shop.store.errors import StoreDamaged
from shop.store.files import Files
from shop.store.state import Position, State

FORMAT = 1
# The pace of a checkpoint beside commits. A step is encoded in one go, and a commit that comes back from the disk waits for the interpreter
# as long; a slice is flushed in one go, and a commit that goes to the disk waits for it.
STEP_BYTES = 16 * 1024
STEP_PAUSE_SECONDS = 0.001
SLICE_BYTES = 128 * 1024
SLICE_PAUSE_SECONDS = 0.004
_CRC_MARK = b'"crc":"'
_NO_CRC = b"00000000"


class Header(NamedTuple):
    """What stands before the collections."""

    store_id: str
    peer: str | None
    position: Position
    forks: tuple[Position, ...]
    at: str
    clean: bool


class _HeaderFields(msgspec.Struct):
    format: int
    store_id: str
    peer: str | None
    timeline: int
    forks: list[tuple[int, int, str]]
    lsn: int
    checksum: str
    at: str
    clean: bool
    crc: str


_header_decoder = msgspec.json.Decoder(_HeaderFields)


def encode_header(header: Header) -> bytes:
    """Up to the first collection, with zeros for the CRC."""
    fields: list[tuple[str, Any]] = [
        ("format", FORMAT),
        ("store_id", header.store_id),
        ("peer", header.peer),
        ("timeline", header.position.timeline),
        ("forks", [list(fork) for fork in header.forks]),
        ("lsn", header.position.lsn),
        ("checksum", header.position.checksum),
        ("at", header.at),
        ("clean", header.clean),
    ]
    lines = b"".join(b'"%s":%s,\n' % (name.encode(), encode(value)) for name, value in fields)
    return b"{" + lines + _CRC_MARK + _NO_CRC + b'"'


def encode_record_line(id: str, record: Any) -> bytes:
    return encode(id) + b":" + encode(record)


def begin_collection(name: str) -> bytes:
    """What stands before the lines of a collection."""
    return b',\n"%s":{\n' % name.encode()


def with_crc(head: bytes, crc: int) -> bytes:
    """*head*, a whole header, with the CRC in it."""
    at = head.index(_CRC_MARK) + len(_CRC_MARK)
    return head[:at] + b"%08x" % crc + head[at + 8 :]


def _steps(state: State) -> Iterator[bytes]:
    """The collections of a big state, in steps of about STEP_BYTES."""
    piece: list[bytes] = []
    size = 0
    for collection in state.collections():
        piece.append(begin_collection(collection))
        first = True
        for id, record in state.items(collection):
            line = encode_record_line(id, record)
            piece.append(line if first else b",\n" + line)
            first = False
            size += len(line)
            if size >= STEP_BYTES:
                yield b"".join(piece)
                piece, size = [], 0
        piece.append(b"}" if first else b"\n}")
    piece.append(b"}\n")
    yield b"".join(piece)


def write_file(files: Files, path: Path, data: bytes) -> None:
    """Replace *path* with *data*; a crash leaves the old file or the new one.

    The temporary file is a sibling because a rename is atomic only within one file system. The folder is fsynced last: until
    then a power cut may undo the rename, and callers are promised that it will not.
    """
    _replace(files, path, lambda fd: files.write(fd, data, 0))


def write_big(files: Files, path: Path, header: Header, state: State, *, is_paced: bool) -> int:
    """Write *state* to *path* in steps and return the file's length; a crash leaves the old file or the new one.

    Paced, it takes small steps with pauses and flushes slice by slice, so that commits beside it wait for little.
    """
    size = 0

    def write_steps(fd: int) -> None:
        nonlocal size
        head = encode_header(header)
        files.write(fd, head, 0)
        crc, size, flushed = zlib.crc32(head), len(head), 0
        for piece in _steps(state):
            files.write(fd, piece, size)
            crc, size = zlib.crc32(piece, crc), size + len(piece)
            if is_paced:
                flushed = _pause(files, fd, size, flushed)
        files.write(fd, with_crc(head, crc), 0)

    _replace(files, path, write_steps)
    return size


def _pause(files: Files, fd: int, size: int, flushed: int) -> int:
    """Let commits pass after a step, and after a slice flush it first; returns up to where the file is flushed."""
    if size - flushed < SLICE_BYTES:
        time.sleep(STEP_PAUSE_SECONDS)
        return flushed
    sync(files, fd)
    time.sleep(SLICE_PAUSE_SECONDS)
    return size


class SyncFailed(OSError):
    """An fsync, or the fsync of a folder, failed: what the disk holds is unknown, and trying again proves nothing."""


def _replace(files: Files, path: Path, fill: Callable[[int], None]) -> None:
    files.close(replace_open(files, path, fill))
    sync_folder(files, path.parent)


def replace_open(files: Files, path: Path, fill: Callable[[int], None]) -> int:
    """Put a new file at *path* and return it open; its name is not on the disk before `sync_folder`.

    When it raises, *path* is what it was. The descriptor is the one that was written through: opening the name again could fail, and
    whoever kept the old descriptor would go on writing to a file that has no name any more.
    """
    beside = path.with_name(path.name + ".tmp")
    fd = files.create(beside)
    try:
        fill(fd)
        sync(files, fd)
        files.replace(beside, path)
    except BaseException:
        files.close(fd)
        _drop(files, beside)
        raise
    return fd


def _drop(files: Files, path: Path) -> None:
    """Take a half-written file away; when even that fails the next start does it."""
    try:
        files.unlink(path)
    except OSError:
        return


def sync(files: Files, fd: int) -> None:
    try:
        files.sync(fd)
    except OSError as error:
        raise SyncFailed(error.errno, error.strerror) from error


def sync_folder(files: Files, folder: Path) -> None:
    try:
        files.sync_folder(folder)
    except OSError as error:
        raise SyncFailed(error.errno, error.strerror) from error


def read_header(path: Path, data: bytes) -> Header:
    """The header of a checkpoint whose CRC holds; raises `StoreDamaged`."""
    at = data.find(_CRC_MARK, 0, 64 * 1024)
    if at < 0:
        raise StoreDamaged(path, 0, "this is not a store's file (it has no checksum)")
    at += len(_CRC_MARK)
    after = memoryview(data)[at + 8 :]  # a slice of the bytes would copy a big file
    crc = zlib.crc32(after, zlib.crc32(_NO_CRC, zlib.crc32(data[:at])))
    if data[at : at + 8] != b"%08x" % crc:
        raise StoreDamaged(path, at, f"the file's bytes do not match its checksum ({crc:08x} counted)")
    try:
        fields = _header_decoder.decode(data[: at + 8] + b'"}')
    except DecodeError as error:
        raise StoreDamaged(path, 0, f"the header cannot be read: {error}") from error
    if fields.format != FORMAT:
        raise StoreDamaged(path, 0, f"format {fields.format} is not known here (this program writes {FORMAT})")
    position = Position(fields.timeline, fields.lsn, fields.checksum)
    forks = tuple(Position(*fork) for fork in fields.forks)
    return Header(fields.store_id, fields.peer, position, forks, fields.at, fields.clean)


def decode_file(path: Path, data: bytes, codec: Codec) -> tuple[Header, dict[str, dict[str, Any]]]:
    """Header and collections, checked (CRC) and decoded by the schema; raises `StoreDamaged`. *path* is for messages."""
    header = read_header(path, data)
    try:
        return header, codec.decode_collections(data)
    except DecodeError as error:
        raise StoreDamaged(path, None, f"a record does not fit the schema: {error}") from error


def read_bytes(files: Files, path: Path) -> bytes:
    """The file's bytes; what keeps them from being read becomes `StoreDamaged`, one line that names the file."""
    try:
        return files.read(path)
    except OSError as error:
        raise StoreDamaged(path, None, f"cannot be read ({error.strerror or error})") from error
