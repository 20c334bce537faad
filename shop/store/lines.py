"""The records of a small store as the lines of its checkpoint file, encoded once and kept.

A file that is written again after each commit differs from the last one in a few lines. So the lines stand in blocks: what a commit
changed is encoded, its block joined again, and the blocks are copied into a buffer that is kept as well. (To join everything into new
memory each time took five times as long: the system hands out such memory page by page, at the first touch.)
"""

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from shop.store.checkpoint import Header, begin_collection, encode_header, encode_record_line, with_crc
from shop.store.state import State

BLOCK_BYTES = 8 * 1024
_BETWEEN = b",\n"


class _Block:
    """Some lines of a collection: joined, each behind a comma and a newline as they stand in the file, or taken apart to be changed."""

    __slots__ = ("_ids", "_joined", "_lines", "size")

    def __init__(self) -> None:
        self._ids: list[str] = []  # in the order of what is joined
        self._joined = b""
        self._lines: dict[str, bytes] | None = None  # taken apart; then the two above say nothing
        self.size = 0

    def _apart(self) -> dict[str, bytes]:
        if self._lines is None:
            # No line holds a newline: JSON writes one as two other characters.
            self._lines = dict(zip(self._ids, self._joined.split(_BETWEEN)[1:], strict=True))
            self._ids, self._joined = [], b""
        return self._lines

    def put(self, id: str, line: bytes) -> None:
        lines = self._apart()
        self.size += len(line) - len(lines.get(id, b""))
        lines[id] = line

    def drop(self, id: str) -> None:
        self.size -= len(self._apart().pop(id))

    @property
    def is_empty(self) -> bool:
        return not self.size

    def joined(self) -> bytes:
        if self._lines is not None:
            self._ids, self._joined = list(self._lines), _BETWEEN.join((b"", *self._lines.values()))
            self._lines = None
        return self._joined


class _Collection:
    """The blocks of one collection; a new line goes to the end."""

    def __init__(self, name: str) -> None:
        self._opening = begin_collection(name)
        self._blocks: list[_Block] = []
        self._block_of: dict[str, _Block] = {}

    def put(self, id: str, line: bytes) -> None:
        block = self._block_of.get(id)
        if block is None:
            block = self._block_of[id] = self._last()
        block.put(id, line)

    def drop(self, id: str) -> None:
        block = self._block_of.pop(id, None)
        if block is None:
            return
        block.drop(id)
        if block.is_empty:
            self._blocks.remove(block)

    def _last(self) -> _Block:
        if not self._blocks or self._blocks[-1].size >= BLOCK_BYTES:
            self._blocks.append(_Block())
        return self._blocks[-1]

    def pieces(self) -> Iterator[bytes | memoryview]:
        """The collection as it stands in the file."""
        yield self._opening
        if not self._blocks:
            yield b"}"
            return
        yield memoryview(self._blocks[0].joined())[len(_BETWEEN) :]
        for block in self._blocks[1:]:
            yield block.joined()
        yield b"\n}"


class Lines:
    """The lines of every record of one state; `apply` brings them to the next. When it raises they are of no use any more."""

    def __init__(self, state: State) -> None:
        self._collections = {name: _Collection(name) for name in state.collections()}
        for name, collection in self._collections.items():
            for id, record in state.items(name):
                collection.put(id, encode_record_line(id, record))
        self._buffer = bytearray()

    def apply(self, ops: Iterable[tuple[str, str, Any]]) -> None:
        """Do what a commit did."""
        for collection, id, record in ops:
            if record is None:
                self._collections[collection].drop(id)
            else:
                self._collections[collection].put(id, encode_record_line(id, record))

    def file(self, header: Header) -> memoryview:
        """The whole checkpoint file. The next call writes over it."""
        head = encode_header(header)
        pieces = [head, *(piece for collection in self._collections.values() for piece in collection.pieces()), b"}\n"]
        size = sum(map(len, pieces))
        if size > len(self._buffer):
            self._buffer = bytearray(size + size // 4)
        data = memoryview(self._buffer)[:size]
        at = 0
        for piece in pieces:
            end = at + len(piece)
            data[at:end] = piece
            at = end
        data[: len(head)] = with_crc(head, zlib.crc32(data))
        return data
