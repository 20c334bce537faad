"""A worker's seat: what the supervisor hands to `python app.py --worker FD`, and the tie between the two.

FD is one end of a socket pair. The supervisor writes one line of JSON (an `Order`); the worker answers with one when it
serves. After that nobody writes: the end of the connection tells each that the other is gone. Nothing secret is on a command
line.
"""

import os
import socket
import threading
from contextlib import suppress
from typing import NoReturn

import msgspec

_ORDER_BYTES_MAX = 65536
READY = b"ready\n"


class Order(msgspec.Struct, frozen=True):
    """What a worker has to know beside the settings."""

    number: int  # 1, 2, …
    listener: int  # file descriptor of the bound socket that all workers share
    token: str  # stands in shop.lock: a command that shows it is let in
    banner: list[tuple[str, str]] | None = None  # for the one that tells people where the shop is: what runs below it


class Seat:
    """The worker's end. Made once, at its start."""

    def __init__(self, fd: int) -> None:
        self._tie = socket.socket(fileno=fd)
        self.order = msgspec.json.decode(self._read_line(), type=Order)
        self.listener = socket.socket(fileno=self.order.listener)
        for taken in (self._tie, self.listener):
            taken.set_inheritable(False)
        threading.Thread(target=self._leave_when_orphaned, name="seat", daemon=True).start()

    def ready(self) -> None:
        """Tell the supervisor that pages are served from now on."""
        self._tie.sendall(READY)

    def _read_line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            data = self._tie.recv(_ORDER_BYTES_MAX)
            if not data:
                raise SystemExit("antipode: a worker was started by nobody.")
            line += data
        return line

    def _leave_when_orphaned(self) -> NoReturn:
        """The databases end with the supervisor, and the next one wants the port: nothing can be finished in order any more."""
        with suppress(OSError):
            while self._tie.recv(1):
                pass
        os._exit(1)
