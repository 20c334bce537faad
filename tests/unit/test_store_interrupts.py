"""A thread that is interrupted (Ctrl-C) while it waits for its group, or for the file, keeps nobody else waiting."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from shop.store import Files
from shop.store.showing import Showing
from shop.store.unit import Ticket
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


class Turn:
    """A lock whose waiting ends with an interrupt: at once, or in the moment in which somebody gives it."""

    def __init__(self, *, at_once: bool) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._at_once = at_once
        self.is_waited_for = threading.Event()

    def acquire(self, blocking: bool = True) -> bool:
        if not blocking:
            return self._lock.acquire(blocking=False)
        self.is_waited_for.set()
        if not self._at_once:
            assert self._lock.acquire(timeout=PATIENCE_SECONDS)
            self._lock.release()
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


def until(condition: Callable[[], bool]) -> None:
    for _ in range(PATIENCE_SECONDS * 1000):
        if condition():
            return
        threading.Event().wait(0.001)
    raise AssertionError("it did not come to that")


@pytest.mark.parametrize("at_once", [True, False], ids=["before it is made the leader", "when it is made the leader"])
def test_an_interrupted_writer_keeps_no_commit_waiting(path, monkeypatch, at_once):
    turn = Turn(at_once=at_once)

    class Interrupted(Ticket):
        __slots__ = ()

        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            if threading.current_thread().name == INTERRUPTED:
                self.done = turn  # type: ignore[assignment]

    monkeypatch.setattr("shop.store.store.Ticket", Interrupted)
    monkeypatch.setattr("shop.store.store.LEAD_ROUNDS", 1)
    disk = SlowDisk()
    store = create(path, disk)
    disk.is_slow = True
    leader = Waiting(lambda: put(store, "a"))
    assert disk.begun.wait(PATIENCE_SECONDS)
    interrupted = Waiting(lambda: put(store, "b"), INTERRUPTED)
    assert turn.is_waited_for.wait(PATIENCE_SECONDS)
    if at_once:
        interrupted.finish()
    behind = Waiting(lambda: put(store, "c"))
    until(lambda: len(store._queue) == 2)

    disk.may_end.set()

    for thread in (leader, behind, interrupted):
        thread.finish()
    assert [thread.error for thread in (leader, behind)] == [None, None]
    assert isinstance(interrupted.error, KeyboardInterrupt)
    put(store, "d")
    store.close()
    assert set(contents(reopen(path))["things"]) == {"a", "b", "c", "d"}


def test_a_commit_whose_writer_was_interrupted_is_written_at_the_end_by_itself(path, monkeypatch):
    turn = Turn(at_once=True)
    store = create(path)
    assert store._leadership.acquire(blocking=False)  # somebody leads, and goes without having looked at the queue

    class Interrupted(Ticket):
        __slots__ = ()

        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            self.done = turn  # type: ignore[assignment]

    monkeypatch.setattr("shop.store.store.Ticket", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        put(store, "a")
    monkeypatch.undo()
    store._let_go()

    store.close()

    assert set(contents(reopen(path))["things"]) == {"a"}


@pytest.mark.parametrize("at_once", [True, False], ids=["before it is made the leader", "when it is made the leader"])
def test_who_is_interrupted_while_waiting_for_the_file_keeps_nobody_waiting(monkeypatch, at_once):
    turn = Turn(at_once=at_once)
    shown, begun, may_end = [0], threading.Event(), threading.Event()

    def write() -> None:
        begun.set()
        assert may_end.wait(PATIENCE_SECONDS)
        shown[0] += 1

    showing = Showing(write, lambda: shown[0])

    def interrupted_wait() -> None:
        join = showing._join

        def joined(lsn: int) -> object:
            waiter = join(lsn)
            assert waiter is not None
            waiter.turn = turn  # type: ignore[assignment]
            return waiter

        monkeypatch.setattr(showing, "_join", joined)
        showing.wait(2)

    leader = Waiting(lambda: showing.wait(1))
    assert begun.wait(PATIENCE_SECONDS)
    interrupted = Waiting(interrupted_wait)
    assert turn.is_waited_for.wait(PATIENCE_SECONDS)
    monkeypatch.undo()
    if at_once:
        interrupted.finish()
    behind = Waiting(lambda: showing.wait(2))
    until(lambda: len(showing._waiting) == (1 if at_once else 2))

    may_end.set()

    for thread in (leader, behind, interrupted):
        thread.finish()
    assert isinstance(interrupted.error, KeyboardInterrupt)
    assert [leader.error, behind.error] == [None, None]
    assert shown[0] == 2
    assert not showing.is_busy
