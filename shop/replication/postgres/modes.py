"""What a writer waits for: PostgreSQL waits inside COMMIT, told by two of its settings.

| mode | synchronous_commit | synchronous_standby_names |
|---|---|---|
| async | on | "" |
| semi-sync | on: flushed by the standby | "*", and "" while it has fallen back |
| sync | remote_apply: seen by readers there | "*", and "" while writes are refused |

Nothing bounds that wait: no timeout of PostgreSQL does, and a COMMIT that is cancelled has committed. So one worker, the leader,
watches who waits (`Watcher.look`), and empties the names: that releases everybody who waits. In semi-sync the shop then goes on as
async until the standby has caught up. In sync writes are refused up front meanwhile; whoever was caught midway is told "recorded
here, not yet at the far side". The mode stands in a file, so that all workers agree.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import structlog
from msgspec import Struct
from msgspec.structs import replace

from shop.clock import Clock
from shop.errors import Invalid, WritesUnavailable
from shop.replication.contract import Mode, Modes
from shop.replication.modes import (
    LATENCIES_KEPT,
    NOTICE,
    RETRY_SECONDS,
    SEMI_SYNC_SECONDS,
    SYNC_SECONDS_MAX,
    TIMEOUT_SECONDS_MAX,
    TIMEOUT_SECONDS_MIN,
    latencies_of,
)
from shop.replication.postgres.servers import Server, Unreachable
from shop.replication.postgres.shared import SharedFile
from shop.replication.postgres.watch import Picture, Watch
from shop.units import Position

FILE_NAME = "modes.json"
SILENT_SECONDS_MAX = 5.0  # the standby reports each second; longer than a round trip of the link
RELEASE_SECONDS = 0.2  # until the servers' processes have read their settings anew
RELOAD_SECONDS_MAX = 2.0
SETTLE_SECONDS = (
    0.03  # the process that lets writers pass reads its settings in the same moment as the others, or one later
)
_IN_FORCE = """
SELECT (SELECT setting FROM pg_settings WHERE name = 'synchronous_standby_names'),
       (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit')
"""
_WAITING = """
SELECT count(*), coalesce(max(extract(epoch FROM clock_timestamp() - state_change)), 0)::float8
  FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = current_database()
"""

_log = structlog.get_logger("replication")


class ModeState(Struct, frozen=True):
    """What all workers have agreed on."""

    mode: Mode = Mode.ASYNC
    timeout_seconds: float = SEMI_SYNC_SECONDS
    is_fallen_back: bool = False
    suspended: str = ""  # why nobody may write in sync mode now, as the rest of a sentence
    closed: str = ""  # why nobody may write in any mode now
    fall_backs: int = 0
    start: str = ""  # of the shop, that set the mode last


def mode_file(instance: Path) -> SharedFile[ModeState]:
    return SharedFile(instance / FILE_NAME, ModeState, ModeState())


class PostgresGate:
    """Where each update of this worker passes twice, as `repository.embedded.Gate` says. `_lock` guards the counts."""

    def __init__(self, file: SharedFile[ModeState], clock: Clock, *, places: int) -> None:
        self._file = file
        self._clock = clock
        self._places = places
        self._told = threading.local()
        self._lock = threading.Lock()
        self._waiting = 0
        self._turned_away = 0
        self._latencies: dict[Mode, deque[float]] = {one: deque(maxlen=LATENCIES_KEPT) for one in Mode}

    def enter(self) -> "Pass":
        """Before anything is written. Raises `WritesUnavailable`, and nothing has happened then."""
        state = self._file.read()
        why = _why_closed(state)
        with self._lock:
            if why:
                self._turned_away += 1
                raise WritesUnavailable(
                    f"Nothing is written at the moment: {why}. Please try again soon.", RETRY_SECONDS
                )
            if state.mode is Mode.ASYNC or state.is_fallen_back:
                return Pass(self, Mode.ASYNC, has_place=False)
            if self._waiting >= self._places:
                self._turned_away += 1
                raise WritesUnavailable(
                    "Too many writes are waiting for the far side already; nothing was written. Please try again in a moment.",
                    RETRY_SECONDS,
                )
            self._waiting += 1
            return Pass(self, state.mode, has_place=True)

    def why_closed(self) -> str:
        """Why nobody is let in now, "" while somebody may be."""
        why = _why_closed(self._file.read())
        return f"{why[:1].upper()}{why[1:]}." if why else ""

    def take_notice(self) -> str:
        """What the last update of this thread is to be told although it succeeded, once; "" mostly."""
        notice: str = getattr(self._told, "notice", "")
        self._told.notice = ""
        return notice

    def status(self) -> Modes:
        state = self._file.read()
        with self._lock:
            return Modes(
                mode=state.mode,
                timeout_seconds=state.timeout_seconds,
                is_fallen_back=state.is_fallen_back,
                fall_backs=state.fall_backs,
                waiting=self._waiting,
                places=self._places,
                turned_away=self._turned_away,
                latencies=latencies_of(self._latencies),
            )

    def _leave(self, mode: Mode, seconds: float | None, *, has_place: bool) -> None:
        state = self._file.read()
        was_released = mode is Mode.SYNC and bool(state.suspended)
        if seconds is not None and mode is not Mode.ASYNC and state.is_fallen_back:
            mode = Mode.ASYNC
        with self._lock:
            if has_place:
                self._waiting -= 1
            if seconds is not None:
                self._latencies[mode].append(seconds)
        if seconds is not None and was_released:
            self._told.notice = NOTICE


def _why_closed(state: ModeState) -> str:
    """Why nobody may write, as the rest of a sentence."""
    if state.closed:
        return state.closed
    return (
        f"each write must reach the far side, and {state.suspended}"
        if state.mode is Mode.SYNC and state.suspended
        else ""
    )


class Pass:
    """One update's way through the gate."""

    def __init__(self, gate: PostgresGate, mode: Mode, *, has_place: bool) -> None:
        self._gate = gate
        self._mode = mode
        self._has_place = has_place
        self._since: float | None = None

    def commits(self) -> None:
        """Its block has been left: COMMIT follows, and waits as the mode says."""
        self._since = self._gate._clock.monotonic()

    def leave(self, committed: Position | None) -> None:
        """It is over: committed at this position, or None: nothing was written. Does not raise."""
        seconds = None
        if committed is not None and self._since is not None:
            seconds = self._gate._clock.monotonic() - self._since
        self._gate._leave(self._mode, seconds, has_place=self._has_place)


class Watcher:
    """Keeps the primary's two settings as the mode wants them, and releases writers who have waited too long. The leader calls `look`.

    *why_cut* says why nothing crosses the link, as the rest of a sentence; "" while something may.
    """

    def __init__(
        self,
        file: SharedFile[ModeState],
        watch: Watch,
        *,
        why_cut: Callable[[], str] = lambda: "",
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._file = file
        self._watch = watch
        self._why_cut = why_cut
        self._wait = wait

    def look(self) -> None:
        """Once. Raises `Unreachable` when the primary does not answer: then nobody waits there either."""
        picture = self._watch.picture()
        state = (
            self._file.read()
        )  # after the picture: else settings that were made for a new mode are undone for the old one
        near = picture.near
        if near is None:
            raise Unreachable(picture.near_problem)
        if state.mode is Mode.SYNC:
            state = self._look_in_sync(state, picture)
        elif state.mode is Mode.SEMI_SYNC:
            state = self._look_in_semi_sync(state, picture)
        made, wanted = (near.sync_names, near.sync_commit), _settings_for(state)
        while made != wanted:
            arrange(picture.primary, *wanted)
            self._watch.picture(fresh=True)
            made, wanted = wanted, _settings_for(self._file.read())  # it may have been chosen anew meanwhile

    def _look_in_sync(self, state: ModeState, picture: Picture) -> ModeState:
        why = self._why_down(picture)
        if not state.suspended:
            if not why and self._waits(picture) >= SYNC_SECONDS_MAX:
                why = "it does not answer"
            if why:
                _log.warning("sync: writes are refused", reason=why)
                return self._file.change(lambda now: replace(now, suspended=why))  # first: who is released is told
            return state
        if why or not self._has_caught_up(picture, RETRY_SECONDS, applied=True):
            return state if not why or why == state.suspended else self._suspend(why)
        _log.info("sync: writes are taken again")
        arrange(picture.primary, "*", "remote_apply")
        self._wait(RELEASE_SECONDS)
        return self._file.change(lambda now: replace(now, suspended=""))

    def _suspend(self, why: str) -> ModeState:
        return self._file.change(lambda now: replace(now, suspended=why))

    def _look_in_semi_sync(self, state: ModeState, picture: Picture) -> ModeState:
        limit = state.timeout_seconds
        if not state.is_fallen_back and self._waits(picture) >= limit:
            _log.warning("semi-sync fell back to async", timeout_seconds=limit)
            return self._file.change(lambda now: replace(now, is_fallen_back=True, fall_backs=now.fall_backs + 1))
        if state.is_fallen_back and not self._why_down(picture) and self._has_caught_up(picture, limit, applied=False):
            _log.info("semi-sync is back: the far side has caught up")
            arrange(picture.primary, "*", "on")  # first: who is told that it is back waits
            self._wait(RELEASE_SECONDS)
            return self._file.change(lambda now: replace(now, is_fallen_back=False))
        return state

    def _waits(self, picture: Picture) -> float:
        """How long the writer has waited who has waited longest."""
        [(waiting, seconds)] = picture.primary.ask(_WAITING)
        return float(seconds) if waiting else 0.0

    def _why_down(self, picture: Picture) -> str:
        cut = self._why_cut()
        if cut:
            return cut
        sender = picture.near.sender if picture.near else None
        if picture.far is None or sender is None or sender.state != "streaming":
            return "it does not follow"
        if sender.silent_seconds > SILENT_SECONDS_MAX:
            return "it does not answer"
        return "replay there is paused" if picture.far.is_paused else ""

    def _has_caught_up(self, picture: Picture, seconds: float, *, applied: bool) -> bool:
        if picture.far is None:
            return False
        passed = self._watch.passed_at(picture.far.replayed if applied else picture.far.flushed)
        return passed is None or picture.monotonic - passed < seconds


def _settings_for(state: ModeState) -> tuple[str, str]:
    """The two that the table above wants."""
    is_waiting = state.mode is not Mode.ASYNC and not state.is_fallen_back and not state.suspended
    return "*" if is_waiting else "", "remote_apply" if state.mode is Mode.SYNC else "on"


def arrange(primary: Server, names: str, commit: str) -> None:
    """Set both, let every process of the server read them, and return when they have. Raises `Unreachable`."""
    quoted = "''" if not names else "'*'"
    primary.ask_all(
        (f"ALTER SYSTEM SET synchronous_standby_names = {quoted}", ()),
        (f"ALTER SYSTEM SET synchronous_commit = '{'remote_apply' if commit == 'remote_apply' else 'on'}'", ()),
        ("SELECT pg_reload_conf()", ()),
    )
    deadline = time.monotonic() + RELOAD_SECONDS_MAX
    while primary.ask(_IN_FORCE) != [(names, commit)] and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(SETTLE_SECONDS)


def set_mode(file: SharedFile[ModeState], mode: str) -> None:
    """From the next write on; who waits is released or waits on as the new one says. Raises `Invalid` on the field `mode`."""
    if mode not in list(Mode):
        raise Invalid({"mode": f"Choose one of {', '.join(one.value for one in Mode)}."})
    file.change(lambda now: replace(now, mode=Mode(mode), is_fallen_back=False, suspended=""))
    _log.info("replication mode changed", mode=mode)


def set_timeout(file: SharedFile[ModeState], seconds: float) -> None:
    """Of semi-sync. Raises `Invalid` on the field `timeout`."""
    if not TIMEOUT_SECONDS_MIN <= seconds <= TIMEOUT_SECONDS_MAX:  # false for NaN as well
        raise Invalid(
            {"timeout": f"Enter a timeout from {TIMEOUT_SECONDS_MIN:g} to {TIMEOUT_SECONDS_MAX:.0f} seconds."}
        )
    file.change(lambda now: replace(now, timeout_seconds=float(seconds)))
