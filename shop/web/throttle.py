"""How fast passwords can be tried.

Each try counts against several keys: the address it comes from, the account it is for. After some free tries a key has to
wait, longer with each failure, up to a ceiling. A try that has to wait is refused unread and does not count, so that trying
all the time makes nobody wait longer.

An attacker must not be able to lock the shopkeeper out. So an account alone never waits longer than half a minute, and a
browser that has been logged in before is counted by itself: what others do to the account is nothing to it.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from msgspec import Struct

from shop.access import KEYS_MAX, Ledger, Tries


class Rule(Struct, frozen=True, kw_only=True):
    """How a key is slowed down."""

    free_tries: int
    delay_seconds_max: float
    forgotten_after_seconds: float  # without a failure

    def delay_seconds(self, failures: int) -> float:
        """0 for the free tries, then 1, 2, 4, … up to the ceiling."""
        if failures < self.free_tries:
            return 0.0
        return min(self.delay_seconds_max, 2.0 ** min(failures - self.free_tries, 60))


PER_ACCOUNT = Rule(free_tries=10, delay_seconds_max=30, forgotten_after_seconds=15 * 60)
PER_ADDRESS = Rule(free_tries=5, delay_seconds_max=15 * 60, forgotten_after_seconds=60 * 60)
PER_BROWSER = PER_ADDRESS  # one that was logged in before


class Memory:
    """The tries that one process remembers: `shop.access.Ledger`. `_lock` guards `_tries`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tries: dict[str, Tries] = {}

    @contextmanager
    def change(self, keys: Collection[str], now: float) -> Iterator[dict[str, Tries]]:
        with self._lock:
            tries = {key: self._tries[key] for key in keys if key in self._tries}
            yield tries
            for key in keys:
                if key in tries:
                    self._tries[key] = tries[key]
                else:
                    self._tries.pop(key, None)
            self._make_room(now)

    def _make_room(self, now: float) -> None:
        if len(self._tries) <= KEYS_MAX:
            return
        self._tries = {key: tries for key, tries in self._tries.items() if now < tries.forgotten_at}
        while len(self._tries) > KEYS_MAX:
            del self._tries[min(self._tries, key=lambda key: self._tries[key].forgotten_at)]


class Throttle:
    """Who may try now, and who waits. Safe from many threads, and from many processes that share a *ledger* and a clock."""

    def __init__(self, now: Callable[[], float], ledger: Ledger | None = None) -> None:
        self._now = now
        self._ledger = ledger or Memory()

    def admit(self, keys: Mapping[str, Rule]) -> float:
        """0 when a try may be made now, which counts as failed until `succeeded` is called; else the seconds to wait.

        Counted before its outcome is known, so that a hundred tries sent at once are no way around it.
        """
        now = self._now()
        with self._ledger.change(keys, now) as tries:
            found = {key: _known(tries.get(key), now) for key in keys}
            wait = max((one.next_at - now for one in found.values()), default=0.0)
            if wait > 0:
                return wait
            for key, rule in keys.items():
                failures = found[key].failures + 1
                next_at = now + rule.delay_seconds(failures)
                tries[key] = Tries(failures, next_at, next_at + rule.forgotten_after_seconds)
        return 0.0

    def succeeded(self, keys: Mapping[str, Rule]) -> None:
        """Somebody who knows the password: their failures before were slips."""
        with self._ledger.change(keys, self._now()) as tries:
            tries.clear()


def _known(tries: Tries | None, now: float) -> Tries:
    return tries if tries and now < tries.forgotten_at else Tries(0, now, now)
