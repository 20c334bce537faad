"""Runs the replicator in the background. The only module that knows APScheduler.

One job: `_run` steps until nothing is on the way any more, and meanwhile waits for the moment the next commit is due. A commit that finds
the queue empty wakes the job through `modify_job`; every second the job runs anyway, as a safety net.

APScheduler drops a run that falls into another one (`max_instances=1`), also in the instant in which the job has returned
but is not yet off its books. So "running" ends only in `_left`, which APScheduler calls when it has let go of the run, and
there a wake that came too late for the loop arms the next run. (A run that ends at once may have `_left` called inside of
APScheduler's own planning, which then overwrites what was armed there: that one is armed in `_planned`, after the planning.)

APScheduler plans by the wall clock: set back an hour, it would sit still for an hour. A watchdog on the monotonic clock notices within
three ticks and plans the job anew; where that is of no use, or did not help, there is a new scheduler. While anything is on the way
the loop waits by the monotonic clock and needs neither.

Chores (alerts, the verification) are a second job with a thread of its own, so that they never hold up a commit; the watchdog
looks after it too.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, EVENT_JOB_SUBMITTED
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers import SchedulerNotRunningError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from shop.clock import Clock
from shop.replication.replicator import Outcome

TICK_SECONDS = 1.0
BATCH_SECONDS = 0.01  # commits that become due within this time cross together
STREAM_COMMITS = 20  # so many in a batch are a stream, of which more cross together, unless writers wait for each:
STREAM_SECONDS = 0.025
WATCH_SECONDS = 0.5  # between two looks of the watchdog
STALL_SECONDS = 2.5  # no run for so long: the job is planned anew, or the scheduler replaced; with a look, three ticks
WAIT_SECONDS_MAX = 60.0
JOB_ID = "replicate"
CHORES_ID = "chores"

_log = structlog.get_logger("replication")


class Work(Protocol):
    """What is run: `EmbeddedReplication`."""

    def sync_once(self, now: float, /) -> Outcome: ...
    @property
    def is_waited_for(self) -> bool: ...
    def on_commit(self, listener: Callable[[int], None], /) -> None: ...
    def on_change(self, listener: Callable[[], None], /) -> None: ...


class Schedule:
    """The background thread of replication. `_condition` guards every field below it and is never held while calling APScheduler,
    whose own lock is held while it calls `_left`."""

    def __init__(self, work: Work, clock: Clock, *, chores: Sequence[Callable[[], None]] = ()) -> None:
        """*chores* are done at each tick, in their order; each decides itself whether there is anything to do."""
        self._work = work
        self._clock = clock
        self._condition = threading.Condition()
        self._is_running = False  # from the start of `_run` until APScheduler has let go of it
        self._is_woken = False  # something happened that the loop has not looked at yet
        self._is_armed = False  # APScheduler has been told to run now
        self._is_overwritten = False  # it was told inside of its planning: tell it again after that
        self._runner = 0  # the thread of the last run
        self._is_nudged = False  # what the loop waits for may be due at another moment
        self._is_stopping = False
        self._beat = 0.0  # when the loop last showed life
        self._chores = tuple(chores)
        self._is_at_chores = False
        self._chores_beat = 0.0  # when they were last begun or ended
        self._cures = 0  # of a stalled scheduler, since its last run
        self.stalls = 0  # how often the watchdog had to step in
        self._scheduler: BackgroundScheduler | None = None
        self._stopped = threading.Event()
        self._watchdog = threading.Thread(target=self._watch, name="replication-watchdog", daemon=True)
        work.on_commit(self.wake)
        work.on_change(self.nudge)

    def start(self) -> None:
        """Begin; what an earlier run left in the journal is looked at at once."""
        _quieten()
        self._beat = self._chores_beat = self._clock.monotonic()
        self._scheduler = self._new_scheduler()
        self._watchdog.start()
        self.nudge()

    def stop(self) -> None:
        """Return when no step runs and none will; what is on its way stays in the journal."""
        with self._condition:
            self._is_stopping = True
            self._condition.notify_all()
        self._stopped.set()
        if self._watchdog.is_alive():
            self._watchdog.join()
        scheduler, self._scheduler = self._scheduler, None
        if scheduler is not None:
            with suppress(JobLookupError):
                scheduler.remove_job(JOB_ID)
            with suppress(JobLookupError):
                scheduler.remove_job(CHORES_ID)
            with suppress(SchedulerNotRunningError):
                scheduler.shutdown(wait=True)

    def wake(self, lsn: int = 0) -> None:
        """There is a new commit. Called on every one of them: mostly no more than a look at a flag, and a word to APScheduler if the
        queue was empty.

        A loop that waits is left alone: an ordered log makes no later commit due before the one it waits for.
        """
        # Without the lock: the flag is put down before the loop reads what has been committed, and this commit can be read already.
        if not self._is_woken:
            self._wake()

    def _wake(self) -> None:
        with self._condition:
            self._is_woken = True
            must_arm = not (self._is_running or self._is_armed or self._is_stopping)
            self._is_armed = self._is_armed or must_arm
        if must_arm:
            self._arm()

    def nudge(self) -> None:
        """A knob was turned: look again now."""
        with self._condition:
            self._is_nudged = True
            self._condition.notify_all()
        self._wake()

    @property
    def silent_seconds(self) -> float:
        """Since the loop or the job last showed life; a few seconds at most while all is well."""
        with self._condition:
            return max(0.0, self._clock.monotonic() - self._beat)

    # ---- the job

    def _run(self) -> None:
        with self._condition:
            self._is_running = True
            self._is_armed = False
            self._runner = threading.get_ident()
            self._cures = 0
        is_more = True
        while is_more:
            with self._condition:
                if self._is_stopping:
                    return
                self._is_woken = self._is_nudged = False
                self._beat = self._clock.monotonic()
            outcome = self._work.sync_once(self._clock.monotonic())
            is_more = self._wait(outcome)

    def _do_chores(self) -> None:
        with self._condition:
            self._is_at_chores = True
        try:
            for chore in self._chores:
                if not self._is_stopping:
                    chore()
        finally:
            with self._condition:
                self._is_at_chores = False
                self._chores_beat = self._clock.monotonic()

    def _wait(self, outcome: Outcome) -> bool:
        """Until the next step makes sense; False when there is nothing to wait for."""
        with self._condition:
            seconds = pause_after(outcome, self._clock.monotonic(), is_waited_for=self._work.is_waited_for)
            if seconds is None and not self._is_woken:
                return False
            if seconds is None:
                seconds = BATCH_SECONDS if outcome.applied else 0.0
            self._beat = self._clock.monotonic() + seconds
            if seconds > 0:
                self._condition.wait_for(lambda: self._is_nudged or self._is_stopping, timeout=seconds)
            return True

    def _left(self, event: object) -> None:
        """APScheduler has let go of the run; from here on a wake arms the next one, and one that came just before is made up for."""
        with self._condition:
            self._is_running = False
            must_arm = self._is_woken and not self._is_stopping
            self._is_armed = must_arm
            self._is_overwritten = must_arm and threading.get_ident() != self._runner
        if must_arm:
            self._arm()

    def _planned(self, event: object) -> None:
        """APScheduler has handed out a run and has noted when the one after it is due."""
        with self._condition:
            must_arm, self._is_overwritten = self._is_overwritten, False
        if must_arm:
            self._arm()

    def _arm(self) -> None:
        scheduler = self._scheduler
        if scheduler is None:
            return
        with suppress(JobLookupError):  # it is being stopped or replaced
            scheduler.modify_job(JOB_ID, next_run_time=self._clock.now())

    # ---- the scheduler

    def _new_scheduler(self) -> BackgroundScheduler:
        scheduler = BackgroundScheduler(
            timezone="UTC", executors={"default": ThreadPoolExecutor(1), CHORES_ID: ThreadPoolExecutor(1)}
        )
        scheduler.add_listener(_of_job(self._left), EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)
        scheduler.add_listener(_of_job(self._planned), EVENT_JOB_SUBMITTED)
        scheduler.add_job(
            self._run,
            _each_tick(),
            id=JOB_ID,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )
        if self._chores:
            scheduler.add_job(
                self._do_chores,
                _each_tick(),
                id=CHORES_ID,
                executor=CHORES_ID,
                coalesce=True,
                max_instances=1,
                misfire_grace_time=None,
            )
        scheduler.start()
        return scheduler

    def _watch(self) -> None:
        while not self._stopped.wait(WATCH_SECONDS):
            with self._condition:
                is_stalled = not self._is_running and self._clock.monotonic() - self._beat > STALL_SECONDS
                if is_stalled:
                    self._cures += 1
                    self.stalls += 1
                    self._beat = self._clock.monotonic()
                cures = self._cures
                are_chores_late = not self._is_at_chores and self._clock.monotonic() - self._chores_beat > STALL_SECONDS
                if are_chores_late:
                    self._chores_beat = self._clock.monotonic()  # planned anew at each look they would never begin
            if is_stalled:
                self._cure(cures)
            if are_chores_late:
                self._plan_chores()

    def _plan_chores(self) -> None:
        scheduler = self._scheduler
        if scheduler is not None:
            with suppress(JobLookupError):  # there are none, or it is being stopped
                scheduler.reschedule_job(CHORES_ID, trigger=_each_tick())

    def _cure(self, attempt: int) -> None:
        _log.warning("the scheduler stands still, it is set going again", attempt=attempt)
        scheduler = self._scheduler
        if attempt == 1 and scheduler is not None and self._plan_anew(scheduler):
            return
        if scheduler is not None:
            with suppress(SchedulerNotRunningError):
                scheduler.shutdown(wait=False)
        self._scheduler = self._new_scheduler()
        with self._condition:
            self._is_armed = False
        self.nudge()

    def _plan_anew(self, scheduler: BackgroundScheduler) -> bool:
        """False when that is of no use: the job is gone, or the scheduler has ended."""
        if not scheduler.running:
            return False
        try:
            scheduler.reschedule_job(JOB_ID, trigger=_each_tick())
        except JobLookupError:
            return False
        self._arm()
        return True


def pause_after(outcome: Outcome, now: float, *, is_waited_for: bool = False) -> float | None:
    """Seconds until another step makes sense; None when nothing is on its way. *is_waited_for*: writers are held up until then."""
    if outcome.next_due_monotonic is None:
        return None
    seconds = outcome.next_due_monotonic - now
    if outcome.applied and seconds > -BATCH_SECONDS:
        # Also when the next became due during the step: under a steady stream it always does, and a batch for each
        # handful of commits takes the disk from the primary. What is further behind is a backlog and goes on at once.
        is_stream = outcome.applied >= STREAM_COMMITS and not is_waited_for
        seconds = max(seconds, STREAM_SECONDS if is_stream else BATCH_SECONDS)
    return min(max(0.0, seconds), WAIT_SECONDS_MAX)


def _each_tick() -> IntervalTrigger:
    return IntervalTrigger(seconds=TICK_SECONDS, timezone="UTC")


def _of_job(listener: Callable[[object], None]) -> Callable[[Any], None]:
    """*listener* for the events of the replication job alone."""

    def listen(event: Any) -> None:
        if event.job_id == JOB_ID:
            listener(event)

    return listen


def _quieten() -> None:
    """APScheduler logs each run, and warns each second while the loop runs that it skips one: that is the plan here."""
    logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
    logging.getLogger("apscheduler.executors.default").setLevel(logging.WARNING)
