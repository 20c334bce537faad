"""The log: one JSON object a line on stderr, for programs to read. People read the banner on stdout.

`structlog.get_logger("area").info("what happened", key=value)` is how the shop writes one; what libraries say through `logging`
takes the same road. A line never holds a query string (links carry tokens), a cookie, a password or a visitor's address.
"""

import logging
import os
import secrets
import threading
import time
from collections.abc import Iterable, MutableMapping
from datetime import UTC, datetime
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import msgspec
import structlog

REQUEST_ID = "antipode.request_id"  # in the WSGI environment; the reply carries it as X-Request-ID
STARTED = "antipode.started"  # in the WSGI environment: time.perf_counter() when the request came to the application
_PATH_LENGTH_MAX = 200
_UNLOGGED = frozenset(("/healthz", "/readyz", "/metrics"))  # asked each second by machines, and never news

# waitress warns of each request that has to wait for a thread (thousands of lines a second under load: the depth is a metric
# instead), APScheduler of each tick that finds the last one still at work (which is how the schedule is meant to run), psycopg of
# each pipeline that a refused statement ended (a key that was taken: its error is the answer, and is given).
_QUIETER = {
    "waitress": logging.WARNING,
    "waitress.queue": logging.ERROR,
    "apscheduler": logging.ERROR,
    "psycopg": logging.ERROR,
}


def configure(*, fd: int = 2, level: int = logging.INFO) -> None:
    """Send every line of *level* and above to *fd*. Called once, by the program; tests and libraries leave the log as they find it."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            _head_first,
            structlog.processors.JSONRenderer(serializer=_encode),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *name: _Lines(fd, *name),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_FromLogging()]
    root.setLevel(logging.WARNING)
    for name, level in _QUIETER.items():
        logging.getLogger(name).setLevel(level)


def log_requests(application: WSGIApplication) -> WSGIApplication:
    """*application* with an id for each request (in the environment, the log's context and `X-Request-ID`) and a line when it is done."""
    log = structlog.get_logger("request")

    def logged(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request_id = secrets.token_hex(8)
        started = time.perf_counter()
        environ[REQUEST_ID] = request_id
        environ[STARTED] = started
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status = 500  # until the application says otherwise; it may raise instead

        def start(line: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
            nonlocal status
            status = int(line[:3])
            return start_response(line, [*headers, ("X-Request-ID", request_id)], exc_info)

        try:
            return application(environ, start)
        finally:
            path = environ.get("PATH_INFO", "")
            if path not in _UNLOGGED:
                log.info(
                    "request",
                    method=environ.get("REQUEST_METHOD", ""),
                    path=path[:_PATH_LENGTH_MAX].encode("latin-1", "replace").decode("utf-8", "replace"),
                    status=status,
                    ms=round((time.perf_counter() - started) * 1000, 1),
                )

    return logged


class _Lines:
    """Writes whole lines to a file descriptor. A log that cannot be written must not stop the shop: such a line is lost."""

    _lock = threading.Lock()

    def __init__(self, fd: int, area: str = "") -> None:
        self._fd = fd
        self.area = area

    def msg(self, line: bytes) -> None:
        data = line + b"\n"
        try:
            with self._lock:
                while data:
                    data = data[os.write(self._fd, data) :]
        except OSError:
            pass

    debug = info = warning = error = critical = exception = msg


class _FromLogging(logging.Handler):
    """Takes what libraries say through `logging` to the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        log.log(max(record.levelno, logging.INFO), record.getMessage(), exc_info=record.exc_info)


def _head_first(lines: Any, level: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    what = event.pop("event", "")
    return {"at": datetime.now(UTC), "level": level, "area": lines.area, "event": what, **event}


def _encode(event: Any, **_: Any) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)
