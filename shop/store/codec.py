"""The only module that knows the JSON library. A typed decode is the schema check: an unknown field or a wrong type raises."""

from collections.abc import Mapping
from typing import Any

import msgspec

DecodeError = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)  # ValidationError is a DecodeError

_encoder = msgspec.json.Encoder()
encode = _encoder.encode


HEADER_FIELDS = ("format", "store_id", "peer", "timeline", "forks", "lsn", "checksum", "at", "clean", "crc")


class Codec:
    """Encodes and decodes the records of one schema (collection -> msgspec.Struct)."""

    def __init__(self, schema: Mapping[str, type[msgspec.Struct]]) -> None:
        self.schema = dict(schema)
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {
            name: msgspec.json.Decoder(kind | None) for name, kind in schema.items()
        }
        self._lines = msgspec.json.Decoder(list[tuple[str, str, msgspec.Raw]])
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

    def decode_record(self, collection: str, data: bytes | msgspec.Raw) -> Any:
        """One record, or None for `null`."""
        return self._decoders[collection].decode(data)
