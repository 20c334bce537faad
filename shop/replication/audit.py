"""The audit list: every action taken on the replication, by whom and with what result. It belongs to this machine and does not replicate:
it must survive the failovers that it tells of.

JSON lines in `audit.jsonl`, only ever appended to and fsynced; a full file becomes `audit.jsonl.1` and replaces the one before. A crash may
leave half a line at the end: it is passed over. An action is not refused because its line could not be written: that is logged.
"""

import os
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog

from shop.clock import Clock
from shop.models import timestamp
from shop.replication.contract import Action

NAME = "audit.jsonl"
BYTES_MAX = 1_000_000
TEXT_MAX = 500

_log = structlog.get_logger("audit")


class Audit:
    """The list in *folder*, as `contract.Audit`."""

    def __init__(self, folder: Path, clock: Clock, *, bytes_max: int = BYTES_MAX) -> None:
        self._path = folder / NAME
        self._old = folder / f"{NAME}.1"
        self._clock = clock
        self._bytes_max = bytes_max
        self._lock = threading.Lock()

    def add(self, who: str, what: str, result: str) -> None:
        action = Action(timestamp(self._clock.now()), who[:TEXT_MAX], what[:TEXT_MAX], result[:TEXT_MAX])
        try:
            with self._lock:
                self._append(msgspec.json.encode(action) + b"\n")
        except OSError as error:
            _log.error("an action could not be noted", who=who, what=what, error=error.strerror)

    def _append(self, line: bytes) -> None:
        if self._path.exists() and self._path.stat().st_size + len(line) > self._bytes_max:
            self._path.replace(self._old)
        with open(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
            if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                line = b"\n" + line  # after half a line that a crash left
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def actions(self, limit: int = 200) -> Sequence[Action]:
        found: deque[Action] = deque(maxlen=limit)
        with self._lock:
            for path in (self._old, self._path):
                if path.exists():
                    found.extend(_read(path))
        return list(reversed(found))


def _read(path: Path) -> Sequence[Action]:
    actions = []
    for line in path.read_bytes().splitlines():
        try:
            actions.append(msgspec.json.decode(line, type=Action))
        except msgspec.DecodeError:
            continue
    return actions
