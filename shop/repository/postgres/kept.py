"""What was read under a snapshot, kept for whoever reads under an equal one.

Two equal snapshots of one primary show the same: a snapshot names the transactions that it does not see yet, and each change of
anything is one of these before it is seen. So nothing here grows old, and one write of anybody, wherever, begins anew. It is
worth it because people look far more often than anything changes, and a list costs the database ten times what its snapshot does.

A standby's snapshots name no such transactions: nothing is kept for it. After a restart numbers may be used again of transactions
that were lost with it, so the moment of the server's start is part of the name; and because a crash of one of its processes starts
all the others anew without changing that moment, so is the one at which its statistics began, which a crash forgets.
"""

import threading
from collections.abc import Callable, Hashable
from typing import NamedTuple, TypeVar, cast

KEPT_MAX = 500  # answers under one snapshot: a page has a few

T = TypeVar("T")


class Moment(NamedTuple):
    """The name of a snapshot of a primary."""

    system: str
    started: str  # the server
    timeline: int
    snapshot: str


class Answers:
    """Under one snapshot. Safe from any thread; two that ask at once may both ask the database, and keep the same."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, object] = {}

    def get(self, key: Hashable, ask: Callable[[], T]) -> T:
        """What was answered to *key*, else what *ask* answers now. Nobody changes it."""
        missing = self._kept.get(key, self)
        if missing is not self:
            return cast(T, missing)
        answer = ask()
        if len(self._kept) < KEPT_MAX:
            self._kept[key] = answer
        return answer


class Kept:
    """The answers under the snapshot that was seen last. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the two below
        self._moment: Moment | None = None
        self._answers = Answers()

    def at(self, moment: Moment | None) -> Answers | None:
        """Those under *moment*; None where nothing may be kept."""
        if moment is None:
            return None
        with self._lock:
            if moment != self._moment:
                self._moment, self._answers = moment, Answers()
            return self._answers
