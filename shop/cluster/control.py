"""How the shop's workers ask the one that runs the pair: `<instance>/cluster/control.sock`, one line of JSON each way.

    {"do": "rejoin", "with": {"side": "a"}}
    {"result": "rewound"}    or    {"refused": "PostgreSQL a cannot rejoin: …"}    or    {"invalid": {"delay": "Enter …"}}

Who can open the socket (0600) may do everything: it is the shop's own user.
"""

import os
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psycopg

from shop.cluster.machine import LinkState, Machine, MachineState
from shop.errors import Invalid, SettingError

FILE_NAME = "control.sock"
ANSWER_SECONDS_MAX = 600  # a base backup of a large shop
_PATH_BYTES_MAX = 100

T = TypeVar("T")


class ClusterUnreachable(Exception):
    """Nobody runs the pair of this instance, or not any more."""


class ClusterRefused(Exception):
    """The one that runs the pair says no; the text is a sentence for an operator."""


class ClusterControl:
    """The pair of *instance*, from another process. Stateless: make one where it is needed.

    Every method raises `ClusterUnreachable`, and `ClusterRefused` with the reason.
    """

    def __init__(self, instance: Path) -> None:
        self._folder = instance / "cluster"

    @property
    def is_there(self) -> bool:
        """Whether somebody runs a pair here."""
        try:
            self._ask("ping")
        except (ClusterUnreachable, ClusterRefused):
            return False
        return True

    def state(self) -> MachineState:
        return msgspec.convert(self._ask("state"), MachineState)

    def urls(self) -> tuple[str, str]:
        """The addresses of A and B for the shop, with the password in them."""
        a, b = self._ask("urls")
        return str(a), str(b)

    def link(self) -> LinkState:
        return msgspec.convert(self._ask("link"), LinkState)

    def set_link(
        self,
        *,
        delay: float | None = None,
        jitter: float | None = None,
        bandwidth: float | None = None,
        loss: float | None = None,
    ) -> None:
        """Turn the knobs that are given: seconds, seconds, bytes a second (0 = no limit), percent. Raises `Invalid` too."""
        self._ask("set_link", delay=delay, jitter=jitter, bandwidth=bandwidth, loss=loss)

    def cut(self, seconds: float) -> None:
        """Break the cable for so long or until `mend`. Raises `Invalid` on the field `outage` too."""
        self._ask("cut", seconds=seconds)

    def mend(self) -> None:
        self._ask("mend")

    def start_alone(self, side: str) -> str:
        """Start an old primary, read-only and unknown to the shop; returns its address, with a password."""
        return str(self._ask("start_alone", side=side))

    def start(self, side: str) -> None:
        """Start a server that was stopped or killed; an old primary is refused."""
        self._ask("start", side=side)

    def stop(self, side: str) -> None:
        """End a server in order."""
        self._ask("stop", side=side)

    def kill(self, side: str) -> None:
        """As when its machine dies; what is on the link dies with it."""
        self._ask("kill", side=side)

    def rejoin(self, side: str) -> str:
        """Make *side* the standby of the other: "rewound" or "copied". What only it had is gone after this."""
        return str(self._ask("rejoin", side=side))

    def rebuild(self, side: str) -> None:
        """Make *side* the standby of the other from a fresh copy, whatever it is now."""
        self._ask("rebuild", side=side)

    def aim(self) -> None:
        """Let the link carry the new primary's WAL now; it is noticed within a second anyway."""
        self._ask("aim")

    def end(self) -> int:
        """Ask it to stop everything; returns its process id. It answers before it stops."""
        return int(self._ask("end"))

    def _ask(self, do: str, /, **arguments: Any) -> Any:
        line = msgspec.json.encode({"do": do, "with": {k: v for k, v in arguments.items() if v is not None}}) + b"\n"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(ANSWER_SECONDS_MAX)
                at_path(self._folder / FILE_NAME, connection.connect)
                connection.sendall(line)
                with connection.makefile("rb") as answer:
                    reply = msgspec.json.decode(answer.readline())
        except (OSError, msgspec.DecodeError):
            raise ClusterUnreachable("No make cluster runs here, or it is about to end.") from None
        if "invalid" in reply:
            raise Invalid(reply["invalid"])
        if "refused" in reply:
            raise ClusterRefused(reply["refused"])
        return reply["result"]


class ControlServer:
    """Answers `ClusterControl` for *machine*, in threads, until `stop`."""

    def __init__(self, machine: Machine, *, end: Callable[[], None]) -> None:
        self._path = machine.ground.folder / FILE_NAME
        self._doings = _doings(machine, end)
        self._path.unlink(missing_ok=True)  # a dead one's: the folder is ours
        self._server = at_path(self._path, lambda path: _Server(path, self._answer))
        self._path.chmod(0o600)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="control", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._path.unlink(missing_ok=True)

    def _answer(self, line: bytes) -> bytes:
        try:
            asked = msgspec.json.decode(line)
            result = self._doings[asked["do"]](**asked["with"])
            return msgspec.json.encode({"result": result})
        except Invalid as invalid:
            return msgspec.json.encode({"invalid": invalid.fields})
        except (SettingError, psycopg.Error, OSError) as error:
            return msgspec.json.encode({"refused": " ".join(str(error).split())})
        except (msgspec.DecodeError, KeyError, TypeError):
            return msgspec.json.encode({"refused": "That is no question for the one that runs the pair."})


def _doings(machine: Machine, end: Callable[[], None]) -> Mapping[str, Callable[..., Any]]:
    def end_soon() -> int:
        end()
        return os.getpid()

    return {
        "ping": lambda: True,
        "state": machine.state,
        "link": machine.link,
        "urls": machine.urls,
        "set_link": machine.wan.set,
        "cut": machine.wan.cut,
        "mend": machine.wan.mend,
        "start_alone": machine.start_alone,
        "start": machine.start_server,
        "stop": machine.stop_server,
        "kill": machine.kill_server,
        "rejoin": machine.rejoin,
        "rebuild": machine.rebuild,
        "aim": machine.aim,
        "end": end_soon,
    }


def at_path(path: Path, use: Callable[[str], T]) -> T:
    """Call *use* with a path of the socket *path* that is short enough: the kernel takes no longer one (Linux helps)."""
    if len(os.fsencode(path)) <= _PATH_BYTES_MAX:
        return use(str(path))
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return use(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False  # a base backup must not hold up the end

    def __init__(self, path: str, answer: Callable[[bytes], bytes]) -> None:
        self.answer = answer
        super().__init__(path, _Handler)


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        with suppress(OSError):  # who asked is gone
            self.wfile.write(self.server.answer(self.rfile.readline(65536)) + b"\n")
