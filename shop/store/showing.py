"""Callers who wait until the checkpoint file shows their commit: one of them writes the file, for everybody.

No thread stands in between, and nobody polls. Each waiting thread sleeps on a lock of its own. The one that writes, the *leader*, wakes
those whose commit the file then shows, all at once, and makes the oldest of the others the next leader. Waiting for one lock instead made
them wake one behind the other, and some of them stand through a second writing that they did not need.
"""

import threading
from collections import deque
from collections.abc import Callable


class _Waiter:
    __slots__ = ("is_done", "lsn", "turn")

    def __init__(self, lsn: int) -> None:
        self.lsn = lsn
        self.is_done = False
        self.turn = threading.Lock()
        self.turn.acquire()


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
        """Return when the file shows commit *lsn*, which is durable, or when it could not be written.

        Raises what *write* raised in this thread. The others who waited for that writing return: it is for the store to say what is wrong.
        """
        waiter = self._join(lsn)
        if waiter is not None:
            try:
                waiter.turn.acquire()
            except BaseException:  # Ctrl-C: nobody may be handed what this thread no longer waits for
                self._leave(waiter)
                raise
            if waiter.is_done:
                return
        self._lead(lsn)

    def _join(self, lsn: int) -> _Waiter | None:
        """None for the one who leads."""
        with self._lock:
            if not self._is_led:
                self._is_led = True
                return None
            waiter = _Waiter(lsn)
            self._waiting.append(waiter)
            return waiter

    def _leave(self, waiter: _Waiter) -> None:
        with self._lock:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                return
        if not waiter.is_done:
            self._hand_on(to_all=False)

    def _lead(self, lsn: int) -> None:
        has_failed = True
        try:
            if self._shown_lsn() < lsn:
                self._write()
            has_failed = False
        finally:
            self._hand_on(to_all=has_failed)

    def _hand_on(self, *, to_all: bool) -> None:
        """Let go whose commit is shown (or all), and have the oldest of the others lead."""
        with self._lock:
            shown = self._shown_lsn()
            for _ in range(len(self._waiting)):
                waiter = self._waiting[0]
                if to_all or waiter.lsn <= shown:
                    self._waiting.popleft()
                    waiter.is_done = True
                    waiter.turn.release()
                else:
                    self._waiting.rotate(-1)  # once around, so that their order stays
            if self._waiting:
                self._waiting.popleft().turn.release()
            else:
                self._is_led = False
