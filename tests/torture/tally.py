"""What a block of the torture counts, and how it is judged. A block that counts less than its plan fails as one with a violation does."""

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

PROGRESS_EVERY = 10.0  # seconds, where no terminal shows a line that changes


@dataclass(frozen=True)
class Counts:
    """The least that a block has to count: *points* at which something is done to the program, *states* that were checked after it."""

    points: int
    states: int


@dataclass
class Tally:
    """What one run of a block counted: a sentence for each broken promise in *violations*; *notes* tell what this machine could not run."""

    points: int = 0
    states: int = 0
    violations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Count what a part of the block counted."""
        self.points += other.points
        self.states += other.states
        self.violations += other.violations
        self.notes += other.notes

    def missing(self, minimum: Counts) -> list[str]:
        """A sentence for each count that is below the plan."""
        counted = (("points", self.points, minimum.points), ("states", self.states, minimum.states))
        return [f"{found:,} {what}, the plan says {least:,}" for what, found, least in counted if found < least]


@dataclass
class Kills:
    """Which seeded bugs a block noticed, by name; *survived* are those that none noticed, each with what was seen instead."""

    killed: list[str] = field(default_factory=list)
    survived: list[str] = field(default_factory=list)

    @property
    def of(self) -> int:
        return len(self.killed) + len(self.survived)

    def missing(self, minimum: int) -> list[str]:
        """A sentence for each bug that lived, and one if there are fewer bugs than the plan has."""
        few = [f"{self.of} mutants, the plan says {minimum}"] if self.of < minimum else []
        return [f"survived: {name}" for name in self.survived] + few


class Block(Protocol):
    """A module `tests/torture/block_<letter>.py`. It has a test beside it that runs its lane: `test_block_<letter>.py`."""

    MINIMUM: Counts

    def run(self, *, whole: bool) -> Tally:
        """All of it, or the lane that `make test` runs."""


class Progress:
    """Says on standard error how far a block is: on a terminal in one line that changes, else now and then in a new one."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()
        self._is_open = False

    def __call__(self, text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K  {text}", end="", file=sys.stderr, flush=True)
            self._is_open = True
        elif time.monotonic() - self._said_at >= PROGRESS_EVERY:
            self._said_at = time.monotonic()
            print(f"  {text}", file=sys.stderr, flush=True)

    def done(self) -> None:
        """Leave an empty line for what is printed next."""
        if self._is_open:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._is_open = False


progress = Progress()


def sentences(violations: Iterable[str], most: int = 20) -> list[str]:
    """The first few, and how many more there are."""
    found = list(violations)
    more = [f"… and {len(found) - most:,} more"] if len(found) > most else []
    return found[:most] + more
