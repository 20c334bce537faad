"""What is remembered of those who knock: who is logged in, who failed to, who asks too often.

Local to the shop's workers, never replicated. One process keeps it in its memory (`shop.web`); several share it
(`shop.repository.local`). Times are seconds of one clock, the same for all who share.
"""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import Protocol

from msgspec import Struct

IDLE_SECONDS_MAX = 30 * 60
AGE_SECONDS_MAX = 12 * 3600
SESSIONS_MAX = 100  # of all admins; above, whoever was idle longest has to log in again
KEYS_MAX = 10_000


class AdminSession(Struct, frozen=True):
    """One login."""

    admin_id: str
    password_hash: str  # the one that let the admin in; a session does not outlive it
    began: float
    seen: float

    def is_alive(self, now: float) -> bool:
        return now - self.seen < IDLE_SECONDS_MAX and now - self.began < AGE_SECONDS_MAX


class Logins(Protocol):
    """Who is logged in. Safe from many threads."""

    def begin(self, admin_id: str, password_hash: str) -> str:
        """A new session; returns its id, which nobody has known before."""
        ...

    def find(self, sid: str) -> AdminSession | None:
        """The session, if it has not ended; being asked for keeps it from being idle."""
        ...

    def end(self, sid: str) -> None:
        """From now on the id opens nothing, whoever holds a copy of the cookie."""
        ...

    def end_others_than(self, admin_id: str, password_hash: str | None) -> None:
        """End the admin's sessions that another password opened: all of them for None."""
        ...


class Tries(Struct, frozen=True):
    """What is remembered of one key that passwords are tried under."""

    failures: int
    next_at: float
    forgotten_at: float


class Ledger(Protocol):
    """The tries of many keys. Safe from many threads."""

    def change(self, keys: Collection[str], now: float) -> AbstractContextManager[dict[str, Tries]]:
        """What is remembered of *keys*; what is in it when the block is left is remembered from then on.

        Nobody else changes anything meanwhile. Of more than `KEYS_MAX` keys those that would be forgotten first are.
        """
        ...


class Counters(Protocol):
    """Numbers that end by themselves. Safe from many threads."""

    def add(self, key: str, amount: int, seconds: float) -> int:
        """Add to a counter, which ends *seconds* after it began; returns what it is at."""
        ...

    def get(self, key: str) -> tuple[int, float]:
        """What it is at and when it ends, in Unix time; (0, now) when there is none."""
        ...

    def clear(self, key: str | None = None) -> None:
        """Forget one, or all."""
        ...


class Shared(Struct, frozen=True):
    """What several workers keep together."""

    logins: Logins
    ledger: Ledger
    counters: Counters
    now: Callable[[], float]
