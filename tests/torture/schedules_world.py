"""A shop on a clock that the schedule moves, and on a disk in memory: an hour passes in a moment, and each run is the same.

The world plays the two background threads. `_step` waits as `Schedule` does; `show` keeps the files up to date as the stores' own threads
do.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shop.clock import ManualClock
from shop.errors import SettingError
from shop.replication.pair import EVEN_NAME, ODD_NAME, resync_from
from shop.replication.schedule import TICK_SECONDS, pause_after
from shop.store import Files
from shop.store.store import SETTLE_SECONDS
from tests.simdisk import SimDisk
from tests.torture.schedules_history import Fault, History, Still, Stranger, digest
from tests.torture.schedules_recorder import Recorder, read_checkpoint

FOLDER = Path("/disk")
SOON = 1e-3


class World(Recorder):
    """See the module. `look_seconds` is how often somebody looks beside each arrival."""

    def __init__(
        self, name: str, *, delay: float = 2.0, folder: Path = FOLDER, files: Files | None = None, look: float = 0.5
    ) -> None:
        clock = ManualClock()
        disk = files or SimDisk()
        super().__init__(History(name=name, delay=delay, tick=TICK_SECONDS), clock, folder, disk)  # type: ignore[arg-type]
        self.clock: ManualClock = clock
        self.disk = disk
        self._look_seconds = look
        self._is_idle = False  # no loop runs: the next tick or commit begins one
        self._due = self._next_tick = self._next_look = self._next_show = math.inf

    # ---- the process

    def start(self, *, out_for: float = 0.0) -> None:
        """As the program starts; with *out_for*, the cable is broken and stays so for that long."""
        self.open()
        self.replication.on_commit(lambda lsn: self._wake())
        self.replication.on_change(self._nudge)
        if out_for:
            self.replication.laboratory.cut(out_for)
        self._nudge()
        self._next_tick = self._next_look = self._next_show = self.now

    def stop(self, *, killed: bool = False) -> None:
        """In order, or as a process that is killed: nothing is written any more, and what was is there."""
        self.look()
        self.clock.advance(SOON)
        if not killed:
            self.pair.close()
        self._is_idle, self._due = True, math.inf
        self._next_tick = self._next_look = self._next_show = math.inf

    def end(self) -> History:
        """The history so far; the world is closed."""
        self.history.ended = self.now
        self.pair.close()
        return self.history

    # ---- time

    def run(self, seconds: float, *, every: float = math.inf) -> None:
        """Let time pass, with a commit every so often."""
        end = self.now + seconds
        next_commit = self.now + min(every, seconds * 2)
        while (moment := min(self._due, self._next_tick, self._next_look, self._next_show, next_commit)) < end:
            self._pass_to(moment)
            if next_commit <= self.now:
                self.commit()
                next_commit += every
            self._do_what_is_due()
        self._pass_to(end)

    def _pass_to(self, moment: float) -> None:
        if moment > self.now:
            self.clock.advance(moment - self.now)

    def _do_what_is_due(self) -> None:
        if self._next_tick <= self.now:
            self._next_tick += TICK_SECONDS
            self._wake()  # a tick during a run is dropped, as `max_instances` does
        if self._due <= self.now:
            self._step()
        if self._next_show <= self.now:
            self.show()
        if self._next_look <= self.now:
            self._next_look += self._look_seconds
            self.look()

    def _wake(self) -> None:
        if self._is_idle:
            self._is_idle, self._due = False, self.now

    def _nudge(self) -> None:
        self._is_idle, self._due = False, self.now

    def _step(self) -> None:
        """One turn of `Schedule._run`."""
        before = self.pair.replica.position
        outcome = self.replication.sync_once(self.now)
        seconds = pause_after(outcome, self.now)
        self._is_idle = seconds is None
        self._due = math.inf if seconds is None else self.now + seconds
        if self.pair.replica.position != before:
            self.look()

    def show(self) -> None:
        """One turn of both stores' own threads."""
        self._next_show = self.now + SETTLE_SECONDS
        for store in (self.pair.primary, self.pair.replica):
            with suppress(OSError):  # a full disk: the next turn tries again
                store.checkpoint()

    # ---- what is wrong, from when to when

    @contextmanager
    def fault(self, what: str) -> Iterator[None]:
        """From here to the end of the block."""
        since = self.now
        yield
        self.history.faults.append(Fault(what, since, self.now))

    @contextmanager
    def still(self, must_say: str, *, after: float = SOON) -> Iterator[None]:
        """In this block the replica must not move, and each page that is looked at must name this state."""
        since, pages = self.now, len(self.history.pages)
        yield
        self.look()
        self.clock.advance(SOON)
        said = tuple(page.state for page in self.history.pages[pages:] if page.at >= since + after)
        self.history.stills.append(Still(since, self.now, said, must_say))

    def refuses_to_start(self, must_say: str) -> None:
        """Start, and be turned away in one line."""
        try:
            self.start()
        except SettingError as refusal:
            said = str(refusal)
        else:
            said = "nothing: it started"
        self.history.stills.append(Still(self.now, self.now, (said,), must_say))

    @contextmanager
    def stranger(self) -> Iterator[None]:
        """In this block the replica's file holds something that is not of this history."""
        since = self.now
        _, contents = read_checkpoint(self._read(EVEN_NAME))
        yield
        self.history.strangers.append(Stranger(since, self.now, digest(contents)))

    # ---- operators

    def resync(self) -> None:
        """The button on the page."""
        self.history.copies.append(self.now)
        self.replication.resync()
        self.look()

    def resync_from_primary(self) -> None:
        """The command, while nothing runs."""
        self.history.copies.append(self.now)
        resync_from(self.folder, ODD_NAME, self.clock, files=self.files)

    def files_of(self, name: str) -> dict[Path, bytes]:
        """A side's two files."""
        paths = [self.folder / name, self.folder / name.replace(".json", ".journal")]
        return {path: self.files.read(path) for path in paths}

    def put_files(self, files: dict[Path, bytes]) -> None:
        """In the place of whatever is there; nothing runs."""
        for path, data in files.items():
            fd = self.files.create(path)
            self.files.write(fd, data, 0)
            self.files.close(fd)

    def spoil(self, name: str, change: Callable[[bytes], bytes]) -> None:
        path = self.folder / name
        self.put_files({path: change(self.files.read(path))})
