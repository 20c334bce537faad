"""What the pages about drills show, in words. The templates only print it."""

from collections.abc import Sequence

from msgspec import Struct

from shop.drills.parts import on_the_link
from shop.drills.records import Drill, Kind, Run, RunState
from shop.drills.runner import Drills
from shop.web.replication_view import clock_text, seconds_text

STATE_WORDS = {
    RunState.RUNNING: ("Running", "there"),
    RunState.PASSED: ("Passed", "success"),
    RunState.FAILED: ("Failed", "danger"),
    RunState.STOPPED: ("Stopped", "warning"),
    RunState.CUT_SHORT: ("Cut short", "danger"),
}
KIND_WORDS = {Kind.DID: "Done", Kind.SAW: "Seen", Kind.BACK: "Put back", Kind.WRONG: "Wrong"}


class CardView(Struct, frozen=True, kw_only=True):
    """One drill among the seven."""

    name: str
    title: str
    question: str
    takes: str
    needs_confirmation: bool
    why_not: str
    state_word: str  # of the last run; "" when there was none
    state_kind: str
    at: str
    who: str


class StepView(Struct, frozen=True):
    after: str
    at: str
    clock: str
    kind: str
    kind_word: str
    words: str


class RunView(Struct, frozen=True, kw_only=True):
    """One run, as far as it has come."""

    is_running: bool
    state: str
    state_word: str
    state_kind: str
    sentence: str
    who: str
    at: str
    took: str
    steps: Sequence[StepView]
    figures: Sequence[tuple[str, str, str]]


class DrillView(Struct, frozen=True, kw_only=True):
    """One drill with what is told before it, and its last run."""

    card: CardView
    story: Sequence[str]
    others: str
    link_notes: Sequence[str]  # what of the knobs is put aside now
    why_not_now: str
    run: RunView | None


def cards_of(drills: Drills) -> Sequence[CardView]:
    return [card_of(drills, drill) for drill in drills.all()]


def card_of(drills: Drills, drill: Drill) -> CardView:
    run = drills.last_run(drill.name)
    word, kind = STATE_WORDS[run.state] if run else ("", "")
    return CardView(
        name=drill.name,
        title=drill.title,
        question=drill.question,
        takes=f"about {drill.seconds} s",
        needs_confirmation=drill.changes_primary,
        why_not=drills.why_not(drill.name),
        state_word=word,
        state_kind=kind,
        at=run.at if run else "",
        who=run.who if run else "",
    )


def drill_of(drills: Drills, name: str) -> DrillView:
    """Raises `NotFound`."""
    drill = drills.drill(name)
    run = drills.last_run(name)
    is_running = run is not None and run.state is RunState.RUNNING
    return DrillView(
        card=card_of(drills, drill),
        story=drill.story,
        others=drill.others,
        link_notes=() if is_running else on_the_link(drills.parts, drills.parts.replication.status()),
        why_not_now="" if is_running else drills.why_not_now(),
        run=run_of(run) if run else None,
    )


def run_of(run: Run) -> RunView:
    word, kind = STATE_WORDS[run.state]
    return RunView(
        is_running=run.state is RunState.RUNNING,
        state=run.state.value,
        state_word=word,
        state_kind=kind,
        sentence=run.sentence,
        who=run.who,
        at=run.at,
        took=seconds_text(run.seconds),
        steps=[
            StepView(
                f"{step.after_seconds:.1f} s",
                step.at,
                clock_text(step.at),
                step.kind.value,
                KIND_WORDS[step.kind],
                step.words,
            )
            for step in run.steps
        ],
        figures=[(figure.name, figure.value, figure.words) for figure in run.figures],
    )
