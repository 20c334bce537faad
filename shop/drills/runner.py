"""Runs drills: one at a time, in a thread of its own, told step by step, ended in time, and put back whatever happens."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import structlog
from msgspec.structs import replace

from shop.drills import setting as settings
from shop.drills.bench import Bench, Broken, Stopped, await_replica, review, switch_back
from shop.drills.catalog import BY_NAME, DRILLS
from shop.drills.folder import DrillFolder
from shop.drills.goods import Goods
from shop.drills.parts import Parts, why_not, why_not_now
from shop.drills.records import Drill, Figure, Kind, Run, RunState, Step
from shop.drills.setting import Setting, attempt
from shop.errors import Conflict, NotFound, ShopError
from shop.replication.contract import Audit, State, Status

SECONDS_MAX = 40.0  # for the drill itself; putting back comes on top
PACE_SECONDS = 1.0
END_SECONDS_MAX = 25.0  # what the end of the server waits for a drill to put everything back
LEFT_BY_DRILL = "It was made by a drill that did not come to its end."

_log = structlog.get_logger("drills")


class Drills:
    """The drills of one shop. Safe from any thread; `start` returns at once."""

    def __init__(
        self,
        parts: Parts,
        instance: Path,
        *,
        audit: Audit | None = None,
        pace_seconds: float = PACE_SECONDS,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.parts = parts
        self._folder = DrillFolder(instance)
        self._audit = audit
        self.pace_seconds = pace_seconds
        self._wait = wait
        self._thread: threading.Thread | None = None

    # ---- what can be seen

    def all(self) -> Sequence[Drill]:
        return DRILLS

    def drill(self, name: str) -> Drill:
        """Raises `NotFound`."""
        if name not in BY_NAME:
            raise NotFound(f"There is no drill of that name. There are: {', '.join(BY_NAME)}.")
        return BY_NAME[name]

    def why_not(self, name: str) -> str:
        """Why this shop cannot do the drill, ever; "" when it can."""
        return why_not(self.drill(name), self.parts)

    def why_not_now(self) -> str:
        """Why no drill can be started at this moment; "" when one can."""
        running = self.running()
        if running is not None:
            return f"Another drill is running: {self.drill(running.drill).title}."
        return self._why_unable()

    def _why_unable(self) -> str:
        has_left_over = self._folder.note() is not None
        return why_not_now(self.parts, self.parts.replication.status(), has_left_over=has_left_over)

    def last_run(self, name: str) -> Run | None:
        return self._folder.run(self.drill(name).name)

    def running(self) -> Run | None:
        if not self._folder.is_taken():
            return None
        runs = (self._folder.run(drill.name) for drill in DRILLS)
        return next((run for run in runs if run is not None and run.state is RunState.RUNNING), None)

    def left_over(self) -> str:
        """What a drill that was cut short has left, in a sentence; "" when there is nothing."""
        note = None if self._folder.is_taken() else self._folder.note()
        if note is None:
            return ""
        title = BY_NAME[note.drill].title if note.drill in BY_NAME else note.drill
        sentence = f"The shop ended in the middle of the drill “{title}”. What it left is taken out before the next drill begins"
        status = self.parts.replication.status()
        if _is_away(note, status):
            return f"{sentence}; then {note.primary} becomes the primary again, in place of {status.primary.file}."
        return f"{sentence}."

    # ---- what can be done

    def start(self, name: str, *, who: str, is_confirmed: bool = False) -> Run:
        """Begin the drill. Raises `NotFound`, and `Conflict` when it cannot be done, or not now, or was not meant."""
        drill = self.drill(name)
        reason = why_not(drill, self.parts)
        if reason:
            raise Conflict(reason)
        if drill.changes_primary and not is_confirmed:
            raise Conflict("This drill changes which side is the primary: say that you mean it.")
        if not self._folder.take():
            raise Conflict(self.why_not_now() or "Another drill is running.")
        try:
            reason = self._why_unable()
            if reason:
                raise Conflict(reason)
            self._folder.forget_to_stop()
            story = _Story(self, drill, who)
            self._thread = threading.Thread(target=self._run, args=(story,), name=f"drill-{name}", daemon=True)
            self._thread.start()
        except BaseException:
            self._folder.let_go()
            raise
        return story.run

    def stop(self) -> bool:
        """Ask the running drill to end after its step and to put everything back; whether one was running."""
        if self.running() is None:
            return False
        self._folder.ask_to_stop()
        return True

    def clean_up(self) -> str:
        """Take out what a drill left whose server was killed; a sentence about it. Raises `Conflict` when it cannot be done now."""
        if not self._folder.take():
            raise Conflict(self.why_not_now() or "Another drill is running.")
        try:
            reason = self._why_unable()
            if reason:
                raise Conflict(reason)
            had_note = self._folder.note() is not None
            wrong = self._clean_up()
        finally:
            self._folder.let_go()
        if wrong:
            raise Conflict(" ".join(wrong))
        return "What the drill left is taken out, and the sides have their roles." if had_note else "Nothing was left."

    def join(self, seconds: float | None = None) -> None:
        """Return when the drill that this process runs has ended, or after so long."""
        if self._thread is not None:
            self._thread.join(seconds)

    def close(self) -> None:
        """The shop ends: so does a drill, in order."""
        if self._thread is not None and self._thread.is_alive():
            self._folder.ask_to_stop()
            self.join(END_SECONDS_MAX)

    # ---- one run

    def _run(self, story: "_Story") -> None:
        try:
            self._carry_out(story)
            if self._audit is not None:
                self._note(self._audit, story.run)
            _log.info("drill ended", drill=story.run.drill, state=story.run.state.value, seconds=story.run.seconds)
        except Exception:  # the edge of a background job: the lock must be let go, and somebody must hear of it
            _log.exception("a drill could not be carried out")
        finally:
            self._folder.let_go()

    def _note(self, audit: Audit, run: Run) -> None:
        ended = f"{run.state.value} after {run.seconds:.1f} s"
        audit.add(run.who, f"drill {run.drill}", ended if run.state is RunState.PASSED else f"{ended}: {run.sentence}")

    def _carry_out(self, story: "_Story") -> None:
        wrong = self._clean_up()
        if wrong:
            story.end(RunState.FAILED, " ".join(wrong))
            return
        setting = settings.setting_of(story.drill.name, self.parts.replication.status(), self.parts.clock.monotonic())
        self._folder.keep_note(setting)
        story.setting = setting
        state, sentence = self._play(story, setting)
        wrong = self._put_back(story.setting)
        if not wrong:
            self._folder.drop_note()
            story.tell(
                Kind.BACK, "Put everything back: the drill's product and orders are gone, the knobs are as they were."
            )
        for one in wrong:
            story.tell(Kind.WRONG, one)
        story.end(RunState.FAILED if wrong and state is RunState.PASSED else state, " ".join((sentence, *wrong)))

    def _play(self, story: "_Story", setting: Setting) -> tuple[RunState, str]:
        bench = Bench(self.parts, setting, story, who=story.run.who, pace_seconds=self.pace_seconds)
        try:
            settings.open_link(self.parts.replication, self.parts.laboratory)
            return RunState.PASSED, story.drill.carry_out(bench)
        except Stopped:
            return RunState.STOPPED, "It was stopped before its end."
        except Broken as broken:
            sentence = str(broken)
        except ShopError as refusal:
            sentence = f"It could not go on: {refusal.message}"
        except Exception as error:  # a fault: logged here, told there, and everything is put back all the same
            _log.exception("a drill broke", drill=story.drill.name)
            sentence = f"It broke with a fault, which is in the log: {type(error).__name__}."
        story.tell(Kind.WRONG, sentence)
        return RunState.FAILED, sentence

    # ---- putting back

    def _clean_up(self) -> list[str]:
        """What a drill left that the end of its server cut short. The knobs are as the new start set them, and stay so."""
        note = self._folder.note()
        if note is None:
            return []
        now = settings.setting_of(note.drill, self.parts.replication.status(), self.parts.clock.monotonic())
        kept = replace(
            now,
            primary=note.primary,
            timeline=note.timeline,
            has_changed_primary=note.has_changed_primary,
        )
        wrong = self._put_back(kept)
        if not wrong:
            self._folder.drop_note()
        return wrong

    def _put_back(self, setting: Setting) -> list[str]:
        """Everything, each whatever became of the others; what could not be, in sentences."""
        done = (attempt(name, action) for name, action in self._duties(setting))
        wrong = [sentence for sentence in done if sentence]
        now = self.parts.clock.monotonic()
        knobs = settings.turn_knobs_back(setting, self.parts.replication, self.parts.laboratory, now)
        return [*wrong, *filter(None, (attempt(name, action) for name, action in knobs))]

    def _duties(self, setting: Setting) -> Iterator[tuple[str, Callable[[], object]]]:
        parts, by = self.parts, "drill"
        if parts.sabotage is not None:
            yield "the cable", parts.sabotage.undo
        yield "the link", lambda: settings.open_link(parts.replication, parts.laboratory)
        yield "the copy", self._make_whole
        if setting.has_changed_primary:
            if _is_away(setting, parts.replication.status()):
                yield "the roles", lambda: switch_back(parts, by, self._wait)
            yield "the writes left behind", lambda: review(parts, setting, by, own=LEFT_BY_DRILL)
        yield "the goods", Goods(parts.repository, parts.clock, parts.currency).sweep
        yield "the copy", self._make_whole

    def _make_whole(self) -> None:
        """Both sides are equal, and known to be."""
        replication = self.parts.replication
        await_replica(self.parts, self._wait)
        try:
            replication.sync_now()
        except ShopError:
            replication.resync()
        status = replication.status()
        if status.diverged_records or status.state in (State.REFUSED, State.SNAPSHOT_NEEDED):
            replication.resync()
        if status.diverged_records:
            replication.verify()


def _is_away(setting: Setting, status: Status) -> bool:
    """Whether the roles are as the drill's promotion left them, which began the next timeline. On a higher one somebody has changed
    them since, and meant it."""
    primary = status.primary
    return (
        setting.has_changed_primary
        and primary.file != setting.primary
        and primary.position.timeline == setting.timeline + 1
    )


class _Story:
    """A run that is being told: `bench.Teller`."""

    def __init__(self, drills: Drills, drill: Drill, who: str) -> None:
        self.drill = drill
        self.setting: Setting | None = None
        self._drills = drills
        self._folder = drills._folder
        self._clock = drills.parts.clock
        self._began = self._clock.monotonic()
        self.run = Run(drill=drill.name, who=who, at=self._now())
        self._folder.keep(self.run)

    def tell(self, kind: Kind, words: str) -> None:
        self.run = self.run.with_step(Step(self._now(), self._after(), kind, words))
        self._folder.keep(self.run)

    def figure(self, figure: Figure) -> None:
        self.run = replace(self.run, figures=(*self.run.figures, figure))

    def wait(self, seconds: float) -> None:
        deadline = self._clock.monotonic() + seconds
        while True:
            if self._folder.is_asked_to_stop():
                raise Stopped
            if self._after() > SECONDS_MAX:
                raise Broken(f"It took longer than {SECONDS_MAX:g} s, and was ended.")
            left = deadline - self._clock.monotonic()
            if left <= 0:
                return
            self._drills._wait(min(left, 0.1))

    def will_change_primary(self) -> None:
        assert self.setting is not None  # noqa: S101 - it is set before the drill begins
        self.setting = self.setting.changing_primary()
        self._folder.keep_note(self.setting)

    def end(self, state: RunState, sentence: str) -> None:
        self.run = replace(self.run, state=state, sentence=sentence, seconds=self._after())
        self._folder.keep(self.run)

    def _after(self) -> float:
        return self._clock.monotonic() - self._began

    def _now(self) -> str:
        return self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
