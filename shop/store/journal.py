r"""The journal's format: one commit a line (JSON Lines).

    {"crc":"1c291ca3","durable":41,"prev":"…","checksum":"…","lsn":42,"timeline":1,"at":"…","ops":[["carts","c1",{…}]]}\n

- `crc`: CRC-32 of the exact bytes from `"durable"` up to, not including, the newline. Fixed width, so it can be checked before parsing.
- `durable`: the highest LSN that was fsynced before this line was written. It makes a later line the witness of an earlier one.
- `prev`, `checksum`: 64 bits (BLAKE2b) chained over the commits: checksum = H(prev + the bytes from `"lsn"` on). The same on
  both sides, whatever their `durable` says; equal checksums mean equal history.
- `lsn`, `timeline`, `at`: which commit, on which timeline, when (UTC, microseconds). A line whose timeline is higher than the one
  before is a promotion: it is the first commit of the new timeline.
- `ops`: `[collection, id, record]`, null for a deleted record.

A crash may tear the lines of the last group, in any subset of its sectors: a group is one write. Zero bytes at the end are room for
lines to come (`log.py`); a torn line holds zeros where its sectors were lost. What recovery makes of a bad line stands in `recovery.py`.
"""

import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from shop.store.codec import Codec, DecodeError, Line, encode
from shop.store.state import Op, Position

NEVER_WRITTEN = b"\0"
LINE_START = b'{"crc":"'
_PREFIX_END = b'",'
_CRC_FROM = len(LINE_START)
_REST_FROM = _CRC_FROM + 8 + len(_PREFIX_END)
_CORE_MARK = b'"lsn":'
_REST_MARK = b'"prev":'
_BOTH_CHECKSUMS = len(b'"prev":"","checksum":"",')


class Commit(NamedTuple):
    """One commit as the journal holds it."""

    lsn: int
    timeline: int
    at: str
    ops: tuple[Op, ...]
    prev: str
    checksum: str
    durable: int

    @property
    def position(self) -> Position:
        return Position(self.timeline, self.lsn, self.checksum)


_new_hash = blake2b(digest_size=8).copy  # a third less than making one from its parameters


class BadLine(Exception):
    """These bytes are not a line that a store wrote; the text says in what way."""


class UnknownLine(BadLine):
    """A store wrote this line (its CRC holds), but not with this schema."""


def encode_core(lsn: int, timeline: int, at: str, ops: Iterable[tuple[str, str, Any]]) -> bytes:
    """The part of a line that both sides share."""
    return b'"lsn":%d,"timeline":%d,"at":"%s","ops":%s}' % (lsn, timeline, at.encode(), encode(list(ops)))


def chain(prev: str, core: bytes) -> str:
    """The checksum of the commit with this *core* that follows the one with checksum *prev*."""
    hashed = _new_hash()
    hashed.update(prev.encode())
    hashed.update(core)
    return hashed.hexdigest()


def first_checksum(store_id: str) -> str:
    """What the chain of a store begins with: histories of two stores differ from the start."""
    return blake2b(store_id.encode(), digest_size=8).hexdigest()


def encode_line(durable: int, prev: str, checksum: str, core: bytes) -> bytes:
    rest = b'"durable":%d,"prev":"%s","checksum":"%s",%s' % (durable, prev.encode(), checksum.encode(), core)
    return b'{"crc":"%08x",%s\n' % (zlib.crc32(rest), rest)


def durable_writer(durable: int) -> Callable[[bytes], bytes]:
    """`encode_line` for many lines with the same *durable*, of which everything behind it is known."""
    head = b'"durable":%d,' % durable
    crc, form = zlib.crc32(head), b'{"crc":"%%08x",%s%%s\n' % head
    return lambda rest: form % (zlib.crc32(rest, crc), rest)


def shared_parts(line: bytes, found: Line) -> tuple[bytes, bytes]:
    """Of a line that `read_line` decoded as *found*: what is behind `durable`, and its core.

    Raises `BadLine` when there is anything else than `prev` and `checksum` in between: no store writes that.
    """
    rest = line[line.find(_REST_MARK) :]
    core = rest[rest.find(_CORE_MARK) :]
    if len(rest) - len(core) != _BOTH_CHECKSUMS + len(found.prev) + len(found.checksum):
        raise BadLine("not a journal line")
    return rest, core


def core_of(line: bytes) -> bytes:
    """The shared part of a whole line (with or without its newline)."""
    return line[line.index(_CORE_MARK) :].rstrip(b"\n")


def check_line(line: bytes) -> None:
    """Raises `BadLine` unless the CRC of *line* (without its newline) holds."""
    if line.startswith(b'{"crc":"%08x",' % zlib.crc32(line[_REST_FROM:])):
        return
    if not line.startswith(LINE_START) or not line.startswith(_PREFIX_END, _CRC_FROM + 8):
        raise BadLine("not a journal line")
    raise BadLine("the CRC does not hold")


def decode_line(line: bytes, codec: Codec) -> Commit:
    """A line (without its newline), checked and decoded; raises `BadLine`."""
    found = read_line(line, codec)
    ops = tuple([Op(op.collection, op.id, op.record) for op in found.ops])
    return Commit(found.lsn, found.timeline, found.at, ops, found.prev, found.checksum, found.durable)


def read_line(line: bytes, codec: Codec) -> Line:
    """`decode_line` for whoever reads thousands: what the decoder made, and nothing made of it."""
    check_line(line)
    try:
        return codec.decode_line(line)
    except DecodeError as error:
        unknown = codec.unknown_collection(line)
        why = f"there is no collection {unknown!r}" if unknown else f"the line does not fit the schema: {error}"
        raise UnknownLine(why) from error


def split_lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Offset and bytes of each line, newline left out; the last may lack its newline (then it is torn: see `is_whole`)."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        yield start, data[start:end]
        start = end + 1


class JournalIndex:
    """Where each commit of the journal file ends, and when it was committed on this boot's monotonic clock.

    It only grows, at its end: what it says of a commit that is in it may be read while another thread appends the next.
    """

    def __init__(self, first_lsn: int) -> None:
        self.first_lsn = first_lsn
        self._ends = array("Q")
        self._times = array("d")
        self._origin = 0  # what is taken from each end: the bytes of the lines that were cut away in front
        self.end = 0  # the file's length up to its last good byte

    @property
    def last_lsn(self) -> int:
        """first_lsn - 1 while the journal is empty."""
        return self.first_lsn + len(self._ends) - 1

    def append(self, length: int, committed_monotonic: float) -> None:
        times = self._times
        if times and committed_monotonic < times[-1]:
            committed_monotonic = times[
                -1
            ]  # the wall clock of an earlier run may have gone back; the search needs order
        self._ends.append(self._origin + self.end + length)
        times.append(committed_monotonic)
        self.end += length

    def offset(self, lsn: int) -> int:
        """Where the line of *lsn* begins; the end of the file for the one to come."""
        at = lsn - self.first_lsn
        return self._ends[at - 1] - self._origin if at else 0

    def committed_monotonic(self, lsn: int) -> float:
        return self._times[lsn - self.first_lsn]

    def committed_monotonics(self, first: int, last: int) -> Sequence[float]:
        return self._times[first - self.first_lsn : last + 1 - self.first_lsn]

    def last_before(self, moment: float, first: int, last: int) -> int:
        """The highest LSN in first..last whose commit was at or before *moment*; first - 1 if none. Commit times only grow."""
        low, high = first, last + 1
        while low < high:
            middle = (low + high) // 2
            if self._times[middle - self.first_lsn] <= moment:
                low = middle + 1
            else:
                high = middle
        return low - 1

    def last_within(self, max_bytes: int, first: int, last: int) -> int:
        """The highest LSN in first..last so that the lines from *first* on fit in *max_bytes*; at least *first*."""
        limit = self.offset(first) + max_bytes
        low, high = first, last
        while low < high:
            middle = (low + high + 1) // 2
            if self.offset(middle + 1) <= limit:
                low = middle
            else:
                high = middle - 1
        return low

    def without_first(self, lsn: int) -> "JournalIndex":
        """The index of a file that begins with the commit after *lsn*. Commits wait for it: two copies of memory, no loop."""
        cut = min(max(lsn - self.first_lsn + 1, 0), len(self._ends))
        new = JournalIndex(self.first_lsn + cut)
        start = self.offset(self.first_lsn + cut)
        new._ends, new._times = self._ends[cut:], self._times[cut:]
        new._origin = self._origin + start
        new.end = self.end - start
        return new
