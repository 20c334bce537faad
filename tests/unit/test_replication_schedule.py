"""The background job with the real APScheduler, in real time: no wake is lost, nothing is polled, and no clock can stop it."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest
from apscheduler.schedulers import base as scheduler_module
from apscheduler.triggers import interval as interval_module

from shop.clock import ManualClock, SystemClock
from shop.replication import schedule as schedule_module
from shop.replication.embedded import EmbeddedReplication
from shop.replication.pair import open_pair
from shop.replication.replicator import NEVER, Outcome
from shop.replication.schedule import (
    BATCH_SECONDS,
    JOB_ID,
    STALL_SECONDS,
    STREAM_COMMITS,
    STREAM_SECONDS,
    TICK_SECONDS,
    WATCH_SECONDS,
    Schedule,
)
from tests.builders import NOW
from tests.replicationkit import put_next, sold

SOON = 0.5  # well below the second after which the safety net would come to the rescue
PATIENCE = 15.0


class Queue:
    """Work that is due at once: what was put and what was taken."""

    def __init__(self) -> None:
        self.put_count = 0
        self.taken = 0
        self.steps = 0
        self.is_waited_for = False
        self.outcome: Callable[[float, int], Outcome] = lambda now, applied: Outcome(applied, None)
        self.wake: Callable[[int], None] = lambda lsn: None
        self.nudge: Callable[[], None] = lambda: None
        self._changed = threading.Condition()

    def on_commit(self, listener: Callable[[int], None]) -> None:
        self.wake = listener

    def on_change(self, listener: Callable[[], None]) -> None:
        self.nudge = listener

    def sync_once(self, now: float) -> Outcome:
        with self._changed:
            self.steps += 1
            applied, self.taken = self.put_count - self.taken, self.put_count
            self._changed.notify_all()
        return self.outcome(now, applied)

    def put(self) -> None:
        self.put_count += 1
        self.wake(self.put_count)

    def wait_for(self, condition: Callable[[], bool], timeout: float = PATIENCE) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def wait_for_step(self, timeout: float = PATIENCE) -> bool:
        before = self.steps
        return self.wait_for(lambda: self.steps > before, timeout)


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def schedule(queue: Queue) -> Iterator[Schedule]:
    schedule = Schedule(queue, SystemClock())
    schedule.start()
    assert queue.wait_for(lambda: queue.steps >= 1)
    yield schedule
    schedule.stop()


def test_a_commit_into_an_empty_queue_is_looked_at_at_once(queue: Queue, schedule: Schedule) -> None:
    for _ in range(5):
        wait_until_idle(schedule)
        started = time.monotonic()
        queue.put()

        assert queue.wait_for(lambda: queue.taken == queue.put_count)
        assert time.monotonic() - started < SOON


def wait_until_idle(schedule: Schedule) -> None:
    deadline = time.monotonic() + PATIENCE
    while schedule._is_running and time.monotonic() < deadline:
        time.sleep(0.001)


def test_without_commits_the_job_runs_once_a_second(queue: Queue, schedule: Schedule) -> None:
    before, started = queue.steps, time.monotonic()

    assert queue.wait_for(lambda: queue.steps >= before + 2)

    assert queue.steps <= before + 3
    assert time.monotonic() - started > 0.9


def test_no_wake_is_lost_however_it_falls_between_two_runs(queue: Queue, schedule: Schedule) -> None:
    """Each commit comes as the run before it is about to end, ends, or has just ended. A lost wake waits for the next second."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for number in range(600):
            spin(number % 40 * 2e-5)
            queue.put()
            assert queue.wait_for(lambda: queue.taken == queue.put_count, SOON), f"wake {number} was lost"
    finally:
        sys.setswitchinterval(interval)


def spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


class LateCommit(Schedule):
    """A commit comes when the loop has made its last look and APScheduler still counts the run."""

    commits = 0

    def _run(self) -> None:
        super()._run()
        if self.commits:
            self.commits -= 1
            assert isinstance(self._work, Queue)
            self._work.put()


@pytest.mark.parametrize("ends_at_once", [False, True])
def test_a_commit_just_after_the_last_look_is_made_up_for(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, ends_at_once: bool
) -> None:
    if ends_at_once:
        monkeypatch.setattr(ThreadPoolExecutor, "submit", submit_and_wait)
    schedule = LateCommit(queue, SystemClock())
    schedule.start()
    for _ in range(3):
        wait_until_idle(schedule)
        schedule.commits = 1
        queue.put()

        assert queue.wait_for(lambda: not schedule.commits and queue.taken == queue.put_count, SOON)
    schedule.stop()


submit = ThreadPoolExecutor.submit


def submit_and_wait(pool: ThreadPoolExecutor, *work: Any) -> Any:
    """The run is over before APScheduler has noted when the next one is due."""
    future = submit(pool, *work)
    future.exception()
    return future


def test_many_threads_wake_at_once_and_none_is_forgotten(queue: Queue, schedule: Schedule) -> None:
    lock = threading.Lock()

    def commit() -> None:
        for _ in range(200):
            with lock:
                queue.put_count += 1
            queue.wake(queue.put_count)

    threads = [threading.Thread(target=commit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert queue.wait_for(lambda: queue.taken == 1600, SOON)


def test_while_something_is_on_its_way_the_loop_waits_for_it_and_a_commit_does_not_disturb_it(queue: Queue) -> None:
    clock = SystemClock()
    due = clock.monotonic() + 0.4
    times: list[float] = []

    def outcome(now: float, applied: int) -> Outcome:
        times.append(now)
        return Outcome(0, due) if now < due else Outcome(applied, None)

    queue.outcome = outcome
    schedule = Schedule(queue, clock)
    schedule.start()
    assert queue.wait_for(lambda: queue.steps >= 1)
    steps = queue.steps
    for _ in range(20):
        queue.put()
        time.sleep(0.005)

    assert queue.wait_for(lambda: bool(times) and times[-1] >= due, SOON)

    assert queue.steps <= steps + 2, "a look for the nudge of the start, one for what was due"
    assert times[-1] - due < 0.1
    schedule.stop()


def test_a_knob_that_is_turned_is_looked_at_at_once_and_commits_before_it_cost_no_run(queue: Queue) -> None:
    queue.outcome = lambda now, applied: Outcome(0, NEVER)
    schedule = Schedule(queue, SystemClock())
    schedule.start()
    assert queue.wait_for(lambda: queue.steps >= 1)
    deadline = time.monotonic() + PATIENCE
    while not schedule._is_running and time.monotonic() < deadline:
        time.sleep(0.001)
    queue.wait_for(lambda: queue.steps >= 2, 0.1)  # the nudge of the start may bring a second look
    steps = queue.steps
    for _ in range(100):
        queue.put()
    assert queue.steps == steps

    queue.nudge()

    assert queue.wait_for(lambda: queue.steps == steps + 1, SOON)
    schedule.stop()


def test_stopping_interrupts_a_wait_and_no_step_follows(queue: Queue) -> None:
    queue.outcome = lambda now, applied: Outcome(0, NEVER)
    schedule = Schedule(queue, SystemClock())
    schedule.start()
    assert queue.wait_for(lambda: queue.steps >= 1)
    started = time.monotonic()

    schedule.stop()

    steps = queue.steps
    assert time.monotonic() - started < 5
    queue.put()
    queue.nudge()
    assert not queue.wait_for_step(1.2)
    assert queue.steps == steps


def test_stopping_one_that_was_never_started_is_harmless(queue: Queue) -> None:
    Schedule(queue, SystemClock()).stop()


def test_a_step_that_raises_is_followed_by_the_next(queue: Queue, schedule: Schedule) -> None:
    def outcome(now: float, applied: int) -> Outcome:
        queue.outcome = lambda now, applied: Outcome(applied, None)
        raise ZeroDivisionError("a bug")

    queue.outcome = outcome
    wait_until_idle(schedule)
    queue.put()

    before = queue.steps
    assert queue.wait_for(lambda: queue.steps > before + 1, 5)


# ---- a wall clock that is set


class WallClock:
    """The wall clock that APScheduler and the schedule see, set wrong by `shift`."""

    def __init__(self) -> None:
        self.shift = timedelta(0)

    def now(self) -> datetime:
        return SystemClock().now() + self.shift

    def monotonic(self) -> float:
        return time.monotonic()

    def datetime(self) -> type[datetime]:
        wall = self

        class ShiftedDatetime(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Any:
                return datetime.now(tz) + wall.shift

        return ShiftedDatetime


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    wall = WallClock()
    monkeypatch.setattr(scheduler_module, "datetime", wall.datetime())
    monkeypatch.setattr(interval_module, "datetime", wall.datetime())
    return wall


@pytest.fixture
def quick_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule_module, "TICK_SECONDS", 0.2)
    monkeypatch.setattr(schedule_module, "STALL_SECONDS", 0.6)
    monkeypatch.setattr(schedule_module, "WATCH_SECONDS", 0.05)


@pytest.mark.parametrize("hours", [-1, 1, -24 * 365])
@pytest.mark.usefixtures("quick_watchdog")
def test_a_wall_clock_that_is_set_does_not_stall_the_job(queue: Queue, wall: WallClock, hours: int) -> None:
    schedule = Schedule(queue, wall)
    schedule.start()
    assert queue.wait_for(lambda: queue.steps >= 1)
    wait_until_idle(schedule)

    wall.shift = timedelta(hours=hours)

    before = queue.steps
    assert queue.wait_for(lambda: queue.steps >= before + 3, 10)
    queue.put()
    assert queue.wait_for(lambda: queue.taken == queue.put_count, SOON)
    assert bool(schedule.stalls) == (hours < 0)
    schedule.stop()


@pytest.mark.usefixtures("quick_watchdog")
def test_a_job_that_vanished_is_brought_back(queue: Queue) -> None:
    schedule = Schedule(queue, SystemClock())
    schedule.start()
    assert queue.wait_for(lambda: queue.steps >= 1)
    wait_until_idle(schedule)
    scheduler = schedule._scheduler
    assert scheduler is not None

    scheduler.remove_job(JOB_ID)

    before = queue.steps
    assert queue.wait_for(lambda: queue.steps >= before + 2, 10)
    assert schedule.stalls == 1, "the first look that noticed has mended it"
    schedule.stop()


@pytest.mark.usefixtures("quick_watchdog")
def test_a_dead_scheduler_is_replaced(queue: Queue) -> None:
    schedule = Schedule(queue, SystemClock())
    schedule.start()
    assert queue.wait_for(lambda: queue.steps >= 1)
    wait_until_idle(schedule)
    scheduler = schedule._scheduler
    assert scheduler is not None

    scheduler.shutdown(wait=True)

    before = queue.steps
    assert queue.wait_for(lambda: queue.steps >= before + 2, 10)
    assert schedule.stalls == 1, "the first look that noticed has mended it"
    queue.put()
    assert queue.wait_for(lambda: queue.taken == queue.put_count, SOON)
    schedule.stop()


def test_a_scheduler_that_stands_still_is_noticed_within_three_ticks() -> None:
    """The last sign of life may be a whole tick old when it dies, and the watchdog may have looked just before."""
    assert STALL_SECONDS + WATCH_SECONDS <= 3 * TICK_SECONDS


# ---- with a real pair


def test_commits_arrive_by_themselves_after_the_delay_and_the_file_shows_them_soon(tmp_path: Path) -> None:
    clock = SystemClock()
    pair = open_pair(tmp_path, clock)
    pair.start()
    replication = EmbeddedReplication(pair, clock=clock, delay_seconds=0.3, currency="EUR")
    schedule = Schedule(replication, clock)
    schedule.start()
    arrived = threading.Condition()
    pair.replica.on_commit(lambda lsn: notify(arrived))

    for _ in range(20):
        put_next(pair.primary)
        time.sleep(0.005)

    with arrived:
        assert arrived.wait_for(lambda: sold(pair.replica) == 20, PATIENCE)
    schedule.stop()
    recent = replication.status().recent
    assert len(recent) == 20
    assert all(0 <= commit.lateness_seconds < 0.25 for commit in recent if commit.lateness_seconds is not None)
    pair.close()


def notify(condition: threading.Condition) -> None:
    with condition:
        condition.notify_all()


def test_what_is_on_its_way_when_the_process_ends_arrives_in_the_next(tmp_path: Path) -> None:
    clock = SystemClock()
    pair = open_pair(tmp_path, clock)
    schedule = Schedule(EmbeddedReplication(pair, clock=clock, delay_seconds=0.2, currency="EUR"), clock)
    schedule.start()
    put_next(pair.primary)
    schedule.stop()
    pair.close()
    assert sold(pair.replica) == 0

    again = open_pair(tmp_path, clock)
    arrived = threading.Condition()
    again.replica.on_commit(lambda lsn: notify(arrived))
    schedule = Schedule(EmbeddedReplication(again, clock=clock, delay_seconds=0.2, currency="EUR"), clock)
    schedule.start()

    with arrived:
        assert arrived.wait_for(lambda: sold(again.replica) == 1, PATIENCE)
    schedule.stop()
    again.close()


class Chores:
    """Counts how often it was its turn."""

    def __init__(self) -> None:
        self.turns = 0
        self._changed = threading.Condition()

    def __call__(self) -> None:
        with self._changed:
            self.turns += 1
            self._changed.notify_all()

    def wait_for(self, turns: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.turns >= turns, PATIENCE)


@pytest.mark.usefixtures("quick_watchdog")
def test_chores_are_done_also_while_the_job_waits_and_after_the_wall_clock_was_set_back(
    queue: Queue, wall: WallClock
) -> None:
    queue.outcome = lambda now, applied: Outcome(applied, NEVER)  # the job never leaves its loop
    chores = Chores()
    schedule = Schedule(queue, wall, chores=[chores])
    schedule.start()
    assert chores.wait_for(2)

    wall.shift = timedelta(hours=-1)

    assert chores.wait_for(chores.turns + 3)
    schedule.stop()


@pytest.mark.usefixtures("quick_watchdog")
def test_chores_that_hang_or_raise_hold_up_no_commit(queue: Queue) -> None:
    let_go, began = threading.Event(), threading.Event()

    def hang() -> None:
        began.set()
        let_go.wait(PATIENCE)

    schedule = Schedule(queue, SystemClock(), chores=[hang])
    schedule.start()
    assert began.wait(PATIENCE)

    queue.put()

    assert queue.wait_for(lambda: queue.taken == queue.put_count, SOON)
    let_go.set()
    schedule.stop()


@pytest.mark.parametrize("applied", [3, STREAM_COMMITS], ids=["a few", "a stream"])
@pytest.mark.parametrize("is_waited_for", [False, True], ids=["async", "writers wait"])
@pytest.mark.parametrize(
    ("due_in", "waits"),
    [(None, BATCH_SECONDS), (0.001, None), (-0.002, None), (0.5, 0.5), (-0.5, 0.0)],
    ids=["nothing on its way", "about to be due", "became due during the step", "due later", "a backlog"],
)
def test_commits_that_follow_closely_cross_together_and_a_backlog_at_once(
    due_in: float | None, waits: float | None, is_waited_for: bool, applied: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, queue = ManualClock(NOW), Queue()
    queue.is_waited_for = is_waited_for
    schedule = Schedule(queue, clock)
    schedule._is_woken = True
    waited: list[float] = []
    monkeypatch.setattr(schedule._condition, "wait_for", lambda condition, timeout: waited.append(timeout))

    assert schedule._wait(Outcome(applied, None if due_in is None else clock.monotonic() + due_in))

    if waits is None:
        waits = STREAM_SECONDS if applied == STREAM_COMMITS and not is_waited_for else BATCH_SECONDS
    assert sum(waited) == pytest.approx(waits)


def test_a_commit_that_finds_the_loop_told_already_waits_for_no_lock(queue: Queue) -> None:
    schedule = Schedule(queue, SystemClock())
    queue.put()

    with schedule._condition:
        thread = threading.Thread(target=queue.put)
        thread.start()
        thread.join(PATIENCE)

        assert not thread.is_alive()


def test_a_knob_arms_a_job_that_was_lost_although_the_loop_was_told_already(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = Schedule(queue, SystemClock())
    queue.put()
    schedule._is_armed = False  # as the watchdog leaves it behind
    armed: list[bool] = []
    monkeypatch.setattr(schedule, "_arm", lambda: armed.append(True))

    queue.nudge()

    assert armed == [True]
