"""The runner: serves a WSGI application with waitress, in one process with a few threads.

waitress reads requests and writes replies in one loop, so that a slow client costs a socket and no thread. What is added
here: a socket bound before the application exists, bounds on what a client may send, and an end in which everything that
was asked is answered in full. Nothing here knows of shops.
"""

import errno
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from types import FrameType
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import structlog
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, WSGITask

from shop.errors import SettingError

THREADS = 8
CONNECTIONS_MAX = 1000
ROOM = 50  # kept free of CONNECTIONS_MAX for who comes next
FILES_MAX_WANTED = 4096  # a connection may need a second file for a large reply
IDLE_SECONDS_MAX = 30
REQUEST_SECONDS_MAX = 120  # from the first byte of a request to its last
DRAIN_SECONDS_MAX = 10
LINGER_SECONDS_MAX = 5
URL_BYTES_MAX = 2048
HEADER_BYTES_MAX = 16384
HEADERS_MAX = 100
BODY_BYTES_MAX = 1024 * 1024  # what is kept; the same as Flask's MAX_CONTENT_LENGTH, which refuses what is longer
SWALLOWED_BYTES_MAX = 64 * 1024 * 1024  # above it the door shuts before the client has said all

_log = structlog.get_logger("server")


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; *port* 0 takes a free one. Who connects now waits until `Server.run`.

    Listening starts here, not at the first request: two sockets can share a port until one of them listens.
    Raises `SettingError` naming the setting to change.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        raise SettingError(f"HOST={host} is no address of this machine: try HOST=127.0.0.1.") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise SettingError(_why_not_bound(host, port, error)) from None
    return listener


def url_of(listener: socket.socket) -> str:
    """Where a browser on this machine finds what listens there."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def refuse_long_urls(application: WSGIApplication) -> WSGIApplication:
    """*application* behind a door that answers 414 to a URL above URL_BYTES_MAX."""

    def door(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if len(environ.get("REQUEST_URI", "")) <= URL_BYTES_MAX:
            return application(environ, start_response)
        body = b"This address is too long for this shop.\n"
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
        start_response("414 URI Too Long", headers)
        return [body]

    return door


class _CappedBuffer:
    """Where a request's body goes: kept up to BODY_BYTES_MAX, only counted beyond.

    The application is told the true length and refuses it with a page of its own. Closing on the client instead, as waitress does,
    resets the connection while the body is still being sent, and a browser shows that reset instead of the page.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._length = 0

    def append(self, data: bytes) -> None:
        self._length += len(data)
        if self._length <= BODY_BYTES_MAX:
            self._inner.append(data)

    def __len__(self) -> int:
        return self._length

    def getfile(self) -> Any:
        return self._inner.getfile()

    def close(self) -> None:
        self._inner.close()


class _Parser(HTTPRequestParser):
    """waitress's parser, stricter where two readers of one request could disagree."""

    def parse_header(self, header_plus: bytes) -> None:
        if header_plus.count(b"\n") > HEADERS_MAX:
            raise ParsingError("Too many headers")
        super().parse_header(header_plus)
        if self.chunked and "CONTENT_LENGTH" in self.headers:
            raise ParsingError("Content-Length beside Transfer-Encoding")
        host = self.headers.get("HOST", "")
        if "," in host or (self.version == "1.1" and not host):
            raise ParsingError("Exactly one Host header, please")
        if self.body_rcv is not None:
            self.body_rcv.buf = _CappedBuffer(self.body_rcv.buf)  # type: ignore[assignment]


_DECIDED_BY_WAITRESS = frozenset(("content-length", "connection", "date", "server", "transfer-encoding", "via"))


class _LastWord:
    """Mixed into the tasks: while the server drains, each reply is the last one of its connection."""

    def build_response_header(self) -> bytes:
        task: Any = self
        if task.channel.server.is_draining:
            task.request.headers["CONNECTION"] = "close"
        # waitress takes each header's name apart and sorts them all, to find the few that it decides about; it is shown only those.
        headers: list[tuple[str, str]] = task.response_headers
        task.response_headers = [header for header in headers if header[0].lower() in _DECIDED_BY_WAITRESS]
        head: bytes = super().build_response_header()  # type: ignore[misc]
        others = [f"{name}: {value}\r\n" for name, value in headers if name.lower() not in _DECIDED_BY_WAITRESS]
        return head[:-2] + "".join(others).encode("latin-1") + b"\r\n"


class _Task(_LastWord, WSGITask):
    def write(self, data: bytes) -> None:
        """As waitress does, with the header and the first of the body in one: each send is a packet, and a thread that waits its turn."""
        room = -1 if self.content_length is None else self.content_length - self.content_bytes_written
        if self.wrote_header or not data or len(data) > room or not (self.complete and self.has_body):
            super().write(data)
            return
        self.channel.write_soon(self.build_response_header() + data)
        self.wrote_header = True
        self.content_bytes_written += len(data)


class _ErrorTask(_LastWord, ErrorTask):
    def execute(self) -> None:
        self.channel.is_refusing = True  # type: ignore[attr-defined]
        super().execute()


class _Channel(HTTPChannel):
    """One connection."""

    parser_class = _Parser
    task_class = _Task
    error_task_class = _ErrorTask
    receiving_since = 0.0
    is_refusing = False  # its last reply is a refusal by waitress, who has not read what the client still sends
    lingers_until = 0.0

    def readable(self) -> Any:
        return self.lingers_until or super().readable()

    def handle_read(self) -> None:
        if self.lingers_until:
            self.recv(65536)  # closes at the end of it
        else:
            super().handle_read()

    def handle_close(self) -> None:
        """Close; after a refusal only for writing, and let the client finish first.

        Closing while the client still sends resets the connection, and the reset overtakes the refusal.
        """
        if self.is_refusing and self.connected and self.socket and not self.lingers_until:
            self.lingers_until = time.time() + LINGER_SECONDS_MAX
            self.will_close = self.close_when_flushed = False
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
            return
        super().handle_close()

    def received(self, data: bytes) -> Any:
        before = self.request
        result = super().received(data)
        if self.request is not None and self.request is not before:
            self.receiving_since = time.time()
        return result

    @property
    def is_asked(self) -> bool:
        """A whole request is here, and its answer not yet with the client's kernel."""
        return bool(self.requests) or bool(self.total_outbufs_len)

    def is_quiet(self, now: float) -> bool:
        """Nothing is asked, and nothing came for a moment; longer when half a request is here."""
        return not self.is_asked and now - self.last_activity > (0.2 if self.request is None else 1.0)


class Server(TcpWSGIServer):
    """Serves *application* on *listener* until `stop`; `run` then returns with everything answered."""

    channel_class = _Channel
    active_channels: dict[int, _Channel]  # type: ignore[assignment]
    _map: dict[int, Any]  # everything the loop watches, by file descriptor

    def __init__(self, application: WSGIApplication, listener: socket.socket) -> None:
        self.is_draining = False
        self._listener = listener
        self._stopping = threading.Event()
        self._hurried = False
        adjustments = Adjustments(
            sockets=[listener],
            threads=THREADS,
            connection_limit=min(CONNECTIONS_MAX, _raise_files_limit() - 100),
            asyncore_use_poll=True,
            channel_timeout=IDLE_SECONDS_MAX,
            cleanup_interval=5,
            max_request_header_size=HEADER_BYTES_MAX,
            max_request_body_size=SWALLOWED_BYTES_MAX,
            ident=None,
            log_socket_errors=False,  # a client that goes away is no news
        )
        where = (listener.family, listener.type, listener.proto, listener.getsockname())
        super().__init__(
            refuse_long_urls(application), {}, True, listener, adj=adjustments, sockinfo=where, bind_socket=False
        )

    def run(self) -> None:
        """Serve until SIGTERM, SIGINT or `stop`, then answer what was asked, for DRAIN_SECONDS_MAX at the most.

        A second signal ends the wait.
        """
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_signal)
            signal.signal(signal.SIGINT, self._on_signal)
        while not self._stopping.is_set():
            self._turn(1.0)
        self._drain()
        self.task_dispatcher.shutdown(timeout=1)
        self.asyncore.close_all(self._map, ignore_all=True)

    def stop(self) -> None:
        """Begin the end; safe from any thread and from a signal handler."""
        self._stopping.set()
        self.pull_trigger()

    def queue_depth(self) -> int:
        """Requests that wait for a thread."""
        return len(self.task_dispatcher.queue)

    def connections(self) -> int:
        return len(self.active_channels)

    def readable(self) -> Any:
        if self.connections() >= self.adj.connection_limit - ROOM:
            self._make_room()
        return super().readable()

    def maintenance(self, now: float) -> None:
        super().maintenance(now)  # type: ignore[arg-type]
        for channel in list(self.active_channels.values()):
            if channel.request is not None and now - channel.receiving_since > REQUEST_SECONDS_MAX:
                channel.will_close = True
            elif channel.lingers_until and now > channel.lingers_until:
                channel.handle_close()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._hurried = self._stopping.is_set()
        self.stop()

    def _turn(self, seconds: float) -> None:
        self.asyncore.loop(timeout=seconds, use_poll=True, map=self._map, count=1)

    def _drain(self) -> None:
        _log.info("stopping", connections=self.connections(), queued=self.queue_depth())
        self.is_draining = True
        self._close_listener()
        deadline = time.monotonic() + DRAIN_SECONDS_MAX
        while self.active_channels and time.monotonic() < deadline and not self._hurried:
            self._close_quiet_channels()
            self._turn(0.05)
        unanswered = sum(channel.is_asked for channel in self.active_channels.values())
        if unanswered:
            _log.warning("stopped with requests unanswered", requests=unanswered)

    def _close_listener(self) -> None:
        # Who is in the kernel's queue has connected as far as they can tell, and may have asked: let them in first.
        waiting = -1
        while waiting != self.connections():
            waiting = self.connections()
            self.handle_accept()
        self.accepting = False
        self.del_channel()
        self._listener.close()

    def _make_room(self) -> None:
        """Close who has been quiet for longest, so that many idle or half-asking connections keep nobody out."""
        now = time.time()
        quiet = [channel for channel in self.active_channels.values() if channel.is_quiet(now)]
        for channel in sorted(quiet, key=lambda channel: channel.last_activity)[: 2 * ROOM]:
            channel.will_close = True

    def _close_quiet_channels(self) -> None:
        now = time.time()
        for channel in list(self.active_channels.values()):
            if channel.is_quiet(now):
                channel.handle_close()


def _why_not_bound(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken by another program: choose another one with PORT=, for example PORT={port + 1}."
    if error.errno == errno.EACCES:
        return f"Port {port} needs rights this user does not have: choose one above 1023 with PORT=."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"HOST={host} is no address of this machine: try HOST=127.0.0.1."
    return f"Cannot listen on {host} port {port}: {error.strerror or error}."


def _raise_files_limit() -> int:
    """Allow ourselves the files that CONNECTIONS_MAX takes, as far as we may; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX_WANTED if hard == resource.RLIM_INFINITY else min(FILES_MAX_WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return max(wanted, 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
