"""A thread that is interrupted (Ctrl-C) while it waits for its group, or for the file, keeps nobody else waiting."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from shop.store import Files
from shop.store.showing import Showing
from shop.store.unit import Ticket, Turn
from tests.pairkit import wait_until
from tests.storekit import contents, create, put, reopen

PATIENCE_SECONDS = 10
INTERRUPTED = "interrupted"  # the name of the thread


class SlowDisk(Files):
    """Its first fsync that is to be slow lasts until it is let go."""

    def __init__(self) -> None:
        self.is_slow = False
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def sync(self, fd: int) -> None:
        if self.is_slow:
            self.is_slow = False
            self.begun.set()
            assert self.may_end.wait(PATIENCE_SECONDS)
        super().sync(fd)


class Interrupted:
    """A lock whose waiting is interrupted: at once, and again in the moment in which somebody gives it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._is_first = True
        self.is_waited_for = threading.Event()

    def acquire(self) -> bool:
        if self._is_first:
            self._is_first = False
            self.is_waited_for.set()
        else:
            assert self._lock.acquire(timeout=PATIENCE_SECONDS)
        raise KeyboardInterrupt

    def release(self) -> None:
        self._lock.release()


class Waiting(threading.Thread):
    def __init__(self, work: Callable[[], None], name: str = "") -> None:
        super().__init__(name=name or None, daemon=True)
        self._work = work
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self.error = error

    def finish(self) -> None:
        self.join(PATIENCE_SECONDS)
        assert not self.is_alive(), "it waits for ever"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "db.json"


def test_a_thread_that_sees_its_turn_before_it_sleeps_leads_and_ends_it():
    turn = Turn()
    turn.lead()  # between two looks of a thread that was about to sleep

    assert turn.sleep() is None
    turn.end()

    assert turn.is_done
    assert turn.sleep() is None


def test_a_writer_that_is_interrupted_is_told_when_its_commit_is_kept(path, monkeypatch):
    lock = Interrupted()

    class InterruptedTicket(Ticket):
        __slots__ = ()

        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            if threading.current_thread().name == INTERRUPTED:
                self._lock = lock  # type: ignore[assignment]

    monkeypatch.setattr("shop.store.store.Ticket", InterruptedTicket)
    monkeypatch.setattr("shop.store.store.LEAD_ROUNDS", 1)  # so that the interrupted one is made the leader
    disk = SlowDisk()
    store = create(path, disk)
    disk.is_slow = True
    leader = Waiting(lambda: put(store, "a"))
    assert disk.begun.wait(PATIENCE_SECONDS)
    interrupted = Waiting(lambda: put(store, "b"), INTERRUPTED)
    assert lock.is_waited_for.wait(PATIENCE_SECONDS)
    behind = Waiting(lambda: put(store, "c"))
    wait_until(lambda: len(store._queue) == 2)
    assert interrupted.is_alive()

    disk.may_end.set()

    for thread in (leader, behind, interrupted):
        thread.finish()
    assert [thread.error for thread in (leader, behind)] == [None, None]
    assert isinstance(interrupted.error, KeyboardInterrupt)
    put(store, "d")
    store.close()
    assert set(contents(reopen(path))["things"]) == {"a", "b", "c", "d"}


def test_who_is_interrupted_while_waiting_for_the_file_keeps_nobody_waiting(monkeypatch):
    lock = Interrupted()
    shown, begun, may_end = [0], threading.Event(), threading.Event()

    def write() -> None:
        begun.set()
        assert may_end.wait(PATIENCE_SECONDS)
        shown[0] += 1

    showing = Showing(write, lambda: shown[0])
    join = showing._join

    def joined(lsn: int) -> object:
        waiter = join(lsn)
        if threading.current_thread().name == INTERRUPTED:
            assert waiter is not None
            waiter._lock = lock  # type: ignore[assignment]
        return waiter

    monkeypatch.setattr(showing, "_join", joined)
    leader = Waiting(lambda: showing.wait(1))
    assert begun.wait(PATIENCE_SECONDS)
    interrupted = Waiting(lambda: showing.wait(2), INTERRUPTED)
    assert lock.is_waited_for.wait(PATIENCE_SECONDS)
    behind = Waiting(lambda: showing.wait(2))
    wait_until(lambda: len(showing._waiting) == 2)

    may_end.set()

    for thread in (leader, behind, interrupted):
        thread.finish()
    assert isinstance(interrupted.error, KeyboardInterrupt)
    assert [leader.error, behind.error] == [None, None]
    assert shown[0] == 2
    assert not showing.is_busy
