"""The only module that knows the JSON library. A typed decode is the schema check: an unknown field or a wrong type raises."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, ClassVar, Union, cast

import msgspec

DecodeError = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)  # ValidationError is a DecodeError

_encoder = msgspec.json.Encoder()
encode = _encoder.encode


HEADER_FIELDS = ("format", "store_id", "peer", "timeline", "forks", "lsn", "checksum", "at", "clean", "crc")


class Changed(msgspec.Struct, array_like=True):
    """A changed record as a line holds it: `[collection, id, record]`, the record of its collection's type or None."""

    collection: ClassVar[str]
    id: str
    record: Any


class Line(msgspec.Struct, forbid_unknown_fields=True):
    """A line of the journal; see `journal.py`."""

    crc: str
    durable: int
    prev: str
    checksum: str
    lsn: int
    timeline: int
    at: str
    ops: list[Any]  # in what `Codec.decode_line` returns: of `Changed`


class _AnyLine(Line):
    """Of whatever schema."""

    ops: list[tuple[str, str, msgspec.Raw]]


_any_line = msgspec.json.Decoder(_AnyLine)


class Codec:
    """Decodes the records of one schema (collection -> msgspec.Struct); safe to use from any thread. `codec_of` makes it."""

    def __init__(self, schema: Mapping[str, type[msgspec.Struct]]) -> None:
        self.schema = dict(schema)
        # A line of the journal, its records with it: in one go, a third of the time that one after the other takes.
        self.decode_line: Callable[[bytes], Line] = msgspec.json.Decoder(_line_of(schema)).decode
        header: list[tuple[str, Any, Any]] = [(name, Any, None) for name in HEADER_FIELDS]
        fields: list[tuple[str, Any, Any]] = [
            (name, dict[str, kind], msgspec.field(default_factory=dict))  # type: ignore[valid-type]
            for name, kind in schema.items()
        ]
        self._collections = msgspec.json.Decoder(
            msgspec.defstruct("Collections", header + fields, forbid_unknown_fields=True)
        )

    def decode_collections(self, data: bytes) -> dict[str, dict[str, Any]]:
        """The collections of a whole checkpoint file; one that the schema does not know raises: the next checkpoint would drop it."""
        decoded = self._collections.decode(data)
        return {name: getattr(decoded, name) for name in self.schema}

    def unknown_collection(self, data: bytes) -> str:
        """Of a line that `decode_line` refused: the collection that the schema does not know, "" when that is not the reason."""
        try:
            names = [name for name, _, _ in _any_line.decode(data).ops]
        except DecodeError:
            return ""
        return next((name for name in names if name not in self.schema), "")


def codec_of(schema: Mapping[str, type[msgspec.Struct]]) -> Codec:
    """The codec of *schema*, the same for equal ones: it brings types of its own, which stay in memory once they were made."""
    return _codec_of(tuple(schema.items()))


@lru_cache(maxsize=8)
def _codec_of(kinds: tuple[tuple[str, type[msgspec.Struct]], ...]) -> Codec:
    return Codec(dict(kinds))


def _line_of(schema: Mapping[str, type[msgspec.Struct]]) -> type[Line]:
    """The first of the three says of which type the third is: msgspec's tagged unions."""
    kinds: list[Any] = [
        msgspec.defstruct(
            f"Changed_{name}",
            [("id", str), ("record", kind | None)],
            bases=(Changed,),
            namespace={"collection": name},
            tag=name,
            array_like=True,
            forbid_unknown_fields=True,
        )
        for name, kind in schema.items()
    ]
    one_of: Any = Union.__getitem__(tuple(kinds)) if kinds else None
    fields: list[tuple[str, Any]] = [("ops", list[one_of])]
    return cast(type[Line], msgspec.defstruct("TypedLine", fields, bases=(Line,), forbid_unknown_fields=True))
