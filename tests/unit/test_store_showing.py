"""Callers who wait for the checkpoint file: nobody is forgotten, and nobody waits for a writing too many."""

import itertools
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from shop.store.showing import Showing
from tests.pairkit import wait_until

PATIENCE_SECONDS = 10


class File:
    """A file that shows what was durable when its writing began; a writing lasts until it is let go."""

    def __init__(self) -> None:
        self.durable = 0
        self.shown = 0
        self.writings = 0
        self.error: BaseException | None = None
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)
        self.showing = Showing(self._write, lambda: self.shown)

    def _write(self) -> None:
        durable = self.durable
        self.writings += 1
        self.begun.release()
        assert self.may_end.acquire(timeout=PATIENCE_SECONDS)
        if self.error is not None:
            raise self.error
        self.shown = durable

    def wait_in_thread(self, lsn: int) -> "Caller":
        self.durable = max(self.durable, lsn)
        return Caller(lambda: self.showing.wait(lsn))

    def until_waiting(self, count: int) -> None:
        wait_until(lambda: len(self.showing._waiting) == count)

    def let_end(self) -> None:
        """The writing that has begun, or is about to, ends."""
        assert self.begun.acquire(timeout=PATIENCE_SECONDS)
        self.may_end.release()


class Caller:
    def __init__(self, work: Callable[[], None]) -> None:
        self.error: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self.error = error

    @property
    def is_back(self) -> bool:
        return not self._thread.is_alive()

    def join(self) -> None:
        self._thread.join(PATIENCE_SECONDS)
        assert self.is_back


def test_who_comes_alone_writes_and_is_back():
    file = File()
    caller = file.wait_in_thread(1)
    file.let_end()
    caller.join()
    assert (file.shown, file.writings, file.showing.is_busy) == (1, 1, False)


def test_all_who_came_during_a_writing_share_the_next():
    file = File()
    first = file.wait_in_thread(1)
    assert file.begun.acquire(timeout=PATIENCE_SECONDS)
    others = [file.wait_in_thread(lsn) for lsn in range(2, 9)]
    file.until_waiting(7)
    file.may_end.release()
    first.join()  # its commit is shown: it does not stand through the second
    assert not any(other.is_back for other in others)

    file.let_end()

    for other in others:
        other.join()
    assert (file.shown, file.writings, file.showing.is_busy) == (8, 2, False)


def test_who_joins_when_the_file_already_shows_the_commit_writes_nothing():
    file = File()
    file.durable = file.shown = 5

    file.showing.wait(4)

    assert (file.writings, file.showing.is_busy) == (0, False)


@pytest.mark.parametrize("error", [OSError("no space"), MemoryError()])
def test_who_waits_behind_a_writing_that_fails_tries_again(error):
    file = File()
    file.error = error
    first = file.wait_in_thread(1)
    assert file.begun.acquire(timeout=PATIENCE_SECONDS)
    others = [file.wait_in_thread(lsn) for lsn in (2, 3)]
    file.until_waiting(2)
    file.may_end.release()
    first.join()
    assert first.error is error
    assert file.begun.acquire(timeout=PATIENCE_SECONDS)  # the next one is at it
    assert not any(other.is_back for other in others)

    file.error = None
    file.may_end.release()

    for other in others:
        other.join()
    assert [other.error for other in others] == [None, None]
    assert (file.shown, file.writings, file.showing.is_busy) == (3, 2, False)


def test_a_failure_after_the_file_was_written_sends_nobody_away_whom_it_does_not_show():
    """As when the journal behind the file cannot be cut."""
    file = File()
    first = file.wait_in_thread(1)
    file.durable = 2
    assert file.begun.acquire(timeout=PATIENCE_SECONDS)
    others = [file.wait_in_thread(lsn) for lsn in (1, 3)]
    file.until_waiting(2)
    file.shown, file.error = 2, OSError("the journal could not be cut")
    file.may_end.release()
    first.join()
    others[0].join()  # shown, and it writes nothing
    assert others[0].error is None
    assert file.begun.acquire(timeout=PATIENCE_SECONDS)
    file.error = None
    file.may_end.release()
    others[1].join()
    assert (file.shown, file.writings) == (3, 2)


def test_the_lead_is_never_lost_however_little_memory_or_stack_there_is():
    """Each call that a caller makes raises once, from the first to the last of them."""
    for call in range(1, 4):
        calls = itertools.count(1)
        shown = [0]

        def shown_lsn(calls=calls, call=call, shown=shown) -> int:
            if next(calls) == call:
                raise MemoryError
            return shown[0]

        showing = Showing(lambda shown=shown: shown.__setitem__(0, shown[0] + 1), shown_lsn)  # type: ignore[misc]
        with suppress(MemoryError):
            showing.wait(1)
        Caller(partial(showing.wait, 2)).join()
        assert not showing.is_busy


def test_a_thread_at_the_end_of_its_stack_does_not_keep_the_lead():
    shown = [0]
    showing = Showing(lambda: shown.__setitem__(0, shown[0] + 1), lambda: shown[0])
    failures = 0

    def at_depth(depth: int) -> None:
        if depth:
            at_depth(depth - 1)
        else:
            showing.wait(shown[0] + 1)

    def dive() -> None:
        nonlocal failures
        for depth in range(sys.getrecursionlimit() - 120, sys.getrecursionlimit() + 5):
            try:
                at_depth(depth)
            except RecursionError:
                failures += 1
            assert not showing.is_busy, depth

    diver = Caller(dive)
    diver.join()
    assert diver.error is None
    assert failures


def test_many_threads_and_many_commits_leave_nobody_behind():
    file = File()
    lock = threading.Lock()

    def write() -> None:
        durable = file.durable
        file.writings += 1
        threading.Event().wait(0.0005)  # as long as others need to come
        file.shown = durable

    file.showing = Showing(write, lambda: file.shown)

    def work() -> None:
        for _ in range(200):
            with lock:
                file.durable += 1
                mine = file.durable
            file.showing.wait(mine)
            assert file.shown >= mine

    callers = [Caller(work) for _ in range(8)]
    for caller in callers:
        caller.join()
    assert [caller.error for caller in callers] == [None] * 8
    assert file.shown == 1600
    assert file.writings < 1600  # some were shared
    assert not file.showing.is_busy
