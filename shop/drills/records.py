"""What a drill is, and what is kept of a run of one."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from shop.drills.bench import Bench


class RunState(StrEnum):
    """How a run ended; the value is its slug in files, pages and tests."""

    RUNNING = "running"
    PASSED = "passed"  # it ended in the state that it promises, and everything is as it was
    FAILED = "failed"
    STOPPED = "stopped"  # somebody stopped it; everything is as it was
    CUT_SHORT = "cut-short"  # the server ended meanwhile; the next drill cleans up first


class Kind(StrEnum):
    """What a step tells of."""

    DID = "did"  # the drill did it
    SAW = "saw"  # and this came of it
    BACK = "back"  # it was put back
    WRONG = "wrong"  # it did not come as promised


class Step(Struct, frozen=True):
    """One sentence of the story."""

    at: str  # ISO 8601, UTC
    after_seconds: float  # since the run began
    kind: Kind
    words: str


class Figure(Struct, frozen=True):
    """One number that was measured."""

    name: str
    value: str
    words: str = ""  # what it means


class Run(Struct, frozen=True, kw_only=True):
    """One run of one drill, as far as it has come."""

    drill: str
    who: str
    at: str
    state: RunState = RunState.RUNNING
    sentence: str = ""  # what is to be learned from it, or why it did not end well
    seconds: float = 0.0
    steps: tuple[Step, ...] = ()
    figures: tuple[Figure, ...] = ()

    def with_step(self, step: Step) -> "Run":
        return replace(self, steps=(*self.steps, step), seconds=step.after_seconds)


class Part(StrEnum):
    """What a drill may need beyond a repository and a replication."""

    LABORATORY = "laboratory"
    READS = "reads"
    FAILOVER = "failover"
    DAMAGE = "damage"
    POISON = "poison"


class Drill(Struct, frozen=True, kw_only=True):
    """One drill: what is told before it, and what it does."""

    name: str  # its slug in addresses, files and on the command line
    title: str
    question: str  # what it answers
    story: Sequence[str]  # before, in paragraphs, for somebody who has never heard of replicas
    others: str  # what other people notice meanwhile
    seconds: int  # about so long it takes
    needs: Sequence[Part]
    changes_primary: bool = False  # then whoever starts it has to say that this is meant
    carry_out: Callable[["Bench"], str]  # returns the sentence that is to be learned


# What other people notice of a drill that loses the primary.
WHILE_THE_PRIMARY_CHANGES = (
    "Orders are refused twice for a moment, mostly well below a second each: customers are asked to try again. What somebody else"
    " writes in the very moment of the loss is entered again by the drill; they may still read that a change of theirs was lost."
)
