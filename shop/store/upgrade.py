"""From the files of an older format to those of this one. There is no older format yet, so `UPGRADES` is empty; the way is tested with one
that exists only there (`tests/torture/format_zero.py`).

An upgrade is a pair of functions of bytes. Opening upgrades what it reads, in memory, and then does what it does after a crash: it writes
the checkpoint, which holds all that the journal says, and after it the journal. A crash before the checkpoint has its name leaves the
old files; one after it leaves lines of the old format that the checkpoint already holds, and they are passed over as such.

What may never change is the core of a line (`journal.py`): the chain is counted over it, and it is what both sides mean by a position.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from shop.store.checkpoint import FORMAT
from shop.store.errors import StoreDamaged

_FORMAT_FIRST = re.compile(rb'\{"format":([0-9]{1,9}),')  # how the file begins, in every format


class Upgrade(NamedTuple):
    """How files of one format become those of the next."""

    checkpoint: Callable[[bytes], bytes]  # the whole file; raises ValueError when it is damaged
    line: Callable[
        [bytes], bytes
    ]  # one of the journal, without its newline; what is no whole line of that format is given back as it is


Upgrades = Mapping[int, Upgrade]

UPGRADES: Upgrades = {}  # by the format they begin from


def upgraded_checkpoint(path: Path, data: bytes, upgrades: Upgrades) -> bytes:
    """*data* in this format; the same object when it was in it, or in one that nothing here knows. Raises `StoreDamaged`."""
    while (found := _FORMAT_FIRST.match(data)) and (format := int(found[1])) in upgrades:
        try:
            data = upgrades[format].checkpoint(data)
        except ValueError as error:
            raise StoreDamaged(path, 0, f"format {format} cannot be read: {error}") from error
    return data


def upgraded_journal(data: bytes, upgrades: Upgrades) -> bytes:
    """Each line of *data* in this format; the same object when all of them were."""
    if not upgrades:
        return data
    lines = before = data.split(b"\n")
    for format in range(min(upgrades), FORMAT):
        lines = [upgrades[format].line(line) for line in lines]
    return data if lines == before else b"\n".join(lines)
