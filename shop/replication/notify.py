"""Sends alerts to the outside, by Apprise. The only module that knows it, and it is imported only when there is an address.

One thread of its own sends, one message after the other: nobody waits for the network. What fails is logged and given up.
Addresses hold passwords: no log line shows one.
"""

import logging
import queue
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import structlog

from shop.errors import SettingError
from shop.replication.contract import Alert

TIMEOUT_SECONDS = 4.0  # to connect, and again to be answered
WAITING_MAX = 100  # messages; more are given up

_log = structlog.get_logger("alerts")


class Notifier:
    """Sends to *urls*. Raises `SettingError` when Apprise does not understand one of them."""

    def __init__(self, urls: Sequence[str], *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._services = [_service(url, timeout_seconds) for url in urls]
        self._queue: queue.Queue[tuple[str, str, bool] | None] = queue.Queue(WAITING_MAX)
        self._thread = threading.Thread(target=self._send_all, name="notifications", daemon=True)
        if self._services:
            self._thread.start()

    def tell(self, alert: Alert, is_raised: bool) -> None:
        """Send it soon; returns at once."""
        if not self._services:
            return
        word = "raised" if is_raised else "cleared"
        try:
            self._queue.put_nowait((f"Antipode: {alert.name} {word}", alert.sentence, is_raised))
        except queue.Full:
            _log.error("a notification was given up, too many are waiting", alert=alert.name)

    def stop(self, timeout_seconds: float = 1.0) -> None:
        """Give what is waiting a moment to leave."""
        if not self._thread.is_alive():
            return
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(timeout_seconds)

    def _send_all(self) -> None:
        while (message := self._queue.get()) is not None:
            for number, service in enumerate(self._services, start=1):
                _send(service, number, *message)


def _send(service: Any, number: int, title: str, body: str, is_raised: bool) -> None:
    try:
        is_sent = service.notify(title=title, body=body, notify_type="warning" if is_raised else "success")
    except Exception as error:  # whatever somebody else's service does
        _log.error("a notification failed", address=number, error=type(error).__name__)
        return
    if not is_sent:
        _log.error("a notification failed", address=number)


def _service(url: str, timeout_seconds: float) -> Any:
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its lines hold parts of the addresses
    with warnings.catch_warnings():  # it loads all of its services, and some of them old modules
        warnings.simplefilter("ignore", DeprecationWarning)
        service = apprise.Apprise.instantiate(url, suppress_exceptions=True)
    if service is None:
        scheme = url.partition("://")[0]
        raise SettingError(f"SHOP_ALERT_URLS holds an address ({scheme}://…) that Apprise does not understand.")
    service.socket_connect_timeout = service.socket_read_timeout = timeout_seconds
    return service
