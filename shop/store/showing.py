"""Callers who wait until the checkpoint file shows their commit: one of them writes the file, for everybody.

No thread stands in between, and nobody polls. Each waiting thread sleeps on a lock of its own. The one that writes, the *leader*, wakes
those whose commit the file then shows, all at once, and makes the oldest of the others the next leader. Waiting for one lock instead made
them wake one behind the other, and some of them stand through a second writing that they did not need.
"""

import threading
from collections import deque
from collections.abc import Callable

from shop.store.unit import Turn


class _Waiter(Turn):
    __slots__ = ("lsn",)

    def __init__(self, lsn: int) -> None:
        super().__init__()
        self.lsn = lsn


class Showing:
    """*write* makes the file show every commit that is durable, or raises; *shown_lsn* says what it shows."""

    def __init__(self, write: Callable[[], None], shown_lsn: Callable[[], int]) -> None:
        self._write = write
        self._shown_lsn = shown_lsn
        self._lock = threading.Lock()  # guards the two below
        self._waiting: deque[_Waiter] = deque()
        self._is_led = False

    @property
    def is_busy(self) -> bool:
        """Whether somebody writes the file, or is about to."""
        return self._is_led

    def wait(self, lsn: int) -> None:
        """Return when the file shows commit *lsn*, which is durable.

        Raises what *write* raised in this thread. Nobody goes away with the failure of another: the next in line tries again.
        """
        waiter = self._join(lsn)
        interrupt = waiter.sleep() if waiter is not None else None
        if waiter is None or waiter.leads:
            try:
                if self._shown_lsn() < lsn:
                    self._write()
                self._wake_shown()
            finally:
                # Nothing here wants memory or stack: were the lead lost, everybody would wait for ever.
                with self._lock:
                    if self._waiting:
                        self._waiting.popleft().lead()
                    else:
                        self._is_led = False
        if interrupt is not None:
            raise interrupt

    def _join(self, lsn: int) -> _Waiter | None:
        """None for the one who leads."""
        with self._lock:
            if not self._is_led:
                self._is_led = True
                return None
            waiter = _Waiter(lsn)
            self._waiting.append(waiter)
            return waiter

    def _wake_shown(self) -> None:
        with self._lock:
            shown = self._shown_lsn()
            for _ in range(len(self._waiting)):
                if self._waiting[0].lsn <= shown:
                    self._waiting.popleft().end()
                else:
                    self._waiting.rotate(-1)  # once around, so that their order stays
