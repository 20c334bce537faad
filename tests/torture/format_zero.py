"""A format 0 that never was: what an upgrade of the store's files is tested with.

Its checkpoint has its CRC in front, as a decimal number, and knows neither forks nor an orderly close; its journal has the CRC of a line in
front of it, and the lines have no CRC within. The cores of the lines are those of format 1, as `shop/store/upgrade.py` asks.
"""

import re
import zlib

from shop.store.journal import LINE_START
from shop.store.upgrade import Upgrade

_NO_CRC = b'"crc":"00000000"'
_CRC = re.compile(rb'"crc":"[0-9a-f]{8}"')
_LINE = re.compile(rb"([0-9]+) (\{.*\})")
_HEAD = re.compile(rb'\{"format":0,"crc":([0-9]+),\n')


def checkpoint_to_zero(data: bytes) -> bytes:
    """A checkpoint of format 1 without forks, as format 0 would have written it."""
    rest = data.removeprefix(b'{"format":1,\n')
    rest = re.sub(rb'"forks":\[\],\n|"clean":(true|false),\n', b"", rest)
    rest = _CRC.sub(_NO_CRC, rest, count=1)
    return b'{"format":0,"crc":%d,\n%s' % (zlib.crc32(rest), rest)


def line_to_zero(line: bytes) -> bytes:
    """A journal line (without its newline) of format 1 in format 0."""
    rest = b"{" + line[len(LINE_START) + 10 :]
    return b"%d %s" % (zlib.crc32(rest), rest)


def journal_to_zero(data: bytes) -> bytes:
    return b"".join(line_to_zero(line) + b"\n" for line in data.rstrip(b"\0").splitlines())


def _checkpoint(data: bytes) -> bytes:
    head = _HEAD.match(data)
    if head is None or int(head[1]) != zlib.crc32(data[head.end() :]):
        raise ValueError("the file's bytes do not match its checksum")
    rest = data[head.end() :]
    rest = rest.replace(b'"lsn":', b'"forks":[],\n"lsn":', 1).replace(_NO_CRC, b'"clean":false,\n' + _NO_CRC, 1)
    whole = b'{"format":1,\n' + rest
    return whole.replace(_NO_CRC, b'"crc":"%08x"' % zlib.crc32(whole), 1)


def _line(line: bytes) -> bytes:
    found = _LINE.fullmatch(line)
    if found is None or int(found[1]) != zlib.crc32(found[2]):
        return line
    rest = found[2][1:]
    return LINE_START + b'%08x",' % zlib.crc32(rest) + rest


UPGRADES = {0: Upgrade(_checkpoint, _line)}
